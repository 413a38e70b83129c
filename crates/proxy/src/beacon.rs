//! Beacons and reports: what browsers tell of failures, answered here while the app is down.

use crate::downstream::Downstream;
use crate::http1::head::Refusal;
use crate::pull::Pull;
use crate::response::Response;
use headwater_config::Policy;
use percent_encoding::percent_decode;
use serde_json::Value;
use std::net::IpAddr;

/// A transparent pixel.
const GIF: &[u8; 43] = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\x00\x00\x00\x21\xf9\x04\x01\x00\x00\x00\x00\x2c\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02\x44\x01\x00\x3b";
/// What a browser sends in one go (the limit of `sendBeacon`, and of a batch of reports).
const LARGEST_BODY: u64 = 64 << 10;
const MOST_REPORTS: usize = 100;

/// Answers a beacon or a batch of reports; `None`: the pull is neither.
pub(crate) async fn intercept(pull: &Pull<'_>, down: &mut Downstream<'_>) -> Option<Result<Response, Refusal>> {
    let beacon = &pull.live.policy.beacon;
    let path = pull.request.path();
    if path == beacon.path.as_bytes() {
        Some(answer_beacon(pull, down).await)
    } else if path == beacon.reports.as_bytes() {
        Some(answer_reports(pull, down).await)
    } else {
        None
    }
}

async fn answer_beacon(pull: &Pull<'_>, down: &mut Downstream<'_>) -> Result<Response, Refusal> {
    match pull.request.method() {
        "GET" | "HEAD" => {
            let mut response = Response::new(200, "image/gif", &GIF[..]);
            response.fields.push("Cache-Control", b"no-store");
            count_beacon(pull, &source(pull.request.query()).unwrap_or_default());
            Ok(response)
        }
        "POST" => {
            let body = down.collect(pull.request.framing, LARGEST_BODY, &pull.live.policy.limits).await?;
            let named = source(pull.request.query()).or_else(|| source(&body)).unwrap_or_default();
            count_beacon(pull, &named);
            Ok(no_content())
        }
        "OPTIONS" => Ok(preflight()),
        _ => Ok(not_allowed("GET, HEAD, POST, OPTIONS")),
    }
}

/// The source in a query or a form: `source`, or `beacon_source` as old pages have it.
fn source(form: &[u8]) -> Option<String> {
    form.split(|&b| b == b'&').find_map(|pair| {
        let (name, value) = pair.split_at(pair.iter().position(|&b| b == b'=')?);
        (name == b"source" || name == b"beacon_source")
            .then(|| percent_decode(value[1..].trim_ascii()).decode_utf8_lossy().into_owned())
    })
}

fn count_beacon(pull: &Pull<'_>, source: &str) {
    let figures = &pull.worker.shared.figures;
    let label = figures.source_label(source, &pull.live.policy.beacon.sources);
    figures.beacons.with_label_values(&[label.as_str(), pull.label()]).inc();
    figures.countries.with_label_values(&[country(&pull.live.policy, pull.client).as_str()]).inc();
}

/// The ISO 3166 code of the address's country, or `unknown`.
pub(crate) fn country(policy: &Policy, address: IpAddr) -> String {
    let lookup = || {
        let path = [maxminddb::PathElement::Key("country"), maxminddb::PathElement::Key("iso_code")];
        let found = policy.geo.as_ref()?.lookup(address).ok()?;
        found.decode_path::<&str>(&path).ok()?
    };
    // Two capital letters and nothing else: the database is a stranger's too.
    lookup()
        .filter(|code| code.len() == 2 && code.bytes().all(|b| b.is_ascii_uppercase()))
        .map_or_else(|| "unknown".into(), str::to_string)
}

async fn answer_reports(pull: &Pull<'_>, down: &mut Downstream<'_>) -> Result<Response, Refusal> {
    match pull.request.method() {
        "OPTIONS" => return Ok(preflight()),
        "POST" => {}
        _ => return Ok(not_allowed("POST, OPTIONS")),
    }
    let body = down.collect(pull.request.framing, LARGEST_BODY, &pull.live.policy.limits).await?;
    let reports: Vec<Value> =
        serde_json::from_slice(&body).map_err(|_| Refusal::Malformed("this is no batch of reports in JSON"))?;
    if reports.len() > MOST_REPORTS {
        return Err(Refusal::Malformed("there are more than 100 reports in this batch"));
    }
    for report in &reports {
        let (kind, phase, cdn) = labels(report, &pull.live.policy);
        pull.worker.shared.figures.reports.with_label_values(&[kind, phase, cdn]).inc();
    }
    Ok(no_content())
}

/// Type, phase and provider of a report, each from a closed set.
fn labels<'p>(report: &Value, policy: &'p Policy) -> (&'static str, &'static str, &'p str) {
    const TYPES: [&str; 8] = [
        "network-error",
        "csp-violation",
        "deprecation",
        "intervention",
        "crash",
        "permissions-policy-violation",
        "coep",
        "coop",
    ];
    const PHASES: [&str; 3] = ["dns", "connection", "application"];
    let of = |set: &[&'static str], value: &Value, missing| match value.as_str() {
        Some(text) => set.iter().find(|known| **known == text).copied().unwrap_or("other"),
        None => missing,
    };
    let body = &report["body"];
    let server = body["server_ip"].as_str().and_then(|text| text.parse::<IpAddr>().ok());
    let provider =
        server.and_then(|server| policy.providers.iter().find(|provider| provider.networks.contains(server)));
    (
        of(&TYPES, &report["type"], "other"),
        of(&PHASES, &body["phase"], "none"),
        provider.map_or("unknown", |provider| provider.name.as_str()),
    )
}

fn no_content() -> Response {
    let mut response = Response::empty(204);
    response.fields.push("Cache-Control", b"no-store");
    response.fields.push("Access-Control-Allow-Origin", b"*");
    response
}

/// What a browser asks before it posts another type than a form's (the Fetch standard, section 3.2.2).
fn preflight() -> Response {
    let mut response = no_content();
    response.fields.push("Access-Control-Allow-Methods", b"POST, OPTIONS");
    response.fields.push("Access-Control-Allow-Headers", b"content-type");
    response.fields.push("Access-Control-Max-Age", b"86400");
    response
}

fn not_allowed(allow: &str) -> Response {
    let mut response = crate::whoopsie::refused(405, "this path takes other methods");
    response.fields.push("Allow", allow.as_bytes());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_read_from_a_query_whatever_stands_beside_it() {
        for (query, expected) in [
            ("source=fastly_503&server_identity=cache-ny57-NYC", Some("fastly_503")),
            ("beacon_source=akamai_504", Some("akamai_504")),
            ("x=1&source=a%20b", Some("a b")),
            ("source=", Some("")),
            ("sourceless=1", None),
            ("", None),
        ] {
            assert_eq!(source(query.as_bytes()).as_deref(), expected, "{query}");
        }
    }
}
