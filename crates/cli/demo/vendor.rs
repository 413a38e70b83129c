//! What is different from vendor to vendor: how long they keep an answer, and which headers they add.

use headwater_config::Kind;
use hyper::StatusCode;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use std::net::IpAddr;
use std::time::Duration;

/// A simulated CDN's vendor, and how good a CDN this one is.
pub struct Vendor {
    /// Decides on headers and lifetimes.
    pub kind: Kind,
    /// Share of the users, of 1.
    pub share: f64,
    /// Its points of presence. Each has a cache of its own, so many of them pull the same object many times.
    pub pops: &'static [&'static str],
    /// Bytes of each cache.
    pub cache: usize,
}

/// The three CDNs before the demo's site.
pub const VENDORS: [Vendor; 3] = [
    Vendor { kind: Kind::Fastly, share: 0.5, pops: &["LHR", "IAD"], cache: 6 << 20 },
    Vendor { kind: Kind::Cloudflare, share: 0.3, pops: &["AMS", "EWR", "NRT"], cache: 4 << 20 },
    Vendor { kind: Kind::CloudFront, share: 0.2, pops: &["DUB2", "FRA56", "SFO5", "NRT12", "GRU1"], cache: 1 << 20 },
];

/// How long a cache may use an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// Without asking the origin.
    pub fresh: Duration,
    /// After that, but only while the origin fails (RFC 5861, section 4).
    pub if_error: Duration,
}

/// What became of a request at the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered from the cache.
    Hit,
    /// Answered from the cache after the origin had said that nothing changed.
    Revalidated,
    /// Answered from the cache, past its time, because the origin failed.
    Stale,
    /// Answered by the origin, and kept.
    Miss,
    /// Answered by the origin, and not kept.
    Pass,
}

/// One pull, as far as the vendor's headers tell of it.
pub struct Pull<'a> {
    /// The user.
    pub client: IpAddr,
    /// The user's port; no vendor but CloudFront tells it.
    pub port: u16,
    /// Where the user came in.
    pub pop: &'a str,
    /// A number of its own.
    pub id: u64,
}

