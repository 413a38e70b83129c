//! What is written together.

use crate::figures::Figure;
use crate::sketch::Sketch;

/// A series: a figure of one provider, with a label where the figure has one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// What is counted.
    pub figure: &'static Figure,
    /// The provider, or one of the names that stand beside them: `untagged`, `unproven`, `other`.
    pub cdn: String,
    /// What the figure's label says.
    pub label: String,
    /// The length of its buckets in seconds: 60, or what the source has.
    pub grain: u32,
}

impl Key {
    /// A series of minutes.
    pub fn new(figure: &'static Figure, cdn: impl Into<String>, label: impl Into<String>) -> Self {
        Self { figure, cdn: cdn.into(), label: label.into(), grain: 60 }
    }

    /// The same with another length of bucket, in seconds.
    pub fn every(self, grain: u32) -> Self {
        Self { grain, ..self }
    }
}

/// Something that happened: a vertical line on every graph.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// When, in seconds since the epoch.
    pub at: i64,
    /// `note`, or what wrote it by itself: `weights`, `reload`, `incident`, `origin`.
    pub kind: String,
    /// A word to find it by, such as `deploy`.
    pub tag: String,
    /// What happened.
    pub text: String,
    /// Who says so.
    pub who: String,
}

/// All that is written in one transaction.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub(super) set: Vec<(Key, i64, f64)>,
    pub(super) add: Vec<(Key, i64, f64)>,
    pub(super) sketches: Vec<(Key, i64, Sketch)>,
    pub(super) events: Vec<Event>,
    pub(super) audit: Vec<(i64, String, String, String)>,
    pub(super) checkpoints: Vec<(String, Option<String>)>,
}

impl Batch {
    /// The bucket that `at` lies in has this value, whatever it had before.
    pub fn set(&mut self, key: Key, at: i64, value: f64) {
        self.set.push((key, at, value));
    }

    /// The bucket that `at` lies in has so much more.
    pub fn add(&mut self, key: Key, at: i64, more: f64) {
        self.add.push((key, at, more));
    }

    /// The bucket that `at` lies in has these values beside those that it had.
    pub fn merge(&mut self, key: Key, at: i64, sketch: Sketch) {
        self.sketches.push((key, at, sketch));
    }

    /// Something happened.
    pub fn event(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Somebody changed something.
    pub fn audit(&mut self, at: i64, who: impl Into<String>, what: impl Into<String>, detail: impl Into<String>) {
        self.audit.push((at, who.into(), what.into(), detail.into()));
    }

    /// Where a source stands, read again after a restart. `None` forgets it.
    pub fn checkpoint(&mut self, name: impl Into<String>, value: Option<String>) {
        self.checkpoints.push((name.into(), value));
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
            && self.add.is_empty()
            && self.sketches.is_empty()
            && self.events.is_empty()
            && self.audit.is_empty()
            && self.checkpoints.is_empty()
    }
}
