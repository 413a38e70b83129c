//! Content negotiation (RFC 9110, section 12): which coding, language and type a client takes, and what `Vary` says of it.

use crate::fields::Fields;

/// A member of an `Accept*` list: what it names, and its quality in thousandths.
fn preferences<'a>(fields: &'a Fields, name: &'a str) -> impl Iterator<Item = (&'a [u8], u16)> {
    fields.members(name).map(|member| {
        let end = member.iter().position(|&b| b == b';').unwrap_or(member.len());
        (member[..end].trim_ascii(), quality(&member[end..]))
    })
}

/// `;q=0.5` as 500. One that cannot be read counts as none: the client asked for something, and gets the safe answer.
fn quality(parameters: &[u8]) -> u16 {
    for parameter in parameters.split(|&b| b == b';') {
        let Some((name, value)) = split_once(parameter, b'=') else { continue };
        if name.trim_ascii().eq_ignore_ascii_case(b"q") {
            let value = value.trim_ascii();
            let (whole, fraction) = split_once(value, b'.').unwrap_or((value, b""));
            let digits_ok = fraction.len() <= 3 && fraction.iter().all(u8::is_ascii_digit);
            return match (whole, digits_ok) {
                (b"1", true) => 1000,
                (b"0", true) => {
                    fraction.iter().chain(b"000").take(3).fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'))
                }
                _ => 0,
            };
        }
    }
    1000
}

fn split_once(text: &[u8], by: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|&b| b == by)?;
    Some((&text[..at], &text[at + 1..]))
}

/// Whether the client prefers gzip to the body as it is. What satisfies nobody is sent as it is, never as an error.
pub(crate) fn accepts_gzip(fields: &Fields) -> bool {
    let (mut gzip, mut identity, mut any) = (None, None, None);
    for (coding, quality) in preferences(fields, "Accept-Encoding") {
        if coding.eq_ignore_ascii_case(b"gzip") || coding.eq_ignore_ascii_case(b"x-gzip") {
            gzip = Some(quality);
        } else if coding.eq_ignore_ascii_case(b"identity") {
            identity = Some(quality);
        } else if coding == b"*" {
            any = Some(quality);
        }
    }
    let gzip = gzip.or(any).unwrap_or(0);
    // Identity is acceptable unless it is named with 0; only a client that says so prefers it.
    gzip > 0 && identity.is_none_or(|identity| gzip >= identity)
}

/// The best of the languages that there are, by RFC 4647's lookup: each wanted tag in the order of quality, shortened
/// from its end until one fits. Chinese is told apart by script, which its regions imply.
pub(crate) fn language(fields: &Fields, available: &[&str]) -> usize {
    let mut wanted: Vec<(&[u8], u16)> =
        preferences(fields, "Accept-Language").filter(|(_, quality)| *quality > 0).take(32).collect();
    wanted.sort_by_key(|(_, quality)| std::cmp::Reverse(*quality));
    wanted.iter().find_map(|(tag, _)| lookup(std::str::from_utf8(tag).ok()?, available)).unwrap_or(0)
}

fn lookup(tag: &str, available: &[&str]) -> Option<usize> {
    let tag = tag.to_ascii_lowercase();
    let simplified = ["zh", "zh-cn", "zh-sg", "zh-my"].contains(&tag.as_str());
    let mut range = if simplified { "zh-hans" } else { tag.as_str() };
    if range == "*" {
        return Some(0);
    }
    loop {
        if let Some(at) = available.iter().position(|language| language.eq_ignore_ascii_case(range)) {
            return Some(at);
        }
        match range.rfind('-') {
            Some(end) => range = range[..end].trim_end_matches('-'),
            // A page in another region's form of the language is better than one in another language.
            None => {
                return available.iter().position(|language| {
                    language.split('-').next().is_some_and(|primary| primary.eq_ignore_ascii_case(range))
                        && range != "zh"
                });
            }
        }
    }
}

/// Whether the client would rather have JSON than HTML.
pub(crate) fn prefers_json(fields: &Fields) -> bool {
    let (json, html) = json_and_html(fields);
    json > html
}

/// Whether the client names HTML and likes it at least as much as JSON, as browsers do.
pub(crate) fn prefers_html(fields: &Fields) -> bool {
    let named = preferences(fields, "Accept").any(|(media, q)| q > 0 && media.eq_ignore_ascii_case(b"text/html"));
    let (json, html) = json_and_html(fields);
    named && html >= json
}

/// The quality of JSON, by name alone, and of HTML, by name or wildcard.
fn json_and_html(fields: &Fields) -> (u16, u16) {
    let (mut json, mut html, mut text, mut any) = (0, None, None, None);
    for (media, quality) in preferences(fields, "Accept") {
        let media = media.to_ascii_lowercase();
        if media == b"application/json" || media == b"application/problem+json" || media.ends_with(b"+json") {
            json = json.max(quality);
        } else if media == b"text/html" || media == b"application/xhtml+xml" {
            html = Some(html.unwrap_or(0).max(quality));
        } else if media == b"text/*" {
            text = Some(quality);
        } else if media == b"*/*" {
            any = Some(quality);
        }
    }
    // A wildcard beside named JSON, as fetch libraries send, is no wish for a page.
    let wildcard = if json > 0 { None } else { text.or(any) };
    (json, html.or(wildcard).unwrap_or(0))
}

/// Adds a name to `Vary`, once, and into one line.
pub(crate) fn add_vary(fields: &mut Fields, name: &str) {
    if fields.has_member("Vary", "*") || fields.has_member("Vary", name) {
        return;
    }
    let mut value: Vec<u8> = fields.members("Vary").collect::<Vec<_>>().join(&b", "[..]);
    if !value.is_empty() {
        value.extend_from_slice(b", ");
    }
    value.extend_from_slice(name.as_bytes());
    fields.set("Vary", &value);
}

#[cfg(test)]
mod tests;
