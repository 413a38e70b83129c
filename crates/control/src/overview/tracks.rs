//! Sums of every figure by provider, of which any stretch can be measured.

use super::Offloads;
use crate::ControlError;
use crate::figures::{self, Figure};
use crate::offload::STREAM;
use crate::sketch::Sketch;
use crate::store::{Reader, Series, Step, Stretch};
use std::collections::{BTreeSet, HashMap};

/// What is counted, and read for the overview.
const COUNTED: [&Figure; 10] = [
    figures::PULLS_5XX,
    figures::EDGE_REQUESTS,
    figures::EDGE_HITS,
    figures::EDGE_MISSES,
    figures::EDGE_5XX,
    figures::WHOOPSIES,
    figures::BEACONS,
    figures::PULL_BYTES,
    figures::EDGE_BYTES,
    figures::USER_PAGES,
];
/// Distributions, which take the most time to read.
const SKETCHED: [&Figure; 2] = [figures::ORIGIN_SECONDS, figures::USER_TTFB];

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
/// By figure and provider.
pub(super) type Named<T> = HashMap<&'static str, HashMap<String, Track<T>>>;

/// The value of each measure, in the order of [`Measure::ALL`].
pub type Measured = [Option<f64>; Measure::ALL.len()];

/// All figures of all providers over some stretches.
pub struct Tracks {
    counted: Named<f64>,
    sketched: Named<Sketch>,
    offloads: Offloads,
    /// The buckets in which proxies were read at all, so that what they did not say was nothing.
    read: Vec<i64>,
    /// Seconds of a provider's edge buckets, where it has any.
    grains: HashMap<String, i64>,
    step: i64,
}

