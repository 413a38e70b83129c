//! AWS Signature Version 4 in a request's head, by "Create a signed AWS API request" in the IAM User Guide.
//!
//! It is for requests whose targets we write: it does not normalise paths. AWS's own crate for it would bring 24 others.

use crate::secret::Secret;
use aws_lc_rs::digest::{self, SHA256};
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use http::{HeaderValue, Request, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::collections::BTreeMap;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, UtcOffset};

const MOMENT: &[BorrowedFormatItem<'_>] = format_description!("[year][month][day]T[hour][minute][second]Z");
/// RFC 3986, section 2.3, and the slash.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// What AWS knows a caller by. The session's token belongs to keys that expire.
#[derive(Clone, Debug)]
pub struct AccessKey {
    pub id: String,
    pub secret: Secret,
    pub session_token: Option<Secret>,
}

/// Where a signature holds.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    pub region: &'a str,
    pub service: &'a str,
}

impl AccessKey {
    /// Signs the request with every header that it has so far, and its body. AWS takes it within five minutes of `now`.
    pub fn sign<B: AsRef<[u8]>>(&self, request: &mut Request<B>, scope: Scope<'_>, now: OffsetDateTime) {
        let moment = now.to_offset(UtcOffset::UTC).format(MOMENT).unwrap_or_default();
        let headers = request.headers_mut();
        headers.insert("x-amz-date", ascii(&moment));
        if let Some(token) = &self.session_token {
            headers.insert("x-amz-security-token", hidden(token.reveal()));
        }
        let (canonical, signed) = canonical(request);
        let day = moment.get(..8).unwrap_or_default();
        let scope_text = format!("{day}/{}/{}/aws4_request", scope.region, scope.service);
        let to_sign = format!("AWS4-HMAC-SHA256\n{moment}\n{scope_text}\n{}", hash(canonical.as_bytes()));
        let first = format!("AWS4{}", self.secret.reveal()).into_bytes();
        let key = [day, scope.region, scope.service, "aws4_request"]
            .iter()
            .fold(first, |key, part| mac(&key, part).as_ref().to_vec());
        let signature = hex(mac(&key, &to_sign).as_ref());
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope_text}, SignedHeaders={signed}, Signature={signature}",
            self.id
        );
        request.headers_mut().insert(header::AUTHORIZATION, hidden(&authorization));
    }
}

/// The canonical request, and the names of its headers.
fn canonical<B: AsRef<[u8]>>(request: &Request<B>) -> (String, String) {
    let mut headers = BTreeMap::<&str, Vec<String>>::new();
    for (name, value) in request.headers() {
        let value = String::from_utf8_lossy(value.as_bytes());
        let value = value.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
        headers.entry(name.as_str()).or_default().push(value);
    }
    if let Some(authority) = request.uri().authority() {
        headers.entry("host").or_insert_with(|| vec![authority.to_string()]);
    }
    let signed = headers.keys().copied().collect::<Vec<_>>().join(";");
    let lines = headers.iter().map(|(name, values)| format!("{name}:{}\n", values.join(","))).collect::<String>();
    let path = utf8_percent_encode(request.uri().path(), PATH);
    let query = request.uri().query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let mut query = query.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).collect::<Vec<_>>();
    query.sort_unstable();
    let query = query.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&");
    let body = hash(request.body().as_ref());
    (format!("{}\n{path}\n{query}\n{lines}\n{signed}\n{body}", request.method()), signed)
}

fn mac(key: &[u8], data: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(HMAC_SHA256, key), data.as_bytes())
}

/// SHA-256 in hexadecimal.
fn hash(data: &[u8]) -> String {
    hex(digest::digest(&SHA256, data).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Text that is ASCII by its making, or by what was checked when it was made known.
fn ascii(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// A value that Debug of a request does not show.
fn hidden(text: &str) -> HeaderValue {
    let mut value = ascii(text);
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use time::format_description::well_known::Rfc3339;

    #[derive(Deserialize)]
    struct Vectors {
        access_key_id: String,
        secret_access_key: String,
        region: String,
        service: String,
        timestamp: String,
        cases: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        name: String,
        method: String,
        target: String,
        headers: Vec<(String, String)>,
        body: String,
        sign_body: bool,
        token: Option<String>,
        canonical_request: String,
        signature: String,
    }

    #[test]
    fn the_signatures_are_those_that_aws_publishes() {
        let vectors: Vectors = serde_json::from_str(include_str!("../vectors/sigv4.json")).unwrap();
        let now = OffsetDateTime::parse(&vectors.timestamp, &Rfc3339).unwrap();
        let scope = Scope { region: &vectors.region, service: &vectors.service };
        for case in &vectors.cases {
            let mut request = Request::builder().method(case.method.as_str()).uri(&case.target);
            for (name, value) in &case.headers {
                request = request.header(name, value.trim());
            }
            if case.sign_body {
                request = request.header("x-amz-content-sha256", hash(case.body.as_bytes()));
            }
            let mut request = request.body(case.body.as_bytes()).unwrap();
            let key = AccessKey {
                id: vectors.access_key_id.clone(),
                secret: vectors.secret_access_key.as_str().into(),
                session_token: case.token.as_deref().map(Into::into),
            };
            key.sign(&mut request, scope, now);
            let mut authorization = request.headers_mut().remove("authorization").unwrap();
            assert_eq!(canonical(&request).0, case.canonical_request, "{}", case.name);
            authorization.set_sensitive(false);
            let authorization = authorization.to_str().unwrap();
            assert!(authorization.ends_with(&format!(", Signature={}", case.signature)), "{}", case.name);
        }
        assert_eq!(vectors.cases.len(), 20);
    }

    #[test]
    fn a_signed_request_shows_no_secret() {
        let key = AccessKey { id: "AKID".into(), secret: "s3cret".into(), session_token: Some("t0ken".into()) };
        let mut request = Request::builder().uri("https://a.example/").body("").unwrap();
        key.sign(&mut request, Scope { region: "r", service: "s" }, OffsetDateTime::UNIX_EPOCH);
        let shown = format!("{key:?} {request:?}");
        assert!(shown.contains("AKID") && !shown.contains("s3cret") && !shown.contains("t0ken"), "{shown}");
        assert!(!shown.contains("Signature="), "{shown}");
    }
}
