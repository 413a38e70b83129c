//! Both halves of a connection as one, for the library that speaks HTTP/2; counts what goes over it.
//!
//! The library flushes each frame of a body by itself. What it writes is gathered here instead, until the connection's task
//! has moved every stream: then it leaves in one write, and over TLS in one record.

use super::calm::{Tally, add};
use crate::wire::{Buffer, Reader, Writer};
use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What may be gathered: a record of TLS, and less than what may wait for the kernel of one stream.
const GATHERED: usize = 16 << 10;
/// What is worth a copy to save a system call; more is written at once, with what was gathered before it.
const SMALL: usize = 4 << 10;
/// How many parts the library writes at once, and what was gathered before them.
const PARTS: usize = 8;

/// A connection, with what was read from it already.
pub(super) struct Duplex {
    pub reader: Reader,
    pub outbox: Rc<Outbox>,
    pub tally: Rc<Tally>,
}

/// The half that is written, which the connection's task flushes.
pub(super) struct Outbox {
    writer: RefCell<Writer>,
    gathered: RefCell<Buffer>,
    /// Whether a flush of the library's waits for one of the task's.
    pub gathers: Cell<bool>,
}

impl Outbox {
    /// Gathers nothing yet: a handshake has no task that flushes.
    pub fn new(writer: Writer) -> Rc<Self> {
        Rc::new(Self { writer: writer.into(), gathered: Buffer::default().into(), gathers: false.into() })
    }

    /// Takes small parts, or writes what was gathered and some of these.
    fn poll_write(&self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut gathered = self.gathered.borrow_mut();
        let length: usize = parts.iter().map(|part| part.len()).sum();
        loop {
            if length <= SMALL && gathered.len() + length <= GATHERED {
                parts.iter().for_each(|part| gathered.push(part));
                return Poll::Ready(Ok(length));
            }
            let before = gathered.len();
            let mut all = [IoSlice::new(&[]); PARTS];
            let skip = usize::from(before == 0);
            all[0] = IoSlice::new(gathered.data());
            let taken = parts.len().min(PARTS - 1);
            all[1..=taken].copy_from_slice(&parts[..taken]);
            let count = ready!(self.writer.borrow_mut().poll_write(cx, &all[skip..=taken]))?;
            gathered.consume(count.min(before));
            if count > before {
                return Poll::Ready(Ok(count - before));
            }
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
    }

    /// Sends what was gathered.
    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathered = self.gathered.borrow_mut();
        let mut writer = self.writer.borrow_mut();
        while !gathered.is_empty() {
            let count = ready!(writer.poll_write(cx, &[IoSlice::new(gathered.data())]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            gathered.consume(count);
        }
        writer.poll_flush(cx)
    }

    fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(cx))?;
        self.writer.borrow_mut().poll_shutdown(cx)
    }
}

impl AsyncRead for Duplex {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(self.reader.poll_read(cx, into))?;
        add(&self.tally.heard, (into.filled().len() - before) as u64);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Duplex {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(from)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(self.outbox.poll_write(cx, parts))?;
        add(&self.tally.said, count as u64);
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.outbox.gathers.get() { Poll::Ready(Ok(())) } else { self.outbox.poll_flush(cx) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outbox.poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Stream;
    use fastrand::Rng;
    use std::future::poll_fn;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    fn outbox() -> (Rc<Outbox>, Reader, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        socket2::SockRef::from(&ours).set_send_buffer_size(4 << 10).unwrap();
        let (reader, writer) = Stream::Unix(ours).split();
        let outbox = Outbox::new(writer);
        outbox.gathers.set(true);
        (outbox, reader, theirs)
    }

    #[tokio::test]
    async fn what_is_written_arrives_in_its_order_however_slowly_it_is_read() {
        let (outbox, reader, mut theirs) = outbox();
        let mut duplex = Duplex { reader, outbox: outbox.clone(), tally: Rc::default() };
        let mut random = Rng::with_seed(7);
        let sent: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(600_000).collect();
        let write = async {
            let mut rest = &sent[..];
            while !rest.is_empty() {
                let most = if random.bool() { 300 } else { 40_000 };
                let length = random.usize(..=most).min(rest.len());
                let (piece, behind) = rest.split_at(length);
                let middle = random.usize(..=length);
                let parts = [IoSlice::new(&piece[..middle]), IoSlice::new(&piece[middle..])];
                let count = poll_fn(|cx| Pin::new(&mut duplex).poll_write_vectored(cx, &parts)).await.unwrap();
                assert!(count <= length);
                rest = if count == length { behind } else { &rest[count..] };
                if random.u8(..4) == 0 {
                    poll_fn(|cx| outbox.poll_flush(cx)).await.unwrap();
                }
            }
            duplex.shutdown().await.unwrap();
        };
        let read = async {
            let (mut got, mut piece) = (Vec::new(), [0; 5000]);
            loop {
                match theirs.read(&mut piece).await.unwrap() {
                    0 => return got,
                    count => got.extend_from_slice(&piece[..count]),
                }
                tokio::task::yield_now().await;
            }
        };
        let ((), got) = tokio::join!(write, read);
        assert!(got == sent, "{} bytes of {}", got.len(), sent.len());
        assert_eq!(duplex.tally.said.get(), sent.len() as u64);
    }

    #[tokio::test]
    async fn small_writes_leave_together_and_not_before_they_are_flushed() {
        let (outbox, reader, theirs) = outbox();
        let mut duplex = Duplex { reader, outbox: outbox.clone(), tally: Rc::default() };
        for word in ["one ", "two ", "three"] {
            duplex.write_all(word.as_bytes()).await.unwrap();
            duplex.flush().await.unwrap();
        }
        let mut piece = [0; 100];
        assert_eq!(theirs.try_read(&mut piece).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        poll_fn(|cx| outbox.poll_flush(cx)).await.unwrap();
        theirs.readable().await.unwrap();
        let count = theirs.try_read(&mut piece).unwrap();
        assert_eq!(&piece[..count], b"one two three");
    }

    #[tokio::test]
    async fn no_more_is_gathered_than_a_record_holds() {
        let (outbox, reader, _theirs) = outbox();
        let mut duplex = Duplex { reader, outbox: outbox.clone(), tally: Rc::default() };
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut taken = 0;
        while let Poll::Ready(count) = Pin::new(&mut duplex).poll_write(&mut cx, &[0; 1000]) {
            taken += count.unwrap();
            assert!(taken < 1 << 20, "the socket is full long before");
        }
        assert!(outbox.gathered.borrow().len() <= GATHERED);
    }
}
