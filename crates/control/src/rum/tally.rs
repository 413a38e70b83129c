//! What was told and is not written yet, in bounded memory: providers and countries are few, and so are minutes.

use super::beacon::Beacon;
use super::timing::Timing;
use crate::figures::{self, Figure};
use crate::sketch::Sketch;
use crate::store::{Batch, Key};
use headwater_config::Country;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Countries with a label of their own, the first that are seen; users of others count as `other`. A site's users come from
/// few countries, and the store keeps a distribution for each country, provider and timing.
const MOST_COUNTRIES: usize = 64;
/// While the store fails, so many minutes are held, and then the oldest is lost.
const MOST_MINUTES: usize = 15;
/// Countries are kept by hours: a minute of one provider in one country holds too few users to say anything.
const COUNTRY_GRAIN: u32 = 3600;

/// Why something that came was not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Refusal {
    /// More than 64 KiB.
    Large,
    /// Nothing in it is known, or it broke off.
    Malformed,
    /// From a page that may not send.
    Origin,
    /// Beyond the bounds on how much may come.
    Rate,
    /// One value that cannot be true.
    Absurd,
}

impl Refusal {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Large => "large",
            Self::Malformed => "malformed",
            Self::Origin => "origin",
            Self::Rate => "rate",
            Self::Absurd => "absurd",
        }
    }
}

/// A minute's first second, the index of a provider, and a country; `None` is every country beyond the first ones.
type Place = (i64, u16, Option<Country>);

#[derive(Default)]
pub(super) struct Tally {
    cells: HashMap<Place, Cell>,
    refused: BTreeMap<(i64, Refusal), u64>,
    countries: BTreeSet<Country>,
}

#[derive(Clone, Default)]
struct Cell {
    pages: f64,
    errors: f64,
    sketches: [Sketch; Timing::ALL.len()],
}

impl Cell {
    fn merge(&mut self, other: &Self) {
        self.pages += other.pages;
        self.errors += other.errors;
        self.sketches.iter_mut().zip(&other.sketches).for_each(|(all, more)| all.merge(more));
    }
}

fn minute(now: i64) -> i64 {
    now.div_euclid(60) * 60
}

