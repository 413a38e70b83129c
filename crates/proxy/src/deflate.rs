//! Compressing: a body that is here as a whole, or one that comes bit by bit.

use crate::cap::Place;
use crate::compress::Meter;
use crate::http1::body::Step;
use crate::upstream::{Broken, OriginBody};
use flate2::{Compress, Compression, FlushCompress, Status};
use libdeflater::{CompressionLvl, Compressor};
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;
use tokio::time::Sleep;

/// Output that is gathered before it is sent.
const GATHER: usize = 16 << 10;
/// An origin that is silent for so long pauses: what there is goes out.
pub(crate) const PAUSE: Duration = Duration::from_millis(5);
/// Compressors that a thread keeps, as making one costs a quarter of a megabyte of zeroes.
const MOST_SPARE: usize = 4;

thread_local! {
    static SPARE: RefCell<Vec<(u32, Compress)>> = const { RefCell::new(Vec::new()) };
    static WHOLE: RefCell<Vec<(u32, Compressor)>> = const { RefCell::new(Vec::new()) };
}

/// Compresses a body that is here. `None`: there was no compressor for it.
pub(crate) fn whole(body: &[u8], level: u32) -> Option<Vec<u8>> {
    WHOLE.with_borrow_mut(|spare| {
        let at = match spare.iter().position(|(of, _)| *of == level) {
            Some(at) => at,
            None => {
                let compressor = Compressor::new(CompressionLvl::new(level as i32).ok()?);
                spare.truncate(MOST_SPARE - 1);
                spare.push((level, compressor));
                spare.len() - 1
            }
        };
        let compressor = &mut spare[at].1;
        let mut out = vec![0; compressor.gzip_compress_bound(body.len())];
        let length = compressor.gzip_compress(body, &mut out).ok()?;
        out.truncate(length);
        out.shrink_to_fit();
        Some(out)
    })
}

/// A body that is compressed as it comes.
pub(crate) struct GzipBody {
    pub origin: OriginBody,
    /// What came first and has not been compressed.
    before: Vec<u8>,
    deflate: Deflate,
    out: Vec<u8>,
    sent: usize,
    /// Whether the compressor holds something that has not come out.
    holds: bool,
    /// Whether what is in `out` is to be sent, however little it is.
    urgent: bool,
    ended: bool,
    /// Why no more comes, once what came before has gone out.
    broken: Option<Broken>,
    pause: Option<Pin<Box<Sleep>>>,
    meter: Meter,
    /// Its place among those at one time.
    _place: Place,
}

impl GzipBody {
    /// `before` came of the body before it was clear that it would not come as a whole.
    pub fn new(origin: OriginBody, before: Vec<u8>, level: u32, meter: Meter, place: Place) -> Self {
        let out = Vec::with_capacity(GATHER * 2);
        Self {
            origin,
            before,
            deflate: Deflate::new(level),
            out,
            sent: 0,
            holds: false,
            urgent: false,
            ended: false,
            broken: None,
            pause: None,
            meter,
            _place: place,
        }
    }

    pub fn step(&mut self) -> Result<Step, Broken> {
        loop {
            let ready = self.out.len() - self.sent;
            if ready >= GATHER || (ready > 0 && (self.ended || self.urgent)) {
                return Ok(Step::Data(ready));
            }
            if let Some(broken) = self.broken {
                return Err(broken);
            }
            if self.ended {
                return Ok(Step::End);
            }
            if !self.before.is_empty() {
                let before = std::mem::take(&mut self.before);
                self.compress(&before)?;
                continue;
            }
            match self.origin.step() {
                Err(broken) => self.break_off(broken)?,
                Ok(Step::More) => return Ok(Step::More),
                Ok(Step::Data(count)) => {
                    let used = self.deflate.run(self.origin.data(count), &mut self.out, FlushCompress::None)?;
                    self.origin.took(used);
                    self.holds = true;
                    self.meter.bytes_in.inc_by(used as u64);
                }
                Ok(Step::End) => {
                    self.deflate.finish(&mut self.out)?;
                    self.ended = true;
                }
            }
        }
    }

