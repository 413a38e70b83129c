//! Heads: found, parsed and judged. `httparse` knows the grammar; what it is lenient about is refused here.

use crate::fields::{Fields, Span};
use crate::wire::Buffer;
use std::mem::MaybeUninit;
use std::net::Ipv6Addr;
use tokio::time::Instant;

/// Why a request is not served. Each is answered with its status, and the connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// A text that two servers could read differently, or none at all.
    #[error("{0}")]
    Malformed(&'static str),
    /// `limits.max_head`
    #[error("the request's head is too large")]
    HeadTooLarge,
    /// `limits.max_fields`
    #[error("the request has too many header fields")]
    TooManyFields,
    /// The head did not end in time.
    #[error("the request's head took too long")]
    HeadTooSlow,
    /// The body stopped coming.
    #[error("the request's body took too long")]
    BodyTooSlow,
    /// `max_body`
    #[error("the request's body is too large")]
    BodyTooLarge,
    /// Not ours to do.
    #[error("{0}")]
    NotImplemented(&'static str),
    /// Neither HTTP/1.0 nor 1.1.
    #[error("this is not HTTP/1.0 or HTTP/1.1")]
    Version,
    /// An expectation other than `100-continue`.
    #[error("the request expects what no server here knows")]
    Expectation,
    /// `limits.stranger_rate` or `limits.stranger_connections`
    #[error("too many requests come from this network")]
    TooMany,
    /// `identify.unproven` or `identify.untagged`.
    #[error("this origin serves its CDNs only")]
    Denied,
}

impl Refusal {
    /// A word for the log.
    pub fn reason(self) -> &'static str {
        match self {
            Refusal::Malformed(_) => "malformed",
            Refusal::HeadTooLarge => "head_too_large",
            Refusal::TooManyFields => "too_many_fields",
            Refusal::HeadTooSlow => "head_too_slow",
            Refusal::BodyTooSlow => "body_too_slow",
            Refusal::BodyTooLarge => "body_too_large",
            Refusal::NotImplemented(_) => "not_implemented",
            Refusal::Version => "version",
            Refusal::Expectation => "expectation",
            Refusal::TooMany => "too_many",
            Refusal::Denied => "denied",
        }
    }

    /// The status that says it.
    pub fn status(self) -> u16 {
        match self {
            Refusal::Malformed(_) => 400,
            Refusal::Denied => 403,
            Refusal::HeadTooSlow | Refusal::BodyTooSlow => 408,
            Refusal::BodyTooLarge => 413,
            Refusal::Expectation => 417,
            Refusal::TooMany => 429,
            Refusal::HeadTooLarge | Refusal::TooManyFields => 431,
            Refusal::NotImplemented(_) => 501,
            Refusal::Version => 505,
        }
    }
}

/// A request that could not be read.
#[derive(Debug)]
pub(crate) struct Unread {
    pub refusal: Refusal,
    /// When its first byte came.
    pub begun: Instant,
    /// Its first line, or what came of it.
    pub line: Vec<u8>,
}

/// How a body is delimited (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is none.
    Empty,
    /// So many bytes.
    Length(u64),
    /// Chunks, the last of them empty.
    Chunked,
    /// All until the connection ends.
    UntilClose,
}

/// The protocol that a request came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Http10,
    Http11,
    Http2,
}

impl Version {
    /// As a log line has it.
    pub fn name(self) -> &'static str {
        match self {
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
            Version::Http2 => "HTTP/2.0",
        }
    }

    /// As `Via` has it.
    pub fn number(self) -> &'static [u8] {
        &self.name().as_bytes()[5..]
    }
}

/// A request's head.
#[derive(Debug)]
pub(crate) struct RequestHead {
    pub fields: Fields,
    method: Span,
    target: Span,
    pub version: Version,
    pub framing: Framing,
}

impl RequestHead {
    /// A token of ASCII characters.
    pub fn method(&self) -> &str {
        std::str::from_utf8(self.fields.span(self.method)).unwrap_or("")
    }

