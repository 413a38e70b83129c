//! One line, matched by a format.

use super::format::{Clock, Extent, Format, Piece, Role};
use memchr::{memchr, memchr2};
use std::borrow::Cow;

/// What a line says, as it is written there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line<'l> {
    pub client: &'l [u8],
    pub forwarded_for: &'l [u8],
    pub time: &'l [u8],
    pub clock: Option<Clock>,
    pub request: &'l [u8],
    pub method: &'l [u8],
    pub target: &'l [u8],
    pub query: &'l [u8],
    pub status: &'l [u8],
    pub bytes: &'l [u8],
    pub provider: &'l [u8],
    pub took: Option<(&'l [u8], u32)>,
    pub first_byte: Option<(&'l [u8], u32)>,
}

/// The line by this format; `None` where it is not of it. The whole line has to match.
pub(crate) fn read<'l>(format: &Format, line: &'l [u8]) -> Option<Line<'l>> {
    let mut found = Line::default();
    let mut rest = line;
    let mut pieces = format.pieces.iter().peekable();
    while let Some(piece) = pieces.next() {
        match piece {
            Piece::Literal(text) => rest = rest.strip_prefix(text.as_slice())?,
            Piece::Field(role, extent) => {
                let next = match pieces.peek() {
                    Some(Piece::Literal(text)) => Some(text.as_slice()),
                    _ => None,
                };
                let end = end(*extent, rest, next)?;
                let (value, after) = rest.split_at(end);
                found.put(*role, value);
                rest = after;
            }
        }
    }
    rest.is_empty().then_some(found)
}

/// Where a field ends: how many bytes it has.
fn end(extent: Extent, rest: &[u8], next: Option<&[u8]>) -> Option<usize> {
    let to_next = || match next {
        None => Some(rest.len()),
        Some(text) => find(rest, text),
    };
    match extent {
        Extent::Quoted => {
            let mut at = 0;
            loop {
                let here = at + memchr2(b'"', b'\\', &rest[at..])?;
                if rest[here] == b'"' {
                    return Some(here);
                }
                at = here + 2;
                if at > rest.len() {
                    return None;
                }
            }
        }
        Extent::Text => to_next(),
        Extent::Word => to_next().filter(|end| memchr(b' ', &rest[..*end]).is_none()),
        Extent::Digits => to_next().filter(|end| *end > 0 && rest[..*end].iter().all(u8::is_ascii_digit)),
    }
}

/// Texts between fields are short, so that a search that prepares itself would cost more than it saves.
fn find(rest: &[u8], text: &[u8]) -> Option<usize> {
    let first = *text.first()?;
    let mut from = 0;
    loop {
        let at = from + memchr(first, &rest[from..])?;
        if rest[at..].starts_with(text) {
            return Some(at);
        }
        from = at + 1;
    }
}

impl<'l> Line<'l> {
    fn put(&mut self, role: Role, value: &'l [u8]) {
        match role {
            Role::Skip => {}
            Role::Client => self.client = value,
            Role::ForwardedFor => self.forwarded_for = value,
            Role::Time(clock) => {
                self.time = value;
                self.clock = Some(clock);
            }
            Role::Request => self.request = value,
            Role::Method => self.method = value,
            Role::Target => self.target = value,
            Role::Query => self.query = value,
            Role::Status => self.status = value,
            Role::Bytes => self.bytes = value,
            Role::Provider => self.provider = value,
            Role::Took(parts) => {
                // The finer of two.
                if self.took.is_none_or(|(_, held)| held <= parts) {
                    self.took = Some((value, parts));
                }
            }
            Role::FirstByte(parts) => self.first_byte = Some((value, parts)),
        }
    }

    /// The status, if it is one.
    pub fn status(&self) -> Option<u16> {
        match self.status {
            [b'0'..=b'9', b'0'..=b'9', b'0'..=b'9'] => number(self.status).map(|status| status as u16),
            _ => None,
        }
    }

    /// Bytes of the body; none where it says `-`. `None`: it is no number.
    pub fn bytes(&self) -> Option<u64> {
        match self.bytes {
            b"-" | b"" => Some(0),
            digits => number(digits),
        }
    }

