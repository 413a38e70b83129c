use super::*;
use crate::vendor::{client, run, silent, vendor};

/// Fastly's own published recording of one minute, with the fields that are read and some that must not be.
const MINUTE: &str = r#"{"bandwidth":83749,"bereq_header_bytes":406,"body_size":3042,"header_size":80301,
"edge_hit_requests":233,"edge_miss_requests":1,"edge_requests":234,"edge_resp_body_bytes":3042,
"edge_resp_header_bytes":80301,"hit_ratio":0.9957264957264957,"hits":233,"miss":1,"origin_fetches":1,
"origin_fetch_resp_body_bytes":13,"origin_fetch_resp_header_bytes":167,"requests":234,"shield":0,
"start_time":1710258360,"status_1xx":0,"status_2xx":234,"status_3xx":0,"status_4xx":0,"status_5xx":0,"waf_passed":0}"#;
const WINDOW: Window = Window { from: 1_710_258_000, until: 1_710_258_900 };

fn stats(rows: &str) -> String {
    format!(
        "{{\"data\":[{rows}],\"meta\":{{\"by\":\"minute\",\"region\":\"usa\"}},\"status\":\"success\",\"msg\":null}}"
    )
}

fn ask(status: u16, head: &'static str, body: String) -> Result<Vec<Bucket>, VendorError> {
    let origin = vendor(move |_| (status, head, body.clone()));
    let fastly =
        Fastly::new(&format!("http://{}", origin.address), "s3same0pen", vec!["kKJb5bOFI47uHeBVluGfX1".into()]);
    run(fastly.buckets(&client(), WINDOW))
}

#[test]
fn a_recorded_minute_has_its_exact_totals() {
    let buckets = ask(200, "", stats(MINUTE)).unwrap();
    let expected = Bucket {
        property: "kKJb5bOFI47uHeBVluGfX1".into(),
        start: 1_710_258_360,
        requests: 234,
        hits: Some(233),
        misses: Some(1),
        bytes: Some(83_343),
        classes: [0, 234, 0, 0, 0].map(Some),
        origin_requests: Some(1),
        origin_bytes: Some(180),
        sampling: None,
    };
    assert_eq!(buckets, [expected]);
}

#[test]
fn the_question_is_as_documented_and_the_token_goes_in_its_header() {
    let origin = vendor(|_| (200, "", stats("")));
    let fastly = Fastly::new(&format!("http://{}", origin.address), "s3same0pen", vec!["a".into(), "b".into()]);
    assert_eq!(run(fastly.buckets(&client(), WINDOW)).unwrap(), []);
    let asked = origin.requests();
    assert_eq!(asked[0].target, "/stats/service/a?from=1710258000&to=1710258900&by=minute");
    assert_eq!(asked[1].target, "/stats/service/b?from=1710258000&to=1710258900&by=minute");
    assert_eq!(asked[0].header("fastly-key"), Some("s3same0pen"));
    assert!(!format!("{fastly:?}").contains("s3same0pen"));
}

#[test]
fn shielded_statuses_are_nobodys() {
    let shielded = MINUTE.replace("\"requests\":234,\"shield\"", "\"requests\":300,\"shield\"");
    let buckets = ask(200, "", stats(&shielded)).unwrap();
    assert_eq!((buckets[0].requests, buckets[0].classes), (234, [None; 5]));
}

#[test]
fn what_is_not_told_is_unknown_and_not_nothing() {
    let buckets = ask(200, "", stats(r#"{"start_time":1710258360,"edge_requests":5}"#)).unwrap();
    assert_eq!((buckets[0].hits, buckets[0].bytes, buckets[0].origin_requests), (None, None, None));
    assert!(matches!(ask(200, "", stats(r#"{"start_time":1710258360}"#)), Err(VendorError::Malformed { .. })));
}

#[test]
fn lies_and_rubbish_yield_no_figure() {
    let lies = [
        MINUTE.replace("\"edge_hit_requests\":233", "\"edge_hit_requests\":235"),
        MINUTE.replace("\"edge_miss_requests\":1", "\"edge_miss_requests\":2"),
        MINUTE.replace("1710258360", "1710257940"),
        MINUTE.replace("1710258360", "1710258361"),
        MINUTE.replace("\"edge_resp_body_bytes\":3042", "\"edge_resp_body_bytes\":9999999999999999999"),
        format!("{MINUTE},{MINUTE}"),
        MINUTE.replace("\"start_time\"", "\"service_id\":\"another\",\"start_time\""),
    ];
    for lie in lies {
        let error = ask(200, "", stats(&lie)).unwrap_err();
        assert!(matches!(error, VendorError::Lying { .. }), "{error}");
    }
    let rubbish = [
        stats(&MINUTE.replace("\"edge_requests\":234", "\"edge_requests\":-1")),
        stats(&MINUTE.replace("\"edge_requests\":234", "\"edge_requests\":NaN")),
        stats(&MINUTE.replace("\"edge_requests\":234", "\"edge_requests\":\"234\"")),
        stats(MINUTE)[..200].to_owned(),
        "<html>Sign in</html>".into(),
        String::new(),
        "{\"data\":null}".into(),
    ];
    for text in rubbish {
        let error = ask(200, "", text).unwrap_err();
        assert!(matches!(error, VendorError::Malformed { .. }), "{error}");
    }
}

#[test]
fn refusals_patience_and_failures_are_told_apart_in_the_vendors_words() {
    let error = ask(401, "", r#"{"msg":"Provided credentials are missing or invalid"}"#.into()).unwrap_err();
    assert!(matches!(error, VendorError::Refused { .. }) && error.to_string().contains("missing or invalid"));
    let error = ask(429, "retry-after: 17\r\n", "slow down".into()).unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(17)));
    let error = ask(200, "", r#"{"data":[],"status":"error","msg":"bad window"}"#.into()).unwrap_err();
    assert!(matches!(error, VendorError::Failed { .. }) && error.to_string().contains("bad window"), "{error}");
}

#[test]
fn a_vendor_that_stalls_floods_or_breaks_off_is_left_in_time() {
    let origin = silent();
    let fastly = Fastly::new(&format!("http://{}", origin.address), "t", vec!["a".into()]);
    assert!(matches!(run(fastly.buckets(&client(), WINDOW)), Err(VendorError::TooSlow { .. })));
    // A hundred megabytes are never read.
    let flood = headwater_testkit::Origin::with(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n");
        while stream.write_all(&[b' '; 65_536]).is_ok() {}
        headwater_testkit::Then::Cut
    });
    let fastly = Fastly::new(&format!("http://{}", flood.address), "t", vec!["a".into()]);
    assert!(matches!(run(fastly.buckets(&client(), WINDOW)), Err(VendorError::TooLarge { .. })));
    let half = headwater_testkit::Origin::with(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"data\":[]");
        headwater_testkit::Then::Cut
    });
    let fastly = Fastly::new(&format!("http://{}", half.address), "t", vec!["a".into()]);
    let error = run(fastly.buckets(&client(), WINDOW)).unwrap_err();
    assert!(error.to_string().contains("broke off"), "{error}");
}
