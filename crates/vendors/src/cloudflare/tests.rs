use super::*;
use crate::vendor::{client, run, vendor};

/// 2019-09-08T20:00:00Z and the hour behind it.
const WINDOW: Window = Window { from: 1_567_972_800, until: 1_567_976_400 };

/// The minute of Cloudflare's documentation, as groups: 15 requests, 12 of them cached, 4 with 200 and 11 with 403,
/// 312,740 bytes.
fn documented(zone: &str) -> serde_json::Value {
    let cached = |status: &str, count: u64, bytes: u64| {
        serde_json::json!({ "count": count, "sum": { "edgeResponseBytes": bytes }, "avg": { "sampleInterval": 1.0 },
            "dimensions": { "datetimeMinute": "2019-09-08T20:00:00Z", "cacheStatus": status } })
    };
    let status = |status: u16, count: u64| {
        serde_json::json!({ "count": count,
            "dimensions": { "datetimeMinute": "2019-09-08T20:00:00Z", "edgeResponseStatus": status } })
    };
    serde_json::json!({ "zoneTag": zone,
        "caches": [cached("hit", 10, 309_000), cached("revalidated", 2, 930), cached("miss", 2, 1800),
                   cached("dynamic", 1, 1010)],
        "statuses": [status(200, 4), status(403, 11)] })
}

fn said(zones: &[serde_json::Value]) -> String {
    serde_json::json!({ "data": { "viewer": { "zones": zones } }, "errors": null }).to_string()
}

fn ask(body: String) -> Result<Vec<Bucket>, VendorError> {
    let origin = vendor(move |_| (200, "", body.clone()));
    let url = format!("http://{}", origin.address);
    run(Cloudflare::new(&url, "s3same0pen", vec!["z1".into()], vec![]).buckets(&client(), WINDOW))
}

#[test]
fn the_documented_minute_has_its_exact_totals() {
    let buckets = ask(said(&[documented("z1")])).unwrap();
    let expected = Bucket {
        property: "z1".into(),
        start: 1_567_972_800,
        requests: 15,
        hits: Some(12),
        misses: Some(2),
        bytes: Some(312_740),
        classes: [0, 4, 0, 11, 0].map(Some),
        sampling: Some(1.0),
        ..Bucket::default()
    };
    assert_eq!(buckets, [expected]);
}

#[test]
fn ten_zones_go_into_a_question_and_users_alone_are_counted() {
    let origin = vendor(|asked| {
        let asked: serde_json::Value = serde_json::from_slice(&asked.body).unwrap();
        let zones = asked["variables"]["zones"].as_array().unwrap().clone();
        (200, "", said(&zones.iter().map(|zone| documented(zone.as_str().unwrap())).collect::<Vec<_>>()))
    });
    let zones = (0..12).map(|zone| format!("z{zone}")).collect();
    let url = format!("http://{}", origin.address);
    let cloudflare = Cloudflare::new(&url, "s3same0pen", zones, vec!["www.example.com".into()]);
    assert_eq!(run(cloudflare.buckets(&client(), WINDOW)).unwrap().len(), 12);
    let asked = origin.requests();
    assert_eq!(asked.len(), 2);
    assert_eq!((asked[0].method.as_str(), asked[0].target.as_str()), ("POST", "/graphql"));
    assert_eq!(asked[0].header("authorization"), Some("Bearer s3same0pen"));
    let body: serde_json::Value = serde_json::from_slice(&asked[0].body).unwrap();
    assert_eq!(
        body["variables"]["f"],
        serde_json::json!({ "datetime_geq": "2019-09-08T20:00:00Z", "datetime_lt": "2019-09-08T21:00:00Z",
            "requestSource": "eyeball", "clientRequestHTTPHost_in": ["www.example.com"] })
    );
}

#[test]
fn a_full_page_is_asked_for_again_in_halves() {
    let origin = vendor(|asked| {
        let asked: serde_json::Value = serde_json::from_slice(&asked.body).unwrap();
        let filter = &asked["variables"]["f"];
        let moment = |key: &str| minutes::read(filter[key].as_str().unwrap()).unwrap();
        let (from, until) = (moment("datetime_geq"), moment("datetime_lt"));
        let mut zone = documented("z1");
        // More than a quarter of an hour does not fit into a page.
        let rows = if until - from > 900 { PAGE } else { 1 };
        let mut row = zone["caches"][0].clone();
        row["dimensions"]["datetimeMinute"] = minutes::write(from).into();
        zone["caches"] = vec![row; rows].into();
        (200, "", said(&[zone]))
    });
    let url = format!("http://{}", origin.address);
    let cloudflare = Cloudflare::new(&url, "t", vec!["z1".into()], vec![]);
    let client = client().bounded(Duration::from_secs(10), 4 << 20);
    let buckets = run(cloudflare.buckets(&client, WINDOW)).unwrap();
    let starts: Vec<Seconds> = buckets.iter().map(|bucket| bucket.start - WINDOW.from).collect();
    assert_eq!(starts, [0, 900, 1800, 2700]);
    assert_eq!(halves(Window { from: 0, until: 60 }), None);
}

#[test]
fn errors_in_a_200_are_errors() {
    let error = |message: &str| {
        ask(serde_json::json!({ "data": null, "errors": [{ "message": message }] }).to_string()).unwrap_err()
    };
    assert!(matches!(error("zone 'z1' is not authorized for that account"), VendorError::Refused { .. }));
    let busy = error("rate limiter budget depleted, please try again after 5 minutes");
    assert_eq!(busy.retry_after(), Some(BUDGET));
    let failed = error("query time range is too large");
    assert!(matches!(failed, VendorError::Failed { .. }) && failed.to_string().contains("too large"), "{failed}");
}

#[test]
fn a_zone_that_is_left_out_is_no_zone_without_requests() {
    assert!(matches!(ask(said(&[])), Err(VendorError::Refused { .. })));
    assert!(matches!(ask(said(&[documented("z1"), documented("z2")])), Err(VendorError::Lying { .. })));
    assert!(matches!(ask("{\"data\":null,\"errors\":null}".into()), Err(VendorError::Malformed { .. })));
    let quiet = serde_json::json!({ "zoneTag": "z1", "caches": [], "statuses": [] });
    assert_eq!(ask(said(&[quiet])).unwrap(), []);
}
