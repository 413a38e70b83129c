//! Who may push: whoever has the stream's token.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use headwater_config::{EdgeLogs, LineFormat};
use http::Request;
use http::header::AUTHORIZATION;
use subtle::ConstantTimeEq;

/// Whether the request carries the token: in `Authorization` as Bearer or as Basic's password, in Firehose's own header,
/// or, for lines of no vendor that could do better, as the parameter `token` of the query.
pub(super) fn is_admitted<B>(logs: &EdgeLogs, request: &Request<B>) -> bool {
    let header = |name: &str| request.headers().get(name).map(|value| value.as_bytes());
    let is_token = |sent: &[u8]| bool::from(logs.token.expose().ct_eq(sent));
    if header("x-amz-firehose-access-key").is_some_and(is_token) {
        return true;
    }
    if let Some(sent) = header(AUTHORIZATION.as_str()) {
        return match scheme(sent) {
            Some(("bearer", sent)) => is_token(sent),
            Some(("basic", sent)) => STANDARD.decode(sent).is_ok_and(|pair| {
                let colon = pair.iter().position(|b| *b == b':');
                colon.is_some_and(|colon| is_token(&pair[colon + 1..]))
            }),
            _ => false,
        };
    }
    logs.format == LineFormat::Ndjson
        && request.uri().query().is_some_and(|query| {
            query.split('&').filter_map(|pair| pair.strip_prefix("token=")).any(|sent| is_token(sent.as_bytes()))
        })
}

fn scheme(sent: &[u8]) -> Option<(&'static str, &[u8])> {
    ["bearer", "basic"].into_iter().find_map(|scheme| {
        let (word, rest) = sent.split_at_checked(scheme.len())?;
        (word.eq_ignore_ascii_case(scheme.as_bytes()) && rest.starts_with(b" ")).then(|| (scheme, rest.trim_ascii()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn is_admitted_with(kind: &str, uri: &str, headers: &[(&str, &str)]) -> bool {
        let config = format!(
            "[origin]\nservers = [\"a:1\"]\n[[cdn]]\nname = \"c\"\nkind = \"{kind}\"\nnetworks = [\"192.0.2.0/24\"]\n\
             logs = {{ token = \"{TOKEN}\" }}\n"
        );
        let logs = headwater_config::from_text("t", &config).0.unwrap().providers.remove(0).logs.unwrap();
        let request = headers.iter().fold(Request::post(uri), |request, (name, value)| request.header(*name, *value));
        is_admitted(&logs, &request.body(()).unwrap())
    }

    #[test]
    fn the_token_comes_as_the_vendor_can_send_it() {
        let basic = format!("Basic {}", STANDARD.encode(format!("akamai:{TOKEN}")));
        for headers in [
            ("authorization", format!("Bearer {TOKEN}")),
            ("authorization", format!("bearer  {TOKEN}")),
            ("authorization", basic),
            ("x-amz-firehose-access-key", TOKEN.into()),
        ] {
            assert!(is_admitted_with("fastly", "/ingest/c", &[(headers.0, &headers.1)]), "{headers:?}");
        }
        let query = format!("/ingest/c?a=b&token={TOKEN}");
        assert!(is_admitted_with("generic", &query, &[]));
        assert!(!is_admitted_with("fastly", &query, &[]), "Fastly can send a header, and a query stands in logs");
    }

    #[test]
    fn anything_else_is_refused() {
        for value in [
            "",
            "Bearer",
            "Bearer ",
            TOKEN,
            "Bearer 0123456789abcdeX",
            "Bearer 0123456789abcdef0",
            "Basic ?",
            "Basic YQ==",
        ] {
            assert!(!is_admitted_with("fastly", "/ingest/c", &[("authorization", value)]), "{value}");
        }
        assert!(!is_admitted_with("generic", "/ingest/c?token=", &[]));
        assert!(!is_admitted_with("generic", "/ingest/c", &[]));
    }
}
