//! Lines of columns.

use super::fields::{Names, Slots, Value};
use super::{Outcome, Role};

/// What each column says, if it matters.
#[derive(Clone, Debug)]
pub(super) struct Columns(Vec<Option<(Role, u8)>>);

impl Columns {
    pub fn new<'n>(columns: impl Iterator<Item = &'n str>, names: &Names) -> Self {
        Self(columns.map(|name| names.role(name)).collect())
    }

    /// Reads a line whose columns are parted by such bytes. CloudFront has cut off the last columns of lines that were too
    /// long for it, so only more columns than are known are a mistake, or none that matters.
    pub fn read<'a>(&self, line: &'a [u8], is_delimiter: impl Fn(u8) -> bool) -> Outcome<'a> {
        let mut slots = Slots::default();
        let mut number = 0;
        for value in line.split(|b| is_delimiter(*b)) {
            let Some(column) = self.0.get(number) else {
                return Outcome::Malformed("it has more columns than there are fields");
            };
            number += 1;
            if let (Some(role), false) = (column, matches!(value, b"-" | b"^" | b"")) {
                let text = String::from_utf8_lossy(value);
                slots.put(*role, Value::Text(text));
            }
        }
        if number < 2 && self.0.len() > 1 {
            return Outcome::Malformed("it has one column alone");
        }
        slots.outcome()
    }
}
