//! Users: they come at random, ask for what is popular, and load the beacon of the page that says sorry.

use super::cdn::{CLIENT, HOST};
use super::http::Client;
use super::latency::Latency;
use super::locked;
use super::vendor::set;
use anyhow::Result;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Request, Response};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Requests under way at one time; users that come on top of them are turned away, and counted.
const IN_FLIGHT: u32 = 128;
/// How much less popular an object is than the one before it.
const SKEW: f64 = 1.0;
/// Share of the requests that ask for a page which no CDN can keep.
const DYNAMIC: [(&str, f64); 3] = [("/basket", 0.02), ("/checkout", 0.015), ("/slow", 0.002)];

const LANGUAGES: [&str; 12] = [
    "en-GB,en;q=0.9",
    "en-US,en;q=0.9",
    "de-DE,de;q=0.9,en;q=0.5",
    "fr-FR,fr;q=0.9,en;q=0.3",
    "es-ES,es;q=0.9",
    "pt-BR,pt;q=0.9",
    "it-IT,it;q=0.8,en;q=0.2",
    "nl,en;q=0.7",
    "pl",
    "ru-RU,ru;q=0.9",
    "ja",
    "zh-CN,zh;q=0.9",
];
const ENCODINGS: [&str; 5] = ["gzip, deflate, br, zstd", "gzip, deflate, br", "gzip, br;q=0.8", "gzip;q=1.0", "br"];

/// The users of one CDN.
pub struct Audience {
    cdn: Client,
    share: f64,
    latency: Mutex<Latency>,
}

impl Audience {
    /// The users of the CDN at this address, who are that share of all.
    pub fn new(cdn: SocketAddr, share: f64) -> Self {
        Self { cdn: Client::new(cdn), share, latency: Mutex::default() }
    }

    /// From a user's request to the answer's last byte.
    pub fn latency(&self) -> Latency {
        locked(&self.latency).clone()
    }
}

/// All users.
pub struct Crowd {
    audiences: Vec<Audience>,
    popular: Vec<String>,
    popularity: Popularity,
    places: Arc<Semaphore>,
    turned_away: AtomicU64,
    unanswered: AtomicU64,
}

impl Crowd {
    /// Users of these CDNs, who ask for these paths, the first most often.
    pub fn new(audiences: Vec<Audience>, popular: Vec<String>) -> Self {
        let popularity = Popularity::new(popular.len());
        let places = Arc::new(Semaphore::new(IN_FLIGHT as usize));
        Self { audiences, popular, popularity, places, turned_away: AtomicU64::new(0), unanswered: AtomicU64::new(0) }
    }

    /// The users of each CDN, in the order given to [`Crowd::new`].
    pub fn audiences(&self) -> &[Audience] {
        &self.audiences
    }

    /// Users who came while too many requests were under way.
    pub fn turned_away(&self) -> u64 {
        self.turned_away.load(Relaxed)
    }

    /// Users whose CDN gave no answer at all.
    pub fn unanswered(&self) -> u64 {
        self.unanswered.load(Relaxed)
    }

    /// Lets users come, `rate` a second, until it is dropped. The times between them are exponential, as of people who
    /// know nothing of each other.
    pub async fn come(self: Arc<Self>, rate: f64) {
        let mut next = Instant::now();
        loop {
            // A machine that slept does not have to make up for it.
            next = next.max(Instant::now() - Duration::from_secs(1)) + interval(rate, fastrand::f64());
            tokio::time::sleep_until(next).await;
            match self.places.clone().try_acquire_owned() {
                Ok(place) => {
                    let crowd = self.clone();
                    tokio::spawn(async move {
                        if crowd.visit().await.is_err() {
                            crowd.unanswered.fetch_add(1, Relaxed);
                        }
                        drop(place);
                    });
                }
                Err(_) => {
                    self.turned_away.fetch_add(1, Relaxed);
                }
            }
        }
    }

    /// Waits until every request is answered, but not for long.
    pub async fn leave(&self) {
        let _ = tokio::time::timeout(Duration::from_secs(5), self.places.acquire_many(IN_FLIGHT)).await;
    }

    async fn visit(&self) -> Result<()> {
        let Some(audience) = self.audience(fastrand::f64()) else { return Ok(()) };
        let path = self.path();
        let mut user = User::any();
        // These users read plain text alone, and what may turn out to be an error they have to read.
        if DYNAMIC.iter().any(|(dynamic, _)| *dynamic == path) {
            user.encoding = "identity";
        }
        let start = Instant::now();
        let answer = audience.cdn.send(user.request(path)).await?;
        locked(&audience.latency).add(start.elapsed());
        if let Some(beacon) = beacon(&answer) {
            audience.cdn.send(user.request(&beacon)).await?;
        }
        Ok(())
    }

