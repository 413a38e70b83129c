//! Heads of HTTP/2, said as HTTP/1 says them: one parser judges both, and the app sees no difference.

use crate::access_log::Clock;
use crate::fields::Fields;
use crate::http1::head::{Framing, Refusal, RequestHead, Version};
use crate::response::Response;
use headwater_config::Limits;
use http::header::{CONTENT_LENGTH, COOKIE, DATE, HOST};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// A request's head. `has_body`: whether the stream goes on behind it.
pub(crate) fn request_head(parts: &Parts, has_body: bool, limits: &Limits) -> Result<RequestHead, Refusal> {
    let text = request_text(parts)?;
    if text.len() > limits.max_head {
        return Err(Refusal::HeadTooLarge);
    }
    let mut head = RequestHead::parse(&text, limits.max_fields)?;
    head.version = Version::Http2;
    match (head.framing, has_body) {
        // Where no length is given, the end of the stream ends the body.
        (Framing::Empty, true) if !head.fields.has("Content-Length") => head.framing = Framing::Chunked,
        (Framing::Length(_), false) => return Err(Refusal::Malformed("there is a Content-Length and no body")),
        _ => {}
    }
    Ok(head)
}

fn request_text(parts: &Parts) -> Result<Vec<u8>, Refusal> {
    let authority = parts.uri.authority().map(|authority| authority.as_str());
    let target = parts.uri.path_and_query().map(|path| path.as_str()).or(authority).unwrap_or("");
    let mut text = Vec::with_capacity(1024);
    for word in [parts.method.as_str(), " ", target, " HTTP/1.1\r\n"] {
        text.extend_from_slice(word.as_bytes());
    }
    if let Some(authority) = authority {
        // RFC 9113, section 8.3.1: a Host field that says something else makes the request malformed.
        let agrees = |host: &HeaderValue| host.as_bytes().eq_ignore_ascii_case(authority.as_bytes());
        if !parts.headers.get_all(HOST).iter().all(agrees) {
            return Err(Refusal::Malformed("the Host header names another host than the :authority"));
        }
        write_line(&mut text, b"host", authority.as_bytes());
    }
    for (name, value) in &parts.headers {
        if name != COOKIE && (name != HOST || authority.is_none()) {
            write_line(&mut text, name.as_str().as_bytes(), value.as_bytes());
        }
    }
    // Cookies may come in crumbs, each compressed on its own; apps know one line (RFC 9113, section 8.2.3).
    let mut crumbs = parts.headers.get_all(COOKIE).iter();
    if let Some(first) = crumbs.next() {
        text.extend_from_slice(b"cookie: ");
        text.extend_from_slice(first.as_bytes());
        for crumb in crumbs {
            text.extend_from_slice(b"; ");
            text.extend_from_slice(crumb.as_bytes());
        }
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b"\r\n");
    Ok(text)
}

fn write_line(text: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    for part in [name, b": ", value, b"\r\n"] {
        text.extend_from_slice(part);
    }
}

/// An answer's head. `length` is what `Content-Length` says, if it is to say something.
pub(crate) fn response_head(response: &Response, length: Option<u64>, clock: &mut Clock) -> http::Response<()> {
    let mut head = http::Response::new(());
    *head.status_mut() = status(response.status);
    let fields = head.headers_mut();
    fields.reserve(response.fields.len() + 2);
    write_fields(&response.fields, fields);
    if !fields.contains_key(DATE) {
        clock.tick();
        if let Ok(date) = HeaderValue::from_str(clock.http()) {
            fields.insert(DATE, date);
        }
    }
    if let Some(length) = length {
        fields.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    head
}

/// A 1xx.
pub(crate) fn interim_head(code: u16, fields: &Fields) -> http::Response<()> {
    let mut head = http::Response::new(());
    *head.status_mut() = status(code);
    write_fields(fields, head.headers_mut());
    head
}

/// Fields behind a body.
pub(crate) fn trailers(fields: &Fields) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    write_fields(fields, &mut trailers);
    trailers
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn write_fields(from: &Fields, to: &mut HeaderMap) {
    for (name, value) in from.iter() {
        // What was read from the origin passed a parser that is no more lenient than these.
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            to.append(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(request: http::request::Builder, has_body: bool) -> Result<RequestHead, Refusal> {
        let policy = headwater_config::from_text("t", "[origin]\nservers = [\"a:1\"]").0.unwrap();
        request_head(&request.body(()).unwrap().into_parts().0, has_body, &policy.limits)
    }

    fn get(uri: &str) -> http::request::Builder {
        http::Request::get(uri)
    }

    #[test]
    fn authority_becomes_host_and_crumbs_become_one_cookie() {
        let request =
            get("https://shop.example/a%2Fb?c").header("cookie", "a=1").header("x", "y").header("cookie", "b=2");
        let head = head(request, false).unwrap();
        assert_eq!((head.method(), head.target()), ("GET", &b"/a%2Fb?c"[..]));
        assert_eq!(head.fields.get("Host"), Some(&b"shop.example"[..]));
        assert_eq!(head.fields.all("Cookie").collect::<Vec<_>>(), [b"a=1; b=2"]);
        assert_eq!((head.version, head.framing), (Version::Http2, Framing::Empty));
    }

    #[test]
    fn host_and_authority_agree_or_the_request_is_refused() {
        assert!(head(get("https://shop.example/").header("host", "SHOP.example"), false).is_ok());
        assert!(head(get("https://shop.example/").header("host", "other.example"), false).is_err());
        assert!(head(get("/").header("host", "shop.example"), false).is_ok());
        assert!(head(get("/").header("host", "a").header("host", "a"), false).is_err(), "two of them");
        assert!(head(get("/"), false).is_err(), "neither");
        assert!(head(get("https://user@shop.example/"), false).is_err());
    }

    #[test]
    fn a_body_is_framed_by_its_length_or_by_the_end_of_the_stream() {
        let post = |length: Option<&str>| {
            let request = http::Request::post("https://a.example/");
            length.into_iter().fold(request, |request, length| request.header("content-length", length))
        };
        assert_eq!(head(post(None), true).unwrap().framing, Framing::Chunked);
        assert_eq!(head(post(Some("5")), true).unwrap().framing, Framing::Length(5));
        assert_eq!(head(post(Some("0")), true).unwrap().framing, Framing::Empty);
        assert!(head(post(Some("5")), false).is_err());
        assert!(head(post(Some("x")), true).is_err());
    }

    #[test]
    fn a_head_is_as_large_as_it_would_be_in_text() {
        let large = "x".repeat(33 << 10);
        assert_eq!(head(get("https://a.example/").header("x", large), false).unwrap_err(), Refusal::HeadTooLarge);
        let crumbs = (0..101).fold(get("https://a.example/"), |request, n| request.header("cookie", format!("a{n}=1")));
        assert!(head(crumbs, false).is_ok(), "crumbs are one field");
        let fields = (0..101).fold(get("https://a.example/"), |request, n| request.header(format!("x{n}"), "1"));
        assert_eq!(head(fields, false).unwrap_err(), Refusal::TooManyFields);
    }
}
