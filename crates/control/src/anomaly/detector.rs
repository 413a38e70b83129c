//! Whether a series has left what is expected of it: a cumulated sum of how far each minute strays (CUSUM; Page, Biometrika
//! 41, 1954), and a look at whether the difference matters. Improbable alone is not enough, and neither is large.

use super::baseline::{Expected, Minute, Nature, distance};
use super::scatter::Scatter;
use std::collections::VecDeque;

/// A minute counts for at most so much, in scatters: one wild minute is no step.
const CAP: f64 = 4.0;
/// What each minute must stray by to count at all, in scatters.
const SLACK: f64 = 1.0;
/// The sum at which it has left.
const THRESHOLD: f64 = 12.0;
/// The sum does not grow beyond this, so that a long departure ends soon after it is over.
const MOST: f64 = 3.0 * THRESHOLD;
/// Minutes over which the difference is looked at.
const RECENT: usize = 5;
/// So many minutes in a row without a difference that matters end it.
const CALM: u32 = 10;

/// Which way it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// More than expected.
    Up,
    /// Less.
    Down,
}

/// How large a difference matters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Matters {
    /// So many times what is expected, or one part in so many of it.
    pub factor: f64,
    /// And by at least so much: in a minute, or of the share.
    pub by: f64,
    /// Whether less than expected matters as well.
    pub down: bool,
}

/// A departure of one series by itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Away {
    /// Which way.
    pub direction: Direction,
    /// The minute in which it began, as far as the sum can tell.
    pub since: i64,
    /// The sum over its threshold: 1 is just enough.
    pub score: f64,
}

/// What a series is like after a minute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// What the last minutes counted, of what there was.
    pub now: f64,
    /// What they should have.
    pub expected: f64,
    /// The one over the other, drawn a little towards 1, so that a few out of none are not infinitely many.
    pub ratio: f64,
    /// Whether it has left what is expected.
    pub away: Option<Away>,
}

/// Watches one series, minute by minute.
#[derive(Clone, Debug)]
pub struct Detector {
    nature: Nature,
    matters: Matters,
    /// How far it strayed up and down, each with when that began.
    sums: [(f64, i64); 2],
    recent: VecDeque<(Minute, f64)>,
    away: Option<Away>,
    calm: u32,
    scatter: Scatter,
}

impl Detector {
    /// For a series that has not been seen yet.
    pub fn new(nature: Nature, matters: Matters) -> Self {
        let recent = VecDeque::with_capacity(RECENT);
        Self { nature, matters, sums: [(0.0, 0); 2], recent, away: None, calm: 0, scatter: Scatter::default() }
    }

    /// One more minute, with what was expected of it.
    pub fn step(&mut self, at: i64, minute: Minute, expected: Expected) -> Reading {
        let strayed = distance(self.nature, minute.count, expected.value);
        let scale = self.scatter.or(expected.scale);
        if self.away.is_none() {
            self.scatter.remember(strayed.clamp(-CAP * scale, CAP * scale));
        }
        let strayed = (strayed / scale).clamp(-CAP, CAP);
        for (sum, way) in self.sums.iter_mut().zip([1.0, -1.0]) {
            if sum.0 == 0.0 {
                sum.1 = at;
            }
            sum.0 = (sum.0 + way * strayed - SLACK).clamp(0.0, MOST);
        }
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((minute, expected.value));
        let (now, expected, ratio) = self.lately();
        // Half of what begins it keeps it going: it does not begin and end at every other minute.
        let begins = self.direction(now, expected, ratio, 1.0);
        let goes_on = self.direction(now, expected, ratio, 0.5);
        match &mut self.away {
            None => {
                let sums = self.sums;
                let left = begins.map(|direction| (direction, sums[direction as usize]));
                if let Some((direction, (sum, since))) = left.filter(|(_, (sum, _))| *sum >= THRESHOLD) {
                    self.away = Some(Away { direction, since, score: sum / THRESHOLD });
                    self.calm = 0;
                }
            }
            Some(away) => {
                away.score = self.sums[away.direction as usize].0 / THRESHOLD;
                self.calm = if goes_on == Some(away.direction) { 0 } else { self.calm + 1 };
                if self.calm >= CALM {
                    self.away = None;
                    self.sums = [(0.0, at); 2];
                }
            }
        }
        Reading { now, expected, ratio, away: self.away }
    }

    /// What the last minutes had, what they should have had, and how these compare.
    fn lately(&self) -> (f64, f64, f64) {
        let length = self.recent.len() as f64;
        let found: f64 = self.recent.iter().map(|(minute, _)| minute.count).sum();
        let expected: f64 = self.recent.iter().map(|(_, expected)| expected).sum();
        if self.nature == Nature::Level {
            return (found / length, expected / length, found.max(1e-9) / expected.max(1e-9));
        }
        let of: f64 = self.recent.iter().map(|(minute, _)| minute.of).sum::<f64>().max(1.0);
        (found / of, expected / of, (found + 1.0) / (expected + 1.0))
    }

    /// Which way the difference goes, if it matters by `size` of what must be.
    fn direction(&self, now: f64, expected: f64, ratio: f64, size: f64) -> Option<Direction> {
        let factor = 1.0 + (self.matters.factor - 1.0) * size;
        if (now - expected).abs() < self.matters.by * size {
            return None;
        }
        if ratio >= factor {
            return Some(Direction::Up);
        }
        (self.matters.down && ratio <= 1.0 / factor).then_some(Direction::Down)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Matters = Matters { factor: 1.4, by: 1.0, down: true };

    /// Steps through these counts, each with 100 expected; after how many minutes it is away, and how it ends.
    fn run(counts: &[f64]) -> (Option<usize>, Option<Away>) {
        let mut detector = Detector::new(Nature::Count, RATE);
        let mut began = None;
        let mut away = None;
        for (minute, &count) in counts.iter().enumerate() {
            let expected = Expected { value: 100.0, scale: 1.0 };
            away = detector.step(60 * minute as i64, Minute { count, of: 1.0 }, expected).away;
            began = began.or(away.map(|_| minute));
        }
        (began, away)
    }

    fn then(first: usize, rest: &[(f64, usize)]) -> Vec<f64> {
        let rest = rest.iter().flat_map(|&(count, times)| std::iter::repeat_n(count, times));
        std::iter::repeat_n(100.0, first).chain(rest).collect()
    }

    #[test]
    fn a_step_is_seen_in_minutes_and_dated_to_its_beginning() {
        let (began, away) = run(&then(60, &[(50.0, 30)]));
        assert!(began.unwrap() <= 60 + 5, "{began:?}");
        assert_eq!(away.map(|away| (away.direction, away.since)), Some((Direction::Down, 3600)));
    }

    #[test]
    fn a_wild_minute_is_no_step() {
        assert_eq!(run(&then(60, &[(100_000.0, 1), (100.0, 60)])).0, None);
        assert_eq!(run(&then(60, &[(0.0, 2), (100.0, 60)])).0, None);
    }

    #[test]
    fn what_is_improbable_and_small_does_not_matter() {
        assert_eq!(run(&then(60, &[(130.0, 600)])).0, None);
    }

    #[test]
    fn it_ends_when_the_difference_is_over_and_not_before() {
        let (began, away) = run(&then(60, &[(300.0, 600), (100.0, 9)]));
        assert!(began.is_some() && away.is_some());
        assert_eq!(run(&then(60, &[(300.0, 600), (100.0, 20)])).1, None);
    }
}