impl Vendor {
    /// As `X-CDN-Provider` and the metrics have it.
    pub fn name(&self) -> &'static str {
        self.kind.name()
    }

    /// Whether an answer for this path is ever kept. Cloudflare goes by the extension, and keeps no HTML unless it is told to.
    pub fn may_keep(&self, path: &str) -> bool {
        const EXTENSIONS: [&str; 10] = ["css", "js", "png", "jpg", "jpeg", "gif", "svg", "webp", "ico", "woff2"];
        let extension =
            path.rsplit('/').next().and_then(|name| name.rsplit_once('.')).map_or("", |(_, extension)| extension);
        self.kind != Kind::Cloudflare || EXTENSIONS.contains(&extension)
    }

    /// How long an answer is kept; `None`: it is not.
    ///
    /// Each vendor's defaults, with two settings that their customers make: CloudFront's error caching minimum TTL is 0,
    /// or it would keep a 5xx for 10 s whatever `Cache-Control` says; and no answer that varies on more than the encoding
    /// is kept. `Expires` is not read, since nothing here sends it.
    pub fn lifetime(&self, path: &str, status: StatusCode, headers: &HeaderMap) -> Option<Lifetime> {
        let varies = headers
            .get_all(header::VARY)
            .iter()
            .any(|value| !value.as_bytes().eq_ignore_ascii_case(b"accept-encoding"));
        if varies || headers.contains_key(header::SET_COOKIE) || !self.may_keep(path) {
            return None;
        }
        let general = directives(headers, "cache-control");
        let (decisive, unless_said) = match self.kind {
            Kind::Fastly => {
                let kept = [200, 203, 300, 301, 302, 404, 410].contains(&status.as_u16());
                // `no-cache` is no reason for Fastly, and `private` is one even beside `Surrogate-Control`.
                if !kept || has(&general, "private") || has(&general, "no-store") {
                    return None;
                }
                let surrogate = directives(headers, "surrogate-control");
                (if number(&surrogate, "max-age").is_some() { surrogate } else { general }, 3_600)
            }
            Kind::Cloudflare => {
                let unless_said = match status.as_u16() {
                    200 | 301 => 7_200,
                    302 | 303 => 1_200,
                    404 | 410 => 180,
                    _ => return None,
                };
                let targeted = ["cloudflare-cdn-cache-control", "cdn-cache-control"];
                let decisive = match targeted.iter().find(|name| headers.contains_key(**name)) {
                    Some(name) => directives(headers, name),
                    // It takes `Surrogate-Control` for a sign that `Cache-Control` is meant for browsers, and reads neither.
                    None if headers.contains_key("surrogate-control") => Vec::new(),
                    None => general,
                };
                (decisive, unless_said)
            }
            _ => match status.as_u16() {
                200 | 203 | 300 | 301 | 302 => (general, 86_400),
                404 | 410 => (general, 10),
                _ => return None,
            },
        };
        let forbidden = self.kind != Kind::Fastly
            && ["private", "no-store", "no-cache"].iter().any(|directive| has(&decisive, directive));
        let fresh = number(&decisive, "s-maxage").or(number(&decisive, "max-age")).unwrap_or(unless_said);
        let if_error = number(&decisive, "stale-if-error").unwrap_or(0);
        (!forbidden && fresh > 0)
            .then(|| Lifetime { fresh: Duration::from_secs(fresh), if_error: Duration::from_secs(if_error) })
    }

    /// Adds to a pull what this vendor's servers add.
    pub fn sign(&self, headers: &mut HeaderMap, pull: &Pull<'_>) {
        let Pull { client, port, pop, id } = pull;
        if let Some(name) = self.kind.client_address_header() {
            let address = if self.kind == Kind::CloudFront { format!("{client}:{port}") } else { client.to_string() };
            set(headers, name, &address);
        }
        match self.kind {
            Kind::Fastly => {
                let server = server(pop, *id);
                set(headers, "fastly-ff", &format!("{id:016x}!{pop}!{server}"));
                set(headers, "x-forwarded-server", &server);
                set(headers, "x-varnish", &(id >> 32).to_string());
                append(headers, "cdn-loop", "Fastly");
            }
            Kind::Cloudflare => {
                set(headers, "cf-ray", &format!("{id:016x}-{pop}"));
                set(headers, "cf-visitor", "{\"scheme\":\"http\"}");
                append(headers, "cdn-loop", "cloudflare");
            }
            _ => {
                set(headers, "user-agent", "Amazon CloudFront");
                set(headers, "x-amz-cf-id", &format!("{id:016x}{:016x}==", id.rotate_left(23)));
                append(headers, "via", &format!("1.1 {id:016x}.cloudfront.net (CloudFront)"));
            }
        }
    }

    /// Takes off an answer what was meant for this vendor alone, and adds what its servers tell the user.
    pub fn mark(&self, headers: &mut HeaderMap, outcome: Outcome, hits: u64, pull: &Pull<'_>, path: &str) {
        let Pull { pop, id, .. } = pull;
        let from_cache = matches!(outcome, Outcome::Hit | Outcome::Revalidated | Outcome::Stale);
        set(headers, "x-cache", if from_cache { "HIT" } else { "MISS" });
        // One server of a point of presence answers for one object, so this stays the same from request to request.
        set(headers, "x-served-by", &server(pop, path.bytes().map(u64::from).sum()));
        match self.kind {
            Kind::Fastly => {
                headers.remove("surrogate-control");
                set(headers, "x-cache-hits", &hits.to_string());
                append(headers, "via", "1.1 varnish");
            }
            Kind::Cloudflare => {
                headers.remove("cloudflare-cdn-cache-control");
                let status = match outcome {
                    Outcome::Hit => "HIT",
                    Outcome::Revalidated => "REVALIDATED",
                    Outcome::Stale => "STALE",
                    Outcome::Miss => "MISS",
                    Outcome::Pass if self.may_keep(path) => "BYPASS",
                    Outcome::Pass => "DYNAMIC",
                };
                set(headers, "cf-cache-status", status);
                set(headers, "cf-ray", &format!("{id:016x}-{pop}"));
            }
            _ => {
                set(headers, "x-amz-cf-pop", &format!("{pop}-P1"));
                set(headers, "x-amz-cf-id", &format!("{id:016x}{:016x}==", id.rotate_left(23)));
                append(headers, "via", &format!("1.1 {id:016x}.cloudfront.net (CloudFront)"));
            }
        }
    }
}

fn server(pop: &str, number: u64) -> String {
    format!("cache-{}{}-{pop}", pop.to_lowercase(), 40 + number % 24)
}

/// Sets a header; what cannot be a value is left out.
pub fn set(headers: &mut HeaderMap, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
        headers.insert(name, value);
    }
}

fn append(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.append(name, value);
    }
}

type Directives = Vec<(String, Option<u64>)>;

