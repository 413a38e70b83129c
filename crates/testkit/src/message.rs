//! HTTP/1 messages as they are on the wire.

use std::io::{self, BufRead, Read};

/// An answer, to the byte.
#[derive(Clone, Debug, Default)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The status line.
    pub status_line: String,
    /// Names and values in their order, names as they were written.
    pub headers: Vec<(String, String)>,
    /// The body without its framing.
    pub body: Vec<u8>,
    /// Fields behind the last chunk.
    pub trailers: Vec<(String, String)>,
    /// Whether the body came to its proper end.
    pub complete: bool,
    /// The head as it came.
    pub head: String,
}

impl Response {
    /// The only value of a header; fails when there are two.
    pub fn header(&self, name: &str) -> Option<&str> {
        let all = self.headers(name);
        assert!(all.len() < 2, "two {name} headers in\n{}", self.head);
        all.first().copied()
    }

    /// Every value of a header.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// Whether a comma-separated header has a member.
    pub fn has_member(&self, name: &str, member: &str) -> bool {
        self.headers(name)
            .iter()
            .flat_map(|value| value.split(','))
            .any(|found| found.trim().eq_ignore_ascii_case(member))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body without its gzip.
    pub fn gunzip(&self) -> Vec<u8> {
        let mut out = Vec::new();
        flate2::read::GzDecoder::new(&self.body[..]).read_to_end(&mut out).expect("the body is gzip, and whole");
        out
    }
}

/// The bytes of an answer, with its `Content-Length`.
pub fn answer(status: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut bytes = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n", body.len()).into_bytes();
    for (name, value) in headers {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}

/// Reads lines up to an empty one. `None`: the connection ended before the first byte.
pub(crate) fn read_head(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut head = Vec::new();
    loop {
        let before = head.len();
        if reader.read_until(b'\n', &mut head)? == 0 {
            return if head.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        if &head[before..] == b"\r\n" || &head[before..] == b"\n" {
            return Ok(Some(String::from_utf8_lossy(&head).into_owned()));
        }
    }
}

pub(crate) fn fields(head: &str) -> Vec<(String, String)> {
    head.lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_string(), value.trim().to_string()))
        .collect()
}

/// A body by its framing: its bytes, its trailers, and whether it was whole.
pub(crate) fn read_body(
    reader: &mut impl BufRead,
    headers: &[(String, String)],
    until_close: bool,
) -> (Vec<u8>, Vec<(String, String)>, bool) {
    let value = |name: &str| headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    let mut body = Vec::new();
    if value("Transfer-Encoding").is_some_and(|coding| coding.to_ascii_lowercase().contains("chunked")) {
        return read_chunks(reader);
    }
    if let Some(length) = value("Content-Length").and_then(|length| length.parse::<u64>().ok()) {
        let read = reader.take(length).read_to_end(&mut body).unwrap_or(0);
        return (body, Vec::new(), read as u64 == length);
    }
    let complete = !until_close || reader.read_to_end(&mut body).is_ok();
    (body, Vec::new(), complete)
}

fn read_chunks(reader: &mut impl BufRead) -> (Vec<u8>, Vec<(String, String)>, bool) {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return (body, Vec::new(), false);
        }
        let digits = line.trim().split(';').next().unwrap_or("").trim().to_string();
        let Ok(size) = u64::from_str_radix(&digits, 16) else { return (body, Vec::new(), false) };
        if size == 0 {
            let mut trailers = vec![];
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) == 0 {
                    return (body, trailers, false);
                }
                if line == "\r\n" {
                    return (body, trailers, true);
                }
                if let Some((name, value)) = line.split_once(':') {
                    trailers.push((name.to_string(), value.trim().to_string()));
                }
            }
        }
        let read = reader.take(size).read_to_end(&mut body).unwrap_or(0);
        let mut end = [0; 2];
        if read as u64 != size || reader.read_exact(&mut end).is_err() || &end != b"\r\n" {
            return (body, Vec::new(), false);
        }
    }
}
