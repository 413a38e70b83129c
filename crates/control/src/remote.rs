//! The control plane's API as the command line asks it.

use crate::plain;
use bytes::Bytes;
use headwater_vendors::VendorError;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use thiserror::Error;

/// For a whole answer. A deploy waits for no longer.
const DEADLINE: Duration = Duration::from_secs(5);
/// Of an answer, in bytes.
const LIMIT: usize = 8 << 20;
/// How much of an answer that is no success is quoted, in characters.
const QUOTED: usize = 300;

/// Why the API said nothing of use.
#[derive(Debug, Error)]
pub enum RemoteError {
    /// It is down, or elsewhere.
    #[error("the control plane at {url} cannot be reached: {why}")]
    Unreachable {
        /// Where it was looked for.
        url: String,
        /// What the network says.
        why: String,
    },
    /// It answers, and does not do what was asked.
    #[error("the control plane at {url} answers {status}: {words}")]
    Refused {
        /// Where it is.
        url: String,
        /// The status code.
        status: u16,
        /// Its words.
        words: String,
    },
    /// Something else answers there.
    #[error("what answers at {url} is no control plane of Headwater")]
    Strange {
        /// Where that is.
        url: String,
    },
    /// Not an address at all.
    #[error("\"{0}\" is no address of a control plane; write for example http://127.0.0.1:9280")]
    Url(String),
}

/// Where a control plane listens, and what it wants to hear.
pub struct Remote {
    base: Uri,
    authority: String,
    token: Option<HeaderValue>,
}

impl Remote {
    /// That on this machine which listens on `listen`. `token` has no characters that a header cannot carry.
    pub fn on(listen: SocketAddr, token: Option<&[u8]>) -> Self {
        // Who listens everywhere listens on loopback too.
        let ip = match listen.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let authority = SocketAddr::new(ip, listen.port()).to_string();
        let base = format!("http://{authority}").parse().unwrap_or_default();
        Self { base, authority, token: bearer(token) }
    }

    /// That at a URL, `http://host:port` or `https://host`.
    ///
    /// # Errors
    /// Where this is no such URL.
    pub fn at(url: &str, token: Option<&[u8]>) -> Result<Self, RemoteError> {
        let wrong = || RemoteError::Url(url.into());
        let base: Uri = url.trim_end_matches('/').parse().map_err(|_| wrong())?;
        let authority = base.authority().ok_or_else(wrong)?;
        let port = match base.scheme_str() {
            Some("http") => 80,
            Some("https") => 443,
            _ => return Err(wrong()),
        };
        if !matches!(base.path(), "" | "/") || base.query().is_some() {
            return Err(wrong());
        }
        let authority = match authority.port() {
            Some(_) => authority.to_string(),
            None => format!("{authority}:{port}"),
        };
        Ok(Self { base, authority, token: bearer(token) })
    }

    /// Reads.
    ///
    /// # Errors
    /// Where there is no answer, or none that is JSON with a status of 2xx.
    pub async fn get(&self, path: &str) -> Result<Value, RemoteError> {
        self.ask(Method::GET, path, None).await
    }

    /// Changes something.
    ///
    /// # Errors
    /// As for [`Remote::get`].
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, RemoteError> {
        self.ask(Method::POST, path, Some(body)).await
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, RemoteError> {
        let url = format!("{}://{}", self.base.scheme_str().unwrap_or("http"), self.authority);
        let is_plain = self.base.scheme_str() == Some("http");
        let target = if is_plain { path.to_string() } else { format!("{url}{path}") };
        let mut request = Request::builder().method(method).uri(target).header("accept", "application/json");
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token.clone());
        }
        let body = Full::new(body.map(|body| Bytes::from(body.to_string())).unwrap_or_default());
        let request = request.body(body).map_err(|_| RemoteError::Url(url.clone()))?;
        let unreachable = |why: String| RemoteError::Unreachable { url: url.clone(), why };
        let answer = if is_plain {
            let answer = plain::ask(&self.authority, request, DEADLINE, LIMIT).await.map_err(unreachable)?;
            if !answer.status().is_success() {
                let words = String::from_utf8_lossy(answer.body()).trim().chars().take(QUOTED).collect();
                return Err(RemoteError::Refused { url, status: answer.status().as_u16(), words });
            }
            answer
        } else {
            let client = headwater_vendors::Client::new().map_err(|error| unreachable(error.to_string()))?;
            client.bounded(DEADLINE, LIMIT).ask(request).await.map_err(|error| match error {
                VendorError::Refused { status, words, .. }
                | VendorError::Failed { status, words, .. }
                | VendorError::Busy { status, words, .. } => RemoteError::Refused { url: url.clone(), status, words },
                error => unreachable(error.to_string()),
            })?
        };
        serde_json::from_slice(answer.body()).map_err(|_| RemoteError::Strange { url })
    }
}

fn bearer(token: Option<&[u8]>) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_bytes(&[b"Bearer ", token?].concat()).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_everywhere_is_asked_on_loopback() {
        let at = |listen: &str| Remote::on(listen.parse().unwrap(), None).authority;
        assert_eq!(at("0.0.0.0:9280"), "127.0.0.1:9280");
        assert_eq!(at("[::]:9280"), "[::1]:9280");
        assert_eq!(at("10.0.0.7:9280"), "10.0.0.7:9280");
    }

    #[test]
    fn a_url_has_a_scheme_and_a_host_and_no_path() {
        assert_eq!(Remote::at("http://hw:9280/", None).unwrap().authority, "hw:9280");
        assert_eq!(Remote::at("https://hw.example", None).unwrap().authority, "hw.example:443");
        for wrong in ["hw:9280", "ftp://hw", "http://", "http://hw/api", "http://hw/?x", "http://h w"] {
            assert!(Remote::at(wrong, None).is_err(), "{wrong}");
        }
    }
}
