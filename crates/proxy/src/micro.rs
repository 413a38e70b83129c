//! Single pieces of the pull's path, for the micro benches and the fuzzers alone (feature `micro`).

use crate::caller::Caller;
use crate::deflate::{Deflate, whole};
use crate::http1::body::{BadBody, Decoder, Step};
use crate::http1::head::{Framing, RequestHead, ResponseHead, Search};
use crate::identify::Asker;
use crate::negotiate;
use crate::proxy_protocol;
use crate::wire::Buffer;
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

/// A request's head as it comes off the wire, written for the next server. `None`: it is refused, or not whole.
pub fn pass_on(bytes: &[u8]) -> Option<Vec<u8>> {
    let length = Search::default().find(bytes).ok()??;
    let head = RequestHead::parse(&bytes[..length], 100).ok()?;
    let mut out = [head.method().as_bytes(), b" ", head.target(), b" HTTP/1.1\r\n"].concat();
    // HTTP/1.0 may do without.
    if !head.fields.has("Host") {
        out.extend_from_slice(b"Host: a\r\n");
    }
    head.fields.write_to(&mut out);
    out.extend_from_slice(b"\r\n");
    Some(out)
}

/// Takes a chunked body apart that arrives in pieces of so many bytes. `Ok(None)`: it is not whole.
///
/// # Errors
/// It is no chunked body.
pub fn read_chunks(bytes: &[u8], piece: usize) -> Result<Option<Vec<u8>>, &'static str> {
    let (mut decoder, mut buffer, mut body) = (Decoder::new(Framing::Chunked), Buffer::default(), Vec::new());
    for piece in bytes.chunks(piece.max(1)) {
        buffer.push(piece);
        loop {
            match decoder.step(&mut buffer).map_err(|BadBody| "this is no chunked body")? {
                Step::Data(count) => {
                    body.extend_from_slice(&buffer.data()[..count]);
                    decoder.took(count, &mut buffer);
                }
                Step::More => break,
                Step::End => return Ok(Some(body)),
            }
        }
    }
    Ok(None)
}

/// Reads a PROXY header that is whole; whether it could be read.
pub fn read_proxy_header(bytes: &[u8]) -> bool {
    proxy_protocol::parse(bytes).is_ok()
}
