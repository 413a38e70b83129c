//! What a proxy counted between two readings, and which minutes it belongs to.

use super::reading::Reading;
use super::series::Counter;
use crate::figures::{self, Figure};
use crate::sketch::Sketch;
use crate::store::{Batch, Key};
use std::collections::BTreeMap;

/// How many values came by a bucket's upper end.
type Buckets = Vec<(f64, u64)>;

/// Readings further apart do not tell which minute a pull belongs to.
const NEAR: i64 = 30;
/// Of a gap that is longer, nothing is known of any minute that would be worth its place.
const LONGEST_GAP: i64 = 7 * 86_400;
/// The distribution of a longer gap is put into one minute of each hour: shares do not tell how many minutes had them.
const LONG: i64 = 3600;
/// Values of one bucket are laid at so many places of it.
const PLACES: u64 = 8;

/// What one proxy counted in a stretch of time.
#[derive(Debug, PartialEq)]
pub(super) struct Increment {
    from: i64,
    until: i64,
    /// Whether this is all that was counted in that time. It is not where a process ended in it, with what it counted last.
    is_whole: bool,
    gains: BTreeMap<String, f64>,
    cdns: Vec<String>,
}

impl Increment {
    /// Between two readings of one proxy. `None` where nothing is known: of a process that was there before we were.
    pub fn between(before: Option<&Reading>, after: &Reading) -> Option<Self> {
        let increment =
            |from, is_whole, gains| Some(Self { from, until: after.at, is_whole, gains, cdns: after.cdns.clone() });
        let Some(before) = before else {
            let began = after.began.map(seconds).filter(|began| (0..=NEAR).contains(&(after.at - began)))?;
            return increment(began, true, after.counters.clone());
        };
        let has_fallen = |(series, was): (&String, &f64)| after.counters.get(series).is_some_and(|now| now < was);
        let is_another = match (before.began, after.began) {
            (Some(before), Some(after)) => before != after,
            _ => before.counters.iter().any(has_fallen),
        };
        if is_another {
            let began =
                after.began.map(seconds).filter(|began| (before.at..=after.at).contains(began)).unwrap_or(before.at);
            return increment(began, false, after.counters.clone());
        }
        let gains = after.counters.iter().map(|(series, now)| {
            let was = before.counters.get(series).copied().unwrap_or(0.0);
            // Of one process a series falls where a reload took its name away and another one brought it back.
            (series.clone(), if *now < was { *now } else { now - was })
        });
        increment(before.at, true, gains.filter(|(_, gain)| *gain > 0.0).collect())
    }

    /// Writes it, minute by minute. Returns how many pulls are not written as they lie in too long a gap.
    pub fn write(&self, batch: &mut Batch, proxy: &str) -> u64 {
        if self.until - self.from > LONGEST_GAP {
            let pulls = self.gains.iter().filter(|(series, _)| series.starts_with("headwater_pulls_total"));
            return pulls.map(|(_, gain)| *gain as u64).sum();
        }
        let parts = parts(self.from, self.until);
        for (minute, seconds) in &parts {
            if self.is_whole {
                batch.add(Key::new(figures::PULLS_WATCHED, "", proxy), *minute, *seconds as f64);
            }
            if self.until - self.from > NEAR {
                batch.add(Key::new(figures::PULLS_SPREAD, "", proxy), *minute, *seconds as f64);
            }
            // Known to be none is another thing than unknown.
            for cdn in &self.cdns {
                batch.add(Key::new(figures::PULLS, cdn, ""), *minute, 0.0);
                batch.add(Key::new(figures::PULL_BYTES, cdn, ""), *minute, 0.0);
            }
        }
        let mut counts: BTreeMap<(&'static str, String, String), (&'static Figure, u64)> = BTreeMap::new();
        let mut count = |figure: &'static Figure, cdn: &str, label: &str, gain: f64| {
            counts.entry((figure.name, cdn.into(), label.into())).or_insert((figure, 0)).1 += gain as u64;
        };
        // Of a figure and a provider: how many by bucket's upper end.
        let mut histograms = BTreeMap::<(&'static str, String), (&'static Figure, Buckets)>::new();
        for (series, gain) in &self.gains {
            match Counter::named(series) {
                Some(Counter::Pulls { cdn, class }) => {
                    count(figures::PULLS, &cdn, "", *gain);
                    count(class, &cdn, "", *gain);
                }
                Some(Counter::Other { figure, cdn, label }) => count(figure, &cdn, &label, *gain),
                Some(Counter::Bucket { figure, cdn, limit }) => {
                    let (_, buckets) = histograms.entry((figure.name, cdn)).or_insert((figure, Vec::new()));
                    buckets.push((limit, *gain as u64));
                }
                None => {}
            }
        }
        for ((_, cdn, label), (figure, total)) in counts {
            for ((minute, _), share) in parts.iter().zip(spread(total, &parts)) {
                if share > 0 {
                    batch.add(Key::new(figure, &cdn, &label), *minute, share as f64);
                }
            }
        }
        let places: Vec<(i64, i64)> = if self.until - self.from > LONG { hours(&parts) } else { parts };
        for ((_, cdn), (figure, buckets)) in histograms {
            for (minute, sketch) in sketches(buckets, &places) {
                batch.merge(Key::new(figure, &cdn, ""), minute, sketch);
            }
        }
        0
    }
}