    /// The target as it came, without scheme and authority if it had them.
    pub fn target(&self) -> &[u8] {
        self.fields.span(self.target)
    }

    /// The target up to its query.
    pub fn path(&self) -> &[u8] {
        let target = self.target();
        &target[..memchr::memchr(b'?', target).unwrap_or(target.len())]
    }

    /// What follows the `?`.
    pub fn query(&self) -> &[u8] {
        let target = self.target();
        memchr::memchr(b'?', target).map_or(b"", |at| &target[at + 1..])
    }

    /// Whether repeating the request does no harm (RFC 9110, section 9.2.2).
    pub fn is_idempotent(&self) -> bool {
        matches!(self.method(), "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE")
    }

    /// Parses a whole head, its empty line included.
    pub fn parse(head: &[u8], max_fields: usize) -> Result<Self, Refusal> {
        // Room for more than any configured number, on the stack and not initialised.
        let mut room = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; MOST_FIELDS];
        let mut request = httparse::Request::new(&mut []);
        match request.parse_with_uninit_headers(head, &mut room) {
            Ok(httparse::Status::Complete(length)) if length == head.len() => {}
            Ok(_) => return Err(Refusal::Malformed("the request's head has a line that ends too early")),
            Err(error) => return Err(explain(error)),
        }
        if request.headers.len() > max_fields {
            return Err(Refusal::TooManyFields);
        }
        let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
            return Err(Refusal::Malformed("the request line is not whole"));
        };
        let list =
            request.headers.iter().map(|h| (Span::of(h.name.as_bytes(), head), Span::of(h.value, head))).collect();
        let fields = Fields::new(head.to_vec(), list);
        let target = check_target(method, target.as_bytes(), &fields, minor)?;
        if !fields.all("Connection").all(is_list_of_tokens) {
            return Err(Refusal::Malformed("Connection names what is no name"));
        }
        let framing = request_framing(&fields, minor)?;
        let version = if minor > 0 { Version::Http11 } else { Version::Http10 };
        Ok(Self { method: Span::of(method.as_bytes(), head), target: Span::of(target, head), fields, version, framing })
    }
}

/// More fields than the configuration allows to ask for.
const MOST_FIELDS: usize = 256;

fn explain(error: httparse::Error) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => Refusal::TooManyFields,
        httparse::Error::Version => Refusal::Version,
        httparse::Error::HeaderName => Refusal::Malformed("a header's name has a character that none may have"),
        httparse::Error::HeaderValue => Refusal::Malformed("a header's value has a character that none may have"),
        httparse::Error::NewLine => Refusal::Malformed("a line ends with a bare CR"),
        _ => Refusal::Malformed("the request line cannot be read"),
    }
}

/// Checks target against Host, and takes scheme and authority off (RFC 9112, section 3.2).
fn check_target<'t>(method: &str, target: &'t [u8], fields: &Fields, minor: u8) -> Result<&'t [u8], Refusal> {
    let mut hosts = fields.all("Host");
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Refusal::Malformed("there are two Host headers"));
    }
    match host {
        None if minor > 0 => return Err(Refusal::Malformed("there is no Host header")),
        Some(host) if !is_authority(host) => return Err(Refusal::Malformed("the Host header names no host")),
        _ => {}
    }
    if method == "CONNECT" {
        return Err(Refusal::NotImplemented("this is not a proxy for CONNECT"));
    }
    if memchr::memchr(b'#', target).is_some() {
        return Err(Refusal::Malformed("the target has a fragment"));
    }
    let path = &target[..memchr::memchr(b'?', target).unwrap_or(target.len())];
    if memchr::memmem::find(path, b"%00").is_some() {
        return Err(Refusal::Malformed("the path has a NUL"));
    }
    if target.first() == Some(&b'/') || (target == b"*" && method == "OPTIONS") {
        return Ok(target);
    }
    let scheme = [&b"http://"[..], b"https://"]
        .into_iter()
        .find(|s| target.len() > s.len() && target[..s.len()].eq_ignore_ascii_case(s));
    let Some(scheme) = scheme else { return Err(Refusal::Malformed("the target is neither a path nor a URL")) };
    let rest = &target[scheme.len()..];
    let end = rest.iter().position(|&b| b == b'/' || b == b'?').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if !host.is_some_and(|host| host.eq_ignore_ascii_case(authority)) {
        return Err(Refusal::Malformed("the target names another host than the Host header"));
    }
    match path.first() {
        Some(b'/') => Ok(path),
        // An empty path means `/`, and the slashes of the scheme are a place to point at that holds one.
        None => Ok(&target[scheme.len() - 1..scheme.len()]),
        Some(_) => Err(Refusal::Malformed("the target's query has no path before it")),
    }
}

