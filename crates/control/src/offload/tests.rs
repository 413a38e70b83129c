use super::*;
use crate::figures::{
    EDGE_BYTES, EDGE_HITS, EDGE_MISSES, EDGE_ORIGIN_REQUESTS, EDGE_REQUESTS, PULL_BYTES, PULLS, PULLS_SPREAD,
    PULLS_WATCHED,
};
use crate::store::{Batch, Key, Store};
use headwater_config::Keep;
use std::time::Duration;

const PROXY: &str = "127.0.0.1:9180";

/// An hour of yesterday, so that it is kept.
fn hour() -> i64 {
    (crate::service::now() / 86_400 - 1) * 86_400
}

fn key(figure: &'static Figure, label: &str) -> Key {
    Key::new(figure, "fastly", label)
}

/// Ten minutes of 100 users' requests and 10 pulls each, all watched.
fn ten_minutes() -> Batch {
    let mut batch = Batch::default();
    for minute in (0..10).map(|minute| hour() + minute * 60) {
        batch.set(key(EDGE_REQUESTS, "shop"), minute, 100.0);
        batch.set(key(EDGE_BYTES, "shop"), minute, 10_000.0);
        batch.set(key(EDGE_HITS, "shop"), minute, 60.0);
        batch.set(key(EDGE_MISSES, "shop"), minute, 20.0);
        batch.set(key(PULLS, ""), minute, 10.0);
        batch.set(key(PULL_BYTES, ""), minute, 2_000.0);
        batch.set(Key::new(PULLS_WATCHED, "", PROXY), minute, 60.0);
    }
    batch.checkpoint("edge_settled/fastly", Some((hour() + 600).to_string()));
    batch.checkpoint("pulls/proxies", Some(format!(r#"{{"{PROXY}": 0}}"#)));
    batch
}

async fn of(batch: Batch, seconds: i64) -> Worth {
    let folder = tempfile::tempdir().unwrap();
    let day = Duration::from_secs(86_400);
    let keep = Keep { minutes: 40 * day, hours: 400 * day, days: 4000 * day };
    let store = Store::open(&folder.path().join("history.db"), keep).unwrap();
    store.write(batch).await.unwrap();
    let window = (hour(), hour() + seconds);
    let mut worths = store.read(move |reader| worth(reader, &["fastly".into()], window)).await.unwrap();
    worths.remove(0)
}

#[tokio::test]
async fn offload_is_what_did_not_come_to_us() {
    let worth = of(ten_minutes(), 600).await;
    assert_eq!((worth.pulls, worth.edge_requests), (Some(100.0), Some(1000.0)));
    assert_eq!((worth.offload, worth.byte_offload), (Some(0.9), Some(0.8)));
    assert_eq!((worth.hit_ratio, worth.joined_seconds), (Some(0.75), 600));
    assert_eq!((worth.disagreement, worth.vendor_origin_requests), (None, None));
}

#[tokio::test]
async fn what_is_not_settled_does_not_count() {
    let mut batch = ten_minutes();
    batch.set(key(PULLS, ""), hour() + 540, 5000.0);
    batch.checkpoint("edge_settled/fastly", Some((hour() + 530).to_string()));
    let worth = of(batch, 600).await;
    assert_eq!((worth.offload, worth.joined_seconds), (Some(0.9), 480), "the minute of 480 is half settled");
    let mut batch = ten_minutes();
    batch.checkpoint("edge_settled/fastly", None);
    assert_eq!(of(batch, 600).await.offload, None);
}

#[tokio::test]
async fn a_minute_that_one_side_does_not_know_is_left_out() {
    let mut batch = ten_minutes();
    batch.set(Key::new(PULLS_WATCHED, "", PROXY), hour() + 60, 30.0);
    batch.set(key(PULLS, ""), hour() + 60, 2.0);
    let worth = of(batch, 600).await;
    assert_eq!((worth.offload, worth.pulls, worth.joined_seconds), (Some(0.9), Some(90.0), 540));
    assert_eq!(worth.hits, Some(540.0), "on the same minutes");
}

#[tokio::test]
async fn a_proxy_that_nobody_can_read_leaves_the_offload_unknown() {
    let two = |since| format!(r#"{{"{PROXY}": 0, "10.0.0.2:9180": {since}}}"#);
    let mut batch = ten_minutes();
    batch.checkpoint("pulls/proxies", Some(two(0)));
    assert_eq!(of(batch.clone(), 600).await.offload, None, "it was never seen");
    batch.set(Key::new(PULLS_WATCHED, "", "10.0.0.2:9180"), hour(), 60.0);
    assert_eq!(of(batch.clone(), 600).await.joined_seconds, 60);
    batch.checkpoint("pulls/proxies", Some(two(hour() + 300)));
    assert_eq!(of(batch, 600).await.joined_seconds, 300, "before that it was not there");
    // One that was taken out of the configuration is missed no more.
    let mut batch = ten_minutes();
    batch.set(Key::new(PULLS_WATCHED, "", "10.0.0.2:9180"), hour(), 60.0);
    assert_eq!(of(batch, 600).await.joined_seconds, 600);
}

#[tokio::test]
async fn a_gap_counts_whole_or_not_at_all() {
    let mut batch = ten_minutes();
    for minute in [180, 240, 300] {
        batch.set(Key::new(PULLS_SPREAD, "", PROXY), hour() + minute, 60.0);
        batch.set(key(PULLS, ""), hour() + minute, 50.0);
    }
    assert_eq!(of(batch.clone(), 600).await.pulls, Some(7.0 * 10.0 + 150.0));
    let cut = of(batch, 300).await;
    assert_eq!((cut.pulls, cut.offload), (Some(30.0), Some(0.9)), "the gap goes beyond the window");
}

#[tokio::test]
async fn a_coarser_vendor_is_joined_on_whole_buckets() {
    let mut batch = ten_minutes();
    let google = |figure| Key::new(figure, "google", "").every(300);
    batch.set(google(EDGE_REQUESTS), hour(), 500.0);
    batch.set(google(EDGE_REQUESTS), hour() + 300, 500.0);
    (0..8).for_each(|minute| batch.set(Key::new(PULLS, "google", ""), hour() + minute * 60, 50.0));
    batch.checkpoint("edge_settled/google", Some((hour() + 599).to_string()));
    let folder = tempfile::tempdir().unwrap();
    let day = Duration::from_secs(86_400);
    let keep = Keep { minutes: 40 * day, hours: 400 * day, days: 4000 * day };
    let store = Store::open(&folder.path().join("history.db"), keep).unwrap();
    store.write(batch).await.unwrap();
    let window = (hour(), hour() + 600);
    let both = vec!["fastly".to_string(), "google".into()];
    let worths = store.read({
        let both = both.clone();
        move |reader| worth(reader, &both, window)
    });
    let google = worths.await.unwrap().remove(1);
    assert_eq!((google.offload, google.joined_seconds), (Some(0.5), 300));

    let shares = store.read(move |reader| shares(reader, &both, window)).await.unwrap();
    assert_eq!(shares[0].of_pulls, Some(0.2), "100 and 400");
    assert_eq!(shares[0].of_edge, Some(0.5), "1000 and 1000, as the second bucket begins before 599");
    assert_eq!(shares[0].of_users, None);
}

#[tokio::test]
async fn more_pulls_than_requests_are_a_negative_offload() {
    let mut batch = ten_minutes();
    (0..10).for_each(|minute| batch.set(key(PULLS, ""), hour() + minute * 60, 150.0));
    assert_eq!(of(batch, 600).await.offload, Some(-0.5));
}

#[tokio::test]
async fn the_api_outweighs_the_stream() {
    let mut batch = ten_minutes();
    (0..10).for_each(|minute| batch.set(key(EDGE_REQUESTS, STREAM), hour() + minute * 60, 90.0));
    assert_eq!(of(batch, 600).await.edge_requests, Some(1000.0));
}

#[tokio::test]
async fn pulls_from_access_logs_need_no_proxy() {
    let mut batch = Batch::default();
    for minute in [0, 60] {
        batch.set(key(EDGE_REQUESTS, "shop"), hour() + minute, 100.0);
    }
    batch.set(key(PULLS, ""), hour(), 10.0);
    batch.checkpoint("edge_settled/fastly", Some((hour() + 600).to_string()));
    let worth = of(batch, 600).await;
    assert_eq!((worth.offload, worth.joined_seconds), (Some(0.9), 60));
}

#[tokio::test]
async fn a_vendor_that_counts_other_pulls_than_we_do_is_told_of() {
    for (vendors, by) in [(10.0, 0.0), (20.0, 0.5), (5.0, -0.5)] {
        let mut batch = ten_minutes();
        (0..10).for_each(|minute| batch.set(key(EDGE_ORIGIN_REQUESTS, "shop"), hour() + minute * 60, vendors));
        let worth = of(batch, 600).await;
        assert_eq!(worth.disagreement, Some(by));
        let told = disagreements(&[worth], 0.05);
        assert_eq!(told.first().map(|told| told.by), Some(by).filter(|by| *by != 0.0));
        assert_eq!(told.first().is_some_and(|told| told.means.contains("bypass")), by > 0.0);
    }
}

#[tokio::test]
async fn chance_is_no_disagreement() {
    let mut batch = ten_minutes();
    (0..10).for_each(|minute| batch.set(key(EDGE_ORIGIN_REQUESTS, "shop"), hour() + minute * 60, 11.0));
    let worth = of(batch, 600).await;
    assert!(worth.disagreement.is_some_and(|by| by > 0.05));
    assert_eq!(disagreements(&[worth], 0.05), []);
}
