//! gzip (RFC 1952): whether an answer is compressed, what its head says of that, and the compressing itself.

use crate::fields::Fields;
use crate::http1::body::Step;
use crate::http1::head::RequestHead;
use crate::negotiate::{accepts_gzip, add_vary};
use crate::response::{Body, Response};
use crate::upstream::{Broken, OriginBody};
use flate2::{Compress, Compression, FlushCompress, Status};
use headwater_config::Gzip;
use prometheus::IntCounter;
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;
use tokio::time::Sleep;

/// What is done to an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    /// Nothing: it has one form.
    Leave,
    /// It has two forms, and this client gets it as it is.
    Identity,
    /// It is compressed.
    Compress,
}

/// Judges an answer by its head alone, so that GET and HEAD fare alike. `length` is the origin's `Content-Length`.
fn decide(gzip: &Gzip, accepted: bool, status: u16, fields: &Fields, length: Option<u64>) -> Decision {
    let has_form = fields.get("Content-Type").is_some_and(|content_type| gzip.takes(content_type))
        && !matches!(status, ..200 | 204..=206 | 226 | 304)
        && !fields.has("Content-Range")
        && fields.members("Content-Encoding").all(|coding| coding.eq_ignore_ascii_case(b"identity"))
        && !fields.has_member("Cache-Control", "no-transform")
        && length.is_none_or(|length| length >= gzip.min_length);
    match (has_form, accepted) {
        (false, _) => Decision::Leave,
        (true, false) => Decision::Identity,
        (true, true) => Decision::Compress,
    }
}

/// Bytes in and out.
#[derive(Clone)]
pub(crate) struct Meter {
    pub bytes_in: IntCounter,
    pub bytes_out: IntCounter,
}

/// Compresses an answer if the rule and the client agree to it.
pub(crate) fn apply(response: &mut Response, request: &RequestHead, gzip: Option<&Gzip>, meter: &Meter) {
    let Some(gzip) = gzip else { return };
    if response.status == 304 {
        return revalidated(&mut response.fields, &request.fields, gzip);
    }
    let accepted = accepts_gzip(&request.fields);
    match decide(gzip, accepted, response.status, &response.fields, response.length) {
        Decision::Leave => {}
        Decision::Identity => add_vary(&mut response.fields, "Accept-Encoding"),
        Decision::Compress => {
            describe(&mut response.fields);
            response.length = None;
            let body = std::mem::replace(&mut response.body, Body::Empty);
            response.body = match body {
                Body::Origin(origin) => Body::Gzip(Box::new(GzipBody::new(*origin, gzip.level, meter.clone()))),
                other => other,
            };
        }
    }
}

/// What the head of a compressed answer says.
fn describe(fields: &mut Fields) {
    // Ranges and digests were of the body as it was.
    for name in ["Accept-Ranges", "Content-Encoding", "Content-MD5", "Content-Digest", "Repr-Digest", "Digest"] {
        fields.remove(name);
    }
    fields.push("Content-Encoding", b"gzip");
    add_vary(fields, "Accept-Encoding");
    if let Some(tag) = fields.get("ETag").filter(|tag| !tag.starts_with(b"W/")).map(<[u8]>::to_vec) {
        weaken(fields, &tag);
    }
}

/// One strong tag for two sets of bytes would be a lie (RFC 9110, section 8.8.1).
fn weaken(fields: &mut Fields, tag: &[u8]) {
    fields.set("ETag", &[b"W/", tag].concat());
}

/// A 304 tells what the 200 told. It seldom has a type; and which form the client holds shows in the tag that it sent.
fn revalidated(fields: &mut Fields, request: &Fields, gzip: &Gzip) {
    let other_type = fields.get("Content-Type").is_some_and(|content_type| !gzip.takes(content_type));
    if other_type || fields.has_member("Cache-Control", "no-transform") {
        return;
    }
    add_vary(fields, "Accept-Encoding");
    let Some(tag) = fields.get("ETag").filter(|tag| !tag.starts_with(b"W/")).map(<[u8]>::to_vec) else { return };
    let holds_weak = request.members("If-None-Match").any(|held| held.strip_prefix(b"W/") == Some(&tag));
    if holds_weak {
        weaken(fields, &tag);
    }
}

