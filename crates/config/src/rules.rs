//! Rules: the ordered list that maps a path to its lifetime, compression and limits.

use crate::lifetime::{self, max_age};
use crate::names::is_header_name;
use crate::providers::{Provider, Targeted};
use crate::reach::{Reach, reach};
use crate::reader::{At, Table};
use crate::source::Mistake;
use regex::bytes::Regex;

/// The label of a pull that matches no rule.
pub const DEFAULT: &str = "default";
/// A bound on time series and on the work per pull.
const MOST: usize = 64;

/// What a `cache_control` does to the origin's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Replaces it.
    Set,
    /// Stands in where the origin sent none.
    Default,
    /// Shortens it where it is longer.
    Cap,
}

/// A set of status codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statuses(Vec<(u16, u16)>);

impl Statuses {
    /// Whether the code is in the set.
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&status))
    }

    pub(crate) fn new(ranges: Vec<(u16, u16)>) -> Self {
        Self(ranges)
    }

    /// The first and the last code that a class such as `2xx`, or a code, stands for.
    pub(crate) fn range(text: &str) -> Option<(u16, u16)> {
        match text.strip_suffix("xx").and_then(|class| class.parse::<u16>().ok()) {
            Some(class) if (1..=5).contains(&class) => Some((class * 100, class * 100 + 99)),
            _ => text.parse::<u16>().ok().filter(|code| (100..600).contains(code)).map(|code| (code, code)),
        }
    }
}

/// A lifetime for what a rule matches.
#[derive(Clone, Debug)]
pub struct Lifetime {
    /// The value of `Cache-Control`.
    pub value: String,
    /// What it does to the origin's own.
    pub mode: Mode,
    /// The answers it is for. Never holds a 5xx.
    pub status: Statuses,
    /// Its `max-age` in seconds, if it has one.
    pub max_age: Option<u64>,
}

/// How bodies are compressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gzip {
    /// Media types, in lower case and without parameters; `text/*` is all of `text`.
    pub types: Vec<String>,
    /// 1 (fast) to 9 (small).
    pub level: u32,
    /// Bodies known to be shorter stay as they are. Bytes.
    pub min_length: u64,
}

impl Gzip {
    /// Whether a `Content-Type` is to be compressed. Parameters and case do not count (RFC 9110, section 8.3.1).
    pub fn takes(&self, content_type: &[u8]) -> bool {
        let end = content_type.iter().position(|&b| b == b';').unwrap_or(content_type.len());
        let essence = content_type[..end].trim_ascii();
        self.types.iter().any(|wanted| match wanted.strip_suffix("/*") {
            Some(family) => {
                essence.len() > family.len()
                    && essence[..family.len()].eq_ignore_ascii_case(family.as_bytes())
                    && essence[family.len()] == b'/'
            }
            None => essence.eq_ignore_ascii_case(wanted.as_bytes()),
        })
    }
}

/// One entry of the list.
#[derive(Clone, Debug)]
pub struct Rule {
    /// A metric's label.
    pub name: String,
    /// What the decoded path has to match.
    path: Option<Regex>,
    /// The lifetime, if the rule sets one.
    pub lifetime: Option<Lifetime>,
    /// Headers for one provider each: its index in [`crate::Policy::providers`], the header, the value.
    pub targeted: Vec<(usize, Targeted, String)>,
    /// `None` where the rule forbids compression.
    pub gzip: Option<Gzip>,
    /// Longest request body, in bytes.
    pub max_body: u64,
    /// The share of pulls that get a line in the access log; what went wrong has one always.
    pub log_sample: f64,
    /// Whether fills tell the browser which CDN they went to.
    pub server_timing: bool,
}

/// The ordered list, with the rule `default` at its end.
#[derive(Clone, Debug)]
pub struct Rules(Vec<Rule>);

