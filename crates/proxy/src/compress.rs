//! gzip (RFC 1952): whether an answer is compressed, what its head says of that, and in which way it is done.

use crate::deflate::{GzipBody, PAUSE, whole};
use crate::downstream::Downstream;
use crate::fields::Fields;
use crate::http1::body::Step;
use crate::http1::head::RequestHead;
use crate::negotiate::{accepts_gzip, add_vary};
use crate::pull::Pull;
use crate::response::{Body, Response};
use crate::upstream::OriginBody;
use headwater_config::Gzip;
use prometheus::IntCounter;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Bodies up to this length are compressed as a whole when they come without a pause. That is a third faster, gives an answer
/// with a `Content-Length`, and keeps a worker from its other pulls for five milliseconds at most.
const WHOLE: u64 = 512 << 10;
/// A body that takes longer than this to come is sent as it comes.
const SOON: Duration = Duration::from_millis(50);

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
pub(crate) async fn apply(pull: &Pull<'_>, down: &mut Downstream<'_>, response: &mut Response) {
    let Some(gzip) = &pull.live.policy.rules.all()[pull.rule].gzip else { return };
    if response.status == 304 {
        return revalidated(&mut response.fields, pull.request, gzip);
    }
    let accepted = accepts_gzip(&pull.request.fields);
    match decide(gzip, accepted, response.status, &response.fields, response.length) {
        Decision::Leave => {}
        Decision::Identity => add_vary(&mut response.fields, "Accept-Encoding"),
        Decision::Compress => compress(pull, down, response, gzip.level).await,
    }
}

async fn compress(pull: &Pull<'_>, down: &mut Downstream<'_>, response: &mut Response, level: u32) {
    let meter = &pull.live.meters.gzip;
    if pull.request.method() == "HEAD" {
        describe(&mut response.fields);
        response.length = None;
        return;
    }
    let most = pull.live.policy.limits.max_gzip_streams;
    let Some(place) = pull.worker.shared.compressing.take(most) else {
        return add_vary(&mut response.fields, "Accept-Encoding");
    };
    let Body::Origin(mut origin) = std::mem::replace(&mut response.body, Body::Empty) else { return };
    describe(&mut response.fields);
    let (came, complete) = match origin.length() {
        Some(length) if length <= WHOLE => gather(&mut origin, length).await,
        _ => (Vec::new(), false),
    };
    if complete && let Some(packed) = whole(&came, level) {
        meter.bytes_in.inc_by(came.len() as u64);
        meter.bytes_out.inc_by(packed.len() as u64);
        response.length = Some(packed.len() as u64);
        response.body = Body::Ready(packed.into());
        if let Some(incoming) = origin.exchange.finish(&pull.worker.pool) {
            *down.incoming() = Some(incoming);
        }
    } else {
        response.length = None;
        let body = GzipBody::new(*origin, came, level, meter.clone(), place);
        response.body = Body::Gzip(Box::new(body));
    }
}

