//! Figures: every counter, with labels from closed sets alone. What a pull counts is looked up once per policy, not per pull.

mod series;

use crate::cap::Cap;
use headwater_config::Policy;
use prometheus::core::Collector;
use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::SystemTime;

/// Seconds. From what a cache in the origin's memory takes to what a user gives up at.
const SECONDS: [f64; 16] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Beacon sources that get a label when none are configured.
const MOST_SOURCES: usize = 64;

/// All figures of a process. Names and labels are a contract: see `docs/metrics.md`.
pub(crate) struct Figures {
    pub registry: Registry,
    pulls: IntCounterVec,
    bytes: IntCounterVec,
    duration: HistogramVec,
    first_byte: HistogramVec,
    pub upstream_errors: IntCounterVec,
    upstream_connections: IntGaugeVec,
    gzip_bytes: IntCounterVec,
    pub whoopsie: IntCounterVec,
    pub beacons: IntCounterVec,
    pub countries: IntCounterVec,
    pub reports: IntCounterVec,
    pub handshakes: IntCounterVec,
    pub proxy_headers: IntCounterVec,
    pub mismatch: IntCounterVec,
    pub reload_failed: IntGauge,
    pub lines_dropped: IntCounter,
    pub lines_sampled_out: IntCounter,
    pub pushes_dropped: IntCounterVec,
    #[cfg_attr(not(feature = "otlp"), allow(dead_code, reason = "such a build sends none"))]
    pub spans_sent: IntCounter,
    pub spans_dropped: IntCounter,
    pub downstream_connections: IntGauge,
    pub in_flight: IntGauge,
    pub waiting: IntGauge,
    pub strangers: IntCounterVec,
    /// Connections that were closed as they came.
    pub turned_away: IntCounter,
    pub floods: IntCounterVec,
    pub upgrades: IntCounterVec,
    /// Sources of strangers that have a label.
    sources: Mutex<HashSet<String>>,
    /// Names of the policy in force.
    names: Mutex<series::Names>,
}

impl Figures {
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, labels: &[&str]| {
            register(&registry, IntCounterVec::new(Opts::new(name, help), labels)?)
        };
        let seconds = |name: &str, help: &str| {
            register(&registry, HistogramVec::new(HistogramOpts::new(name, help).buckets(SECONDS.to_vec()), &["cdn"])?)
        };
        let counter = |name: &str, help: &str| register(&registry, IntCounter::new(name, help)?);
        let gauge = |name: &str, help: &str| register(&registry, IntGauge::new(name, help)?);
        // Who reads counters knows by it that they begin anew, though they may be higher than they were.
        let began = Gauge::new("process_start_time_seconds", "When this process began, in seconds since the epoch.")?;
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        register(&registry, began)?.set((since_epoch.as_secs_f64() * 1000.0).round() / 1000.0);
        Ok(Self {
            pulls: counters("headwater_pulls_total", "Requests that reached Headwater.", &["cdn", "rule", "code"])?,
            bytes: counters("headwater_pull_bytes_total", "Bytes of bodies sent downstream.", &["cdn", "rule"])?,
            duration: seconds("headwater_pull_duration_seconds", "From a head's first byte to the answer's last.")?,
            first_byte: seconds("headwater_upstream_first_byte_seconds", "From a pull's start to the origin's head.")?,
            upstream_errors: counters(
                "headwater_upstream_errors_total",
                "Exchanges with the origin that failed.",
                &["reason"],
            )?,
            upstream_connections: register(
                &registry,
                IntGaugeVec::new(
                    Opts::new(
                        "headwater_upstream_connections",
                        "Connections to the origin, and pulls that wait for one.",
                    ),
                    &["state"],
                )?,
            )?,
            gzip_bytes: counters("headwater_gzip_bytes_total", "Bytes before and after compression.", &["direction"])?,
            whoopsie: counters("headwater_whoopsie_total", "Error pages sent.", &["cdn", "reason", "language"])?,
            beacons: counters("headwater_beacons_total", "Failure beacons.", &["source", "cdn"])?,
            countries: counters(
                "headwater_beacon_countries_total",
                "Failure beacons by the user's country.",
                &["country"],
            )?,
            handshakes: counters("headwater_tls_handshakes_total", "Beginnings of TLS connections.", &["result"])?,
            proxy_headers: counters(
                "headwater_proxy_headers_total",
                "Beginnings of connections from listen.proxy_protocol_from.",
                &["result"],
            )?,
            reports: counters("headwater_reports_total", "Reports that browsers sent.", &["type", "phase", "cdn"])?,
            mismatch: counters(
                "headwater_identity_mismatch_total",
                "Tags that were not proven, or that the pull's other headers contradict.",
                &["claimed"],
            )?,
            reload_failed: gauge(
                "headwater_policy_reload_failed",
                "1 while the file on disk is not the policy in force, or not all of it: a key may wait for a restart.",
            )?,
            lines_dropped: counter(
                "headwater_log_lines_dropped_total",
                "Lines of the access log that could not be written.",
            )?,
            lines_sampled_out: counter(
                "headwater_log_lines_sampled_out_total",
                "Pulls that got no line in the access log, by log.sample or log_sample.",
            )?,
            spans_sent: counter("headwater_spans_sent_total", "Spans that the collector took.")?,
            spans_dropped: counter("headwater_spans_dropped_total", "Spans that the collector did not get.")?,
            pushes_dropped: counters(
                "headwater_pushes_dropped_total",
                "Figures lost as their sink was away.",
                &["sink"],
            )?,
            downstream_connections: gauge("headwater_downstream_connections", "Open connections from downstream.")?,
            floods: counters("headwater_http2_floods_total", "Connections of HTTP/2 ended for a flood.", &["kind"])?,
            turned_away: register(
                &registry,
                IntCounter::new(
                    "headwater_connections_refused_total",
                    "Connections from downstream closed as they came: limits.max_connections were open.",
                )?,
            )?,
            strangers: counters("headwater_strangers_refused_total", "Pulls that got 429.", &["reason"])?,
            upgrades: counters("headwater_upgrades_total", "Successors started on SIGUSR2.", &["result"])?,
            waiting: gauge("headwater_pulls_waiting", "Pulls that wait as limits.max_in_flight are being answered.")?,
            in_flight: gauge("headwater_pulls_in_flight", "Pulls being answered.")?,
            sources: Mutex::default(),
            names: Mutex::default(),
            registry,
        })
    }

    /// Takes over what is counted elsewhere. Called before figures are read.
    pub fn refresh(&self, cap: &Cap, downstream: usize, in_flight: usize, waiting: usize) {
        for (state, count) in cap.counts() {
            self.upstream_connections.with_label_values(&[state]).set(count as i64);
        }
        self.downstream_connections.set(downstream as i64);
        self.in_flight.set(in_flight as i64);
        self.waiting.set(waiting as i64);
    }

    /// The counters of compression.
    pub fn gzip_meter(&self) -> crate::compress::Meter {
        crate::compress::Meter {
            bytes_in: self.gzip_bytes.with_label_values(&["in"]),
            bytes_out: self.gzip_bytes.with_label_values(&["out"]),
        }
    }

    /// The label for a beacon's source: one that our own pages name, a configured one, where none is configured one of the first
    /// that came, or `other`. `cdns` are the values of that label.
    pub fn source_label(&self, source: &str, configured: &[String], cdns: &[String]) -> String {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
        // Strangers' names must not take the place of our own.
        let known = if series::is_own_source(source, cdns) {
            true
        } else if !configured.is_empty() {
            configured.iter().any(|name| name == source)
        } else if source.is_empty() || source.len() > 64 || !source.bytes().all(plain) {
            false
        } else {
            // A poisoned lock means that a label was being added: the set itself is whole.
            let mut seen = self.sources.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            seen.contains(source) || (seen.len() < MOST_SOURCES && seen.insert(source.to_string()))
        };
        if known { source.to_string() } else { "other".into() }
    }
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> Result<C, prometheus::Error> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

