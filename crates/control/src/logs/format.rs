//! Formats of access logs: Apache's `LogFormat` and nginx's `log_format` become a list of texts and of what stands between
//! them (<https://httpd.apache.org/docs/2.4/mod/mod_log_config.html>, <https://nginx.org/en/docs/http/ngx_http_log_module.html>).

use thiserror::Error;

/// What a field says. What nothing here needs is [`Role::Skip`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Skip,
    /// The user's address, or that of the CDN's edge.
    Client,
    /// The user's address as the CDN names it: a list, the rightmost is the nearest.
    ForwardedFor,
    /// When, and how it is written.
    Time(Clock),
    /// `GET /path?query HTTP/1.1`
    Request,
    Method,
    /// A path, with or without a query.
    Target,
    /// The query, with or without its question mark.
    Query,
    Status,
    /// Bytes of the body; `-` is none.
    Bytes,
    /// The provider's tag.
    Provider,
    /// How long it took, in so many parts of a second.
    Took(u32),
    /// How long the origin took to begin, in parts of a second.
    FirstByte(u32),
}

/// How a time is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// `24/Nov/2026:02:14:56 +0000`, with or without brackets around it.
    Common,
    /// `2026-11-24T02:14:56+00:00`
    Iso,
    /// Parts of a second since the epoch; a point may stand in it.
    Epoch(u32),
}

/// How far a field goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// To the quote that is not escaped.
    Quoted,
    /// To the text that follows; no space is in it.
    Word,
    /// Digits to the text that follows.
    Digits,
    /// To the text that follows, spaces and all.
    Text,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Literal(Vec<u8>),
    Field(Role, Extent),
}

/// A format, ready to be matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    pub pieces: Vec<Piece>,
}

/// Why a text is no format that lines can be counted by.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum FormatError {
    /// Neither notation.
    #[error("\"{0}\" is in neither notation: Apache's fields begin with %, nginx's with $")]
    NoFields(String),
    /// An Apache field that ends in the middle.
    #[error("the format ends within the field that begins at \"{0}\"")]
    Unfinished(String),
    /// Nothing says when.
    #[error("the format has no time that can be read: add %t (Apache), $time_local or $time_iso8601 (nginx)")]
    NoTime,
    /// Nothing says what came of it.
    #[error("the format has no status: add %>s (Apache) or $status (nginx)")]
    NoStatus,
    /// Nothing says what was asked for.
    #[error("the format has no request: add \"%r\" (Apache) or \"$request\" (nginx)")]
    NoRequest,
    /// Two fields without anything between them.
    #[error("nothing stands between two fields after \"{0}\", so nobody can tell where the first ends")]
    Touching(String),
}

const COMBINED: &str = r#"%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i""#;

impl Format {
    /// Reads either notation, or one of the names `combined`, `vhost_combined` and `common`. A whole line of a server's
    /// configuration may be given, name and quotes included. `header` is the one that carries the provider's tag.
    pub fn parse(text: &str, header: &str) -> Result<Self, FormatError> {
        let text = text.trim();
        let named = match text {
            "combined" => Some(COMBINED.to_string()),
            "vhost_combined" => Some(format!("%v:%p {COMBINED}")),
            "common" => Some(r#"%h %l %u %t "%r" %>s %b"#.to_string()),
            _ => None,
        };
        let text = named.unwrap_or_else(|| unwrapped(text));
        let pieces = if text.contains('$') && !text.contains("%t") && !text.contains("}t") {
            nginx(&text, header)
        } else {
            apache(&text, header)?
        };
        Self::finish(pieces, &text)
    }

    /// What is tried where no format is given: combined, with the virtual host before it or not, with the tag after it or
    /// not, and microseconds at the end or not.
    pub fn usual(header: &str) -> Vec<Self> {
        let (quoted, bare) = (format!(" \"%{{{header}}}i\""), format!(" %{{{header}}}i"));
        // A number alone at the end is the microseconds and no tag.
        let ends = [quoted.clone(), quoted + " %D", String::new(), " %D".into(), bare.clone() + " %D", bare];
        let hosts = ["%v:%p ", ""];
        let texts = ends.iter().flat_map(|end| hosts.iter().map(move |host| format!("{host}{COMBINED}{end}")));
        texts.filter_map(|text| Self::parse(&text, header).ok()).collect()
    }

    fn finish(pieces: Vec<Piece>, text: &str) -> Result<Self, FormatError> {
        let has = |wanted: fn(&Role) -> bool| pieces.iter().any(|p| matches!(p, Piece::Field(role, _) if wanted(role)));
        if !pieces.iter().any(|piece| matches!(piece, Piece::Field(..))) {
            return Err(FormatError::NoFields(text.into()));
        }
        if !has(|role| matches!(role, Role::Time(_))) {
            return Err(FormatError::NoTime);
        }
        if !has(|role| *role == Role::Status) {
            return Err(FormatError::NoStatus);
        }
        if !has(|role| matches!(role, Role::Request | Role::Target)) {
            return Err(FormatError::NoRequest);
        }
        let mut before = String::new();
        for pair in pieces.windows(2) {
            if let [Piece::Field(..), Piece::Field(..)] = pair {
                return Err(FormatError::Touching(before));
            }
            if let Piece::Literal(text) = &pair[0] {
                before = String::from_utf8_lossy(text).trim().to_string();
            }
        }
        Ok(Self { pieces })
    }

    /// Whether lines say who carried a pull.
    pub fn has_provider(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Field(Role::Provider, _)))
    }
}

