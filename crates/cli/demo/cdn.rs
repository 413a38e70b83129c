//! A simulated CDN: points of presence with caches, which pull from Headwater what they do not hold.

use super::cache::Cache;
use super::http::{self, Answer, Client, text};
use super::ledger::Ledger;
use super::locked;
use super::vendor::{Lifetime, Outcome, Pull, Vendor, set};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The host of the demo's site; a CDN asks its origin for it, whatever name the user called.
pub const HOST: &str = "shop.example";
/// The header in which a simulated user says from which address he comes. It never leaves the CDN.
pub const CLIENT: &str = "x-demo-client";
/// The header that carries the secret.
pub const SECRET: &str = "X-CDN-Secret";
/// Memory of one kept answer beside its body, roughly.
const OVERHEAD: usize = 1 << 10;

/// One CDN.
pub struct Cdn {
    /// Whose it is.
    pub vendor: &'static Vendor,
    /// What it counted; a vendor's API would tell it.
    pub counts: Counts,
    /// The same by the minute, as its API tells it.
    pub ledger: Arc<Ledger>,
    /// Whether its own servers fail at a third of what users ask.
    pub ails: AtomicBool,
    secret: String,
    pops: Vec<Mutex<Cache<Kept>>>,
    headwater: Client,
}

/// What a CDN counts of its users' requests.
#[derive(Default)]
pub struct Counts {
    /// All of them.
    pub requests: AtomicU64,
    /// Answered from the cache.
    pub hits: AtomicU64,
    /// Pulled, and kept. What is never kept is neither a hit nor a miss.
    pub misses: AtomicU64,
    /// Answered with a 5xx.
    pub errors: AtomicU64,
}

struct Kept {
    answer: Arc<Response<Bytes>>,
    since: Instant,
    lifetime: Lifetime,
    hits: u64,
}

/// What the cache says to a request.
enum Found {
    Nothing,
    Fresh(Arc<Response<Bytes>>, Duration, u64),
    Old(Arc<Response<Bytes>>, Duration, Lifetime),
}

impl Cdn {
    /// A CDN with empty caches before the Headwater at this address.
    pub fn new(vendor: &'static Vendor, ledger: Arc<Ledger>, secret: String, headwater: SocketAddr) -> Self {
        let pops = vendor.pops.iter().map(|_| Mutex::new(Cache::new(vendor.cache))).collect();
        Self {
            vendor,
            counts: Counts::default(),
            ledger,
            ails: AtomicBool::new(false),
            secret,
            pops,
            headwater: Client::new(headwater),
        }
    }

    /// Answers a user.
    pub async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Answer {
        self.counts.requests.fetch_add(1, Relaxed);
        let (mut head, body) = request.into_parts();
        let told = head.headers.remove(CLIENT).and_then(|value| value.to_str().ok()?.parse().ok());
        let client: IpAddr = told.unwrap_or(peer.ip());
        let pop = pop_for(client, self.pops.len());
        let pull = Pull { client, port: peer.port(), pop: self.vendor.pops[pop], id: fastrand::u64(..) };
        let mut answer = match http::collect(body).await {
            Ok(_) if self.ails.load(Relaxed) && fastrand::u8(..3) == 0 => self.fail(&pull, head.uri.path()),
            Ok(body) => self.look(&head, body, pop, &pull).await,
            Err(error) => text(StatusCode::PAYLOAD_TOO_LARGE, "text/plain", format!("{error}\n")),
        };
        let length = hyper::body::Body::size_hint(answer.body()).exact().unwrap_or(0);
        self.ledger.answered(answer.status(), length);
        if answer.status().is_server_error() {
            self.counts.errors.fetch_add(1, Relaxed);
        }
        if head.method == Method::GET && is_known(&head.headers, answer.headers()) && answer.status() == StatusCode::OK
        {
            *answer.status_mut() = StatusCode::NOT_MODIFIED;
            *answer.body_mut() = Full::default();
        }
        answer
    }

