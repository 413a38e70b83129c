//! A strict reading of HTTP/1, written from the grammar of RFC 9110, 9112 and 3986 alone and sharing nothing with the
//! product: what it takes, every server must read alike, and all else is refused. Slow and plain on purpose.

/// What is too much. A reader behind the proxy has to take what the proxy adds.
#[derive(Clone, Copy)]
pub struct Limits {
    pub head: usize,
    pub fields: usize,
    pub body: u64,
}

/// The limits that the proxy under test is given.
pub const GIVEN: Limits = Limits { head: 32 << 10, fields: 100, body: 64 << 10 };
/// More than the proxy lets through.
pub const WIDE: Limits = Limits { head: 64 << 10, fields: 200, body: 64 << 10 };
/// These are fixed in the product: the line before a chunk, and what may follow the last one.
const MAX_SIZE_LINE: usize = 256;
const MAX_TRAILERS: usize = 16 << 10;
const MAX_TRAILER_FIELDS: usize = 64;

pub type Field = (Vec<u8>, Vec<u8>);

/// A request as everybody must read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub method: Vec<u8>,
    /// Without scheme and authority, if it had them.
    pub target: Vec<u8>,
    pub minor: u8,
    pub fields: Vec<Field>,
    pub body: Vec<u8>,
    pub chunked: bool,
    pub trailers: Vec<Field>,
}

impl Request {
    pub fn values(&self, name: &str) -> Vec<&[u8]> {
        let named = |field: &&Field| field.0.eq_ignore_ascii_case(name.as_bytes());
        self.fields.iter().filter(named).map(|(_, value)| value.as_slice()).collect()
    }

    /// The members of a list of tokens.
    pub fn tokens(&self, name: &str) -> Vec<Vec<u8>> {
        let values = self.values(name).join(&b","[..]);
        let all = values.split(|&b| b == b',').map(|token| token.trim_ascii().to_ascii_lowercase());
        all.filter(|token| !token.is_empty()).collect()
    }

    /// Whether another request may follow (RFC 9112, section 9.3).
    pub fn keeps(&self) -> bool {
        let says = |word: &[u8]| self.tokens("Connection").iter().any(|token| token == word);
        !says(b"close") && (self.minor == 1 || says(b"keep-alive"))
    }
}

/// How a conversation ends, behind the requests that were served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Every byte belonged to a request, and more may come.
    Open,
    /// The last request was the last by its own wish.
    Closed,
    /// What comes next is no request, and nothing of it goes anywhere.
    Refused(&'static str),
    /// The head was good and its body is not: the beginning may have gone on, the end never does.
    RefusedInBody(&'static str),
    /// There is more to come.
    Unfinished,
    /// There is more to come of a body.
    UnfinishedBody,
}

/// All that a stream of bytes says.
pub fn read(stream: &[u8], limits: Limits) -> (Vec<Request>, End) {
    let (mut requests, mut rest) = (Vec::new(), stream);
    loop {
        // RFC 9112, section 2.2: empty lines before a request line are no part of it.
        while let Some(after) = rest.strip_prefix(b"\r\n") {
            rest = after;
        }
        if rest.is_empty() {
            return (requests, End::Open);
        }
        match one(rest, limits) {
            Ok((request, length)) => {
                let keeps = request.keeps();
                requests.push(request);
                if !keeps {
                    return (requests, End::Closed);
                }
                rest = &rest[length..];
            }
            Err(end) => return (requests, end),
        }
    }
}

fn one(stream: &[u8], limits: Limits) -> Result<(Request, usize), End> {
    let length = match end_of_lines(stream) {
        Ok(Some(length)) if length <= limits.head => length,
        Ok(None) if stream.len() <= limits.head => return Err(End::Unfinished),
        Ok(_) => return Err(End::Refused("too large")),
        Err(why) => return Err(End::Refused(why)),
    };
    let mut request = head(&stream[..length], limits.fields).map_err(End::Refused)?;
    let used = body(&mut request, &stream[length..], limits.body)?;
    Ok((request, length + used))
}

/// Where the empty line ends. A line ends with CR LF and with nothing else, as soon as this can be told.
fn end_of_lines(text: &[u8]) -> Result<Option<usize>, &'static str> {
    let mut line = 0;
    for at in 0..text.len() {
        if text[at] == b'\n' {
            if at == line || text[at - 1] != b'\r' {
                return Err("a bare LF");
            }
            if at - 1 == line {
                return Ok(Some(at + 1));
            }
            line = at + 1;
        }
    }
    Ok(None)
}

fn lines(text: &[u8]) -> Vec<&[u8]> {
    let mut all = Vec::new();
    let mut line = 0;
    for at in 1..text.len() {
        if &text[at - 1..=at] == b"\r\n" {
            all.push(&text[line..at - 1]);
            line = at + 1;
        }
    }
    all
}

