//! How far the minutes of a series strayed lately from what was expected of them.

use std::collections::VecDeque;

/// It is remembered for about so many minutes.
const MEMORY: f64 = 720.0;
/// And is not believed before so many.
const LEAST: f64 = 30.0;
/// Minutes that are taken together, to see noise that stays.
const STRETCH: usize = 10;
/// Turns a mean of absolute deviations into a standard deviation, were they normal.
const NORMAL: f64 = 1.2533;

/// Scatter of single minutes, and of stretches of them. Noise that stays for some minutes looks like a step to whoever knows
/// single minutes alone: ten of its minutes together scatter nearly as much as one.
#[derive(Clone, Debug, Default)]
pub(super) struct Scatter {
    /// From how many minutes this is.
    length: f64,
    /// The mean: no day is quite like the other.
    mean: f64,
    /// Mean absolute deviation of minutes from what was expected.
    single: f64,
    /// Mean absolute deviation of stretches from `mean`.
    together: f64,
    stretch: VecDeque<f64>,
}

impl Scatter {
    /// One more minute, which strayed so far. The caller bounds what one minute may say.
    pub fn remember(&mut self, strayed: f64) {
        self.length = (self.length + 1.0).min(MEMORY);
        self.mean += (strayed - self.mean) / self.length;
        self.single += (strayed.abs() - self.single) / self.length;
        if self.stretch.len() == STRETCH {
            self.stretch.pop_front();
        }
        self.stretch.push_back(strayed);
        let stretch = self.stretch.iter().sum::<f64>() / self.stretch.len() as f64;
        self.together += ((stretch - self.mean).abs() - self.together) / self.length;
    }

    /// The scatter to count in: `of_weeks`, which earlier weeks have around this time, or what there was lately where that is
    /// more.
    pub fn or(&self, of_weeks: f64) -> f64 {
        if self.length < LEAST {
            return of_weeks;
        }
        of_weeks.max(NORMAL * self.single).max(NORMAL * self.together * (STRETCH as f64).sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(strays: impl Iterator<Item = f64>) -> f64 {
        let mut scatter = Scatter::default();
        strays.for_each(|strayed| scatter.remember(strayed));
        scatter.or(1.0)
    }

    #[test]
    fn noise_that_stays_counts_for_more_than_noise_that_passes() {
        let passes = of((0..700).map(|minute| if minute % 2 == 0 { 2.0 } else { -2.0 }));
        let stays = of((0..700).map(|minute| if minute / 20 % 2 == 0 { 2.0 } else { -2.0 }));
        assert!(passes < 3.0 && stays > 4.0, "{passes} {stays}");
    }

    #[test]
    fn a_quiet_series_is_not_taken_for_quieter_than_it_is() {
        assert_eq!(of((0..700).map(|_| 0.0)), 1.0);
        assert_eq!(of((0..5).map(|_| 9.0)), 1.0, "too few to say");
    }
}
