//! Sums of every figure by provider, of which any stretch can be measured.

use super::Offloads;
use crate::figures::{self, Figure};
use crate::sketch::Sketch;
use crate::store::{Reader, Step, Stretch};
use crate::{ControlError, figures::Roll};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What is counted, and read for the overview.
const COUNTED: [&Figure; 9] = [
    figures::PULLS,
    figures::PULLS_5XX,
    figures::EDGE_REQUESTS,
    figures::EDGE_HITS,
    figures::EDGE_MISSES,
    figures::EDGE_5XX,
    figures::WHOOPSIES,
    figures::BEACONS,
    figures::PULL_BYTES,
];

/// What the overview says of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Measure {
    /// Pulls a minute.
    Pulls,
    /// Users' requests at the edge, a minute.
    EdgeRequests,
    /// Users that were measured, a minute.
    Users,
    /// `1 - pulls / edge requests`
    Offload,
    /// `1 - bytes pulled / bytes to users`
    ByteOffload,
    /// The vendor's hits of its hits and misses.
    HitRatio,
    /// Seconds to the origin's first byte, median.
    OriginP50,
    /// Seconds to the origin's first byte that one in twenty exceeds.
    OriginP95,
    /// Seconds that users wait, median.
    UserP50,
    /// Seconds that users wait that one in twenty exceeds.
    UserP95,
    /// The share of pulls that were answered with 5xx.
    Errors,
    /// The share of users' requests that the edge answered with 5xx.
    EdgeErrors,
    /// Error pages a minute.
    Whoopsies,
    /// Failure beacons a minute.
    Beacons,
}

