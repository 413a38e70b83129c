//! From a body's bytes to what its lines count for, with a bound on everything.

use aws_lc_rs::digest;
use flate2::bufread::MultiGzDecoder;
use headwater_vendors::edge_log::{Cache, Line, Outcome, Parser, Piece, Reader, Splitter, firehose, quote};
use std::io::Read;

/// Lines of one body. Logpush sends no more than this in one batch.
const MOST_LINES: usize = 1_000_000;
/// An envelope of Firehose's is held in memory as a whole; its largest buffer has 64 MiB.
const ENVELOPE: u64 = 96 << 20;

/// Tells a delivery from every other.
pub(super) type BatchId = [u8; 16];

/// What a body is judged by.
pub(super) struct Task {
    /// Bytes without compression.
    pub max_text: u64,
    /// The id of the delivery, where Firehose brings it.
    pub firehose: Option<String>,
    pub now: i64,
    /// Lines that are older than so many seconds are not kept.
    pub keeps: i64,
}

/// What one line counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counted {
    /// Of its id; 0 where it has none.
    pub hash: u64,
    pub bytes: Option<u64>,
    /// Since the epoch.
    pub minute: u32,
    /// 1 to 5, or 0 where there is no status.
    pub class: u8,
    pub cache: Option<Cache>,
}

/// A body that was read to its end.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub id: BatchId,
    pub lines: Vec<Counted>,
    pub shields: u64,
    pub malformed: u64,
    /// From the future.
    pub early: u64,
    /// Older than what is kept.
    pub old: u64,
    /// The first malformed line, and what is wrong with it.
    pub quote: Option<(&'static str, String)>,
}

/// Why nothing of a body is taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    TooLarge(String),
    Malformed(String),
}

impl Parsed {
    /// All lines, whatever became of them.
    pub fn found(&self) -> u64 {
        self.lines.len() as u64 + self.shields + self.malformed + self.early + self.old
    }

    fn malformed(&mut self, why: &'static str, line: &[u8]) {
        self.malformed += 1;
        self.quote.get_or_insert_with(|| (why, quote(line)));
    }

    fn take(&mut self, line: &Line<'_>, task: &Task) {
        if line.is_shield {
            self.shields += 1;
        } else if line.time > task.now + super::AHEAD {
            self.early += 1;
        } else if line.time < task.now - task.keeps {
            self.old += 1;
        } else {
            self.lines.push(Counted {
                hash: line.id.as_deref().map_or(0, hash),
                bytes: line.bytes,
                minute: u32::try_from(line.time.div_euclid(60)).unwrap_or_default(),
                class: line
                    .status
                    .map_or(0, |status| if (100..600).contains(&status) { (status / 100) as u8 } else { 0 }),
                cache: line.cache,
            });
        }
    }

    fn piece(&mut self, reader: &mut Reader<'_>, piece: Piece<'_>, task: &Task) {
        match piece {
            Piece::TooLong(beginning) => self.malformed("it is too long", beginning),
            Piece::Line(line) => reader.line(line, |outcome| match outcome {
                Outcome::Line(found) => self.take(&found, task),
                Outcome::Nothing => {}
                Outcome::Malformed(why) => self.malformed(why, line),
            }),
        }
    }

    fn is_full(&self) -> bool {
        self.found() > MOST_LINES as u64
    }
}

/// FNV-1a with the last mixing of MurmurHash3. It is stored, so it must never change; ids come from whoever has the token.
fn hash(id: &str) -> u64 {
    let folded =
        id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    let mixed = (folded ^ (folded >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    (mixed ^ (mixed >> 33)).max(1)
}

/// Reads a body, compressed or not, line by line: text is never held as a whole, but for an envelope.
pub(super) fn read(parser: &Parser, body: &[u8], task: &Task) -> Result<Parsed, Refusal> {
    // Compression is told by its first bytes: not every vendor says it in a header.
    if body.starts_with(&[0x1f, 0x8b]) {
        from(parser, MultiGzDecoder::new(body), task)
    } else {
        from(parser, body, task)
    }
}

fn from(parser: &Parser, mut text: impl Read, task: &Task) -> Result<Parsed, Refusal> {
    let broken = |error: std::io::Error| Refusal::Malformed(format!("this is no whole gzip: {error}"));
    let too_large = |most: u64| Refusal::TooLarge(format!("without compression a body has at most {most} bytes"));
    let mut parsed = Parsed::default();
    let mut reader = parser.begin();
    if let Some(id) = &task.firehose {
        let most = ENVELOPE.min(task.max_text);
        let mut envelope = Vec::new();
        text.take(most + 1).read_to_end(&mut envelope).map_err(broken)?;
        if envelope.len() as u64 > most {
            return Err(too_large(most));
        }
        let delivery = firehose::Delivery::open(&envelope).map_err(Refusal::Malformed)?;
        if delivery.request_id != *id {
            return Err(Refusal::Malformed("the request's id in its head is not that in its body".into()));
        }
        for record in delivery.records() {
            match record {
                Some(record) => {
                    let mut splitter = Splitter::default();
                    splitter.feed(&record, |piece| parsed.piece(&mut reader, piece, task));
                    splitter.end(|piece| parsed.piece(&mut reader, piece, task));
                }
                None => parsed.malformed("its record is no base64", b""),
            }
            if parsed.is_full() {
                return Err(Refusal::TooLarge(format!("a body has at most {MOST_LINES} lines")));
            }
        }
        parsed.id = short(digest::digest(&digest::SHA256, id.as_bytes()));
        return Ok(parsed);
    }
    let mut splitter = Splitter::default();
    let mut seen = digest::Context::new(&digest::SHA256);
    let mut buffer = vec![0; 64 << 10];
    let mut length = 0;
    loop {
        let bytes = match text.read(&mut buffer).map_err(broken)? {
            0 => break,
            read => &buffer[..read],
        };
        length += bytes.len() as u64;
        if length > task.max_text {
            return Err(too_large(task.max_text));
        }
        seen.update(bytes);
        splitter.feed(bytes, |piece| parsed.piece(&mut reader, piece, task));
        if parsed.is_full() {
            return Err(Refusal::TooLarge(format!("a body has at most {MOST_LINES} lines")));
        }
    }
    splitter.end(|piece| parsed.piece(&mut reader, piece, task));
    parsed.id = short(seen.finish());
    Ok(parsed)
}

fn short(digest: digest::Digest) -> BatchId {
    let mut id = BatchId::default();
    id.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
    id
}
