//! A policy in force: the policy itself, and what is made ready from it once so that no pull has to.

use crate::figures::{Figures, Meters};
use crate::reports::Edges;
use crate::upstream::{Server, servers};
use crate::whoopsie::Pages;
use headwater_config::{Kind, Policy};
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

/// A policy in a worker's hands: counted within its thread, so that workers do not fight over one count.
#[allow(clippy::redundant_allocation, reason = "the outer count is the thread's own, the inner one all threads'")]
pub(crate) type Held = Rc<Arc<Live>>;

/// What every pull takes once and keeps to its end, so that a reload never splits one.
pub(crate) struct Live {
    pub policy: Policy,
    pub servers: Vec<Arc<Server>>,
    pub guard: Guard,
    pub meters: Meters,
    pub pages: Pages,
    pub edges: Edges,
    pub since: SystemTime,
}

impl Live {
    /// Makes a policy ready. Servers that were there before keep their counts.
    pub fn new(policy: Policy, figures: &Arc<Figures>, before: Option<&Live>) -> Self {
        Self {
            servers: servers(&policy.origin, before.map_or(&[], |live| &live.servers)),
            guard: Guard::new(&policy),
            meters: Meters::new(figures.clone(), &policy),
            pages: Pages::new(&policy),
            edges: Edges::new(&policy),
            since: SystemTime::now(),
            policy,
        }
    }
}

/// What becomes of a request's field on its way to the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guarded {
    /// It passes.
    No,
    /// It never passes: it is for one hop, or ours to say, or secret.
    Always,
    /// It passes from a proven provider.
    UnlessProven,
    /// It passes from a proven provider of that kind.
    ClientAddressOf(Kind),
    /// `Expect` passes where we wait for the answer to it.
    Expect,
    /// `Range` passes while it asks for few.
    Range,
    /// The trace context: what becomes of it is the pull's [`crate::trace::Trace`] to say.
    Trace,
}

/// For one hop alone, or said by us. `Proxy` is what CGI programs take for a setting of their own.
const ALWAYS: [&str; 18] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
    "host",
    "content-length",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "forwarded",
    "x-real-ip",
    "x-request-id",
    "proxy",
    "proxy-authorization",
    "proxy-authenticate",
];

/// Where apps look for an address, a scheme, a host, a path or a country that only a proxy may say.
const UNLESS_PROVEN: [&str; 22] = [
    "x-forwarded",
    "x-forwarded-by",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-protocol",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-forwarded-ssl",
    "x-original-forwarded-for",
    "x-original-url",
    "x-rewrite-url",
    "x-url-scheme",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-proxyuser-ip",
    "client-ip",
    "forwarded-for",
    "front-end-https",
    "cf-connecting-ipv6",
    "cf-ipcountry",
    "cf-visitor",
    "fastly-ssl",
];

/// Finds guarded fields by name. `_` counts as `-`: to a CGI program both are one name.
pub(crate) struct Guard {
    by_length: Vec<Vec<(String, Guarded)>>,
}

impl Guard {
    fn new(policy: &Policy) -> Self {
        let mut names: Vec<(String, Guarded)> = Vec::new();
        names.extend(ALWAYS.map(|name| (name.into(), Guarded::Always)));
        names.push((policy.identify.header.to_ascii_lowercase(), Guarded::Always));
        for secret in policy.providers.iter().filter_map(|provider| provider.secret.as_ref()) {
            names.push((secret.header.to_ascii_lowercase(), Guarded::Always));
        }
        names.extend(UNLESS_PROVEN.map(|name| (name.into(), Guarded::UnlessProven)));
        for kind in Kind::all() {
            if let Some(header) = kind.client_address_header() {
                names.push((header.to_ascii_lowercase(), Guarded::ClientAddressOf(kind)));
            }
        }
        names.push(("expect".into(), Guarded::Expect));
        names.push(("range".into(), Guarded::Range));
        if policy.trace.is_some() {
            names.extend(["traceparent", "tracestate"].map(|name| (name.into(), Guarded::Trace)));
        }
        let longest = names.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let mut by_length = vec![Vec::new(); longest + 1];
        for (name, guarded) in names {
            by_length[name.len()].push((name.replace('_', "-"), guarded));
        }
        Self { by_length }
    }

    /// What becomes of a field of that name.
    pub fn of(&self, name: &[u8]) -> Guarded {
        let Some(candidates) = self.by_length.get(name.len()) else { return Guarded::No };
        for (guarded_name, guarded) in candidates {
            let alike = name
                .iter()
                .zip(guarded_name.bytes())
                .all(|(&b, wanted)| b.to_ascii_lowercase() == wanted || (b == b'_' && wanted == b'-'));
            if alike {
                // The twin of a guarded name has no other use than to be taken for it.
                let is_twin = name.contains(&b'_');
                return if is_twin { Guarded::Always } else { *guarded };
            }
        }
        Guarded::No
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_spelling_gets_a_guarded_name_past(
            name in prop::sample::select([&ALWAYS[..], &UNLESS_PROVEN, &["x-cdn-provider", "true-client-ip", "expect"]].concat()),
            capitals in any::<u64>(), twins in any::<u64>(),
        ) {
            let policy = headwater_config::from_text("t", "[origin]\nservers = [\"a:1\"]\n").0.unwrap();
            let guard = Guard::new(&policy);
            let spelt = name.bytes().enumerate().map(|(at, b)| match b {
                b'-' if twins >> at & 1 == 1 => b'_',
                b if capitals >> at & 1 == 1 => b.to_ascii_uppercase(),
                b => b,
            });
            let spelt: Vec<u8> = spelt.collect();
            let expected = if spelt.contains(&b'_') { Guarded::Always } else { guard.of(name.as_bytes()) };
            prop_assert_ne!(expected, Guarded::No);
            prop_assert_eq!(guard.of(&spelt), expected, "{}", String::from_utf8_lossy(&spelt));
        }

        #[test]
        fn a_name_that_is_not_guarded_passes(name in "[a-zA-Z_-]{1,30}") {
            let policy = headwater_config::from_text("t", "[origin]\nservers = [\"a:1\"]\n").0.unwrap();
            let plain = name.to_ascii_lowercase().replace('_', "-");
            let guarded = ALWAYS.contains(&plain.as_str()) || UNLESS_PROVEN.contains(&plain.as_str());
            prop_assert!(guarded || Guard::new(&policy).of(name.as_bytes()) == Guarded::No);
        }
    }

    #[test]
    fn names_are_guarded_with_their_underscore_twins() {
        let text = r#"
            [origin]
            servers = ["a:1"]
            [[cdn]]
            name = "f"
            kind = "fastly"
            secret = { header = "X-CDN-Secret", values = ["0123456789abcdef0123"] }
        "#;
        let guard = Guard::new(&headwater_config::from_text("t", text).0.unwrap());
        for name in
            ["X_Forwarded-For", "x-cdn_secret", "X-CDN-Secret", "X_CDN_Provider", "Connection", "Fastly_Client_IP"]
        {
            assert_eq!(guard.of(name.as_bytes()), Guarded::Always, "{name}");
        }
        assert_eq!(guard.of(b"Fastly-Client-IP"), Guarded::ClientAddressOf(Kind::Fastly));
        for name in ["X-Forwarded-Fox", "my_header", "Cookie", "", "X-CDN-Secrets"] {
            assert_eq!(guard.of(name.as_bytes()), Guarded::No, "{name}");
        }
    }
}
