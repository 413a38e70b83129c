//! One request and its answer over one connection. The request's body goes up while the answer comes down; both are
//! driven by the task of the connection they came from, so each side waits for the other and neither is held in memory.

use super::pool::{Connection, Pool};
use super::server::InHand;
use crate::failure::Failure;
use crate::http1::body::{Decoder, Step, write_chunk_size};
use crate::http1::head::{Framing, Refusal, ResponseHead, Search};
use crate::incoming::Incoming;
use crate::live::Live;
use crate::wire::{Halt, Reader, Writer};
use headwater_config::Limits;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// Larger heads than this no app sends by design.
const LARGEST_HEAD: usize = 128 << 10;
/// What a body is read with: large enough that a system call pays, small enough to stay in the cache.
const BODY_BUFFER: usize = 64 << 10;
/// For bodies known to be large.
const LARGE_BODY_BUFFER: usize = 256 << 10;

/// Why a body ended before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The origin closed or reset, or its framing makes no sense.
    Upstream,
    /// The origin sent nothing for too long.
    UpstreamIdle,
    /// The client closed, or took nothing for too long.
    Downstream,
    /// The client took or sent nothing for too long.
    DownstreamIdle,
    /// What the client sends is not to be read on.
    Refused(Refusal),
}

/// Says of a name whether a stranger's field of that name is kept from the app.
pub(crate) type KeptBack = Box<dyn Fn(&[u8]) -> bool>;

/// A request's body on its way up, and the parts that come back when it is done.
type Upload = Pin<Box<dyn Future<Output = (Incoming, Result<(), Broken>)>>>;

/// A request that was sent, or is being sent, and the connection for its answer.
pub(crate) struct Exchange {
    connection: Option<Connection>,
    /// Writes to the connection while a body goes up.
    upload: Option<Upload>,
    /// Back from an upload.
    returned: Option<Incoming>,
    upload_failed: Option<Broken>,
    in_hand: InHand,
    /// Set by the head: whether the origin keeps the connection, and for how long.
    keeps_until: Option<Duration>,
}

impl Exchange {
    pub fn new(connection: Connection, in_hand: InHand) -> Self {
        Self {
            connection: Some(connection),
            upload: None,
            returned: None,
            upload_failed: None,
            in_hand,
            keeps_until: None,
        }
    }

    /// The server's name, for the log.
    pub fn server(&self) -> &str {
        self.connection.as_ref().map_or("-", |connection| &connection.server.name)
    }

    /// Tells the server's health of an answer's head.
    pub fn answered(&mut self, status: u16, live: &Live) {
        if live.policy.origin.ejection.fails_5xx && matches!(status, 500 | 502..=504) {
            self.in_hand.failed("5xx", "", &live.servers);
        } else {
            self.in_hand.succeeded();
        }
    }

    /// Tells the server's health that there is none. What a connection that had rested says of its end is no news.
    pub fn failed(&mut self, failure: Failure, live: &Live) {
        let reused = self.connection.as_ref().is_some_and(|connection| connection.reused);
        match failure {
            Failure::ClosedBeforeHead if reused => {}
            Failure::ClosedBeforeHead | Failure::FirstByteTimeout | Failure::BadHead => {
                self.in_hand.failed(failure.reason(), "", &live.servers);
            }
            _ => {}
        }
    }

    fn reader(&mut self) -> Result<&mut Reader, Broken> {
        self.connection.as_mut().map(|connection| &mut connection.reader).ok_or(Broken::Upstream)
    }

    /// Sends a head.
    pub async fn send_head(&mut self, head: &[u8], patience: Duration) -> Result<(), Halt> {
        match &mut self.connection {
            Some(connection) => connection.writer.write(head, b"", patience).await,
            None => Err(Halt::Broken),
        }
    }

