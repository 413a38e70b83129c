//! What has begun and what has ended: one entry a provider and figure, with hysteresis.

use super::Departure;
use std::collections::BTreeMap;

/// So many judgements in a row begin a departure.
const BEGINS_AFTER: u32 = 2;
/// So many without one end it.
const ENDS_AFTER: u32 = 3;

/// A change of state.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// It departs.
    Begins(Departure),
    /// It is back; this is what it was like at last.
    Ends(Departure),
}

#[derive(Clone, Debug)]
struct Entry {
    departure: Departure,
    open: bool,
    /// Judgements in a row against the state that holds.
    against: u32,
}

/// What departs, and what may be about to.
#[derive(Clone, Debug, Default)]
pub struct Book(BTreeMap<(&'static str, String), Entry>);

impl Book {
    /// With departures that are open already.
    pub fn with(open: Vec<Departure>) -> Self {
        let entry = |departure: Departure| {
            let key = (departure.figure, departure.cdn.clone());
            (key, Entry { departure, open: true, against: 0 })
        };
        Self(open.into_iter().map(entry).collect())
    }

    /// Takes what one judgement of a figure found, and says what changed.
    pub fn judge(&mut self, figure: &'static str, found: Vec<Departure>) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut found: BTreeMap<String, Departure> =
            found.into_iter().map(|found| (found.cdn.clone(), found)).collect();
        self.0.retain(|(of, cdn), entry| {
            if *of != figure {
                return true;
            }
            match (found.remove(cdn), entry.open) {
                (Some(found), true) => {
                    // It began when it began, however the sum sees it later.
                    entry.departure = Departure { since: entry.departure.since, ..found };
                    entry.against = 0;
                }
                (Some(found), false) => {
                    entry.departure = Departure { since: entry.departure.since.min(found.since), ..found };
                    entry.against += 1;
                    if entry.against >= BEGINS_AFTER {
                        *entry = Entry { open: true, against: 0, ..entry.clone() };
                        changes.push(Change::Begins(entry.departure.clone()));
                    }
                }
                (None, true) => {
                    entry.against += 1;
                    if entry.against >= ENDS_AFTER {
                        changes.push(Change::Ends(entry.departure.clone()));
                        return false;
                    }
                }
                (None, false) => return false,
            }
            true
        });
        for (cdn, departure) in found {
            self.0.insert((figure, cdn), Entry { departure, open: false, against: 1 });
        }
        changes
    }

    /// What departs, the surest first.
    pub fn open(&self) -> Vec<Departure> {
        let mut open: Vec<_> =
            self.0.values().filter(|entry| entry.open).map(|entry| entry.departure.clone()).collect();
        open.sort_by(|a, b| b.score.total_cmp(&a.score));
        open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(since: i64) -> Vec<Departure> {
        let (cdn, reason) = ("fastly".to_string(), String::new());
        vec![Departure { cdn, figure: "pulls", since, now: 1.0, expected: 9.0, score: 1.0, reason }]
    }

    #[test]
    fn it_begins_once_and_ends_once() {
        let mut book = Book::default();
        assert!(book.judge("pulls", found(60)).is_empty());
        assert!(book.open().is_empty(), "one judgement is none");
        assert!(matches!(book.judge("pulls", found(60))[..], [Change::Begins(_)]));
        for _ in 0..5 {
            assert!(book.judge("pulls", found(120)).is_empty());
            assert!(book.judge("errors", vec![]).is_empty(), "another figure says nothing of this one");
        }
        assert_eq!(book.open()[0].since, 60);
        assert!(book.judge("pulls", vec![]).is_empty());
        assert!(book.judge("pulls", found(120)).is_empty(), "it comes and goes");
        assert_eq!((0..5).flat_map(|_| book.judge("pulls", vec![])).count(), 1);
        assert!(book.open().is_empty());
    }

    #[test]
    fn what_was_open_before_a_restart_is_not_begun_again() {
        let mut book = Book::with(found(60));
        assert!(book.judge("pulls", found(600)).is_empty());
        assert_eq!(book.open()[0].since, 60);
    }
}
