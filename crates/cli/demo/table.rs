//! The table: a row for each provider, for people and for scripts.

use super::figures::Figures;
use super::latency::Latency;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::time::Duration;

/// Readings that the recent offload spans; there is one a second.
const RECENT: usize = 11;

/// What one CDN knows of itself, beside what Headwater counted of it.
pub struct Edge {
    /// As the metrics call it.
    pub name: &'static str,
    /// Where it listens.
    pub address: String,
    /// Requests of users.
    pub requests: u64,
    /// Of these, answered from the cache.
    pub hits: u64,
    /// Of these, pulled and kept.
    pub misses: u64,
    /// Of these, answered with a 5xx.
    pub errors: u64,
    /// As users measured it.
    pub latency: Latency,
}

/// One row. What a row cannot know is `None`.
pub struct Row {
    name: String,
    address: Option<String>,
    edge: Option<u64>,
    hits: Option<u64>,
    hit_ratio: Option<f64>,
    pulls: u64,
    offload: Option<f64>,
    recent: Option<f64>,
    p50: Option<Duration>,
    p99: Option<Duration>,
    errors: u64,
    whoopsies: u64,
    beacons: u64,
}

/// Makes rows out of readings, and remembers the last readings.
#[derive(Default)]
pub struct Table {
    readings: VecDeque<Vec<(u64, u64)>>,
    cdns: Vec<Row>,
    all: Option<Row>,
    others: Vec<Row>,
}

/// `1 - pulls / edge`; negative where a CDN asks more often than its users do.
fn offload(edge: u64, pulls: u64) -> Option<f64> {
    (edge > 0).then(|| 1.0 - pulls as f64 / edge as f64)
}

impl Table {
    /// Takes a new reading: what each CDN knows, and what Headwater counted.
    pub fn read(&mut self, edges: &[Edge], figures: &Figures) {
        let counted = |name: &str| figures.get(name).copied().unwrap_or_default();
        let mut reading: Vec<(u64, u64)> = edges.iter().map(|edge| (edge.requests, counted(edge.name).pulls)).collect();
        let total = reading.iter().fold((0, 0), |total, one| (total.0 + one.0, total.1 + one.1));
        reading.push(total);
        self.readings.push_back(reading.clone());
        while self.readings.len() > RECENT {
            self.readings.pop_front();
        }
        let recent = |at: usize| {
            let (before, now) = (self.readings.front()?.get(at)?, reading.get(at)?);
            // Several readings are wanted, or the few requests between two counters being read would show.
            (self.readings.len() > 3).then(|| offload(now.0 - before.0, now.1.saturating_sub(before.1)))?
        };

        let rows = edges.iter().enumerate().map(|(at, edge)| {
            let counted = counted(edge.name);
            Row {
                name: edge.name.into(),
                address: Some(edge.address.clone()),
                edge: Some(edge.requests),
                hits: Some(edge.hits),
                hit_ratio: ratio(edge.hits, edge.hits + edge.misses),
                pulls: counted.pulls,
                offload: offload(edge.requests, counted.pulls),
                recent: recent(at),
                p50: edge.latency.percentile(0.5),
                p99: edge.latency.percentile(0.99),
                errors: edge.errors,
                whoopsies: counted.whoopsies,
                beacons: counted.beacons,
            }
        });
        self.cdns = rows.collect();
        let mut latency = Latency::default();
        edges.iter().for_each(|edge| latency.merge(&edge.latency));
        let sum = |of: fn(&Edge) -> u64| edges.iter().map(of).sum::<u64>();
        self.all = Some(Row {
            name: "all CDNs".into(),
            address: None,
            edge: Some(total.0),
            hits: Some(sum(|edge| edge.hits)),
            hit_ratio: ratio(sum(|edge| edge.hits), sum(|edge| edge.hits + edge.misses)),
            pulls: total.1,
            offload: offload(total.0, total.1),
            recent: recent(edges.len()),
            p50: latency.percentile(0.5),
            p99: latency.percentile(0.99),
            errors: sum(|edge| edge.errors),
            whoopsies: edges.iter().map(|edge| counted(edge.name).whoopsies).sum(),
            beacons: edges.iter().map(|edge| counted(edge.name).beacons).sum(),
        });
        // Pulls that no CDN of ours made: somebody asked Headwater directly.
        let others = figures.iter().filter(|(name, counted)| {
            let asked = counted.pulls + counted.beacons > 0;
            asked && edges.iter().all(|edge| edge.name != name.as_str())
        });
        let others = others.map(|(name, counted)| Row {
            name: name.clone(),
            address: None,
            edge: None,
            hits: None,
            hit_ratio: None,
            pulls: counted.pulls,
            offload: None,
            recent: None,
            p50: None,
            p99: None,
            errors: counted.errors,
            whoopsies: counted.whoopsies,
            beacons: counted.beacons,
        });
        self.others = others.collect();
    }

