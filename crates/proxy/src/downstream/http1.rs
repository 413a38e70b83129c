//! A connection of HTTP/1: heads in, answers out.

use super::sink::{SMALL, Sink};
use super::{End, LINGER_BYTES, LINGER_PATIENCE, Sending, Sent};
use crate::access_log::Clock;
use crate::failure::Failure;
use crate::fields::Fields;
use crate::http1::body::{Decoder, Step};
use crate::http1::head::{Framing, Refusal, RequestHead, Search, Unread, Version, skip_empty_lines};
use crate::incoming::{Incoming, Source, Wire};
use crate::response::{Body, Response};
use crate::upstream::{Broken, Exchange};
use crate::whoopsie::title;
use crate::wire::{Halt, Reader, Stream, Writer};
use futures_util::future::{Either, select};
use headwater_config::Limits;
use std::cell::Cell;
use std::io::Write;
use std::pin::pin;
use std::time::Duration;
use tokio::time::Instant;

/// How long a refused client may go on sending before its connection is cut, so that it reads why.
const LINGER_TIME: Duration = Duration::from_secs(1);

/// What HTTP/2 begins with and no request of HTTP/1 does (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection of HTTP/1.
pub(crate) struct Connection {
    /// The reading half; away while a body goes up.
    pub incoming: Option<Incoming>,
    writer: Writer,
    out: Vec<u8>,
}

impl Connection {
    pub fn new(stream: Stream) -> Self {
        let (reader, writer) = stream.split();
        Self { incoming: Some(Incoming::over_wire(reader)), writer, out: Vec::new() }
    }

    /// Both halves, if none of them is away.
    pub fn into_halves(self) -> Option<(Reader, Writer)> {
        match self.incoming?.source {
            Source::Wire(wire) => Some((wire.reader, self.writer)),
            Source::Stream(_) => None,
        }
    }

    /// Whether the connection begins as HTTP/2 does. `None`: it does not begin at all, or is about to be refused.
    pub async fn begins_http2(&mut self, limits: &Limits) -> Option<bool> {
        let reader = &mut self.incoming.as_mut().and_then(Incoming::wire)?.reader;
        let mut until = Instant::now() + limits.idle_timeout;
        loop {
            let data = reader.buffer.data();
            let length = data.len().min(PREFACE.len());
            if data[..length] != PREFACE[..length] {
                return Some(false);
            }
            if length == PREFACE.len() {
                return Some(true);
            }
            if length > 0 {
                until = until.min(Instant::now() + limits.header_timeout);
            }
            reader.fill_until(1, until).await.ok()?;
        }
    }

    /// Reads the next head. `None`: there is none, and nobody to tell. It may take `rest` to begin.
    pub async fn read_head(
        &mut self,
        limits: &Limits,
        rest: Duration,
        rests: &Cell<bool>,
    ) -> Result<Option<(RequestHead, Instant)>, Unread> {
        let Some(Wire { reader, decoder }) = self.incoming.as_mut().and_then(Incoming::wire) else { return Ok(None) };
        if self.out.capacity() > SMALL * 2 {
            self.out = Vec::new();
        }
        skip_empty_lines(&mut reader.buffer);
        while reader.buffer.is_empty() {
            rests.set(true);
            let filled = reader.fill(1, rest).await;
            rests.set(false);
            if filled.is_err() {
                return Ok(None);
            }
            skip_empty_lines(&mut reader.buffer);
        }
        let begun = Instant::now();
        let mut search = Search::default();
        let refusal = loop {
            let data = reader.buffer.data();
            let found = match search.find(data) {
                Ok(found) => found,
                Err(refusal) => break refusal,
            };
            if found.unwrap_or(data.len()) > limits.max_head {
                break Refusal::HeadTooLarge;
            }
            if let Some(length) = found {
                match RequestHead::parse(&data[..length], limits.max_fields) {
                    Ok(head) => {
                        reader.buffer.consume(length);
                        *decoder = Decoder::new(head.framing);
                        return Ok(Some((head, begun)));
                    }
                    Err(refusal) => break refusal,
                }
            }
            match reader.fill_until(1, begun + limits.header_timeout).await {
                Ok(()) => {}
                Err(Halt::TimedOut) => break Refusal::HeadTooSlow,
                Err(_) => return Ok(None),
            }
        };
        let data = reader.buffer.data();
        let end = data.iter().position(|&b| b == b'\r' || b == b'\n').unwrap_or(data.len());
        Err(Unread { refusal, begun, line: data[..end].to_vec() })
    }