fn seconds(milliseconds: i64) -> i64 {
    milliseconds.div_euclid(1000)
}

/// The minutes of a stretch, each with its seconds. Where a clock was set back there is one, with none.
fn parts(from: i64, until: i64) -> Vec<(i64, i64)> {
    if until <= from {
        return vec![(until.div_euclid(60) * 60, 0)];
    }
    let first = from.div_euclid(60) * 60;
    (first..until).step_by(60).map(|minute| (minute, until.min(minute + 60) - from.max(minute))).collect()
}

/// One minute of each hour that stands for all of its minutes.
fn hours(parts: &[(i64, i64)]) -> Vec<(i64, i64)> {
    let mut hours: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
    for (minute, seconds) in parts {
        hours.entry(minute.div_euclid(3600)).or_insert((*minute, 0)).1 += seconds;
    }
    hours.into_values().collect()
}

/// A count over the parts by their lengths, in whole numbers whose sum is the count.
fn spread(total: u64, parts: &[(i64, i64)]) -> Vec<u64> {
    let length: i64 = parts.iter().map(|(_, seconds)| seconds).sum();
    if length == 0 {
        return vec![total];
    }
    let (mut so_far, mut given) = (0, 0);
    let share = |(_, seconds): &(i64, i64)| {
        so_far += seconds;
        let due = (u128::from(total) * so_far as u128 / length as u128) as u64;
        let share = due - given;
        given = due;
        share
    };
    parts.iter().map(share).collect()
}

/// The distributions of a histogram's gains. A value is known to lie in its bucket; there it is laid evenly on a scale of
/// logarithms, so that it is off by at most the factor between the bucket's ends, which is 2.5 at most up to 10 s, and
/// mostly by much less.
fn sketches(mut buckets: Vec<(f64, u64)>, parts: &[(i64, i64)]) -> Vec<(i64, Sketch)> {
    buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut sketches: Vec<_> = parts.iter().map(|(minute, _)| (*minute, Sketch::default())).collect();
    let (mut below, mut floor) = (0, 0.0);
    for (limit, gain) in buckets {
        let own = gain.saturating_sub(below);
        below = below.max(gain);
        for ((_, sketch), share) in sketches.iter_mut().zip(spread(own, parts)) {
            lay(sketch, floor, limit, share);
        }
        floor = limit;
    }
    sketches.retain(|(_, sketch)| sketch.count() > 0);
    sketches
}

fn lay(sketch: &mut Sketch, floor: f64, limit: f64, times: u64) {
    if !limit.is_finite() {
        return sketch.add(floor, times);
    }
    // Below the lowest limit there is no other end: half of it.
    let floor = if floor > 0.0 { floor } else { limit / 2.0 };
    let places = times.clamp(1, PLACES);
    for place in 0..places {
        let times = times / places + u64::from(place < times % places);
        sketch.add(floor * (limit / floor).powf((place as f64 + 0.5) / places as f64), times);
    }
}

#[cfg(test)]
#[path = "increment_tests.rs"]
mod tests;
