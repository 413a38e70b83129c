//! The control plane's own figures, as Prometheus text. They are made from the store alone, so that they are the same
//! after a restart.

use super::answer::{self, Answer};
use super::checks;
use crate::offload::{self, Worth};
use crate::totals::{self, Total};
use crate::{Context, ControlError};
use http::StatusCode;
use prometheus::core::Collector;
use prometheus::{CounterVec, GaugeVec, Opts, Registry, TextEncoder};
use std::time::SystemTime;

/// Ratios are over the last settled stretch of so many seconds.
const RATIO_OVER: i64 = 3600;

/// `GET /metrics`
pub(super) async fn answer(context: &Context) -> Answer {
    let seen = match Seen::read(context).await {
        Ok(seen) => seen,
        Err(error) => return answer::text(StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
    };
    let judged = match checks::gauges(context).await {
        Ok(judged) => judged,
        Err(error) => return answer::text(StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
    };
    match text(&seen).map(|text| text + &judged) {
        Ok(text) => answer::of(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text),
        Err(error) => answer::text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

/// All that is told.
#[derive(Default)]
struct Seen {
    totals: Vec<(String, Total)>,
    /// The share that is allowed.
    disagreement: f64,
    worths: Vec<Worth>,
    /// When each proxy's figures were read last.
    read: Vec<(String, f64)>,
    store_bytes: f64,
    store_written: Option<f64>,
}

impl Seen {
    async fn read(context: &Context) -> Result<Self, ControlError> {
        let providers = totals::providers(context);
        let mut seen = context
            .store
            .read(move |reader| {
                let mut seen = Self::default();
                for cdn in providers {
                    if let Some(total) = Total::read(reader, &totals::name(&cdn))? {
                        seen.totals.push((cdn.clone(), total));
                    }
                    if let Some(settled) = offload::settled(reader, &cdn)? {
                        let window = (settled - RATIO_OVER, settled);
                        seen.worths.extend(offload::worth(reader, &[cdn], window)?);
                    }
                }
                for proxy in offload::join::in_force(reader)?.into_keys() {
                    let reading = reader.checkpoint(&format!("pulls/{proxy}"))?.unwrap_or_default();
                    let reading: serde_json::Value = serde_json::from_str(&reading).unwrap_or_default();
                    seen.read.extend(reading["at"].as_f64().map(|at| (proxy, at)));
                }
                Ok(seen)
            })
            .await?;
        seen.disagreement = context.policy.control.disagreement;
        for end in ["", "-wal"] {
            let mut path = context.policy.control.store.clone().into_os_string();
            path.push(end);
            let Ok(file) = std::fs::metadata(path) else { continue };
            seen.store_bytes += file.len() as f64;
            let written = file.modified().ok().and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
            let written = written.map(|at| at.as_secs_f64());
            seen.store_written = [seen.store_written, written].into_iter().flatten().reduce(f64::max);
        }
        Ok(seen)
    }
}

fn text(seen: &Seen) -> Result<String, prometheus::Error> {
    let registry = Registry::new();
    let counter = |name: &str, help: &str, of: fn(&Total) -> Option<f64>| -> Result<(), prometheus::Error> {
        let counters = register(&registry, CounterVec::new(Opts::new(name, help), &["cdn"])?)?;
        let totals = seen.totals.iter().filter_map(|(cdn, total)| Some((cdn, of(total)?)));
        totals.for_each(|(cdn, total)| counters.with_label_values(&[cdn]).inc_by(total));
        Ok(())
    };
    counter("headwater_edge_requests_total", "Users' requests that the edge answered, as far as settled.", |total| {
        total.requests
    })?;
    counter("headwater_edge_bytes_total", "Bytes to users, as far as settled.", |total| total.bytes)?;
    counter("headwater_edge_hits_total", "Requests that the edge's caches answered, as far as settled.", |total| {
        total.hits
    })?;
    let gauge = |name: &str, help: &str, of: fn(&Worth) -> Option<f64>| -> Result<(), prometheus::Error> {
        let gauges = register(&registry, GaugeVec::new(Opts::new(name, help), &["cdn"])?)?;
        let values = seen.worths.iter().filter_map(|worth| Some((&worth.cdn, of(worth)?)));
        values.for_each(|(cdn, value)| gauges.with_label_values(&[cdn]).set(value));
        Ok(())
    };
    gauge("headwater_offload_ratio", "1 - pulls / edge requests, of the last settled hour.", |worth| worth.offload)?;
    gauge("headwater_byte_offload_ratio", "1 - pulled bytes / edge bytes, of the last settled hour.", |worth| {
        worth.byte_offload
    })?;
    gauge("headwater_hit_ratio", "The vendor's hits / (hits + misses), of the last settled hour.", |worth| {
        worth.hit_ratio
    })?;
    gauge("headwater_origin_disagreement_ratio", "(vendor's count of pulls - ours) / the greater.", |worth| {
        worth.disagreement
    })?;
    gauge("headwater_edge_settled_timestamp_seconds", "Up to when the edge's figures are settled.", |worth| {
        worth.settled_until.map(|at| at as f64)
    })?;
    let disagree =
        Opts::new("headwater_origin_disagrees", "1 where that is more than is allowed, and more than chance.");
    let disagree = register(&registry, GaugeVec::new(disagree, &["cdn"])?)?;
    for worth in seen.worths.iter().filter(|worth| worth.disagreement.is_some()) {
        let by_much = !offload::disagreements(std::slice::from_ref(worth), seen.disagreement).is_empty();
        disagree.with_label_values(&[&worth.cdn]).set(f64::from(u8::from(by_much)));
    }
    let read = Opts::new("headwater_proxy_read_timestamp_seconds", "When a proxy's figures were read last.");
    let read = register(&registry, GaugeVec::new(read, &["proxy"])?)?;
    seen.read.iter().for_each(|(proxy, at)| read.with_label_values(&[proxy]).set(*at));
    for (name, help, value) in [
        ("headwater_store_bytes", "The store's size.", Some(seen.store_bytes)),
        ("headwater_store_written_timestamp_seconds", "When the store was written last.", seen.store_written),
    ] {
        if let Some(value) = value {
            register(&registry, prometheus::Gauge::new(name, help)?)?.set(value);
        }
    }
    TextEncoder::new().encode_to_string(&registry.gather())
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> Result<C, prometheus::Error> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_is_absent() {
        let total = Total { until: 60, requests: Some(12.0), ..Total::default() };
        let worth = Worth { cdn: "fastly".into(), offload: Some(-0.25), ..Worth::default() };
        let worth = Worth { disagreement: Some(0.1), is_certain: true, ..worth };
        let seen =
            Seen { totals: vec![("fastly".into(), total)], worths: vec![worth], disagreement: 0.05, ..Seen::default() };
        let text = text(&seen).unwrap();
        assert!(text.contains("headwater_edge_requests_total{cdn=\"fastly\"} 12\n"), "{text}");
        assert!(text.contains("headwater_offload_ratio{cdn=\"fastly\"} -0.25\n"), "{text}");
        assert!(text.contains("headwater_origin_disagrees{cdn=\"fastly\"} 1\n"), "{text}");
        assert!(!text.contains("headwater_edge_bytes_total{"), "{text}");
        assert!(!text.contains("headwater_hit_ratio{"), "{text}");
    }
}
