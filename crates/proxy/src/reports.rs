//! Reports that browsers send of their own accord: Network Error Logging and the Reporting API, counted by closed labels.

use headwater_config::{Networks, Policy, Provider, networks};
use serde_json::Value;
use std::net::IpAddr;

/// The label `cdn` where the server's address tells no provider.
pub(crate) const UNKNOWN: &str = "unknown";
/// The type of reports of Network Error Logging, and their label where they name no error that is known.
const NETWORK_ERROR: &str = "network-error";
const NO_PHASE: &str = "none";
const PHASES: [&str; 3] = ["dns", "connection", "application"];

/// Other types of the Reporting API.
const TYPES: [&str; 7] =
    ["csp-violation", "deprecation", "intervention", "crash", "permissions-policy-violation", "coep", "coop"];

/// What a network error is called, with the phase it belongs to: the predefined types of the W3C's Network Error Logging, and
/// those that Chromium has added, which is the only one to send any.
const NETWORK_ERRORS: [(&str, &str); 47] = [
    ("ok", "application"),
    ("dns.unreachable", "dns"),
    ("dns.name_not_resolved", "dns"),
    ("dns.failed", "dns"),
    ("dns.address_changed", "dns"),
    ("dns.timed_out", "dns"),
    ("dns.protocol", "dns"),
    ("dns.server", "dns"),
    ("tcp.timed_out", "connection"),
    ("tcp.closed", "connection"),
    ("tcp.reset", "connection"),
    ("tcp.refused", "connection"),
    ("tcp.aborted", "connection"),
    ("tcp.address_invalid", "connection"),
    ("tcp.address_unreachable", "connection"),
    ("tcp.failed", "connection"),
    ("tls.version_or_cipher_mismatch", "connection"),
    ("tls.bad_client_auth_cert", "connection"),
    ("tls.cert.name_invalid", "connection"),
    ("tls.cert.date_invalid", "connection"),
    ("tls.cert.authority_invalid", "connection"),
    ("tls.cert.invalid", "connection"),
    ("tls.cert.revoked", "connection"),
    ("tls.cert.pinned_key_not_in_cert_chain", "connection"),
    ("tls.protocol.error", "connection"),
    ("tls.unrecognized_name_alert", "connection"),
    ("tls.failed", "connection"),
    ("h2.protocol.error", "connection"),
    ("h2.ping_failed", "application"),
    ("h3.protocol.error", "connection"),
    ("http.error", "application"),
    ("http.protocol.error", "application"),
    ("http.response.invalid", "application"),
    ("http.response.invalid.empty", "application"),
    ("http.response.invalid.content_length_mismatch", "application"),
    ("http.response.invalid.incomplete_chunked_encoding", "application"),
    ("http.response.invalid.invalid_chunked_encoding", "application"),
    ("http.response.headers.truncated", "application"),
    ("http.response.headers.multiple_content_disposition", "application"),
    ("http.response.headers.multiple_content_length", "application"),
    ("http.response.headers.multiple_location", "application"),
    ("http.response.redirect_loop", "application"),
    ("http.request.range_not_satisfiable", "application"),
    ("http.failed", "application"),
    ("abandoned", "application"),
    ("unknown", "application"),
    (NETWORK_ERROR, "application"),
];

/// Types and phases that belong together. Others may come, and are counted as they come.
pub(crate) fn known() -> impl Iterator<Item = (&'static str, &'static str)> {
    NETWORK_ERRORS.into_iter().chain(TYPES.map(|kind| (kind, NO_PHASE)))
}

/// Type, phase and provider of a report, each from a closed set.
pub(crate) fn labels<'p>(report: &Value, policy: &'p Policy, edges: &Edges) -> (&'static str, &'static str, &'p str) {
    let body = &report["body"];
    let kind = match report["type"].as_str() {
        Some(NETWORK_ERROR) => {
            let error = body["type"].as_str();
            let known = NETWORK_ERRORS.iter().find(|(known, _)| Some(*known) == error);
            known.map_or(NETWORK_ERROR, |(known, _)| known)
        }
        kind => TYPES.into_iter().find(|known| Some(*known) == kind).unwrap_or("other"),
    };
    let phase = match body["phase"].as_str() {
        Some(phase) => PHASES.into_iter().find(|known| *known == phase).unwrap_or("other"),
        None => NO_PHASE,
    };
    let server = body["server_ip"].as_str().and_then(|text| text.parse::<IpAddr>().ok());
    let provider = server.and_then(|server| edges.provider(server));
    (kind, phase, provider.map_or(UNKNOWN, |provider| policy.providers[provider].name.as_str()))
}

/// Where each provider's servers are: its own networks, or else what is built in for its vendor.
pub(crate) struct Edges(Vec<Networks>);

impl Edges {
    pub fn new(policy: &Policy) -> Self {
        let of = |provider: &Provider| {
            if provider.networks.is_empty() {
                networks::built_in(provider.kind.name())
            } else {
                provider.networks.clone()
            }
        };
        Self(policy.providers.iter().map(of).collect())
    }

    /// The index of the provider whose server that is.
    fn provider(&self, server: IpAddr) -> Option<usize> {
        self.0.iter().position(|networks| networks.contains(server))
    }
}
