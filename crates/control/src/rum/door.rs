//! The way in for strangers' beacons: whose pages may send, how much may come, how large it may be, and what is answered.

use super::beacon;
use super::tally::Refusal;
use crate::Context;
use crate::service::now;
use crate::web::answer::{self, Answer};
use bytes::Bytes;
use headwater_config::{Networks, Rum};
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ALLOW, CONTENT_TYPE, ORIGIN, REFERER, VARY,
};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::time::timeout;

/// What browsers send in one go (`sendBeacon`).
const LARGEST: usize = 64 << 10;
/// For a whole body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// A transparent pixel.
const GIF: &[u8; 43] = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\x00\x00\x00\x21\xf9\x04\x01\x00\x00\x00\x00\x2c\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02\x44\x01\x00\x3b";
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, OPTIONS");

/// Answers what came for `rum.path`.
pub(crate) async fn answer(context: &Context, peer: SocketAddr, request: Request<Incoming>) -> Answer {
    let settings = &context.policy.rum;
    let page = Page::of(settings, request.headers());
    let mut answer = match *request.method() {
        Method::OPTIONS => preflight(&page),
        Method::GET | Method::POST => take(context, peer, &page, request).await,
        _ => {
            let mut answer = answer::text(StatusCode::METHOD_NOT_ALLOWED, "this path takes GET and POST\n");
            answer.headers_mut().insert(ALLOW, METHODS);
            answer
        }
    };
    page.permit(answer.headers_mut());
    answer
}

async fn take(context: &Context, peer: SocketAddr, page: &Page, request: Request<Incoming>) -> Answer {
    let (policy, rum) = (&context.policy, &context.rum);
    if *page == Page::Foreign {
        rum.refuse(now(), Refusal::Origin, 1);
        return answer::text(StatusCode::FORBIDDEN, "pages of this site may not send here\n");
    }
    let client = client(peer.ip(), request.headers(), &policy.rum.trusted_from);
    if !rum.rates.let_in(client) {
        rum.refuse(now(), Refusal::Rate, 1);
        return answer::text(StatusCode::TOO_MANY_REQUESTS, "too many of these come\n");
    }
    let (head, body) = request.into_parts();
    let body = match read(body).await {
        Ok(body) => body,
        Err(refusal) => {
            rum.refuse(now(), refusal, 1);
            let large = refusal == Refusal::Large;
            let status = if large { StatusCode::PAYLOAD_TOO_LARGE } else { StatusCode::BAD_REQUEST };
            return answer::text(status, "what was sent is too long, or broke off\n");
        }
    };
    if rum.is_sampled() {
        match beacon::read(head.uri.query().unwrap_or_default(), &body) {
            Ok(beacons) => rum.count(policy, now(), client, &beacons),
            Err(why) => {
                rum.refuse(now(), Refusal::Malformed, 1);
                return answer::text(StatusCode::BAD_REQUEST, format!("{why}\n"));
            }
        }
    }
    if head.method == Method::GET { answer::of(StatusCode::OK, "image/gif", &GIF[..]) } else { no_content() }
}

async fn read(body: Incoming) -> Result<Bytes, Refusal> {
    let whole = timeout(BODY_TIMEOUT, Limited::new(body, LARGEST).collect()).await;
    match whole {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::Large),
        _ => Err(Refusal::Malformed),
    }
}

fn no_content() -> Answer {
    let mut answer = answer::text(StatusCode::NO_CONTENT, "");
    answer.headers_mut().remove(CONTENT_TYPE);
    answer
}

/// What a browser asks before it posts another type than a form's (the Fetch standard, "HTTP CORS protocol").
fn preflight(page: &Page) -> Answer {
    let mut answer = no_content();
    let headers = answer.headers_mut();
    headers.insert(ALLOW, METHODS);
    if let Page::Of(_) = page {
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("content-type"));
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    }
    answer
}

/// The page that sends.
#[derive(Debug, PartialEq)]
enum Page {
    /// It may, and says what its origin is.
    Of(HeaderValue),
    /// It may, and says nothing that the answer would have to repeat.
    Silent,
    /// It may not.
    Foreign,
}