fn head(text: &[u8], max_fields: usize) -> Result<Request, &'static str> {
    let lines = lines(text);
    let (request_line, rest) = lines.split_first().ok_or("no request line")?;
    let fields = fields(&rest[..rest.len() - 1])?;
    if fields.len() > max_fields {
        return Err("too many fields");
    }
    let words: Vec<&[u8]> = request_line.split(|&b| b == b' ').collect();
    let [method, target, version] = words[..] else { return Err("not three words") };
    if method.is_empty() || !method.iter().all(|&b| tchar(b)) {
        return Err("the method is no token");
    }
    let minor = match version {
        b"HTTP/1.1" => 1,
        b"HTTP/1.0" => 0,
        _ => return Err("another version"),
    };
    let mut request = Request {
        method: method.to_vec(),
        target: Vec::new(),
        minor,
        fields,
        body: Vec::new(),
        chunked: false,
        trailers: Vec::new(),
    };
    let host = match request.values("Host")[..] {
        [] if minor == 1 => return Err("no Host"),
        [] => None,
        [host] if authority(host) => Some(host.to_vec()),
        [_] => return Err("Host is no authority"),
        _ => return Err("two Hosts"),
    };
    request.target = origin_form(method, target, host.as_deref())?;
    // RFC 9110, section 7.6.1: a list of tokens. Quotes would hide some of them from some readers.
    if !request.tokens("Connection").iter().flatten().all(|&b| tchar(b)) {
        return Err("Connection names what is no name");
    }
    let expected = request.values("Expect");
    if expected.len() > 1 || expected.iter().any(|value| !value.eq_ignore_ascii_case(b"100-continue")) {
        return Err("an unknown expectation");
    }
    Ok(request)
}

/// RFC 9112, section 5: `field-name ":" OWS field-value OWS`, without folding.
fn fields(lines: &[&[u8]]) -> Result<Vec<Field>, &'static str> {
    let mut fields = Vec::new();
    for line in lines {
        let colon = line.iter().position(|&b| b == b':').ok_or("a line without a colon")?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if name.is_empty() || !name.iter().all(|&b| tchar(b)) {
            return Err("the name is no token");
        }
        // Tab, space, what can be seen, and bytes beyond ASCII.
        if !value.iter().all(|&b| b == b'\t' || (0x20..=0x7e).contains(&b) || b >= 0x80) {
            return Err("a control character in a value");
        }
        let blank = |b: &u8| *b == b' ' || *b == b'\t';
        let start = value.iter().position(|b| !blank(b)).unwrap_or(value.len());
        let end = value.iter().rposition(|b| !blank(b)).map_or(start, |at| at + 1);
        fields.push((name.to_vec(), value[start..end].to_vec()));
    }
    Ok(fields)
}

fn tchar(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

/// RFC 9112, section 3.2. Bytes that RFC 3986 does not know but that browsers send (`|`, `"`, UTF-8) end no target
/// anywhere and pass as they are.
fn origin_form(method: &[u8], target: &[u8], host: Option<&[u8]>) -> Result<Vec<u8>, &'static str> {
    if method == b"CONNECT" {
        return Err("CONNECT is for forward proxies");
    }
    if target.iter().any(|&b| b <= b' ' || b == 0x7f || b == b'#') || std::str::from_utf8(target).is_err() {
        return Err("the target has what no target has");
    }
    let path = target.split(|&b| b == b'?').next().unwrap_or(target);
    if path.windows(3).any(|window| window == b"%00") {
        return Err("a path that ends early for who reads it as C does");
    }
    if target.starts_with(b"/") {
        return Ok(target.to_vec());
    }
    if target == b"*" {
        return if method == b"OPTIONS" { Ok(target.to_vec()) } else { Err("an asterisk without OPTIONS") };
    }
    let lower = target.to_ascii_lowercase();
    let scheme = [&b"http://"[..], b"https://"].into_iter().find(|scheme| lower.starts_with(scheme));
    let rest = &target[scheme.ok_or("the target has no form")?.len()..];
    let slash = rest.iter().position(|&b| b == b'/' || b == b'?').unwrap_or(rest.len());
    if !host.is_some_and(|host| rest[..slash].eq_ignore_ascii_case(host)) {
        return Err("the target's host is not the Host");
    }
    match rest.get(slash) {
        None => Ok(b"/".to_vec()),
        Some(b'/') => Ok(rest[slash..].to_vec()),
        // Some read `/?q`, some `?q`.
        Some(_) => Err("a query without a path"),
    }
}

/// RFC 3986, section 3.2: `host [":" port]`, never empty (RFC 9110, section 4.2.1) and without user information.
fn authority(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else { return false };
    let (host_ok, rest) = if let Some(inner) = text.strip_prefix('[') {
        let Some((literal, rest)) = inner.split_once(']') else { return false };
        (literal.parse::<std::net::Ipv6Addr>().is_ok() && !literal.contains('%'), rest)
    } else {
        let end = text.find(':').unwrap_or(text.len());
        (reg_name(&text.as_bytes()[..end]), &text[end..])
    };
    let port_ok = match rest.strip_prefix(':') {
        None => rest.is_empty(),
        Some(port) => {
            port.bytes().all(|b| b.is_ascii_digit())
                && (port.is_empty() || port.parse::<u16>().is_ok_and(|_| port.len() <= 5))
        }
    };
    host_ok && port_ok
}