/// The format within a line of configuration: `LogFormat "..." name`, or `log_format name escape=... '...' '...';`.
fn unwrapped(text: &str) -> String {
    if let Some(rest) = strip_word(text, "LogFormat") {
        let Some(inner) = rest.strip_prefix('"') else { return rest.into() };
        let mut out = String::new();
        let mut chars = inner.chars();
        while let Some(c) = chars.next() {
            match c {
                '"' => break,
                '\\' => match chars.next() {
                    Some(c @ ('"' | '\\')) => out.push(c),
                    Some(c) => out.extend(['\\', c]),
                    None => {}
                },
                c => out.push(c),
            }
        }
        return out;
    }
    if let Some(rest) = strip_word(text, "log_format") {
        let mut out = String::new();
        let mut chars = rest.chars();
        // What stands before the first quote is the name, and how it is escaped.
        while let Some(quote) = chars.by_ref().find(|c| matches!(c, '\'' | '"')) {
            while let Some(c) = chars.next().filter(|c| *c != quote) {
                out.push(if c == '\\' { chars.next().unwrap_or(c) } else { c });
            }
        }
        return out;
    }
    text.into()
}

fn strip_word<'t>(text: &'t str, word: &str) -> Option<&'t str> {
    text.strip_prefix(word).filter(|rest| rest.starts_with(char::is_whitespace)).map(str::trim_start)
}

#[derive(Default)]
struct Pieces(Vec<Piece>);

impl Pieces {
    fn literal(&mut self, text: &[u8]) {
        match self.0.last_mut() {
            _ if text.is_empty() => {}
            Some(Piece::Literal(last)) => last.extend_from_slice(text),
            _ => self.0.push(Piece::Literal(text.into())),
        }
    }

    fn field(&mut self, role: Role, extent: Extent) {
        // `%U%q`: a target with its query.
        if role == Role::Query && matches!(self.0.last(), Some(Piece::Field(Role::Target, _))) {
            return;
        }
        let quoted = matches!(self.0.last(), Some(Piece::Literal(text)) if text.ends_with(b"\""));
        self.0.push(Piece::Field(role, if quoted { Extent::Quoted } else { extent }));
    }
}

fn apache(text: &str, header: &str) -> Result<Vec<Piece>, FormatError> {
    let mut pieces = Pieces::default();
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        pieces.literal(&rest.as_bytes()[..at]);
        let unfinished = || FormatError::Unfinished(rest[at..].into());
        let mut directive = &rest[at + 1..];
        if let Some(after) = directive.strip_prefix('%') {
            pieces.literal(b"%");
            rest = after;
            continue;
        }
        // Statuses that a field is for, and which of two requests it speaks of.
        directive = directive.trim_start_matches(|c: char| c.is_ascii_digit() || ",!<>".contains(c));
        let mut argument = None;
        if let Some(inner) = directive.strip_prefix('{') {
            let (inner, after) = inner.split_once('}').ok_or_else(unfinished)?;
            argument = Some(inner);
            directive = after;
        }
        let length = match directive.as_bytes() {
            [] => return Err(unfinished()),
            [b'^', _, _, ..] => 3,
            _ => directive.chars().next().map_or(1, char::len_utf8),
        };
        let (role, extent) = apache_field(&directive[..length], argument, header);
        let is_bracketed = &directive[..length] == "t" && argument.is_none();
        if is_bracketed {
            pieces.literal(b"[");
        }
        pieces.field(role, extent);
        if is_bracketed {
            pieces.literal(b"]");
        }
        rest = &directive[length..];
    }
    pieces.literal(rest.as_bytes());
    Ok(pieces.0)
}