/// `uri-host [":" port]` (RFC 3986, section 3.2), without the user information that RFC 9110, section 4.2.4 forbids, and
/// without the comma that joins two fields to one.
fn is_authority(host: &[u8]) -> bool {
    let (name_ok, rest) = match host.strip_prefix(b"[") {
        Some(inner) => {
            let Some(end) = memchr::memchr(b']', inner) else { return false };
            let address = std::str::from_utf8(&inner[..end]).ok().and_then(|text| text.parse::<Ipv6Addr>().ok());
            (address.is_some(), &inner[end + 1..])
        }
        None => {
            let (name, rest) = host.split_at(memchr::memchr(b':', host).unwrap_or(host.len()));
            (is_name(name), rest)
        }
    };
    let port_ok = match rest.split_first() {
        None => true,
        Some((b':', port)) => {
            port.len() <= 5 && decimal(port).map_or(port.is_empty(), |port| port <= u64::from(u16::MAX))
        }
        Some(_) => false,
    };
    name_ok && port_ok
}

fn is_name(name: &[u8]) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+;=".contains(&b);
    let encoded = |at: usize| name[at + 1..].iter().take(2).filter(|b| b.is_ascii_hexdigit()).count() == 2;
    !name.is_empty() && name.iter().enumerate().all(|(at, &b)| plain(b) || (b == b'%' && encoded(at)))
}

fn request_framing(fields: &Fields, minor: u8) -> Result<Framing, Refusal> {
    let mut lengths = fields.all("Content-Length");
    let length = lengths.next();
    if lengths.next().is_some() {
        return Err(Refusal::Malformed("there are two Content-Length headers"));
    }
    let mut codings = fields.all("Transfer-Encoding");
    let Some(coding) = codings.next() else {
        return match length.map(decimal) {
            None => Ok(Framing::Empty),
            Some(Some(0)) => Ok(Framing::Empty),
            Some(Some(length)) => Ok(Framing::Length(length)),
            Some(None) => Err(Refusal::Malformed("Content-Length is not a number")),
        };
    };
    if length.is_some() {
        return Err(Refusal::Malformed("there are both Content-Length and Transfer-Encoding"));
    }
    if minor == 0 {
        return Err(Refusal::Malformed("HTTP/1.0 has no Transfer-Encoding"));
    }
    if codings.next().is_some() || !coding.eq_ignore_ascii_case(b"chunked") {
        // RFC 9112, section 6.1 asks for 501 where the coding is unknown; where chunked is not last, for 400.
        return match coding.len() {
            n if n > 8 && coding[n - 7..].eq_ignore_ascii_case(b"chunked") => {
                Err(Refusal::NotImplemented("no transfer coding but chunked is known here"))
            }
            _ => Err(Refusal::Malformed("Transfer-Encoding does not end in chunked")),
        };
    }
    Ok(Framing::Chunked)
}

/// RFC 9110, section 5.6.1. Quotes have no place in it: who minds them and who does not see other members.
fn is_list_of_tokens(value: &[u8]) -> bool {
    let token = |b: &u8| b.is_ascii_alphanumeric() || b"-!#$%&'*+.^_`|~".contains(b);
    value.split(|&b| b == b',').all(|member| member.trim_ascii().iter().all(token))
}

