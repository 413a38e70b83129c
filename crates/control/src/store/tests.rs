use super::*;
use crate::figures::{EDGE_SAMPLING, PULL_SECONDS, PULLS, WHOOPSIES};
use crate::sketch::Sketch;
use std::time::{Duration, SystemTime};

const KEEP: Keep = Keep {
    minutes: Duration::from_secs(40 * 86_400),
    hours: Duration::from_secs(400 * 86_400),
    days: Duration::from_secs(1000 * 86_400),
};

fn now() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64
}

/// The beginning of yesterday.
fn day() -> i64 {
    (now() / 86_400 - 1) * 86_400
}

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("history.db"), KEEP).unwrap();
    (folder, store)
}

async fn points(store: &Store, step: Step) -> Vec<(i64, f64)> {
    let all = store.read(move |reader| reader.points(PULLS, Some("fastly"), (0, i64::MAX), step)).await.unwrap();
    all.into_iter().next().map(|series| series.points).unwrap_or_default()
}

fn pulls() -> Key {
    Key::new(PULLS, "fastly", "")
}

#[tokio::test]
async fn minutes_roll_up_into_hours_and_days_as_they_are_written() {
    let (_folder, store) = store();
    let mut batch = Batch::default();
    for minute in 0..120 {
        batch.set(pulls(), day() + minute * 60 + 59, 2.0);
    }
    store.write(batch).await.unwrap();
    assert_eq!(points(&store, Step::Minute).await.len(), 120);
    assert_eq!(points(&store, Step::Hour).await, [(day(), 120.0), (day() + 3600, 120.0)]);
    assert_eq!(points(&store, Step::Day).await, [(day(), 240.0)]);
}

#[tokio::test]
async fn setting_twice_changes_nothing_and_adding_twice_adds() {
    let (_folder, store) = store();
    for _ in 0..2 {
        let mut batch = Batch::default();
        batch.set(pulls(), day(), 5.0);
        batch.add(Key::new(PULLS, "akamai", ""), day(), 5.0);
        store.write(batch).await.unwrap();
    }
    assert_eq!(points(&store, Step::Day).await, [(day(), 5.0)]);
    let akamai = store.read(|reader| reader.points(PULLS, Some("akamai"), (0, i64::MAX), Step::Day)).await.unwrap();
    assert_eq!(akamai[0].points, [(day(), 10.0)]);
}

#[tokio::test]
async fn states_are_averaged_and_distributions_merged() {
    let (_folder, store) = store();
    let mut batch = Batch::default();
    batch.set(Key::new(EDGE_SAMPLING, "cloudflare", "zone"), day(), 1.0);
    batch.set(Key::new(EDGE_SAMPLING, "cloudflare", "zone"), day() + 60, 3.0);
    let mut sketch = Sketch::default();
    sketch.add(0.5, 3);
    batch.merge(Key::new(PULL_SECONDS, "fastly", ""), day(), sketch.clone());
    batch.merge(Key::new(PULL_SECONDS, "fastly", ""), day() + 60, sketch);
    store.write(batch).await.unwrap();
    let sampling = store.read(|reader| reader.points(EDGE_SAMPLING, None, (0, i64::MAX), Step::Hour)).await.unwrap();
    assert_eq!(sampling[0].points, [(day(), 2.0)]);
    let seconds = store.read(|reader| reader.sketches(PULL_SECONDS, None, (0, i64::MAX), Step::Day)).await.unwrap();
    assert_eq!(seconds[0].points[0].1.count(), 6);
}

#[tokio::test]
async fn a_batch_is_written_whole_or_not_at_all() {
    let (_folder, store) = store();
    let mut batch = Batch::default();
    batch.set(pulls(), day(), 1.0);
    // NaN is NULL to SQLite, and a value is never NULL.
    batch.set(pulls(), day() + 60, f64::NAN);
    assert!(store.write(batch).await.is_err());
    assert_eq!(points(&store, Step::Minute).await, []);
    let mut batch = Batch::default();
    batch.set(pulls(), day(), 1.0);
    store.write(batch).await.unwrap();
    assert_eq!(points(&store, Step::Minute).await, [(day(), 1.0)]);
}

#[tokio::test]
async fn each_length_of_bucket_is_kept_for_its_own_time() {
    let (_folder, store) = store();
    let mut batch = Batch::default();
    batch.set(pulls(), day(), 1.0);
    batch.event(Event { at: day(), text: "deploy".into(), ..Event::default() });
    store.write(batch).await.unwrap();
    let later = |days: i64| day() + days * 86_400;
    store.forget(later(39)).await.unwrap();
    assert_eq!(points(&store, Step::Minute).await.len(), 1);
    store.forget(later(42)).await.unwrap();
    assert_eq!((points(&store, Step::Minute).await.len(), points(&store, Step::Hour).await.len()), (0, 1));
    store.forget(later(402)).await.unwrap();
    assert_eq!((points(&store, Step::Hour).await.len(), points(&store, Step::Day).await.len()), (0, 1));
    assert_eq!(store.read(|reader| reader.events((0, i64::MAX))).await.unwrap().len(), 1);
    store.forget(later(1002)).await.unwrap();
    assert_eq!(points(&store, Step::Day).await.len(), 0);
    assert_eq!(store.read(|reader| reader.events((0, i64::MAX))).await.unwrap().len(), 0);
}

#[tokio::test]
async fn what_is_older_than_what_is_kept_leaves_its_hour_alone() {
    let (_folder, store) = store();
    let mut batch = Batch::default();
    batch.set(pulls(), now() - 50 * 86_400, 1.0);
    store.write(batch).await.unwrap();
    assert_eq!(points(&store, Step::Hour).await, []);
}

#[tokio::test]
async fn checkpoints_are_written_with_what_they_stand_for() {
    let (folder, store) = store();
    let mut batch = Batch::default();
    batch.add(pulls(), day(), 1.0);
    batch.checkpoint("proxy", Some("17".into()));
    store.write(batch).await.unwrap();
    drop(store);
    let store = Store::open(&folder.path().join("history.db"), KEEP).unwrap();
    assert_eq!(store.read(|reader| reader.checkpoint("proxy")).await.unwrap().as_deref(), Some("17"));
    assert_eq!(points(&store, Step::Minute).await, [(day(), 1.0)]);
}

#[test]
fn a_file_of_a_newer_headwater_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.db");
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = Store::open(&path, KEEP).err().unwrap().to_string();
    assert!(error.contains("newer Headwater"), "{error}");
}

#[test]
fn a_step_says_a_stretch_in_at_most_1500_points() {
    assert_eq!(Step::for_length(86_400), Step::Minute);
    assert_eq!(Step::for_length(7 * 86_400), Step::Hour);
    assert_eq!(Step::for_length(366 * 86_400), Step::Day);
}

#[tokio::test]
async fn two_who_write_at_one_time_wait_for_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.db");
    let (one, other) = (Store::open(&path, KEEP).unwrap(), Store::open(&path, KEEP).unwrap());
    // Each of another series: a transaction that begins with looking for it.
    let write = async |store: &Store, cdn: &str| {
        for number in 0..100 {
            let mut batch = Batch::default();
            batch.add(Key::new(WHOOPSIES, cdn, number.to_string()), day(), 1.0);
            store.write(batch).await.unwrap();
        }
    };
    tokio::join!(write(&one, "fastly"), write(&other, "akamai"));
    let all = one.read(|reader| reader.points(WHOOPSIES, None, (0, i64::MAX), Step::Minute)).await.unwrap();
    assert_eq!(all.len(), 200);
}
