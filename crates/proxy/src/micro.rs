//! Single pieces of the pull's path, for the micro benches alone (feature `micro`).

use crate::caller::Caller;
use crate::deflate::{Deflate, whole};
use crate::http1::head::{RequestHead, ResponseHead};
use crate::identify::Asker;
use crate::negotiate;
use headwater_config::Policy;

/// A request's head, read.
pub struct Request(Option<RequestHead>, Caller);

impl Request {
    /// Reads it.
    pub fn read(head: &[u8]) -> Self {
        Self(RequestHead::parse(head, 100).ok(), Caller::local())
    }
}

/// Reads a request's head; whether it could be read.
pub fn read_request(head: &[u8]) -> bool {
    RequestHead::parse(head, 100).is_ok()
}

/// Reads an answer's head; whether it could be read.
pub fn read_response(head: &[u8]) -> bool {
    ResponseHead::parse(head).is_some_and(|head| head.framing("GET").is_some())
}

/// Judges a tag; whether it is proven.
pub fn identify(request: &Request, policy: &Policy) -> bool {
    request.0.as_ref().is_some_and(|head| matches!(Asker::of(&head.fields, &request.1, policy), Asker::Proven(_)))
}

/// Whether the client takes gzip.
pub fn accepts_gzip(request: &Request) -> bool {
    request.0.as_ref().is_some_and(|head| negotiate::accepts_gzip(&head.fields))
}

/// Compresses a body that is here; its length afterwards.
pub fn gzip_whole(body: &[u8], level: u32) -> usize {
    whole(body, level).map_or(0, |packed| packed.len())
}

/// Compresses a body as one that comes bit by bit; its length afterwards.
pub fn gzip(body: &[u8], level: u32) -> usize {
    let mut out = Vec::new();
    let mut deflate = Deflate::new(level);
    let mut rest = body;
    while !rest.is_empty() {
        match deflate.run(rest, &mut out, flate2::FlushCompress::None) {
            Ok(used) => rest = &rest[used..],
            Err(_) => return 0,
        }
    }
    let _ = deflate.finish(&mut out);
    out.len()
}
