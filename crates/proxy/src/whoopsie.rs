//! The whoopsie page: what users see instead of an error, in their language, with the status kept.

use crate::cache_control;
use crate::failure::Failure;
use crate::fields::Fields;
use crate::http1::head::Refusal;
use crate::negotiate::{accepts_gzip, add_vary, language, prefers_html, prefers_json};
use crate::pull::Pull;
use crate::response::{Body, Response};
use crate::upstream::OriginBody;
use crc32fast::Hasher;
use flate2::{Compress, Compression, FlushCompress};
use headwater_config::{Answer, Page, Part, Policy};

/// Turns a failure, or an origin's 5xx, into the page. What is left of the origin's own answer comes back, to be drained.
pub(crate) fn rescue(pull: &Pull<'_>, result: Result<Response, Failure>) -> (Response, Option<OriginBody>) {
    let answer = pull.live.policy.whoopsie.answer;
    match result {
        Ok(response) if response.status < 500 => (response, None),
        Ok(mut response) => {
            cache_control::forbid(&mut response.fields);
            let wanted = matches!(answer, Answer::Upstream | Answer::Both);
            if !wanted || is_the_apps_own_word(&response.fields, &pull.request.fields) {
                return (response, None);
            }
            let origin = std::mem::replace(&mut response.body, Body::Empty).into_origin();
            strip_representation(&mut response.fields);
            (page(pull, response.status, "origin_5xx", response.fields), origin)
        }
        Err(Failure::Refused(refusal)) => {
            let mut response = refused(refusal.status(), &refusal.to_string());
            if refusal == Refusal::TooMany {
                response.fields.push("Retry-After", b"1");
            }
            (response, None)
        }
        Err(failure) => {
            if failure.is_upstream() {
                pull.worker.shared.figures.upstream_errors.with_label_values(&[failure.reason()]).inc();
            }
            let mut fields = Fields::default();
            if failure.status() == 503 {
                fields.push("Retry-After", b"1");
            }
            let response = if matches!(answer, Answer::Proxy | Answer::Both) {
                page(pull, failure.status(), failure.reason(), fields)
            } else {
                let mut plain = plain(failure.status(), title(failure.status()));
                if failure.status() == 503 {
                    plain.fields.push("Retry-After", b"1");
                }
                plain
            };
            (response, None)
        }
    }
}

/// A JSON error is for the program that asked, unless a browser did.
fn is_the_apps_own_word(answer: &Fields, request: &Fields) -> bool {
    let is_json = answer.get("Content-Type").is_some_and(|content_type| {
        let end = content_type.iter().position(|&b| b == b';').unwrap_or(content_type.len());
        let essence = content_type[..end].trim_ascii().to_ascii_lowercase();
        essence == b"application/json" || essence.ends_with(b"+json")
    });
    is_json && !prefers_html(request)
}

/// Takes out what described the body that is replaced. The rest, such as `Retry-After`, is still true.
/// The app's `Content-Security-Policy` would forbid the page its style.
fn strip_representation(fields: &mut Fields) {
    const OF_THE_BODY: [&str; 15] = [
        "Content-Type",
        "Content-Encoding",
        "Content-Language",
        "Content-Disposition",
        "Content-Location",
        "Content-Range",
        "Content-MD5",
        "Content-Digest",
        "Repr-Digest",
        "ETag",
        "Last-Modified",
        "Accept-Ranges",
        "Cache-Control",
        "Content-Security-Policy",
        "Content-Security-Policy-Report-Only",
    ];
    fields.retain(|name, _| !OF_THE_BODY.iter().any(|gone| name.eq_ignore_ascii_case(gone.as_bytes())));
}

fn page(pull: &Pull<'_>, status: u16, reason: &str, mut fields: Fields) -> Response {
    let live = &*pull.live;
    let cdn = pull.label();
    let request = &pull.request.fields;
    let (body, language) = if prefers_json(request) {
        fields.push("Content-Type", b"application/problem+json");
        let problem = serde_json::json!({
            "type": "about:blank", "title": title(status), "status": status, "request_id": pull.id.as_str(),
        });
        (problem.to_string().into_bytes(), "none")
    } else {
        let page = live.pages.choose(request);
        fields.push("Content-Type", b"text/html; charset=utf-8");
        fields.push("Content-Language", page.language.as_bytes());
        let beacon = format!("{}?source={cdn}_{status}&amp;id={}", live.policy.beacon.path, pull.id.as_str());
        let slots = Slots { status: &status.to_string(), request_id: pull.id.as_str(), beacon: &beacon };
        let body = if accepts_gzip(request) {
            fields.push("Content-Encoding", b"gzip");
            page.gzip(&slots)
        } else {
            page.plain(&slots)
        };
        (body, page.language.as_str())
    };
    for name in ["Accept", "Accept-Language", "Accept-Encoding"] {
        add_vary(&mut fields, name);
    }
    cache_control::forbid(&mut fields);
    pull.worker.shared.figures.whoopsie.with_label_values(&[cdn, reason, language]).inc();
    Response { status, reason: Vec::new(), fields, length: Some(body.len() as u64), body: Body::Ready(body.into()) }
}