impl Measure {
    /// All, with their names in the API.
    pub const ALL: [(Measure, &'static str); 14] = [
        (Measure::Pulls, "pulls"),
        (Measure::EdgeRequests, "edge_requests"),
        (Measure::Users, "users"),
        (Measure::Offload, "offload"),
        (Measure::ByteOffload, "byte_offload"),
        (Measure::HitRatio, "hit_ratio"),
        (Measure::OriginP50, "origin_p50"),
        (Measure::OriginP95, "origin_p95"),
        (Measure::UserP50, "user_p50"),
        (Measure::UserP95, "user_p95"),
        (Measure::Errors, "errors"),
        (Measure::EdgeErrors, "edge_errors"),
        (Measure::Whoopsies, "whoopsies"),
        (Measure::Beacons, "beacons"),
    ];

    /// A deviation below it does not matter, about this value and over so many minutes.
    pub fn least(self, value: f64, minutes: f64) -> f64 {
        match self {
            Measure::Errors | Measure::EdgeErrors => 0.003,
            Measure::Offload | Measure::ByteOffload | Measure::HitRatio => 0.01,
            Measure::OriginP50 | Measure::OriginP95 | Measure::UserP50 | Measure::UserP95 => 0.1 * value + 0.001,
            // Events that do not know of each other vary by the root of their number (Poisson).
            Measure::Whoopsies | Measure::Beacons => (value.max(1.0 / minutes) / minutes).sqrt().max(0.1 * value),
            Measure::Pulls | Measure::EdgeRequests | Measure::Users => (value / minutes).sqrt().max(0.1 * value),
        }
    }
}

type Track<T> = Vec<(i64, T)>;

/// All figures of all providers over a stretch.
pub struct Tracks {
    counted: HashMap<(&'static str, String), Track<f64>>,
    sketched: HashMap<(&'static str, String), Track<Sketch>>,
    offloads: Offloads,
    /// The buckets in which proxies were read at all, so that what they did not say was nothing.
    read: Vec<i64>,
    grains: HashMap<(&'static str, String), i64>,
    step: i64,
}

impl Tracks {
    /// Reads them all.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn of(reader: &Reader<'_>, (from, until): (i64, i64), step: Step) -> Result<Self, ControlError> {
        let over = Stretch::new((from, until), step.seconds(), step);
        let (mut counted, mut sketched, mut grains) = (HashMap::new(), HashMap::new(), HashMap::new());
        let mut read = BTreeSet::new();
        for figure in COUNTED {
            for series in reader.sums(figure, None, over)? {
                if figure == figures::PULLS {
                    read.extend(series.points.iter().map(|(at, _)| *at));
                }
                grains.insert((figure.name, series.cdn.clone()), i64::from(series.grain).max(over.width));
                counted.insert((figure.name, series.cdn), series.points);
            }
        }
        for figure in [Some(figures::ORIGIN_SECONDS), super::user_seconds()].into_iter().flatten() {
            debug_assert_eq!(figure.roll, Roll::Sketch);
            for series in reader.distributions(figure, None, over)? {
                sketched.insert((figure.name, series.cdn), series.points);
            }
        }
        let offloads = Offloads::of(reader, over)?;
        Ok(Self { counted, sketched, offloads, read: read.into_iter().collect(), grains, step: over.width })
    }

    /// Every provider of which something is known.
    pub fn providers(&self) -> BTreeSet<&str> {
        self.counted.keys().chain(self.sketched.keys()).map(|(_, cdn)| cdn.as_str()).collect()
    }

    /// The newest bucket in which there is something of a figure.
    pub fn newest(&self, figure: &Figure) -> Option<i64> {
        let tracks = self.counted.iter().filter(|((name, _), _)| *name == figure.name);
        tracks.filter_map(|(_, track)| track.last().map(|(at, _)| *at)).max()
    }

    /// A measure of a provider from `from` to before `until`. `None`: unknown.
    pub fn measure(&self, measure: Measure, cdn: &str, range: (i64, i64)) -> Option<f64> {
        let sum = |figure: &Figure| self.sum(figure, cdn, range);
        match measure {
            Measure::Pulls => self.rate_of_pulls(figures::PULLS, cdn, range),
            Measure::Whoopsies => self.rate_of_pulls(figures::WHOOPSIES, cdn, range),
            Measure::Beacons => self.rate_of_pulls(figures::BEACONS, cdn, range),
            Measure::EdgeRequests => {
                let points = within(self.counted.get(&key(figures::EDGE_REQUESTS, cdn))?, range);
                let seconds = points.len() as i64 * self.grains.get(&key(figures::EDGE_REQUESTS, cdn))?;
                (seconds > 0).then(|| points.iter().map(|(_, value)| value).sum::<f64>() * 60.0 / seconds as f64)
            }
            Measure::Users => {
                let seconds = (range.1 - range.0).max(1) as f64;
                self.merged(super::user_seconds()?, cdn, range).map(|all| all.count() as f64 * 60.0 / seconds)
            }
            Measure::Errors => share(self.rate_of_pulls(figures::PULLS_5XX, cdn, range)?, {
                self.rate_of_pulls(figures::PULLS, cdn, range)?
            }),
            Measure::EdgeErrors => share(sum(figures::EDGE_5XX)?, sum(figures::EDGE_REQUESTS)?),
            Measure::HitRatio => {
                let hits = sum(figures::EDGE_HITS)?;
                share(hits, hits + sum(figures::EDGE_MISSES)?)
            }
            Measure::Offload => self.offloads.requests(cdn, range),
            Measure::ByteOffload => self.offloads.bytes(cdn, range),
            Measure::OriginP50 => self.merged(figures::ORIGIN_SECONDS, cdn, range)?.quantile(0.5),
            Measure::OriginP95 => self.merged(figures::ORIGIN_SECONDS, cdn, range)?.quantile(0.95),
            Measure::UserP50 => self.merged(super::user_seconds()?, cdn, range)?.quantile(0.5),
            Measure::UserP95 => self.merged(super::user_seconds()?, cdn, range)?.quantile(0.95),
        }
    }

    /// What proxies count, a minute of those in which they were read.
    fn rate_of_pulls(&self, figure: &'static Figure, cdn: &str, range: (i64, i64)) -> Option<f64> {
        let first = self.read.partition_point(|at| *at < range.0);
        let minutes = (self.read.partition_point(|at| *at < range.1) - first) as f64 * self.step as f64 / 60.0;
        (minutes > 0.0).then(|| self.sum(figure, cdn, range).unwrap_or(0.0) / minutes)
    }

    fn sum(&self, figure: &Figure, cdn: &str, range: (i64, i64)) -> Option<f64> {
        let points = within(self.counted.get(&key(figure, cdn))?, range);
        (!points.is_empty()).then(|| points.iter().map(|(_, value)| value).sum())
    }

    fn merged(&self, figure: &Figure, cdn: &str, range: (i64, i64)) -> Option<Sketch> {
        let mut all = Sketch::default();
        let points = within(self.sketched.get(&key(figure, cdn))?, range);
        points.iter().for_each(|(_, sketch)| all.merge(sketch));
        (all.count() > 0).then_some(all)
    }

    /// Every measure of every provider at once, for one stretch.
    pub fn all(&self, range: (i64, i64)) -> BTreeMap<(String, Measure), f64> {
        let mut all = BTreeMap::new();
        for cdn in self.providers() {
            for (measure, _) in Measure::ALL {
                if let Some(value) = self.measure(measure, cdn, range) {
                    all.insert((cdn.to_string(), measure), value);
                }
            }
        }
        all
    }
}

fn key(figure: &Figure, cdn: &str) -> (&'static str, String) {
    // The names are those of constants; a figure that is none of them was never read.
    (figures::named(figure.name).map_or("", |figure| figure.name), cdn.to_string())
}

fn within<T>(track: &[(i64, T)], (from, until): (i64, i64)) -> &[(i64, T)] {
    let first = track.partition_point(|(at, _)| *at < from);
    &track[first..track.partition_point(|(at, _)| *at < until).max(first)]
}

fn share(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}
