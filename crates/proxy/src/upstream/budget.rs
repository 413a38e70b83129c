//! The budget for retries: an origin that fails gets a few more pulls than it would, and never twice as many.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The pulls of so many seconds count.
const SECONDS: usize = 10;
/// So many retries a second are made at any rate, unless none are wanted at all.
const FLOOR: u32 = 10;

/// All workers' retries.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    window: Mutex<Window>,
    made: AtomicU64,
    denied: AtomicU64,
}

impl Budget {
    /// Adds pulls that were made; workers tell of them now and then.
    pub fn add(&self, pulls: u32, second: u64) {
        self.lock().at(second).0 += pulls;
    }

    /// Whether a retry may be made; it counts as made then. `share` is how many there may be for each pull.
    pub fn take(&self, share: f64, second: u64) -> bool {
        let may = self.lock().take(share, second);
        if may { &self.made } else { &self.denied }.fetch_add(1, Relaxed);
        may
    }

    /// Retries so far, by what became of them.
    pub fn counts(&self) -> [(&'static str, u64); 2] {
        [("made", self.made.load(Relaxed)), ("denied", self.denied.load(Relaxed))]
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Window> {
        // A poisoned lock means that a count is missing: the window itself is whole.
        self.window.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Pulls and retries of the last seconds.
#[derive(Debug, Default)]
struct Window {
    /// The newest.
    second: u64,
    counts: [(u32, u32); SECONDS],
}

impl Window {
    /// The counts of a second; what is too old is forgotten. A second that comes late counts as the newest.
    fn at(&mut self, second: u64) -> &mut (u32, u32) {
        while self.second < second {
            let left = (second - self.second).min(SECONDS as u64);
            self.second = second - left + 1;
            self.counts[(self.second % SECONDS as u64) as usize] = (0, 0);
        }
        &mut self.counts[(self.second % SECONDS as u64) as usize]
    }

    fn take(&mut self, share: f64, second: u64) -> bool {
        if share <= 0.0 {
            return false;
        }
        let (_, now) = *self.at(second);
        let (pulls, retries) =
            self.counts.iter().fold((0, 0), |sum, count| (sum.0 + u64::from(count.0), sum.1 + u64::from(count.1)));
        let may = now < FLOOR || (retries as f64) < share * pulls as f64;
        if may {
            self.at(second).1 += 1;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_a_share_of_recent_pulls_and_a_few_besides() {
        let budget = Budget::default();
        let taken = |second| (0..10_000).filter(|_| budget.take(0.2, second)).count();
        assert_eq!(taken(5), 10, "without pulls");
        budget.add(1000, 6);
        assert_eq!(taken(6), 190, "those of the second before count");
        assert_eq!(taken(7), 10);
        budget.add(1000, 17);
        assert_eq!(taken(17), 200, "what was ten seconds ago and more is forgotten");
        assert_eq!(taken(1000), 10);
        let [(_, made), (_, denied)] = budget.counts();
        assert_eq!((made, made + denied), (420, 50_000));
    }

    #[test]
    fn no_budget_is_no_retry() {
        let budget = Budget::default();
        budget.add(1000, 0);
        assert!(!budget.take(0.0, 0) && budget.take(1.0, 0));
    }
}