    fn compress(&mut self, mut bytes: &[u8]) -> Result<(), Broken> {
        while !bytes.is_empty() {
            let used = self.deflate.run(bytes, &mut self.out, FlushCompress::None)?;
            self.meter.bytes_in.inc_by(used as u64);
            self.holds = true;
            bytes = &bytes[used..];
        }
        Ok(())
    }

    /// Whether all has been taken.
    pub fn is_at_end(&self) -> bool {
        self.ended && self.out.is_empty()
    }

    pub fn data(&self, count: usize) -> &[u8] {
        &self.out[self.sent..self.sent + count]
    }

    pub fn took(&mut self, count: usize) {
        self.meter.bytes_out.inc_by(count as u64);
        self.sent += count;
        if self.sent == self.out.len() {
            self.out.clear();
            self.sent = 0;
            self.urgent = false;
        }
    }

    /// Waits for more from the origin. When it pauses, what it has sent so far goes out.
    pub async fn fill(&mut self) -> Result<(), Broken> {
        let mut deadline = None;
        self.pause = None;
        poll_fn(|cx| {
            match self.origin.poll_fill(cx, &mut deadline) {
                Poll::Ready(Err(broken)) => return Poll::Ready(self.break_off(broken)),
                Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
                Poll::Pending => {}
            }
            if !self.holds {
                return Poll::Pending;
            }
            let pause = self.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(PAUSE)));
            std::task::ready!(pause.as_mut().poll(cx));
            Poll::Ready(self.flush())
        })
        .await
    }

    /// The origin broke off: what came before goes out first, so that the client sees how far it came.
    fn break_off(&mut self, broken: Broken) -> Result<(), Broken> {
        self.broken = Some(broken);
        if self.holds { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Broken> {
        loop {
            self.deflate.run(b"", &mut self.out, FlushCompress::Sync)?;
            // Room that was left over means that all has come out.
            if self.out.len() < self.out.capacity() {
                break;
            }
        }
        self.holds = false;
        self.urgent = true;
        Ok(())
    }
}

/// A compressor on loan from the thread's spare ones.
pub(crate) struct Deflate {
    level: u32,
    stream: Option<Compress>,
}

impl Deflate {
    pub fn new(level: u32) -> Self {
        let spare = SPARE
            .with_borrow_mut(|spare| spare.iter().position(|(of, _)| *of == level).map(|at| spare.swap_remove(at).1));
        let stream = spare.unwrap_or_else(|| Compress::new_gzip(Compression::new(level), 15));
        Self { level, stream: Some(stream) }
    }

    /// Compresses some of the input into the output; says how much of the input was used.
    pub fn run(&mut self, input: &[u8], out: &mut Vec<u8>, flush: FlushCompress) -> Result<usize, Broken> {
        let Some(stream) = &mut self.stream else { return Err(Broken::Upstream) };
        out.reserve(GATHER);
        let before = stream.total_in();
        stream.compress_vec(input, out, flush).map_err(|_| Broken::Upstream)?;
        Ok((stream.total_in() - before) as usize)
    }

    /// Ends the stream.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Broken> {
        let Some(stream) = &mut self.stream else { return Err(Broken::Upstream) };
        loop {
            out.reserve(GATHER);
            let status = stream.compress_vec(b"", out, FlushCompress::Finish).map_err(|_| Broken::Upstream)?;
            if status == Status::StreamEnd {
                return Ok(());
            }
        }
    }
}

impl Drop for Deflate {
    fn drop(&mut self) {
        if let Some(mut stream) = self.stream.take() {
            stream.reset();
            SPARE.with_borrow_mut(|spare| {
                if spare.len() < MOST_SPARE {
                    spare.push((self.level, stream));
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_whole_body_comes_out_as_it_went_in_at_every_level() {
        let body = "all work and no play makes Jack a dull boy\n".repeat(2000);
        for level in (1..=9).chain([6, 1]) {
            let packed = whole(body.as_bytes(), level).unwrap();
            let mut unpacked = String::new();
            flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut unpacked).unwrap();
            assert!(unpacked == body && packed.len() * 20 < body.len(), "{level}");
        }
    }
}
