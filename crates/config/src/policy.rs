//! The policy: what the config means, as pure data, ready to be asked.

use crate::control::Control;
use crate::networks::Networks;
use crate::origin::Origin;
use crate::pages::Page;
use crate::providers::Provider;
use crate::rules::Rules;
use crate::rum::Rum;
use crate::secret::Secret;
use crate::tls::Tls;
use crate::trace::Trace;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Everything that a pull is judged by. Immutable; a reload publishes another.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Where Headwater listens.
    pub listen: Listen,
    /// Certificates; there if anything listens for TLS.
    pub tls: Option<Tls>,
    /// The app servers.
    pub origin: Origin,
    /// Bounds.
    pub limits: Limits,
    /// The CDNs, in the order of the config.
    pub providers: Vec<Provider>,
    /// How a provider is told.
    pub identify: Identify,
    /// The ordered rules.
    pub rules: Rules,
    /// The beacon and the reports.
    pub beacon: Beacon,
    /// The page on a 5xx.
    pub whoopsie: Whoopsie,
    /// Country by address; `None`: every country is `unknown`.
    pub geo: Option<Arc<maxminddb::Reader<Vec<u8>>>>,
    /// The access log.
    pub log: Log,
    /// Where figures are pushed.
    pub metrics: Metrics,
    /// Traces; `None`: there are none.
    pub trace: Option<Trace>,
    /// The control plane.
    pub control: Control,
    /// Users' timings.
    pub rum: Rum,
    /// `[support]`
    pub support: crate::Support,
    /// 16 hex digits that change when any setting does.
    pub hash: String,
}

/// Where clients may speak HTTP/2 beside HTTP/1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http2 {
    /// Nowhere.
    Off,
    /// Over TLS, as agreed in the handshake.
    Tls,
    /// Also on plain connections, by clients that know it beforehand.
    All,
}

/// `[listen]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Where the CDNs pull from.
    pub http: Vec<SocketAddr>,
    /// Where they pull from over TLS.
    pub https: Vec<SocketAddr>,
    /// Where HTTP/2 is spoken.
    pub http2: Http2,
    /// Whose connections begin with a PROXY header.
    pub proxy_protocol_from: Networks,
    /// Metrics and health.
    pub admin: SocketAddr,
    /// What changes things asks for it.
    pub admin_token: Option<Secret>,
    /// Threads that serve pulls; 0: one per core.
    pub workers: usize,
}

/// `[limits]`
#[derive(Clone, Debug)]
pub struct Limits {
    /// From the first byte of a head to its last.
    pub header_timeout: Duration,
    /// Between pulls on a kept connection.
    pub idle_timeout: Duration,
    /// Between two reads or writes of a body, on either side.
    pub body_idle_timeout: Duration,
    /// Between two reads or writes of a tunnel.
    pub tunnel_idle_timeout: Duration,
    /// Bytes of a head, request line included.
    pub max_head: usize,
    /// Fields of a head.
    pub max_fields: usize,
    /// Longest wait of a pull beyond `max_in_flight`.
    pub wait_timeout: Duration,
    /// Pulls at one time.
    pub max_in_flight: usize,
    /// Bodies that are compressed as they come, at one time; more go as they are.
    pub max_gzip_streams: usize,
    /// Ranges that a pull may ask for at one time.
    pub max_ranges: usize,
    /// Streams of HTTP/2 at one time, on one connection.
    pub max_streams: u32,
    /// Pulls a second from one network that are not proven; 0: no bound.
    pub stranger_rate: u32,
    /// Connections from one network that carry no proven pulls; 0: no bound.
    pub stranger_connections: u32,
    /// Connections from downstream at one time.
    pub max_connections: usize,
}

/// What becomes of a pull that is not proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is served like any other.
    Serve,
    /// It gets a 403.
    Deny,
}

/// `[identify]`
#[derive(Clone, Debug)]
pub struct Identify {
    /// The tag's header.
    pub header: String,
    /// A tag without proof.
    pub unproven: Verdict,
    /// No tag.
    pub untagged: Verdict,
}

/// `[beacon]`
#[derive(Clone, Debug)]
pub struct Beacon {
    /// The GIF's path.
    pub path: String,
    /// The path for reports.
    pub reports: String,
    /// Sources with a label, beside those of our own pages; empty: the first 64 seen.
    pub sources: Vec<String>,
    /// An absolute URL for pages that a CDN serves; empty where there is none.
    pub url: String,
}

/// Whose errors become the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Our own failures: no answer from the app, or too many pulls.
    Proxy,
    /// The app's 5xx.
    Upstream,
    /// Both.
    Both,
    /// None: short plain text for ours, the app's as they come.
    Off,
}

/// `[whoopsie]`
#[derive(Clone, Debug)]
pub struct Whoopsie {
    /// The first is for users whose language there is none for.
    pub pages: Vec<Page>,
    /// Whose errors become the page.
    pub answer: Answer,
}

/// Where the access log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// A file, reopened on SIGUSR1.
    File(PathBuf),
}

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Host, then the combined format, then fields of our own.
    Combined,
    /// One object a line.
    Json,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Where.
    pub access: AccessLog,
    /// How.
    pub format: LogFormat,
}

/// `[metrics]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// `host:port` of a Graphite plaintext listener (TCP).
    pub graphite: Option<String>,
    /// `host:port` of a StatsD server (UDP).
    pub statsd: Option<String>,
    /// The first part of every name that is pushed.
    pub prefix: String,
    /// Between two pushes.
    pub interval: Duration,
}
