//! What is counted, as counters: under the names that the proxy's have, for Prometheus and for Graphite.

use crate::ControlError;
use crate::figures::{self, Figure};
use crate::sketch::Sketch;
use crate::store::{Reader, Step};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Upper bounds of the proxy's histograms, in seconds.
const SECONDS: [f64; 16] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

type Labels = Vec<(&'static str, String)>;

/// A counter's name without its prefix, its figure, and its labels in the order of their names, as Prometheus has them.
struct Counter {
    name: &'static str,
    help: &'static str,
    figure: &'static Figure,
    labels: fn(cdn: &str, label: &str) -> Labels,
}

const COUNTERS: [Counter; 4] = [
    Counter {
        name: "pulls_total",
        help: "Requests in the access logs.",
        figure: figures::RULE_PULLS,
        labels: |cdn, label| {
            let (rule, code) = label.rsplit_once('/').unwrap_or((label, ""));
            vec![("cdn", cdn.into()), ("code", code.into()), ("rule", rule.into())]
        },
    },
    Counter {
        name: "pull_bytes_total",
        help: "Bytes of bodies sent downstream.",
        figure: figures::RULE_BYTES,
        labels: |cdn, rule| vec![("cdn", cdn.into()), ("rule", rule.into())],
    },
    Counter {
        name: "beacons_total",
        help: "Failure beacons.",
        figure: figures::BEACONS,
        labels: |cdn, source| vec![("cdn", cdn.into()), ("source", source.into())],
    },
    Counter {
        name: "beacon_countries_total",
        help: "Failure beacons by the user's country.",
        figure: figures::BEACON_COUNTRIES,
        labels: |_, country| vec![("country", country.into())],
    },
];

const HISTOGRAMS: [(&str, &str, &Figure); 2] = [
    ("pull_duration_seconds", "How long a pull took, as the access log says.", figures::PULL_SECONDS),
    ("upstream_first_byte_seconds", "To the origin's first byte, as the access log says.", figures::ORIGIN_SECONDS),
];

/// All there is before `until`, in stretches of whole days, hours and minutes.
fn stretches(until: i64) -> [(Step, (i64, i64)); 3] {
    let floor = |step: Step| until.div_euclid(step.seconds()) * step.seconds();
    let (day, hour) = (floor(Step::Day), floor(Step::Hour));
    [(Step::Day, (0, day)), (Step::Hour, (day, hour)), (Step::Minute, (hour, until))]
}

/// Prometheus text of all that was ever counted.
pub(super) fn prometheus(reader: &Reader<'_>) -> Result<String, ControlError> {
    let mut out = String::new();
    let all = (0, i64::MAX);
    for Counter { name, help, figure, labels } in &COUNTERS {
        let _ = write!(out, "# HELP headwater_{name} {help}\n# TYPE headwater_{name} counter\n");
        for series in reader.points(figure, None, all, Step::Day)? {
            let total: f64 = series.points.iter().map(|(_, value)| value).sum();
            let _ = writeln!(out, "headwater_{name}{{{}}} {total}", text(&labels(&series.cdn, &series.label)));
        }
    }
    for (name, help, figure) in &HISTOGRAMS {
        let _ = write!(out, "# HELP headwater_{name} {help}\n# TYPE headwater_{name} histogram\n");
        for series in reader.sketches(figure, None, all, Step::Day)? {
            let labels = text(&[("cdn", series.cdn)]);
            let mut sketch = Sketch::default();
            series.points.iter().for_each(|(_, more)| sketch.merge(more));
            for limit in SECONDS {
                let count = sketch.count_to(limit);
                let _ = writeln!(out, "headwater_{name}_bucket{{{labels},le=\"{limit}\"}} {count}");
            }
            let (count, sum) = (sketch.count(), sketch.sum());
            let _ = writeln!(out, "headwater_{name}_bucket{{{labels},le=\"+Inf\"}} {count}");
            let _ = writeln!(out, "headwater_{name}_sum{{{labels}}} {sum}\nheadwater_{name}_count{{{labels}}} {count}");
        }
    }
    Ok(out)
}

/// Labels are configured names, countries, and sources of plain letters: nothing needs an escape but what a name may have.
fn text(labels: &[(&'static str, String)]) -> String {
    let escaped = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect::<Vec<_>>().join(",")
}

/// A counter in Graphite: what it stood at, and what it gained minute by minute.
#[derive(Default)]
struct Growth {
    base: f64,
    gains: BTreeMap<i64, f64>,
}

/// Graphite's lines for the minutes from `from` to before `until`: each counter's value at the minute's end, with that
/// time, as the proxy would have read it then. A counter begins with the minute that it began in.
pub(super) fn graphite(reader: &Reader<'_>, prefix: &str, (from, until): (i64, i64)) -> Result<String, ControlError> {
    let mut counters: BTreeMap<String, Growth> = BTreeMap::new();
    let path = |name: &str, labels: &Labels| {
        labels.iter().fold(format!("{prefix}.{name}"), |mut path, (_, value)| {
            path.push('.');
            path.extend(value.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }));
            path
        })
    };
    let minutes = [(Step::Minute, (from, until))];
    for Counter { name, figure, labels, .. } in &COUNTERS {
        for (step, range) in stretches(from).into_iter().chain(minutes) {
            for series in reader.points(figure, None, range, step)? {
                let growth = counters.entry(path(name, &labels(&series.cdn, &series.label))).or_default();
                series.points.iter().for_each(|(at, value)| growth.gain((*at, from), *value));
            }
        }
    }
    for (name, _, figure) in &HISTOGRAMS {
        for (step, range) in stretches(from).into_iter().chain(minutes) {
            for series in reader.sketches(figure, None, range, step)? {
                let path = path(name, &vec![("cdn", series.cdn)]);
                for (at, sketch) in &series.points {
                    let mut gain = |part, value| {
                        counters.entry(format!("{path}.{part}")).or_default().gain((*at, from), value);
                    };
                    gain("count", sketch.count() as f64);
                    gain("sum", sketch.sum());
                }
            }
        }
    }
    let mut out = String::new();
    for (name, Growth { base, gains }) in &counters {
        let mut value = *base;
        for minute in (from..until).step_by(60) {
            value += gains.get(&minute).unwrap_or(&0.0);
            if value > 0.0 {
                let _ = writeln!(out, "{name} {value} {}", minute + 60);
            }
        }
    }
    Ok(out)
}

impl Growth {
    fn gain(&mut self, (at, from): (i64, i64), value: f64) {
        if at < from {
            self.base += value;
        } else {
            *self.gains.entry(at).or_default() += value;
        }
    }
}

/// The first minute of which there is anything.
pub(super) fn first_minute(reader: &Reader<'_>) -> Result<Option<i64>, ControlError> {
    let all = reader.points(figures::RULE_PULLS, None, (0, i64::MAX), Step::Minute)?;
    Ok(all.iter().filter_map(|series| series.points.first()).map(|(at, _)| *at).min())
}
