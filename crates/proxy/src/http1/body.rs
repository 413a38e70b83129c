//! Bodies: what stands at the front of a buffer is body, framing, or the end.

use crate::fields::{Fields, Span};
use crate::http1::head::Framing;
use crate::wire::Buffer;

/// A body that cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadBody;

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// So many bytes of the body stand at the buffer's front. Say with [`Decoder::took`] how many were used.
    Data(usize),
    /// More has to be read.
    More,
    /// The body has ended.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Length(u64),
    UntilClose,
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailers,
    Done,
}

/// Takes a body apart.
#[derive(Debug)]
pub(crate) struct Decoder {
    state: State,
    /// What came behind the last chunk.
    pub trailers: Option<Fields>,
}

/// Size line with extensions. Nobody sends any; who sends much of it means harm.
const LONGEST_SIZE_LINE: usize = 256;
const LARGEST_TRAILERS: usize = 16 << 10;
const MOST_TRAILERS: usize = 64;

impl Decoder {
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Empty => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::ChunkSize,
            Framing::UntilClose => State::UntilClose,
        };
        Self { state, trailers: None }
    }

    /// Drops framing from the buffer's front and says what stands there then.
    pub fn step(&mut self, buffer: &mut Buffer) -> Result<Step, BadBody> {
        loop {
            let available = buffer.len() as u64;
            match self.state {
                State::Done => return Ok(Step::End),
                State::Length(0) => self.state = State::Done,
                State::Chunk(0) => self.state = State::ChunkEnd,
                _ if available == 0 => return Ok(Step::More),
                State::Length(left) | State::Chunk(left) => return Ok(Step::Data(left.min(available) as usize)),
                State::UntilClose => return Ok(Step::Data(buffer.len())),
                State::ChunkSize => match chunk_size(buffer.data())? {
                    None => return Ok(Step::More),
                    Some((size, line)) => {
                        buffer.consume(line);
                        self.state = if size == 0 { State::Trailers } else { State::Chunk(size) };
                    }
                },
                State::ChunkEnd => match buffer.data() {
                    [b'\r', b'\n', ..] => {
                        buffer.consume(2);
                        self.state = State::ChunkSize;
                    }
                    [b'\r'] => return Ok(Step::More),
                    _ => return Err(BadBody),
                },
                State::Trailers => match trailers(buffer.data())? {
                    None => return Ok(Step::More),
                    Some((fields, length)) => {
                        buffer.consume(length);
                        self.trailers = fields;
                        self.state = State::Done;
                    }
                },
            }
        }
    }

    /// So many bytes of a [`Step::Data`] were used.
    pub fn took(&mut self, count: usize, buffer: &mut Buffer) {
        buffer.consume(count);
        match &mut self.state {
            State::Length(left) | State::Chunk(left) => *left -= count as u64,
            _ => {}
        }
    }

    /// Whether the end of the connection is the end of the body.
    pub fn ends_with_connection(&self) -> bool {
        self.state == State::UntilClose
    }

    /// How many bytes are known to come, of the body or of the chunk that is under way.
    pub fn announced(&self) -> u64 {
        match self.state {
            State::Length(left) | State::Chunk(left) => left,
            _ => 0,
        }
    }

    /// How many bytes are known to be left.
    pub fn left(&self) -> Option<u64> {
        match self.state {
            State::Length(left) => Some(left),
            State::Done => Some(0),
            _ => None,
        }
    }
}

/// The size of a chunk and the length of its line. Strict: digits, then CR LF or an extension.
fn chunk_size(data: &[u8]) -> Result<Option<(u64, usize)>, BadBody> {
    let Some(end) = memchr::memchr(b'\n', &data[..data.len().min(LONGEST_SIZE_LINE)]) else {
        let bare_cr = memchr::memchr(b'\r', data).is_some_and(|at| at + 1 < data.len());
        return if data.len() >= LONGEST_SIZE_LINE || bare_cr { Err(BadBody) } else { Ok(None) };
    };
    let line = data[..end].strip_suffix(b"\r").ok_or(BadBody)?;
    let digits = line.iter().position(|b| !b.is_ascii_hexdigit()).unwrap_or(line.len());
    if !(1..=15).contains(&digits) {
        return Err(BadBody);
    }
    // Blanks and nothing else: a CR here is bare.
    let blanks = line[digits..].iter().take_while(|&&b| b == b' ' || b == b'\t').count();
    let extension = &line[digits + blanks..];
    let extension_ok = line.len() == digits
        || (extension.first() == Some(&b';') && extension.iter().all(|&b| b == b'\t' || (0x20..0x7f).contains(&b)));
    if !extension_ok {
        return Err(BadBody);
    }
    let size =
        line[..digits].iter().fold(0, |size, &digit| size << 4 | u64::from((digit as char).to_digit(16).unwrap_or(0)));
    Ok(Some((size, end + 1)))
}

/// Fields behind the last chunk, if any, and how many bytes they took.
fn trailers(data: &[u8]) -> Result<Option<(Option<Fields>, usize)>, BadBody> {
    if data.starts_with(b"\r\n") {
        return Ok(Some((None, 2)));
    }
    let mut search = crate::http1::head::Search::default();
    let Some(length) = search.find(data).map_err(|_| BadBody)? else {
        return if data.len() > LARGEST_TRAILERS { Err(BadBody) } else { Ok(None) };
    };
    let text = &data[..length];
    let mut room = [httparse::EMPTY_HEADER; MOST_TRAILERS];
    match httparse::parse_headers(text, &mut room) {
        Ok(httparse::Status::Complete((read, headers))) if read == length => {
            let list = headers.iter().map(|h| (Span::of(h.name.as_bytes(), text), Span::of(h.value, text))).collect();
            let mut fields = Fields::new(text.to_vec(), list);
            fields.retain(|name, _| may_trail(name));
            Ok(Some((Some(fields), length)))
        }
        _ => Err(BadBody),
    }
}

/// Whether a field may stand behind a body. What decides about the message may not (RFC 9110, section 6.5.1).
pub(crate) fn may_trail(name: &[u8]) -> bool {
    !FORBIDDEN.iter().any(|forbidden| name.eq_ignore_ascii_case(forbidden.as_bytes()))
}

const FORBIDDEN: [&str; 21] = [
    "Transfer-Encoding",
    "Content-Length",
    "Host",
    "Cache-Control",
    "Expect",
    "Max-Forwards",
    "Pragma",
    "Range",
    "TE",
    "Authorization",
    "Set-Cookie",
    "Content-Encoding",
    "Content-Type",
    "Content-Range",
    "Trailer",
    "Connection",
    "Vary",
    "Expires",
    "Surrogate-Control",
    "CDN-Cache-Control",
    "Edge-Control",
];

/// Writes the line before a chunk.
pub(crate) fn write_chunk_size(size: usize, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let width = (usize::BITS - size.leading_zeros()).div_ceil(4).max(1);
    out.extend((0..width).rev().map(|digit| DIGITS[size >> (digit * 4) & 15]));
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests;
