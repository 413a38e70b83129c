//! What users' timings are asked for.

use super::timing::Timing;
use crate::ControlError;
use crate::figures;
use crate::sketch::Sketch;
use crate::store::{Reader, Step};

/// Half, three quarters and nineteen twentieths of the users were served as fast, or faster: in seconds, or as a score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percentiles {
    /// Of half of them.
    pub p50: f64,
    /// Of three quarters.
    pub p75: f64,
    /// Of nineteen twentieths.
    pub p95: f64,
    /// How many values there are. Of few, nothing can be said.
    pub n: u64,
}

/// The percentiles of a timing from `from` to before `until`, of one provider or of all, of one country or of all. `None`
/// where nothing was told.
///
/// A window of up to three hours is of whole minutes, of up to forty days of whole hours, and else of whole days; countries are
/// kept by the hour. A window that begins or ends within one holds all of it.
///
/// # Errors
/// Where the store cannot be read.
pub fn percentiles(
    reader: &Reader<'_>,
    timing: Timing,
    cdn: Option<&str>,
    country: Option<&str>,
    (from, until): (i64, i64),
) -> Result<Option<Percentiles>, ControlError> {
    let step = step(until - from);
    let (figure, grain) = match country {
        None => (timing.figure(), step.seconds()),
        Some(_) => (timing.figure_by_country(), step.seconds().max(Step::Hour.seconds())),
    };
    let mut all = Sketch::default();
    for series in reader.sketches(figure, cdn, (from.div_euclid(grain) * grain, until), step)? {
        if country.is_none_or(|country| series.label == country) {
            series.points.iter().for_each(|(_, sketch)| all.merge(sketch));
        }
    }
    let of = |q| all.quantile(q);
    Ok(of(0.5).zip(of(0.75)).zip(of(0.95)).map(|((p50, p75), p95)| Percentiles { p50, p75, p95, n: all.count() }))
}

/// What one provider served of the pages that users loaded: the share of users.
#[derive(Clone, Debug, PartialEq)]
pub struct Share {
    /// The provider, `untagged` or `other`.
    pub cdn: String,
    /// How many pages.
    pub pages: f64,
    /// Of all pages, from 0 to 1.
    pub share: f64,
}

/// The shares of all providers from `from` to before `until`, of one country's users or of all. Empty where nothing was told.
/// The window is as for [`percentiles`].
///
/// # Errors
/// Where the store cannot be read.
pub fn shares(
    reader: &Reader<'_>,
    country: Option<&str>,
    (from, until): (i64, i64),
) -> Result<Vec<Share>, ControlError> {
    let step = step(until - from);
    let (figure, grain) = match country {
        None => (figures::USER_PAGES, step.seconds()),
        Some(_) => (figures::USER_COUNTRY_PAGES, step.seconds().max(Step::Hour.seconds())),
    };
    let from = from.div_euclid(grain) * grain;
    let pages: Vec<(String, f64)> = reader
        .points(figure, None, (from, until), step)?
        .into_iter()
        .filter(|series| country.is_none_or(|country| series.label == country))
        .map(|series| (series.cdn, series.points.iter().map(|(_, pages)| pages).sum()))
        .collect();
    let all: f64 = pages.iter().map(|(_, pages)| pages).sum();
    Ok(pages.into_iter().map(|(cdn, pages)| Share { cdn, pages, share: pages / all }).collect())
}

/// The coarsest that says a window well enough: each point is a distribution to be merged.
pub(super) fn step(length: i64) -> Step {
    match length {
        ..=10_800 => Step::Minute,
        10_801..=3_456_000 => Step::Hour,
        _ => Step::Day,
    }
}
