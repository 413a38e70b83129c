//! What is judged, as gauges for Prometheus beside the totals. What is not known, or is too old, has no line: an absent series and a stale one
//! are the same to an alert rule, and neither is 0.

use super::{Checked, measure};
use crate::ControlError;
use crate::anomaly::Known;
use crate::store::Reader;
use std::collections::BTreeSet;
use std::fmt::Write;

/// The gauges, as Prometheus' text format has them.
///
/// # Errors
/// Where the store cannot be read.
pub fn text(reader: &Reader<'_>, providers: &[String], known: &Known, now: i64) -> Result<String, ControlError> {
    let mut text = String::new();
    let (checked, mut shares) = (Checked::EdgeErrors, Vec::new());
    for cdn in providers {
        let found = measure(reader, checked, providers, Some(cdn), checked.usual_window(), now)?;
        if let Some(found) = found.ok().filter(|found| now - found.window.1 <= checked.usual_lateness()) {
            shares.push((format!("cdn=\"{}\"", escaped(cdn)), found.value));
        }
    }
    let help = "The share of users' requests that the edge answered with a 5xx.";
    family(&mut text, "headwater_edge_5xx_ratio", help, &shares);
    // A rule must see the end of a departure too, so figures that do not depart are 0 and not absent.
    let departing: BTreeSet<(&str, &str)> =
        known.departures.iter().map(|departure| (departure.cdn.as_str(), departure.figure)).collect();
    let mut anomalies = Vec::new();
    if known.judged.is_some() {
        for cdn in providers.iter().map(String::as_str).chain([crate::anomaly::ALL]) {
            for measure in crate::anomaly::measures::ALL {
                let labels = format!("cdn=\"{}\",figure=\"{}\"", escaped(cdn), measure.name);
                anomalies.push((labels, f64::from(u8::from(departing.contains(&(cdn, measure.name))))));
            }
        }
    }
    family(&mut text, "headwater_anomaly", "1 while a figure departs from normal.", &anomalies);
    Ok(text)
}

fn family(text: &mut String, name: &str, help: &str, lines: &[(String, f64)]) {
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
    for (labels, value) in lines {
        let _ = writeln!(text, "{name}{{{labels}}} {value}");
    }
}

/// A label's value (Prometheus, text-based format).
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
