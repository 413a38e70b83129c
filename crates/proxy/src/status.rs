//! `/status`: what an operator looks for first, as JSON. Its shape is told in `docs/metrics.md`.

use crate::server::Control;
use crate::upstream;
use headwater_config::{AccessLog, Policy, Provider};
use prometheus::IntCounter;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

/// How the process stands.
pub(crate) fn status(control: &Control) -> Value {
    let shared = &control.shared;
    let live = shared.live.load();
    let (policy, figures) = (&live.policy, &shared.figures);
    let connections: BTreeMap<_, _> = shared.cap.counts().into_iter().collect();
    let workers: Vec<usize> = shared.open.iter().map(|open| open.load(Relaxed)).collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "uptime_seconds": control.started.elapsed().as_secs(),
        "draining": shared.draining.load(Relaxed),
        "policy": {
            "hash": live.policy.hash,
            "age_seconds": live.since.elapsed().map_or(0, |age| age.as_secs()),
            "reload_failed": control.refused.load(Relaxed),
            "waits_for_restart": control.waits_for_restart(),
            "last_reload": control.reloads.status(),
        },
        "listeners": control.listeners,
        "workers": workers.iter().map(|open| json!({ "downstream_connections": open })).collect::<Vec<_>>(),
        "downstream_connections": shared.downstream(),
        "pulls_in_flight": shared.in_flight.load(Relaxed),
        "pulls_waiting": shared.admission.waiting(),
        "tls": { "certificates": certificates(policy) },
        "upstream": { "servers": upstream::status(&live.servers), "connections": connections },
        "log": {
            "access": match &policy.log.access {
                AccessLog::Off => "off".to_string(),
                AccessLog::Stdout => "stdout".to_string(),
                AccessLog::File(path) => path.display().to_string(),
            },
            "lines_dropped": figures.lines_dropped.get(),
            "lines_sampled_out": figures.lines_sampled_out.get(),
        },
        "sinks": sinks(control, policy),
        "providers": providers(control, policy),
    })
}

/// A moment, as HTTP writes it: `Tue, 24 Nov 2026 20:00:00 GMT`.
pub(crate) fn moment(at: SystemTime) -> String {
    httpdate::fmt_http_date(at)
}

fn certificates(policy: &Policy) -> Vec<Value> {
    let known = policy.tls.as_ref().map(|tls| tls.certificates.as_slice()).unwrap_or_default();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let one = |certificate: &headwater_config::tls::Certificate| {
        // A time that no calendar of four digits holds is as good as none.
        let expires = certificate.expires.filter(|expires| *expires < 253_402_300_800);
        json!({
            "names": certificate.names,
            "expires": expires.map(|expires| moment(SystemTime::UNIX_EPOCH + Duration::from_secs(expires))),
            "expires_in_seconds": expires.map(|expires| expires as i64 - now as i64),
        })
    };
    known.iter().map(one).collect()
}

/// Those that are configured.
fn sinks(control: &Control, policy: &Policy) -> Value {
    let figures = &control.shared.figures;
    let pushes = |sink: &str| figures.pushes_dropped.with_label_values(&[sink]);
    let collector = policy.trace.as_ref().map(|trace| &trace.collector.address);
    let mut sinks = Map::new();
    let mut add = |name: &str, to: Option<&String>, dropped: IntCounter| {
        if let Some(to) = to {
            let mut sink = control.sinks.status(name, to);
            sink["dropped"] = dropped.get().into();
            sinks.insert(name.into(), sink);
        }
    };
    add("graphite", policy.metrics.graphite.as_ref(), pushes("graphite"));
    add("statsd", policy.metrics.statsd.as_ref(), pushes("statsd"));
    add("otlp", collector, figures.spans_dropped.clone());
    sinks.into()
}

/// Pulls, bytes and 5xx of every `cdn` label; of a provider also what has to prove it, and how often its name was used without.
fn providers(control: &Control, policy: &Policy) -> Value {
    let mut totals = BTreeMap::<String, [u64; 3]>::new();
    for label in &control.shared.live.load().meters.labels {
        totals.entry(label.clone()).or_default();
    }
    for family in control.gather() {
        let column = match family.name() {
            "headwater_pulls_total" => 0,
            "headwater_pull_bytes_total" => 1,
            _ => continue,
        };
        for metric in family.get_metric() {
            let label = |name: &str| {
                metric.get_label().iter().find(|label| label.name() == name).map_or("", |label| label.value())
            };
            let value = metric.get_counter().get_value() as u64;
            let row = totals.entry(label("cdn").to_string()).or_default();
            row[column] += value;
            if column == 0 && label("code") == "5xx" {
                row[2] += value;
            }
        }
    }
    let rows = totals.into_iter().map(|(cdn, [pulls, bytes, errors])| {
        let mut row = json!({ "pulls": pulls, "bytes": bytes, "answers_5xx": errors });
        if let Some(provider) = policy.providers.iter().find(|provider| provider.name == cdn) {
            row["kind"] = provider.kind.name().into();
            row["proofs"] = proofs(provider).into();
            let mismatches = control.shared.figures.mismatch.with_label_values(&[&cdn]);
            row["identity_mismatches"] = mismatches.get().into();
        }
        (cdn, row)
    });
    Value::Object(rows.collect())
}

/// What has to hold, by its key in the configuration.
fn proofs(provider: &Provider) -> Vec<&'static str> {
    let all = [
        ("secret", provider.secret.is_some()),
        ("client_certificate", provider.certificate.is_some()),
        ("networks", !provider.networks.is_empty()),
    ];
    all.into_iter().filter(|(_, there)| *there).map(|(key, _)| key).collect()
}
