//! Whoopsie pages: the built-in ones, or a folder of `<language>.html`.

use crate::source::{Mistake, Place, Source};
use std::path::Path;
use std::sync::Arc;

/// The built-in page, before its texts are put in.
pub const PAGE: &str = include_str!("../../../config/whoopsie/page.html");
/// The built-in texts, a table for each language.
pub const MESSAGES: &str = include_str!("../../../config/whoopsie/messages.toml");

/// A page is kept in memory and sent when all else fails: it had better be small.
const LARGEST: u64 = 256 << 10;

/// A piece of a page: text as it is sent, or what is known only when it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// HTML.
    Text(String),
    /// The status code, three digits.
    Status,
    /// The request's id.
    RequestId,
    /// The beacon's URL.
    Beacon,
}

/// A page in one language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// A language tag (RFC 5646).
    pub language: String,
    /// What it is made of.
    pub parts: Vec<Part>,
    /// The same for who knows no request id: without what stands between `{{#request_id}}` and `{{/request_id}}`.
    pub unreferenced: Vec<Part>,
}

impl Page {
    /// The page with its open places filled in; without an id it shows no reference.
    pub fn fill(&self, status: &str, request_id: Option<&str>, beacon: &str) -> String {
        let parts = if request_id.is_some() { &self.parts } else { &self.unreferenced };
        parts
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.as_str(),
                Part::Status => status,
                Part::RequestId => request_id.unwrap_or_default(),
                Part::Beacon => beacon,
            })
            .collect()
    }

    fn new(language: String, source: &Arc<Source>, status_url: &str, mistakes: &mut Vec<Mistake>) -> Self {
        // The mistakes are the same both times.
        let unreferenced = split(source, status_url, false, &mut Vec::new());
        Self { language, parts: split(source, status_url, true, mistakes), unreferenced }
    }
}

/// The built-in pages, English first.
pub(crate) fn built_in(status_url: &str) -> Vec<Page> {
    let messages: toml::Table = MESSAGES.parse().unwrap_or_default();
    let mut pages: Vec<Page> = messages
        .iter()
        .filter_map(|(language, texts)| {
            let mut html = PAGE.replace("{{lang}}", language);
            for (key, text) in texts.as_table()? {
                html = html.replace(&format!("{{{{{key}}}}}"), &escape(text.as_str()?));
            }
            let source = Arc::new(Source { name: format!("built-in page {language}"), text: html });
            Some(Page::new(language.clone(), &source, status_url, &mut Vec::new()))
        })
        .collect();
    pages.sort_by_key(|page| page.language != "en");
    pages
}

/// Reads every `<language>.html` of a folder.
pub(crate) fn read(folder: &Path, place: &Place, status_url: &str, mistakes: &mut Vec<Mistake>) -> Vec<Page> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            mistakes.push(Mistake::at(
                place,
                format!("cannot read the folder of pages: {error}"),
                "name a folder with <language>.html in it, or leave `pages` out for the built-in ones",
            ));
            return Vec::new();
        }
    };
    let mut files: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "html"))
        .collect();
    files.sort();
    let mut pages: Vec<Page> = files.iter().filter_map(|path| read_page(path, place, status_url, mistakes)).collect();
    if files.is_empty() {
        mistakes.push(Mistake::at(
            place,
            format!("there is no <language>.html in {}", folder.display()),
            "add en.html, or leave `pages` out for the built-in ones",
        ));
    }
    pages.sort_by_key(|page| page.language != "en");
    pages
}

fn read_page(path: &Path, place: &Place, status_url: &str, mistakes: &mut Vec<Mistake>) -> Option<Page> {
    let language = path.file_stem()?.to_str().unwrap_or("").to_string();
    let mut subtags = language.split('-');
    let primary = subtags.next().unwrap_or("");
    let well_formed = (2..=3).contains(&primary.len())
        && primary.bytes().all(|b| b.is_ascii_alphabetic())
        && subtags.all(|tag| (1..=8).contains(&tag.len()) && tag.bytes().all(|b| b.is_ascii_alphanumeric()));
    if !well_formed {
        mistakes.push(Mistake::at(
            place,
            format!("{} is not named after a language", path.display()),
            "name it for example en.html, pt-BR.html or zh-Hans.html",
        ));
        return None;
    }
    let wrong = |error: String| {
        Mistake::at(place, format!("cannot use {}: {error}", path.display()), "mend or remove this page")
    };
    let length = std::fs::metadata(path).map(|file| file.len()).unwrap_or(0);
    if length > LARGEST {
        mistakes.push(wrong(format!("it has {length} bytes, and the most is {LARGEST}")));
        return None;
    }
    match std::fs::read_to_string(path) {
        Ok(text) => {
            let source = Arc::new(Source { name: path.display().to_string(), text });
            let page = Page::new(language, &source, status_url, mistakes);
            if !page.parts.contains(&Part::Beacon) {
                mistakes.push(Mistake::warning(
                    &Place { source: source.clone(), span: 0..0 },
                    "this page has no beacon, so users who see it are not counted",
                    "add <img src=\"{{beacon}}\" width=\"1\" height=\"1\" alt=\"\">",
                ));
            }
            Some(page)
        }
        Err(error) => {
            mistakes.push(wrong(error.to_string()));
            None
        }
    }
}

