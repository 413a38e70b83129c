use super::*;
use crate::anomaly::Known;
use crate::figures::{
    BEACONS, EDGE_5XX, EDGE_HITS, EDGE_MISSES, EDGE_ORIGIN_REQUESTS, EDGE_REQUESTS, ORIGIN_SECONDS, PULLS, PULLS_5XX,
};
use crate::service::now;
use crate::sketch::Sketch;
use crate::store::{Batch, Key, Store};
use headwater_config::Keep;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let keep = Keep { minutes: 40 * DAY, hours: 400 * DAY, days: 1000 * DAY };
    let store = Store::open(&folder.path().join("history.db"), keep).unwrap();
    (folder, store)
}

/// The minute that is not over yet.
fn minute() -> i64 {
    now().div_euclid(60) * 60
}

async fn ask(store: &Store, checked: Checked, cdn: Option<&'static str>, over: i64) -> Result<Measured, String> {
    let providers = ["akamai".to_string(), "fastly".to_string()];
    let answer = store.read(move |reader| measure(reader, checked, &providers, cdn, over, minute())).await;
    answer.unwrap()
}

fn key(figure: &'static crate::figures::Figure, cdn: &str, label: &str) -> Key {
    Key::new(figure, cdn, label)
}

#[tokio::test]
async fn an_empty_store_knows_nothing_and_never_says_0() {
    let (_folder, store) = store();
    for (name, checked) in ALL.iter().filter(|(_, checked)| *checked != Checked::Anomalies) {
        for cdn in [None, Some("fastly")] {
            assert!(ask(&store, *checked, cdn, 300).await.is_err(), "{name} {cdn:?}");
        }
    }
    assert!(anomalies(&Known::default(), None).is_err());
}

#[tokio::test]
async fn beacons_are_of_whose_users_see_the_page_and_none_is_known_only_where_proxies_were_read() {
    let (_folder, store) = store();
    let end = minute();
    let mut batch = Batch::default();
    for at in (end - 300..end).step_by(60) {
        batch.set(key(PULLS, "akamai", ""), at, 0.0);
        batch.set(key(BEACONS, "untagged", "fastly_503"), at, 3.0);
        batch.set(key(BEACONS, "untagged", "fastly_502"), at, 1.0);
        batch.set(key(BEACONS, "fastly", "checkout"), at, 1.0);
    }
    store.write(batch).await.unwrap();
    assert_eq!(ask(&store, Checked::Beacons, Some("fastly"), 300).await.unwrap().value, 5.0);
    let none = ask(&store, Checked::Beacons, Some("akamai"), 300).await.unwrap();
    assert_eq!((none.value, none.window), (0.0, (end - 300, end)), "it is known that there was none");
    assert!(ask(&store, Checked::Errors, None, 300).await.is_err(), "a share of no pulls");
    let half = ask(&store, Checked::Beacons, Some("fastly"), 600).await.unwrap();
    assert_eq!(half.value, 5.0, "over the minutes that are known, not over all");
    assert_eq!(half.note, "of 5 known minutes in 10");
}

#[tokio::test]
async fn what_is_old_says_how_old_it_is() {
    let (_folder, store) = store();
    let mut batch = Batch::default();
    batch.set(key(PULLS, "fastly", ""), minute() - 3600, 60.0);
    store.write(batch).await.unwrap();
    let old = ask(&store, Checked::Pulls, None, 300).await.unwrap();
    assert_eq!((old.value, old.window.1), (60.0, minute() - 3540));
}

#[tokio::test]
async fn the_edge_is_held_against_pulls_on_settled_time_alone() {
    let (_folder, store) = store();
    let settled = (minute() - 1200).div_euclid(300) * 300;
    let mut batch = Batch::default();
    for at in (settled - 1800..settled).step_by(300) {
        let edge = |figure| key(figure, "fastly", "www").every(300);
        batch.set(edge(EDGE_REQUESTS), at, 1000.0);
        batch.set(edge(EDGE_HITS), at, 900.0);
        batch.set(edge(EDGE_MISSES), at, 100.0);
        batch.set(edge(EDGE_5XX), at, 20.0);
        batch.set(edge(EDGE_ORIGIN_REQUESTS), at, 125.0);
        batch.set(key(EDGE_REQUESTS, "fastly", "stream").every(300), at, 999.0);
    }
    // Not settled, and a lie so far.
    batch.set(key(EDGE_REQUESTS, "fastly", "www").every(300), settled, 7.0);
    for at in (settled - 1800..minute()).step_by(60) {
        batch.set(key(PULLS, "fastly", ""), at, 20.0);
        batch.set(key(PULLS_5XX, "fastly", ""), at, 1.0);
        let mut sketch = Sketch::default();
        sketch.add(0.2, 20);
        batch.merge(key(ORIGIN_SECONDS, "fastly", ""), at, sketch);
    }
    batch.checkpoint("edge_settled/fastly", Some(settled.to_string()));
    store.write(batch).await.unwrap();
    let value = async |checked| {
        ask(&store, checked, Some("fastly"), 900).await.map(|measured| (measured.value * 1000.0).round())
    };
    assert_eq!(value(Checked::Offload).await, Ok(900.0));
    assert_eq!(value(Checked::HitRatio).await, Ok(900.0));
    assert_eq!(value(Checked::EdgeErrors).await, Ok(20.0));
    assert_eq!(value(Checked::Disagreement).await, Ok(200.0));
    assert_eq!(value(Checked::Errors).await, Ok(50.0));
    assert!((198.0..=202.0).contains(&value(Checked::P95).await.unwrap()));
    let offload = ask(&store, Checked::Offload, None, 900).await.unwrap();
    assert_eq!(offload.window, (settled - 900, settled));
    let behind = ask(&store, Checked::Collectors, None, 900).await.unwrap();
    assert_eq!(behind.value, (minute() - settled) as f64);
    assert!(ask(&store, Checked::Collectors, Some("akamai"), 900).await.is_err());

    let providers = ["akamai".to_string(), "fastly".to_string()];
    let known = Known { judged: Some(minute()), departures: Vec::new() };
    let text = store.read(move |reader| gauges::text(reader, &providers, &known, minute())).await.unwrap();
    assert!(text.contains("headwater_edge_5xx_ratio{cdn=\"fastly\"} 0.02\n"), "{text}");
    assert!(!text.contains("headwater_edge_5xx_ratio{cdn=\"akamai\"}"), "what is not known has no line: {text}");
    assert!(text.contains("headwater_anomaly{cdn=\"all\",figure=\"pulls\"} 0\n"), "{text}");
}
