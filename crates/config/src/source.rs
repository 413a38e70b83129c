//! Where a setting was written, and how a mistake in it is shown.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// One text that settings came from: a file, a `--set` argument or a variable of the environment.
#[derive(Debug)]
pub struct Source {
    /// The file's path as the user gave it, or `--set`, or the variable's name.
    pub name: String,
    /// The whole text, kept to show the line of a mistake.
    pub text: String,
}

/// A range of bytes in a [`Source`].
#[derive(Clone, Debug)]
pub struct Place {
    /// The text it lies in.
    pub source: Arc<Source>,
    /// Bytes of the text.
    pub span: Range<usize>,
}

impl Place {
    /// Line and column, both from 1; the column counts characters.
    pub fn line_and_column(&self) -> (usize, usize) {
        let before = &self.source.text.as_bytes()[..self.start()];
        let line = before.iter().filter(|&&b| b == b'\n').count() + 1;
        let line_start = before.iter().rposition(|&b| b == b'\n').map_or(0, |i| i + 1);
        let column = String::from_utf8_lossy(&before[line_start..]).chars().count() + 1;
        (line, column)
    }

    fn start(&self) -> usize {
        self.span.start.min(self.source.text.len())
    }
}

/// How bad a [`Mistake`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The config cannot be used.
    Error,
    /// It can be used, but is hardly what was meant.
    Warning,
}

/// Something wrong in the configuration, with what to write instead.
#[derive(Clone, Debug)]
pub struct Mistake {
    /// Whether the config can be used in spite of it.
    pub severity: Severity,
    /// Where it stands; `None` where a whole file is missing.
    pub place: Option<Place>,
    /// What is wrong, in one line.
    pub what: String,
    /// What to do about it, in one line.
    pub remedy: String,
}

impl Mistake {
    /// An error at a place.
    pub fn at(place: &Place, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { severity: Severity::Error, place: Some(place.clone()), what: what.into(), remedy: remedy.into() }
    }

    /// A warning at a place.
    pub fn warning(place: &Place, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::at(place, what, remedy) }
    }

    /// For scripts.
    pub fn to_json(&self) -> serde_json::Value {
        let place = self.place.as_ref().map(|place| {
            let (line, column) = place.line_and_column();
            serde_json::json!({ "file": place.source.name, "line": line, "column": column })
        });
        let severity = if self.severity == Severity::Error { "error" } else { "warning" };
        serde_json::json!({ "severity": severity, "what": self.what, "remedy": self.remedy, "place": place })
    }

    /// An error that lies in no text.
    pub fn nowhere(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { severity: Severity::Error, place: None, what: what.into(), remedy: remedy.into() }
    }
}

/// Puts mistakes into the order in which they stand: those of the file itself, then those of each other text.
pub(crate) fn sort(mistakes: &mut [Mistake], file: &str) {
    mistakes.sort_by_cached_key(|mistake| {
        mistake.place.as_ref().map(|place| (place.source.name != file, place.source.name.clone(), place.span.start))
    });
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        writeln!(f, "{severity}: {}", self.what)?;
        if let Some(place) = &self.place {
            let (line, column) = place.line_and_column();
            let text = place.source.text.lines().nth(line - 1).unwrap_or("");
            let margin = " ".repeat(line.to_string().len());
            let marked = place.source.text.get(place.span.clone()).unwrap_or("").lines().next().unwrap_or("");
            let carets = "^".repeat(marked.chars().count().max(1));
            // Tabs are kept, so that the caret stands below its column whatever a tab's width is.
            let indent: String = text.chars().take(column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            writeln!(f, "{margin}--> {}:{line}:{column}", place.source.name)?;
            writeln!(f, "{margin} |")?;
            writeln!(f, "{line} | {text}")?;
            writeln!(f, "{margin} | {indent}{carets}")?;
            write!(f, "{margin} = {}", self.remedy)
        } else {
            write!(f, " = {}", self.remedy)
        }
    }
}
