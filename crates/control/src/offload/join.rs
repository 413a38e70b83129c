//! Which buckets both sides are known for.

use crate::ControlError;
use crate::figures::{PULLS_SPREAD, PULLS_WATCHED};
use crate::store::{Reader, Step};
use std::collections::{BTreeMap, BTreeSet};

/// Value by the first second of its bucket.
pub(crate) type Points = BTreeMap<i64, f64>;

/// The proxies whose figures are read, each with the moment since when they are.
pub(crate) const PROXIES: &str = "pulls/proxies";

/// As [`PROXIES`] says.
///
/// # Errors
/// Where the store cannot be read.
pub(crate) fn in_force(reader: &Reader<'_>) -> Result<BTreeMap<String, i64>, ControlError> {
    let text = reader.checkpoint(PROXIES)?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
}

/// For what time our own side is known.
pub(super) struct Watch {
    /// Of each proxy: how many seconds of a bucket its pulls are known for, and from when to when it has to be known.
    proxies: Vec<(Points, (i64, i64))>,
    /// Buckets whose pulls are known in sum alone, together with their neighbours'.
    spread: BTreeSet<i64>,
    step: i64,
}

impl Watch {
    /// `None` where the pulls come from access logs, which tell of no proxy: then a bucket with pulls is known.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn read(reader: &Reader<'_>, window: (i64, i64), step: Step) -> Result<Option<Self>, ControlError> {
        let mut in_force = in_force(reader)?;
        let watched = reader.points(PULLS_WATCHED, None, window, step)?;
        let mut proxies = Vec::new();
        for series in watched {
            let (Some(first), Some(last)) = (series.points.first(), series.points.last()) else { continue };
            // Who came or went within the window is asked for while it was there.
            let there = match in_force.remove(&series.label) {
                Some(since) => (since, i64::MAX),
                None => (first.0, last.0),
            };
            proxies.push((series.points.into_iter().collect(), there));
        }
        // Of these nothing at all is known in the window.
        if !proxies.is_empty() {
            proxies.extend(in_force.into_values().map(|since| (Points::new(), (since, i64::MAX))));
        }
        let spread = reader.points(PULLS_SPREAD, None, window, step)?;
        let spread = spread.into_iter().flat_map(|series| series.points).map(|(at, _)| at).collect();
        Ok((!proxies.is_empty()).then_some(Self { proxies, spread, step: step.seconds() }))
    }

    fn is_whole(&self, bucket: i64, length: i64) -> bool {
        let mut anybody = false;
        for (seconds, (first, last)) in &self.proxies {
            if bucket + length <= *first || bucket > *last {
                continue;
            }
            anybody = true;
            if seconds.range(bucket..bucket + length).map(|(_, seconds)| *seconds).sum::<f64>() < length as f64 {
                return false;
            }
        }
        anybody
    }

    /// Runs of neighbouring buckets whose pulls are known in sum alone.
    fn runs(&self) -> Vec<(i64, i64)> {
        let mut runs: Vec<(i64, i64)> = Vec::new();
        for &at in &self.spread {
            match runs.last_mut() {
                Some((_, end)) if *end == at => *end = at + self.step,
                _ => runs.push((at, at + self.step)),
            }
        }
        runs
    }
}

/// Two sides of the same buckets.
#[derive(Debug)]
pub(super) struct Joined {
    pub ours: f64,
    pub edge: f64,
    buckets: BTreeSet<i64>,
    length: i64,
}

impl Joined {
    pub fn seconds(&self) -> i64 {
        self.buckets.len() as i64 * self.length
    }

    /// Whether a moment lies in a bucket that was joined.
    pub fn holds(&self, at: i64) -> bool {
        self.buckets.contains(&(at.div_euclid(self.length) * self.length))
    }
}

/// Joins on whole buckets of `length` seconds. `None` where no bucket is known on both sides.
pub(super) fn join(
    edge: &Points,
    ours: &Points,
    length: i64,
    step: Step,
    (from, until): (i64, i64),
    watch: Option<&Watch>,
) -> Option<Joined> {
    let bucket = |at: i64| at.div_euclid(length) * length;
    let is_known = |at: i64| match watch {
        Some(watch) => watch.is_whole(at, length),
        None => {
            let points = ours.range(at..at + length).count() as i64;
            points * step.seconds() >= length
        }
    };
    let mut buckets: BTreeSet<i64> =
        edge.keys().map(|at| bucket(*at)).filter(|at| *at >= from && at + length <= until && is_known(*at)).collect();
    // Of a run that is known in sum alone, all of it counts or nothing; what a dropped bucket takes along may be a run's
    // last piece, so this goes on until nothing is dropped.
    let runs = watch.map(Watch::runs).unwrap_or_default();
    let touched = |run: &(i64, i64)| (bucket(run.0)..run.1).step_by(length as usize).collect::<Vec<_>>();
    loop {
        let before = buckets.len();
        for run in &runs {
            let leaves = run.0 <= from || run.1 >= until;
            let touched = touched(run);
            if leaves || touched.iter().any(|at| !buckets.contains(at)) {
                touched.iter().for_each(|at| _ = buckets.remove(at));
            }
        }
        if buckets.len() == before {
            break;
        }
    }
    let of = |points: &Points| buckets.iter().flat_map(|at| points.range(at..&(at + length))).map(|(_, v)| v).sum();
    let (ours, edge) = (of(ours), of(edge));
    (!buckets.is_empty()).then_some(Joined { ours, edge, buckets, length })
}
