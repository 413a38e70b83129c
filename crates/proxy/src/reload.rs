//! What came of reloads, for `/status`.

use crate::status::moment;
use headwater_config::{Mistake, Severity};
use serde_json::{Value, json};
use std::sync::{Mutex, MutexGuard};
use std::time::SystemTime;

/// The last reload, if there was any.
#[derive(Default)]
pub(crate) struct Reloads(Mutex<Option<Reload>>);

struct Reload {
    at: SystemTime,
    errors: usize,
    warnings: usize,
}

impl Reloads {
    fn lock(&self) -> MutexGuard<'_, Option<Reload>> {
        // The one change is an assignment.
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The configuration was read anew just now, with these mistakes.
    pub fn note(&self, mistakes: &[Mistake]) {
        let errors = mistakes.iter().filter(|mistake| mistake.severity == Severity::Error).count();
        *self.lock() = Some(Reload { at: SystemTime::now(), errors, warnings: mistakes.len() - errors });
    }

    /// When that was last, and what came of it.
    pub fn status(&self) -> Option<Value> {
        self.lock().as_ref().map(|Reload { at, errors, warnings }| {
            json!({
                "result": if *errors == 0 { "ok" } else { "failed" },
                "at": moment(*at),
                "seconds_ago": at.elapsed().unwrap_or_default().as_secs(),
                "errors": errors,
                "warnings": warnings,
            })
        })
    }
}
