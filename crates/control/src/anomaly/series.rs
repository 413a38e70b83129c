//! The series of one measure, read from the store: today's minutes, and those around the same time of earlier days and weeks.

use super::baseline::{Expected, Minute, Nature, expect};
use super::measures::Measure;
use crate::ControlError;
use crate::figures::{self, Figure, Roll};
use crate::offload::settled;
use crate::store::{Reader, Step};
use std::collections::{BTreeMap, BTreeSet};

const MINUTE: i64 = 60;
const DAY: i64 = 86_400;
const WEEK: i64 = 7 * DAY;
/// Earlier weeks that are looked at, and days where there are not two of these.
const WEEKS: i64 = 4;
const DAYS: i64 = 6;
/// The label of edge figures from a log stream.
const STREAM: &str = "stream";
/// So far around the same time, in seconds.
const AROUND: i64 = 10 * MINUTE;
/// Where there are no days either, a share or a level is held against the time from here to there before, in seconds.
const LATELY: (i64, i64) = (70 * MINUTE, 10 * MINUTE);
/// And against no less than so many points.
const LEAST_LATELY: usize = 15;

/// What is expected, and what that is drawn from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Past {
    pub expected: Expected,
    pub from: &'static str,
}

/// One provider's points, each of `grain` seconds.
#[derive(Debug)]
pub(super) struct Line {
    pub grain: i64,
    nature: Nature,
    is_rate: bool,
    /// What lies before it changes no more, where a vendor says so.
    settled: Option<i64>,
    points: BTreeMap<i64, Minute>,
}

impl Line {
    /// The bucket that begins at `at`, where it has a point that is settled.
    pub fn point(&self, at: i64) -> Option<Minute> {
        let is_settled = self.settled.is_none_or(|settled| at + self.grain <= settled);
        self.points.get(&at).copied().filter(|_| is_settled)
    }

    /// What the point at `at` should be: from weeks, or days, or what was just before.
    pub fn expected(&self, at: i64, of: f64) -> Option<Past> {
        for (from, count, every) in [("earlier weeks", WEEKS, WEEK), ("earlier days", DAYS, DAY)] {
            let windows: Vec<Vec<Minute>> = (1..=count)
                .map(|k| self.points.range(at - k * every - AROUND..=at - k * every + AROUND))
                .map(|window| window.map(|(_, minute)| *minute).collect::<Vec<_>>())
                .filter(|window| !window.is_empty())
                .collect();
            if windows.len() >= 2 {
                return expect(self.nature, &windows, of).map(|expected| Past { expected, from });
            }
        }
        // The day's curve would be a drift to who knows no other day.
        if self.is_rate {
            return None;
        }
        let before = self.points.range(at - LATELY.0..at - LATELY.1).map(|(_, minute)| *minute).collect::<Vec<_>>();
        let enough = before.len() >= LEAST_LATELY;
        enough
            .then(|| expect(self.nature, &[before], of))
            .flatten()
            .map(|expected| Past { expected, from: "the last hour" })
    }
}

/// Reads what is needed to judge the time from `from` to `until`, for each of these providers that has points.
pub(super) fn read(
    reader: &Reader<'_>,
    measure: &Measure,
    providers: &[String],
    (from, until): (i64, i64),
) -> Result<BTreeMap<String, Line>, ControlError> {
    let mut ranges = vec![(from - LATELY.0, until + MINUTE)];
    let offsets: BTreeSet<i64> = (1..=DAYS).map(|k| k * DAY).chain((1..=WEEKS).map(|k| k * WEEK)).collect();
    ranges.extend(offsets.iter().map(|offset| (from - offset - AROUND, until - offset + AROUND + MINUTE)));
    let mut lines = BTreeMap::new();
    let (mut counts, mut ofs) = (BTreeMap::new(), BTreeMap::new());
    // A count that is not there was none, where the proxies were read at all; else it is not known.
    let mut read_at = BTreeSet::new();
    for range in ranges {
        gather(reader, providers, measure.count, range, &mut counts)?;
        if let Some(of) = measure.of {
            gather(reader, providers, of, range, &mut ofs)?;
        }
        if measure.nature == Nature::Count {
            for series in reader.points(figures::PULLS, None, range, Step::Minute)? {
                read_at.extend(series.points.iter().map(|(at, _)| *at));
            }
        }
    }
    let nothing = (MINUTE, BTreeMap::new());
    for provider in providers {
        let counted = counts.get(provider).unwrap_or(&nothing);
        let of = measure.of.map(|_| ofs.get(provider).unwrap_or(&nothing));
        let points = join(counted, of, &read_at, measure);
        if points.values().any(|minute| minute.of > 0.0) {
            let grain = of.map_or(counted.0, |of| of.0.max(counted.0));
            let is_rate = measure.of.is_none() && measure.nature == Nature::Count && !is_failure(measure);
            let settled = if measure.late > MINUTE { settled(reader, provider)? } else { None };
            lines.insert(provider.clone(), Line { grain, nature: measure.nature, is_rate, settled, points });
        }
    }
    Ok(lines)
}

