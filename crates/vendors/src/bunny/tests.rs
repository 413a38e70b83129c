use super::*;
use crate::vendor::{client, run, vendor};

/// 2019-05-02T00:00:00Z, and the two hours from there.
const WINDOW: Window = Window { from: 1_556_755_200, until: 1_556_762_400 };

/// What a published client is tested with, with a second hour.
const SAID: &str = r#"{"TotalBandwidthUsed":28639956,"TotalRequestsServed":1261,"CacheHitRate":100,
"BandwidthUsedChart":{"2019-05-02T00:00:00Z":28639956,"2019-05-02T01:00:00Z":10},
"CacheHitRateChart":{"2019-05-02T00:00:00Z":0},
"RequestsServedChart":{"2019-05-02T00:00:00Z":1261,"2019-05-02T01:00:00Z":2,"2019-05-02T07:00:00Z":9},
"PullRequestsPulledChart":{"2019-05-02T00:00:00Z":0},"OriginTrafficChart":{"2019-05-02T00:00:00Z":0},
"Error3xxChart":{"2019-05-02T00:00:00Z":1},"Error4xxChart":{"2019-05-02T00:00:00Z":2},"Error5xxChart":{"2019-05-02T00:00:00Z":3}}"#;

fn ask(body: &str) -> Result<Vec<Bucket>, VendorError> {
    let body = body.to_owned();
    let origin = vendor(move |asked| {
        assert_eq!(asked.header("accesskey"), Some("s3same0pen"));
        assert_eq!(
            asked.target,
            "/statistics?dateFrom=2019-05-02T00:00:00Z&dateTo=2019-05-02T02:00:00Z&pullZone=17&serverZoneId=-1&hourly=true&loadErrors=true"
        );
        (200, "", body.clone())
    });
    let url = format!("http://{}", origin.address);
    run(Bunny::new(&url, "s3same0pen", vec!["17".into()]).buckets(&client(), WINDOW))
}

#[test]
fn a_published_answer_has_its_exact_totals_by_hour() {
    let buckets = ask(SAID).unwrap();
    let first = Bucket {
        property: "17".into(),
        start: 1_556_755_200,
        requests: 1261,
        bytes: Some(28_639_956),
        classes: [None, Some(1255), Some(1), Some(2), Some(3)],
        origin_requests: Some(0),
        origin_bytes: Some(0),
        ..Bucket::default()
    };
    // What no chart has of the second hour is unknown, and the hour behind the window was not asked for.
    let second =
        Bucket { property: "17".into(), start: 1_556_758_800, requests: 2, bytes: Some(10), ..Bucket::default() };
    assert_eq!(buckets, [first, second]);
}

#[test]
fn lies_and_rubbish_yield_no_figure() {
    for (from, to) in [
        ("\"2019-05-02T00:00:00Z\":1261", "\"2019-05-02T00:00:00Z\":-1"),
        ("\"2019-05-02T00:00:00Z\":1261", "\"2019-05-02T00:00:00Z\":0.5"),
        ("\"2019-05-02T00:00:00Z\":1261", "\"2019-05-02T00:00:00Z\":1e300"),
        ("\"2019-05-02T00:00:00Z\":1261", "\"2019-05-02T00:00:00Z\":5"),
        ("\"2019-05-02T07:00:00Z\":9", "\"2019-07-02T07:00:00Z\":9"),
        ("\"2019-05-02T01:00:00Z\":2", "\"2019-05-02T01:30:00Z\":2"),
    ] {
        let error = ask(&SAID.replacen(from, to, 1)).unwrap_err();
        let lie = matches!(error, VendorError::Lying { .. });
        assert!(lie, "{to}: {error}");
    }
    for rubbish in ["{}", "[]", "<html>", &SAID.replacen("Z\":1261", "Z\":\"1261\"", 1), &SAID.replacen("T01:", " ", 3)]
    {
        assert!(matches!(ask(rubbish), Err(VendorError::Malformed { .. })), "{rubbish}");
    }
}
