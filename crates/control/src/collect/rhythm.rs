//! When a vendor is asked, and for what: decisions alone, all times in seconds since the epoch.
//!
//! A sweep goes from the settled second to the last whole bucket in windows as long as the vendor takes, oldest first: so
//! one number says how far it came, and what the vendor forgets first is fetched first. While there is more than one
//! window to sweep, the newest buckets are asked for in between, so that a back-fill does not blind the live view.

use headwater_vendors::VendorError;
use headwater_vendors::edge::{Pace, Window};
use std::time::Duration;

/// A vendor may be later than it says. Until this many times its settling delay has passed, a bucket counts as settled only
/// when the vendor has told of one behind it.
const LATE: i64 = 4;
const HOUR: i64 = 3600;

/// The lengths of a vendor's pace.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rhythm {
    pub grain: i64,
    pub settles: i64,
    /// How far back it is of use to ask: what the vendor keeps, and what the store does.
    pub reach: i64,
    pub window: i64,
}

/// Where a collector is.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// All before it is settled.
    pub settled: i64,
    /// Where the sweep goes on; `None` between two.
    cursor: Option<i64>,
    /// Up to where the last whole sweep went.
    swept: i64,
    /// For which newest bucket's end the newest were asked for.
    fresh: i64,
    /// How often the window was halved in this sweep.
    narrow: u32,
}

/// What to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub window: Window,
    /// Whether it moves the sweep on.
    pub sweeps: bool,
}

impl Rhythm {
    /// `settles` overrides what is known of the vendor; nothing that is older than `kept` is of use.
    pub fn new(pace: &Pace, settles: Option<Duration>, kept: Duration) -> Self {
        let grain = pace.grain.as_secs().max(1) as i64;
        Self {
            grain,
            settles: settles.unwrap_or(pace.settles).as_secs() as i64,
            reach: pace.keeps.min(kept).as_secs() as i64,
            window: floor(pace.window.as_secs() as i64, grain).max(grain),
        }
    }

    /// The end of the last whole bucket: the future is never asked for.
    fn ready(&self, now: i64) -> i64 {
        floor(now, self.grain)
    }

    /// The oldest bucket that it is of use to ask for.
    pub fn oldest(&self, now: i64) -> i64 {
        floor(now - self.reach, self.grain) + self.grain
    }

    /// Where to begin: at the checkpoint or, without one, `backfill` ago. What can no longer be had is passed over, and a
    /// checkpoint of a clock that was wrong is not believed.
    pub fn begin(&self, checkpoint: Option<i64>, backfill: Duration, now: i64) -> Progress {
        let first = floor(now - backfill.as_secs() as i64, self.grain);
        let settled = floor(checkpoint.unwrap_or(first), self.grain);
        Progress { settled: settled.max(self.oldest(now)).min(self.ready(now)), ..Progress::default() }
    }

    /// The next question; `None` until the next bucket is whole.
    pub fn next(&self, progress: &mut Progress, now: i64) -> Option<Question> {
        let ready = self.ready(now);
        progress.settled = progress.settled.max(self.oldest(now));
        if progress.settled >= ready {
            return None;
        }
        let window = floor(self.window >> progress.narrow.min(32), self.grain).max(self.grain);
        if ready - progress.settled > window && progress.fresh < ready {
            // Whatever comes of it: the sweep is next.
            progress.fresh = ready;
            let newest = (floor(self.settles, self.grain) + self.grain).min(window);
            return Some(Question { window: Window { from: ready - newest, until: ready }, sweeps: false });
        }
        if progress.cursor.is_none() && progress.swept >= ready {
            return None;
        }
        let from = progress.cursor.unwrap_or(progress.settled).max(progress.settled);
        if from >= ready {
            progress.cursor = None;
            progress.swept = ready;
            return None;
        }
        Some(Question { window: Window { from, until: (from + window).min(ready) }, sweeps: true })
    }

