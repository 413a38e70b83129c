//! Log lines that CDNs push: bytes in, and what one line says of one request of a user out. Nothing here reads a socket or
//! keeps a count.
//!
//! A vendor's line is found in a body by [`Splitter`], read by [`Parser`], and the envelope of Amazon Data Firehose is
//! opened by [`firehose`].

mod columns;
mod fields;
pub mod firehose;
mod json;
mod split;
#[cfg(test)]
mod tests;
mod time;

use std::borrow::Cow;

pub use fields::Role;
pub use split::{LONGEST_LINE, Piece, Splitter};

/// The shape of the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Fastly's real-time logs, one JSON object a line, with the names that docs/edge-logs.md recommends or those of Fastly's
    /// own example.
    Fastly,
    /// Cloudflare's Logpush, dataset `http_requests`, as NDJSON.
    Cloudflare,
    /// Akamai's DataStream 2, as JSON or, with columns, structured.
    DataStream2,
    /// CloudFront's logs: standard files with their `#Fields`, real-time with columns, standard v2 also as JSON.
    CloudFront,
    /// One JSON object a line, with names of one's own.
    Ndjson,
}

/// What a cache did for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// It had the answer.
    Hit,
    /// It was asked and had no answer that is fresh.
    Miss,
    /// It was not asked, or it failed: passes, errors, redirects, what the edge made itself.
    Other,
}

/// What one line says.
#[derive(Clone, Debug, PartialEq)]
pub struct Line<'a> {
    /// When, in seconds since the epoch.
    pub time: i64,
    /// The host that the user asked for.
    pub host: Option<Cow<'a, str>>,
    /// The status that the user got; one below 100, as of a user who left, is none.
    pub status: Option<u16>,
    /// Bytes to the user, heads and bodies as the vendor counts them.
    pub bytes: Option<u64>,
    /// What the cache did.
    pub cache: Option<Cache>,
    /// No user's request: a shield's, a parent's, a worker's own.
    pub is_shield: bool,
    /// What tells this request from every other, where the vendor says so.
    pub id: Option<Cow<'a, str>>,
}

/// What became of a line.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome<'a> {
    /// A request.
    Line(Line<'a>),
    /// A head, a blank, or a vendor's trial of the endpoint.
    Nothing,
    /// It cannot be read; why.
    Malformed(&'static str),
}

/// Reads the lines of one stream.
#[derive(Clone, Debug)]
pub struct Parser {
    format: Format,
    names: fields::Names,
    /// Without a head of their own, lines that are no JSON have these.
    columns: Option<columns::Columns>,
}

impl Parser {
    /// `fields` is what was configured, in order: each the name of a column or, as `role=name`, the name of the field that has
    /// this role. A role that is named this way is looked for under no other name.
    pub fn new(format: Format, fields: &[(Option<Role>, String)]) -> Self {
        let names = fields::Names::new(format, fields);
        let columns =
            (!fields.is_empty()).then(|| columns::Columns::new(fields.iter().map(|(_, name)| &**name), &names));
        Self { format, names, columns }
    }

    /// Begins a body.
    pub fn begin(&self) -> Reader<'_> {
        Reader { parser: self, columns: self.columns.clone() }
    }
}

/// Reads the lines of one body.
pub struct Reader<'p> {
    parser: &'p Parser,
    columns: Option<columns::Columns>,
}

impl Reader<'_> {
    /// Reads one line, which may hold several JSON objects one after the other.
    pub fn line(&mut self, line: &[u8], mut found: impl FnMut(Outcome<'_>)) {
        let line = line.trim_ascii();
        match line.first() {
            None => found(Outcome::Nothing),
            Some(b'{') => json::read(&self.parser.names, line, found),
            Some(b'#') if self.parser.format == Format::CloudFront => {
                if let Some(names) = line.strip_prefix(b"#Fields:").and_then(|names| std::str::from_utf8(names).ok()) {
                    self.columns = Some(columns::Columns::new(names.split_ascii_whitespace(), &self.parser.names));
                }
                found(Outcome::Nothing);
            }
            Some(_) => found(match (&self.columns, self.parser.format) {
                (Some(columns), Format::CloudFront) => columns.read(line, |b| b == b'\t'),
                // Blanks within a value are encoded.
                (Some(columns), Format::DataStream2) => columns.read(line, |b| b == b'\t' || b == b' '),
                (None, Format::CloudFront | Format::DataStream2) => Outcome::Malformed(
                    "it is no JSON, there is no #Fields line before it, and no fields are configured",
                ),
                _ => Outcome::Malformed("it is no JSON object"),
            }),
        }
    }
}

/// The beginning of a line, fit for a log of ours.
pub fn quote(line: &[u8]) -> String {
    crate::error::words(line)
}
