//! Beacons and reports: what browsers tell of failures, answered here while the app is down.

use crate::downstream::Downstream;
use crate::fields::Fields;
use crate::http1::head::Refusal;
use crate::pull::Pull;
use crate::reports;
use crate::response::Response;
use percent_encoding::percent_decode;
use serde_json::Value;

/// A transparent pixel.
const GIF: &[u8; 43] = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\x00\x00\x00\x21\xf9\x04\x01\x00\x00\x00\x00\x2c\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02\x44\x01\x00\x3b";
/// What a browser sends in one go (the limit of `sendBeacon`, and of a batch of reports).
const LARGEST_BODY: u64 = 64 << 10;
const MOST_REPORTS: usize = 100;
const BEACON_METHODS: &str = "GET, HEAD, POST, OPTIONS";
const REPORT_METHODS: &str = "POST, OPTIONS";

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
            let named = source(pull.request.query()).or_else(|| source_in_body(&body)).unwrap_or_default();
            count_beacon(pull, &named);
            Ok(no_content(&pull.request.fields))
        }
        "OPTIONS" => Ok(options(&pull.request.fields, BEACON_METHODS)),
        _ => Ok(not_allowed(BEACON_METHODS)),
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

/// The same in what `navigator.sendBeacon` posts: a form, or an object in JSON.
fn source_in_body(body: &[u8]) -> Option<String> {
    if !body.trim_ascii_start().starts_with(b"{") {
        return source(body);
    }
    let object: Value = serde_json::from_slice(body).ok()?;
    let named = ["source", "beacon_source"].iter().find_map(|name| object[*name].as_str());
    named.map(|source| source.trim().to_string())
}

fn count_beacon(pull: &Pull<'_>, source: &str) {
    let figures = &pull.worker.shared.figures;
    let label = figures.source_label(source, &pull.live.policy.beacon.sources, &pull.live.meters.labels);
    figures.beacons.with_label_values(&[label.as_str(), pull.label()]).inc();
    figures.countries.with_label_values(&[pull.live.policy.country(pull.client).as_str()]).inc();
}

async fn answer_reports(pull: &Pull<'_>, down: &mut Downstream<'_>) -> Result<Response, Refusal> {
    match pull.request.method() {
        "OPTIONS" => return Ok(options(&pull.request.fields, REPORT_METHODS)),
        "POST" => {}
        _ => return Ok(not_allowed(REPORT_METHODS)),
    }
    let body = down.collect(pull.request.framing, LARGEST_BODY, &pull.live.policy.limits).await?;
    let reports: Vec<Value> =
        serde_json::from_slice(&body).map_err(|_| Refusal::Malformed("this is no batch of reports in JSON"))?;
    if reports.len() > MOST_REPORTS {
        return Err(Refusal::Malformed("there are more than 100 reports in this batch"));
    }
    for report in &reports {
        let (kind, phase, cdn) = reports::labels(report, &pull.live.policy, &pull.live.edges);
        pull.worker.shared.figures.reports.with_label_values(&[kind, phase, cdn]).inc();
    }
    Ok(no_content(&pull.request.fields))
}

fn no_content(request: &Fields) -> Response {
    let mut response = Response::empty(204);
    response.fields.push("Cache-Control", b"no-store");
    permit(&mut response.fields, request);
    response
}

/// What may be asked here; to a browser that asks before it posts another type than a form's (the Fetch standard, "HTTP CORS
/// protocol"), also what it may post.
fn options(request: &Fields, allow: &str) -> Response {
    let mut response = no_content(request);
    response.fields.push("Allow", allow.as_bytes());
    if response.fields.has("Access-Control-Allow-Origin") && request.has("Access-Control-Request-Method") {
        response.fields.push("Access-Control-Allow-Methods", b"POST");
        response.fields.push("Access-Control-Allow-Headers", b"content-type");
        response.fields.push("Access-Control-Max-Age", b"86400");
    }
    response
}

/// Lets any page post here. `navigator.sendBeacon` sends cookies along, and then the Fetch standard takes no `*`. There is
/// nothing in the answer that a page could learn.
fn permit(answer: &mut Fields, request: &Fields) {
    answer.push("Vary", b"Origin");
    let mut origins = request.all("Origin");
    if let (Some(origin), None) = (origins.next(), origins.next())
        && is_origin(origin)
    {
        answer.push("Access-Control-Allow-Origin", origin);
        answer.push("Access-Control-Allow-Credentials", b"true");
    }
}

/// An origin as browsers write it (RFC 6454, section 6.2): `null`, or scheme, host, and the port unless it is the usual one.
fn is_origin(text: &[u8]) -> bool {
    let is_scheme = |scheme: &[u8]| {
        scheme.first().is_some_and(u8::is_ascii_lowercase)
            && scheme.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(b))
    };
    let is_place =
        |place: &[u8]| !place.is_empty() && place.iter().all(|b| b.is_ascii_alphanumeric() || b"-._[]:".contains(b));
    let colon = text.iter().position(|&b| b == b':').unwrap_or(text.len());
    let (scheme, rest) = text.split_at(colon);
    text == b"null" || (text.len() <= 300 && is_scheme(scheme) && rest.strip_prefix(b"://").is_some_and(is_place))
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

    #[test]
    fn a_source_is_read_from_what_a_page_posts() {
        for (body, expected) in [
            ("x=1&source=a", Some("a")),
            (r#"{"source":"fastly_503","x":[1]}"#, Some("fastly_503")),
            (r#" {"beacon_source":" b "}"#, Some("b")),
            (r#"{"x":"&source=a"}"#, None),
            (r#"{"source":7}"#, None),
            (r#"{"source""#, None),
            ("", None),
        ] {
            assert_eq!(source_in_body(body.as_bytes()).as_deref(), expected, "{body}");
        }
    }

    #[test]
    fn an_origin_is_told_from_what_is_none() {
        for good in ["null", "https://example.com", "http://localhost:8080", "https://[::1]:8443", "capacitor://app"] {
            assert!(is_origin(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            "*",
            "https://",
            "example.com",
            "https://a/b",
            "https://a b",
            "https://a, https://b",
            "://a",
            "1s://a",
            "https://\u{e9}",
        ] {
            assert!(!is_origin(bad.as_bytes()), "{bad}");
        }
    }
}