impl Tally {
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty() && self.refused.is_empty()
    }

    /// Counts a beacon that came at `now`, and stands for `weight` of them.
    pub fn count(&mut self, now: i64, provider: u16, country: Country, beacon: &Beacon, weight: f64) {
        if beacon.absurd > 0 {
            self.refuse(now, Refusal::Absurd, beacon.absurd);
        }
        if !beacon.page && !beacon.error && beacon.values.is_empty() {
            return;
        }
        let known = self.countries.contains(&country) || self.countries.len() < MOST_COUNTRIES;
        if known {
            self.countries.insert(country);
        }
        let cell = self.cells.entry((minute(now), provider, known.then_some(country))).or_default();
        cell.pages += if beacon.page { weight } else { 0.0 };
        cell.errors += if beacon.error { weight } else { 0.0 };
        for (timing, value) in &beacon.values {
            cell.sketches[*timing as usize].add(*value, 1);
        }
    }

    pub fn refuse(&mut self, now: i64, refusal: Refusal, times: u64) {
        *self.refused.entry((minute(now), refusal)).or_default() += times;
    }

    /// Takes all that is held; which countries have labels is kept.
    pub fn take(&mut self) -> Self {
        Self {
            cells: std::mem::take(&mut self.cells),
            refused: std::mem::take(&mut self.refused),
            countries: BTreeSet::new(),
        }
    }

    /// Holds again what could not be written.
    pub fn give_back(&mut self, taken: Self) {
        taken.cells.iter().for_each(|(place, cell)| self.cells.entry(*place).or_default().merge(cell));
        taken.refused.iter().for_each(|(reason, times)| *self.refused.entry(*reason).or_default() += times);
        let minutes: BTreeSet<i64> =
            self.cells.keys().map(|(at, _, _)| *at).chain(self.refused.keys().map(|(at, _)| *at)).collect();
        if let Some(oldest) = minutes.iter().rev().nth(MOST_MINUTES - 1) {
            self.cells.retain(|(at, _, _), _| at >= oldest);
            self.refused.retain(|(at, _), _| at >= oldest);
        }
    }

    /// As the store takes it.
    pub fn batch<'l>(&self, label: impl Fn(u16) -> &'l str, countries: bool) -> Batch {
        let mut batch = Batch::default();
        for ((at, provider), cell) in self.merged(|(at, provider, _)| (at, provider)) {
            let key = |figure| Key::new(figure, label(provider), "");
            add(&mut batch, at, &cell, figures::USER_PAGES, Timing::figure, key);
            if cell.errors > 0.0 {
                batch.add(key(figures::USER_ERRORS), at, cell.errors);
            }
        }
        let hour = |at: i64| at.div_euclid(i64::from(COUNTRY_GRAIN)) * i64::from(COUNTRY_GRAIN);
        let by_country = |(at, provider, country)| (hour(at), provider, country);
        let by_country = if countries { self.merged(by_country) } else { BTreeMap::new() };
        for ((at, provider, country), cell) in by_country {
            let name = country.as_ref().map_or("other", Country::as_str);
            let key = |figure| Key::new(figure, label(provider), name).every(COUNTRY_GRAIN);
            add(&mut batch, at, &cell, figures::USER_COUNTRY_PAGES, Timing::figure_by_country, key);
        }
        for ((at, refusal), times) in &self.refused {
            batch.add(Key::new(figures::USER_REFUSED, "untagged", refusal.label()), *at, *times as f64);
        }
        batch
    }

    fn merged<K: Ord>(&self, by: impl Fn(Place) -> K) -> BTreeMap<K, Cell> {
        let mut merged: BTreeMap<K, Cell> = BTreeMap::new();
        self.cells.iter().for_each(|(place, cell)| merged.entry(by(*place)).or_default().merge(cell));
        merged
    }
}

fn add(
    batch: &mut Batch,
    at: i64,
    cell: &Cell,
    pages: &'static Figure,
    figure: impl Fn(Timing) -> &'static Figure,
    key: impl Fn(&'static Figure) -> Key,
) {
    if cell.pages > 0.0 {
        batch.add(key(pages), at, cell.pages);
    }
    for timing in Timing::ALL {
        let sketch = &cell.sketches[timing as usize];
        if sketch.count() > 0 {
            batch.merge(key(figure(timing)), at, sketch.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Beacon {
        Beacon { page: true, values: vec![(Timing::Lcp, 2.0)], ..Beacon::default() }
    }

    fn country(n: usize) -> Country {
        let letter = |n: usize| char::from(b'A' + n as u8);
        Country::of(&[letter(n / 26), letter(n % 26)].iter().collect::<String>())
    }

    #[test]
    fn whatever_comes_it_stays_small() {
        let mut tally = Tally::default();
        for n in 0..100_000 {
            tally.count(n * 7, (n % 3) as u16, country(n as usize % 600), &page(), 1.0);
            tally.refuse(n * 7, Refusal::Rate, 1);
            if n % 1000 == 0 {
                let taken = tally.take();
                tally.give_back(taken);
            }
        }
        let taken = tally.take();
        tally.give_back(taken);
        assert!(tally.cells.len() <= MOST_MINUTES * 3 * (MOST_COUNTRIES + 1), "{}", tally.cells.len());
        assert!(tally.refused.len() <= MOST_MINUTES);
        assert!(tally.cells.keys().any(|(_, _, country)| country.is_none()), "the others are counted together");
    }

    #[test]
    fn what_could_not_be_written_is_held() {
        let mut tally = Tally::default();
        tally.count(60, 0, country(1), &page(), 2.0);
        let taken = tally.take();
        assert!(tally.is_empty());
        tally.count(61, 0, country(1), &page(), 2.0);
        tally.give_back(taken);
        let cell = &tally.cells[&(60, 0, Some(country(1)))];
        assert_eq!((cell.pages, cell.sketches[Timing::Lcp as usize].count()), (4.0, 2));
    }
}