/// Cuts a page at its slots. What stands between `{{#name}}` and `{{/name}}` is left out where there is no such thing: no
/// status URL, or nobody who knows a request's id.
fn split(source: &Arc<Source>, status_url: &str, knows_id: bool, mistakes: &mut Vec<Mistake>) -> Vec<Part> {
    let page = &source.text;
    let mut wrong = |span: std::ops::Range<usize>, what: String, remedy: &str| {
        mistakes.push(Mistake::at(&Place { source: source.clone(), span }, what, remedy));
    };
    let mut parts: Vec<Part> = Vec::new();
    let mut text = String::new();
    let mut at = 0;
    let mut section: Option<(&str, std::ops::Range<usize>)> = None;
    let mut skipping = false;
    while let Some(open) = page[at..].find("{{").map(|i| at + i) {
        let Some(close) = page[open..].find("}}").map(|i| open + i) else { break };
        if !skipping {
            text.push_str(&page[at..open]);
        }
        let slot = page[open + 2..close].trim();
        at = close + 2;
        match slot {
            "#status_url" | "#request_id" if section.is_none() => {
                skipping = if slot == "#status_url" { status_url.is_empty() } else { !knows_id };
                section = Some((&slot[1..], open..at));
            }
            "/status_url" | "/request_id" if section.as_ref().is_some_and(|(name, _)| *name == &slot[1..]) => {
                skipping = false;
                section = None;
            }
            "#status_url" | "#request_id" | "/status_url" | "/request_id" => wrong(
                open..at,
                format!("{{{{{slot}}}}} has no place here"),
                "end what begins with {{#name}} by {{/name}}, and let none begin in another",
            ),
            _ if skipping => {}
            "status_url" => text.push_str(&escape(status_url)),
            "status" | "request_id" | "beacon" => {
                parts.push(Part::Text(std::mem::take(&mut text)));
                parts.push(match slot {
                    "status" => Part::Status,
                    "request_id" => Part::RequestId,
                    _ => Part::Beacon,
                });
            }
            _ => wrong(
                open..at,
                format!("there is nothing to put into {{{{{slot}}}}}"),
                "the places are {{status}}, {{request_id}}, {{beacon}} and {{status_url}}, and between {{#request_id}} and {{/request_id}}, or \
                 {{#status_url}} and {{/status_url}}, stands what is shown only with one",
            ),
        }
    }
    if let Some((name, span)) = section {
        wrong(span, format!("{{{{#{name}}}}} has no end"), "write {{/name}} where it ends");
    }
    if !skipping {
        text.push_str(&page[at..]);
    }
    parts.push(Part::Text(text));
    parts.retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
    parts
}

/// Makes a text safe in HTML, within quotes too.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_pages_speak_eleven_languages_and_leave_no_place_open() {
        let pages = built_in("https://status.example.com/?a&b");
        let mut languages: Vec<&str> = pages.iter().map(|page| page.language.as_str()).collect();
        assert_eq!(languages[0], "en");
        languages.sort_unstable();
        assert_eq!(languages, ["de", "en", "es", "fr", "it", "ja", "nl", "pl", "pt", "ru", "zh-Hans"]);
        for page in &pages {
            let html = page.fill("503", Some("00112233445566778899aabbccddeeff"), "/b.gif?source=x");
            assert!(!html.contains("{{"), "{}: a place is open", page.language);
            assert!(html.contains("https://status.example.com/?a&amp;b"), "{}", page.language);
            assert!(html.contains("00112233445566778899aabbccddeeff") && html.contains("/b.gif?source=x"));
            assert!(html.contains(&format!("lang=\"{}\"", page.language)));
            let texts: toml::Table = MESSAGES.parse().unwrap();
            let text = |key: &str| escape(texts[&page.language][key].as_str().unwrap());
            let unreferenced = page.fill("503", None, "/b.gif?source=x");
            for key in ["support", "reference"] {
                assert!(html.contains(&text(key)) && !unreferenced.contains(&text(key)), "{} {key}", page.language);
            }
            assert!(unreferenced.contains(&text("advice")) && unreferenced.contains("HTTP 503"));
            assert!(!unreferenced.contains("<code") && !unreferenced.contains("{{"), "{}", page.language);
        }
    }

    #[test]
    fn without_a_status_url_there_is_no_link() {
        assert!(built_in("").iter().all(|page| !page.fill("500", None, "").contains("<a ")));
    }

    #[test]
    fn an_unknown_place_is_a_mistake_where_it_stands() {
        let source = Arc::new(Source { name: "en.html".into(), text: "<p>\n{{oops}} {{status}}".into() });
        let mut mistakes = Vec::new();
        let parts = split(&source, "", true, &mut mistakes);
        assert_eq!(parts, [Part::Text("<p>\n ".into()), Part::Status]);
        assert_eq!(mistakes[0].place.as_ref().unwrap().line_and_column(), (2, 1));
    }

    #[test]
    fn what_begins_ends_and_nothing_begins_within_it() {
        for (text, expected) in [
            ("a{{#request_id}}b", "{{#request_id}} has no end"),
            ("a{{/request_id}}b", "{{/request_id}} has no place here"),
            ("{{#status_url}}{{#request_id}}{{/request_id}}{{/status_url}}", "{{#request_id}} has no place here"),
            ("{{#status_url}}{{/request_id}}{{/status_url}}", "{{/request_id}} has no place here"),
        ] {
            let source = Arc::new(Source { name: "en.html".into(), text: text.into() });
            let mut mistakes = Vec::new();
            split(&source, "", true, &mut mistakes);
            assert!(mistakes.iter().any(|mistake| mistake.what == expected), "{text} {mistakes:?}");
        }
        let source =
            Arc::new(Source { name: "en.html".into(), text: "a{{#request_id}}b{{request_id}}{{/request_id}}c".into() });
        assert_eq!(split(&source, "", false, &mut Vec::new()), [Part::Text("ac".into())]);
    }
}
