//! Departures from normal: a step or a drift in one provider's figures against its own history and against the other
//! providers. How it was chosen and what it costs in false alarms stands in `docs/anomalies.md`.
//!
//! [`baseline`] says what was to be expected, [`detector`] whether a series left that, [`parties`] whose fault it is, [`book`]
//! what has begun and ended; all of them pure. `run` feeds them from the store.

pub mod baseline;
pub mod book;
#[cfg(test)]
mod compare;
pub mod detector;
pub mod measures;
pub mod parties;
pub(crate) mod run;
mod scatter;
pub(crate) mod series;

use serde_json::{Value, json};
use std::sync::{Arc, PoisonError, RwLock};

/// The name that stands for all providers together: us.
pub const ALL: &str = "all";

/// A figure that is not as it should be, for the time being.
#[derive(Clone, Debug, PartialEq)]
pub struct Departure {
    /// The provider, or [`ALL`].
    pub cdn: String,
    /// Which figure: the name of one of [`measures::ALL`].
    pub figure: &'static str,
    /// When it began, in seconds since the epoch, as far as can be told.
    pub since: i64,
    /// What the figure is, in its own unit: a minute, a share, seconds.
    pub now: f64,
    /// What it should be.
    pub expected: f64,
    /// How sure that is: 1 is just enough to say so.
    pub score: f64,
    /// All of this in a sentence.
    pub reason: String,
}

impl Departure {
    /// As the API says it.
    pub fn to_json(&self) -> Value {
        json!({
            "cdn": self.cdn, "figure": self.figure, "since": self.since, "now": self.now, "expected": self.expected,
            "score": self.score, "reason": self.reason,
        })
    }
}

/// What is known of departures at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    /// The last minute that was judged, in seconds since the epoch. `None`: nothing was yet.
    pub judged: Option<i64>,
    /// What departs.
    pub departures: Vec<Departure>,
}

impl Known {
    /// As the API says it.
    pub fn to_json(&self) -> Value {
        let departures: Vec<Value> = self.departures.iter().map(Departure::to_json).collect();
        json!({ "judged": self.judged, "anomalies": departures })
    }
}

/// Where departures are read by whoever shows them.
#[derive(Default)]
pub struct Board(RwLock<Arc<Known>>);

impl Board {
    /// What departs now.
    pub fn read(&self) -> Arc<Known> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn publish(&self, known: Known) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(known);
    }
}