impl Rules {
    /// The index of the first rule that matches a path whose percent-encoding has been taken off.
    pub fn matching(&self, decoded_path: &[u8]) -> usize {
        self.0
            .iter()
            .position(|rule| rule.path.as_ref().is_none_or(|path| path.is_match(decoded_path)))
            .unwrap_or(self.0.len() - 1)
    }

    /// All rules, `default` last.
    pub fn all(&self) -> &[Rule] {
        &self.0
    }
}

/// What rules inherit.
pub(crate) struct Inherited {
    pub gzip: Gzip,
    pub max_body: u64,
    pub log_sample: f64,
}

/// The built-in list: the long life of what never changes under its name.
pub(crate) fn built_in(inherited: &Inherited) -> Rules {
    let value = "max-age=94670800".to_string();
    let lifetime = Lifetime { max_age: max_age(&value), value, mode: Mode::Set, status: default_status() };
    let path = Regex::new(r"\.(gif|jpg|jpeg|png|css|js)$").ok();
    let gzip = Some(inherited.gzip.clone());
    let rule = Rule {
        name: "static".into(),
        path,
        lifetime: Some(lifetime),
        targeted: Vec::new(),
        gzip,
        max_body: inherited.max_body,
        log_sample: inherited.log_sample,
        server_timing: false,
    };
    Rules(vec![rule, default_rule(inherited)])
}

fn default_rule(inherited: &Inherited) -> Rule {
    Rule {
        name: DEFAULT.into(),
        path: None,
        lifetime: None,
        targeted: Vec::new(),
        gzip: Some(inherited.gzip.clone()),
        max_body: inherited.max_body,
        log_sample: inherited.log_sample,
        server_timing: false,
    }
}

fn default_status() -> Statuses {
    Statuses(vec![(200, 299), (304, 304)])
}

/// Reads every `[[rule]]`.
pub(crate) fn read(tables: Vec<Table<'_>>, providers: &[Provider], inherited: &Inherited) -> Rules {
    let mut rules: Vec<Rule> = Vec::new();
    let mut paths: Vec<String> = Vec::new();
    for (index, table) in tables.into_iter().enumerate() {
        if index == MOST {
            table.mistake(Mistake::at(&table.place, format!("more than {MOST} rules"), "merge some of them"));
        }
        let path = read_path(&table, &mut paths);
        let rule = read_one(&table, path, &rules, providers, inherited);
        table.done();
        rules.extend(rule);
    }
    rules.push(default_rule(inherited));
    Rules(rules)
}

fn read_path(table: &Table<'_>, earlier: &mut Vec<String>) -> Option<Regex> {
    let Some(path) = table.string("path", r"'\.css$'") else {
        if !table.has("path") {
            table.mistake(Mistake::at(
                &table.place,
                "a [[rule]] needs a path",
                r"add path = '\.(css|js)$', a regular expression",
            ));
        }
        return None;
    };
    let regex = match Regex::new(&path.value) {
        Ok(regex) => regex,
        Err(error) => {
            let reason = error.to_string();
            let reason = reason.lines().last().unwrap_or("").trim_start_matches("error: ").to_string();
            table.mistake(Mistake::at(
                &path.place,
                format!("the path is no regular expression: {reason}"),
                r"see https://docs.rs/regex for the syntax; write it in single quotes, so that \ stays as it is",
            ));
            return None;
        }
    };
    let before: Vec<&str> = earlier.iter().map(String::as_str).collect();
    if reach(&path.value, &before) == Reach::Shadowed {
        let remedy = if before.is_empty() || reach(&path.value, &[]) == Reach::Shadowed {
            "no path matches this expression: a path begins with /"
        } else {
            "the rules before it take every path that it matches: move it up, or leave it out"
        };
        table.mistake(Mistake::warning(&path.place, "no path can reach this rule", remedy));
    }
    table.mistakes().borrow_mut().extend(doubt_path(&path));
    earlier.push(path.value);
    Some(regex)
}