fn reg_name(name: &[u8]) -> bool {
    let mut rest = name;
    while let [first, after @ ..] = rest {
        rest = match first {
            b'%' if after.len() > 1 && after[..2].iter().all(u8::is_ascii_hexdigit) => &after[2..],
            // Without the comma, which is what joins two fields to one.
            b if b.is_ascii_alphanumeric() || b"-._~!$&'()*+;=".contains(b) => after,
            _ => return false,
        };
    }
    !name.is_empty()
}

/// Reads the body that the head promises; says how many bytes it took.
fn body(request: &mut Request, stream: &[u8], most: u64) -> Result<usize, End> {
    let (lengths, codings) = (request.values("Content-Length"), request.values("Transfer-Encoding"));
    match (&lengths[..], &codings[..]) {
        ([], []) => Ok(0),
        ([length], []) => {
            let digits = !length.is_empty() && length.iter().all(u8::is_ascii_digit);
            let value = std::str::from_utf8(length).ok().and_then(|text| text.parse::<u64>().ok());
            let Some(length) = value.filter(|_| digits) else { return Err(End::Refused("no length")) };
            if length > most {
                return Err(End::Refused("too long a body"));
            }
            let length = length as usize;
            if stream.len() < length {
                return Err(End::UnfinishedBody);
            }
            request.body = stream[..length].to_vec();
            Ok(length)
        }
        ([], [coding]) if request.minor == 1 && coding.eq_ignore_ascii_case(b"chunked") => {
            request.chunked = true;
            chunks(request, stream, most)
        }
        _ => Err(End::Refused("framed in more than one way")),
    }
}

/// RFC 9112, section 7.1. What an extension says is dropped by everybody, so it need only be visible.
fn chunks(request: &mut Request, stream: &[u8], most: u64) -> Result<usize, End> {
    let bad = End::RefusedInBody;
    let mut at = 0;
    loop {
        let seen = &stream[at..stream.len().min(at + MAX_SIZE_LINE)];
        let Some(end) = seen.iter().position(|&b| b == b'\n') else {
            let bare_cr = stream[at..].iter().position(|&b| b == b'\r').is_some_and(|cr| at + cr + 1 < stream.len());
            return Err(if seen.len() == MAX_SIZE_LINE || bare_cr {
                bad("an endless size")
            } else {
                End::UnfinishedBody
            });
        };
        let line = seen[..end].strip_suffix(b"\r").ok_or(bad("a bare LF"))?;
        let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
        // Sixteen digits overflow what some servers count with.
        if digits == 0 || digits > 15 {
            return Err(bad("no size"));
        }
        let blanks = line[digits..].iter().take_while(|&&b| b == b' ' || b == b'\t').count();
        let extension = &line[digits + blanks..];
        if digits < line.len()
            && !(extension.starts_with(b";") && extension.iter().all(|&b| b == b'\t' || (0x20..=0x7e).contains(&b)))
        {
            return Err(bad("no extension"));
        }
        let text = std::str::from_utf8(&line[..digits]).map_err(|_| bad("no size"))?;
        let size = usize::from_str_radix(text, 16).map_err(|_| bad("no size"))?;
        at += end + 1;
        if size == 0 {
            return trailers(request, &stream[at..]).map(|length| at + length);
        }
        if (request.body.len() + size) as u64 > most {
            return Err(bad("too long"));
        }
        let there = size.min(stream.len() - at);
        request.body.extend_from_slice(&stream[at..at + there]);
        at += there;
        match &stream[at..] {
            [b'\r', b'\n', ..] if there == size => at += 2,
            [] => return Err(End::UnfinishedBody),
            [b'\r'] if there == size => return Err(End::UnfinishedBody),
            _ => return Err(bad("a chunk does not end where it says")),
        }
    }
}

fn trailers(request: &mut Request, stream: &[u8]) -> Result<usize, End> {
    if stream.starts_with(b"\r\n") {
        return Ok(2);
    }
    let Some(length) = end_of_lines(stream).map_err(End::RefusedInBody)? else {
        let endless = stream.len() > MAX_TRAILERS;
        return Err(if endless { End::RefusedInBody("endless trailers") } else { End::UnfinishedBody });
    };
    let lines = lines(&stream[..length]);
    request.trailers = fields(&lines[..lines.len() - 1]).map_err(End::RefusedInBody)?;
    if request.trailers.len() > MAX_TRAILER_FIELDS {
        return Err(End::RefusedInBody("too many trailers"));
    }
    Ok(length)
}
