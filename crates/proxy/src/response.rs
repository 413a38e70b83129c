//! An answer on its way down, and where its body comes from.

use crate::deflate::GzipBody;
use crate::fields::Fields;
use crate::http1::body::Step;
use crate::incoming::Incoming;
use crate::upstream::{Broken, Exchange, OriginBody, Pool};
use std::borrow::Cow;

/// An answer whose head has not been sent yet.
pub(crate) struct Response {
    pub status: u16,
    /// The words after the status; empty: the usual ones.
    pub reason: Vec<u8>,
    /// End-to-end fields. Neither `Content-Length` nor `Transfer-Encoding` nor `Connection` is among them.
    pub fields: Fields,
    /// The body's length where it is known; also where the body itself is not sent, as for HEAD.
    pub length: Option<u64>,
    pub body: Body,
}

/// Where a body comes from.
pub(crate) enum Body {
    /// There is none.
    Empty,
    /// It is here.
    Ready(Cow<'static, [u8]>),
    /// It comes from the origin.
    Origin(Box<OriginBody>),
    /// It comes from the origin and is compressed on the way.
    Gzip(Box<GzipBody>),
    /// After a 101 both sides say what they like.
    Tunnel(Box<Exchange>),
}

impl Response {
    /// An answer of our own.
    pub fn new(status: u16, content_type: &str, body: impl Into<Cow<'static, [u8]>>) -> Self {
        let body = body.into();
        let mut fields = Fields::default();
        fields.push("Content-Type", content_type.as_bytes());
        Self { status, reason: Vec::new(), fields, length: Some(body.len() as u64), body: Body::Ready(body) }
    }

    /// An answer of our own without a body.
    pub fn empty(status: u16) -> Self {
        Self { status, reason: Vec::new(), fields: Fields::default(), length: None, body: Body::Empty }
    }
}

impl Body {
    /// What stands ready. Bodies that are here are sent whole by who calls this.
    pub fn step(&mut self) -> Result<Step, Broken> {
        match self {
            Body::Origin(body) => body.step(),
            Body::Gzip(body) => body.step(),
            Body::Empty | Body::Ready(_) | Body::Tunnel(_) => Ok(Step::End),
        }
    }

    /// The first `count` bytes of a [`Step::Data`].
    pub fn data(&self, count: usize) -> &[u8] {
        match self {
            Body::Origin(body) => body.data(count),
            Body::Gzip(body) => body.data(count),
            _ => b"",
        }
    }

    /// So many bytes were used.
    pub fn took(&mut self, count: usize) {
        match self {
            Body::Origin(body) => body.took(count),
            Body::Gzip(body) => body.took(count),
            _ => {}
        }
    }

    /// Whether nothing can follow what was taken, so that the last piece can say that it is the last.
    pub fn is_at_end(&self) -> bool {
        match self {
            Body::Origin(body) => body.length() == Some(0) && body.trailers().is_none(),
            Body::Gzip(body) => body.is_at_end() && body.origin.trailers().is_none(),
            _ => false,
        }
    }

    /// Whether the request's body is still on its way to the origin.
    pub fn is_uploading(&self) -> bool {
        match self {
            Body::Origin(body) => body.exchange.is_uploading(),
            Body::Gzip(body) => body.origin.exchange.is_uploading(),
            Body::Tunnel(_) | Body::Ready(_) | Body::Empty => false,
        }
    }

    /// Waits for more.
    pub async fn fill(&mut self) -> Result<(), Broken> {
        match self {
            Body::Origin(body) => body.fill().await,
            Body::Gzip(body) => body.fill().await,
            _ => Ok(()),
        }
    }

    /// Fields behind the body.
    pub fn trailers(&self) -> Option<&Fields> {
        match self {
            Body::Origin(body) => body.trailers(),
            Body::Gzip(body) => body.origin.trailers(),
            _ => None,
        }
    }

    /// The origin's side of it.
    pub fn into_origin(self) -> Option<OriginBody> {
        match self {
            Body::Origin(body) => Some(*body),
            Body::Gzip(body) => Some(body.origin),
            _ => None,
        }
    }

    /// After its end: the connection goes to rest, and the request's body, if it was lent, comes back.
    pub fn finish(self, pool: &Pool) -> Option<Incoming> {
        self.into_origin().and_then(|body| body.exchange.finish(pool))
    }
}