    /// Lines of at most 80 columns, as long as the counts are not in the millions.
    pub fn lines(&self) -> Vec<String> {
        let heads = ["", "edge", "pulls", "offload", "(10 s)", "p50", "p99", "5xx", "whoopsies", "beacons"];
        let heads = heads.map(String::from);
        let rows = self.cdns.iter().chain(&self.all).chain(&self.others);
        let cells = rows.map(|row| {
            [
                row.name.clone(),
                count(row.edge),
                row.pulls.to_string(),
                percent(row.offload),
                percent(row.recent),
                time(row.p50),
                time(row.p99),
                row.errors.to_string(),
                row.whoopsies.to_string(),
                row.beacons.to_string(),
            ]
        });
        std::iter::once(heads).chain(cells).map(line).collect()
    }

    /// The same for scripts: seconds and ratios, `null` where a row cannot know.
    pub fn json(&self) -> Value {
        let rows = |rows: &[Row]| rows.iter().map(Row::json).collect::<Value>();
        json!({ "cdns": rows(&self.cdns), "all": self.all.as_ref().map(Row::json), "others": rows(&self.others) })
    }
}

impl Row {
    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "address": self.address,
            "edge_requests": self.edge,
            "edge_hits": self.hits,
            "hit_ratio": self.hit_ratio,
            "pulls": self.pulls,
            "offload": self.offload,
            "offload_10s": self.recent,
            "p50_seconds": self.p50.map(|time| time.as_secs_f64()),
            "p99_seconds": self.p99.map(|time| time.as_secs_f64()),
            "errors_5xx": self.errors,
            "whoopsies": self.whoopsies,
            "beacons": self.beacons,
        })
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn line(cells: [String; 10]) -> String {
    const WIDTHS: [usize; 9] = [7, 7, 8, 7, 8, 8, 6, 10, 8];
    let [name, rest @ ..] = cells;
    let cells = rest.iter().zip(WIDTHS).map(|(cell, width)| format!("{cell:>width$}"));
    format!("{name:<10}{}", cells.collect::<String>())
}

fn count(count: Option<u64>) -> String {
    count.map_or("-".into(), |count| count.to_string())
}

fn percent(ratio: Option<f64>) -> String {
    ratio.map_or("-".into(), |ratio| format!("{:.1}%", ratio * 100.0))
}

/// Three digits that matter.
fn time(time: Option<Duration>) -> String {
    let Some(time) = time else { return "-".into() };
    match time.as_secs_f64() * 1e3 {
        ms if ms < 1.0 => format!("{ms:.2}ms"),
        ms if ms < 100.0 => format!("{ms:.1}ms"),
        ms if ms < 1000.0 => format!("{ms:.0}ms"),
        ms => format!("{:.2}s", ms / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::super::figures::Counted;
    use super::*;

    fn edge(name: &'static str, requests: u64) -> Edge {
        let mut latency = Latency::default();
        latency.add(Duration::from_micros(400));
        Edge { name, address: String::new(), requests, hits: 0, misses: 0, errors: 0, latency }
    }

    fn figures(pulls: &[(&str, u64)]) -> Figures {
        pulls.iter().map(|&(name, pulls)| (name.into(), Counted { pulls, ..Counted::default() })).collect()
    }

    #[test]
    fn offload_is_never_clamped() {
        let mut table = Table::default();
        table.read(&[edge("fastly", 100), edge("cloudflare", 100)], &figures(&[("fastly", 150), ("cloudflare", 25)]));
        let json = table.json();
        assert_eq!(json["cdns"][0]["offload"], -0.5);
        assert_eq!(json["cdns"][1]["offload"], 0.75);
        assert_eq!(json["all"]["offload"], 0.125);
        assert!(table.lines()[1].contains("-50.0%"));
    }

    #[test]
    fn recent_offload_leaves_the_cold_start_behind() {
        let mut table = Table::default();
        let pulls = |second: u64| if second < 10 { second * 100 } else { 1000 };
        for second in 0..=20 {
            table.read(&[edge("fastly", second * 100)], &figures(&[("fastly", pulls(second))]));
        }
        assert_eq!(table.cdns[0].offload, Some(0.5));
        assert_eq!(table.cdns[0].recent, Some(1.0));
    }

    #[test]
    fn who_is_no_cdn_has_a_row_once_he_has_asked() {
        let mut table = Table::default();
        let edges = [edge("fastly", 0)];
        table.read(&edges, &figures(&[("fastly", 0), ("unproven", 3), ("untagged", 0)]));
        let json = table.json();
        assert_eq!(json["others"].as_array().map(Vec::len), Some(1));
        assert_eq!(json["others"][0]["name"], "unproven");
        assert_eq!(json["others"][0]["edge_requests"], Value::Null);
        assert_eq!(json["cdns"][0]["offload"], Value::Null, "no request, no ratio");
    }

    #[test]
    fn lines_are_as_wide_as_a_terminal_at_most_and_of_one_width() {
        let mut table = Table::default();
        table.read(&[edge("cloudfront", 999_999)], &figures(&[("cloudfront", 999_999)]));
        assert!(table.lines().iter().all(|line| line.chars().count() == 79), "{:#?}", table.lines());
    }

    #[test]
    fn times_have_three_digits() {
        let shown = [400, 1_234, 99_900, 123_456, 1_230_000].map(|us| time(Some(Duration::from_micros(us))));
        assert_eq!(shown, ["0.40ms", "1.2ms", "99.9ms", "123ms", "1.23s"]);
    }
}