/// Digits and nothing else: no sign, no space, no list.
fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A response's head.
#[derive(Debug)]
pub(crate) struct ResponseHead {
    pub fields: Fields,
    pub status: u16,
    reason: Span,
    pub minor: u8,
}

impl ResponseHead {
    /// The words after the status; may be empty.
    pub fn reason(&self) -> &[u8] {
        self.fields.span(self.reason)
    }

    /// Parses a whole head. `None`: it cannot be read, or not in one way only.
    pub fn parse(head: &[u8]) -> Option<Self> {
        let mut room = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; MOST_FIELDS];
        let mut response = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        match config.parse_response_with_uninit_headers(&mut response, head, &mut room) {
            Ok(httparse::Status::Complete(length)) if length == head.len() => {}
            _ => return None,
        }
        let list =
            response.headers.iter().map(|h| (Span::of(h.name.as_bytes(), head), Span::of(h.value, head))).collect();
        let status = response.code.filter(|code| (100..600).contains(code))?;
        let reason = response
            .reason
            .filter(|reason| !reason.is_empty())
            .map_or(Span::default(), |r| Span::of(r.as_bytes(), head));
        Some(Self { fields: Fields::new(head.to_vec(), list), status, reason, minor: response.version? })
    }

    /// How its body is delimited, in answer to a method (RFC 9112, section 6.3). `None`: in two ways.
    pub fn framing(&self, method: &str) -> Option<Framing> {
        let length = self.length()?;
        let mut codings = self.fields.all("Transfer-Encoding");
        let coding = codings.next();
        let chunked = match coding {
            None => false,
            // Both at once is how responses are smuggled; another coding than chunked we never asked for.
            Some(coding) => {
                let plain = coding.eq_ignore_ascii_case(b"chunked") && codings.next().is_none();
                if !plain || length.is_some() || self.minor == 0 {
                    return None;
                }
                true
            }
        };
        Some(match (self.status, length) {
            (100..200 | 204 | 304, _) => Framing::Empty,
            _ if method == "HEAD" => Framing::Empty,
            _ if chunked => Framing::Chunked,
            (_, Some(0)) => Framing::Empty,
            (_, Some(length)) => Framing::Length(length),
            (_, None) => Framing::UntilClose,
        })
    }

    /// `Content-Length`, also where it tells of a body that is not sent. The outer `None`: it cannot be believed.
    pub fn length(&self) -> Option<Option<u64>> {
        let mut found = None;
        for value in self.fields.all("Content-Length") {
            let length = decimal(value)?;
            if found.is_some_and(|other| other != length) {
                return None;
            }
            found = Some(length);
        }
        Some(found)
    }
}

/// Looks for the end of a head in what has been read so far.
#[derive(Debug, Default)]
pub(crate) struct Search {
    /// What has been looked at.
    seen: usize,
    /// Where the line that is looked at begins.
    line: usize,
}

impl Search {
    /// The head's length, its empty line included, or `None` while there is more to come. Every line must end with CR LF:
    /// a server that takes a bare LF and one that does not see two different heads.
    pub fn find(&mut self, data: &[u8]) -> Result<Option<usize>, Refusal> {
        for at in memchr::memchr_iter(b'\n', &data[self.seen..]).map(|at| at + self.seen) {
            if at == 0 || data[at - 1] != b'\r' {
                return Err(Refusal::Malformed("a line ends with a bare LF"));
            }
            if at - self.line == 1 {
                return Ok(Some(at + 1));
            }
            self.line = at + 1;
        }
        self.seen = data.len();
        Ok(None)
    }
}

/// Drops empty lines before a request, which old clients send after a body (RFC 9112, section 2.2).
pub(crate) fn skip_empty_lines(buffer: &mut Buffer) {
    while buffer.data().starts_with(b"\r\n") {
        buffer.consume(2);
    }
}

#[cfg(test)]
mod tests;