fn apache_field(letter: &str, argument: Option<&str>, header: &str) -> (Role, Extent) {
    use {Extent as E, Role as R};
    match (letter, argument) {
        ("h" | "a", None) => (R::Client, E::Word),
        ("t", None) => (R::Time(Clock::Common), E::Text),
        ("t", Some(how)) => match how.trim_start_matches("begin:").trim_start_matches("end:") {
            "sec" => (R::Time(Clock::Epoch(1)), E::Digits),
            "msec" => (R::Time(Clock::Epoch(1_000)), E::Digits),
            "usec" => (R::Time(Clock::Epoch(1_000_000)), E::Digits),
            "%d/%b/%Y:%H:%M:%S %z" => (R::Time(Clock::Common), E::Text),
            "%Y-%m-%dT%H:%M:%S%z" | "%FT%T%z" => (R::Time(Clock::Iso), E::Word),
            _ => (R::Skip, E::Text),
        },
        ("r", _) => (R::Request, E::Text),
        ("m", _) => (R::Method, E::Word),
        ("U", _) => (R::Target, E::Text),
        ("q", _) => (R::Query, E::Text),
        ("s", _) => (R::Status, E::Word),
        ("b" | "B", _) => (R::Bytes, E::Word),
        ("p", _) => (R::Skip, E::Digits),
        ("D", _) => (R::Took(1_000_000), E::Digits),
        ("T", None | Some("s")) => (R::Took(1), E::Word),
        ("T", Some("ms")) => (R::Took(1_000), E::Word),
        ("T", Some("us")) => (R::Took(1_000_000), E::Word),
        ("^FB", _) => (R::FirstByte(1_000_000), E::Word),
        ("i", Some(name)) if name.eq_ignore_ascii_case(header) => (R::Provider, E::Word),
        ("i", Some(name)) if name.eq_ignore_ascii_case("X-Forwarded-For") => (R::ForwardedFor, E::Text),
        ("i" | "o", _) => (R::Skip, E::Text),
        // Users' names may have spaces in them.
        ("u", _) => (R::Skip, E::Text),
        _ => (R::Skip, E::Word),
    }
}

fn nginx(text: &str, header: &str) -> Vec<Piece> {
    let mut pieces = Pieces::default();
    let mut rest = text;
    let tag = format!("http_{}", header.to_ascii_lowercase().replace('-', "_"));
    while let Some(at) = rest.find('$') {
        pieces.literal(&rest.as_bytes()[..at]);
        let after = &rest[at + 1..];
        let braced = after.strip_prefix('{').and_then(|inner| inner.split_once('}'));
        let (name, after) = braced.unwrap_or_else(|| {
            let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
            after.split_at(end)
        });
        rest = after;
        if name.is_empty() {
            pieces.literal(b"$");
            continue;
        }
        let (role, extent) = if name == tag { (Role::Provider, Extent::Word) } else { nginx_field(name) };
        pieces.field(role, extent);
    }
    pieces.literal(rest.as_bytes());
    pieces.0
}

fn nginx_field(name: &str) -> (Role, Extent) {
    use {Extent as E, Role as R};
    match name {
        "remote_addr" => (R::Client, E::Word),
        "http_x_forwarded_for" | "proxy_add_x_forwarded_for" => (R::ForwardedFor, E::Text),
        "time_local" => (R::Time(Clock::Common), E::Text),
        "time_iso8601" => (R::Time(Clock::Iso), E::Word),
        "msec" => (R::Time(Clock::Epoch(1)), E::Word),
        "request" => (R::Request, E::Text),
        "request_method" => (R::Method, E::Word),
        "request_uri" | "uri" | "document_uri" => (R::Target, E::Text),
        "args" | "query_string" => (R::Query, E::Text),
        "status" => (R::Status, E::Word),
        "body_bytes_sent" => (R::Bytes, E::Word),
        "request_time" => (R::Took(1), E::Word),
        "upstream_header_time" => (R::FirstByte(1), E::Text),
        "remote_user" => (R::Skip, E::Text),
        _ if name.starts_with("http_") || name.starts_with("upstream_") || name.starts_with("sent_http_") => {
            (R::Skip, E::Text)
        }
        _ => (R::Skip, E::Word),
    }
}
