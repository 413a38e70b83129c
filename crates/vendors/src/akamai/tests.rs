use super::*;
use crate::vendor::{client, run, silent, vendor};
use headwater_testkit::Origin;

const HOUR: Window = Window { from: 1_795_413_600, until: 1_795_417_200 };

fn asking(origin: &Origin, cp_codes: Vec<String>) -> Result<Vec<Bucket>, VendorError> {
    let url = format!("http://{}", origin.address);
    let akamai = Akamai::new(&url, "client-tok", "client-sec", "access-tok", Some("B-C-1:2"), cp_codes);
    let buckets = run(akamai.buckets(&client(), HOUR));
    let shown = format!("{akamai:?} {buckets:?}");
    for secret in ["client-tok", "client-sec", "access-tok", "B-C-1"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    buckets
}

fn says(data: Value) -> Result<Vec<Bucket>, VendorError> {
    let body = json!({ "metadata": { "name": "current" }, "data": data }).to_string();
    asking(&vendor(move |_| (200, "", body.clone())), vec!["12345".into()])
}

fn row(class: &str, requests: u64, origin: u64) -> Value {
    json!({ "time5minutes": HOUR.from, "cpcode": 12345, "responseClass": class, "edgeHitsSum": requests,
            "edgeResponseBytesSum": requests * 1000, "originHitsSum": origin, "originResponseBytesSum": origin * 900 })
}

#[test]
fn a_bucket_is_the_sum_of_its_rows() {
    let whole = Bucket {
        property: "12345".into(),
        start: HOUR.from,
        requests: 1007,
        bytes: Some(1_007_000),
        classes: [0, 900, 100, 0, 5].map(Some),
        origin_requests: Some(66),
        origin_bytes: Some(59_400),
        ..Bucket::default()
    };
    let rows = [row("2xx", 900, 50), row("3xx", 100, 10), row("5xx", 5, 5), row("0xx", 2, 1)];
    assert_eq!(says(json!(rows)).unwrap(), std::slice::from_ref(&whole));
    // The other shape that is seen, with a CP code in quotes.
    let nested = rows.map(|row| {
        let part =
            |names: &[&str]| names.iter().map(|name| (name.to_string(), row[name].clone())).collect::<Map<_, _>>();
        let mut dimensions = part(&DIMENSIONS);
        dimensions["cpcode"] = "12345".into();
        json!({ "dimensions": dimensions, "metrics": part(&METRICS) })
    });
    assert_eq!(says(json!(nested)).unwrap(), [whole]);
}

#[test]
fn what_a_row_does_not_tell_is_unknown() {
    let bare = json!([{ "time5minutes": HOUR.from, "cpcode": 12345, "edgeHitsSum": 7, "originHitsSum": null }]);
    let bucket = Bucket { property: "12345".into(), start: HOUR.from, requests: 7, ..Bucket::default() };
    assert_eq!(says(bare).unwrap(), [bucket]);
    let mut part = row("3xx", 100, 10);
    part["originHitsSum"] = Value::Null;
    let buckets = says(json!([row("2xx", 900, 50), part])).unwrap();
    assert_eq!((buckets[0].requests, buckets[0].origin_requests, buckets[0].origin_bytes), (1000, None, Some(54_000)));
}

#[test]
fn the_question_is_the_documented_one() {
    let origin = vendor(|_| (200, "", json!({ "data": [] }).to_string()));
    assert_eq!(asking(&origin, (1..=30).map(|code| code.to_string()).collect()).unwrap(), []);
    let asked = origin.requests();
    assert_eq!(asked.len(), 2, "30 CP codes could have more figures than one answer holds");
    let target = "/reporting-api/v2/reports/delivery/traffic/current/data?start=2026-11-23T06%3A00%3A00Z\
                  &end=2026-11-23T07%3A00%3A00Z&accountSwitchKey=B-C-1%3A2";
    assert_eq!((asked[1].method.as_str(), asked[1].target.as_str()), ("POST", target));
    let authorization = asked[1].header("authorization").unwrap();
    let claim = "EG1-HMAC-SHA256 client_token=client-tok;access_token=access-tok;timestamp=20";
    assert!(authorization.starts_with(claim) && !authorization.contains("client-sec"), "{authorization}");
    let body: Value = serde_json::from_slice(&asked[1].body).unwrap();
    assert_eq!(body["dimensions"], json!(["time5minutes", "cpcode", "responseClass"]));
    let filter = json!([{ "dimensionName": "cpcode", "operator": "IN_LIST", "expressions": ["25", "26", "27", "28", "29", "30"] }]);
    assert_eq!(body["filters"], filter);
}

#[test]
fn what_cannot_be_true_is_no_figure() {
    let with = |name: &str, value: Value| {
        let mut row = row("2xx", 10, 1);
        row[name] = value;
        json!([row])
    };
    let lies = [
        json!([row("2xx", 10, 1), row("2xx", 10, 1)]),
        with("cpcode", json!(99)),
        with("time5minutes", json!(HOUR.from + 60)),
        with("time5minutes", json!(HOUR.until)),
        with("edgeHitsSum", json!(u64::MAX)),
    ];
    for lie in lies {
        let error = says(lie.clone()).unwrap_err();
        assert!(matches!(error, VendorError::Lying { .. }), "{lie}: {error}");
    }
    for rubbish in [
        with("edgeHitsSum", json!(-1)),
        with("edgeHitsSum", json!(1.5)),
        with("edgeHitsSum", json!("many")),
        with("edgeHitsSum", Value::Null),
        with("time5minutes", json!("yesterday")),
        json!(["row"]),
        json!("rows"),
    ] {
        let error = says(rubbish.clone()).unwrap_err();
        assert!(matches!(error, VendorError::Malformed { .. }), "{rubbish}: {error}");
    }
}

#[test]
fn an_answer_that_may_be_cut_off_is_no_figure() {
    let rows = vec![json!({ "cpcode": 1 }); FIGURES / METRICS.len()];
    let body = json!({ "data": rows }).to_string();
    let origin = vendor(move |_| (200, "", body.clone()));
    let akamai = Akamai::new(&format!("http://{}", origin.address), "c", "s", "a", None, vec!["1".into()]);
    let error = run(akamai.buckets(&client().bounded(Duration::from_secs(20), 1 << 20), HOUR)).unwrap_err();
    assert!(error.to_string().contains("may be missing"), "{error}");
    assert!(!origin.last().target.contains("accountSwitchKey"));
}

#[test]
fn problems_come_in_akamais_words() {
    let answer = |status: u16, head: &'static str, title: &str| {
        let body =
            json!({ "type": "/reporting-api/error-types/x", "title": title, "status": status, "problemId": "e7dc" });
        let origin = vendor(move |_| (status, head, body.to_string()));
        asking(&origin, vec!["12345".into()]).unwrap_err()
    };
    let error = answer(403, "content-type: application/problem+json\r\n", "Some objects are unauthorized: 12345");
    assert!(
        matches!(error, VendorError::Refused { .. }) && error.to_string().contains("unauthorized: 12345"),
        "{error}"
    );
    let error = answer(422, "", "Query cost exceeded");
    assert!(matches!(error, VendorError::Failed { status: 422, .. }) && !error.is_passing(), "{error}");
    let error = answer(429, "akamai-sync-ratelimit-next: 9999-12-31T00:00:00Z\r\n", "Too many requests");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(86_400)));
    assert!(answer(500, "", "Internal Server Error").is_passing());
    assert!(matches!(asking(&silent(), vec!["1".into()]).unwrap_err(), VendorError::TooSlow { .. }));
}