    /// The vendor has answered, and told of nothing behind `newest`. Returns the stretch that is settled by it.
    pub fn answered(&self, progress: &Progress, question: Question, newest: Option<i64>, now: i64) -> Window {
        let Window { from, until } = question.window;
        let unmoved = Window { from: progress.settled, until: progress.settled };
        if !question.sweeps || from > progress.settled {
            return unmoved;
        }
        let at_most = |age: i64| floor(now - age, self.grain).min(until);
        let on_time = at_most(self.settles).min(newest.map_or(from, |newest| newest + self.grain));
        let at_last = at_most((self.settles * LATE).max(HOUR));
        Window { from: progress.settled, until: on_time.max(at_last).max(progress.settled) }
    }

    /// What was settled is written: the sweep moves on. Returns whether it is at its end.
    pub fn written(&self, progress: &mut Progress, question: Question, settled: i64, now: i64) -> bool {
        if !question.sweeps {
            return false;
        }
        progress.settled = settled;
        let end = question.window.until >= self.ready(now);
        if end {
            *progress =
                Progress { settled, swept: question.window.until, fresh: progress.fresh, ..Progress::default() };
        } else {
            progress.cursor = Some(question.window.until);
        }
        end
    }

    /// How long to wait for the next bucket to be whole.
    pub fn until_next(&self, now: i64) -> Duration {
        Duration::from_secs((self.ready(now) + self.grain - now).max(1) as u64)
    }
}

impl Progress {
    /// An answer that was too long, too slow or not to be believed may be better in halves; and if one bucket is the reason,
    /// halves come up to it.
    pub fn failed(&mut self, error: &VendorError) {
        use VendorError::{Lying, Malformed, TooLarge, TooSlow};
        if matches!(error, TooLarge { .. } | TooSlow { .. } | Malformed { .. } | Lying { .. }) {
            self.narrow = (self.narrow + 1).min(12);
        }
    }
}

/// How long to leave a vendor alone after so many failures in a row. `chance`, from 0 to 1, spreads those who ask again.
pub(super) fn patience(error: &VendorError, failures: u32, spacing: Duration, chance: f64) -> Duration {
    let (first, most) = match error {
        // Somebody has to look, and many a vendor locks out who insists.
        VendorError::Refused { .. } => (600, 3600),
        error if error.is_passing() => (5, 900),
        _ => (60, 900),
    };
    let wait = (first << failures.saturating_sub(1).min(10)).min(most);
    let wait = Duration::from_secs(wait).max(spacing).max(error.retry_after().unwrap_or_default());
    wait + wait.mul_f64(chance.clamp(0.0, 1.0) / 5.0)
}

fn floor(at: i64, grain: i64) -> i64 {
    at.div_euclid(grain) * grain
}

#[cfg(test)]
mod tests {
    use super::*;

    const RHYTHM: Rhythm = Rhythm { grain: 60, settles: 600, reach: 86_400, window: 3600 };
    /// Some minute, and half of it.
    const NOW: i64 = 1_700_000_040 + 30;

    fn window(from: i64, until: i64) -> Window {
        Window { from: NOW - 30 - from * 60, until: NOW - 30 - until * 60 }
    }

    #[test]
    fn the_future_and_what_is_forgotten_are_never_asked_for() {
        let begin = |checkpoint, backfill| RHYTHM.begin(checkpoint, Duration::from_secs(backfill), NOW).settled;
        assert_eq!(begin(None, 3600), NOW - 30 - 3600);
        assert_eq!(begin(None, 10 * 86_400), NOW - 30 - 86_400 + 60);
        assert_eq!(begin(Some(NOW - 30 - 120), 3600), NOW - 30 - 120);
        assert_eq!(begin(Some(NOW + 99_999), 3600), NOW - 30, "a clock was wrong once");
        let mut progress = RHYTHM.begin(None, Duration::from_secs(600), NOW);
        let question = RHYTHM.next(&mut progress, NOW).unwrap();
        assert_eq!(question, Question { window: window(10, 0), sweeps: true });
        assert_eq!(RHYTHM.next(&mut progress, NOW - 3600), None, "a clock that went back");
    }