/// Output that is gathered before it is sent.
const GATHER: usize = 16 << 10;
/// An origin that is silent for so long pauses: what there is goes out.
const PAUSE: Duration = Duration::from_millis(5);
/// Compressors that a thread keeps, as making one costs a quarter of a megabyte of zeroes.
const MOST_SPARE: usize = 4;

thread_local! {
    static SPARE: RefCell<Vec<(u32, Compress)>> = const { RefCell::new(Vec::new()) };
}

/// A body that is compressed as it comes.
pub(crate) struct GzipBody {
    pub origin: OriginBody,
    deflate: Deflate,
    out: Vec<u8>,
    sent: usize,
    /// Whether the compressor holds something that has not come out.
    holds: bool,
    /// Whether what is in `out` is to be sent, however little it is.
    urgent: bool,
    ended: bool,
    pause: Option<Pin<Box<Sleep>>>,
    meter: Meter,
}

impl GzipBody {
    fn new(origin: OriginBody, level: u32, meter: Meter) -> Self {
        let out = Vec::with_capacity(GATHER * 2);
        Self {
            origin,
            deflate: Deflate::new(level),
            out,
            sent: 0,
            holds: false,
            urgent: false,
            ended: false,
            pause: None,
            meter,
        }
    }

    pub fn step(&mut self) -> Result<Step, Broken> {
        loop {
            let ready = self.out.len() - self.sent;
            if ready >= GATHER || (ready > 0 && (self.ended || self.urgent)) {
                return Ok(Step::Data(ready));
            }
            if self.ended {
                return Ok(Step::End);
            }
            match self.origin.step()? {
                Step::More => return Ok(Step::More),
                Step::Data(count) => {
                    let used = self.deflate.run(self.origin.data(count), &mut self.out, FlushCompress::None)?;
                    self.origin.took(used);
                    self.holds = true;
                    self.meter.bytes_in.inc_by(used as u64);
                }
                Step::End => {
                    self.deflate.finish(&mut self.out)?;
                    self.ended = true;
                }
            }
        }
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
            if let Poll::Ready(result) = self.origin.poll_fill(cx, &mut deadline) {
                return Poll::Ready(result);
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

    fn gzip() -> Gzip {
        Gzip { types: vec!["text/html".into()], level: 6, min_length: 100 }
    }

    fn fields(lines: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::default();
        for (name, value) in lines {
            fields.push(name, value.as_bytes());
        }
        fields
    }

    #[test]
    fn what_has_one_form_only_is_left_alone() {
        let html = ("Content-Type", "text/HTML; charset=utf-8");
        for (status, lines, length) in [
            (206, vec![html], None),
            (204, vec![html], None),
            (200, vec![html, ("Content-Encoding", "br")], None),
            (200, vec![html, ("Cache-Control", "max-age=1, No-Transform")], None),
            (200, vec![html, ("Content-Range", "bytes 0-1/2")], None),
            (200, vec![html], Some(99)),
            (200, vec![("Content-Type", "text/htmlx")], None),
            (200, vec![], None),
        ] {
            assert_eq!(decide(&gzip(), true, status, &fields(&lines), length), Decision::Leave, "{status} {lines:?}");
        }
        assert_eq!(decide(&gzip(), true, 200, &fields(&[html]), Some(100)), Decision::Compress);
        assert_eq!(decide(&gzip(), false, 404, &fields(&[html]), None), Decision::Identity);
    }

    #[test]
    fn a_304_has_the_tag_that_the_client_holds() {
        let mut answer = fields(&[("ETag", "\"a\"")]);
        revalidated(&mut answer, &fields(&[("If-None-Match", "\"x\", W/\"a\"")]), &gzip());
        assert_eq!(answer.get("ETag"), Some(&b"W/\"a\""[..]));
        assert_eq!(answer.get("Vary"), Some(&b"Accept-Encoding"[..]));
        let mut answer = fields(&[("ETag", "\"a\"")]);
        revalidated(&mut answer, &fields(&[("If-None-Match", "\"a\"")]), &gzip());
        assert_eq!(answer.get("ETag"), Some(&b"\"a\""[..]));
    }
}
