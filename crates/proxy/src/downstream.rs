//! The side of the CDNs: heads in, answers out, over one HTTP/1 connection.

use crate::access_log::Clock;
use crate::failure::Failure;
use crate::http1::body::{Decoder, Step};
use crate::http1::head::{Framing, Refusal, RequestHead, Search, skip_empty_lines};
use crate::response::{Body, Response};
use crate::sink::{SMALL, Sink};
use crate::upstream::{Broken, Exchange, Incoming, Pool};
use crate::whoopsie::title;
use crate::wire::{Halt, Reader, Stream, Writer};
use futures_util::future::{Either, select};
use headwater_config::Limits;
use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::io::Write;
use std::pin::pin;
use std::time::Duration;
use tokio::time::Instant;

/// What a client may send ahead while an answer is under way.
const PIPELINED: usize = 16 << 10;
/// What a refused client may still send before its connection is cut, so that it reads why.
const LINGER_BYTES: usize = 256 << 10;
const LINGER_TIME: Duration = Duration::from_secs(1);

/// A connection from downstream.
pub(crate) struct Downstream {
    /// The reading half; away while a body goes up.
    pub incoming: Option<Incoming>,
    writer: Writer,
    out: Vec<u8>,
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
    /// Bytes of the body that the kernel took.
    pub bytes: u64,
    pub end: End,
    /// The origin's fault, if there was one: a label for its errors.
    pub upstream_error: Option<&'static str>,
    /// Whether another pull may come over this connection.
    pub keep: bool,
}

impl Downstream {
    pub fn new(stream: Stream) -> Self {
        let (reader, writer) = stream.split();
        let incoming = Incoming { reader, decoder: Decoder::new(Framing::Empty), allowed: 0 };
        Self { incoming: Some(incoming), writer, out: Vec::new() }
    }

    /// Reads the next head. `None`: there is none, and nobody to tell. It may take `rest` to begin.
    pub async fn read_head(
        &mut self,
        limits: &Limits,
        rest: Duration,
        rests: &Cell<bool>,
    ) -> Result<Option<(RequestHead, Instant)>, Refusal> {
        let Some(incoming) = &mut self.incoming else { return Ok(None) };
        let reader = &mut incoming.reader;
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
        loop {
            let data = reader.buffer.data();
            let found = search.find(data)?;
            if found.unwrap_or(data.len()) > limits.max_head {
                return Err(Refusal::HeadTooLarge);
            }
            if let Some(length) = found {
                let head = RequestHead::parse(&data[..length], limits.max_fields)?;
                reader.buffer.consume(length);
                incoming.decoder = Decoder::new(head.framing);
                return Ok(Some((head, begun)));
            }
            match reader.fill_until(1, begun + limits.header_timeout).await {
                Ok(()) => {}
                Err(Halt::TimedOut) => return Err(Refusal::HeadTooSlow),
                Err(_) => return Ok(None),
            }
        }
    }

    /// Reads a whole body of at most `most` bytes.
    pub async fn collect(&mut self, framing: Framing, most: u64, limits: &Limits) -> Result<Vec<u8>, Refusal> {
        let Some(Incoming { reader, decoder, .. }) = &mut self.incoming else { return Ok(Vec::new()) };
        if matches!(framing, Framing::Length(length) if length > most) {
            return Err(Refusal::BodyTooLarge);
        }
        let mut body = Vec::new();
        loop {
            match decoder.step(&mut reader.buffer) {
                Err(_) => return Err(Refusal::Malformed("the chunked body cannot be read")),
                Ok(Step::End) => return Ok(body),
                Ok(Step::Data(count)) => {
                    if body.len() + count > most as usize {
                        return Err(Refusal::BodyTooLarge);
                    }
                    body.extend_from_slice(&reader.buffer.data()[..count]);
                    decoder.took(count, &mut reader.buffer);
                }
                Ok(Step::More) => reader.fill(1, limits.body_idle_timeout).await.map_err(|_| Refusal::BodyTooSlow)?,
            }
        }
    }

    /// Sends a 1xx.
    pub async fn send_interim(&mut self, head: &[u8]) -> Result<(), Failure> {
        self.writer.be_prompt();
        self.writer.write(head, b"", Duration::from_secs(10)).await.map_err(|_| Failure::DownstreamGone)
    }

