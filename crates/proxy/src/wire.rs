//! The two halves of a connection: a reader with its buffer, a writer, and timers that cost nothing while bytes flow.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, Sleep};
use tokio_rustls::TlsStream;

/// A connected socket.
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// The server's side of it from downstream, the client's side of it to the origin.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Splits it into halves that live in one thread.
    pub fn split(self) -> (Reader, Writer) {
        let stream = Rc::new(RefCell::new(self));
        let reader =
            Reader { stream: stream.clone(), buffer: Buffer::default(), alarm: Alarm::default(), ended: false };
        (reader, Writer { stream, alarm: Alarm::default(), prompt: false })
    }

    /// Whether the kernel has reported something to read; costs no system call.
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Stream::Tcp(stream) => stream.poll_read_ready(cx).map(drop),
            Stream::Unix(stream) => stream.poll_read_ready(cx).map(drop),
            // What was decrypted waits in the session: only reading tells.
            Stream::Tls(_) => Poll::Ready(()),
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, parts: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match (self, parts) {
            (Stream::Tcp(stream), [part]) => Pin::new(stream).poll_write(cx, part),
            (Stream::Tcp(stream), parts) => Pin::new(stream).poll_write_vectored(cx, parts),
            (Stream::Unix(stream), parts) => Pin::new(stream).poll_write_vectored(cx, parts),
            (Stream::Tls(stream), parts) => Pin::new(stream).poll_write_vectored(cx, parts),
        }
    }

    /// Sends what a session has encrypted and the kernel has not yet taken.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tcp(_) | Stream::Unix(_) => Poll::Ready(Ok(())),
        }
    }

    /// Whether there is nothing to read, not even the end.
    fn holds_nothing(&self) -> bool {
        let mut byte = [std::mem::MaybeUninit::uninit()];
        let peeked = match self {
            Stream::Unix(stream) => socket2::SockRef::from(stream).peek(&mut byte),
            _ => match self.tcp() {
                Some(stream) => socket2::SockRef::from(stream).peek(&mut byte),
                None => return true,
            },
        };
        matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// The TCP connection below.
    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Stream::Tcp(stream) => Some(stream),
            Stream::Tls(stream) => Some(stream.get_ref().0),
            Stream::Unix(_) => None,
        }
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// Why nothing more can be read or written.
#[derive(Debug)]
pub(crate) enum Halt {
    /// The other side ended its half.
    Ended,
    /// The other side took too long.
    TimedOut,
    /// The connection broke.
    Broken,
}

/// The sizes of buffers, each with how many of them a thread keeps for the next connection that has something to say:
/// a head with room to spare, a body, a large body. A new one would have to be zeroed.
const SIZES: [(usize, usize); 3] = [(16 << 10, 64), (64 << 10, 16), (256 << 10, 4)];

thread_local! {
    static SPARE: RefCell<[Vec<Vec<u8>>; SIZES.len()]> = const { RefCell::new([const { Vec::new() }; SIZES.len()]) };
}

/// Bytes that were read and not yet used. A connection that rests holds no memory here.
#[derive(Default)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    pub fn data(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Adds bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        let room = self.room(self.bytes.len().max(self.end + bytes.len()));
        room[..bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
    }

    pub fn len(&self) -> usize {
        self.end - self.start
    }

    pub fn consume(&mut self, count: usize) {
        self.start += count;
        if self.start >= self.end {
            (self.start, self.end) = (0, 0);
            self.release();
        }
    }

    /// Gives the memory back if nothing is in it.
    fn release(&mut self) {
        if self.is_empty() && !self.bytes.is_empty() {
            let bytes = std::mem::take(&mut self.bytes);
            if let Some(class) = SIZES.iter().position(|(size, _)| *size == bytes.len()) {
                SPARE.with_borrow_mut(|spare| {
                    if spare[class].len() < SIZES[class].1 {
                        spare[class].push(bytes);
                    }
                });
            }
        }
    }

    /// Room for more, of at least one byte, in a buffer of `size` bytes or the next power of two that leaves room.
    fn room(&mut self, size: usize) -> &mut [u8] {
        if self.bytes.len() < size && self.is_empty() {
            self.release();
        }
        if self.bytes.is_empty() {
            self.bytes = match SIZES.iter().position(|(held, _)| size <= *held) {
                Some(class) => {
                    SPARE.with_borrow_mut(|spare| spare[class].pop()).unwrap_or_else(|| vec![0; SIZES[class].0])
                }
                None => vec![0; size],
            };
        }
        if self.start > 0 && self.bytes.len() - self.end < self.bytes.len() / 2 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.bytes.len() < size || self.end == self.bytes.len() {
            self.bytes.resize(size.max((self.end + 1).next_power_of_two()), 0);
        }
        &mut self.bytes[self.end..]
    }
}