/// Catches what is meant for a shell or a URL, and is a regular expression all the same.
fn doubt_path(path: &At<String>) -> Option<Mistake> {
    if path.value.ends_with("/*") {
        let start = path.value.trim_start_matches('^').trim_end_matches('*');
        return Some(Mistake::warning(
            &path.place,
            "this is a regular expression, in which /* stands for any number of slashes",
            format!("for all below a folder write '^{start}'"),
        ));
    }
    path.value.contains(r"\?").then(|| {
        Mistake::warning(
            &path.place,
            "a path has no query: what follows the question mark in a URL is not looked at",
            r"leave \? and what follows it out",
        )
    })
}

fn read_one(
    table: &Table<'_>,
    path: Option<Regex>,
    earlier: &[Rule],
    providers: &[Provider],
    inherited: &Inherited,
) -> Option<Rule> {
    let name = table.string("name", "\"static\"");
    match &name {
        Some(name) => check_name(table, name, earlier),
        None if !table.has("name") => {
            table.mistake(Mistake::at(
                &table.place,
                "a [[rule]] needs a name",
                "add name = \"static\": it is a metric's label",
            ));
        }
        None => {}
    }
    let lifetime = read_lifetime(table);
    let targeted = table.table("cdn").map(|cdn| read_targeted(&cdn, providers)).unwrap_or_default();
    let gzip = read_gzip(table, inherited);
    let max_body = table.size("max_body", 0..=u64::MAX).unwrap_or(inherited.max_body);
    let log_sample = table.share("log_sample").unwrap_or(inherited.log_sample);
    let server_timing = table.boolean("server_timing").unwrap_or(false);
    Some(Rule { name: name?.value, path: Some(path?), lifetime, targeted, gzip, max_body, log_sample, server_timing })
}

fn check_name(table: &Table<'_>, name: &At<String>, earlier: &[Rule]) {
    if name.value.len() > 32 || !is_header_name(&name.value) {
        table.mistake(Mistake::at(
            &name.place,
            format!("\"{}\" cannot be a rule's name", name.value),
            "write 1 to 32 letters, digits, - and _: it becomes a metric's label",
        ));
    } else if name.value == DEFAULT {
        table.mistake(Mistake::at(
            &name.place,
            "\"default\" is the name of the rule for pulls that match no other",
            "give the rule another name",
        ));
    } else if earlier.iter().any(|rule| rule.name == name.value) {
        table.mistake(Mistake::at(
            &name.place,
            format!("there are two rules \"{}\"", name.value),
            "give one of them another name, so that their figures can be told apart",
        ));
    }
}

fn read_lifetime(table: &Table<'_>) -> Option<Lifetime> {
    let mode = table.one_of("mode", &[("set", Mode::Set), ("default", Mode::Default), ("cap", Mode::Cap)]);
    let status = table.strings("status", "[\"2xx\", \"304\"]");
    let value = table.string("cache_control", "\"max-age=3600\"");
    let Some(value) = value else {
        for key in ["mode", "status"] {
            if table.has(if key == "mode" { "mode" } else { "status" }) && !table.has("cache_control") {
                let place = table.place_of(if key == "mode" { "mode" } else { "status" });
                table.mistake(Mistake::at(
                    &place,
                    format!("`{key}` says what `cache_control` does, and there is none"),
                    "add cache_control = \"max-age=3600\", or leave this key out",
                ));
            }
        }
        return None;
    };
    lifetime::check(table, &value, None);
    let mode = mode.unwrap_or(Mode::Set);
    let max_age = max_age(&value.value);
    if mode == Mode::Cap && max_age.is_none() {
        table.mistake(Mistake::at(
            &value.place,
            "mode \"cap\" needs a max-age to cap with",
            "write for example cache_control = \"max-age=3600\"",
        ));
    }
    let status = match status {
        Some(patterns) => read_statuses(table, &patterns),
        None => default_status(),
    };
    Some(Lifetime { value: value.value, mode, status, max_age })
}