    /// Method, path and query, as sent. What was no request has none.
    pub fn asked(&self) -> Option<[Cow<'l, [u8]>; 3]> {
        let (method, target) = if self.request.is_empty() {
            (if self.method.is_empty() { &b"GET"[..] } else { self.method }, self.target)
        } else {
            let space = memchr(b' ', self.request)?;
            let (method, rest) = (&self.request[..space], &self.request[space + 1..]);
            // HTTP/0.9 has no protocol behind it.
            let end = memchr::memrchr(b' ', rest).filter(|end| rest[end + 1..].starts_with(b"HTTP/"));
            (method, &rest[..end.unwrap_or(rest.len())])
        };
        let target = match self.after_authority(target) {
            [] => return None,
            target => target,
        };
        let (path, query) = match memchr(b'?', target) {
            Some(mark) => (&target[..mark], &target[mark + 1..]),
            None => (target, self.query.strip_prefix(b"?").unwrap_or(self.query)),
        };
        Some([method, path, query].map(unescaped))
    }

    /// Of a target in absolute form (RFC 9112, section 3.2.2), what follows the host.
    fn after_authority<'t>(&self, target: &'t [u8]) -> &'t [u8] {
        let scheme = [&b"http://"[..], b"https://"].into_iter().find(|scheme| target.starts_with(scheme));
        scheme.map_or(target, |scheme| {
            let rest = &target[scheme.len()..];
            memchr(b'/', rest).map_or(b"/", |slash| &rest[slash..])
        })
    }

    /// Seconds that the pull took.
    pub fn seconds(&self) -> Option<f64> {
        self.took.and_then(|(text, parts)| seconds(text, parts))
    }

    /// Seconds that the origin took to begin.
    pub fn first_byte_seconds(&self) -> Option<f64> {
        // nginx lists what several servers took, with a comma after each.
        self.first_byte.and_then(|(text, parts)| seconds(text.rsplit(|b| b",: ".contains(b)).next()?, parts))
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for digit in digits {
        value = value.checked_mul(10)?.checked_add(u64::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?))?;
    }
    (!digits.is_empty()).then_some(value)
}

/// A number with or without a point.
fn seconds(text: &[u8], parts: u32) -> Option<f64> {
    let mut split = text.splitn(2, |b| *b == b'.');
    let whole = number(split.next()?)? as f64;
    let part = match split.next() {
        None => 0.0,
        Some(digits) => number(digits)? as f64 / 10f64.powi(digits.len().min(20) as i32),
    };
    Some((whole + part) / f64::from(parts))
}

/// What stood in the request before it was escaped: Apache's and nginx's `\xhh`, C's letters, JSON's `\u00hh`.
pub(crate) fn unescaped(text: &[u8]) -> Cow<'_, [u8]> {
    if memchr(b'\\', text).is_none() {
        return Cow::Borrowed(text);
    }
    let hex = |digits: &[u8]| u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        let after = &rest[at + 1..];
        let (taken, value) = match after {
            [b'x', a, b, ..] if hex(&[*a, *b]).is_some() => (3, hex(&[*a, *b])),
            [b'u', a, b, c, d, ..] if hex(&[*a, *b, *c, *d]).is_some() => (5, hex(&[*a, *b, *c, *d])),
            [b'n', ..] => (1, Some(10)),
            [b't', ..] => (1, Some(9)),
            [b'r', ..] => (1, Some(13)),
            [b'b', ..] => (1, Some(8)),
            [b'f', ..] => (1, Some(12)),
            [b'v', ..] => (1, Some(11)),
            [byte, ..] => (1, Some(u32::from(*byte))),
            [] => (0, Some(u32::from(b'\\'))),
        };
        match value {
            Some(byte @ 0..=255) => out.push(byte as u8),
            Some(code) => {
                let mut room = [0; 4];
                let letter = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
                out.extend_from_slice(letter.encode_utf8(&mut room).as_bytes());
            }
            None => {}
        }
        rest = &after[taken..];
    }
    out.extend_from_slice(rest);
    Cow::Owned(out)
}