impl Tracks {
    /// Reads those of one provider, or of all, over stretches that follow each other. They may touch or overlap.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn of(
        reader: &Reader<'_>,
        cdn: Option<&str>,
        stretches: impl IntoIterator<Item = (i64, i64)>,
        step: Step,
    ) -> Result<Self, ControlError> {
        let (mut counted, mut sketched, mut grains) = (Named::new(), Named::new(), HashMap::new());
        let mut read = BTreeSet::new();
        for range in runs(stretches) {
            let over = Stretch::new(range, step.seconds(), step);
            for series in reader.sums(figures::PULLS, None, over)? {
                read.extend(series.points.iter().map(|(at, _)| *at));
                if cdn.is_none_or(|cdn| cdn == series.cdn) {
                    append(&mut counted, figures::PULLS, series);
                }
            }
            for figure in COUNTED {
                for series in summed(reader, figure, cdn, over)? {
                    if figure == figures::EDGE_REQUESTS {
                        grains.insert(series.cdn.clone(), i64::from(series.grain).max(over.width));
                    }
                    append(&mut counted, figure, series);
                }
            }
            for figure in SKETCHED {
                for series in reader.distributions(figure, cdn, over)? {
                    append(&mut sketched, figure, series);
                }
            }
        }
        let step = step.seconds();
        let offloads = Offloads::of(reader, &counted, &grains, step)?;
        Ok(Self { counted, sketched, offloads, read: read.into_iter().collect(), grains, step })
    }

    /// The bucket of a small line as the source of a measure has it: what comes every five minutes is the same for five.
    pub fn bucket(&self, measure: Measure, cdn: &str, (from, until): (i64, i64)) -> (i64, i64) {
        let grain = match measure {
            Measure::EdgeRequests
            | Measure::EdgeErrors
            | Measure::HitRatio
            | Measure::Offload
            | Measure::ByteOffload => self.grains.get(cdn).copied().unwrap_or(1),
            _ => 1,
        };
        if grain <= until - from {
            (from, until)
        } else {
            (from.div_euclid(grain) * grain, from.div_euclid(grain) * grain + grain)
        }
    }

    /// Every provider of which something is known.
    pub fn providers(&self) -> BTreeSet<&str> {
        let counted = self.counted.values().flat_map(HashMap::keys);
        counted.chain(self.sketched.values().flat_map(HashMap::keys)).map(String::as_str).collect()
    }

    /// The newest bucket in which there is something of a figure.
    pub fn newest(&self, figure: &Figure) -> Option<i64> {
        self.counted.get(figure.name)?.values().filter_map(|track| track.last().map(|(at, _)| *at)).max()
    }

    /// Every measure of a provider from `from` to before `until`. `None`: unknown.
    pub fn measured(&self, cdn: &str, range: (i64, i64)) -> Measured {
        let [origin, users] = SKETCHED.map(|figure| self.quantiles(figure, cdn, range));
        let one = |measure: Measure| {
            let range = self.bucket(measure, cdn, range);
            let sum = |figure: &Figure| self.sum(figure, cdn, range);
            match measure {
                Measure::Pulls => self.rate_of_pulls(figures::PULLS, cdn, range),
                Measure::Whoopsies => self.rate_of_pulls(figures::WHOOPSIES, cdn, range),
                Measure::Beacons => self.rate_of_pulls(figures::BEACONS, cdn, range),
                Measure::EdgeRequests => {
                    let points = within(self.counted.get(figures::EDGE_REQUESTS.name)?.get(cdn)?, range);
                    let grain = *self.grains.get(cdn)?;
                    let seconds = points.iter().map(|(at, _)| grain.min(range.1 - at)).sum::<i64>();
                    (seconds > 0).then(|| points.iter().map(|(_, value)| value).sum::<f64>() * 60.0 / seconds as f64)
                }
                Measure::Users => {
                    let seconds = (range.1 - range.0).max(1) as f64;
                    sum(figures::USER_PAGES).map(|pages| pages * 60.0 / seconds)
                }
                Measure::Errors => {
                    let failed = self.rate_of_pulls(figures::PULLS_5XX, cdn, range)?;
                    share(failed, self.rate_of_pulls(figures::PULLS, cdn, range)?)
                }
                Measure::EdgeErrors => share(sum(figures::EDGE_5XX)?, sum(figures::EDGE_REQUESTS)?),
                Measure::HitRatio => {
                    let hits = sum(figures::EDGE_HITS)?;
                    share(hits, hits + sum(figures::EDGE_MISSES)?)
                }
                Measure::Offload => self.offloads.requests(cdn, range),
                Measure::ByteOffload => self.offloads.bytes(cdn, range),
                Measure::OriginP50 => Some(origin?.0),
                Measure::OriginP95 => Some(origin?.1),
                Measure::UserP50 => Some(users?.0),
                Measure::UserP95 => Some(users?.1),
            }
        };
        Measure::ALL.map(|(measure, _)| one(measure))
    }

    /// What proxies count, a minute of those in which they were read.
    fn rate_of_pulls(&self, figure: &'static Figure, cdn: &str, range: (i64, i64)) -> Option<f64> {
        let first = self.read.partition_point(|at| *at < range.0);
        let last = self.read.partition_point(|at| *at < range.1).max(first);
        // The last bucket may not be over yet.
        let seconds = self.read[first..last].iter().map(|at| self.step.min(range.1 - at)).sum::<i64>();
        let minutes = seconds as f64 / 60.0;
        (minutes > 0.0).then(|| self.sum(figure, cdn, range).unwrap_or(0.0) / minutes)
    }

    fn sum(&self, figure: &Figure, cdn: &str, range: (i64, i64)) -> Option<f64> {
        let points = within(self.counted.get(figure.name)?.get(cdn)?, range);
        (!points.is_empty()).then(|| points.iter().map(|(_, value)| value).sum())
    }

    /// The median and what one in twenty exceeds.
    fn quantiles(&self, figure: &Figure, cdn: &str, range: (i64, i64)) -> Option<(f64, f64)> {
        let points = within(self.sketched.get(figure.name)?.get(cdn)?, range);
        let all = Sketch::union(points.iter().map(|(_, sketch)| sketch));
        Some((all.quantile(0.5)?, all.quantile(0.95)?))
    }
}

/// Stretches without what touches or overlaps.
fn runs(stretches: impl IntoIterator<Item = (i64, i64)>) -> Vec<(i64, i64)> {
    let mut runs: Vec<(i64, i64)> = Vec::new();
    for (from, until) in stretches {
        match runs.last_mut() {
            Some((_, end)) if from <= *end => *end = until.max(*end),
            _ => runs.push((from, until)),
        }
    }
    runs
}

fn append<T>(named: &mut Named<T>, figure: &'static Figure, series: Series<T>) {
    named.entry(figure.name).or_default().entry(series.cdn).or_default().extend(series.points);
}

/// The sums of a figure. What a vendor's API and its log stream both tell counts once, by the API.
fn summed(reader: &Reader<'_>, figure: &Figure, cdn: Option<&str>, over: Stretch) -> Result<Vec<Series>, ControlError> {
    let mut found = reader.points(figure, cdn, (over.from, over.until), over.step)?;
    if figure.label == figures::EDGE_REQUESTS.label {
        let by_api: BTreeSet<String> =
            found.iter().filter(|series| series.label != STREAM).map(|series| series.cdn.clone()).collect();
        found.retain(|series| series.label != STREAM || !by_api.contains(&series.cdn));
    }
    Ok(Reader::summed(found, figure.roll, over))
}

fn within<T>(track: &[(i64, T)], (from, until): (i64, i64)) -> &[(i64, T)] {
    let first = track.partition_point(|(at, _)| *at < from);
    &track[first..track.partition_point(|(at, _)| *at < until).max(first)]
}

fn share(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}