/// The counters of one policy, by index. Each is looked up when it is first needed. When the last pull of a policy has ended,
/// the series go whose names are in force no more.
pub(crate) struct Meters {
    figures: Arc<Figures>,
    /// Names of the `cdn` label, by [`crate::identify::Asker::label`].
    pub labels: Vec<String>,
    rules: Vec<String>,
    pulls: Vec<OnceLock<IntCounter>>,
    bytes: Vec<OnceLock<IntCounter>>,
    duration: Vec<OnceLock<Histogram>>,
    first_byte: Vec<OnceLock<Histogram>>,
    pub gzip: crate::compress::Meter,
}

const CODES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

impl Meters {
    pub fn new(figures: Arc<Figures>, policy: &Policy) -> Self {
        figures.begin(policy);
        let (labels, rules) = (series::cdns(policy), series::rules(policy));
        let pairs = labels.len() * rules.len();
        Self {
            pulls: (0..pairs * CODES.len()).map(|_| OnceLock::new()).collect(),
            bytes: (0..pairs).map(|_| OnceLock::new()).collect(),
            duration: (0..labels.len()).map(|_| OnceLock::new()).collect(),
            first_byte: (0..labels.len()).map(|_| OnceLock::new()).collect(),
            gzip: figures.gzip_meter(),
            figures,
            labels,
            rules,
        }
    }

    /// Counts a pull that has ended.
    pub fn count(&self, label: usize, rule: usize, status: u16, bytes: u64, seconds: f64, first_byte: Option<f64>) {
        let pair = label * self.rules.len() + rule;
        let (cdn, rule) = (self.labels[label].as_str(), self.rules[rule].as_str());
        let class = usize::from((status / 100).clamp(1, 5)) - 1;
        let figures = &self.figures;
        self.bytes[pair].get_or_init(|| figures.bytes.with_label_values(&[cdn, rule])).inc_by(bytes);
        self.duration[label].get_or_init(|| figures.duration.with_label_values(&[cdn])).observe(seconds);
        if let Some(first_byte) = first_byte {
            self.first_byte[label].get_or_init(|| figures.first_byte.with_label_values(&[cdn])).observe(first_byte);
        }
        // Last, so that who has seen the pull counted finds the rest counted too.
        self.pulls[pair * CODES.len() + class]
            .get_or_init(|| figures.pulls.with_label_values(&[cdn, rule, CODES[class]]))
            .inc();
    }
}

impl Drop for Meters {
    fn drop(&mut self) {
        self.figures.retire(&self.labels, &self.rules);
    }
}
