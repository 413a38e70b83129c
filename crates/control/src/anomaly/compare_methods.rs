//! The methods. All of them see the same minutes and the same expectation; the last looks at the bare series alone.

use super::shapes::{PROVIDERS, Shape};
use crate::anomaly::baseline::{Expected, Minute, Nature, distance, median};
use crate::anomaly::book::Book;
use crate::anomaly::detector::{Detector, Matters};
use crate::anomaly::parties::blame;
use crate::anomaly::{ALL as US, Departure};
use std::collections::VecDeque;

/// A minute of one provider, and what was expected of it.
#[derive(Clone, Copy)]
pub struct Point {
    pub minute: Minute,
    pub expected: Expected,
}

pub trait Method {
    /// Who is in alarm after this minute, by provider; all of them together, at the last place.
    fn step(&mut self, minute: usize, points: &[Point]) -> [bool; PROVIDERS + 1];
}

type Make = fn(&Shape) -> Box<dyn Method>;

/// Each by name; the first is the product's.
pub const ALL: [(&str, Make); 6] = [
    ("chosen", |shape| Box::new(Chosen::new(shape))),
    ("CUSUM alone", |shape| each(shape, |_| Box::new(Cusum::default()))),
    ("z > 4, 3 min", |shape| each(shape, |_| Box::new(Z::default()))),
    ("EWMA", |shape| each(shape, |_| Box::new(Ewma::default()))),
    ("Poisson, 5 min", |shape| each(shape, |_| Box::new(Poisson::default()))),
    ("consensus", |shape| each(shape, |_| Box::new(Consensus::default()))),
];

/// The product's code.
struct Chosen {
    matters: Matters,
    detectors: Vec<Detector>,
    book: Book,
}

impl Chosen {
    fn new(shape: &Shape) -> Self {
        let detectors = vec![Detector::new(shape.nature, shape.matters); PROVIDERS];
        Self { matters: shape.matters, detectors, book: Book::default() }
    }
}

impl Method for Chosen {
    fn step(&mut self, minute: usize, points: &[Point]) -> [bool; PROVIDERS + 1] {
        let at = 60 * minute as i64;
        let readings: Vec<_> = self
            .detectors
            .iter_mut()
            .zip(points)
            .map(|(detector, point)| detector.step(at, point.minute, point.expected))
            .collect();
        let found = blame(&readings, self.matters).into_iter().map(|blamed| Departure {
            cdn: blamed.whom.map_or_else(|| US.to_string(), |whom| whom.to_string()),
            figure: "made",
            since: blamed.away.since,
            now: 0.0,
            expected: 0.0,
            score: blamed.away.score,
            reason: String::new(),
        });
        let found = found.collect();
        self.book.judge("made", found);
        let mut alarmed = [false; PROVIDERS + 1];
        for departure in self.book.open() {
            alarmed[departure.cdn.parse().unwrap_or(PROVIDERS)] = true;
        }
        alarmed
    }
}

/// A method that knows one series, one a provider.
trait Alone {
    fn step(&mut self, strayed: f64, point: Point) -> bool;
}

struct Each {
    nature: Nature,
    methods: Vec<Box<dyn Alone>>,
}

fn each(shape: &Shape, make: fn(usize) -> Box<dyn Alone>) -> Box<dyn Method> {
    Box::new(Each { nature: shape.nature, methods: (0..PROVIDERS).map(make).collect() })
}

impl Method for Each {
    fn step(&mut self, _minute: usize, points: &[Point]) -> [bool; PROVIDERS + 1] {
        let mut alarmed = [false; PROVIDERS + 1];
        for ((method, point), alarmed) in self.methods.iter_mut().zip(points).zip(&mut alarmed) {
            let strayed = distance(self.nature, point.minute.count, point.expected.value) / point.expected.scale;
            *alarmed = method.step(strayed, *point);
        }
        // All of them at once is ours, for a method that would only count hands.
        if alarmed[..PROVIDERS].iter().all(|is| *is) {
            alarmed[PROVIDERS] = true;
        }
        alarmed
    }
}

