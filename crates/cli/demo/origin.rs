//! The origin: the app behind Headwater, with what apps have: pages, files, a slow page, and pages that fail.

use super::http::{Answer, text};
use super::shop::{Object, Shop};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use std::fmt::Write;
use std::time::Duration;

/// What of `/checkout` fails.
const FAILING: f64 = 1.0 / 3.0;
/// How long `/slow` takes.
const SLOW: Duration = Duration::from_millis(1200);
/// Of every file; the site never changes.
const LAST_MODIFIED: &str = "Thu, 14 Nov 2013 09:00:00 GMT";

const HTML: &str = "text/html; charset=utf-8";

/// Answers one request as the app does.
pub async fn answer(shop: &Shop, request: Request<Incoming>) -> Answer {
    let mut answer = match request.uri().path() {
        "/echo" => echo(&request),
        _ if ![Method::GET, Method::HEAD].contains(request.method()) => {
            let refusal = text(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "This page can only be read.\n");
            with(refusal, header::ALLOW, "GET, HEAD")
        }
        "/basket" => {
            let page = text(StatusCode::OK, HTML, "<!doctype html><title>Basket</title><p>Your basket is empty.</p>\n");
            with(page, header::CACHE_CONTROL, "private, no-cache")
        }
        "/slow" => {
            tokio::time::sleep(SLOW).await;
            let page = text(StatusCode::OK, HTML, "<!doctype html><title>Slow</title><p>This took a while.</p>\n");
            with(page, header::CACHE_CONTROL, "no-store")
        }
        "/checkout" if fastrand::f64() >= FAILING => {
            let page = text(StatusCode::OK, HTML, "<!doctype html><title>Check out</title><p>Thank you.</p>\n");
            with(page, header::CACHE_CONTROL, "no-store")
        }
        "/checkout" | "/broken" => {
            let page =
                text(StatusCode::SERVICE_UNAVAILABLE, HTML, "<h1>503</h1><p>java.lang.NullPointerException</p>\n");
            with(page, header::RETRY_AFTER, "5")
        }
        path => match shop.object(path) {
            Some(object) => file(object, request.headers()),
            None => text(StatusCode::NOT_FOUND, HTML, "<!doctype html><title>Not found</title><p>Not found.</p>\n"),
        },
    };
    answer.headers_mut().insert(header::SERVER, HeaderValue::from_static("demo-origin"));
    answer
}

fn with(mut answer: Answer, name: HeaderName, value: &'static str) -> Answer {
    answer.headers_mut().insert(name, HeaderValue::from_static(value));
    answer
}

/// The request's head as it arrived: what Headwater tells the app, and what it keeps from it.
fn echo(request: &Request<Incoming>) -> Answer {
    let mut body = format!("{} {} {:?}\n", request.method(), request.uri(), request.version());
    for (name, value) in request.headers() {
        let _ = writeln!(body, "{name}: {}", String::from_utf8_lossy(value.as_bytes()));
    }
    with(text(StatusCode::OK, "text/plain; charset=utf-8", body), header::CACHE_CONTROL, "no-store")
}

fn file(object: &Object, asked: &HeaderMap) -> Answer {
    let unchanged = is_unchanged(&object.tag, asked);
    let mut answer = if unchanged {
        let mut answer = Response::new(Full::default());
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
        answer
    } else {
        text(StatusCode::OK, object.kind, object.body.clone())
    };
    answer.headers_mut().insert(header::LAST_MODIFIED, HeaderValue::from_static(LAST_MODIFIED));
    if let Ok(tag) = HeaderValue::from_str(&object.tag) {
        answer.headers_mut().insert(header::ETAG, tag);
    }
    answer
}

/// RFC 9110, section 13.2.2: the tag decides where one is given, and the date only where none is.
fn is_unchanged(tag: &str, asked: &HeaderMap) -> bool {
    let mut tags = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok()).peekable();
    if tags.peek().is_none() {
        // Dates come back as they were sent, so there is no need to read them.
        return asked.get(header::IF_MODIFIED_SINCE).is_some_and(|date| date == LAST_MODIFIED);
    }
    tags.flat_map(|list| list.split(',')).map(str::trim).any(|one| one == "*" || one.trim_start_matches("W/") == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(fields: &[(HeaderName, &'static str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_weakened_tag_still_matches() {
        for list in ["\"a\"", "W/\"a\"", "\"b\", W/\"a\"", "*"] {
            let list = HeaderValue::from_str(list).unwrap();
            assert!(is_unchanged("\"a\"", &HeaderMap::from_iter([(header::IF_NONE_MATCH, list)])));
        }
    }

    #[test]
    fn the_date_counts_only_where_no_tag_is_given() {
        assert!(is_unchanged("\"a\"", &asked(&[(header::IF_MODIFIED_SINCE, LAST_MODIFIED)])));
        let both = asked(&[(header::IF_MODIFIED_SINCE, LAST_MODIFIED), (header::IF_NONE_MATCH, "\"b\"")]);
        assert!(!is_unchanged("\"a\"", &both));
        assert!(!is_unchanged("\"a\"", &HeaderMap::new()));
    }
}