    /// What users see when a CDN itself is broken; the origin never hears of it.
    fn fail(&self, pull: &Pull<'_>, path: &str) -> Answer {
        let page = format!("<!doctype html><title>503</title><p>{}: this edge is in trouble</p>\n", self.vendor.name());
        let mut answer = text(StatusCode::SERVICE_UNAVAILABLE, "text/html; charset=utf-8", page);
        set(answer.headers_mut(), "cache-control", "no-store");
        self.vendor.mark(answer.headers_mut(), Outcome::Pass, 0, pull, path);
        answer
    }

    /// The life of a request at the edge.
    async fn look(&self, head: &Parts, body: Bytes, pop: usize, pull: &Pull<'_>) -> Answer {
        let path = head.uri.path();
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
        let gzip = takes_gzip(&head.headers);
        let readable = [Method::GET, Method::HEAD].contains(&head.method);
        let keeps = readable && self.vendor.may_keep(path) && !head.headers.contains_key(header::AUTHORIZATION);
        let key = format!("{}{target}", if gzip { "gzip " } else { "" });

        let found = if keeps { self.find(pop, &key) } else { Found::Nothing };
        let old = match found {
            Found::Fresh(answer, age, hits) => return self.deliver(&answer, Outcome::Hit, Some(age), hits, pull, path),
            Found::Old(answer, age, lifetime) => Some((answer, age, lifetime)),
            Found::Nothing => None,
        };
        // A HEAD that may be kept is pulled as a GET, so that the next GET finds it.
        let method = if keeps { Method::GET } else { head.method.clone() };
        let request =
            self.request(method, target, &head.headers, body, gzip, old.as_ref().map(|(old, ..)| &**old), pull);
        let pulled = self.headwater.send(request).await;

        let failed = pulled.as_ref().map_or(true, |answer| answer.status().is_server_error());
        if let Some((answer, age, lifetime)) = &old
            && failed
            && *age < lifetime.fresh + lifetime.if_error
        {
            return self.deliver(answer, Outcome::Stale, Some(*age), 0, pull, path);
        }
        match (pulled, old) {
            (Ok(fresh), Some((answer, ..))) if fresh.status() == StatusCode::NOT_MODIFIED => {
                let answer = Arc::new(refreshed(&answer, fresh.headers()));
                self.keep(pop, key, &answer, path);
                self.deliver(&answer, Outcome::Revalidated, None, 1, pull, path)
            }
            (Ok(answer), _) => {
                let answer = Arc::new(end_to_end(answer));
                let kept = keeps && self.keep(pop, key, &answer, path);
                self.deliver(&answer, if kept { Outcome::Miss } else { Outcome::Pass }, None, 0, pull, path)
            }
            (Err(error), _) => {
                let page = format!("<!doctype html><title>502</title><p>{}: {error:#}</p>\n", self.vendor.name());
                let mut answer = text(StatusCode::BAD_GATEWAY, "text/html; charset=utf-8", page);
                set(answer.headers_mut(), "cache-control", "no-store");
                self.vendor.mark(answer.headers_mut(), Outcome::Pass, 0, pull, path);
                answer
            }
        }
    }

    fn find(&self, pop: usize, key: &str) -> Found {
        let mut cache = locked(&self.pops[pop]);
        let Some(kept) = cache.get(key) else { return Found::Nothing };
        let age = kept.since.elapsed();
        if age < kept.lifetime.fresh {
            kept.hits += 1;
            return Found::Fresh(kept.answer.clone(), age, kept.hits);
        }
        Found::Old(kept.answer.clone(), age, kept.lifetime)
    }

