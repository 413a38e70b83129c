//! How the collectors stand, for whoever wants to know.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// How one provider's collector stands. Times are seconds since the epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// When the vendor last answered.
    pub last_success: Option<i64>,
    /// When it last did not, and why, without credentials.
    pub last_error: Option<(i64, String)>,
    /// Answers that failed since the last one that did not.
    pub failures: u32,
    /// Up to where all figures are settled.
    pub settled_until: i64,
    /// How long after its end a bucket settles, in seconds.
    pub settles: i64,
}

/// How all of them stand; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Collectors {
    states: Arc<Mutex<BTreeMap<String, State>>>,
}

impl Collectors {
    /// A collector says how it stands.
    pub(super) fn tell(&self, cdn: &str, state: &State) {
        self.states.lock().unwrap_or_else(PoisonError::into_inner).insert(cdn.into(), state.clone());
    }

    /// Every provider that has an API.
    pub fn states(&self) -> BTreeMap<String, State> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// For `/status`.
    pub fn to_json(&self) -> Value {
        let states = self.states().into_iter();
        let json = states.map(|(cdn, state)| {
            let error = state.last_error.map(|(at, why)| json!({ "at": at, "why": why }));
            let told = json!({
                "last_success": state.last_success,
                "last_error": error,
                "failures": state.failures,
                "settled_until": state.settled_until,
                "settles_seconds": state.settles,
            });
            (cdn, told)
        });
        Value::Object(json.collect())
    }
}