    #[test]
    fn a_back_fill_goes_oldest_first_and_does_not_blind_the_newest() {
        let mut progress = RHYTHM.begin(None, Duration::from_secs(3 * 3600), NOW);
        let mut asked = Vec::new();
        while let Some(question) = RHYTHM.next(&mut progress, NOW) {
            let settled = RHYTHM.answered(&progress, question, Some(question.window.until - 60), NOW);
            RHYTHM.written(&mut progress, question, settled.until, NOW);
            asked.push((question.window, question.sweeps));
        }
        let expected =
            [(window(11, 0), false), (window(180, 120), true), (window(120, 60), true), (window(60, 0), true)];
        assert_eq!(asked, expected);
        assert_eq!(progress.settled, window(10, 0).from);
        let question = RHYTHM.next(&mut progress, NOW + 60).unwrap();
        assert_eq!(question.window.until, NOW + 30);
    }

    #[test]
    fn a_bucket_settles_when_its_time_is_over_and_the_vendor_went_past_it() {
        let progress = RHYTHM.begin(None, Duration::from_secs(1800), NOW);
        let question = Question { window: window(30, 0), sweeps: true };
        let settled = |newest: Option<i64>| RHYTHM.answered(&progress, question, newest, NOW).until;
        assert_eq!(settled(Some(NOW - 90)), window(10, 0).from, "by its delay");
        assert_eq!(settled(Some(window(20, 0).from)), window(19, 0).from, "no further than it has told");
        assert_eq!(settled(None), progress.settled, "silence is not believed at once");
        let progress = RHYTHM.begin(None, Duration::from_secs(7200), NOW);
        let question = Question { window: window(120, 60), sweeps: true };
        assert_eq!(RHYTHM.answered(&progress, question, None, NOW).until, window(60, 0).from, "but at last");
        let newest = Question { window: window(11, 0), sweeps: false };
        assert_eq!(RHYTHM.answered(&progress, newest, Some(NOW - 90), NOW).until, progress.settled, "no gap");
    }

    #[test]
    fn an_answer_that_is_too_long_is_asked_for_in_halves() {
        let mut progress = RHYTHM.begin(None, Duration::from_secs(1800), NOW);
        progress.failed(&VendorError::TooLarge { host: "api".into(), limit: 1 });
        progress.failed(&VendorError::Lying { host: "api".into(), why: "more hits".into() });
        assert!(!RHYTHM.next(&mut progress, NOW).unwrap().sweeps);
        assert_eq!(RHYTHM.next(&mut progress, NOW).unwrap().window, window(30, 15));
    }

    #[test]
    fn failures_are_followed_by_longer_and_longer_waits_and_retry_after_is_obeyed() {
        let seconds = |error: &VendorError, failures| patience(error, failures, Duration::from_secs(4), 0.0).as_secs();
        let down = VendorError::Unreachable { host: "api".into(), why: "refused".into() };
        assert_eq!([1, 2, 3, 30].map(|failures| seconds(&down, failures)), [5, 10, 20, 900]);
        let refused = VendorError::Refused { host: "api".into(), status: 403, words: "no".into() };
        assert_eq!([1, 2, 30].map(|failures| seconds(&refused, failures)), [600, 1200, 3600]);
        let retry_after = Some(Duration::from_secs(1234));
        let busy = VendorError::Busy { host: "api".into(), status: 429, retry_after, words: "slow".into() };
        assert_eq!(seconds(&busy, 1), 1234);
        assert_eq!(patience(&busy, 1, Duration::ZERO, 1.0), Duration::from_secs_f64(1234.0 * 1.2));
    }
}