    /// Keeps an answer if it may be, and else forgets what stood in its place.
    fn keep(&self, pop: usize, key: String, answer: &Arc<Response<Bytes>>, path: &str) -> bool {
        let lifetime = self.vendor.lifetime(path, answer.status(), answer.headers());
        let mut cache = locked(&self.pops[pop]);
        let Some(lifetime) = lifetime else {
            cache.remove(&key);
            return false;
        };
        let size = answer.body().len() + key.len() + OVERHEAD;
        cache.put(key, Kept { answer: answer.clone(), since: Instant::now(), lifetime, hits: 0 }, size);
        true
    }

    /// The pull: the user's own headers, the tag, the secret, and what the vendor adds.
    #[expect(clippy::too_many_arguments, reason = "all of a request's parts, each from elsewhere")]
    fn request(
        &self,
        method: Method,
        target: &str,
        asked: &HeaderMap,
        body: Bytes,
        gzip: bool,
        old: Option<&Response<Bytes>>,
        pull: &Pull<'_>,
    ) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = target.parse().unwrap_or_default();
        let headers = request.headers_mut();
        *headers = asked.clone();
        drop_hop_by_hop(headers);
        // The cache wants the whole answer, and asks with tags of its own.
        for name in
            [header::RANGE, header::IF_RANGE, header::IF_MATCH, header::IF_UNMODIFIED_SINCE, header::IF_NONE_MATCH]
        {
            headers.remove(name);
        }
        for name in [header::IF_MODIFIED_SINCE, header::ACCEPT_ENCODING, header::CONTENT_LENGTH, header::EXPECT] {
            headers.remove(name);
        }
        if gzip {
            set(headers, "accept-encoding", "gzip");
        }
        if let Some(tag) = old.and_then(|old| old.headers().get(header::ETAG)) {
            headers.insert(header::IF_NONE_MATCH, tag.clone());
        }
        let chain = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok().map(String::from));
        let chain: Vec<String> = chain.chain([pull.client.to_string()]).collect();
        set(headers, "x-forwarded-for", &chain.join(", "));
        set(headers, "x-forwarded-proto", "http");
        set(headers, "host", HOST);
        set(headers, "x-cdn-provider", self.vendor.name());
        set(headers, SECRET, &self.secret);
        self.vendor.sign(headers, pull);
        request
    }

    fn deliver(
        &self,
        kept: &Response<Bytes>,
        outcome: Outcome,
        age: Option<Duration>,
        hits: u64,
        pull: &Pull<'_>,
        path: &str,
    ) -> Answer {
        self.ledger.looked(outcome);
        match outcome {
            Outcome::Hit | Outcome::Revalidated | Outcome::Stale => self.counts.hits.fetch_add(1, Relaxed),
            Outcome::Miss => self.counts.misses.fetch_add(1, Relaxed),
            Outcome::Pass => 0,
        };
        let mut answer = Response::new(Full::new(kept.body().clone()));
        *answer.status_mut() = kept.status();
        *answer.headers_mut() = kept.headers().clone();
        if let Some(age) = age {
            set(answer.headers_mut(), "age", &age.as_secs().to_string());
        }
        self.vendor.mark(answer.headers_mut(), outcome, hits, pull, path);
        answer
    }
}

/// A user always comes to the same point of presence.
fn pop_for(client: IpAddr, pops: usize) -> usize {
    let sum: usize = match client {
        IpAddr::V4(address) => address.octets().iter().map(|&byte| usize::from(byte)).sum(),
        IpAddr::V6(address) => address.segments().iter().map(|&segment| usize::from(segment)).sum(),
    };
    sum % pops
}

/// Whether the user holds this answer already (RFC 9110, section 13.1.2).
fn is_known(asked: &HeaderMap, answer: &HeaderMap) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_string();
    let value = |headers: &HeaderMap, name| headers.get(name).and_then(|value| value.to_str().ok()).map(String::from);
    match (value(asked, header::IF_NONE_MATCH), value(answer, header::ETAG)) {
        (Some(list), Some(tag)) => list.split(',').any(|one| opaque(one) == opaque(&tag)),
        _ => false,
    }
}

