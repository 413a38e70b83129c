//! Whether a sink is there: the log says once that it went and once that it came back, and `/status` says how it stands.

use prometheus::IntCounter;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

/// What is known of every sink that was tried.
#[derive(Default)]
pub(crate) struct Sinks(Mutex<BTreeMap<&'static str, Known>>);

struct Known {
    /// The error of one that is away.
    error: Option<String>,
    since: Instant,
    waiting: u64,
}

impl Sinks {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Known>> {
        // Every change is whole as soon as it is begun.
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// A sink of that name which is configured as `to`, for `/status`.
    pub fn status(&self, name: &str, to: &str) -> Value {
        match self.lock().get(name) {
            None => json!({ "to": to, "state": "untried" }),
            Some(Known { error, since, waiting }) => json!({
                "to": to,
                "state": if error.is_some() { "away" } else { "up" },
                "since_seconds": since.elapsed().as_secs(),
                "error": error,
                "waiting": waiting,
            }),
        }
    }
}

/// Whether a sink is there.
pub(crate) struct Presence {
    name: &'static str,
    dropped: IntCounter,
    outage: Option<Outage>,
    sinks: Arc<Sinks>,
}

struct Outage {
    since: Instant,
    dropped: u64,
}

impl Presence {
    /// `dropped` counts what is lost.
    pub fn new(name: &'static str, dropped: IntCounter, sinks: Arc<Sinks>) -> Self {
        Self { name, dropped, outage: None, sinks }
    }

    /// Something could not be delivered.
    pub fn fails(&mut self, sink: &str, error: &dyn Display) {
        if self.outage.is_none() {
            tracing::warn!(sink, %error, "{} is away", self.name);
            self.outage = Some(Outage { since: Instant::now(), dropped: 0 });
            let known = Known { error: Some(error.to_string()), since: Instant::now(), waiting: 0 };
            self.sinks.lock().insert(self.name, known);
        }
    }

    /// So much waits for it to come back.
    pub fn waits(&self, count: u64) {
        if let Some(known) = self.sinks.lock().get_mut(self.name) {
            known.waiting = count;
        }
    }

    /// So much is lost.
    pub fn drops(&mut self, count: u64) {
        self.dropped.inc_by(count);
        if let Some(outage) = &mut self.outage {
            outage.dropped += count;
        }
    }

    /// All has been delivered; `late`: so much of it after its time.
    pub fn answers(&mut self, sink: &str, late: u64) {
        let outage = self.outage.take();
        let mut sinks = self.sinks.lock();
        let up = || Known { error: None, since: Instant::now(), waiting: 0 };
        let known = sinks.entry(self.name).or_insert_with(up);
        if known.error.is_some() {
            *known = up();
        }
        if let Some(outage) = outage {
            let seconds = outage.since.elapsed().as_secs();
            let dropped = outage.dropped;
            tracing::info!(sink, seconds, late, dropped, "{} is back", self.name);
        }
    }

    /// It is not asked for any more.
    pub fn is_forgotten(&mut self) {
        self.outage = None;
        self.sinks.lock().remove(self.name);
    }
}
