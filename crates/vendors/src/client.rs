//! The one way to a vendor: HTTPS with a deadline, a bound on the answer, and errors in the vendor's own words.

use crate::VendorError;
use crate::error::words;
use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client as Hyper;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use std::time::{Duration, SystemTime};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::timeout;

/// For a whole answer.
const DEADLINE: Duration = Duration::from_secs(30);
/// An hour of minutes from the most talkative vendor is a tenth of it.
const LIMIT: usize = 16 << 20;
/// Whatever a vendor asks for, it is asked again within a day.
const LONGEST_WAIT: Duration = Duration::from_secs(86_400);

/// Asks vendors. It keeps connections, follows no redirects and knows no proxy.
#[derive(Clone)]
pub struct Client {
    hyper: Hyper<HttpsConnector<HttpConnector>, Full<Bytes>>,
    deadline: Duration,
    limit: usize,
    in_the_clear: bool,
}

impl Client {
    /// With the certificates that this system trusts; `SSL_CERT_FILE` names others.
    ///
    /// # Errors
    /// Where the system has no certificates to trust.
    pub fn new() -> std::io::Result<Self> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(provider)?
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self {
            hyper: Hyper::builder(TokioExecutor::new()).build(connector),
            deadline: DEADLINE,
            limit: LIMIT,
            in_the_clear: false,
        })
    }

    /// The same connections with another deadline for a whole answer and another bound on it, in bytes.
    pub fn bounded(&self, deadline: Duration, limit: usize) -> Self {
        Self { deadline, limit, ..self.clone() }
    }

    /// The same for servers of our own network, which may do without TLS: no credentials may be sent on this one.
    pub fn in_the_clear(&self) -> Self {
        Self { in_the_clear: true, ..self.clone() }
    }

    /// Asks, and reads the answer to its end.
    ///
    /// # Errors
    /// Anything but a whole answer with a status of 2xx.
    pub async fn ask(&self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, VendorError> {
        let host = request.uri().authority().map_or_else(String::new, ToString::to_string);
        if !self.in_the_clear && request.uri().scheme_str() == Some("http") && !is_local(request.uri()) {
            let why = "credentials go over https only".into();
            return Err(VendorError::Unreachable { host, why });
        }
        let answer = timeout(self.deadline, self.exchange(&host, request)).await;
        let answer = answer.map_err(|_| VendorError::TooSlow { host: host.clone(), after: self.deadline })??;
        judge(host, answer)
    }

    async fn exchange(&self, host: &str, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, VendorError> {
        let unreachable = |why: String| VendorError::Unreachable { host: host.into(), why };
        let answer = self.hyper.request(request).await.map_err(|error| unreachable(chain(&error)))?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, self.limit).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                VendorError::TooLarge { host: host.into(), limit: self.limit }
            } else {
                unreachable(format!("the answer broke off: {}", chain(error.as_ref())))
            }
        })?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }
}

/// An error with what lies below it.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Simulated vendors may do without TLS.
fn is_local(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn judge(host: String, answer: Response<Bytes>) -> Result<Response<Bytes>, VendorError> {
    if answer.status().is_success() {
        return Ok(answer);
    }
    let status = answer.status().as_u16();
    let now = SystemTime::now();
    let retry_after = retry_after(&answer, now).or_else(|| next(&answer, now));
    let words = words(answer.body());
    Err(match answer.status() {
        StatusCode::TOO_MANY_REQUESTS => VendorError::Busy { host, status, retry_after, words },
        StatusCode::SERVICE_UNAVAILABLE if retry_after.is_some() => {
            VendorError::Busy { host, status, retry_after, words }
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => VendorError::Refused { host, status, words },
        _ => VendorError::Failed { host, status, words },
    })
}

/// `Retry-After` (RFC 9110, section 10.2.3): seconds, or a moment.
fn retry_after(answer: &Response<Bytes>, now: SystemTime) -> Option<Duration> {
    let text = answer.headers().get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default(),
    };
    Some(wait.min(LONGEST_WAIT))
}

/// When Akamai's APIs take the next question, by whichever of their limits is the slowest: a moment (RFC 3339), or
/// milliseconds since the epoch.
fn next(answer: &Response<Bytes>, now: SystemTime) -> Option<Duration> {
    let names = ["x-ratelimit-next", "akamai-sync-ratelimit-next", "akamai-sync-costratelimit-next"];
    let moment = |name: &&str| {
        let text = answer.headers().get(*name)?.to_str().ok()?.trim();
        let millis = text.parse::<u64>().ok().map(|millis| SystemTime::UNIX_EPOCH + Duration::from_millis(millis));
        millis.or_else(|| Some(OffsetDateTime::parse(text, &Rfc3339).ok()?.into()))
    };
    let latest = names.iter().filter_map(moment).max()?;
    Some(latest.duration_since(now).unwrap_or_default().min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, retry_after: &str) -> Response<Bytes> {
        let builder = Response::builder().status(status).header("retry-after", retry_after);
        builder.body(Bytes::from_static(b"{\"msg\": \"no\"}")).unwrap()
    }

    #[test]
    fn a_vendor_that_asks_for_patience_says_how_long() {
        let wait = |text| retry_after(&answer(429, text), SystemTime::UNIX_EPOCH);
        assert_eq!(wait("120"), Some(Duration::from_secs(120)));
        assert_eq!(wait("Thu, 01 Jan 1970 00:01:00 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(wait("99999999999"), Some(LONGEST_WAIT));
        assert_eq!(wait("soon"), None);
    }

    #[test]
    fn akamai_says_when_it_takes_the_next_question() {
        let wait = |name, text| {
            let answer = Response::builder().status(429).header(name, text).body(Bytes::new()).unwrap();
            next(&answer, SystemTime::UNIX_EPOCH)
        };
        assert_eq!(wait("X-RateLimit-Next", "1970-01-01T00:00:30.500Z"), Some(Duration::from_millis(30_500)));
        assert_eq!(wait("akamai-sync-ratelimit-next", "90000"), Some(Duration::from_secs(90)));
        assert_eq!(wait("akamai-sync-costratelimit-next", "9999-12-31T00:00:00Z"), Some(LONGEST_WAIT));
        assert_eq!(wait("X-RateLimit-Next", "soon"), None);
        assert_eq!(wait("X-RateLimit-Remaining", "3"), None);
    }

    #[test]
    fn each_refusal_has_its_name_and_the_vendors_words() {
        let error = |status| judge("api.example".into(), answer(status, "1")).unwrap_err();
        assert!(matches!(error(429), VendorError::Busy { .. }));
        assert!(matches!(error(503), VendorError::Busy { .. }));
        assert!(matches!(error(403), VendorError::Refused { .. }));
        assert!(matches!(error(500), VendorError::Failed { .. }));
        assert!(error(500).to_string().contains("{\"msg\": \"no\"}"));
        assert!(judge("api.example".into(), answer(200, "1")).is_ok());
    }

    #[test]
    fn credentials_go_in_the_clear_to_this_machine_alone() {
        for (uri, local) in [("http://127.0.0.1:1/", true), ("http://[::1]/", true), ("http://a.example/", false)] {
            assert_eq!(is_local(&uri.parse().unwrap()), local, "{uri}");
        }
    }
}