    /// Begins to send a body. It moves whenever the exchange is waited for.
    /// `kept_back` names the trailers that are not passed on.
    pub fn start_upload(&mut self, incoming: Incoming, framing: Framing, patience: Duration, kept_back: KeptBack) {
        if let Some(connection) = &self.connection {
            let writer = connection.writer.another();
            self.upload = Some(Box::pin(upload(incoming, writer, framing == Framing::Chunked, patience, kept_back)));
        } else {
            self.returned = Some(incoming);
        }
    }

    /// The request's body, when it has come back from its upload.
    pub fn take_incoming(&mut self) -> Option<Incoming> {
        self.returned.take()
    }

    /// Whether the request's body is still on its way.
    pub fn is_uploading(&self) -> bool {
        self.upload.is_some()
    }

    /// Moves the upload. An origin that stopped reading is no failure yet: its answer may be on the way.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<(), Broken> {
        let Some(upload) = &mut self.upload else { return Ok(()) };
        let Poll::Ready((incoming, result)) = upload.as_mut().poll(cx) else { return Ok(()) };
        self.upload = None;
        self.returned = Some(incoming);
        self.upload_failed = result.err();
        match result {
            Err(Broken::Upstream | Broken::UpstreamIdle) | Ok(()) => Ok(()),
            Err(broken) => Err(broken),
        }
    }

    /// Waits until a head of the answer is whole: a 1xx, or the final one.
    /// `patience` runs from the end of the request to the first byte, and again from there.
    pub async fn head(&mut self, patience: Duration, idle: Option<&mut Incoming>) -> Result<ResponseHead, Failure> {
        let mut search = Search::default();
        let mut deadline = None;
        let mut idle = idle;
        loop {
            let Some(connection) = &mut self.connection else { return Err(Failure::ClosedBeforeHead) };
            let buffer = &mut connection.reader.buffer;
            match search.find(buffer.data()) {
                Ok(Some(length)) => {
                    let head = ResponseHead::parse(&buffer.data()[..length]).ok_or(Failure::BadHead)?;
                    buffer.consume(length);
                    return Ok(head);
                }
                Ok(None) if buffer.len() < LARGEST_HEAD => {}
                _ => return Err(Failure::BadHead),
            }
            let begun = !buffer.is_empty();
            poll_fn(|cx| {
                match self.poll_upload(cx) {
                    Ok(()) => {}
                    Err(Broken::Refused(refusal)) => return Poll::Ready(Err(Failure::Refused(refusal))),
                    Err(Broken::DownstreamIdle) => return Poll::Ready(Err(Failure::Refused(Refusal::BodyTooSlow))),
                    Err(_) => return Poll::Ready(Err(Failure::DownstreamGone)),
                }
                let uploading = self.upload.is_some();
                if uploading {
                    deadline = None;
                } else if let Some(incoming) = idle.as_deref_mut().or(self.returned.as_mut())
                    && incoming.poll_gone(cx).is_ready()
                {
                    return Poll::Ready(Err(Failure::DownstreamGone));
                }
                let Some(connection) = &mut self.connection else { return Poll::Ready(Err(Failure::ClosedBeforeHead)) };
                let result = if uploading {
                    match connection.reader.poll_fill(cx, BODY_BUFFER) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Ok(count)) if count > 0 => Ok(()),
                        Poll::Ready(Ok(_)) => Err(Halt::Ended),
                        Poll::Ready(Err(_)) => Err(Halt::Broken),
                    }
                } else {
                    std::task::ready!(connection.reader.poll_fill_within(cx, BODY_BUFFER, patience, &mut deadline))
                };
                Poll::Ready(result.map_err(|halt| match halt {
                    Halt::TimedOut => Failure::FirstByteTimeout,
                    // Some bytes and then an end is half a head.
                    Halt::Ended | Halt::Broken if begun => Failure::BadHead,
                    Halt::Ended | Halt::Broken => Failure::ClosedBeforeHead,
                }))
            })
            .await?;
        }
    }

    /// Learns from the final head whether the origin keeps the connection (RFC 9112, section 9.3), and how long it says it will.
    pub fn learn(&mut self, head: &ResponseHead, idle_timeout: Duration) {
        let says_close = head.fields.has_member("Connection", "close");
        let keeps = if head.minor > 0 { !says_close } else { head.fields.has_member("Connection", "keep-alive") };
        if !keeps {
            return;
        }
        let promised = head.fields.members("Keep-Alive").find_map(|member| {
            let seconds = member.strip_prefix(b"timeout=")?;
            std::str::from_utf8(seconds).ok()?.trim().parse::<u32>().ok()
        });
        // A tenth, or half a second, earlier than the origin closes: what is sent just then is lost.
        let promised = promised.map(|seconds| {
            let time = Duration::from_secs(seconds.into());
            time.saturating_sub((time / 10).max(Duration::from_millis(500)))
        });
        self.keeps_until = Some(promised.map_or(idle_timeout, |promised| promised.min(idle_timeout)));
    }

    /// Ends the exchange; the connection goes to rest if it may.
    pub fn finish(mut self, pool: &Pool) -> Option<Incoming> {
        let whole = self.upload.is_none() && self.upload_failed.is_none();
        if let (Some(connection), Some(rest), true) = (self.connection.take(), self.keeps_until, whole)
            && connection.reader.buffer.is_empty()
            && !rest.is_zero()
        {
            pool.check_in(connection, Instant::now() + rest);
        }
        self.returned.take()
    }

    /// The bare halves, for a tunnel.
    pub fn into_halves(mut self) -> Option<(Reader, Writer, Option<Incoming>)> {
        let returned = self.returned.take();
        self.connection.take().map(|connection| (connection.reader, connection.writer, returned))
    }
}