/// The directives of all lines of that name, in lower case, with their numbers.
fn directives(headers: &HeaderMap, name: &str) -> Directives {
    let lines = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    lines
        .flat_map(|line| line.split(','))
        .map(|directive| match directive.split_once('=') {
            Some((name, value)) => (name.trim().to_ascii_lowercase(), value.trim().trim_matches('"').parse().ok()),
            None => (directive.trim().to_ascii_lowercase(), None),
        })
        .collect()
}

fn has(directives: &Directives, name: &str) -> bool {
    directives.iter().any(|(found, _)| found == name)
}

fn number(directives: &Directives, name: &str) -> Option<u64> {
    directives.iter().find(|(found, _)| found == name).and_then(|(_, number)| *number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(vendor: usize, path: &str, status: u16, fields: &[(&'static str, &'static str)]) -> Option<(u64, u64)> {
        let headers = fields
            .iter()
            .map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        let lifetime = VENDORS[vendor].lifetime(path, StatusCode::from_u16(status).unwrap(), &headers)?;
        Some((lifetime.fresh.as_secs(), lifetime.if_error.as_secs()))
    }

    const FASTLY: usize = 0;
    const CLOUDFLARE: usize = 1;
    const CLOUDFRONT: usize = 2;

    #[test]
    fn each_vendor_obeys_its_own_header_and_no_other() {
        let fields = [
            ("cache-control", "max-age=10"),
            ("surrogate-control", "max-age=20, stale-if-error=5"),
            ("cloudflare-cdn-cache-control", "max-age=30"),
            ("cdn-cache-control", "max-age=40"),
        ];
        assert_eq!(kept(FASTLY, "/a.css", 200, &fields), Some((20, 5)));
        assert_eq!(kept(CLOUDFLARE, "/a.css", 200, &fields), Some((30, 0)));
        assert_eq!(kept(CLOUDFRONT, "/a.css", 200, &fields), Some((10, 0)));
        assert_eq!(
            kept(CLOUDFLARE, "/a.css", 200, &fields[..2]),
            Some((7_200, 0)),
            "Surrogate-Control hides Cache-Control"
        );
    }

    #[test]
    fn without_any_header_each_has_its_own_default() {
        assert_eq!(kept(FASTLY, "/a.css", 200, &[]), Some((3_600, 0)));
        assert_eq!(kept(CLOUDFLARE, "/a.css", 200, &[]), Some((7_200, 0)));
        assert_eq!(kept(CLOUDFRONT, "/a.css", 200, &[]), Some((86_400, 0)));
    }

    #[test]
    fn cloudflare_keeps_no_html() {
        let fields = [("cache-control", "max-age=60")];
        assert_eq!(kept(CLOUDFLARE, "/listing/1", 200, &fields), None);
        assert_eq!(kept(FASTLY, "/listing/1", 200, &fields), Some((60, 0)));
    }

    #[test]
    fn no_cache_stops_all_but_fastly_and_no_store_stops_all() {
        for (directive, fastly) in [("no-cache", Some((3_600, 0))), ("no-store", None), ("private", None)] {
            let fields = [("cache-control", directive)];
            assert_eq!(kept(FASTLY, "/a.css", 200, &fields), fastly, "{directive}");
            assert_eq!(kept(CLOUDFLARE, "/a.css", 200, &fields), None, "{directive}");
            assert_eq!(kept(CLOUDFRONT, "/a.css", 200, &fields), None, "{directive}");
        }
    }

    #[test]
    fn nobody_keeps_an_error_a_cookie_or_what_varies_on_the_user() {
        for vendor in [FASTLY, CLOUDFLARE, CLOUDFRONT] {
            assert_eq!(kept(vendor, "/a.css", 503, &[("cache-control", "max-age=60")]), None);
            assert_eq!(kept(vendor, "/a.css", 200, &[("set-cookie", "a=1")]), None);
            assert_eq!(kept(vendor, "/a.css", 200, &[("vary", "Accept-Encoding, Cookie")]), None);
            assert!(kept(vendor, "/a.css", 200, &[("vary", "Accept-Encoding")]).is_some());
        }
    }

    #[test]
    fn shared_caches_prefer_s_maxage() {
        for vendor in [FASTLY, CLOUDFLARE, CLOUDFRONT] {
            let fields = [("cache-control", "max-age=5, s-maxage=\"7\", stale-if-error=9")];
            assert_eq!(kept(vendor, "/a.css", 200, &fields), Some((7, 9)));
            assert_eq!(kept(vendor, "/a.css", 200, &[("cache-control", "max-age=0")]), None);
        }
    }
}
