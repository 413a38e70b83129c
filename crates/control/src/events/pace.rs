//! How many events are taken: a minute's worth at once, and one a second in the long run.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Events at once.
const BURST: u32 = 60;
/// Between two, in the long run.
const EVERY: Duration = Duration::from_secs(1);

/// A bucket that fills with time, kept as the moment at which it will be full.
#[derive(Default)]
pub(crate) struct Pace(Mutex<Option<Instant>>);

impl Pace {
    /// Whether one more is taken.
    pub fn takes(&self, now: Instant) -> bool {
        let mut full_at = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let next = full_at.map_or(now, |full| full.max(now)) + EVERY;
        let takes = next <= now + EVERY * BURST;
        if takes {
            *full_at = Some(next);
        }
        takes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_writes_events_is_slowed_down() {
        let (pace, start) = (Pace::default(), Instant::now());
        assert_eq!((0..1000).filter(|_| pace.takes(start)).count(), BURST as usize);
        assert!(!pace.takes(start));
        assert!(pace.takes(start + EVERY));
        let later = start + Duration::from_secs(3600);
        assert_eq!((0..1000).filter(|_| pace.takes(later)).count(), BURST as usize);
    }
}