async fn upload(
    mut incoming: Incoming,
    mut writer: Writer,
    chunked: bool,
    patience: Duration,
    kept_back: KeptBack,
) -> (Incoming, Result<(), Broken>) {
    let result = send_body(&mut incoming, &mut writer, chunked, patience, kept_back).await;
    (incoming, result)
}

async fn send_body(
    incoming: &mut Incoming,
    writer: &mut Writer,
    chunked: bool,
    patience: Duration,
    kept_back: KeptBack,
) -> Result<(), Broken> {
    let upstream = |halt| if matches!(halt, Halt::TimedOut) { Broken::UpstreamIdle } else { Broken::Upstream };
    let mut out = Vec::new();
    loop {
        let step = incoming.step();
        // A chunk that says that it is too large is refused before it has come.
        if incoming.announced() > incoming.allowed {
            return Err(Broken::Refused(Refusal::BodyTooLarge));
        }
        match step {
            Err(_) => return Err(Broken::Refused(Refusal::Malformed("the chunked body cannot be read"))),
            Ok(Step::End) => break,
            Ok(Step::Data(count)) => {
                incoming.allowed -= count as u64;
                let data = incoming.data(count);
                if chunked {
                    write_chunk_size(count, &mut out);
                    out.extend_from_slice(data);
                    out.extend_from_slice(b"\r\n");
                } else {
                    writer.write(data, b"", patience).await.map_err(upstream)?;
                }
                incoming.took(count);
                if out.len() > BODY_BUFFER {
                    writer.write(&out, b"", patience).await.map_err(upstream)?;
                    out.clear();
                }
            }
            Ok(Step::More) => {
                if !out.is_empty() {
                    writer.write(&out, b"", patience).await.map_err(upstream)?;
                    out.clear();
                }
                incoming.fill(BODY_BUFFER, patience).await.map_err(|halt| match halt {
                    Halt::TimedOut => Broken::DownstreamIdle,
                    Halt::Ended | Halt::Broken => Broken::Downstream,
                })?;
            }
        }
    }
    if chunked {
        out.extend_from_slice(b"0\r\n");
        if let Some(trailers) = incoming.trailers() {
            trailers.retain(|name, _| !kept_back(name));
            trailers.write_to(&mut out);
        }
        out.extend_from_slice(b"\r\n");
        writer.write(&out, b"", patience).await.map_err(upstream)?;
    }
    Ok(())
}