    fn audience(&self, mut at: f64) -> Option<&Audience> {
        let found = self.audiences.iter().find(|audience| {
            at -= audience.share;
            at < 0.0
        });
        found.or(self.audiences.last())
    }

    fn path(&self) -> &str {
        let mut at = fastrand::f64();
        let dynamic = DYNAMIC.iter().find(|(_, share)| {
            at -= share;
            at < 0.0
        });
        match dynamic {
            Some((path, _)) => path,
            None => self.popular.get(self.popularity.pick(fastrand::f64())).map_or("/", String::as_str),
        }
    }
}

/// Zipf's law: the n-th is asked for in proportion to 1 / n^SKEW.
struct Popularity(Vec<f64>);

impl Popularity {
    fn new(objects: usize) -> Self {
        let mut total = 0.0;
        let sums = (1..=objects).map(|rank| {
            total += (rank as f64).powf(-SKEW);
            total
        });
        Self(sums.collect())
    }

    /// The object that a random number below 1 stands for.
    fn pick(&self, random: f64) -> usize {
        let at = random * self.0.last().copied().unwrap_or(0.0);
        self.0.partition_point(|&sum| sum <= at)
    }
}

fn interval(rate: f64, random: f64) -> Duration {
    Duration::from_secs_f64(-(1.0 - random).ln() / rate)
}

struct User {
    address: String,
    language: &'static str,
    encoding: &'static str,
}

impl User {
    /// One of some hundred, from the networks that are set aside for examples (RFC 5737, RFC 3849).
    fn any() -> Self {
        let number = fastrand::u8(1..100);
        let address = match number % 3 {
            0 => format!("2001:db8:{number:x}::{number}"),
            1 => format!("203.0.113.{number}"),
            _ => format!("198.51.100.{number}"),
        };
        let language = LANGUAGES[fastrand::usize(..LANGUAGES.len())];
        // One in twenty takes no gzip.
        let last = ENCODINGS.len() - 1;
        let encoding = ENCODINGS[if fastrand::u8(..20) == 0 { last } else { fastrand::usize(..last) }];
        Self { address, language, encoding }
    }

    fn request(&self, target: &str) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::default());
        *request.uri_mut() = target.parse().unwrap_or_default();
        let headers = request.headers_mut();
        set(headers, "host", HOST);
        set(headers, "user-agent", "Mozilla/5.0 (demo)");
        set(headers, "accept", "text/html,*/*;q=0.8");
        set(headers, "accept-language", self.language);
        set(headers, "accept-encoding", self.encoding);
        set(headers, CLIENT, &self.address);
        request
    }
}

/// The path of the beacon in a page that says sorry, if this is one.
fn beacon(answer: &Response<Bytes>) -> Option<String> {
    if !answer.status().is_server_error() {
        return None;
    }
    let page = String::from_utf8_lossy(answer.body());
    let found = page.split("src=\"").skip(1).filter_map(|rest| Some(rest.split_once('"')?.0));
    // A beacon on another host would be beyond loopback, where the demo never goes.
    found.filter(|url| url.starts_with('/') && !url.starts_with("//")).map(|url| url.replace("&amp;", "&")).next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::StatusCode;

    #[test]
    fn the_popular_are_asked_for_more_often_and_the_last_is_asked_for_too() {
        let popularity = Popularity::new(400);
        let mut asked = vec![0; 400];
        let mut rng = fastrand::Rng::with_seed(1);
        (0..200_000).for_each(|_| asked[popularity.pick(rng.f64())] += 1);
        assert!(asked[0] > asked[9] * 7 && asked[9] > asked[99] * 7);
        assert!(asked[399] > 0);
        assert_eq!(popularity.pick(0.0), 0);
        assert_eq!(popularity.pick(1.0 - f64::EPSILON), 399);
    }

    #[test]
    fn intervals_have_the_mean_that_was_asked_for() {
        let mut rng = fastrand::Rng::with_seed(1);
        let total: Duration = (0..100_000).map(|_| interval(300.0, rng.f64())).sum();
        let mean = total.as_secs_f64() / 100_000.0;
        assert!((mean * 300.0 - 1.0).abs() < 0.02, "{mean}");
    }

    #[test]
    fn the_beacon_is_the_picture_in_an_error_page() {
        let page = r#"<html><a href="/x">x</a><img src="/status/images/beacon.gif?source=proxy_503&amp;a=b" width="1"></html>"#;
        let mut answer = Response::new(Bytes::from_static(page.as_bytes()));
        assert_eq!(beacon(&answer), None, "not an error");
        *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        assert_eq!(beacon(&answer).as_deref(), Some("/status/images/beacon.gif?source=proxy_503&a=b"));
        *answer.body_mut() = Bytes::from_static(b"<img src=\"https://beacons.example/b.gif\"><img src=\"//x/b.gif\">");
        assert_eq!(beacon(&answer), None, "on another host");
    }
}
