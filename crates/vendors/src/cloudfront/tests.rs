use super::*;
use crate::vendor::{client, run, silent, vendor};
use headwater_testkit::{Origin, Recorded};

const HOUR: Window = Window { from: 1_795_413_600, until: 1_795_417_200 };
const SECRET: &str = "wJalrXUtnFEMI";

fn asking(origin: &Origin, distributions: Vec<String>) -> Result<Vec<Bucket>, VendorError> {
    let cloudfront =
        CloudFront::new(&format!("http://{}", origin.address), "AKID", SECRET, Some("t0ken"), distributions);
    let buckets = run(cloudfront.buckets(&client(), HOUR));
    let shown = format!("{cloudfront:?} {buckets:?}");
    assert!(!shown.contains(SECRET) && !shown.contains("t0ken"), "{shown}");
    buckets
}

fn says(body: impl ToString) -> Result<Vec<Bucket>, VendorError> {
    let body = body.to_string();
    asking(&vendor(move |_| (200, "", body.clone())), vec!["E1".into()])
}

/// A series as CloudWatch tells it: newest first.
fn series(id: &str, points: &[(Seconds, f64)]) -> Value {
    let (at, values): (Vec<_>, Vec<_>) = points.iter().rev().copied().unzip();
    json!({ "Id": id, "Label": id, "Timestamps": at, "Values": values, "StatusCode": "Complete" })
}

fn asked(request: &Recorded) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

#[test]
fn a_minute_is_what_its_four_metrics_say() {
    let minute = HOUR.from + 60;
    let answer = json!({ "MetricDataResults": [
        series("d0m0", &[(HOUR.from, 500.0), (minute, 1000.0)]),
        series("d0m1", &[(HOUR.from, 123_456.0)]),
        series("d0m2", &[(minute, 2.55)]),
        series("d0m3", &[(minute, 0.0)]),
    ] });
    let buckets = says(answer).unwrap();
    let first =
        Bucket { property: "E1".into(), start: HOUR.from, requests: 500, bytes: Some(123_456), ..Bucket::default() };
    let classes = [None, None, None, Some(26), Some(0)];
    let second = Bucket { property: "E1".into(), start: minute, requests: 1000, classes, ..Bucket::default() };
    assert_eq!(buckets, [first, second]);
}

#[test]
fn the_question_is_the_documented_one() {
    let origin = vendor(|_| (200, "", json!({ "MetricDataResults": [] }).to_string()));
    assert_eq!(asking(&origin, vec!["E1".into()]).unwrap(), []);
    let request = origin.last();
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/"));
    assert_eq!(request.header("x-amz-target"), Some("GraniteServiceVersion20100801.GetMetricData"));
    assert_eq!(request.header("x-amz-security-token"), Some("t0ken"));
    let signed = "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target,";
    assert!(request.header("authorization").unwrap().contains(signed), "{}", request.head);
    let body = asked(&request);
    assert_eq!((body["StartTime"].as_i64(), body["EndTime"].as_i64()), (Some(HOUR.from), Some(HOUR.until)));
    assert_eq!(body["MetricDataQueries"].as_array().unwrap().len(), 4);
    let expected = json!({ "Id": "d0m0", "MetricStat": { "Period": 60, "Stat": "Sum", "Metric": {
        "Namespace": "AWS/CloudFront", "MetricName": "Requests",
        "Dimensions": [{ "Name": "DistributionId", "Value": "E1" }, { "Name": "Region", "Value": "Global" }] } } });
    assert_eq!(body["MetricDataQueries"][0], expected);
}

#[test]
fn more_metrics_than_a_question_takes_are_several_questions() {
    let origin = vendor(|request| {
        let queries = asked(request)["MetricDataQueries"].as_array().unwrap().len();
        assert!(queries <= 500);
        (200, "", json!({ "MetricDataResults": [series("d0m0", &[(HOUR.from, queries as f64)])] }).to_string())
    });
    let buckets = asking(&origin, (0..130).map(|number| format!("E{number}")).collect()).unwrap();
    let told = buckets.iter().map(|bucket| (bucket.property.as_str(), bucket.requests)).collect::<Vec<_>>();
    assert_eq!(told, [("E0", 500), ("E125", 20)]);
}

#[test]
fn pages_are_read_to_the_last() {
    let origin = vendor(|request| {
        let token = asked(request)["NextToken"].as_str().map(str::to_owned);
        let (minute, next) = match token.as_deref() {
            None => (0, Some("a")),
            Some("a") => (1, Some("b")),
            _ => (2, None),
        };
        let mut page = series("d0m0", &[(HOUR.from + minute * 60, 7.0)]);
        page["StatusCode"] = if next.is_some() { "PartialData" } else { "Complete" }.into();
        (200, "", json!({ "MetricDataResults": [page], "NextToken": next }).to_string())
    });
    let buckets = asking(&origin, vec!["E1".into()]).unwrap();
    assert_eq!(buckets.iter().map(|bucket| bucket.requests).sum::<u64>(), 21);
}