    /// Sends a 1xx.
    pub async fn send_interim(
        &mut self,
        status: u16,
        reason: &[u8],
        fields: &Fields,
        patience: Duration,
    ) -> Result<(), Failure> {
        let mut head = format!("HTTP/1.1 {status} ").into_bytes();
        head.extend_from_slice(reason);
        head.extend_from_slice(b"\r\n");
        fields.write_to(&mut head);
        head.extend_from_slice(b"\r\n");
        self.writer.be_prompt();
        self.writer.write(&head, b"", patience).await.map_err(|_| Failure::DownstreamGone)
    }

    /// Sends an answer.
    pub async fn send(&mut self, mut response: Response, sending: Sending<'_>) -> Sent {
        let version = sending.request.map_or(Version::Http11, |request| request.version);
        let bodyless = sending.is_bodyless(response.status);
        let Sending { keep, clock, limits, pool, request } = sending;
        let length = match &response.body {
            Body::Ready(body) => Some(body.len() as u64),
            Body::Origin(body) if !bodyless => body.length(),
            Body::Gzip(_) if !bodyless => None,
            _ => response.length,
        };
        let tunnel = matches!(response.body, Body::Tunnel(_));
        if tunnel {
            self.writer.be_prompt();
        }
        let chunked =
            !bodyless && length.is_none() && version != Version::Http10 && !matches!(response.body, Body::Empty);
        let delimited = bodyless || length.is_some() || chunked || matches!(response.body, Body::Empty);
        let keep = keep && delimited && !tunnel && self.will_be_read_up(request, &response.body);
        self.write_head(
            &response,
            version,
            length.filter(|_| !(204..205).contains(&response.status)),
            chunked,
            keep,
            &mut clock.borrow_mut(),
        );
        let mut sink = Sink {
            writer: &mut self.writer,
            out: &mut self.out,
            chunked,
            staged: 0,
            sent: 0,
            patience: limits.body_idle_timeout,
        };
        let result = match &mut response.body {
            Body::Tunnel(_) => sink.flush().await,
            Body::Ready(body) if !bodyless => sink.send_all(body).await,
            body if !bodyless => match sink.pump(body, self.incoming.as_mut()).await {
                Err(broken @ (Broken::Upstream | Broken::UpstreamIdle)) => {
                    // What had come is passed on, so that the client sees a break and not a silence.
                    let _ = sink.flush().await;
                    Err(broken)
                }
                result => result,
            },
            // An origin that answers HEAD, 204 or 304 sends no body; its connection is free at once.
            body => match body.step() {
                Ok(_) => sink.flush().await,
                Err(broken) => Err(broken),
            },
        };
        let bytes = sink.sent;
        if let Err(broken) = result {
            if !delimited {
                // Where only the end of the connection ends the body, an orderly end would make it look whole.
                self.writer.reset_on_close();
            }
            return Sent::broken(bytes, broken);
        }
        let mut sent = Sent { bytes, end: End::Complete, upstream_error: None, keep };
        if let Body::Tunnel(exchange) = response.body {
            sent.bytes = self.tunnel(*exchange, limits).await;
            return sent;
        }
        if let Some(incoming) = response.body.finish(pool) {
            self.incoming = Some(incoming);
        }
        sent.keep = sent.keep && self.is_read_up().await;
        sent
    }

    /// Whether what is left of the request's body can be read and dropped behind the answer. Where it cannot, the head says that
    /// the connection ends (RFC 9112, section 9.6).
    fn will_be_read_up(&mut self, request: Option<&RequestHead>, body: &Body) -> bool {
        let left = match self.incoming.as_mut().and_then(Incoming::wire) {
            Some(wire) => wire.decoder.left(),
            None if !body.is_uploading() => Some(0),
            None => match request.map(|request| request.framing) {
                Some(Framing::Length(length)) => Some(length),
                _ => None,
            },
        };
        left.is_some_and(|left| left <= LINGER_BYTES as u64)
    }

