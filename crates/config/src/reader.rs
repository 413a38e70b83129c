//! Takes typed settings out of a table, and collects every mistake instead of stopping at the first.

use crate::source::{Mistake, Place};
use crate::tree::{Entry, Node, Value};
use crate::units;
use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::time::Duration;

/// A value, and where it was written.
#[derive(Clone, Debug)]
pub(crate) struct At<T> {
    pub value: T,
    pub place: Place,
}

/// Where mistakes are collected.
pub(crate) type Mistakes = RefCell<Vec<Mistake>>;

/// A table being read. Every getter makes its key known; [`Table::done`] refuses the others.
pub(crate) struct Table<'a> {
    entries: &'a [Entry],
    pub place: Place,
    name: String,
    known: RefCell<Vec<&'static str>>,
    mistakes: &'a Mistakes,
}

impl<'a> Table<'a> {
    pub fn new(node: &'a Node, name: &str, mistakes: &'a Mistakes) -> Self {
        let entries = match &node.value {
            Value::Table(entries) => entries.as_slice(),
            other => {
                mistakes.borrow_mut().push(Mistake::at(
                    &node.place,
                    format!("`{name}` is a table, and this is {}", other.kind()),
                    format!("write a line [{name}], and its keys below it"),
                ));
                &[]
            }
        };
        Self { entries, place: node.place.clone(), name: name.into(), known: RefCell::default(), mistakes }
    }

    pub fn mistake(&self, mistake: Mistake) {
        self.mistakes.borrow_mut().push(mistake);
    }

