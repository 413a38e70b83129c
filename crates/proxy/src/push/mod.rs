//! Pushes figures to sinks: when they are read and what they are called there.

mod graphite;
mod presence;
mod statsd;

pub(crate) use graphite::to_graphite;
pub(crate) use presence::{Presence, Sinks};
pub(crate) use statsd::to_statsd;

use prometheus::proto::{MetricFamily, MetricType};
use std::collections::HashMap;
use std::time::{Duration, SystemTime};

/// Waits for the next beat and returns its time since 1970.
///
/// Beats are whole multiples of the interval, so that each falls into a slot of its own where a sink keeps one point an interval.
/// What is done at a beat does not move the next one.
async fn beat(interval: Duration, last: Duration) -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let next = next_beat(now, interval, last);
    tokio::time::sleep(next.saturating_sub(now)).await;
    next
}

/// A clock that is slowed down while we sleep shows a time just before the last beat: that beat does not come twice.
fn next_beat(now: Duration, interval: Duration, last: Duration) -> Duration {
    let step = interval.as_nanos().max(1);
    let mut next = (now.as_nanos() / step + 1) * step;
    if next == last.as_nanos() {
        next += step;
    }
    Duration::from_nanos(u64::try_from(next).unwrap_or(u64::MAX))
}

/// A figure under a dotted name.
struct Sample {
    name: String,
    value: f64,
    /// Whether it only grows.
    counts: bool,
}

/// Every counter and gauge; of a histogram its count and its sum.
fn samples(families: &[MetricFamily], prefix: &str) -> Vec<Sample> {
    let mut samples: Vec<Sample> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut add = |name: String, value: f64, counts: bool| match places.get(&name) {
        // Two labels may differ in a character alone that no name can hold.
        Some(&place) => samples[place].value += value,
        None => {
            places.insert(name.clone(), samples.len());
            samples.push(Sample { name, value, counts });
        }
    };
    for family in families {
        let name = family.name().strip_prefix("headwater_").unwrap_or(family.name());
        for metric in family.get_metric() {
            let mut path = format!("{prefix}.{name}");
            for label in metric.get_label() {
                path.push('.');
                // A dot in a value would make two levels of it.
                path.extend(label.value().chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }));
            }
            match family.get_field_type() {
                MetricType::COUNTER => add(path, metric.get_counter().get_value(), true),
                MetricType::GAUGE => add(path, metric.get_gauge().get_value(), false),
                MetricType::HISTOGRAM => {
                    let histogram = metric.get_histogram();
                    add(format!("{path}.count"), histogram.get_sample_count() as f64, true);
                    add(format!("{path}.sum"), histogram.get_sample_sum(), true);
                }
                _ => {}
            }
        }
    }
    samples
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beats_stand_on_a_raster_and_none_comes_twice() {
        let ms = Duration::from_millis;
        assert_eq!(next_beat(ms(12_345), ms(10_000), ms(10_000)), ms(20_000));
        assert_eq!(next_beat(ms(20_000), ms(10_000), ms(20_000)), ms(30_000));
        // The clock was slowed down.
        assert_eq!(next_beat(ms(19_999), ms(10_000), ms(20_000)), ms(30_000));
        // It was set back by an hour.
        assert_eq!(next_beat(ms(1_234), ms(1_000), ms(3_600_000)), ms(2_000));
    }

    #[test]
    fn names_that_become_one_are_one_figure() {
        let registry = prometheus::Registry::new();
        let counters =
            prometheus::IntCounterVec::new(prometheus::Opts::new("headwater_beacons_total", "x"), &["source"]).unwrap();
        registry.register(Box::new(counters.clone())).unwrap();
        counters.with_label_values(&["a.b"]).inc_by(2);
        counters.with_label_values(&["a_b"]).inc_by(3);
        let found = samples(&registry.gather(), "web");
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].name.as_str(), found[0].value), ("web.beacons_total.a_b", 5.0));
    }
}