/// Whether gzip is named, and not with a weight of 0. CDNs normalise the header to this one bit to keep few variants.
fn takes_gzip(asked: &HeaderMap) -> bool {
    let lines = asked.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = weight.trim().strip_prefix("q=").and_then(|weight| weight.trim().parse::<f32>().ok());
        name.trim().eq_ignore_ascii_case("gzip") && weight.unwrap_or(1.0) > 0.0
    })
}

fn drop_hop_by_hop(headers: &mut HeaderMap) {
    let lines = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let named: Vec<HeaderName> =
        lines.flat_map(|line| line.split(',')).filter_map(|name| name.trim().parse().ok()).collect();
    for name in named {
        headers.remove(name);
    }
    for name in ["connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "proxy-connection"] {
        headers.remove(name);
    }
}

/// An answer without what belonged to the connection it came over.
fn end_to_end(mut answer: Response<Bytes>) -> Response<Bytes> {
    drop_hop_by_hop(answer.headers_mut());
    answer
}

/// What was kept, with the headers of the 304 that confirmed it (RFC 9111, section 3.2).
fn refreshed(kept: &Response<Bytes>, news: &HeaderMap) -> Response<Bytes> {
    let mut answer = end_to_end(kept.clone());
    let mut news = news.clone();
    drop_hop_by_hop(&mut news);
    for name in [header::CONTENT_LENGTH, header::CONTENT_ENCODING, header::CONTENT_TYPE, header::CONTENT_RANGE] {
        news.remove(name);
    }
    let names: Vec<HeaderName> = news.keys().cloned().collect();
    for name in names {
        let values: Vec<HeaderValue> = news.get_all(&name).iter().cloned().collect();
        answer.headers_mut().remove(&name);
        for value in values {
            answer.headers_mut().append(&name, value);
        }
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn gzip_is_taken_by_name_and_weight() {
        for (value, taken) in
            [("gzip", true), ("br, GZIP;q=0.5", true), ("gzip;q=0", false), ("br", false), ("gzip ; q=0.0, br", false)]
        {
            assert_eq!(takes_gzip(&headers(&[("accept-encoding", value)])), taken, "{value}");
        }
    }

    #[test]
    fn a_user_stays_with_his_point_of_presence_and_users_spread_over_all() {
        let found: std::collections::BTreeSet<usize> =
            (0..50).map(|n| pop_for(IpAddr::from([203, 0, 113, n]), 5)).collect();
        assert_eq!(found.len(), 5);
    }

    #[test]
    fn what_a_connection_line_names_is_dropped_with_it() {
        let mut headers = headers(&[("connection", "x-private, close"), ("x-private", "1"), ("x-public", "2")]);
        drop_hop_by_hop(&mut headers);
        assert_eq!(headers.len(), 1);
    }

    #[test]
    fn a_304_changes_the_headers_but_not_what_describes_the_body() {
        let mut kept = Response::new(Bytes::from_static(b"body"));
        *kept.headers_mut() =
            headers(&[("content-encoding", "gzip"), ("cache-control", "max-age=1"), ("etag", "\"a\"")]);
        let news = headers(&[("cache-control", "max-age=2"), ("content-encoding", "br"), ("content-length", "0")]);
        let answer = refreshed(&kept, &news);
        assert_eq!(answer.headers()["cache-control"], "max-age=2");
        assert_eq!(answer.headers()["content-encoding"], "gzip");
        assert!(!answer.headers().contains_key("content-length"));
        assert_eq!(answer.body(), "body");
    }

    #[test]
    fn a_user_who_holds_the_tag_in_either_strength_gets_no_body() {
        let answer = headers(&[("etag", "W/\"a\"")]);
        assert!(is_known(&headers(&[("if-none-match", "\"b\", \"a\"")]), &answer));
        assert!(!is_known(&headers(&[("if-none-match", "\"b\"")]), &answer));
        assert!(!is_known(&HeaderMap::new(), &answer));
    }
}