impl Page {
    /// By `Origin`, or by `Referer` where there is none: images are asked for without.
    fn of(settings: &Rum, headers: &HeaderMap) -> Self {
        let mut origins = headers.get_all(ORIGIN).iter();
        let origin = match (origins.next(), origins.next()) {
            (origin, None) => origin,
            _ => return Self::Foreign,
        };
        let said = origin.or_else(|| headers.get(REFERER)).and_then(|said| host(said.to_str().ok()?));
        match origin {
            // Any page may send, also one that is nobody's: `null`.
            _ if settings.hosts.is_empty() => origin.cloned().map_or(Self::Silent, Self::Of),
            _ if !said.is_some_and(|host| settings.takes_from(host)) => Self::Foreign,
            Some(origin) => Self::Of(origin.clone()),
            None => Self::Silent,
        }
    }

    /// `navigator.sendBeacon` sends cookies along, and then the Fetch standard takes no `*`. There is nothing in the answer that a
    /// page could learn.
    fn permit(&self, headers: &mut HeaderMap) {
        headers.insert(VARY, HeaderValue::from_static("Origin"));
        if let Self::Of(origin) = self {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }
}

/// The host of an origin or a page's URL, without its port.
fn host(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    (matches!(scheme, "http" | "https") && !authority.contains(['@', '\\'])).then_some(host)
}

/// The user's address: what the balancers that are trusted add to `X-Forwarded-For`, read from the right. What stands further
/// left was written by whoever asked.
fn client(peer: IpAddr, headers: &HeaderMap, trusted: &Networks) -> IpAddr {
    let mut client = peer.to_canonical();
    let lines = headers.get_all("x-forwarded-for").iter().rev();
    let mut members = lines.flat_map(|line| line.as_bytes().rsplit(|&b| b == b','));
    while trusted.contains(client) {
        let Some(next) = members.next().and_then(address) else { break };
        client = next;
    }
    client
}

/// An address, with or without a port.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let parsed = bare.parse().ok().or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()));
    parsed.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines.iter().fold(HeaderMap::new(), |mut headers, (name, value)| {
            headers.append(*name, value.parse().unwrap());
            headers
        })
    }

    fn settings(more: &str) -> Rum {
        let text = format!("[origin]\nservers = [\"a:1\"]\n[rum]\n{more}\n");
        headwater_config::from_text("t", &text).0.unwrap().rum
    }

    #[test]
    fn an_address_is_believed_from_those_who_are_trusted_alone() {
        let trusted = settings("trusted_from = [\"10.0.0.0/8\", \"2001:db8:1b::/48\"]").trusted_from;
        for (peer, lines, expected) in [
            ("192.0.2.1", &["6.6.6.6"][..], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["6.6.6.6, 192.0.2.9"], "192.0.2.9"),
            ("::ffff:10.0.0.1", &["6.6.6.6", "192.0.2.9, 10.0.0.2"], "192.0.2.9"),
            ("10.0.0.1", &["192.0.2.9:4711"], "192.0.2.9"),
            ("2001:db8:1b::1", &["[2001:db8::9]:4711"], "2001:db8::9"),
            ("10.0.0.1", &["192.0.2.9, junk"], "10.0.0.1"),
            ("10.0.0.1", &["junk, 10.0.0.7"], "10.0.0.7"),
        ] {
            let lines: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
            let found = client(peer.parse().unwrap(), &headers(&lines), &trusted);
            assert_eq!(found, expected.parse::<IpAddr>().unwrap(), "{peer} {lines:?}");
        }
    }

    #[test]
    fn only_pages_of_ones_own_sites_may_send() {
        let settings = settings("hosts = [\"www.example.com\", \"*.example.net\"]");
        let page = |lines: &[(&'static str, &str)]| Page::of(&settings, &headers(lines));
        let own = Page::Of(HeaderValue::from_static("https://www.example.com"));
        assert_eq!(page(&[("origin", "https://www.example.com")]), own);
        assert_eq!(page(&[("referer", "https://shop.example.net:8443/cart?x=1")]), Page::Silent);
        for foreign in [
            &[][..],
            &[("origin", "null")],
            &[("origin", "https://evil.example")],
            &[("origin", "https://evil.example"), ("referer", "https://www.example.com/")],
            &[("origin", "https://www.example.com"), ("origin", "https://evil.example")],
            &[("referer", "https://www.example.com@evil.example/")],
            &[("referer", "https://evil.example/?https://www.example.com")],
            &[("referer", "https://evil.example\\.www.example.com/")],
            &[("referer", "ftp://www.example.com/")],
        ] {
            assert_eq!(page(foreign), Page::Foreign, "{foreign:?}");
        }
        let any = super::tests::settings("");
        assert_eq!(Page::of(&any, &headers(&[("origin", "null")])), Page::Of(HeaderValue::from_static("null")));
        assert_eq!(Page::of(&any, &headers(&[])), Page::Silent);
    }
}
