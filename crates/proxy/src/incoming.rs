//! A request's body on its way in, over HTTP/1 or a stream of HTTP/2.

use crate::downstream::http2::{Tally, add};
use crate::fields::Fields;
use crate::http1::body::{BadBody, Decoder, Step, may_trail};
use crate::http1::head::Framing;
use crate::wire::{Alarm, Halt, Reader};
use bytes::{Buf, Bytes};
use h2::RecvStream;
use h2::server::SendResponse;
use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Instant;

/// What a client may send ahead while an answer is under way.
const PIPELINED: usize = 16 << 10;

/// A body that comes in, and how much of it may still come.
pub(crate) struct Incoming {
    pub source: Source,
    /// Bytes that it may still have.
    pub allowed: u64,
}

/// Where it comes from.
pub(crate) enum Source {
    Wire(Wire),
    Stream(Box<Stream>),
}

impl Incoming {
    /// Over a connection of HTTP/1 that has not said anything yet.
    pub fn over_wire(reader: Reader) -> Self {
        Self { source: Source::Wire(Wire { reader, decoder: Decoder::new(Framing::Empty) }), allowed: 0 }
    }

    /// Over a stream of HTTP/2.
    pub fn over_stream(receive: RecvStream, responder: Rc<RefCell<SendResponse<Bytes>>>, tally: Rc<Tally>) -> Self {
        let (ended, alarm) = (receive.is_end_stream(), Alarm::default());
        let stream = Stream { receive, responder, tally, chunk: Bytes::new(), ended, trailers: None, alarm };
        Self { source: Source::Stream(Box::new(stream)), allowed: 0 }
    }

    /// The connection below, where it is one of HTTP/1.
    pub fn wire(&mut self) -> Option<&mut Wire> {
        match &mut self.source {
            Source::Wire(wire) => Some(wire),
            Source::Stream(_) => None,
        }
    }

    /// What stands ready.
    pub fn step(&mut self) -> Result<Step, BadBody> {
        match &mut self.source {
            Source::Wire(wire) => wire.decoder.step(&mut wire.reader.buffer),
            Source::Stream(stream) if !stream.chunk.is_empty() => Ok(Step::Data(stream.chunk.len())),
            Source::Stream(stream) => Ok(if stream.ended { Step::End } else { Step::More }),
        }
    }

    /// How many more bytes are known to come.
    pub fn announced(&self) -> u64 {
        match &self.source {
            Source::Wire(wire) => wire.decoder.announced(),
            Source::Stream(stream) => stream.chunk.len() as u64,
        }
    }

    /// The first `count` bytes of a [`Step::Data`].
    pub fn data(&self, count: usize) -> &[u8] {
        match &self.source {
            Source::Wire(wire) => &wire.reader.buffer.data()[..count],
            Source::Stream(stream) => &stream.chunk[..count],
        }
    }

    /// So many bytes of a [`Step::Data`] were used.
    pub fn took(&mut self, count: usize) {
        match &mut self.source {
            Source::Wire(wire) => wire.decoder.took(count, &mut wire.reader.buffer),
            Source::Stream(stream) => {
                stream.chunk.advance(count);
                // Room for as much again; a stream that has been reset needs none.
                let _ = stream.receive.flow_control().release_capacity(count);
            }
        }
    }

    /// Waits for more, into a buffer of about `size` where there is one.
    pub async fn fill(&mut self, size: usize, patience: Duration) -> Result<(), Halt> {
        match &mut self.source {
            Source::Wire(wire) => wire.reader.fill(size, patience).await,
            Source::Stream(stream) => {
                let mut deadline = None;
                poll_fn(|cx| stream.poll_fill_within(cx, patience, &mut deadline)).await
            }
        }
    }

    /// Ready when the client has gone. What it sends meanwhile waits.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.source {
            Source::Wire(wire) => wire.reader.poll_gone(cx, PIPELINED),
            Source::Stream(stream) => stream.responder.borrow_mut().poll_reset(cx).map(drop),
        }
    }

    /// What came behind the body.
    pub fn trailers(&mut self) -> Option<&mut Fields> {
        match &mut self.source {
            Source::Wire(wire) => wire.decoder.trailers.as_mut(),
            Source::Stream(stream) => stream.trailers.as_mut(),
        }
    }
}

/// The reading half of a connection of HTTP/1.
pub(crate) struct Wire {
    pub reader: Reader,
    pub decoder: Decoder,
}

/// The reading half of a stream of HTTP/2. What has been received and not used is at most the stream's window.
pub(crate) struct Stream {
    receive: RecvStream,
    /// Tells of the stream's end while nothing has been answered.
    responder: Rc<RefCell<SendResponse<Bytes>>>,
    tally: Rc<Tally>,
    chunk: Bytes,
    ended: bool,
    trailers: Option<Fields>,
    alarm: Alarm,
}

impl Stream {
    fn poll_fill_within(
        &mut self,
        cx: &mut Context<'_>,
        patience: Duration,
        deadline: &mut Option<Instant>,
    ) -> Poll<Result<(), Halt>> {
        match self.poll_fill(cx) {
            Poll::Ready(filled) => Poll::Ready(filled),
            Poll::Pending => {
                let deadline = *deadline.get_or_insert_with(|| Instant::now() + patience);
                self.alarm.poll(cx, deadline).map(|()| Err(Halt::TimedOut))
            }
        }
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Halt>> {
        loop {
            match ready!(self.receive.poll_data(cx)) {
                Some(Ok(chunk)) if chunk.is_empty() => {}
                Some(Ok(chunk)) => {
                    // Its frame's head counts too.
                    add(&self.tally.asked, chunk.len() as u64 + 9);
                    self.chunk = chunk;
                    return Poll::Ready(Ok(()));
                }
                Some(Err(_)) => return Poll::Ready(Err(Halt::Broken)),
                None => break,
            }
        }
        let trailers = ready!(self.receive.poll_trailers(cx)).map_err(|_| Halt::Broken)?;
        self.trailers = trailers.map(|trailers| {
            let mut fields = Fields::default();
            for (name, value) in trailers.iter().filter(|(name, _)| may_trail(name.as_str().as_bytes())) {
                fields.push(name.as_str(), value.as_bytes());
            }
            fields
        });
        self.ended = true;
        Poll::Ready(Ok(()))
    }
}
