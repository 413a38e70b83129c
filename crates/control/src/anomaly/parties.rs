//! Is it us, or is it one of them? A series that left what is expected of it is held against those of the other providers.

use super::baseline::median;
use super::detector::{Away, Direction, Matters, Reading};

/// Whose departure it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Blamed {
    /// Which of the series; `None`: all of them together, which is us.
    pub whom: Option<usize>,
    /// How it departs.
    pub away: Away,
}

/// Says whose departures those of one figure are. A provider is blamed where it departs also from what the others do
/// meanwhile; where it does as they do, all are, once. Who is alone is compared with nobody.
pub fn blame(readings: &[Reading], matters: Matters) -> Vec<Blamed> {
    let mut blamed = Vec::new();
    for direction in [Direction::Up, Direction::Down] {
        let mut common: Vec<Away> = Vec::new();
        for (index, reading) in readings.iter().enumerate() {
            let Some(away) = reading.away.filter(|away| away.direction == direction) else { continue };
            let others = readings.iter().enumerate().filter(|(other, _)| *other != index);
            let others = median(&mut others.map(|(_, other)| other.ratio).collect::<Vec<_>>()).unwrap_or(1.0);
            let relative = reading.ratio / others;
            let stands_out = match direction {
                Direction::Up => relative >= matters.factor,
                Direction::Down => relative <= 1.0 / matters.factor,
            };
            if stands_out {
                blamed.push(Blamed { whom: Some(index), away });
            } else {
                common.push(away);
            }
        }
        // One that departs as much as others who do not quite is one of few, and no more than that.
        if common.len() >= 2 {
            let since = common.iter().map(|away| away.since).min().unwrap_or_default();
            let score = common.iter().map(|away| away.score).fold(f64::INFINITY, f64::min);
            blamed.push(Blamed { whom: None, away: Away { direction, since, score } });
        }
    }
    blamed
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Matters = Matters { factor: 1.4, by: 1.0, down: true };

    fn reading(ratio: f64) -> Reading {
        let direction = if ratio > 1.0 { Direction::Up } else { Direction::Down };
        let away = (ratio >= 1.4 || ratio <= 0.72).then_some(Away { direction, since: 0, score: 1.0 });
        Reading { now: ratio, expected: 1.0, ratio, away }
    }

    fn whom(ratios: &[f64]) -> Vec<Option<usize>> {
        let readings: Vec<_> = ratios.iter().map(|&ratio| reading(ratio)).collect();
        blame(&readings, RATE).into_iter().map(|blamed| blamed.whom).collect()
    }

    #[test]
    fn one_of_them_is_blamed_and_not_those_that_stay() {
        assert_eq!(whom(&[0.4, 1.0, 1.05]), [Some(0)]);
        assert_eq!(whom(&[0.4, 1.0]), [Some(0)]);
        assert_eq!(whom(&[1.0, 1.0, 9.0]), [Some(2)]);
        assert_eq!(whom(&[0.4]), [Some(0)]);
    }

    #[test]
    fn what_all_do_is_ours() {
        assert_eq!(whom(&[0.3, 0.3, 0.35]), [None]);
        assert_eq!(whom(&[0.3, 0.35]), [None]);
        assert_eq!(whom(&[20.0, 25.0, 22.0]), [None]);
    }

    #[test]
    fn traffic_that_moves_from_one_to_another_is_of_both() {
        assert_eq!(whom(&[0.3, 1.7, 1.0]), [Some(1), Some(0)]);
    }
}
