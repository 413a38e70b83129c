//! Is it us, or is it one of them? Every provider's figures of a stretch of time, beside what is normal for them.

mod normal;
mod offloads;
mod tracks;
mod verdict;

use crate::ControlError;
use crate::figures::{self, Figure};
use crate::offload::{shares, worth};
use crate::store::{Reader, Step};
use normal::Normal;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use verdict::{Case, Finding};

use offloads::Offloads;
use tracks::{Measure, Tracks};

const DAY: i64 = 86_400;
/// Points of a small line.
const LINE: i64 = 36;
/// So much longer than the stretch is its small line.
const TIMES: i64 = 6;
/// Days before the same stretch is looked up for.
const EARLIER: i64 = 7;

/// Points of a line of a provider's page.
const LONG_LINE: i64 = 240;

/// The figure with users' seconds, where this Headwater has one: to a page's first byte, for which the CDN answers.
fn user_seconds() -> Option<&'static Figure> {
    figures::named("user_ttfb")
}

/// The figure with users, where this Headwater has one.
fn users() -> Option<&'static Figure> {
    figures::named("user_pages")
}

/// The times that are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Times {
    stretch: (i64, i64),
    /// Of the small lines.
    line: (i64, i64),
    /// Of a point of these.
    width: i64,
    /// Between two stretches that are compared.
    shift: i64,
}

impl Times {
    fn of((from, until): (i64, i64)) -> Self {
        let length = (until - from).max(60);
        let grain = Step::for_length(length * TIMES).seconds();
        let width = (length * TIMES / LINE / grain).max(1) * grain;
        let last = (until + width - 1).div_euclid(width) * width;
        let shift = (length + DAY - 1) / DAY * DAY;
        Self { stretch: (from, until), line: (last - LINE * width, last), width, shift }
    }

    fn step(&self) -> Step {
        Step::for_length(self.line.1 - self.line.0)
    }

    /// Whole buckets about the same stretch of earlier days.
    fn earlier(&self, step: Step) -> impl Iterator<Item = (i64, i64)> {
        let (from, until) = self.stretch;
        let (shift, grain) = (self.shift, step.seconds());
        (1..=EARLIER).map(move |times| {
            let from = (from - times * shift).div_euclid(grain) * grain;
            let until = (until - times * shift + grain - 1).div_euclid(grain) * grain;
            (from, until)
        })
    }
}

/// The overview from `from` to before `until`, for these providers and whoever else has figures.
///
/// # Errors
/// Where the store cannot be read.
pub fn overview(reader: &Reader<'_>, configured: &[String], range: (i64, i64)) -> Result<Value, ControlError> {
    let times = Times::of(range);
    let shown = (times.line.0.min(range.0), range.1);
    let now = Tracks::of(reader, None, shown, times.step())?;
    let now = now.with_distributions(reader, None, [shown], times.step())?;
    // Of stretches of days, whole days are compared.
    let step = if times.shift > DAY { Step::Day } else { Step::Hour };
    let oldest = range.0 - EARLIER * times.shift - step.seconds();
    let then = Tracks::of(reader, None, (oldest, range.0), step)?;
    let mut stretches: Vec<_> = times.earlier(step).collect();
    stretches.reverse();
    let then = then.with_distributions(reader, None, stretches, step)?;

    let mut values = now.all(range);
    let earlier: Vec<_> = times.earlier(step).map(|stretch| then.all(stretch)).collect();
    let mut names = configured.to_vec();
    names.extend(
        now.providers().into_iter().filter(|name| !configured.iter().any(|known| known == name)).map(Into::into),
    );
    for worth in worth(reader, &names, range)? {
        let parts = [
            (Measure::Offload, worth.offload),
            (Measure::ByteOffload, worth.byte_offload),
            (Measure::HitRatio, worth.hit_ratio),
        ];
        for (measure, value) in parts {
            values.remove(&(worth.cdn.clone(), measure));
            values.extend(value.map(|value| ((worth.cdn.clone(), measure), value)));
        }
    }
    let shares = shares(reader, &names, range)?;

    let (mut cases, mut rows) = (Vec::new(), Vec::new());
    for (cdn, share) in names.into_iter().zip(shares) {
        let mut case = Case { cdn: cdn.clone(), findings: Vec::new() };
        let mut row = Map::new();
        let has_pulls = values.get(&(cdn.clone(), Measure::Pulls)).is_some_and(|pulls| *pulls > 0.0);
        for (measure, name) in Measure::ALL {
            let line = line(&now, measure, &cdn, (times.line, times.width), range.1);
            let normal = normal_of(measure, &cdn, &earlier, &line, &times);
            let value = values.get(&(cdn.clone(), measure)).copied();
            if let Some(value) = value
                // That nothing came from a provider which never sends anything is no finding.
                && (has_pulls || measure != Measure::Pulls || normal.is_some_and(|normal| normal.value > 0.0))
            {
                case.findings.push(Finding { measure, value, normal });
            }
            row.insert(name.into(), cell(value, normal, &line));
        }
        for (name, share) in [("pulls", share.of_pulls), ("edge_requests", share.of_edge), ("users", share.of_users)] {
            row[name]["share"] = json!(share);
        }
        row.insert("cdn".into(), json!(cdn));
        rows.push(Value::Object(row));
        cases.push(case);
    }
    let verdict = verdict::judge(&cases);
    Ok(json!({
        "from": range.0, "until": range.1,
        "line": { "from": times.line.0, "width": times.width },
        "verdict": { "blame": verdict.blame.name(), "text": verdict.text, "providers": verdict.providers },
        "newest": { "pulls": now.newest(figures::PULLS), "edge": now.newest(figures::EDGE_REQUESTS) },
        "providers": rows,
    }))
}