/// An answer's body, as it comes from the origin.
pub(crate) struct OriginBody {
    pub exchange: Exchange,
    decoder: Decoder,
    patience: Duration,
}

impl OriginBody {
    pub fn new(exchange: Exchange, framing: Framing, limits: &Limits) -> Self {
        Self { exchange, decoder: Decoder::new(framing), patience: limits.body_idle_timeout }
    }

    /// What stands ready.
    pub fn step(&mut self) -> Result<Step, Broken> {
        let decoder = &mut self.decoder;
        let Some(connection) = &mut self.exchange.connection else { return Err(Broken::Upstream) };
        decoder.step(&mut connection.reader.buffer).map_err(|_| Broken::Upstream)
    }

    /// The first `count` bytes of a [`Step::Data`].
    pub fn data(&self, count: usize) -> &[u8] {
        self.exchange.connection.as_ref().map_or(b"", |connection| &connection.reader.buffer.data()[..count])
    }

    /// So many bytes of a [`Step::Data`] were used.
    pub fn took(&mut self, count: usize) {
        if let Some(connection) = &mut self.exchange.connection {
            self.decoder.took(count, &mut connection.reader.buffer);
        }
    }

    /// Reads more. `Ready(Ok(()))` may also mean that the end of the connection was the end of the body.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>, deadline: &mut Option<Instant>) -> Poll<Result<(), Broken>> {
        if let Err(broken) = self.exchange.poll_upload(cx) {
            return Poll::Ready(Err(broken));
        }
        let size = match self.decoder.left() {
            Some(left) if left > LARGE_BODY_BUFFER as u64 => LARGE_BODY_BUFFER,
            _ => BODY_BUFFER,
        };
        let patience = self.patience;
        let reader = match self.exchange.reader() {
            Ok(reader) => reader,
            Err(broken) => return Poll::Ready(Err(broken)),
        };
        reader.poll_fill_within(cx, size, patience, deadline).map(|result| match result {
            Ok(()) => Ok(()),
            Err(Halt::Ended) if self.decoder.ends_with_connection() => {
                self.decoder = Decoder::new(Framing::Empty);
                Ok(())
            }
            Err(Halt::TimedOut) => Err(Broken::UpstreamIdle),
            Err(_) => Err(Broken::Upstream),
        })
    }

    /// Reads more, however long it takes within the idle deadline.
    pub async fn fill(&mut self) -> Result<(), Broken> {
        let mut deadline = None;
        poll_fn(|cx| self.poll_fill(cx, &mut deadline)).await
    }

    /// How long the body will be, if the origin said.
    pub fn length(&self) -> Option<u64> {
        self.decoder.left()
    }

    /// What came behind the last chunk.
    pub fn trailers(&self) -> Option<&crate::fields::Fields> {
        self.decoder.trailers.as_ref()
    }

    /// Reads the rest and throws it away if it is at most `most` bytes and comes soon, so that the connection can be kept.
    pub async fn drain(mut self, most: u64, pool: &Pool) -> Option<Incoming> {
        let mut left = most;
        let soon = Instant::now() + Duration::from_secs(1);
        loop {
            match self.step() {
                Ok(Step::End) => return self.exchange.finish(pool),
                Ok(Step::Data(count)) if count as u64 <= left => {
                    left -= count as u64;
                    self.took(count);
                }
                Ok(Step::More) if Instant::now() < soon => {
                    let mut deadline = Some(soon);
                    if poll_fn(|cx| self.poll_fill(cx, &mut deadline)).await.is_err() {
                        return self.exchange.take_incoming();
                    }
                }
                _ => return self.exchange.take_incoming(),
            }
        }
    }

    /// Whether the rest is known to be at most `most` bytes, so that draining is cheap.
    pub fn is_small(&self, most: u64) -> bool {
        self.decoder.left().is_none_or(|left| left <= most)
    }
}
