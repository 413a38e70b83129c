//! Made weeks of three providers, with four weeks before them. All noise is from a seed.

use super::super::baseline::{Minute, Nature};
use super::super::detector::Matters;
use super::Point;
use crate::anomaly::baseline::expect;

pub const PROVIDERS: usize = 3;
/// In minutes.
pub const WEEK: usize = 7 * 1440;
const PAST: usize = 4;
const AROUND: usize = 10;

/// What goes wrong.
#[derive(Clone, Copy)]
pub struct Wrong {
    /// Whom it happens to; `None`: to all.
    pub whom: Option<usize>,
    /// In minutes.
    pub lasts: usize,
    /// What the rate is multiplied by, or what is added where there was none, after so many minutes of it.
    pub becomes: fn(f64, usize) -> f64,
}

/// A shape of a series.
pub struct Shape {
    pub name: &'static str,
    pub nature: Nature,
    pub matters: Matters,
    /// Mean count in a minute.
    pub rate: f64,
    /// Out of how many, each minute; 0: it is a rate.
    pub of: f64,
    /// How far the day's curve goes up and down.
    pub day: f64,
    /// Noise beside Poisson's that stays for some minutes, as a share.
    pub noise: f64,
    pub wrong: Option<Wrong>,
    pub is_to_be_seen: bool,
    /// Minutes in which it must be.
    pub within: usize,
}

const RATE: Matters = Matters { factor: 1.5, by: 5.0, down: true };
const SHARE: Matters = Matters { factor: 2.0, by: 0.01, down: false };
const OFFLOAD: Matters = Matters { factor: 1.5, by: 0.02, down: true };
const BEACONS: Matters = Matters { factor: 2.0, by: 2.0, down: false };
const LATENCY: Matters = Matters { factor: 1.5, by: 0.05, down: false };

const fn shape(name: &'static str, matters: Matters, rate: f64, of: f64, day: f64, noise: f64) -> Shape {
    let nature = Nature::Count;
    Shape { name, nature, matters, rate, of, day, noise, wrong: None, is_to_be_seen: true, within: 0 }
}

const fn goes_wrong(
    of: Shape,
    name: &'static str,
    whom: Option<usize>,
    lasts: usize,
    within: usize,
    becomes: fn(f64, usize) -> f64,
) -> Shape {
    Shape { name, wrong: Some(Wrong { whom, lasts, becomes }), within, ..of }
}

const BUSY: Shape = shape("busy, day curve", RATE, 3000.0, 0.0, 0.6, 0.05);
const QUIET: Shape = shape("quiet, 20 a minute", RATE, 20.0, 0.0, 0.6, 0.05);
const NOISY: Shape = shape("noisy, 25 % beside Poisson", RATE, 1000.0, 0.0, 0.6, 0.25);
const FLAT: Shape = shape("flat zero", BEACONS, 0.0, 0.0, 0.0, 0.0);
const SPARSE: Shape = shape("sparse, 3 an hour", BEACONS, 0.05, 0.0, 0.3, 0.0);
const ERRORS: Shape = shape("errors, 0.2 % of 1,000", SHARE, 2.0, 1000.0, 0.6, 0.1);
const MISSES: Shape = shape("offload, 5 % of 20,000", OFFLOAD, 1000.0, 20_000.0, 0.6, 0.1);
const SLOW: Shape = Shape { nature: Nature::Level, ..shape("p95 of 0.2 s", LATENCY, 0.2, 0.0, 0.2, 0.1) };

/// Every shape: first what is normal, then what is not.
pub const ALL: &[Shape] = &[
    BUSY,
    QUIET,
    NOISY,
    FLAT,
    SPARSE,
    ERRORS,
    MISSES,
    SLOW,
    goes_wrong(BUSY, "busy: step to a half", Some(1), 180, 10, |rate, _| rate * 0.5),
    goes_wrong(BUSY, "busy: silence", Some(1), 180, 8, |_, _| 0.0),
    goes_wrong(BUSY, "busy: drift to a fifth in 3 h", Some(1), 240, 120, |rate, minute| {
        rate * (1.0 - 0.8 * (minute as f64 / 180.0).min(1.0))
    }),
    goes_wrong(QUIET, "quiet: silence", Some(1), 180, 20, |_, _| 0.0),
    goes_wrong(NOISY, "noisy: silence", Some(1), 180, 30, |_, _| 0.0),
    goes_wrong(SPARSE, "sparse: 10 a minute", Some(1), 60, 10, |_, _| 10.0),
    goes_wrong(FLAT, "flat: 5 a minute", Some(1), 60, 10, |_, _| 5.0),
    goes_wrong(ERRORS, "errors: 5 %", Some(1), 60, 10, |rate, _| rate * 25.0),
    goes_wrong(MISSES, "offload: from 95 % to 88 %", Some(1), 180, 15, |rate, _| rate * 2.4),
    goes_wrong(SLOW, "p95: twice", Some(1), 180, 25, |rate, _| rate * 2.0),
    goes_wrong(BUSY, "all: step to a third", None, 60, 12, |rate, _| rate * 0.33),
    goes_wrong(ERRORS, "all: errors 5 %", None, 60, 12, |rate, _| rate * 25.0),
    Shape {
        is_to_be_seen: false,
        ..goes_wrong(BUSY, "spike of 2 min, not to be seen", Some(1), 2, 0, |rate, _| rate * 4.0)
    },
];

