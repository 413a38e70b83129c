//! Settings from outside the file: `--set`, and variables of the environment.

use crate::source::{Mistake, Place, Source};
use crate::tree::{Node, Value, parse};
use std::sync::Arc;

/// The sections, as variables name them.
const SECTIONS: [&str; 11] =
    ["listen", "tls", "origin", "limits", "identify", "gzip", "beacon", "whoopsie", "geo", "log", "metrics"];

/// A setting from outside the file.
#[derive(Clone, Debug)]
pub struct Override {
    /// `--set`, or the variable's name.
    pub from: String,
    /// `section.key`; `None` for a variable that begins as settings do and names none.
    pub key: Option<String>,
    /// A TOML value; what is none is taken as a string.
    pub value: String,
}

impl Override {
    /// Reads `KEY=VALUE` as `--set` has it.
    pub fn from_argument(argument: &str) -> Result<Self, Mistake> {
        match argument.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                Ok(Self { from: "--set".into(), key: Some(key.trim().into()), value: value.trim().into() })
            }
            _ => Err(Mistake::nowhere(
                format!("`--set {argument}` has no value"),
                "write --set SECTION.KEY=VALUE, for example --set origin.connect_timeout=5s",
            )),
        }
    }

    /// Every variable `HEADWATER_SECTION__KEY` among those given, in the order of their names, and those that look so.
    pub fn from_environment(variables: impl Iterator<Item = (String, String)>) -> Vec<Self> {
        let mut found: Vec<Self> = variables
            .filter_map(|(name, value)| {
                let rest = name.strip_prefix("HEADWATER_")?;
                let key = rest.contains("__").then(|| rest.to_ascii_lowercase().replace("__", "."));
                (key.is_some() || !is_for_others(rest)).then_some(Self { key, from: name, value })
            })
            .collect();
        found.sort_by(|a, b| a.from.cmp(&b.from));
        found
    }
}

/// Variables that begin with `HEADWATER_` and mean something else, by what follows: those of the project's own tests, and
/// those that Kubernetes sets in every pod for a service of that name.
fn is_for_others(rest: &str) -> bool {
    matches!(rest, "BIN" | "SEED" | "SOAK" | "RANDOM_SECONDS")
        || rest.contains("SERVICE_HOST")
        || rest.contains("SERVICE_PORT")
        || format!("_{rest}_").contains("_PORT_")
}

/// Lays all of them over the tree, in their order.
pub(crate) fn lay_over(root: &mut Node, settings: &[Override], mistakes: &mut Vec<Mistake>) {
    for setting in settings {
        if let Some(key) = &setting.key {
            lay_one(root, key, setting, mistakes);
        }
    }
    for stray in settings.iter().filter(|setting| setting.key.is_none()) {
        if !root.holds_text(&format!("env:{}", stray.from)) {
            mistakes.push(warn_of(&stray.from));
        }
    }
}

/// The variable's value is not shown: it may be a secret under a name that is spelt wrongly.
fn warn_of(name: &str) -> Mistake {
    let rest = name.trim_start_matches("HEADWATER_").to_ascii_lowercase();
    let section = SECTIONS.iter().find_map(|section| Some((section, rest.strip_prefix(section)?.strip_prefix('_')?)));
    let remedy = match section {
        Some((section, key)) if !key.is_empty() => format!(
            "did you mean HEADWATER_{}__{}, with two underscores after the section?",
            section.to_ascii_uppercase(),
            key.to_ascii_uppercase()
        ),
        _ => "a setting is HEADWATER_SECTION__KEY, for example HEADWATER_LIMITS__MAX_HEAD".into(),
    };
    let source = Arc::new(Source { name: "the environment".into(), text: format!("{name}=...") });
    Mistake::warning(&Place { source, span: 0..name.len() }, format!("the variable {name} sets nothing"), remedy)
}

fn lay_one(root: &mut Node, key: &str, setting: &Override, mistakes: &mut Vec<Mistake>) {
    let as_value = format!("{key} = {}", setting.value);
    let mut ignored = Vec::new();
    let parsed = parse(Source { name: setting.from.clone(), text: as_value }, &mut ignored);
    let parsed = if ignored.is_empty() {
        parsed
    } else {
        // Not a TOML value: `5s` and `0.0.0.0:80` are meant as strings.
        let quoted = setting.value.replace('\\', "\\\\").replace('"', "\\\"");
        let text = format!("{key} = \"{quoted}\"");
        parse(Source { name: setting.from.clone(), text }, mistakes)
    };
    merge(root, parsed, mistakes);
}

fn merge(into: &mut Node, from: Node, mistakes: &mut Vec<Mistake>) {
    match (&mut into.value, from.value) {
        (Value::Table(into), Value::Table(from)) => {
            for entry in from {
                match into.iter_mut().find(|old| old.key == entry.key) {
                    Some(old) => merge(&mut old.node, entry.node, mistakes),
                    None => into.push(entry),
                }
            }
        }
        (Value::Array(items), Value::Table(_)) if items.iter().any(|item| matches!(item.value, Value::Table(_))) => {
            mistakes.push(Mistake::at(
                &from.place,
                "entries of a list of tables cannot be set from outside the file",
                "change the [[cdn]] or [[rule]] entry in the file",
            ));
        }
        (_, value) => *into = Node { value, place: from.place },
    }
}
