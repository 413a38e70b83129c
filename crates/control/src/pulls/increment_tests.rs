use super::*;
use crate::store::{Step, Store};
use headwater_config::Keep;
use std::time::Duration;

/// A minute's beginning, of yesterday.
fn minute() -> i64 {
    (crate::service::now() / 86_400 - 1) * 86_400
}

fn reading(at: i64, began: i64, pulls: f64) -> Reading {
    let mut reading = Reading { at, began: (began != 0).then_some(began * 1000), ..Reading::default() };
    reading.cdns = vec!["fastly".into()];
    if pulls > 0.0 {
        reading.counters.insert(series(), pulls);
    }
    reading
}

fn series() -> String {
    r#"headwater_pulls_total{cdn="fastly",code="2xx",rule="default"}"#.into()
}

/// Pulls, watched seconds and spread seconds by minute, counted from `minute()`.
async fn written(increments: &[Increment]) -> [Vec<(i64, f64)>; 3] {
    let folder = tempfile::tempdir().unwrap();
    let day = Duration::from_secs(86_400);
    let keep = Keep { minutes: 40 * day, hours: 400 * day, days: 4000 * day };
    let store = Store::open(&folder.path().join("history.db"), keep).unwrap();
    for increment in increments {
        let mut batch = Batch::default();
        assert_eq!(increment.write(&mut batch, "p"), 0);
        store.write(batch).await.unwrap();
    }
    let mut found = Vec::new();
    for figure in [figures::PULLS, figures::PULLS_WATCHED, figures::PULLS_SPREAD] {
        let series = store.read(|reader| reader.points(figure, None, (0, i64::MAX), Step::Minute)).await.unwrap();
        let points = series.into_iter().flat_map(|series| series.points);
        found.push(points.map(|(at, value)| ((at - minute()) / 60, value)).collect());
    }
    found.try_into().unwrap()
}

fn between(before: &Reading, after: &Reading) -> Increment {
    Increment::between(Some(before), after).unwrap()
}

#[tokio::test]
async fn what_is_counted_up_to_a_minutes_end_belongs_to_it() {
    let readings: Vec<_> = (0..=12).map(|n| reading(minute() + n * 10, 7, n as f64)).collect();
    let increments: Vec<_> = readings.windows(2).map(|two| between(&two[0], &two[1])).collect();
    let [pulls, watched, spread] = written(&increments).await;
    assert_eq!(pulls, [(0, 6.0), (1, 6.0)]);
    assert_eq!(watched, [(0, 60.0), (1, 60.0)]);
    assert_eq!(spread, []);
}

#[tokio::test]
async fn none_is_written_where_none_came() {
    let increment = between(&reading(minute(), 7, 5.0), &reading(minute() + 10, 7, 5.0));
    assert_eq!(written(&[increment]).await[0], [(0, 0.0)]);
}

#[tokio::test]
async fn a_gap_is_spread_and_marked_and_no_spike() {
    let increment = between(&reading(minute() + 30, 7, 5.0), &reading(minute() + 270, 7, 1005.0));
    let [pulls, watched, spread] = written(&[increment]).await;
    assert_eq!(pulls, [(0, 125.0), (1, 250.0), (2, 250.0), (3, 250.0), (4, 125.0)]);
    assert_eq!(watched, spread);
    assert_eq!(watched.iter().map(|(_, seconds)| seconds).sum::<f64>(), 240.0);
}

#[tokio::test]
async fn a_process_that_is_new_counts_from_0_even_where_it_counted_more_already() {
    let increment = between(&reading(minute(), 7, 5.0), &reading(minute() + 10, 8, 6.0));
    let [pulls, watched, _] = written(&[increment]).await;
    assert_eq!(pulls, [(0, 6.0)]);
    assert_eq!(watched, [], "what the old one counted last is not known");
}

#[tokio::test]
async fn without_the_time_of_the_process_a_counter_that_falls_tells() {
    let mut before = reading(minute(), 0, 5.0);
    before.counters.insert(r#"headwater_pulls_total{cdn="fastly",code="5xx",rule="default"}"#.into(), 1.0);
    let mut after = reading(minute() + 10, 0, 4.0);
    after.counters.insert(r#"headwater_pulls_total{cdn="fastly",code="5xx",rule="default"}"#.into(), 2.0);
    let increment = between(&before, &after);
    assert_eq!(written(&[increment]).await[0], [(0, 6.0)]);
}

#[tokio::test]
async fn a_series_that_a_reload_took_away_begins_anew_alone() {
    let other: String = r#"headwater_pulls_total{cdn="fastly",code="2xx",rule="static"}"#.into();
    let mut before = reading(minute(), 7, 5.0);
    before.counters.insert(other.clone(), 100.0);
    let mut after = reading(minute() + 10, 7, 8.0);
    after.counters.insert(other, 2.0);
    assert_eq!(written(&[between(&before, &after)]).await[0], [(0, 5.0)]);
}

#[test]
fn the_first_reading_counts_of_a_new_process_alone() {
    assert_eq!(Increment::between(None, &reading(minute() + 10, minute() - 5000, 5.0)), None);
    assert_eq!(Increment::between(None, &reading(minute() + 10, 0, 5.0)), None);
    let first = Increment::between(None, &reading(minute() + 10, minute() + 2, 5.0)).unwrap();
    assert_eq!((first.from, first.gains[&series()]), (minute() + 2, 5.0));
}

#[tokio::test]
async fn a_clock_that_is_set_back_loses_no_pull() {
    let [pulls, watched, _] =
        written(&[between(&reading(minute() + 70, 7, 5.0), &reading(minute() + 20, 7, 9.0))]).await;
    assert_eq!(pulls, [(0, 4.0)]);
    assert_eq!(watched, [(0, 0.0)]);
}

#[test]
fn a_gap_of_more_than_a_week_is_told_of_and_not_written() {
    let mut batch = Batch::default();
    let increment = between(&reading(0, 7, 5.0), &reading(LONGEST_GAP + 1, 7, 9.0));
    assert_eq!(increment.write(&mut batch, "p"), 4);
    assert!(batch.is_empty());
}

#[test]
fn a_count_is_spread_in_whole_numbers() {
    let parts = [(0, 10), (60, 60), (120, 1)];
    for total in [0, 1, 7, 71, 1_000_003] {
        assert_eq!(spread(total, &parts).iter().sum::<u64>(), total);
    }
    assert_eq!(spread(71, &parts), [10, 60, 1]);
}

#[test]
fn a_histogram_becomes_a_distribution_within_its_buckets() {
    let buckets = vec![(0.1, 0), (0.25, 80), (0.5, 96), (f64::INFINITY, 100)];
    let sketches = sketches(buckets, &[(0, 60)]);
    let sketch = &sketches[0].1;
    assert_eq!(sketch.count(), 100);
    let at = |q| sketch.quantile(q).unwrap();
    assert!((0.1..0.25).contains(&at(0.5)), "{}", at(0.5));
    assert!((0.25..0.5).contains(&at(0.9)), "{}", at(0.9));
    assert!((at(1.0) / 0.5 - 1.0).abs() < 0.02, "beyond the last limit is that limit");
}
