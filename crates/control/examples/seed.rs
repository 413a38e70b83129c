//! Fills a store with a history that looks like one, for screenshots and for the bench of the dashboard's queries.
//!
//! `seed FILE DAYS PROVIDERS TROUBLE`: minutes for as many days as are kept and hours before, for these providers (names, or
//! a number); TROUBLE, a provider or `us` or `nobody`, has gone wrong for forty
//! minutes.

use headwater_config::Keep;
use headwater_control::figures::{self, Figure};
use headwater_control::sketch::Sketch;
use headwater_control::store::{Batch, Event, Key, Store};
use std::f64::consts::TAU;
use std::path::Path;
use std::time::{Duration, SystemTime};

const DAY: i64 = 86_400;
/// Of minutes; older ones are written as one of each hour.
const KEPT: i64 = 40;
const TROUBLE: i64 = 2400;
const SOURCES: [&str; 8] = ["503_page", "dns", "tls", "tcp", "timeout", "http_500", "http_503", "abandoned"];
const COUNTRIES: [(&str, f64); 24] = [
    ("US", 0.31),
    ("DE", 0.09),
    ("GB", 0.09),
    ("FR", 0.07),
    ("BR", 0.06),
    ("IN", 0.06),
    ("JP", 0.05),
    ("CA", 0.04),
    ("AU", 0.03),
    ("ES", 0.03),
    ("IT", 0.03),
    ("NL", 0.02),
    ("PL", 0.02),
    ("SE", 0.01),
    ("MX", 0.02),
    ("AR", 0.01),
    ("ZA", 0.01),
    ("KR", 0.01),
    ("SG", 0.01),
    ("TR", 0.01),
    ("NG", 0.005),
    ("EG", 0.005),
    ("ID", 0.01),
    ("unknown", 0.01),
];

/// Numbers that are the same at each run (Steele, Lea and Flood, 2014: SplitMix).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((word ^ (word >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// About 1, by a few hundredths.
    fn noise(&mut self) -> f64 {
        1.0 + 0.03 * (self.next() + self.next() + self.next() + self.next() - 2.0)
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, days, providers, trouble] = arguments.as_slice() else {
        eprintln!("usage: seed FILE DAYS PROVIDERS TROUBLE");
        std::process::exit(2);
    };
    let providers: Vec<String> = match providers.parse::<usize>() {
        Ok(count) => (1..=count).map(|n| format!("cdn{n}")).collect(),
        Err(_) => providers.split(',').map(String::from).collect(),
    };
    let days: i64 = days.parse().expect("DAYS is a number");
    let kept = |days: i64| Duration::from_secs((days * DAY) as u64);
    // Open for a history of that length, and forget afterwards what would not be kept.
    let open = Keep { minutes: kept(days + 2), hours: kept(days + 2), days: kept(3650) };
    let keep = Keep { minutes: kept(KEPT), hours: kept(400.max(KEPT)), days: kept(3650) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let store = Store::open(Path::new(file), open).expect("the store opens");
        let now =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() as i64 / 60 * 60;
        let mut chance = Chance(7);
        let first = (now / DAY - days) * DAY;
        let minutes_from = first.max((now / DAY - KEPT.min(days)) * DAY);
        let mut at = first;
        while at < now {
            let mut batch = Batch::default();
            let until = (at + 4 * 3600).min(now);
            while at < until {
                let length = if at < minutes_from { 3600 } else { 60 };
                moment(&mut batch, at, length, &providers, (at >= now - TROUBLE).then_some(trouble), &mut chance);
                at += length;
            }
            store.write(batch).await.expect("the store takes it");
        }
        finish(&store, now, &providers).await;
        drop(store);
        let store = Store::open(Path::new(file), keep).expect("the store opens");
        let forgotten = store.forget(now).await.expect("the store forgets");
        println!("{} days of {} providers; {forgotten} rows forgotten", days, providers.len());
    });
}

async fn finish(store: &Store, now: i64, providers: &[String]) {
    let mut batch = Batch::default();
    for (before, tag, text) in
        [(3000, "deploy", "deploy 3f2a91c"), (9000, "deploy", "deploy 77b0e12"), (20_000, "weights", "akamai 20 -> 30")]
    {
        let event =
            Event { at: now - before, kind: "note".into(), tag: tag.into(), text: text.into(), who: "ci".into() };
        batch.event(event);
    }
    for cdn in providers {
        batch.checkpoint(format!("edge_settled/{cdn}"), Some((now - 300).to_string()));
    }
    batch.checkpoint("pulls/proxies", Some("{\"127.0.0.1:9180\": 0}".into()));
    store.write(batch).await.expect("the store takes it");
}