#[test]
fn pages_that_never_end_are_left() {
    let circle = vendor(|_| (200, "", json!({ "MetricDataResults": [], "NextToken": "a" }).to_string()));
    assert!(asking(&circle, vec!["E1".into()]).unwrap_err().to_string().contains("circle"));
    assert_eq!(circle.requests().len(), 2);
    let endless = vendor(|request| {
        let next = asked(request)["NextToken"].as_str().map_or(0, |token| token.parse().unwrap()) + 1;
        (200, "", json!({ "MetricDataResults": [], "NextToken": next.to_string() }).to_string())
    });
    assert!(matches!(asking(&endless, vec!["E1".into()]).unwrap_err(), VendorError::Lying { .. }));
    assert_eq!(endless.requests().len(), PAGES);
}

#[test]
fn what_cannot_be_true_is_no_figure() {
    let at = HOUR.from;
    let lies = [
        json!([series("d0m0", &[(at, -1.0)])]),
        json!([series("d0m0", &[(at, 0.5)])]),
        json!([series("d0m0", &[(at, 1e300)])]),
        json!([series("d0m0", &[(at + 1, 1.0)])]),
        json!([series("d0m0", &[(HOUR.until, 1.0)])]),
        json!([series("d0m0", &[(at, 1.0), (at, 2.0)])]),
        json!([series("d9m0", &[(at, 1.0)])]),
        json!([series("d0m0", &[(at, 10.0)]), series("d0m2", &[(at, 101.0)])]),
        json!([series("d0m0", &[(at, 10.0)]), series("d0m2", &[(at, 80.0)]), series("d0m3", &[(at, 80.0)])]),
        json!([{ "Id": "d0m0", "Timestamps": [at], "Values": [] }]),
    ];
    for lie in lies {
        let error = says(json!({ "MetricDataResults": lie })).unwrap_err();
        assert!(matches!(error, VendorError::Lying { .. }), "{lie}: {error}");
    }
}

#[test]
fn what_is_less_than_was_asked_for_is_no_figure() {
    for code in ["PartialData", "InternalError", "Forbidden"] {
        let mut part = series("d0m0", &[(HOUR.from, 1.0)]);
        part["StatusCode"] = code.into();
        part["Messages"] = json!([{ "Code": "Why", "Value": "no more today" }]);
        let error = says(json!({ "MetricDataResults": [part] })).unwrap_err();
        assert!(error.to_string().contains(code) && error.to_string().contains("no more today"), "{error}");
        assert_eq!(error.is_passing(), code != "Forbidden", "{error}");
    }
    let message =
        json!({ "MetricDataResults": [], "Messages": [{ "Value": "Maximum number of allowed metrics exceeded" }] });
    assert!(says(message).unwrap_err().to_string().contains("allowed metrics exceeded"));
}

#[test]
fn rubbish_has_a_name_and_the_vendors_words() {
    for rubbish in ["", "<html>", "{\"MetricDataResults\": 1}", "[]", "{\"MetricDataResults\": [{\"Id\": 1}]}"] {
        let error = says(rubbish).unwrap_err();
        assert!(matches!(error, VendorError::Malformed { .. }), "{rubbish}: {error}");
    }
    assert!(matches!(says(" ".repeat(100_000)).unwrap_err(), VendorError::TooLarge { .. }));
    assert!(matches!(asking(&silent(), vec!["E1".into()]).unwrap_err(), VendorError::TooSlow { .. }));
}

#[test]
fn a_400_is_what_its_name_says() {
    let answer = |name: &str| {
        let body =
            json!({ "__type": format!("com.amazon.coral.service#{name}"), "message": "Signature not yet current" });
        let origin = vendor(move |_| (400, "", body.to_string()));
        asking(&origin, vec!["E1".into()]).unwrap_err()
    };
    assert!(answer("ThrottlingException").is_passing());
    for name in ["RequestTimeTooSkewed", "InvalidSignatureException", "AccessDeniedException", "ExpiredTokenException"]
    {
        let error = answer(name);
        assert!(matches!(error, VendorError::Refused { status: 400, .. }), "{error}");
        assert!(error.to_string().contains("not yet current") && error.to_string().contains(name), "{error}");
    }
    assert!(matches!(answer("InvalidParameterValueException"), VendorError::Failed { status: 400, .. }));
}
