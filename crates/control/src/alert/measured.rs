//! A figure, now, from the store.

use super::{Checked, Measured};
use crate::anomaly::series::{Values, gather};
use crate::figures::{self, Figure};
use crate::offload::{self, Worth};
use crate::sketch::Sketch;
use crate::store::{Reader, Step};
use crate::{ControlError, moment};
use std::collections::{BTreeMap, BTreeSet};

const MINUTE: i64 = 60;
/// Without a vendor's word, edge figures count as settled after so many seconds.
const USUAL_SETTLING: i64 = 20 * MINUTE;
/// For the newest edge figure it is looked back so far, in seconds.
const LOOKED_BACK: i64 = 2 * 86_400;

/// Measures a figure of a provider, or of all. The inner error says why it is not known.
///
/// # Errors
/// Where the file cannot be read.
pub fn measure(
    reader: &Reader<'_>,
    checked: Checked,
    providers: &[String],
    cdn: Option<&str>,
    length: i64,
    now: i64,
) -> Result<Result<Measured, String>, ControlError> {
    let length = length.clamp(MINUTE, LOOKED_BACK).div_euclid(MINUTE) * MINUTE;
    let ask = Ask { reader, providers, cdn };
    match checked {
        Checked::Beacons => ask.rate(figures::BEACONS, length, now),
        Checked::Pulls => ask.rate(figures::PULLS, length, now),
        Checked::Whoopsies => ask.rate(figures::WHOOPSIES, length, now),
        Checked::Errors => ask.errors(length, now),
        Checked::P95 => ask.p95(length, now),
        Checked::Collectors => ask.collectors(now),
        _ => ask.edge(checked, length, now),
    }
}

/// Up to where the edge's figures are settled.
///
/// # Errors
/// Where the file cannot be read.
pub fn settled_by(reader: &Reader<'_>, cdn: &str, now: i64) -> Result<Option<i64>, ControlError> {
    if let Some(settled) = offload::settled(reader, cdn)? {
        return Ok(Some(settled));
    }
    let found = reader.points(figures::EDGE_REQUESTS, Some(cdn), (now - LOOKED_BACK, now), Step::Minute)?;
    let ends = found.iter().filter_map(|series| Some(series.points.last()?.0 + i64::from(series.grain)));
    Ok(ends.max().map(|end| end.min(now - USUAL_SETTLING).div_euclid(MINUTE) * MINUTE))
}

struct Ask<'a> {
    reader: &'a Reader<'a>,
    providers: &'a [String],
    cdn: Option<&'a str>,
}

/// What the proxies tell of.
struct Window {
    range: (i64, i64),
    /// How many minutes of it are known.
    known: usize,
}

type Answer = Result<Result<Measured, String>, ControlError>;

