//! The side of the CDNs: whom a pull came from and its answer goes to, over HTTP/1 or HTTP/2.

pub(crate) mod http1;
pub(crate) mod http2;
mod sink;

use crate::access_log::Clock;
use crate::failure::Failure;
use crate::fields::Fields;
use crate::http1::body::Step;
use crate::http1::head::{Framing, Refusal, RequestHead};
use crate::incoming::Incoming;
use crate::response::Response;
use crate::upstream::{Broken, Pool};
use futures_util::future::{Either, select};
use headwater_config::Limits;
use std::cell::RefCell;
use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::time::Duration;

/// So much of a request's body is read and dropped behind an answer that did not wait for it, as long as it keeps coming.
const LINGER_BYTES: usize = 256 << 10;
const LINGER_PATIENCE: Duration = Duration::from_millis(200);

/// Who is answered: for one pull, a connection of HTTP/1 or a stream of HTTP/2.
pub(crate) enum Downstream<'c> {
    One(&'c mut http1::Connection),
    Two(&'c mut http2::Stream),
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Whole.
    Complete,
    /// The client broke it off.
    Downstream,
    /// The origin broke it off.
    Upstream,
    /// One of them was silent for too long.
    Timeout,
}

impl End {
    /// A word for the log.
    pub fn name(self) -> &'static str {
        match self {
            End::Complete => "complete",
            End::Downstream => "downstream",
            End::Upstream => "upstream",
            End::Timeout => "timeout",
        }
    }
}

/// What became of an answer.
pub(crate) struct Sent {
    /// Bytes of the body that went out.
    pub bytes: u64,
    pub end: End,
    /// The origin's fault, if there was one: a label for its errors.
    pub upstream_error: Option<&'static str>,
    /// Whether another pull may come over this connection.
    pub keep: bool,
}

impl Sent {
    /// An answer that broke off.
    fn broken(bytes: u64, broken: Broken) -> Self {
        let (end, upstream_error) = match broken {
            Broken::Upstream => (End::Upstream, Some("body_broken")),
            Broken::UpstreamIdle => (End::Timeout, Some("body_idle")),
            Broken::DownstreamIdle | Broken::Refused(_) => (End::Timeout, None),
            Broken::Downstream => (End::Downstream, None),
        };
        Self { bytes, end, upstream_error, keep: false }
    }
}

/// What an answer is sent with.
pub(crate) struct Sending<'a> {
    pub request: Option<&'a RequestHead>,
    /// Whether the connection may be kept as far as the request and the policy go.
    pub keep: bool,
    pub clock: &'a RefCell<Clock>,
    pub limits: &'a Limits,
    pub pool: &'a Pool,
}

impl Sending<'_> {
    /// Whether the answer has no body whatever its head says.
    fn is_bodyless(&self, status: u16) -> bool {
        self.request.is_some_and(|request| request.method() == "HEAD") || matches!(status, 100..200 | 204 | 304)
    }
}

impl Downstream<'_> {
    /// The request's body; away while it goes up.
    pub fn incoming(&mut self) -> &mut Option<Incoming> {
        match self {
            Downstream::One(connection) => &mut connection.incoming,
            Downstream::Two(stream) => &mut stream.incoming,
        }
    }

    /// Reads a whole body of at most `most` bytes.
    pub async fn collect(&mut self, framing: Framing, most: u64, limits: &Limits) -> Result<Vec<u8>, Refusal> {
        let Some(incoming) = self.incoming() else { return Ok(Vec::new()) };
        if matches!(framing, Framing::Length(length) if length > most) {
            return Err(Refusal::BodyTooLarge);
        }
        let mut body = Vec::new();
        loop {
            match incoming.step() {
                Err(_) => return Err(Refusal::Malformed("the chunked body cannot be read")),
                Ok(Step::End) => return Ok(body),
                Ok(Step::Data(count)) => {
                    if body.len() + count > most as usize {
                        return Err(Refusal::BodyTooLarge);
                    }
                    body.extend_from_slice(incoming.data(count));
                    incoming.took(count);
                }
                Ok(Step::More) => incoming.fill(1, limits.body_idle_timeout).await.map_err(|_| Refusal::BodyTooSlow)?,
            }
        }
    }

    /// Sends a 1xx, which the client may take `patience` to take.
    pub async fn send_interim(
        &mut self,
        status: u16,
        reason: &[u8],
        fields: &Fields,
        patience: Duration,
    ) -> Result<(), Failure> {
        match self {
            Downstream::One(connection) => connection.send_interim(status, reason, fields, patience).await,
            Downstream::Two(stream) => stream.send_interim(status, fields),
        }
    }

    /// Sends an answer.
    pub async fn send(&mut self, response: Response, sending: Sending<'_>) -> Sent {
        match self {
            Downstream::One(connection) => connection.send(response, sending).await,
            Downstream::Two(stream) => stream.send(response, sending).await,
        }
    }
}

/// Does something unless the client goes first: then `None`. A client whose connection is lent to an upload is watched there.
pub(crate) async fn unless_gone<T>(client: Option<&mut Incoming>, work: impl Future<Output = T>) -> Option<T> {
    let gone = async {
        match client {
            Some(client) => poll_fn(|cx| client.poll_gone(cx)).await,
            None => pending().await,
        }
    };
    match select(pin!(work), pin!(gone)).await {
        Either::Left((done, _)) => Some(done),
        Either::Right(_) => None,
    }
}
