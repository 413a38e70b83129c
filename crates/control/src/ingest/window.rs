//! What was counted lately, so that it is not counted again.
//!
//! Each delivery leaves two checkpoints, `ingest/NAME/NUMBER` with its id and `ingest/NAME/NUMBER/lines` with the hashes of
//! its lines' ids, written in the transaction that counts it. The oldest go in the same transaction.

use super::body::BatchId;
use crate::ControlError;
use crate::store::{Batch, Store};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use std::collections::{HashSet, VecDeque};

/// How much is remembered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// For how long, in seconds. Firehose tries again for 2 hours at the longest.
    pub age: i64,
    /// Deliveries.
    pub batches: usize,
    /// Ids of lines; the latest delivery's are kept even if they are more.
    pub lines: usize,
}

const BOUNDS: Bounds = Bounds { age: 86_400, batches: 50_000, lines: 1_000_000 };

/// One provider's window.
pub(super) struct Window {
    cdn: String,
    bounds: Bounds,
    /// From the oldest.
    entries: VecDeque<Entry>,
    batches: HashSet<BatchId>,
    lines: HashSet<u64>,
    next: u64,
}

/// A delivery.
pub(super) struct Entry {
    number: u64,
    at: i64,
    id: BatchId,
    lines: Vec<u64>,
}

impl Window {
    pub fn empty(cdn: &str, bounds: Bounds) -> Self {
        let (entries, batches, lines) = Default::default();
        Self { cdn: cdn.into(), bounds, entries, batches, lines, next: 0 }
    }

    /// As it stands in the store.
    pub async fn load(store: &Store, cdn: &str) -> Result<Self, ControlError> {
        let prefix = format!("ingest/{cdn}/");
        let asked = prefix.clone();
        let kept = store.read(move |reader| reader.checkpoints(&asked)).await?;
        let mut window = Self::empty(cdn, BOUNDS);
        for (name, value) in kept {
            match name[prefix.len()..].split_once('/') {
                None => {
                    let number = name[prefix.len()..].parse().unwrap_or(window.next);
                    if let Some((at, id)) = head(&value) {
                        window.apply(Entry { number, at, id, lines: Vec::new() });
                    }
                }
                Some((number, _)) => {
                    if let Some(entry) = window.entries.back_mut().filter(|entry| Ok(entry.number) == number.parse()) {
                        entry.lines = decode(&value);
                        window.lines.extend(&entry.lines);
                    }
                }
            }
        }
        Ok(window)
    }

    pub fn has(&self, id: &BatchId) -> bool {
        self.batches.contains(id)
    }

    pub fn has_line(&self, hash: u64) -> bool {
        self.lines.contains(&hash)
    }

    /// Puts the delivery's checkpoints into the batch, and forgets those that are out of bounds. What is forgotten is forgotten
    /// at once, so a window whose batch was not written must be loaded anew.
    pub fn plan(&mut self, batch: &mut Batch, id: BatchId, lines: Vec<u64>, now: i64) -> Entry {
        let entry = Entry { number: self.next, at: now, id, lines };
        let name = self.name(entry.number);
        batch.checkpoint(&name, Some(format!("{now} {}", STANDARD_NO_PAD.encode(id))));
        if !entry.lines.is_empty() {
            batch.checkpoint(format!("{name}/lines"), Some(encode(&entry.lines)));
        }
        while self
            .entries
            .front()
            .is_some_and(|oldest| oldest.at < now - self.bounds.age || self.entries.len() >= self.bounds.batches.max(1))
        {
            if let Some(oldest) = self.entries.pop_front() {
                self.batches.remove(&oldest.id);
                batch.checkpoint(self.name(oldest.number), None);
                self.forget_lines(batch, oldest.number, oldest.lines);
            }
        }
        let mut at = 0;
        while self.lines.len() + entry.lines.len() > self.bounds.lines && at < self.entries.len() {
            let (number, lines) = (self.entries[at].number, std::mem::take(&mut self.entries[at].lines));
            self.forget_lines(batch, number, lines);
            at += 1;
        }
        entry
    }

    fn forget_lines(&mut self, batch: &mut Batch, number: u64, lines: Vec<u64>) {
        if !lines.is_empty() {
            batch.checkpoint(format!("{}/lines", self.name(number)), None);
            for line in &lines {
                self.lines.remove(line);
            }
        }
    }

    /// The delivery was written.
    pub fn apply(&mut self, entry: Entry) {
        self.next = entry.number + 1;
        self.batches.insert(entry.id);
        self.lines.extend(&entry.lines);
        self.entries.push_back(entry);
    }

    /// Sorts as numbers do.
    fn name(&self, number: u64) -> String {
        format!("ingest/{}/{number:020}", self.cdn)
    }
}

fn head(value: &str) -> Option<(i64, BatchId)> {
    let (at, id) = value.split_once(' ')?;
    Some((at.parse().ok()?, STANDARD_NO_PAD.decode(id).ok()?.try_into().ok()?))
}

fn encode(lines: &[u64]) -> String {
    STANDARD_NO_PAD.encode(lines.iter().flat_map(|line| line.to_le_bytes()).collect::<Vec<_>>())
}

fn decode(value: &str) -> Vec<u64> {
    let bytes = STANDARD_NO_PAD.decode(value).unwrap_or_default();
    bytes.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> BatchId {
        [number; 16]
    }

    fn add(window: &mut Window, number: u8, lines: Vec<u64>, now: i64) {
        let entry = window.plan(&mut Batch::default(), id(number), lines, now);
        window.apply(entry);
    }

    #[test]
    fn what_is_old_is_forgotten_and_nothing_grows() {
        let mut window = Window::empty("c", Bounds { age: 100, batches: 3, lines: 5 });
        for number in 0..4 {
            add(&mut window, number, vec![], 0);
        }
        assert_eq!((window.has(&id(0)), window.has(&id(1)), window.has(&id(3))), (false, true, true));
        add(&mut window, 9, vec![], 101);
        assert_eq!((window.entries.len(), window.batches.len(), window.has(&id(9))), (1, 1, true));
    }

    #[test]
    fn of_lines_the_latest_are_known_and_of_deliveries_all() {
        let mut window = Window::empty("c", Bounds { age: 100, batches: 10, lines: 5 });
        add(&mut window, 1, vec![1, 2], 0);
        add(&mut window, 2, vec![3, 4], 0);
        add(&mut window, 3, vec![5, 6], 0);
        assert_eq!((window.has_line(1), window.has_line(3), window.has_line(6)), (false, true, true));
        assert!(window.has(&id(1)));
        add(&mut window, 4, (10..30).collect(), 0);
        assert_eq!((window.lines.len(), window.has_line(29)), (20, true));
    }

    #[test]
    fn what_is_stored_is_what_is_read() {
        assert_eq!(decode(&encode(&[1, u64::MAX, 0x0102_0304])), [1, u64::MAX, 0x0102_0304]);
        assert!(decode("rubbish!").is_empty());
        assert_eq!(head("7 AQEBAQEBAQEBAQEBAQEBAQ"), Some((7, id(1))));
        assert_eq!((head("7"), head("x AQ")), (None, None));
    }
}
