//! What is watched for departures.

use super::baseline::Nature;
use super::detector::Matters;
use crate::figures::{self, Figure};

/// How a number is written for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// So many a minute.
    PerMinute,
    /// A share, shown in hundredths.
    Share,
    /// One less a share.
    OneLess,
    /// Seconds.
    Seconds,
}

/// One thing that is watched, of each provider.
#[derive(Debug)]
pub struct Measure {
    /// As departures, the API and alerts name it.
    pub name: &'static str,
    /// What it is, for people.
    pub title: &'static str,
    /// What is counted.
    pub count: &'static Figure,
    /// Out of what; `None`: it is a rate, or a level.
    pub of: Option<&'static Figure>,
    /// What kind of numbers these are.
    pub nature: Nature,
    /// How large a difference matters.
    pub matters: Matters,
    /// How it is written.
    pub unit: Unit,
    /// So many seconds after its end a minute is judged. Proxies are read every few seconds, vendors settle within a quarter
    /// of an hour, or say nothing until then.
    pub late: i64,
}

const PROXY: i64 = 60;
const VENDOR: i64 = 20 * 60;

/// Every measure.
pub const ALL: &[Measure] = &[
    Measure {
        name: "pulls",
        title: "pulls",
        count: figures::PULLS,
        of: None,
        nature: Nature::Count,
        matters: Matters { factor: 1.5, by: 5.0, down: true },
        unit: Unit::PerMinute,
        late: PROXY,
    },
    Measure {
        name: "edge_requests",
        title: "users' requests",
        count: figures::EDGE_REQUESTS,
        of: None,
        nature: Nature::Count,
        matters: Matters { factor: 1.5, by: 10.0, down: true },
        unit: Unit::PerMinute,
        late: VENDOR,
    },
    Measure {
        name: "errors",
        title: "5xx of pulls",
        count: figures::PULLS_5XX,
        of: Some(figures::PULLS),
        nature: Nature::Count,
        matters: Matters { factor: 2.0, by: 0.01, down: false },
        unit: Unit::Share,
        late: PROXY,
    },
    Measure {
        name: "edge_errors",
        title: "5xx of users' requests",
        count: figures::EDGE_5XX,
        of: Some(figures::EDGE_REQUESTS),
        nature: Nature::Count,
        matters: Matters { factor: 2.0, by: 0.005, down: false },
        unit: Unit::Share,
        late: VENDOR,
    },
    Measure {
        name: "offload",
        title: "offload",
        count: figures::PULLS,
        of: Some(figures::EDGE_REQUESTS),
        nature: Nature::Count,
        matters: Matters { factor: 1.5, by: 0.02, down: true },
        unit: Unit::OneLess,
        late: VENDOR,
    },
    Measure {
        name: "beacons",
        title: "failure beacons",
        count: figures::BEACONS,
        of: None,
        nature: Nature::Count,
        matters: Matters { factor: 2.0, by: 2.0, down: false },
        unit: Unit::PerMinute,
        late: PROXY,
    },
    Measure {
        name: "whoopsies",
        title: "error pages",
        count: figures::WHOOPSIES,
        of: None,
        nature: Nature::Count,
        matters: Matters { factor: 2.0, by: 2.0, down: false },
        unit: Unit::PerMinute,
        late: PROXY,
    },
    Measure {
        name: "origin_p95",
        title: "p95 to the origin's first byte",
        count: figures::ORIGIN_SECONDS,
        of: None,
        nature: Nature::Level,
        matters: Matters { factor: 1.5, by: 0.05, down: false },
        unit: Unit::Seconds,
        late: PROXY,
    },
];

/// The measure of that name.
pub fn named(name: &str) -> Option<&'static Measure> {
    ALL.iter().find(|measure| measure.name == name)
}

impl Measure {
    /// A value of what is counted, in the unit that is shown.
    pub fn shown(&self, value: f64) -> f64 {
        if self.unit == Unit::OneLess { 1.0 - value } else { value }
    }

    /// A value that is shown, with its unit.
    pub fn text(&self, shown: f64) -> String {
        match self.unit {
            Unit::PerMinute if shown < 10.0 => format!("{shown:.1} a minute"),
            Unit::PerMinute => format!("{shown:.0} a minute"),
            Unit::Share | Unit::OneLess => format!("{:.1} %", shown * 100.0),
            Unit::Seconds => format!("{shown:.3} s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        assert!(ALL.iter().all(|measure| ALL.iter().filter(|other| other.name == measure.name).count() == 1));
    }
}
