//! What a check asks for: one figure, now. What is not known is an error that says why, and never 0.

pub mod gauges;
pub mod limit;
mod measured;
#[cfg(test)]
mod tests;

pub use measured::{measure, settled_by};

use serde_json::{Value, json};

/// What can be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// Failure beacons of a provider's users.
    Beacons,
    /// Pulls.
    Pulls,
    /// Error pages that we sent.
    Whoopsies,
    /// The share of pulls that were answered with a 5xx.
    Errors,
    /// The share of users' requests that were.
    EdgeErrors,
    /// One less pulls out of users' requests.
    Offload,
    /// Hits of the edge's caches out of hits and misses.
    HitRatio,
    /// The time within which 95 of 100 pulls have their first byte from the origin.
    P95,
    /// How far the vendor's count of requests to the origin lies from our count of pulls, as a share of the greater one.
    Disagreement,
    /// How many figures depart from normal.
    Anomalies,
    /// How far behind the edge's figures are.
    Collectors,
}

/// How a figure is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// So many a minute.
    PerMinute,
    /// A share, in hundredths.
    Share,
    /// Seconds.
    Seconds,
    /// So many.
    Count,
}

/// Each by name.
pub const ALL: &[(&str, Checked)] = &[
    ("beacons", Checked::Beacons),
    ("pulls", Checked::Pulls),
    ("whoopsies", Checked::Whoopsies),
    ("5xx", Checked::Errors),
    ("edge-5xx", Checked::EdgeErrors),
    ("offload", Checked::Offload),
    ("hit-ratio", Checked::HitRatio),
    ("p95", Checked::P95),
    ("disagreement", Checked::Disagreement),
    ("anomalies", Checked::Anomalies),
    ("collectors", Checked::Collectors),
];

impl Checked {
    /// The figure of that name.
    pub fn named(name: &str) -> Option<Self> {
        ALL.iter().find(|(known, _)| *known == name).map(|(_, checked)| *checked)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        ALL.iter().find(|(_, checked)| *checked == self).map_or("", |(name, _)| name)
    }

    /// How it is written.
    pub fn unit(self) -> Unit {
        match self {
            Checked::Beacons | Checked::Pulls | Checked::Whoopsies => Unit::PerMinute,
            Checked::P95 | Checked::Collectors => Unit::Seconds,
            Checked::Anomalies => Unit::Count,
            _ => Unit::Share,
        }
    }

    /// Whether it comes from vendors, who settle their figures late.
    pub fn is_of_vendors(self) -> bool {
        matches!(self, Checked::EdgeErrors | Checked::Offload | Checked::HitRatio | Checked::Disagreement)
    }

    /// Over how many seconds it is looked at unless said otherwise.
    pub fn usual_window(self) -> i64 {
        if self.is_of_vendors() { 900 } else { 300 }
    }

    /// How old its newest minute may be unless said otherwise, in seconds.
    pub fn usual_lateness(self) -> i64 {
        if self.is_of_vendors() { 3600 } else { 300 }
    }
}

/// A figure, now.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// In its unit: a minute, a share from 0 to 1, seconds.
    pub value: f64,
    /// The stretch that it is of.
    pub window: (i64, i64),
    /// More for people; may be empty.
    pub note: String,
}

impl Measured {
    /// As the API says it.
    pub fn to_json(&self) -> Value {
        json!({ "value": self.value, "from": self.window.0, "until": self.window.1, "note": self.note })
    }

    /// What the API said.
    pub fn from_json(value: &Value) -> Option<Self> {
        Some(Self {
            value: value["value"].as_f64()?,
            window: (value["from"].as_i64()?, value["until"].as_i64()?),
            note: value["note"].as_str()?.into(),
        })
    }
}

/// How many figures depart, of one provider or at all. Of one: also those that all share.
///
/// # Errors
/// Why that is not known.
pub fn anomalies(known: &crate::anomaly::Known, cdn: Option<&str>) -> Result<Measured, String> {
    let Some(judged) = known.judged else { return Err("nothing has been judged yet".into()) };
    let of = |name: &str| cdn.is_none_or(|cdn| cdn == name || name == crate::anomaly::ALL);
    let departures: Vec<_> = known.departures.iter().filter(|departure| of(&departure.cdn)).collect();
    let since = departures.iter().map(|departure| departure.since).min().unwrap_or(judged);
    Ok(Measured {
        value: departures.len() as f64,
        window: (since, judged + 60),
        note: departures.first().map_or_else(String::new, |departure| departure.reason.clone()),
    })
}