/// Failures are few at any time of day.
fn is_failure(measure: &Measure) -> bool {
    measure.count == figures::BEACONS || measure.count == figures::WHOOPSIES
}

pub(crate) type Values = BTreeMap<String, (i64, BTreeMap<i64, f64>)>;

/// Adds a figure's points by provider, all labels together: but where a vendor's API tells of its edge, its log stream tells
/// of the same again; and failure beacons are of the provider whose users see the page, not of the one that carries them.
pub(crate) fn gather(
    reader: &Reader<'_>,
    providers: &[String],
    figure: &Figure,
    range: (i64, i64),
    into: &mut Values,
) -> Result<(), ControlError> {
    let mut add = |cdn: &str, grain: u32, at: i64, value: f64| {
        let (longest, points) = into.entry(cdn.to_string()).or_default();
        *longest = (*longest).max(i64::from(grain)).max(MINUTE);
        *points.entry(at).or_default() += value;
    };
    if figure.roll == Roll::Sketch {
        for series in reader.sketches(figure, None, range, Step::Minute)? {
            for (at, sketch) in series.points {
                if let Some(p95) = sketch.quantile(0.95) {
                    add(&series.cdn, series.grain, at, p95);
                }
            }
        }
        return Ok(());
    }
    let found = reader.points(figure, None, range, Step::Minute)?;
    let asked: BTreeSet<String> =
        found.iter().filter(|series| series.label != STREAM).map(|series| series.cdn.clone()).collect();
    for series in found {
        if series.label == STREAM && figure.label == "property" && asked.contains(&series.cdn) {
            continue;
        }
        let users_of = figures::users_of(&series.label).filter(|_| figure == figures::BEACONS);
        let cdn = users_of.filter(|name| providers.iter().any(|provider| provider == name)).unwrap_or(&series.cdn);
        for (at, value) in &series.points {
            add(cdn, series.grain, *at, *value);
        }
    }
    Ok(())
}

/// Counts beside what they are out of, in buckets of the longer of their grains.
fn join(
    (grain, counts): &(i64, BTreeMap<i64, f64>),
    of: Option<&(i64, BTreeMap<i64, f64>)>,
    read_at: &BTreeSet<i64>,
    measure: &Measure,
) -> BTreeMap<i64, Minute> {
    let mut joined: BTreeMap<i64, Minute> = BTreeMap::new();
    match of {
        Some((of_grain, ofs)) => {
            let grain = *grain.max(of_grain);
            let bucket = |at: i64| at.div_euclid(grain) * grain;
            for (at, of) in ofs {
                joined.entry(bucket(*at)).or_insert(Minute { count: 0.0, of: 0.0 }).of += of;
            }
            for (at, count) in counts {
                if let Some(minute) = joined.get_mut(&bucket(*at)) {
                    minute.count += count;
                }
            }
            if measure.count == figures::PULLS {
                // Edge requests without pulls are a perfect offload only where pulls were counted meanwhile.
                joined.retain(|at, _| read_at.range(*at..*at + grain).next().is_some());
            }
            joined.retain(|_, minute| minute.of > 0.0);
        }
        None if measure.nature == Nature::Count && measure.count != figures::EDGE_REQUESTS => {
            let known = read_at.iter().chain(counts.keys());
            joined.extend(known.map(|at| (*at, Minute { count: counts.get(at).copied().unwrap_or(0.0), of: 1.0 })));
        }
        None => joined.extend(counts.iter().map(|(at, count)| (*at, Minute { count: *count, of: 1.0 }))),
    }
    joined
}
