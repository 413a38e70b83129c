//! What stands in a lifetime: the directives of `Cache-Control` and of the headers for one vendor's caches.

use crate::providers::Targeted;
use crate::reader::{At, Table, closest};
use crate::source::Mistake;

/// What an answer may say (RFC 9111, 5.2.2; RFC 5861; RFC 8246). The headers for one vendor take them too (RFC 9213).
const KNOWN: [&str; 13] = [
    "immutable",
    "max-age",
    "must-revalidate",
    "must-understand",
    "no-cache",
    "no-store",
    "no-transform",
    "private",
    "proxy-revalidate",
    "public",
    "s-maxage",
    "stale-if-error",
    "stale-while-revalidate",
];
/// What only a request may say (RFC 9111, 5.2.1).
const OF_REQUESTS: [&str; 3] = ["max-stale", "min-fresh", "only-if-cached"];
/// Those that carry seconds.
const SECONDS: [&str; 4] = ["max-age", "s-maxage", "stale-if-error", "stale-while-revalidate"];

/// What one vendor's header knows beyond the others.
fn more(targeted: Option<Targeted>) -> &'static [&'static str] {
    match targeted {
        Some(Targeted::SurrogateControl) => &["content", "no-store-remote"],
        Some(Targeted::EdgeControl) => {
            &["bypass-cache", "cache-maxage", "dca", "downstream-ttl", "!no-cache", "!no-store"]
        }
        _ => &[],
    }
}

/// Checks a lifetime; `targeted` is the header it is for, if that is not `Cache-Control`.
pub(crate) fn check(table: &Table<'_>, value: &At<String>, targeted: Option<Targeted>) {
    let text = &value.value;
    if text.trim().is_empty() || !text.bytes().all(|b| matches!(b, 0x20..=0x7e)) {
        table.mistake(Mistake::at(&value.place, "this is no Cache-Control", "write for example \"max-age=3600\""));
        return;
    }
    let mut seen: Vec<String> = Vec::new();
    for directive in split(text) {
        let (name, argument) = parts(directive);
        let name = name.to_ascii_lowercase();
        if !is_well_formed(&name, argument, more(targeted)) {
            table.mistake(Mistake::at(
                &value.place,
                format!("\"{directive}\" is no directive"),
                "write name or name=value, with a comma between two of them, for example \"public, max-age=3600\"",
            ));
            continue;
        }
        if SECONDS.contains(&name.as_str()) {
            if seen.contains(&name) {
                table.mistake(Mistake::at(&value.place, format!("two {name} in one lifetime"), "leave one out"));
            } else if argument.and_then(|seconds| seconds.parse::<u32>().ok()).is_none() {
                table.mistake(Mistake::at(
                    &value.place,
                    format!("{name} needs a whole number of seconds below 2^32"),
                    format!("write for example {name}=3600"),
                ));
            }
        }
        if let Some((what, remedy)) = doubt(&name, more(targeted)) {
            table.mistake(Mistake::warning(&value.place, what, remedy));
        }
        seen.push(name);
    }
    if ["public", "private"].iter().all(|name| seen.iter().any(|seen| seen == name)) {
        table.mistake(Mistake::warning(&value.place, "it cannot be both public and private", "leave one of them out"));
    }
}

/// What is to be said of a directive that no specification has for an answer. A cache ignores what it does not know.
fn doubt(name: &str, more: &[&str]) -> Option<(String, String)> {
    if KNOWN.contains(&name) || more.contains(&name) {
        return None;
    }
    if OF_REQUESTS.contains(&name) {
        return Some((format!("`{name}` is for requests, and means nothing in an answer"), "leave it out".into()));
    }
    let known: Vec<&str> = KNOWN.iter().chain(more).copied().collect();
    let remedy = match closest(name, &known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("leave it if your CDN knows it; the common ones are {}", KNOWN.join(", ")),
    };
    Some((format!("`{name}` is no directive that every cache knows"), remedy))
}

/// `token`, `token=token` or `token="..."` (RFC 9111, 5.2), or one of `more`, which need not be tokens.
fn is_well_formed(name: &str, argument: Option<&str>, more: &[&str]) -> bool {
    let token = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
    };
    let quoted = |text: &str| text.len() >= 2 && text.starts_with('"') && text.ends_with('"');
    (token(name) || more.contains(&name)) && argument.is_none_or(|argument| token(argument) || quoted(argument))
}

/// The seconds of its `max-age`.
pub(crate) fn max_age(value: &str) -> Option<u64> {
    split(value)
        .into_iter()
        .map(parts)
        .find(|(name, _)| name.eq_ignore_ascii_case("max-age"))
        .and_then(|(_, seconds)| seconds?.parse().ok())
}

fn parts(directive: &str) -> (&str, Option<&str>) {
    match directive.split_once('=') {
        Some((name, argument)) => (name.trim_end(), Some(argument.trim_start())),
        None => (directive, None),
    }
}

/// The directives, without what is empty between two commas (RFC 9110, 5.6.1). A comma in quotes divides nothing.
fn split(value: &str) -> Vec<&str> {
    let (mut quoted, mut escaped) = (false, false);
    value
        .split(|c: char| {
            let divides = c == ',' && !quoted;
            if c == '"' && !escaped {
                quoted = !quoted;
            }
            escaped = quoted && c == '\\' && !escaped;
            divides
        })
        .map(str::trim)
        .filter(|directive| !directive.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_in_quotes_divides_nothing() {
        assert_eq!(split(r#"no-cache="a, b", , max-age=5,"#), [r#"no-cache="a, b""#, "max-age=5"]);
        assert_eq!(max_age(r#"x="max-age=1, \", max-age=2", Max-Age = 3"#), Some(3));
        assert_eq!(max_age("s-maxage=3"), None);
    }

    #[test]
    fn what_is_near_a_known_directive_is_asked_about() {
        for (name, near) in [
            ("max-agee", "max-age"),
            ("maxage", "max-age"),
            ("max_age", "max-age"),
            ("nostore", "no-store"),
            ("s-max-age", "s-maxage"),
            ("stale-while-revalidating", "stale-while-revalidate"),
            ("imutable", "immutable"),
        ] {
            assert_eq!(doubt(name, &[]).unwrap().1, format!("did you mean `{near}`?"));
        }
        assert!(doubt("community", &[]).unwrap().1.starts_with("leave it if"));
        assert!(doubt("max-stale", &[]).unwrap().0.contains("for requests"));
        for known in KNOWN {
            assert_eq!(doubt(known, &[]), None);
        }
        assert_eq!(doubt("!no-store", more(Some(Targeted::EdgeControl))), None);
    }
}