impl Ask<'_> {
    /// The minutes of a figure, of the one provider or of all that are counted.
    fn minutes(&self, figure: &Figure, range: (i64, i64)) -> Result<BTreeMap<i64, f64>, ControlError> {
        let mut values = Values::new();
        gather(self.reader, self.providers, figure, range, &mut values)?;
        let mut sums = BTreeMap::new();
        for (cdn, (_, points)) in values {
            if self.cdn.is_none_or(|wanted| wanted == cdn) {
                points.into_iter().for_each(|(at, value)| *sums.entry(at).or_default() += value);
            }
        }
        Ok(sums)
    }

    /// The last minutes in which the proxies were read: what is not counted in one of these was none. `None`: in none.
    fn read_at(&self, range: (i64, i64)) -> Result<BTreeSet<i64>, ControlError> {
        let found = self.reader.points(figures::PULLS, None, range, Step::Minute)?;
        Ok(found.iter().flat_map(|series| series.points.iter().map(|(at, _)| *at)).collect())
    }

    /// The window of what the proxies tell: whole minutes, and the newest that is known for.
    fn window(&self, length: i64, now: i64) -> Result<Option<Window>, ControlError> {
        let over = now.div_euclid(MINUTE) * MINUTE;
        let read_at = self.read_at((over - LOOKED_BACK, over))?;
        let Some(last) = read_at.last() else { return Ok(None) };
        let until = last + MINUTE;
        Ok(Some(Window { range: (until - length, until), known: read_at.range(until - length..until).count() }))
    }

    fn rate(&self, figure: &Figure, length: i64, now: i64) -> Answer {
        let Some(Window { range: window, known }) = self.window(length, now)? else { return Ok(Err(NO_PROXY.into())) };
        let counted: f64 = self.minutes(figure, window)?.values().sum();
        Ok(Ok(Measured { value: counted / known as f64, window, note: gaps(known, length) }))
    }

    fn errors(&self, length: i64, now: i64) -> Answer {
        let Some(Window { range: window, known }) = self.window(length, now)? else { return Ok(Err(NO_PROXY.into())) };
        let pulls: f64 = self.minutes(figures::PULLS, window)?.values().sum();
        if pulls == 0.0 {
            return Ok(Err("no pulls, and so no share of them".into()));
        }
        let errors: f64 = self.minutes(figures::PULLS_5XX, window)?.values().sum();
        Ok(Ok(Measured { value: errors / pulls, window, note: gaps(known, length) }))
    }

    fn p95(&self, length: i64, now: i64) -> Answer {
        let Some(Window { range: window, known }) = self.window(length, now)? else { return Ok(Err(NO_PROXY.into())) };
        let mut all = Sketch::default();
        for series in self.reader.sketches(figures::ORIGIN_SECONDS, self.cdn, window, Step::Minute)? {
            series.points.iter().for_each(|(_, sketch)| all.merge(sketch));
        }
        let found = all.quantile(0.95).map(|value| Measured { value, window, note: gaps(known, length) });
        Ok(found.ok_or_else(|| "no pull was answered by the origin".into()))
    }

    /// How far behind the one who is furthest behind is.
    fn collectors(&self, now: i64) -> Answer {
        let mut worst: Option<(i64, &str)> = None;
        for provider in self.providers.iter().filter(|provider| self.cdn.is_none_or(|cdn| cdn == provider.as_str())) {
            if let Some(settled) = settled_by(self.reader, provider, now)? {
                worst = worst.min(Some((settled, provider))).or(Some((settled, provider)));
            } else if self.cdn.is_some() {
                return Ok(Err(format!("nothing is known of the edge of {provider}")));
            }
        }
        let Some((settled, provider)) = worst else { return Ok(Err("no edge is known of".into())) };
        let note = format!("{provider} is settled until {}", moment::write(settled));
        Ok(Ok(Measured { value: (now - settled).max(0) as f64, window: (settled, now), note }))
    }

    /// What is asked of the edge's side, over the last settled time of everybody who is asked about.
    fn edge(&self, checked: Checked, length: i64, now: i64) -> Answer {
        let mut until = None;
        for provider in self.providers.iter().filter(|provider| self.cdn.is_none_or(|cdn| cdn == provider.as_str())) {
            if let Some(settled) = settled_by(self.reader, provider, now)? {
                until = Some(until.unwrap_or(settled).min(settled));
            }
        }
        let Some(until) = until else { return Ok(Err("nothing is known of the edge".into())) };
        let window = (until - length, until);
        let sum = |figure| Ok::<f64, ControlError>(self.minutes(figure, window)?.values().sum());
        let share = |part: f64, of: f64, value: f64| {
            let known = of > 0.0 && part.is_finite();
            if known {
                Ok(value)
            } else {
                Err("nothing was asked of the edge in that time, as far as is known".to_string())
            }
        };
        let value = match checked {
            Checked::EdgeErrors => {
                let (errors, all) = (sum(figures::EDGE_5XX)?, sum(figures::EDGE_REQUESTS)?);
                share(errors, all, errors / all)
            }
            Checked::HitRatio => {
                let (hits, misses) = (sum(figures::EDGE_HITS)?, sum(figures::EDGE_MISSES)?);
                share(hits, hits + misses, hits / (hits + misses))
            }
            Checked::Offload => {
                let joined = self.worths(window)?.into_iter().filter(|worth| worth.offload.is_some());
                let both = joined.filter_map(|worth| Some((worth.pulls?, worth.edge_requests?)));
                let sums = both.reduce(|all, one| (all.0 + one.0, all.1 + one.1));
                sums.map(|(pulls, edge)| 1.0 - pulls / edge).ok_or_else(|| UNJOINED.into())
            }
            // Providers that are told too much and too little are not to make up for each other.
            Checked::Disagreement => {
                let apart = self.worths(window)?.into_iter().filter_map(|worth| worth.disagreement);
                apart.map(f64::abs).reduce(f64::max).ok_or_else(|| UNJOINED.into())
            }
            _ => Err("this is not of the edge".into()),
        };
        Ok(value.map(|value| Measured { value, window, note: String::new() }))
    }

    /// What those who are asked about are worth.
    fn worths(&self, window: (i64, i64)) -> Result<Vec<Worth>, ControlError> {
        match self.cdn {
            Some(cdn) => offload::worth(self.reader, &[cdn.to_string()], window),
            None => offload::worth(self.reader, self.providers, window),
        }
    }
}

const NO_PROXY: &str = "no proxy was read for two days";
const UNJOINED: &str = "there is no settled time for which pulls and the edge are both known";

/// What is said where some of the minutes are not known.
fn gaps(known: usize, length: i64) -> String {
    let all = length / MINUTE;
    if known as i64 == all { String::new() } else { format!("of {known} known minutes in {all}") }
}
