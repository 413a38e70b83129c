//! The settings as written: a tree of values, each with its place.

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

impl Node {
    /// What stands under a path of keys.
    pub fn find(&self, path: &[&str]) -> Option<&Node> {
        let Some((key, rest)) = path.split_first() else { return Some(self) };
        let Value::Table(entries) = &self.value else { return None };
        entries.iter().find(|entry| entry.key == *key)?.node.find(rest)
    }

    /// Forgets what stands under these keys.
    pub fn drop_keys(&mut self, keys: &[&str]) {
        if let Value::Table(entries) = &mut self.value {
            entries.retain(|entry| !keys.contains(&entry.key.as_str()));
        }
    }

    /// Does something to each item of the list under a key.
    pub fn each_in(&mut self, key: &str, deed: impl FnMut(&mut Node)) {
        let Value::Table(entries) = &mut self.value else { return };
        for entry in entries.iter_mut().filter(|entry| entry.key == key) {
            if let Value::Array(items) = &mut entry.node.value {
                return items.iter_mut().for_each(deed);
            }
        }
    }

    /// Whether a string of that text stands anywhere in it.
    pub fn holds_text(&self, wanted: &str) -> bool {
        match &self.value {
            Value::String(text) => text == wanted,
            Value::Array(items) => items.iter().any(|item| item.holds_text(wanted)),
            Value::Table(entries) => entries.iter().any(|entry| entry.node.holds_text(wanted)),
            _ => false,
        }
    }
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
