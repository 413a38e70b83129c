//! Failures of the origin, told in the log: the first at once, then a line a second at most, with how many it stands for.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Between two lines.
const APART: Duration = Duration::from_secs(1);

/// What was told, and what was not.
pub(crate) struct Complaints {
    start: Instant,
    /// Milliseconds since the start at which another line may be written.
    next: AtomicU64,
    unsaid: AtomicU64,
}

impl Default for Complaints {
    fn default() -> Self {
        Self { start: Instant::now(), next: AtomicU64::new(0), unsaid: AtomicU64::new(0) }
    }
}

impl Complaints {
    /// Tells of a pull that the origin failed, or counts it towards the next line.
    pub fn origin_failed(&self, reason: &str, server: &str, id: &str) {
        if let Some(unsaid) = self.turn(self.start.elapsed()) {
            tracing::warn!(reason, server, id, more = unsaid, "the origin failed a pull");
        }
    }

    /// How many were not told since the last line, if there may be one now.
    fn turn(&self, now: Duration) -> Option<u64> {
        let now = now.as_millis() as u64;
        let next = |next: u64| (now >= next).then_some(now + APART.as_millis() as u64);
        if self.next.try_update(Relaxed, Relaxed, next).is_ok() {
            Some(self.unsaid.swap(0, Relaxed))
        } else {
            self.unsaid.fetch_add(1, Relaxed);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_and_the_next_line_tells_of_the_others() {
        let complaints = Complaints::default();
        let at = Duration::from_millis;
        assert_eq!(complaints.turn(at(0)), Some(0));
        assert_eq!([complaints.turn(at(10)), complaints.turn(at(999))], [None, None]);
        assert_eq!(complaints.turn(at(1000)), Some(2));
        assert_eq!(complaints.turn(at(5000)), Some(0));
    }
}