/// One bucket of `length` seconds of every figure.
fn moment(
    batch: &mut Batch,
    at: i64,
    length: i64,
    providers: &[String],
    trouble: Option<&String>,
    chance: &mut Chance,
) {
    let minutes = length as f64 / 60.0;
    let day = 1.0 + 0.45 * ((at % DAY) as f64 / DAY as f64 * TAU - 2.0).sin();
    let week = if (at / DAY + 4) % 7 >= 5 { 0.8 } else { 1.0 };
    let mut lost = 0.0;
    for (n, cdn) in providers.iter().enumerate() {
        let is_ill = trouble.is_some_and(|trouble| trouble == cdn);
        let all_ill = trouble.is_some_and(|trouble| trouble == "us");
        let mut set = |figure: &'static Figure, label: &str, value: f64| {
            batch.set(Key::new(figure, cdn, label), at, value.round());
        };
        let edge = minutes * day * week * chance.noise() * 24_000.0 / (1.0 + n as f64 * 0.7);
        let hit = (if is_ill { 0.83 } else { 0.955 - n as f64 * 0.008 }) * chance.noise().min(1.01);
        let pulls = edge * (1.0 - hit) * 0.97;
        let at_edge = if is_ill { 0.062 } else { 0.0006 } * chance.noise();
        let at_origin = if all_ill { 0.09 } else { 0.0012 } * chance.noise();
        for (property, share) in [("www", 0.7), ("img", 0.3)] {
            for (figure, value) in [
                (figures::EDGE_REQUESTS, edge),
                (figures::EDGE_HITS, edge * hit),
                (figures::EDGE_MISSES, edge * (1.0 - hit)),
                (figures::EDGE_BYTES, edge * 41_000.0),
                (figures::EDGE_2XX, edge * (0.95 - at_edge)),
                (figures::EDGE_3XX, edge * 0.04),
                (figures::EDGE_4XX, edge * 0.01),
                (figures::EDGE_5XX, edge * at_edge),
                (figures::EDGE_ORIGIN_REQUESTS, pulls),
            ] {
                // What a vendor tells comes some minutes late.
                set(figure, property, value * share);
            }
        }
        for (figure, value) in [
            (figures::PULLS, pulls),
            (figures::PULL_BYTES, pulls * 46_000.0),
            (figures::PULLS_2XX, pulls * (0.93 - at_origin)),
            (figures::PULLS_3XX, pulls * 0.05),
            (figures::PULLS_4XX, pulls * 0.02),
            (figures::PULLS_5XX, pulls * at_origin),
        ] {
            set(figure, "", value);
        }
        set(figures::WHOOPSIES, "upstream_5xx", pulls * at_origin * 0.8);
        set(figures::WHOOPSIES, "timeout", pulls * at_origin * 0.2);
        let beacons = minutes
            * chance.noise()
            * (if is_ill {
                45.0
            } else if all_ill {
                25.0
            } else {
                2.4 / (1.0 + n as f64 * 0.3)
            });
        lost += beacons;
        for (rank, source) in SOURCES.iter().enumerate() {
            let value = beacons / (1.7 + rank as f64 * rank as f64);
            if value >= 0.5 {
                set(figures::BEACONS, source, value);
            }
        }
        if let Some(pages) = figures::named("user_pages") {
            set(pages, "", edge / 60.0);
        }
        let origin = distribution(if all_ill { 0.9 } else { 0.085 } * chance.noise(), (pulls / minutes) as u64);
        batch.merge(Key::new(figures::ORIGIN_SECONDS, cdn, ""), at, origin.clone());
        batch.merge(Key::new(figures::PULL_SECONDS, cdn, ""), at, origin);
        if let Some(first_byte) = figures::named("user_ttfb") {
            let middle = if is_ill { 0.6 } else { 0.12 + n as f64 * 0.02 } * chance.noise();
            batch.merge(Key::new(first_byte, cdn, ""), at, distribution(middle, (edge / minutes / 60.0) as u64));
        }
    }
    for (country, share) in COUNTRIES {
        let value = (lost * share * chance.noise()).round();
        if value > 0.0 {
            batch.set(Key::new(figures::BEACON_COUNTRIES, "", country), at, value);
        }
    }
    if let Some(watched) = figures::named("pulls_watched") {
        batch.set(Key::new(watched, "", "127.0.0.1:9180"), at, length as f64);
    }
}

/// Skewed to the right about a middle, as times are.
fn distribution(middle: f64, times: u64) -> Sketch {
    let mut sketch = Sketch::default();
    for n in 0..40 {
        let z = (n as f64 - 19.5) / 8.0;
        let weight = (-z * z / 2.0).exp();
        sketch.add(middle * (0.55 * z).exp(), ((times as f64 * weight / 20.0) as u64).max(u64::from(n == 19)));
    }
    sketch
}
