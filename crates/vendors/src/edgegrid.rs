//! Akamai's EdgeGrid signature, EG1-HMAC-SHA256, as Akamai's own clients make it.

use crate::secret::Secret;
use aws_lc_rs::digest::{self, SHA256};
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Method, Request, header};
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, UtcOffset};

const MOMENT: &[BorrowedFormatItem<'_>] = format_description!("[year][month][day]T[hour]:[minute]:[second]+0000");
/// How much of a body is signed, in bytes: `max_body` of an `.edgerc` by default.
const SIGNED_BODY: usize = 131_072;

/// An API client of Akamai, as its `.edgerc` says it.
#[derive(Clone, Debug)]
pub struct ApiClient {
    pub client_token: Secret,
    pub client_secret: Secret,
    pub access_token: Secret,
}

impl ApiClient {
    /// Signs a request that has an absolute URI. Akamai takes a moment within half a minute of its own, and a nonce once.
    pub fn sign<B: AsRef<[u8]>>(&self, request: &mut Request<B>, now: OffsetDateTime) {
        let moment = now.to_offset(UtcOffset::UTC).format(MOMENT).unwrap_or_default();
        let authorization = self.authorization(request, &moment, &nonce(), &[], SIGNED_BODY);
        if let Ok(mut value) = HeaderValue::from_str(&authorization) {
            value.set_sensitive(true);
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
    }

    fn authorization<B: AsRef<[u8]>>(
        &self,
        request: &Request<B>,
        moment: &str,
        nonce: &str,
        signed_headers: &[&str],
        signed_body: usize,
    ) -> String {
        let claim = format!(
            "EG1-HMAC-SHA256 client_token={};access_token={};timestamp={moment};nonce={nonce};",
            self.client_token.reveal(),
            self.access_token.reveal()
        );
        let key = mac(self.client_secret.reveal(), moment);
        let signature = mac(&key, &to_sign(request, &claim, signed_headers, signed_body));
        format!("{claim}signature={signature}")
    }
}

/// What is signed: seven fields with tabs between them.
fn to_sign<B: AsRef<[u8]>>(request: &Request<B>, claim: &str, signed: &[&str], signed_body: usize) -> String {
    let uri = request.uri();
    let headers = signed.iter().filter_map(|name| {
        let value = String::from_utf8_lossy(request.headers().get(*name)?.as_bytes());
        Some(format!("{}:{}", name.to_ascii_lowercase(), value.split_whitespace().collect::<Vec<_>>().join(" ")))
    });
    let headers = headers.collect::<Vec<_>>().join("\t");
    let body = request.body().as_ref();
    let hash = if request.method() == Method::POST && !body.is_empty() {
        STANDARD.encode(digest::digest(&SHA256, &body[..body.len().min(signed_body)]))
    } else {
        String::new()
    };
    let host = uri.host().unwrap_or_default().to_ascii_lowercase();
    // A port is no part of Akamai's hosts; a simulated vendor has one.
    let host = uri.port().map_or_else(|| host.clone(), |port| format!("{host}:{port}"));
    let (scheme, target) =
        (uri.scheme_str().unwrap_or("https"), uri.path_and_query().map_or("/", |target| target.as_str()));
    [request.method().as_str(), scheme, &host, target, &headers, &hash, claim].join("\t")
}

/// HMAC-SHA256 in base64.
fn mac(key: &str, data: &str) -> String {
    STANDARD.encode(hmac::sign(&hmac::Key::new(HMAC_SHA256, key.as_bytes()), data.as_bytes()))
}

/// 128 random bits in the form of a UUID, as Akamai's clients send them.
fn nonce() -> String {
    let mut bytes = [0; 16];
    // Without randomness no TLS connection came this far either.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    let number = u128::from_be_bytes(bytes);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        number >> 96,
        number >> 80 & 0xffff,
        number >> 64 & 0xffff,
        number >> 48 & 0xffff,
        number & 0xffff_ffff_ffff
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use std::collections::BTreeMap;

    #[derive(Deserialize)]
    struct Vectors {
        base_url: String,
        access_token: String,
        client_token: String,
        client_secret: String,
        max_body: usize,
        headers_to_sign: Vec<String>,
        nonce: String,
        timestamp: String,
        cases: Vec<Case>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Case {
        test_name: String,
        request: Asked,
        expected_authorization: String,
        expected_data_to_sign: Option<String>,
    }

    #[derive(Deserialize)]
    struct Asked {
        method: String,
        path: String,
        #[serde(default)]
        headers: Vec<BTreeMap<String, String>>,
        #[serde(default)]
        data: String,
    }

    #[test]
    fn the_signatures_are_those_that_akamai_publishes() {
        let vectors: Vectors = serde_json::from_str(include_str!("../vectors/edgegrid.json")).unwrap();
        let client = ApiClient {
            client_token: vectors.client_token.as_str().into(),
            client_secret: vectors.client_secret.as_str().into(),
            access_token: vectors.access_token.as_str().into(),
        };
        let signed = vectors.headers_to_sign.iter().map(String::as_str).collect::<Vec<_>>();
        for case in &vectors.cases {
            let uri = format!("{}{}", vectors.base_url.trim_end_matches('/'), case.request.path);
            let mut request = Request::builder().method(case.request.method.as_str()).uri(uri);
            for (name, value) in case.request.headers.iter().flatten() {
                request = request.header(name, value);
            }
            let request = request.body(case.request.data.as_bytes()).unwrap();
            if let Some(expected) = &case.expected_data_to_sign {
                assert_eq!(&to_sign(&request, "", &signed, vectors.max_body), expected, "{}", case.test_name);
            }
            let made = client.authorization(&request, &vectors.timestamp, &vectors.nonce, &signed, vectors.max_body);
            assert_eq!(made, case.expected_authorization, "{}", case.test_name);
        }
        assert_eq!(vectors.cases.len(), 15);
    }

    #[test]
    fn no_two_questions_have_one_nonce_and_none_shows_a_token() {
        let client = ApiClient { client_token: "ct".into(), client_secret: "cs".into(), access_token: "at".into() };
        let mut request = Request::builder().uri("https://a.luna.akamaiapis.net/").body("").unwrap();
        client.sign(&mut request, OffsetDateTime::UNIX_EPOCH);
        let first = request.headers()["authorization"].clone();
        let said = first.to_str().unwrap();
        assert!(
            said.contains("timestamp=19700101T00:00:00+0000;nonce=") && said.contains("access_token=at;"),
            "{said}"
        );
        client.sign(&mut request, OffsetDateTime::UNIX_EPOCH);
        assert_ne!(request.headers()["authorization"], first);
        let shown = format!("{client:?} {request:?}");
        assert!(!shown.contains("token=") && !shown.contains("\"c"), "{shown}");
    }
}