/// Every measure of one provider over time.
///
/// # Errors
/// Where the store cannot be read.
pub fn measures(reader: &Reader<'_>, cdn: &str, (from, until): (i64, i64)) -> Result<Value, ControlError> {
    let step = Step::for_length(until - from);
    let width = ((until - from) / LONG_LINE / step.seconds()).max(1) * step.seconds();
    let first = from.div_euclid(width) * width;
    let tracks = Tracks::of(reader, Some(cdn), (first, until), step)?;
    let tracks = tracks.with_distributions(reader, Some(cdn), [(first, until)], step)?;
    let lines: Map<String, Value> = Measure::ALL
        .into_iter()
        .map(|(measure, name)| (name.into(), json!(line(&tracks, measure, cdn, ((first, until), width), until))))
        .collect();
    Ok(json!({ "cdn": cdn, "from": first, "until": until, "width": width, "lines": lines }))
}

/// A value for each bucket, or none. Nothing at or after `end` is looked at.
fn line(
    tracks: &Tracks,
    measure: Measure,
    cdn: &str,
    ((from, until), width): ((i64, i64), i64),
    end: i64,
) -> Vec<Option<f64>> {
    (from..until)
        .step_by(width as usize)
        .map(|at| tracks.measure(measure, cdn, tracks.bucket(measure, cdn, (at, (at + width).min(end.max(at))))))
        .collect()
}

/// From the same hours of earlier days or, where these are not kept yet, from what came before on the small line.
fn normal_of(
    measure: Measure,
    cdn: &str,
    earlier: &[BTreeMap<(String, Measure), f64>],
    line: &[Option<f64>],
    times: &Times,
) -> Option<Normal> {
    let minutes = (times.stretch.1 - times.stretch.0) as f64 / 60.0;
    let least = |value| measure.least(value, minutes);
    let days = earlier.iter().filter_map(|all| all.get(&(cdn.to_string(), measure)).copied()).collect();
    Normal::of(days, least).or_else(|| {
        let before = (times.stretch.0 - times.line.0).div_euclid(times.width).clamp(0, LINE) as usize;
        Normal::of(line[..before].iter().copied().flatten().collect(), least)
    })
}

fn cell(value: Option<f64>, normal: Option<Normal>, line: &[Option<f64>]) -> Value {
    let mut cell = json!({ "value": value, "line": line });
    if let (Some(value), Some(normal)) = (value, normal) {
        cell["normal"] = json!(normal.value);
        cell["departure"] = json!(normal.departure(value));
    }
    cell
}