    /// Sends an answer. `keep` is whether the connection may be kept as far as the request and the policy go.
    pub async fn send(
        &mut self,
        mut response: Response,
        request: Option<&RequestHead>,
        keep: bool,
        clock: &RefCell<Clock>,
        limits: &Limits,
        pool: &Pool,
    ) -> Sent {
        let minor = request.map_or(1, |request| request.minor);
        let is_head = request.is_some_and(|request| request.method() == "HEAD");
        let bodyless = is_head || matches!(response.status, 100..200 | 204 | 304);
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
        let chunked = !bodyless && length.is_none() && minor > 0 && !matches!(response.body, Body::Empty);
        let delimited = bodyless || length.is_some() || chunked || matches!(response.body, Body::Empty);
        let keep = keep && delimited && !tunnel;
        self.write_head(
            &response,
            minor,
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
        let mut sent = Sent { bytes, end: End::Complete, upstream_error: None, keep };
        match result {
            Ok(()) => {}
            Err(broken) => {
                (sent.end, sent.upstream_error) = match broken {
                    Broken::Upstream => (End::Upstream, Some("body_broken")),
                    Broken::UpstreamIdle => (End::Timeout, Some("body_idle")),
                    Broken::DownstreamIdle | Broken::Refused(_) => (End::Timeout, None),
                    Broken::Downstream => (End::Downstream, None),
                };
                if !delimited {
                    // Where only the end of the connection ends the body, an orderly end would make it look whole.
                    self.writer.reset_on_close();
                }
                sent.keep = false;
                return sent;
            }
        }
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

    /// Whether the request's body has been read, or is so small that it can be thrown away.
    async fn is_read_up(&mut self) -> bool {
        let Some(Incoming { reader, decoder, .. }) = &mut self.incoming else { return false };
        let mut left = LINGER_BYTES;
        loop {
            match decoder.step(&mut reader.buffer) {
                Ok(Step::End) => return true,
                Ok(Step::Data(count)) if count <= left => {
                    left -= count;
                    decoder.took(count, &mut reader.buffer);
                }
                Ok(Step::More) if decoder.left().is_some_and(|more| more <= left as u64) => {
                    if reader.fill(1, Duration::from_millis(200)).await.is_err() {
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
        minor: u8,
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
        } else if minor == 0 {
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
        let read_up = self.incoming.as_mut().is_some_and(|incoming| {
            matches!(incoming.decoder.step(&mut incoming.reader.buffer), Ok(Step::End))
                && incoming.reader.buffer.is_empty()
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
        let Some(mut incoming) = self.incoming else { return };
        let until = Instant::now() + LINGER_TIME;
        let mut left = LINGER_BYTES;
        loop {
            let count = incoming.reader.buffer.len();
            incoming.reader.buffer.consume(count);
            left = left.saturating_sub(count);
            if left == 0 || incoming.reader.fill_until(1, until).await.is_err() {
                return;
            }
        }
    }

    /// Carries bytes both ways until the origin has ended or nothing moves; a client that has ended its half may still
    /// listen. Returns the bytes that went down.
    async fn tunnel(&mut self, exchange: Exchange, limits: &Limits) -> u64 {
        let Some((mut up, mut to_up, _)) = exchange.into_halves() else { return 0 };
        let Some(incoming) = &mut self.incoming else { return 0 };
        // What the client says after the origin's end is read by nobody, but lets it read the origin's last words.
        incoming.decoder = Decoder::new(Framing::UntilClose);
        let moved = Cell::new(Instant::now());
        let idle = limits.tunnel_idle_timeout;
        let down = pin!(carry(&mut up, &mut self.writer, idle, &moved));
        let up = pin!(carry(&mut incoming.reader, &mut to_up, idle, &moved));
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

/// Does something unless the client goes first: then `None`. A client whose connection is lent to an upload is watched there.
pub(crate) async fn unless_gone<T>(client: Option<&mut Incoming>, work: impl Future<Output = T>) -> Option<T> {
    let gone = async {
        match client {
            Some(client) => poll_fn(|cx| client.reader.poll_gone(cx, PIPELINED)).await,
            None => pending().await,
        }
    };
    match select(pin!(work), pin!(gone)).await {
        Either::Left((done, _)) => Some(done),
        Either::Right(_) => None,
    }
}