/// A deadline that is set anew for every wait. The timer behind it is moved only when it would ring too late, so a
/// connection that keeps flowing touches the timer wheel about once per timeout and not once per pull.
#[derive(Default)]
pub(crate) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Ready at the deadline.
    pub fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}

/// The half that is read.
pub(crate) struct Reader {
    stream: Rc<RefCell<Stream>>,
    pub buffer: Buffer,
    alarm: Alarm,
    ended: bool,
}

impl Reader {
    /// Reads once. `Ok(0)` is the end, and stays the end.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>, size: usize) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Ok(0));
        }
        if self.buffer.is_empty() && self.stream.borrow().poll_read_ready(cx).is_pending() {
            return Poll::Pending;
        }
        let mut room = ReadBuf::new(self.buffer.room(size));
        let read = self.stream.borrow_mut().poll_read(cx, &mut room);
        let count = room.filled().len();
        self.buffer.end += count;
        if count == 0 {
            self.buffer.release();
        }
        ready!(read)?;
        self.ended = count == 0;
        Poll::Ready(Ok(count))
    }

    /// Reads past the buffer, once it is empty, for who has buffers of his own.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.buffer.is_empty() {
            return self.stream.borrow_mut().poll_read(cx, into);
        }
        let count = self.buffer.len().min(into.remaining());
        into.put_slice(&self.buffer.data()[..count]);
        self.buffer.consume(count);
        Poll::Ready(Ok(()))
    }

    /// As [`Reader::poll_fill`], with a deadline that starts when there is first nothing to read.
    pub fn poll_fill_within(
        &mut self,
        cx: &mut Context<'_>,
        size: usize,
        patience: Duration,
        deadline: &mut Option<Instant>,
    ) -> Poll<Result<(), Halt>> {
        match self.poll_fill(cx, size) {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(Halt::Ended)),
            Poll::Ready(Ok(_)) => Poll::Ready(Ok(())),
            Poll::Ready(Err(_)) => Poll::Ready(Err(Halt::Broken)),
            Poll::Pending => {
                let deadline = *deadline.get_or_insert_with(|| Instant::now() + patience);
                self.alarm.poll(cx, deadline).map(|()| Err(Halt::TimedOut))
            }
        }
    }

    /// Reads at least one byte into a buffer of about `size`, or says why not.
    pub async fn fill(&mut self, size: usize, patience: Duration) -> Result<(), Halt> {
        let mut deadline = None;
        poll_fn(|cx| self.poll_fill_within(cx, size, patience, &mut deadline)).await
    }

    /// As [`Reader::fill`], until a moment.
    pub async fn fill_until(&mut self, size: usize, moment: Instant) -> Result<(), Halt> {
        let mut deadline = Some(moment);
        poll_fn(|cx| self.poll_fill_within(cx, size, Duration::ZERO, &mut deadline)).await
    }

    /// Ready when the other side has gone. What it sends meanwhile waits in the buffer, up to `size`.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>, size: usize) -> Poll<()> {
        while self.buffer.len() < size {
            match ready!(self.poll_fill(cx, size)) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
        Poll::Pending
    }

    /// As [`Reader::rests`], and the kernel is asked: it may know of an end that it has not reported yet.
    pub fn surely_rests(&mut self) -> bool {
        self.rests() && self.stream.borrow().holds_nothing()
    }

    /// Whether a connection that rests has neither ended nor said anything out of turn. Costs no system call
    /// while the kernel has reported nothing.
    pub fn rests(&mut self) -> bool {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        self.buffer.is_empty() && self.poll_fill(&mut cx, 64).is_pending()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.buffer.consume(self.buffer.len());
        self.buffer.release();
    }
}