    /// Whether the request's body has been read, or is so small that it can be thrown away.
    async fn is_read_up(&mut self) -> bool {
        let Some(Wire { reader, decoder }) = self.incoming.as_mut().and_then(Incoming::wire) else { return false };
        let mut left = LINGER_BYTES;
        loop {
            match decoder.step(&mut reader.buffer) {
                Ok(Step::End) => return true,
                Ok(Step::Data(count)) if count <= left => {
                    left -= count;
                    decoder.took(count, &mut reader.buffer);
                }
                Ok(Step::More) if decoder.left().is_some_and(|more| more <= left as u64) => {
                    if reader.fill(1, LINGER_PATIENCE).await.is_err() {
                        return false;
                    }
                }
                _ => return false,
            }
        }
    }

    fn write_head(
        &mut self,
        response: &Response,
        version: Version,
        length: Option<u64>,
        chunked: bool,
        keep: bool,
        clock: &mut Clock,
    ) {
        let out = &mut self.out;
        out.clear();
        let status = response.status;
        out.extend_from_slice(b"HTTP/1.1 ");
        let _ = write!(out, "{status}");
        out.push(b' ');
        out.extend_from_slice(if response.reason.is_empty() { title(status).as_bytes() } else { &response.reason });
        out.extend_from_slice(b"\r\n");
        response.fields.write_to(out);
        if !response.fields.has("Date") {
            clock.tick();
            let _ = write!(out, "Date: {}\r\n", clock.http());
        }
        if chunked {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        } else if let Some(length) = length {
            let _ = write!(out, "Content-Length: {length}\r\n");
        }
        if !keep && status != 101 {
            out.extend_from_slice(b"Connection: close\r\n");
        } else if version == Version::Http10 {
            out.extend_from_slice(b"Connection: keep-alive\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Lets small writes leave at once, as there will be more than one.
    pub fn be_prompt(&mut self) {
        self.writer.be_prompt();
    }

    /// Ends the connection; gently if the client may still be sending.
    pub async fn close(mut self) {
        let read_up = self.incoming.as_mut().and_then(Incoming::wire).is_some_and(|wire| {
            matches!(wire.decoder.step(&mut wire.reader.buffer), Ok(Step::End)) && wire.reader.buffer.is_empty()
        });
        if !read_up {
            self.linger().await;
        } else if self.writer.says_goodbye() {
            self.writer.shut().await;
        }
    }

    /// Ends the connection so that the client reads the last answer: a socket that is closed while bytes come in is reset,
    /// and a reset may overtake what was sent.
    pub async fn linger(mut self) {
        self.writer.shut().await;
        let Some(Wire { reader, .. }) = self.incoming.as_mut().and_then(Incoming::wire) else { return };
        let until = Instant::now() + LINGER_TIME;
        let mut left = LINGER_BYTES;
        loop {
            let count = reader.buffer.len();
            reader.buffer.consume(count);
            left = left.saturating_sub(count);
            if left == 0 || reader.fill_until(1, until).await.is_err() {
                return;
            }
        }
    }

    /// Carries bytes both ways until the origin has ended or nothing moves; a client that has ended its half may still
    /// listen. Returns the bytes that went down.
    async fn tunnel(&mut self, exchange: Exchange, limits: &Limits) -> u64 {
        let Some((mut up, mut to_up, _)) = exchange.into_halves() else { return 0 };
        let Some(Wire { reader, decoder }) = self.incoming.as_mut().and_then(Incoming::wire) else { return 0 };
        // What the client says after the origin's end is read by nobody, but lets it read the origin's last words.
        *decoder = Decoder::new(Framing::UntilClose);
        let moved = Cell::new(Instant::now());
        let idle = limits.tunnel_idle_timeout;
        let down = pin!(carry(&mut up, &mut self.writer, idle, &moved));
        let up = pin!(carry(reader, &mut to_up, idle, &moved));
        match select(down, up).await {
            Either::Left((bytes, _)) => bytes,
            Either::Right((_, down)) => down.await,
        }
    }
}

/// Carries one direction. Idle time counts only while the other direction is idle too.
async fn carry(from: &mut Reader, to: &mut Writer, idle: Duration, moved: &Cell<Instant>) -> u64 {
    let mut bytes = 0;
    loop {
        let count = from.buffer.len();
        if count > 0 {
            if to.write(from.buffer.data(), b"", idle).await.is_err() {
                return bytes;
            }
            from.buffer.consume(count);
            bytes += count as u64;
            moved.set(Instant::now());
        }
        match from.fill_until(1, moved.get() + idle).await {
            Ok(()) => {}
            Err(Halt::TimedOut) if moved.get() + idle > Instant::now() => {}
            Err(_) => {
                to.shut().await;
                return bytes;
            }
        }
    }
}
