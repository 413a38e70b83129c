//! What is asked of the store where the labels of a series do not matter, or nothing but they.

use super::read::{Reader, Series, Step};
use crate::ControlError;
use crate::figures::{Figure, Roll};
use crate::sketch::Sketch;
use rusqlite::params;
use std::collections::BTreeMap;

/// Somebody changed something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// When, in seconds since the epoch.
    pub at: i64,
    /// Who.
    pub who: String,
    /// What was done.
    pub what: String,
    /// To what.
    pub detail: String,
}

/// A stretch of time in buckets of `width` seconds, which is a multiple of the step that it is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Its first second, a multiple of `width`.
    pub from: i64,
    /// The first second after it.
    pub until: i64,
    /// Of a bucket.
    pub width: i64,
    /// What is kept, and read.
    pub step: Step,
}

impl Stretch {
    /// Buckets that end with the one in which `until` lies. `width` grows to a multiple of what is read.
    pub fn new((from, until): (i64, i64), width: i64, step: Step) -> Self {
        let grain = step.seconds();
        let width = (width.max(1) + grain - 1) / grain * grain;
        Self { from: from.div_euclid(width) * width, until, width, step }
    }

    fn bucket(&self, at: i64) -> i64 {
        at.div_euclid(self.width) * self.width
    }
}

impl Reader<'_> {
    /// For each provider the sum over all labels, or for a state the mean. Where nothing was written there is no point.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn sums(&self, figure: &Figure, cdn: Option<&str>, over: Stretch) -> Result<Vec<Series>, ControlError> {
        let found = self.points(figure, cdn, (over.from, over.until), over.step)?;
        Ok(Self::summed(found, figure.roll, over))
    }

    /// As [`Reader::sums`], of series that were read and chosen.
    pub fn summed(found: Vec<Series>, roll: Roll, over: Stretch) -> Vec<Series> {
        values(gather(found, |_| String::new(), over, add), roll)
    }

    /// As [`Reader::sums`], for each label of each provider.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn labels(&self, figure: &Figure, cdn: Option<&str>, over: Stretch) -> Result<Vec<Series>, ControlError> {
        let found = self.points(figure, cdn, (over.from, over.until), over.step)?;
        Ok(values(gather(found, Clone::clone, over, add), figure.roll))
    }

    /// For each provider the distribution over all labels.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn distributions(
        &self,
        figure: &Figure,
        cdn: Option<&str>,
        over: Stretch,
    ) -> Result<Vec<Series<Sketch>>, ControlError> {
        let found = self.sketches(figure, cdn, (over.from, over.until), over.step)?;
        Ok(gather(found, |_| String::new(), over, |all: &mut Sketch, one: Sketch| all.merge(&one)))
    }

    /// As [`Reader::distributions`], for each label of each provider.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn labelled(
        &self,
        figure: &Figure,
        cdn: Option<&str>,
        over: Stretch,
    ) -> Result<Vec<Series<Sketch>>, ControlError> {
        let found = self.sketches(figure, cdn, (over.from, over.until), over.step)?;
        Ok(gather(found, Clone::clone, over, |all: &mut Sketch, one: Sketch| all.merge(&one)))
    }

    /// Provider, label and sum of every series, the greatest first.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn totals(
        &self,
        figure: &Figure,
        cdn: Option<&str>,
        range: (i64, i64),
        step: Step,
    ) -> Result<Vec<(String, String, f64)>, ControlError> {
        let mut totals: Vec<_> = self
            .points(figure, cdn, range, step)?
            .into_iter()
            .map(|series| (series.cdn, series.label, series.points.iter().map(|(_, value)| value).sum::<f64>()))
            .collect();
        totals.sort_by(|a, b| b.2.total_cmp(&a.2).then_with(|| (&a.0, &a.1).cmp(&(&b.0, &b.1))));
        Ok(totals)
    }

    /// The newest bucket of a figure, of any series, that lies at or after `since`.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn newest(&self, figure: &Figure, since: i64) -> Result<Option<i64>, ControlError> {
        let table = if figure.roll == Roll::Sketch { "sketch_minute" } else { "minute" };
        let mut newest = self.connection().prepare_cached(&format!(
            "SELECT max((SELECT max(at) FROM {table} WHERE series = id AND at >= ?2)) FROM series WHERE figure = ?1"
        ))?;
        Ok(newest.query_row(params![figure.name, since], |row| row.get(0))?)
    }

    /// What was changed last, the newest first.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn changes(&self, most: u32) -> Result<Vec<Change>, ControlError> {
        let mut list =
            self.connection().prepare_cached("SELECT at, who, what, detail FROM audit ORDER BY id DESC LIMIT ?")?;
        let changes = list.query_map([most], |row| {
            Ok(Change { at: row.get(0)?, who: row.get(1)?, what: row.get(2)?, detail: row.get(3)? })
        })?;
        Ok(changes.collect::<Result<_, _>>()?)
    }
}

fn add((sum, count): &mut (f64, u32), value: f64) {
    *sum += value;
    *count += 1;
}

/// What was summed, by how it rolls up.
fn values(all: Vec<Series<(f64, u32)>>, roll: Roll) -> Vec<Series> {
    let value = |(sum, count): (f64, u32)| if roll == Roll::Mean { sum / f64::from(count) } else { sum };
    all.into_iter()
        .map(|Series { cdn, label, grain, points }| {
            let points = points.into_iter().map(|(at, sum)| (at, value(sum))).collect();
            Series { cdn, label, grain, points }
        })
        .collect()
}

/// Brings series together that have one name, and their points that lie in one bucket.
fn gather<T, A: Default>(
    found: Vec<Series<T>>,
    name: impl Fn(&String) -> String,
    over: Stretch,
    add: impl Fn(&mut A, T),
) -> Vec<Series<A>> {
    let mut named = BTreeMap::<(String, String), (u32, Vec<(i64, A)>)>::new();
    for series in found {
        let label = name(&series.label);
        let (grain, buckets) = named.entry((series.cdn, label)).or_default();
        *grain = series.grain.max(*grain);
        // Both are in order, so that one pass brings them together.
        let mut place = 0;
        for (at, value) in series.points {
            let bucket = over.bucket(at);
            while buckets.get(place).is_some_and(|(held, _)| *held < bucket) {
                place += 1;
            }
            if buckets.get(place).is_none_or(|(held, _)| *held > bucket) {
                buckets.insert(place, (bucket, A::default()));
            }
            add(&mut buckets[place].1, value);
        }
    }
    named.into_iter().map(|((cdn, label), (grain, buckets))| Series { cdn, label, grain, points: buckets }).collect()
}