/// Takes a body of that length as it comes, up to its end or a pause; says whether it ended.
async fn gather(origin: &mut OriginBody, length: u64) -> (Vec<u8>, bool) {
    let mut came = Vec::with_capacity(length as usize);
    let deadline = Instant::now() + SOON;
    loop {
        match origin.step() {
            Ok(Step::End) => return (came, true),
            Ok(Step::Data(count)) => {
                came.extend_from_slice(origin.data(count));
                origin.took(count);
            }
            Ok(Step::More) => {
                let pause = (Instant::now() + PAUSE).min(deadline);
                if !matches!(timeout_at(pause, origin.fill()).await, Ok(Ok(()))) {
                    return (came, false);
                }
            }
            // It shows again where the body is sent.
            Err(_) => return (came, false),
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

/// A 304 tells what the 200 told (RFC 9110, section 15.4.5). It seldom has a type, which is then guessed from the path; and
/// which form the client holds shows in the tag that it sent.
fn revalidated(fields: &mut Fields, request: &RequestHead, gzip: &Gzip) {
    let has_one_form = match fields.get("Content-Type") {
        Some(content_type) => !gzip.takes(content_type),
        None => guessed_type(request.path()).is_some_and(|guess| !gzip.takes(guess.as_bytes())),
    };
    if has_one_form || fields.has_member("Cache-Control", "no-transform") {
        return;
    }
    add_vary(fields, "Accept-Encoding");
    let Some(tag) = fields.get("ETag").filter(|tag| !tag.starts_with(b"W/")).map(<[u8]>::to_vec) else { return };
    let mut held = request.fields.all("If-None-Match").flat_map(entity_tags);
    let holds_weak = held.any(|held| held.strip_prefix(b"W/") == Some(tag.as_slice()));
    if holds_weak {
        weaken(fields, &tag);
    }
}

/// The tags of a list. A backslash in one is a character like any other (RFC 9110, section 8.8.3).
fn entity_tags(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    let tags = list.split(move |&b| {
        quoted ^= b == b'"';
        b == b',' && !quoted
    });
    tags.map(<[u8]>::trim_ascii)
}

/// The type that a path's extension stands for. `None`: it has none, or one that nobody knows.
fn guessed_type(path: &[u8]) -> Option<&'static str> {
    let name = path.rsplit(|&b| b == b'/').next()?;
    let dot = name.iter().rposition(|&b| b == b'.')?;
    mime_guess::from_ext(std::str::from_utf8(&name[dot + 1..]).ok()?).first_raw()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_tag_that_was_given_out_is_weak_and_revalidates(
            tag in "(W/)?\"[!#-~]{0,12}\"", others in prop::collection::vec("(W/)?\"[!#-~]{0,4}\"", 0..3), at in 0..4_usize,
        ) {
            let mut answer = fields(&[("ETag", &tag), ("Content-Type", "text/html")]);
            describe(&mut answer);
            let given: Vec<Vec<u8>> = answer.all("ETag").map(<[u8]>::to_vec).collect();
            let strong = tag.trim_start_matches("W/");
            prop_assert_eq!(&given, &[format!("W/{strong}").into_bytes()], "weakened once");
            // The client asks again with it, among others; the origin knows its own.
            let mut held = others;
            held.retain(|other| other.trim_start_matches("W/") != strong);
            held.insert(at.min(held.len()), format!("W/{strong}"));
            let mut answer = fields(&[("ETag", &tag)]);
            revalidated(&mut answer, &asked("/", &held.join(", ")), &gzip());
            prop_assert_eq!(answer.all("ETag").map(<[u8]>::to_vec).collect::<Vec<_>>(), given);
        }
    }

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

    fn asked(path: &str, tag: &str) -> RequestHead {
        let text = format!("GET {path} HTTP/1.1\r\nHost: a\r\nIf-None-Match: {tag}\r\n\r\n");
        RequestHead::parse(text.as_bytes(), 100).unwrap()
    }

    #[test]
    fn a_backslash_in_a_tag_escapes_nothing() {
        let mut answer = fields(&[("ETag", "\"a\"")]);
        revalidated(&mut answer, &asked("/", r#""\", W/"a""#), &gzip());
        assert_eq!(answer.get("ETag"), Some(&b"W/\"a\""[..]));
    }

    #[test]
    fn a_304_has_the_tag_that_the_client_holds() {
        let mut answer = fields(&[("ETag", "\"a\"")]);
        revalidated(&mut answer, &asked("/page", "\"x\", W/\"a\""), &gzip());
        assert_eq!(answer.get("ETag"), Some(&b"W/\"a\""[..]));
        assert_eq!(answer.get("Vary"), Some(&b"Accept-Encoding"[..]));
        let mut answer = fields(&[("ETag", "\"a\"")]);
        revalidated(&mut answer, &asked("/page.html", "\"a\""), &gzip());
        assert_eq!(answer.get("ETag"), Some(&b"\"a\""[..]));
    }

    #[test]
    fn the_304_of_an_image_varies_no_more_than_its_200() {
        for (path, varies) in [("/a.png", false), ("/a.PNG?x", false), ("/a.html", true), ("/a.b/c", true), ("/", true)]
        {
            let mut answer = fields(&[("ETag", "\"a\"")]);
            revalidated(&mut answer, &asked(path, "\"a\""), &gzip());
            assert_eq!(answer.has("Vary"), varies, "{path}");
        }
    }
}
