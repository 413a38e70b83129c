//! The settings as written: a tree of values, each with its place, from the file, `--set` and the environment.

use crate::source::{Mistake, Place, Source};
use std::path::Path;
use std::sync::Arc;
use toml::de::{DeTable, DeValue};

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub value: Value,
    pub place: Place,
}

/// A TOML value; no setting is a date, so these are kept only to be refused where they stand.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    String(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Date,
    Array(Vec<Node>),
    Table(Vec<Entry>),
}

/// A key of a table, where the key stands, and its value.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub key: String,
    pub key_place: Place,
    pub node: Node,
}

impl Value {
    /// What a user calls it.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::String(_) => "a string",
            Value::Integer(_) => "a whole number",
            Value::Float(_) => "a number",
            Value::Boolean(_) => "true or false",
            Value::Date => "a date",
            Value::Array(_) => "a list",
            Value::Table(_) => "a table",
        }
    }
}

/// A setting from outside the file.
#[derive(Clone, Debug)]
pub struct Override {
    /// `--set`, or the variable's name.
    pub from: String,
    /// `section.key`
    pub key: String,
    /// A TOML value; what is none is taken as a string.
    pub value: String,
}

impl Override {
    /// Reads `KEY=VALUE` as `--set` has it.
    pub fn from_argument(argument: &str) -> Result<Self, Mistake> {
        match argument.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                Ok(Self { from: "--set".into(), key: key.trim().into(), value: value.trim().into() })
            }
            _ => Err(Mistake::nowhere(
                format!("`--set {argument}` has no value"),
                "write --set SECTION.KEY=VALUE, for example --set origin.connect_timeout=5s",
            )),
        }
    }

    /// Every variable `HEADWATER_SECTION__KEY` among those given, in the order of their names.
    pub fn from_environment(variables: impl Iterator<Item = (String, String)>) -> Vec<Self> {
        let mut found: Vec<Self> = variables
            .filter_map(|(name, value)| {
                let key = name.strip_prefix("HEADWATER_")?.to_ascii_lowercase();
                key.contains("__").then(|| Self { key: key.replace("__", "."), from: name, value })
            })
            .collect();
        found.sort_by(|a, b| a.from.cmp(&b.from));
        found
    }
}

/// Reads a file into a tree, or says what is wrong with its TOML.
pub(crate) fn read(path: &Path, mistakes: &mut Vec<Mistake>) -> Option<Node> {
    match std::fs::read_to_string(path) {
        Ok(text) => Some(parse(Source { name: path.display().to_string(), text }, mistakes)),
        Err(error) => {
            mistakes.push(Mistake::nowhere(
                format!("cannot read {}: {error}", path.display()),
                "give the path of a readable UTF-8 file in TOML",
            ));
            None
        }
    }
}

/// Parses a text; what of it is readable comes back even when some of it is not.
pub(crate) fn parse(source: Source, mistakes: &mut Vec<Mistake>) -> Node {
    let source = Arc::new(source);
    let (table, errors) = DeTable::parse_recoverable(&source.text);
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        mistakes.push(Mistake::at(
            &Place { source: source.clone(), span },
            format!("this is not TOML: {}", error.message()),
            "see https://toml.io for the syntax; strings stand in quotes",
        ));
    }
    let span = table.span();
    convert_table(table.get_ref(), Place { source: source.clone(), span }, &source)
}

fn convert_table(table: &DeTable<'_>, place: Place, source: &Arc<Source>) -> Node {
    let mut entries: Vec<Entry> = table
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            key_place: Place { source: source.clone(), span: key.span() },
            node: convert(value.get_ref(), Place { source: source.clone(), span: value.span() }, source),
        })
        .collect();
    entries.sort_by_key(|entry| entry.key_place.span.start);
    Node { value: Value::Table(entries), place }
}

fn convert(value: &DeValue<'_>, place: Place, source: &Arc<Source>) -> Node {
    let value = match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Integer(number),
            Err(_) => Value::Float(f64::NAN),
        },
        DeValue::Float(number) => Value::Float(number.as_str().replace('_', "").parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(flag) => Value::Boolean(*flag),
        DeValue::Datetime(_) => Value::Date,
        DeValue::Array(array) => Value::Array(
            array
                .iter()
                .map(|item| convert(item.get_ref(), Place { source: source.clone(), span: item.span() }, source))
                .collect(),
        ),
        DeValue::Table(table) => return convert_table(table, place, source),
    };
    Node { value, place }
}

/// Lays an override over the tree.
pub(crate) fn lay_over(root: &mut Node, setting: &Override, mistakes: &mut Vec<Mistake>) {
    let as_value = format!("{} = {}", setting.key, setting.value);
    let mut ignored = Vec::new();
    let parsed = parse(Source { name: setting.from.clone(), text: as_value }, &mut ignored);
    let parsed = if ignored.is_empty() {
        parsed
    } else {
        // Not a TOML value: `5s` and `0.0.0.0:80` are meant as strings.
        let quoted = setting.value.replace('\\', "\\\\").replace('"', "\\\"");
        let text = format!("{} = \"{quoted}\"", setting.key);
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
