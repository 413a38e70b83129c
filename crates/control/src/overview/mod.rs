//! Is it us, or is it one of them? Every provider's figures of a stretch of time, beside what is normal for them.

mod normal;
mod offloads;
mod tracks;
mod verdict;

use crate::ControlError;
use crate::anomaly::{ALL, Known};
use crate::figures;
use crate::offload::{shares_by, worth_by};
use crate::store::{Reader, Step};
use normal::Normal;
use serde_json::{Map, Value, json};
use verdict::{Case, Finding};

use offloads::Offloads;
use tracks::{Measure, Measured, Tracks};

const DAY: i64 = 86_400;
/// Points of a small line.
const LINE: i64 = 36;
/// So much longer than the stretch is its small line.
const TIMES: i64 = 6;
/// Days before the same stretch is looked up for.
const EARLIER: i64 = 7;

/// Points of a line of a provider's page.
const LONG_LINE: i64 = 240;

/// The times that are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Times {
    stretch: (i64, i64),
    /// Of the small lines.
    line: (i64, i64),
    /// Of a point of these.
    width: i64,
    /// What these are read from.
    step: Step,
    /// Between two stretches that are compared.
    shift: i64,
}

impl Times {
    fn of((from, until): (i64, i64)) -> Self {
        let length = (until - from).max(60);
        let ideal = length * TIMES / LINE;
        // The coarsest that makes such points: reading is what takes the time.
        let coarsest = [Step::Day, Step::Hour].into_iter().find(|step| step.seconds() <= ideal);
        let step = coarsest.unwrap_or(Step::Minute).max(Step::for_length(length * TIMES));
        let width = (ideal / step.seconds()).max(1) * step.seconds();
        let last = (until + width - 1).div_euclid(width) * width;
        let shift = (length + DAY - 1) / DAY * DAY;
        Self { stretch: (from, until), line: (last - LINE * width, last), width, step, shift }
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

/// The overview from `from` to before `until`, for these providers and whoever else has figures, and what departs now.
///
/// # Errors
/// Where the store cannot be read.
pub fn overview(
    reader: &Reader<'_>,
    configured: &[String],
    range: (i64, i64),
    known: &Known,
) -> Result<Value, ControlError> {
    let times = Times::of(range);
    let shown = (times.line.0.min(range.0), range.1);
    let now = Tracks::of(reader, None, [shown], times.step)?;
    // Of stretches of days, whole days are compared.
    let step = if times.shift > DAY { Step::Day } else { Step::Hour };
    let mut stretches: Vec<_> = times.earlier(step).collect();
    stretches.reverse();
    let then = Tracks::of(reader, None, stretches.iter().copied(), step)?;

    let mut names = configured.to_vec();
    names.extend(
        now.providers().into_iter().filter(|name| !configured.iter().any(|known| known == name)).map(Into::into),
    );
    // Twice the length: what a day is worth is read by the hour.
    let grain = Step::for_length(2 * (range.1 - range.0));
    let worths = worth_by(reader, &names, range, grain)?;
    let shares = shares_by(reader, &names, range, grain)?;
    // What departed within the stretch has a say in the verdict on it.
    let departures: Vec<_> = known
        .departures
        .iter()
        .filter(|departure| departure.since < range.1 && known.judged.is_some_and(|judged| judged >= range.0))
        .collect();

    let (mut cases, mut rows) = (Vec::new(), Vec::new());
    for ((cdn, share), worth) in names.into_iter().zip(shares).zip(worths) {
        let departs =
            departures.iter().filter(|departure| departure.cdn == cdn).map(|departure| verdict::tell(departure));
        let mut case = Case { cdn: cdn.clone(), findings: Vec::new(), departs: departs.collect() };
        let mut row = Map::new();
        let mut values = now.measured(&cdn, range);
        for (measure, value) in [
            (Measure::Offload, worth.offload),
            (Measure::ByteOffload, worth.byte_offload),
            (Measure::HitRatio, worth.hit_ratio),
        ] {
            values[measure as usize] = value;
        }
        let earlier: Vec<_> = stretches.iter().map(|stretch| then.measured(&cdn, *stretch)).collect();
        let lines = lines(&now, &cdn, (times.line, times.width), range.1);
        let has_pulls = values[Measure::Pulls as usize].is_some_and(|pulls| pulls > 0.0);
        for (measure, name) in Measure::ALL {
            let line: Vec<_> = lines.iter().map(|point| point[measure as usize]).collect();
            let normal = normal_of(measure, &earlier, &line, &times);
            let value = values[measure as usize];
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
    let together: Vec<_> =
        departures.iter().filter(|departure| departure.cdn == ALL).map(|departure| verdict::tell(departure)).collect();
    let verdict = verdict::judge(&cases, &together);
    Ok(json!({
        "from": range.0, "until": range.1,
        "line": { "from": times.line.0, "width": times.width },
        "verdict": { "blame": verdict.blame.name(), "text": verdict.text, "providers": verdict.providers },
        "newest": { "pulls": now.newest(figures::PULLS), "edge": now.newest(figures::EDGE_REQUESTS) },
        "providers": rows,
        "departures": known.to_json(),
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
    let tracks = Tracks::of(reader, Some(cdn), [(first, until)], step)?;
    let points = lines(&tracks, cdn, ((first, until), width), until);
    let line = |measure: Measure| points.iter().map(|point| point[measure as usize]).collect::<Vec<_>>();
    let lines: Map<String, Value> =
        Measure::ALL.into_iter().map(|(measure, name)| (name.into(), json!(line(measure)))).collect();
    Ok(json!({ "cdn": cdn, "from": first, "until": until, "width": width, "lines": lines }))
}

/// The measures of each bucket. Nothing at or after `end` is looked at.
fn lines(tracks: &Tracks, cdn: &str, ((from, until), width): ((i64, i64), i64), end: i64) -> Vec<Measured> {
    let buckets = (from..until).step_by(width as usize);
    buckets.map(|at| tracks.measured(cdn, (at, (at + width).min(end.max(at))))).collect()
}

/// From the same hours of earlier days or, where these are not kept yet, from what came before on the small line.
fn normal_of(measure: Measure, earlier: &[Measured], line: &[Option<f64>], times: &Times) -> Option<Normal> {
    let minutes = (times.stretch.1 - times.stretch.0) as f64 / 60.0;
    let least = |value| measure.least(value, minutes);
    let days = earlier.iter().filter_map(|all| all[measure as usize]).collect();
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
