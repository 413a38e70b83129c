//! `[support]`: the page that a member of the public opens and pastes from.

use crate::reader::{At, Table};
use crate::source::Mistake;
use std::collections::BTreeSet;

/// A page that asks more would take long.
const MOST_PROBES: usize = 20;
const LONGEST_CLASS: usize = 40;

/// `[support]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Support {
    /// What the page fetches, in order.
    pub probes: Vec<Probe>,
}

/// A URL of one class of content, which tells who serves that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// What lies there, such as `images`.
    pub class: String,
    /// `http` or `https`.
    pub url: String,
}

impl Support {
    /// The origins (RFC 6454) of all probes, each once.
    pub fn origins(&self) -> BTreeSet<String> {
        self.probes.iter().filter_map(|probe| origin(&probe.url)).map(String::from).collect()
    }
}

/// Scheme, host and port of a URL, of plain characters alone: it goes into a header.
fn origin(url: &str) -> Option<&str> {
    let scheme = ["https://", "http://"].into_iter().find(|scheme| url.starts_with(scheme))?;
    let length = url[scheme.len()..].find(['/', '?', '#']).unwrap_or(url.len() - scheme.len());
    let host = &url[scheme.len()..scheme.len() + length];
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    (!host.is_empty() && host.bytes().all(is_plain)).then(|| &url[..scheme.len() + length])
}

/// Reads `[support]`.
pub(crate) fn read(table: Table<'_>) -> Support {
    let mut probes = Vec::<Probe>::new();
    for entry in table.tables("probes").unwrap_or_default() {
        let class = entry.string("class", "\"images\"");
        let url = entry.string("url", "\"https://img.example.com/probe.gif\"");
        for (key, text) in [("class", &class), ("url", &url)] {
            if text.is_none() && !entry.has(if key == "class" { "class" } else { "url" }) {
                let why = format!("a probe without `{key}` tells nothing");
                entry.mistake(Mistake::at(&entry.place, why, "write { class = \"images\", url = \"https://...\" }"));
            }
        }
        if let (Some(class), Some(url)) = (class, url) {
            check(&entry, &class, &url, &probes);
            probes.push(Probe { class: class.value, url: url.value });
        }
        entry.done();
    }
    if probes.len() > MOST_PROBES {
        let why = format!("{} probes are more than a page asks", probes.len());
        table.mistake(Mistake::at(&table.place_of("probes"), why, format!("let it be {MOST_PROBES} at most")));
    }
    table.done();
    Support { probes }
}

fn check(entry: &Table<'_>, class: &At<String>, url: &At<String>, before: &[Probe]) {
    if class.value.is_empty() || class.value.chars().count() > LONGEST_CLASS {
        let why = "a class has a name of 1 to 40 characters";
        entry.mistake(Mistake::at(&class.place, why, "write for example \"images\""));
    }
    if before.iter().any(|probe| probe.class == class.value) {
        let why = format!("there are two probes of class \"{}\"", class.value);
        entry.mistake(Mistake::at(&class.place, why, "give each a class of its own"));
    }
    if origin(&url.value).is_none() {
        let why = format!("\"{}\" is no URL that a browser could ask", url.value);
        entry.mistake(Mistake::at(&url.place, why, "write for example \"https://img.example.com/probe.gif\""));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        assert_eq!(origin("https://img.example.com/probe.gif?x"), Some("https://img.example.com"));
        assert_eq!(origin("http://[::1]:8080"), Some("http://[::1]:8080"));
        for url in
            ["ftp://a/", "https://", "https:///x", "https://a b/", "https://a;script-src *", "https://u@h/", "//a"]
        {
            assert_eq!(origin(url), None, "{url}");
        }
    }

    #[test]
    fn mistakes_are_told() {
        let text = |probes: &str| {
            let text = format!("[origin]\nservers = [\"127.0.0.1:8000\"]\n[support]\nprobes = [{probes}]\n");
            crate::from_text("t", &text)
        };
        let (policy, mistakes) = text(r#"{ class = "images", url = "https://i.example/p" }"#);
        assert!(mistakes.is_empty(), "{}", mistakes[0]);
        assert_eq!(policy.unwrap().support.origins().into_iter().collect::<Vec<_>>(), ["https://i.example"]);
        for wrong in [
            r#"{ class = "images" }"#,
            r#"{ class = "", url = "https://i.example/p" }"#,
            r#"{ class = "a", url = "javascript:alert(1)" }"#,
            r#"{ class = "a", url = "https://i/p" }, { class = "a", url = "https://i/q" }"#,
            r#"{ class = "a", url = "https://i/p", cdn = "x" }"#,
        ] {
            assert!(text(wrong).0.is_none(), "{wrong}");
        }
    }
}