    /// The collector, for what is read out of one value.
    pub fn mistakes(&self) -> &'a Mistakes {
        self.mistakes
    }

    fn take(&self, key: &'static str) -> Option<&'a Entry> {
        self.known.borrow_mut().push(key);
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// Whether the key is there.
    pub fn has(&self, key: &'static str) -> bool {
        self.take(key).is_some()
    }

    /// Where the key stands, or the table.
    pub fn place_of(&self, key: &'static str) -> Place {
        self.take(key).map_or_else(|| self.place.clone(), |entry| entry.key_place.clone())
    }

    fn wrong(&self, entry: &Entry, wanted: &str, example: &str) {
        self.mistake(Mistake::at(
            &entry.node.place,
            format!("`{}` wants {wanted}, and this is {}", entry.key, entry.node.value.kind()),
            format!("write for example {} = {example}", entry.key),
        ));
    }

    pub fn table(&self, key: &'static str) -> Option<Table<'a>> {
        self.take(key).map(|entry| Table::new(&entry.node, key, self.mistakes))
    }

    /// A list of tables, as `[[key]]` makes it.
    pub fn tables(&self, key: &'static str) -> Option<Vec<Table<'a>>> {
        let entry = self.take(key)?;
        match &entry.node.value {
            Value::Array(items) => Some(items.iter().map(|item| Table::new(item, key, self.mistakes)).collect()),
            _ => {
                self.mistake(Mistake::at(
                    &entry.node.place,
                    format!("`{key}` is a list of tables"),
                    format!("write [[{key}]] with two brackets, once for each entry"),
                ));
                Some(Vec::new())
            }
        }
    }

    /// Every entry as a table, for keys that are names.
    pub fn named_tables(&self) -> Vec<(At<String>, Table<'a>)> {
        self.entries
            .iter()
            .map(|entry| {
                let name = At { value: entry.key.clone(), place: entry.key_place.clone() };
                (name, Table::new(&entry.node, &entry.key, self.mistakes))
            })
            .collect()
    }

    pub fn string(&self, key: &'static str, example: &str) -> Option<At<String>> {
        let entry = self.take(key)?;
        match &entry.node.value {
            Value::String(text) => Some(At { value: text.clone(), place: entry.node.place.clone() }),
            _ => {
                self.wrong(entry, "a string", example);
                None
            }
        }
    }

    pub fn strings(&self, key: &'static str, example: &str) -> Option<Vec<At<String>>> {
        let entry = self.take(key)?;
        let Value::Array(items) = &entry.node.value else {
            self.wrong(entry, "a list of strings", example);
            return None;
        };
        let mut texts = Vec::new();
        for item in items {
            match &item.value {
                Value::String(text) => texts.push(At { value: text.clone(), place: item.place.clone() }),
                other => self.mistake(Mistake::at(
                    &item.place,
                    format!("`{key}` is a list of strings, and this is {}", other.kind()),
                    format!("write for example {key} = {example}"),
                )),
            }
        }
        Some(texts)
    }

    pub fn boolean(&self, key: &'static str) -> Option<bool> {
        let entry = self.take(key)?;
        match entry.node.value {
            Value::Boolean(flag) => Some(flag),
            _ => {
                self.wrong(entry, "true or false", "true");
                None
            }
        }
    }

    pub fn integer(&self, key: &'static str, range: RangeInclusive<i64>) -> Option<i64> {
        let entry = self.take(key)?;
        match entry.node.value {
            Value::Integer(number) if range.contains(&number) => Some(number),
            Value::Integer(number) => {
                self.mistake(Mistake::at(
                    &entry.node.place,
                    format!("`{key}` cannot be {number}"),
                    format!("write a whole number from {} to {}", range.start(), range.end()),
                ));
                None
            }
            _ => {
                self.wrong(entry, "a whole number", &range.start().to_string());
                None
            }
        }
    }

    /// A share, from 0 to 1.
    pub fn share(&self, key: &'static str) -> Option<f64> {
        let entry = self.take(key)?;
        let number = match entry.node.value {
            Value::Integer(number) => number as f64,
            Value::Float(number) => number,
            _ => {
                self.wrong(entry, "a number", "0.2");
                return None;
            }
        };
        if (0.0..=1.0).contains(&number) {
            return Some(number);
        }
        self.mistake(Mistake::at(
            &entry.node.place,
            format!("`{key}` is a share, and this is none"),
            "write a number from 0 to 1, for example 0.2",
        ));
        None
    }

    fn parsed<T>(&self, key: &'static str, example: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<At<T>> {
        let text = self.string(key, example)?;
        match parse(&text.value) {
            Ok(value) => Some(At { value, place: text.place }),
            Err(remedy) => {
                self.mistake(Mistake::at(&text.place, format!("`{key}` cannot be \"{}\"", text.value), remedy));
                None
            }
        }
    }

    /// A duration that is longer than nothing.
    pub fn duration(&self, key: &'static str) -> Option<Duration> {
        self.parsed(key, "\"5s\"", |text| {
            units::duration(text)
                .and_then(|time| if time.is_zero() { Err("write more than zero".into()) } else { Ok(time) })
        })
        .map(|at| at.value)
    }

    /// A duration that may be nothing.
    pub fn duration_from_zero(&self, key: &'static str) -> Option<Duration> {
        self.parsed(key, "\"5s\"", units::duration).map(|at| at.value)
    }

    /// A size in bytes.
    pub fn size(&self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        self.parsed(key, "\"32 KiB\"", |text| {
            let size = units::size(text)?;
            if range.contains(&size) {
                Ok(size)
            } else {
                Err(format!("write a size from {} B to {} B", range.start(), range.end()))
            }
        })
        .map(|at| at.value)
    }

    /// One of a closed set of words.
    pub fn one_of<T: Copy>(&self, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        self.parsed(key, &format!("\"{}\"", words[0]), |text| {
            choices
                .iter()
                .find(|(word, _)| *word == text)
                .map(|(_, choice)| *choice)
                .ok_or_else(|| format!("write one of {}", words.join(", ")))
        })
        .map(|at| at.value)
    }

    /// Refuses every key that no getter asked for.
    pub fn done(self) {
        let known = self.known.borrow();
        for entry in self.entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let within = if self.name.is_empty() { String::new() } else { format!(" in [{}]", self.name) };
            let remedy = match closest(&entry.key, &known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => {
                    let mut names = known.clone();
                    names.sort_unstable();
                    names.dedup();
                    format!("the keys here are {}", names.join(", "))
                }
            };
            self.mistakes.borrow_mut().push(Mistake::at(
                &entry.key_place,
                format!("there is no key `{}`{within}", entry.key),
                remedy,
            ));
        }
    }
}

/// The known word that takes the fewest edits, if they are few for its length.
pub(crate) fn closest<'w>(word: &str, known: &[&'w str]) -> Option<&'w str> {
    known
        .iter()
        .map(|near| (edits(word, near), *near))
        .min()
        .filter(|(distance, near)| *distance <= 1 + near.len() / 4)
        .map(|(_, near)| near)
}

/// Levenshtein's distance.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