fn read_statuses(table: &Table<'_>, patterns: &[At<String>]) -> Statuses {
    let mut ranges = Vec::new();
    if patterns.is_empty() {
        table.mistake(Mistake::warning(
            &table.place_of("status"),
            "this lifetime is for no answer at all",
            "write status = [\"2xx\", \"304\"], or leave cache_control out",
        ));
    }
    for pattern in patterns {
        let text = pattern.value.as_str();
        match Statuses::range(text) {
            Some((first, _)) if first >= 500 => table.mistake(Mistake::at(
                &pattern.place,
                "a 5xx never carries a lifetime",
                "leave it out: an error that a CDN keeps outlives its cause",
            )),
            Some(range) => ranges.push(range),
            None => table.mistake(Mistake::at(
                &pattern.place,
                format!("\"{text}\" is no status"),
                "write a class such as \"2xx\" or a code such as \"304\"",
            )),
        }
    }
    Statuses(ranges)
}

fn read_targeted(table: &Table<'_>, providers: &[Provider]) -> Vec<(usize, Targeted, String)> {
    let mut all = Vec::new();
    for (name, headers) in table.named_tables() {
        let index = providers.iter().position(|provider| provider.name == name.value);
        if index.is_none() {
            let names: Vec<&str> = providers.iter().map(|provider| provider.name.as_str()).collect();
            table.mistake(Mistake::at(
                &name.place,
                format!("there is no provider \"{}\"", name.value),
                if names.is_empty() {
                    "add a [[cdn]] of that name".into()
                } else {
                    format!("the providers are {}", names.join(", "))
                },
            ));
        }
        for (key, targeted) in Targeted::ALL {
            let Some(value) = headers.string(key, "\"max-age=3600\"") else { continue };
            let Some(index) = index else { continue };
            let kind = providers[index].kind;
            if !kind.honours().contains(&targeted) {
                let honoured: Vec<&str> = Targeted::ALL
                    .iter()
                    .filter(|(_, other)| kind.honours().contains(other))
                    .map(|(key, _)| *key)
                    .collect();
                let remedy = match honoured.as_slice() {
                    [] => {
                        "leave it out: this vendor honours Cache-Control alone (s-maxage is for shared caches)".into()
                    }
                    some => format!("for this vendor write {}", some.join(" or ")),
                };
                table.mistake(Mistake::at(
                    &headers.place_of(key),
                    format!("{} does not honour {}", kind.name(), targeted.header()),
                    remedy,
                ));
            }
            lifetime::check(table, &value, Some(targeted));
            all.push((index, targeted, value.value));
        }
        headers.done();
    }
    all
}

/// Reads `[gzip]`, or the `gzip_*` keys of a rule.
fn read_gzip(table: &Table<'_>, inherited: &Inherited) -> Option<Gzip> {
    let on = table.boolean("gzip").unwrap_or(true);
    let level = table.integer("gzip_level", 1..=9).map_or(inherited.gzip.level, |level| level as u32);
    let types = table.strings("gzip_types", "[\"text/html\"]").map(|types| media_types(table, &types));
    let min_length = table.size("gzip_min_length", 0..=u64::MAX).unwrap_or(inherited.gzip.min_length);
    let types = types.unwrap_or_else(|| inherited.gzip.types.clone());
    on.then_some(Gzip { types, level, min_length })
}

/// Checks media types and puts them into lower case.
pub(crate) fn media_types(table: &Table<'_>, types: &[At<String>]) -> Vec<String> {
    for media_type in types {
        let text = &media_type.value;
        let token = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+*".contains(&b))
        };
        if !text.split_once('/').is_some_and(|(a, b)| token(a) && token(b) && a != "*") {
            table.mistake(Mistake::at(
                &media_type.place,
                format!("\"{text}\" is no media type"),
                "write for example \"text/html\" or \"text/*\", without parameters",
            ));
        }
    }
    types.iter().map(|media_type| media_type.value.to_ascii_lowercase()).collect()
}
