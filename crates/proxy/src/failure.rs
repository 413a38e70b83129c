//! Why a pull has no answer from the app. An error knows its side: the origin's, the client's or our own.

use crate::http1::head::Refusal;

/// What went wrong before there was a head to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No server took the connection.
    Connect,
    /// No server took it in time.
    ConnectTimeout,
    /// No server has a certificate that can be trusted, or speaks TLS.
    Tls,
    /// `origin.max_connections` were all in use for too long.
    NoConnection,
    /// The answer did not begin in time.
    FirstByteTimeout,
    /// The origin closed before its head was whole.
    ClosedBeforeHead,
    /// The origin's head cannot be read, or not in one way only.
    BadHead,
    /// `limits.max_in_flight`
    Overload,
    /// A fault of our own.
    Panic,
    /// The request's own fault.
    Refused(Refusal),
    /// Nobody is there any more to be answered.
    DownstreamGone,
}

impl Failure {
    /// Those that become a page.
    pub const PAGES: [Failure; 9] = [
        Failure::Connect,
        Failure::Tls,
        Failure::ConnectTimeout,
        Failure::NoConnection,
        Failure::FirstByteTimeout,
        Failure::ClosedBeforeHead,
        Failure::BadHead,
        Failure::Overload,
        Failure::Panic,
    ];

    /// The status for it. 499 is sent to nobody and stands in the log alone.
    pub fn status(self) -> u16 {
        match self {
            Failure::Connect | Failure::Tls | Failure::ClosedBeforeHead | Failure::BadHead => 502,
            Failure::ConnectTimeout | Failure::FirstByteTimeout => 504,
            Failure::NoConnection | Failure::Overload => 503,
            Failure::Panic => 500,
            Failure::Refused(refusal) => refusal.status(),
            Failure::DownstreamGone => 499,
        }
    }

    /// A word for the log, and where the origin is at fault a metric's label.
    pub fn reason(self) -> &'static str {
        match self {
            Failure::Connect => "connect",
            Failure::ConnectTimeout => "connect_timeout",
            Failure::Tls => "tls",
            Failure::NoConnection => "no_connection",
            Failure::FirstByteTimeout => "first_byte_timeout",
            Failure::ClosedBeforeHead => "closed_before_head",
            Failure::BadHead => "bad_head",
            Failure::Overload => "overload",
            Failure::Panic => "panic",
            Failure::Refused(refusal) => refusal.reason(),
            Failure::DownstreamGone => "downstream_gone",
        }
    }

    /// Whether the origin is at fault, so that it counts among its errors.
    pub fn is_upstream(self) -> bool {
        matches!(
            self,
            Failure::Connect
                | Failure::ConnectTimeout
                | Failure::Tls
                | Failure::NoConnection
                | Failure::FirstByteTimeout
                | Failure::ClosedBeforeHead
                | Failure::BadHead
        )
    }
}