/// Counts of all providers for five weeks, and what was expected of the last.
pub struct World {
    minutes: Vec<Vec<Minute>>,
}

impl World {
    pub fn new(shape: &Shape, seed: u64, begins: usize) -> Self {
        let mut random = fastrand::Rng::with_seed(seed * 7919 + shape.name.len() as u64);
        let minutes = (0..PROVIDERS).map(|provider| series(shape, provider, begins, &mut random)).collect();
        Self { minutes }
    }

    /// A minute of the last week.
    pub fn point(&self, shape: &Shape, provider: usize, minute: usize) -> Point {
        let series = &self.minutes[provider];
        let at = PAST * WEEK + minute;
        let past: Vec<Vec<Minute>> = (1..=PAST)
            .map(|week| series[(at - week * WEEK).saturating_sub(AROUND)..=at - week * WEEK + AROUND].to_vec())
            .collect();
        let found = series[at];
        Point { minute: found, expected: expect(shape.nature, &past, found.of).unwrap() }
    }
}

fn series(shape: &Shape, provider: usize, begins: usize, random: &mut fastrand::Rng) -> Vec<Minute> {
    let mut stays = 0.0;
    let mut today = 0.0;
    let share = [1.0, 0.6, 0.3][provider];
    (0..(PAST + 1) * WEEK)
        .map(|minute| {
            if minute % 1440 == 0 {
                // No day is quite like the other.
                today = 0.06 * normal(random);
            }
            stays = 0.9 * stays + (1.0_f64 - 0.81).sqrt() * shape.noise * normal(random);
            let turn = std::f64::consts::TAU * (minute % 1440) as f64 / 1440.0;
            let weekend = if (minute / 1440) % 7 >= 5 { 0.8 } else { 1.0 };
            let curve = (1.0 - shape.day * turn.cos()) * weekend;
            let of = if shape.of > 0.0 { poisson(shape.of * share * curve, random) } else { 1.0 };
            let wobble = (stays + today).exp();
            let mut rate = match (shape.of > 0.0, shape.nature) {
                (true, _) => shape.rate / shape.of * of * stays.exp(),
                (false, Nature::Level) => shape.rate * curve * wobble,
                (false, Nature::Count) => shape.rate * share * curve * wobble,
            };
            let wrong = shape.wrong.filter(|wrong| wrong.whom.is_none_or(|whom| whom == provider));
            let since = minute.checked_sub(PAST * WEEK + begins);
            if let Some((wrong, since)) = wrong.zip(since).filter(|(wrong, since)| *since < wrong.lasts) {
                rate = (wrong.becomes)(rate, since);
            }
            // One evening of an earlier week was an outage, which is no model for this one.
            if provider == 1 && shape.nature == Nature::Count && (WEEK + begins..WEEK + begins + 120).contains(&minute)
            {
                rate *= 0.1;
            }
            let count = if shape.nature == Nature::Level { rate } else { poisson(rate, random) };
            Minute { count, of }
        })
        .collect()
}

/// Box and Muller.
fn normal(random: &mut fastrand::Rng) -> f64 {
    let (u, v) = (random.f64().max(1e-12), random.f64());
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

/// Knuth's for few, a normal's for many.
fn poisson(mean: f64, random: &mut fastrand::Rng) -> f64 {
    if mean > 30.0 {
        return (mean + mean.sqrt() * normal(random)).round().max(0.0);
    }
    let limit = (-mean).exp();
    let (mut count, mut product) = (0.0, random.f64());
    while product > limit {
        count += 1.0;
        product *= random.f64();
    }
    count
}