/// The half that is written.
pub(crate) struct Writer {
    stream: Rc<RefCell<Stream>>,
    alarm: Alarm,
    /// Whether small writes leave at once.
    prompt: bool,
}

impl Writer {
    /// Another handle on the same half, for a body that is sent on its own.
    pub fn another(&self) -> Self {
        Self { stream: self.stream.clone(), alarm: Alarm::default(), prompt: self.prompt }
    }

    /// Writes all of both parts. `patience` is how long the other side may take none of it.
    pub async fn write(&mut self, first: &[u8], second: &[u8], patience: Duration) -> Result<(), Halt> {
        let total = first.len() + second.len();
        let mut written = 0;
        let mut deadline = None;
        while written < total {
            let count = poll_fn(|cx| {
                let parts = [
                    io::IoSlice::new(&first[written.min(first.len())..]),
                    io::IoSlice::new(&second[written.saturating_sub(first.len())..]),
                ];
                let parts = match (parts[0].is_empty(), parts[1].is_empty()) {
                    (true, _) => &parts[1..],
                    (_, true) => &parts[..1],
                    _ => &parts[..],
                };
                let wrote = self.stream.borrow_mut().poll_write(cx, parts);
                match wrote {
                    Poll::Ready(Ok(0)) | Poll::Ready(Err(_)) => Poll::Ready(Err(Halt::Broken)),
                    Poll::Ready(Ok(count)) => Poll::Ready(Ok(count)),
                    Poll::Pending => self.poll_late(cx, &mut deadline, patience).map(Err),
                }
            })
            .await?;
            written += count;
            deadline = None;
        }
        poll_fn(|cx| {
            let flushed = self.stream.borrow_mut().poll_flush(cx);
            match flushed {
                Poll::Ready(flushed) => Poll::Ready(flushed.map_err(|_| Halt::Broken)),
                Poll::Pending => self.poll_late(cx, &mut deadline, patience).map(Err),
            }
        })
        .await
    }

    /// Writes some of the parts.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, parts: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.stream.borrow_mut().poll_write(cx, parts)
    }

    /// Sends what is encrypted and not yet with the kernel.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.borrow_mut().poll_flush(cx)
    }

    /// Ends our half.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.borrow_mut().poll_shutdown(cx)
    }

    /// Ready when the other side has taken nothing for too long.
    fn poll_late(&mut self, cx: &mut Context<'_>, deadline: &mut Option<Instant>, patience: Duration) -> Poll<Halt> {
        let deadline = *deadline.get_or_insert_with(|| Instant::now() + patience);
        self.alarm.poll(cx, deadline).map(|()| Halt::TimedOut)
    }

    /// Whether an end has to be said, as TLS wants it, before it is made.
    pub fn says_goodbye(&self) -> bool {
        matches!(&*self.stream.borrow(), Stream::Tls(_))
    }

    /// Lets small writes leave at once (`TCP_NODELAY`). A connection for one answer in one write does without.
    pub fn be_prompt(&mut self) {
        if !self.prompt {
            self.prompt = true;
            if let Some(stream) = self.stream.borrow().tcp() {
                let _ = stream.set_nodelay(true);
            }
        }
    }

    /// Makes the end of this connection a reset, which nobody takes for the end of a body.
    pub fn reset_on_close(&self) {
        if let Some(stream) = self.stream.borrow().tcp() {
            let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }

    /// Ends our half.
    pub async fn shut(&mut self) {
        let _ = poll_fn(|cx| self.poll_shutdown(cx)).await;
    }
}