/// A refusal, in a line.
pub(crate) fn refused(status: u16, why: &str) -> Response {
    plain(status, why)
}

fn plain(status: u16, text: &str) -> Response {
    let mut response = Response::new(status, "text/plain; charset=utf-8", format!("{text}\n").into_bytes());
    response.fields.push("Cache-Control", b"no-store");
    response
}

/// The usual words for a status (RFC 9110, section 15, and the registry beside it).
pub(crate) fn title(status: u16) -> &'static str {
    match status {
        // The library has the name of an older RFC.
        413 => "Content Too Large",
        status => http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or(""),
    }
}

/// Every page, ready to be sent.
pub(crate) struct Pages(Vec<ReadyPage>);

impl Pages {
    pub fn new(policy: &Policy) -> Self {
        Self(policy.whoopsie.pages.iter().map(ReadyPage::new).collect())
    }

    fn choose(&self, request: &Fields) -> &ReadyPage {
        let languages: Vec<&str> = self.0.iter().map(|page| page.language.as_str()).collect();
        &self.0[language(request, &languages)]
    }
}

/// What a page leaves open.
struct Slots<'a> {
    status: &'a str,
    request_id: &'a str,
    beacon: &'a str,
}

impl Slots<'_> {
    fn slot<'s>(&'s self, slot: &'s Part) -> &'s [u8] {
        match slot {
            Part::Status => self.status.as_bytes(),
            Part::RequestId => self.request_id.as_bytes(),
            Part::Beacon => self.beacon.as_bytes(),
            Part::Text(text) => text.as_bytes(),
        }
    }
}

/// A piece of a page. Texts are compressed beforehand, each so that it can stand anywhere in a deflate stream.
enum Piece {
    Text { plain: Vec<u8>, deflated: Vec<u8>, crc: Hasher },
    Slot(Part),
}

struct ReadyPage {
    language: String,
    pieces: Vec<Piece>,
}

impl ReadyPage {
    fn new(page: &Page) -> Self {
        let pieces = page
            .parts
            .iter()
            .map(|part| match part {
                Part::Text(text) => {
                    let mut crc = Hasher::new();
                    crc.update(text.as_bytes());
                    Piece::Text { plain: text.clone().into_bytes(), deflated: deflate(text.as_bytes()), crc }
                }
                slot => Piece::Slot(slot.clone()),
            })
            .collect();
        Self { language: page.language.clone(), pieces }
    }

    fn plain(&self, slots: &Slots<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text { plain, .. } => out.extend_from_slice(plain),
                Piece::Slot(slot) => out.extend_from_slice(slots.slot(slot)),
            }
        }
        out
    }

    /// One gzip member (RFC 1952): compressed blocks for the texts, stored blocks (RFC 1951, section 3.2.4) for the slots.
    fn gzip(&self, slots: &Slots<'_>) -> Vec<u8> {
        let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
        let mut crc = Hasher::new();
        let mut length = 0_usize;
        for piece in &self.pieces {
            match piece {
                Piece::Text { plain, deflated, crc: of_text } => {
                    out.extend_from_slice(deflated);
                    crc.combine(of_text);
                    length += plain.len();
                }
                Piece::Slot(slot) => {
                    let text = slots.slot(slot);
                    store(text, &mut out);
                    crc.update(text);
                    length += text.len();
                }
            }
        }
        // A last block, stored and empty.
        out.extend_from_slice(&[1, 0, 0, 0xff, 0xff]);
        out.extend_from_slice(&crc.finalize().to_le_bytes());
        out.extend_from_slice(&(length as u32).to_le_bytes());
        out
    }
}

fn store(text: &[u8], out: &mut Vec<u8>) {
    for block in text.chunks(usize::from(u16::MAX)) {
        let length = block.len() as u16;
        out.push(0);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(block);
    }
}

/// Deflate blocks that end on a byte and refer to nothing before them.
fn deflate(text: &[u8]) -> Vec<u8> {
    let mut compress = Compress::new(Compression::best(), false);
    let mut out = Vec::with_capacity(text.len() + 1024);
    // The room is more than the worst case needs, so one call does it.
    let done = compress.compress_vec(text, &mut out, FlushCompress::Full);
    if done.is_err() || compress.total_in() != text.len() as u64 {
        out.clear();
        store(text, &mut out);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn the_ready_made_gzip_is_the_page() {
        let policy = headwater_config::from_text("t", "[origin]\nservers = [\"a:1\"]").0.unwrap();
        let slots = Slots { status: "503", request_id: "0123456789abcdef", beacon: "/b.gif?source=x" };
        for page in Pages::new(&policy).0 {
            let mut text = Vec::new();
            flate2::read::GzDecoder::new(&page.gzip(&slots)[..]).read_to_end(&mut text).unwrap();
            assert_eq!(text, page.plain(&slots), "{}", page.language);
            assert!(page.gzip(&slots).len() * 10 < text.len() * 7, "{} is hardly smaller", page.language);
        }
    }
}
