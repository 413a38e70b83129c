//! What is held against what, and what is said of it at the end.

use super::clients::Tally;
use headwater_testkit::Metrics;
use std::collections::HashMap;
use std::fmt::Write;
use std::time::Duration;

pub struct Report {
    length: Duration,
    pub reloads: u64,
    pub upgrades: u64,
    dropped_lines: f64,
    pulls: u64,
    again: u64,
    broken: u64,
    statuses: HashMap<u16, u64>,
    memory_kib: Vec<u64>,
    wrong: Vec<String>,
}

const CDNS: [&str; 4] = ["fastly", "untagged", "unproven", "other"];

impl Report {
    pub fn new(length: Duration) -> Self {
        Self {
            length,
            reloads: 0,
            upgrades: 0,
            dropped_lines: 0.0,
            pulls: 0,
            again: 0,
            broken: 0,
            statuses: HashMap::new(),
            memory_kib: Vec::new(),
            wrong: Vec::new(),
        }
    }

    fn take(&mut self, saw: &Tally) {
        self.pulls += saw.pulls();
        self.again += saw.again;
        self.wrong.extend_from_slice(&saw.wrong);
        let crossed =
            saw.all.iter().filter(|pull| pull.target.starts_with("/upload") && pull.status == 502).count() as u64;
        if crossed > saw.pulls() / 500 + 1 {
            self.wrong.push(format!("{crossed} uploads crossed the end of a connection"));
        }
        for pull in &saw.all {
            *self.statuses.entry(pull.status).or_default() += 1;
            self.broken += u64::from(!pull.complete);
        }
    }

    /// Holds what the clients of one process saw against what it counted meanwhile.
    pub fn compare(&mut self, saw: &Tally, before: &Metrics, after: &Metrics) {
        self.take(saw);
        let gained = |name: &str, labels: &[(&str, &str)]| after.value(name, labels) - before.value(name, labels);
        let mut check = |what: String, counted: f64, seen: u64| {
            if counted != seen as f64 {
                self.wrong.push(format!("{what}: {counted} counted, {seen} seen"));
            }
        };
        let dropped = gained("headwater_log_lines_dropped_total", &[]);
        let classes = saw.classes();
        for cdn in CDNS {
            for code in ["1xx", "2xx", "3xx", "4xx", "5xx"] {
                let seen = classes.get(&(cdn, code.to_string())).copied().unwrap_or(0);
                // The run itself asks for beacons of another source while it makes all well.
                let own = if (cdn, code) == ("untagged", "2xx") { own_beacons(before, after) } else { 0.0 };
                check(
                    format!("pulls {cdn} {code}"),
                    gained("headwater_pulls_total", &[("cdn", cdn), ("code", code)]) - own,
                    seen,
                );
            }
            let errors = saw.all.iter().filter(|pull| pull.cdn == cdn && pull.status >= 500).count() as u64;
            check(format!("error pages {cdn}"), gained("headwater_whoopsie_total", &[("cdn", cdn)]), errors);
            let beacon = |target: &str| target.starts_with("/status/images/beacon.gif");
            let beacons = saw.all.iter().filter(|pull| pull.cdn == cdn && beacon(&pull.target)).count() as u64;
            check(
                format!("beacons {cdn}"),
                gained("headwater_beacons_total", &[("source", "soak"), ("cdn", cdn)]),
                beacons,
            );
        }
        self.dropped_lines += dropped;
    }

    /// Holds what the clients of two processes saw against the log that both wrote.
    pub fn compare_log(&mut self, saw: &Tally, log: &str) {
        self.take(saw);
        let mut lines: HashMap<&str, (&str, Vec<&str>)> = HashMap::new();
        for line in log.lines() {
            let Some(target) = line.split('"').nth(1).and_then(|request| request.split(' ').nth(1)) else { continue };
            let status = line.split("\" ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or("");
            if lines.insert(target, (status, line.split(' ').collect())).is_some() {
                self.wrong.push(format!("two lines for {target}"));
            }
        }
        for pull in &saw.all {
            let Some((status, words)) = lines.remove(pull.target.as_str()) else {
                self.wrong.push(format!("no line for {} ({} {})", pull.target, pull.status, pull.cdn));
                continue;
            };
            let says = |word: &str| words.contains(&word);
            let end = if pull.complete { says("end=complete") } else { says("end=upstream") };
            if status != pull.status.to_string() || !says(&format!("cdn={}", pull.cdn)) || !end {
                self.wrong.push(format!("{pull:?} is logged as {}", words.join(" ")));
            }
        }
        for (target, (_, words)) in lines.iter().filter(|(target, _)| !target.contains("source=other")) {
            self.wrong.push(format!("a line for what nobody saw, {target}: {}", words.join(" ")));
        }
    }

    /// Memory at the end of a round.
    pub fn weigh(&mut self, kib: u64) {
        self.memory_kib.push(kib);
    }

    /// Says what there was, and fails if something was wrong.
    pub fn conclude(mut self, growth: u64) {
        let (first, last) = (self.memory_kib[0], self.memory_kib[self.memory_kib.len() - 1]);
        if last > first + growth {
            self.wrong.push(format!("memory grew from {first} to {last} KiB"));
        }
        if self.pulls < self.length.as_secs() * 20 {
            self.wrong.push(format!("only {} pulls", self.pulls));
        }
        if self.dropped_lines == 0.0 {
            self.wrong.push("the log was never in trouble".into());
        }
        let mut text = format!(
            "soak: {} pulls in {:?}, {} of them broken off by the origin; {} sent again as a kept connection had ended\n\
             soak: {} reloads, {} successors, {} lines dropped by a sick log; memory {:?} KiB\n",
            self.pulls,
            self.length,
            self.broken,
            self.again,
            self.reloads,
            self.upgrades,
            self.dropped_lines,
            self.memory_kib
        );
        let mut statuses: Vec<_> = self.statuses.iter().collect();
        statuses.sort();
        let _ = writeln!(text, "soak: by status {statuses:?}");
        println!("{text}");
        let shown: Vec<&String> = self.wrong.iter().take(20).collect();
        assert!(self.wrong.is_empty(), "{} things are wrong:\n{shown:#?}", self.wrong.len());
    }
}

fn own_beacons(before: &Metrics, after: &Metrics) -> f64 {
    let count = |metrics: &Metrics| metrics.value("headwater_beacons_total", &[("source", "other")]);
    count(after) - count(before)
}
