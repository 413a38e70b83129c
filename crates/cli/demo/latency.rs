//! Durations counted in buckets, and the percentiles read from them.

use std::time::Duration;

/// Buckets to each doubling: a percentile is at most 1/32 too high, about 3 %.
const STEPS: u64 = 32;
/// Doublings of a microsecond: up to 2^36 us, which is 19 hours.
const DOUBLINGS: usize = 36;

/// How often each duration was seen. Its size never changes.
#[derive(Clone)]
pub struct Latency {
    buckets: Vec<u64>,
    count: u64,
}

impl Default for Latency {
    fn default() -> Self {
        Self { buckets: vec![0; bucket(u64::MAX) + 1], count: 0 }
    }
}

impl Latency {
    /// Counts one duration.
    pub fn add(&mut self, duration: Duration) {
        self.buckets[bucket(duration.as_micros() as u64)] += 1;
        self.count += 1;
    }

    /// Counts all that the other has counted.
    pub fn merge(&mut self, other: &Latency) {
        for (ours, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *ours += theirs;
        }
        self.count += other.count;
    }

    /// The duration that a share (0 to 1) of all was not longer than; `None` where nothing was counted.
    pub fn percentile(&self, share: f64) -> Option<Duration> {
        let rank = ((self.count as f64 * share).ceil() as u64).clamp(1, self.count.max(1));
        let mut seen = 0;
        let index = self.buckets.iter().position(|&count| {
            seen += count;
            seen >= rank
        })?;
        Some(Duration::from_micros(longest(index)))
    }
}

/// Below `STEPS` each microsecond has a bucket of its own; above, each doubling has `STEPS` of them.
fn bucket(microseconds: u64) -> usize {
    if microseconds < STEPS {
        return microseconds as usize;
    }
    let doubling = microseconds.ilog2() - STEPS.ilog2();
    let doubling = doubling.min(DOUBLINGS as u32 - STEPS.ilog2());
    let step = (microseconds >> doubling).min(2 * STEPS - 1) - STEPS;
    (STEPS * (u64::from(doubling) + 1) + step) as usize
}

/// The longest duration that falls into a bucket, in microseconds.
fn longest(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < STEPS {
        return bucket;
    }
    let doubling = bucket / STEPS - 1;
    ((STEPS + bucket % STEPS + 1) << doubling) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_at_most_a_thirty_second_too_high() {
        let mut latency = Latency::default();
        for n in 1..=10_000 {
            latency.add(Duration::from_micros(n * 7));
        }
        for (share, true_value) in [(0.5, 35_000.0), (0.9, 63_000.0), (0.99, 69_300.0), (1.0, 70_000.0)] {
            let found = latency.percentile(share).unwrap().as_micros() as f64;
            assert!((true_value..=true_value * (1.0 + 1.0 / 32.0)).contains(&found), "{share}: {found}");
        }
    }

    #[test]
    fn every_duration_falls_into_the_bucket_whose_longest_it_does_not_exceed() {
        for microseconds in (0..100_000).chain([1 << 30, (1 << 36) - 1]) {
            let bucket = bucket(microseconds);
            assert!(longest(bucket) >= microseconds, "{microseconds}");
            assert!(bucket == 0 || longest(bucket - 1) < microseconds, "{microseconds}");
        }
        assert_eq!(bucket(u64::MAX), Latency::default().buckets.len() - 1);
    }

    #[test]
    fn nothing_counted_has_no_percentile() {
        assert_eq!(Latency::default().percentile(0.5), None);
    }

    #[test]
    fn one_slow_request_in_a_hundred_is_not_the_99th_percentile_but_two_are() {
        let mut latency = Latency::default();
        (0..99).for_each(|_| latency.add(Duration::from_millis(1)));
        latency.add(Duration::from_secs(1));
        assert!(latency.percentile(0.99).unwrap() < Duration::from_millis(2));
        let mut other = Latency::default();
        other.add(Duration::from_secs(1));
        latency.merge(&other);
        assert!(latency.percentile(0.99).unwrap() >= Duration::from_secs(1));
    }
}
