//! Who may change something: whoever has the token, and no page of another site on his behalf.

use super::answer::{self, Answer};
use headwater_config::Control;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Request, StatusCode};
use subtle::ConstantTimeEq;

/// The refusal of a request that would change something and may not.
pub(crate) fn refuse<B>(control: &Control, request: &Request<B>) -> Option<Answer> {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return None;
    }
    if !is_same_site(request) {
        return Some(answer::text(StatusCode::FORBIDDEN, "a page of another site may change nothing here\n"));
    }
    let Some(token) = &control.token else {
        // Without a token only this machine is listened to, and of its browsers only our own pages.
        return None;
    };
    let sent = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
    let sent = sent.strip_prefix(b"Bearer ").unwrap_or_default();
    if bool::from(token.expose().ct_eq(sent)) {
        return None;
    }
    let mut refusal = answer::text(StatusCode::UNAUTHORIZED, "send Authorization: Bearer TOKEN\n");
    refusal.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    Some(refusal)
}

/// Whether a request comes from a page of ours, or from no page at all. `Host` is compared with `Origin` whole, port
/// included; browsers say `Sec-Fetch-Site` beside it.
fn is_same_site<B>(request: &Request<B>) -> bool {
    let header = |name| request.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    if header("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none") {
        return false;
    }
    match header("origin") {
        None => true,
        Some(origin) => origin.split_once("://").is_some_and(|(_, origin)| Some(origin) == header("host")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn post(headers: &[(&str, &str)]) -> Request<()> {
        headers
            .iter()
            .fold(Request::post("/"), |request, (name, value)| request.header(*name, *value))
            .body(())
            .unwrap()
    }

    #[test]
    fn a_page_of_another_site_changes_nothing() {
        assert!(is_same_site(&post(&[("host", "hw:9280")])), "curl");
        assert!(is_same_site(&post(&[
            ("host", "hw:9280"),
            ("origin", "http://hw:9280"),
            ("sec-fetch-site", "same-origin")
        ])));
        assert!(!is_same_site(&post(&[("host", "hw:9280"), ("origin", "http://hw:9281")])));
        assert!(!is_same_site(&post(&[("host", "hw:9280"), ("origin", "https://evil.example")])));
        assert!(!is_same_site(&post(&[("host", "hw:9280"), ("origin", "null")])));
        assert!(!is_same_site(&post(&[("host", "hw:9280"), ("sec-fetch-site", "cross-site")])));
    }
}
