//! What a CDN says that its edge served: one schema for all vendors.

use crate::VendorError;
use std::time::Duration;

/// Seconds since the epoch, UTC.
pub type Seconds = i64;

/// A stretch of time, `until` not included. Both ends lie on the vendor's grain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its first second.
    pub from: Seconds,
    /// The first second behind it.
    pub until: Seconds,
}

/// What one property of a provider served within one bucket of time. What a vendor does not tell is `None`, and never 0.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bucket {
    /// The vendor's name for what was asked about: a service, a zone, a distribution, a CP code.
    pub property: String,
    /// The bucket's first second; it is as long as the vendor's [`Pace::grain`].
    pub start: Seconds,
    /// Requests of users, shields' requests not among them.
    pub requests: u64,
    /// Those answered from a cache, as the vendor defines it.
    pub hits: Option<u64>,
    /// Those that were looked for in a cache and not found, as the vendor defines it.
    pub misses: Option<u64>,
    /// Bytes to users, heads and bodies as the vendor counts them.
    pub bytes: Option<u64>,
    /// By class of status, 1xx to 5xx. A vendor may tell some and not others: CloudFront knows 4xx and 5xx alone.
    pub classes: [Option<u64>; 5],
    /// Requests to the origin by the vendor's own count.
    pub origin_requests: Option<u64>,
    /// Bytes from the origin by the vendor's own count.
    pub origin_bytes: Option<u64>,
    /// Of how many requests one was looked at, where the vendor samples: 1 is all of them.
    pub sampling: Option<f64>,
}

/// How a vendor's figures come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The length of a bucket: a minute, or the vendor's finest.
    pub grain: Duration,
    /// How long after a bucket's end its figures still change.
    pub settles: Duration,
    /// How far back the vendor tells.
    pub keeps: Duration,
    /// The longest window of one question.
    pub window: Duration,
    /// The least time between two questions, so that the vendor's rate limit is kept.
    pub spacing: Duration,
}

impl Bucket {
    /// Refuses what cannot be true: a bucket outside of the window or off its grain, more hits than requests.
    ///
    /// # Errors
    /// [`VendorError::Lying`], with what contradicts what.
    pub fn check(self, host: &str, window: Window, pace: &Pace) -> Result<Self, VendorError> {
        let lying = |why: String| Err(VendorError::Lying { host: host.into(), why });
        let Self { property, start, requests, .. } = &self;
        if !(window.from..window.until).contains(start) {
            return lying(format!("{property} has a bucket at {start}, asked was {} to {}", window.from, window.until));
        }
        if start % pace.grain.as_secs().max(1) as i64 != 0 {
            return lying(format!(
                "{property} has a bucket at {start}, which is no multiple of {} s",
                pace.grain.as_secs()
            ));
        }
        for (count, what) in [(self.hits, "hits"), (self.misses, "misses")] {
            if let Some(count) = count.filter(|count| count > requests) {
                return lying(format!("{property} has {count} {what} among {requests} requests at {start}"));
            }
        }
        // Where a vendor samples, two counts of the same requests differ a little.
        let sampled = self.sampling.is_some_and(|sampling| sampling > 1.0);
        for (class, count) in (1..).zip(self.classes) {
            if let Some(count) = count.filter(|count| count > requests && !sampled) {
                return lying(format!(
                    "{property} has {count} answers of {class}xx among {requests} requests at {start}"
                ));
            }
        }
        Ok(self)
    }
}

/// No CDN has more of anything in a bucket, and a number in JSON no more digits.
const MOST: u64 = 1 << 53;

/// Refuses an answer with a bucket that cannot be true, with one that comes twice, or with a count beyond all measure.
///
/// # Errors
/// [`VendorError::Lying`], with what contradicts what.
pub fn check_all(buckets: Vec<Bucket>, host: &str, window: Window, pace: &Pace) -> Result<Vec<Bucket>, VendorError> {
    let mut seen = std::collections::HashSet::new();
    let buckets = buckets.into_iter().map(|bucket| bucket.check(host, window, pace)).collect::<Result<Vec<_>, _>>()?;
    for bucket in &buckets {
        let Bucket { property, start, requests, hits, misses, .. } = bucket;
        let lying = |why: String| Err(VendorError::Lying { host: host.into(), why });
        if !seen.insert((property, start)) {
            return lying(format!("{property} has the bucket at {start} twice"));
        }
        if hits.unwrap_or_default().saturating_add(misses.unwrap_or_default()) > *requests {
            return lying(format!("{property} has more hits and misses than its {requests} requests at {start}"));
        }
        let counts = [Some(*requests), bucket.bytes, bucket.origin_requests, bucket.origin_bytes];
        let most = counts.into_iter().chain(bucket.classes).flatten().max();
        if let Some(count) = most.filter(|count| *count > MOST) {
            return lying(format!("{property} has a count of {count} at {start}"));
        }
        if bucket.sampling.is_some_and(|sampling| !sampling.is_finite() || sampling < 0.0) {
            return lying(format!("{property} has no possible sampling at {start}"));
        }
    }
    Ok(buckets)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace {
        grain: Duration::from_secs(60),
        settles: Duration::from_secs(120),
        keeps: Duration::from_secs(86_400),
        window: Duration::from_secs(3600),
        spacing: Duration::from_secs(1),
    };
    const HOUR: Window = Window { from: 3600, until: 7200 };

    fn bucket(start: Seconds, requests: u64, hits: u64) -> Bucket {
        Bucket { property: "shop".into(), start, requests, hits: Some(hits), ..Bucket::default() }
    }

    #[test]
    fn what_cannot_be_true_is_no_figure() {
        assert!(bucket(3600, 10, 10).check("api", HOUR, &PACE).is_ok());
        for lie in [bucket(3600, 10, 11), bucket(3540, 1, 0), bucket(7200, 1, 0), bucket(3601, 1, 0)] {
            let error = lie.check("api", HOUR, &PACE).unwrap_err();
            assert!(matches!(error, VendorError::Lying { .. }), "{error}");
        }
    }
}