/// A cumulated sum without a look at whether the difference matters.
#[derive(Default)]
struct Cusum {
    up: f64,
    down: f64,
}

impl Alone for Cusum {
    fn step(&mut self, strayed: f64, _: Point) -> bool {
        self.up = (self.up + strayed - 0.5).clamp(0.0, 24.0);
        self.down = (self.down - strayed - 0.5).clamp(0.0, 24.0);
        self.up.max(self.down) >= 8.0
    }
}

/// A robust z-score against the same time of earlier weeks.
#[derive(Default)]
struct Z(u32);

impl Alone for Z {
    fn step(&mut self, strayed: f64, _: Point) -> bool {
        self.0 = if strayed.abs() > 4.0 { self.0 + 1 } else { 0 };
        self.0 >= 3
    }
}

/// An exponentially weighted mean, with the control limits of Roberts (Technometrics 1, 1959).
#[derive(Default)]
struct Ewma(f64);

impl Alone for Ewma {
    fn step(&mut self, strayed: f64, _: Point) -> bool {
        const WEIGHT: f64 = 0.2;
        self.0 = WEIGHT * strayed + (1.0 - WEIGHT) * self.0;
        self.0.abs() > 5.0 * (WEIGHT / (2.0 - WEIGHT)).sqrt()
    }
}

/// Whether five minutes' count is less probable than one in ten millions by Poisson's law alone (normal, for many).
#[derive(Default)]
struct Poisson(VecDeque<(f64, f64)>);

impl Alone for Poisson {
    fn step(&mut self, _: f64, point: Point) -> bool {
        if self.0.len() == 5 {
            self.0.pop_front();
        }
        self.0.push_back((point.minute.count, point.expected.value));
        let found: f64 = self.0.iter().map(|(found, _)| found).sum();
        let mean: f64 = self.0.iter().map(|(_, mean)| mean).sum::<f64>().max(0.05);
        if mean > 50.0 {
            return ((found - mean) / mean.sqrt()).abs() > 5.2;
        }
        let mut term = (-mean).exp();
        let mut below = 0.0;
        for count in 0..found as u64 {
            below += term;
            term *= mean / (count + 1) as f64;
        }
        1.0 - below < 1e-7 || below + term < 1e-7
    }
}

/// Five of the tests that Etsy's Skyline let vote, over the last day of the bare series; four must agree.
#[derive(Default)]
struct Consensus(VecDeque<f64>);

impl Alone for Consensus {
    fn step(&mut self, _: f64, point: Point) -> bool {
        if self.0.len() == 1440 {
            self.0.pop_front();
        }
        self.0.push_back(point.minute.count / point.minute.of.max(1.0));
        if self.0.len() < 1440 {
            return false;
        }
        let values: Vec<f64> = self.0.iter().copied().collect();
        let tail = values[values.len() - 3..].iter().sum::<f64>() / 3.0;
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let spread = |values: &[f64]| {
            let middle = mean(values);
            (values.iter().map(|value| (value - middle).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
        };
        let middle = median(&mut values.clone()).unwrap_or_default();
        let deviation =
            median(&mut values.iter().map(|value| (value - middle).abs()).collect::<Vec<_>>()).unwrap_or_default();
        let hour = &values[values.len() - 63..values.len() - 3];
        let weighted = values.iter().fold(values[0], |weighted, value| 0.02 * value + 0.98 * weighted);
        let slope = {
            let (last, first) =
                (mean(&values[values.len() - 30..]), mean(&values[values.len() - 60..values.len() - 30]));
            last + (last - first) / 2.0
        };
        let votes = [
            deviation > 0.0 && (tail - middle).abs() / deviation > 6.0,
            (tail - mean(&values)).abs() > 3.0 * spread(&values),
            (tail - mean(hour)).abs() > 3.0 * spread(hour),
            (tail - weighted).abs() > 3.0 * spread(&values[values.len() - 240..]),
            (tail - slope).abs() > 3.0 * spread(&values[values.len() - 60..]),
        ];
        votes.into_iter().filter(|vote| *vote).count() >= 4
    }
}
