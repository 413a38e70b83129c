//! Lines, added up by minute.

use super::body::Counted;
use super::window::Window;
use crate::figures::{
    EDGE_1XX, EDGE_2XX, EDGE_3XX, EDGE_4XX, EDGE_5XX, EDGE_BYTES, EDGE_HITS, EDGE_MISSES, EDGE_REQUESTS, EDGE_SAMPLING,
    Figure,
};
use crate::store::{Batch, Key};
use headwater_vendors::edge_log::Cache;
use std::collections::{BTreeMap, HashSet};

/// What the label of every series says that lines were counted into.
const LABEL: &str = "stream";

/// One minute. What no line told is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Minute {
    requests: u64,
    bytes: Option<u64>,
    /// Hits and misses.
    cache: Option<(u64, u64)>,
    classes: Option<[u64; 5]>,
}

#[derive(Debug, Default)]
pub(super) struct Tally(BTreeMap<u32, Minute>);

/// What a body brought that was not counted before.
pub(super) struct Fresh {
    pub counted: u64,
    /// Of the lines that have one.
    pub ids: Vec<u64>,
}

impl Tally {
    /// Adds up the lines that neither the window nor a line before has.
    pub fn of(window: &Window, lines: &[Counted]) -> (Self, Fresh) {
        let mut tally = Self::default();
        let mut seen = HashSet::with_capacity(lines.len());
        let mut counted = 0;
        for line in lines {
            if line.hash != 0 && (window.has_line(line.hash) || !seen.insert(line.hash)) {
                continue;
            }
            counted += 1;
            tally.add(line);
        }
        (tally, Fresh { counted, ids: seen.into_iter().collect() })
    }

    fn add(&mut self, line: &Counted) {
        let minute = self.0.entry(line.minute).or_default();
        minute.requests += 1;
        if let Some(bytes) = line.bytes {
            let sum = minute.bytes.get_or_insert(0);
            *sum = sum.saturating_add(bytes);
        }
        if let Some(cache) = line.cache {
            let (hits, misses) = minute.cache.get_or_insert((0, 0));
            *hits += u64::from(cache == Cache::Hit);
            *misses += u64::from(cache == Cache::Miss);
        }
        if let Some(class) = (line.class as usize).checked_sub(1) {
            minute.classes.get_or_insert([0; 5])[class] += 1;
        }
    }

    /// As it is written. Where the vendor logs a share of the requests alone, each line stands for several.
    pub fn into_batch(self, cdn: &str, sampled: f64) -> Batch {
        let mut batch = Batch::default();
        for (minute, counts) in self.0 {
            let at = i64::from(minute) * 60;
            let mut add = |figure: &'static Figure, count: Option<u64>| {
                if let Some(count) = count {
                    batch.add(Key::new(figure, cdn, LABEL), at, count as f64 / sampled);
                }
            };
            add(EDGE_REQUESTS, Some(counts.requests));
            add(EDGE_BYTES, counts.bytes);
            add(EDGE_HITS, counts.cache.map(|(hits, _)| hits));
            add(EDGE_MISSES, counts.cache.map(|(_, misses)| misses));
            for (class, figure) in [EDGE_1XX, EDGE_2XX, EDGE_3XX, EDGE_4XX, EDGE_5XX].into_iter().enumerate() {
                add(figure, counts.classes.map(|classes| classes[class]));
            }
            if sampled < 1.0 {
                batch.set(Key::new(EDGE_SAMPLING, cdn, LABEL), at, 1.0 / sampled);
            }
        }
        batch
    }
}
