//! What a stream's deliveries amounted to since the start, for people.

use super::body::Parsed;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// A count that only grows.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Relaxed);
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A stream's counters.
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $($(#[$doc])* pub $name: Count,)*
            /// When lines were counted last, in seconds since the epoch; 0: not yet.
            last: AtomicI64,
        }

        impl Counters {
            /// All of them, by name.
            pub fn status(&self) -> serde_json::Value {
                let mut all = serde_json::json!({ $(stringify!($name): self.$name.0.load(Relaxed),)* });
                all["last"] = match self.last.load(Relaxed) {
                    0 => serde_json::Value::Null,
                    last => last.into(),
                };
                all
            }
        }
    };
}

counters! {
    /// Deliveries that were taken.
    deliveries,
    /// Deliveries that had been counted before.
    repeated,
    /// Deliveries with a wrong token, or none.
    denied,
    /// Deliveries that could not be taken: too large, broken off, no gzip.
    refused,
    /// Deliveries for which there was no place.
    busy,
    /// Deliveries that the store failed to take.
    failed,
    /// Bytes of bodies as they came.
    bytes,
    /// Lines that were counted.
    counted,
    /// Lines that had been counted before.
    duplicates,
    /// Lines of shields, parents and workers.
    shields,
    /// Lines that cannot be read.
    malformed,
    /// Lines from the future.
    early,
    /// Lines that are older than what is kept.
    old,
}

impl Counters {
    /// A delivery was taken, and so many of its lines were new.
    pub fn note(&self, parsed: &Parsed, counted: u64, now: i64) {
        self.deliveries.add(1);
        self.counted.add(counted);
        self.duplicates.add(parsed.lines.len() as u64 - counted);
        self.shields.add(parsed.shields);
        self.malformed.add(parsed.malformed);
        self.early.add(parsed.early);
        self.old.add(parsed.old);
        if counted > 0 {
            self.last.store(now, Relaxed);
        }
    }
}

/// Shows a malformed line in the log, one a minute at most.
pub(super) fn quote(quoted: &AtomicI64, cdn: &str, why: &str, line: &str, now: i64) {
    let minute = now.div_euclid(60);
    if quoted.swap(minute, Relaxed) != minute {
        tracing::warn!(
            cdn,
            why,
            line,
            "a line of this log stream cannot be read; more may follow and are counted in /status"
        );
    }
}
