//! What is normal for a figure, and how far it is from that now.

/// From so many earlier values on, something is called normal.
const FEWEST: usize = 3;
/// From so many deviations on, a value departs from normal.
pub const DEPARTS: f64 = 4.0;

/// The middle of earlier values, and how they lie about it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normal {
    /// Their median.
    pub value: f64,
    /// One deviation: of the median absolute deviation, scaled so that it is the standard deviation where values are normally
    /// distributed (Leys et al., 2013), or the least that matters for the figure.
    pub deviation: f64,
}

impl Normal {
    /// Of earlier values; `None` where there are too few. `least` is the deviation below which nothing matters.
    pub fn of(mut values: Vec<f64>, least: impl Fn(f64) -> f64) -> Option<Self> {
        if values.len() < FEWEST {
            return None;
        }
        let middle = median(&mut values);
        let mut distances: Vec<f64> = values.iter().map(|value| (value - middle).abs()).collect();
        let deviation = (1.4826 * median(&mut distances)).max(least(middle));
        Some(Self { value: middle, deviation })
    }

    /// How many deviations a value is above it, or below where negative.
    pub fn departure(&self, value: f64) -> f64 {
        if self.deviation > 0.0 { (value - self.value) / self.deviation } else { 0.0 }
    }
}

/// Of values that are there.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bad_day_does_not_become_normal() {
        let normal = Normal::of(vec![100.0, 104.0, 96.0, 900.0, 101.0], |_| 0.0).unwrap();
        assert_eq!(normal.value, 101.0);
        assert!(normal.departure(900.0) > DEPARTS && normal.departure(105.0) < DEPARTS);
        assert!(normal.departure(20.0) < -DEPARTS);
    }

    #[test]
    fn what_was_always_the_same_departs_by_what_matters_alone() {
        let normal = Normal::of(vec![0.0; 7], |_| 0.005).unwrap();
        assert!(normal.departure(0.01) < DEPARTS && normal.departure(0.05) > DEPARTS);
    }

    #[test]
    fn two_values_are_no_history() {
        assert_eq!(Normal::of(vec![1.0, 1.0], |_| 1.0), None);
    }
}
