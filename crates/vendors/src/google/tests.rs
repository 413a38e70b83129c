use super::*;
use crate::vendor::{client, run, silent, vendor};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use headwater_testkit::{Origin, Recorded};
use percent_encoding::percent_decode_str;
use serde_json::json;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

const HOUR: Window = Window { from: 1_795_413_600, until: 1_795_417_200 };
const TOKEN: &str = "ya29.t0ken";

/// The private key in PEM, and the public one.
fn pair() -> &'static (String, Vec<u8>) {
    static PAIR: OnceLock<(String, Vec<u8>)> = OnceLock::new();
    PAIR.get_or_init(|| {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let der = aws_lc_rs::encoding::AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
        let pem =
            format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der.as_ref()));
        (pem, pair.public_key().as_ref().to_vec())
    })
}

fn key_file(origin: &Origin) -> Vec<u8> {
    json!({ "type": "service_account", "project_id": "shop", "private_key_id": "k1", "private_key": pair().0,
            "client_email": "headwater@shop.iam.gserviceaccount.com", "token_uri": format!("http://{}/token", origin.address) })
    .to_string()
    .into_bytes()
}

fn google(origin: &Origin) -> Google {
    let url = format!("http://{}", origin.address);
    Google::new(&url, &key_file(origin), "shop", vec!["web-map".into()]).unwrap()
}

fn asking(origin: &Origin) -> Result<Vec<Bucket>, VendorError> {
    let google = google(origin);
    let buckets = run(google.buckets(&client(), HOUR));
    let shown = format!("{google:?} {buckets:?}");
    assert!(!shown.contains(TOKEN) && !shown.contains("PRIVATE") && !shown.contains(&pair().0[40..80]), "{shown}");
    buckets
}

/// What Google's token endpoint does: looks at the claim and at its signature, with the public key.
fn grant(asked: &Recorded) -> (u16, &'static str, String) {
    let body = String::from_utf8(asked.body.clone()).unwrap();
    let assertion =
        body.strip_prefix("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=").unwrap();
    let (signed, signature) = assertion.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &pair().1);
    if public.verify(signed.as_bytes(), &signature).is_err() {
        return (
            400,
            "",
            json!({ "error": "invalid_grant", "error_description": "Invalid JWT Signature." }).to_string(),
        );
    }
    let part = |part: &str| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
    let (head, claims) = signed.split_once('.').unwrap();
    assert_eq!(part(head), json!({ "alg": "RS256", "typ": "JWT", "kid": "k1" }));
    let claims = part(claims);
    assert_eq!(claims["iss"], "headwater@shop.iam.gserviceaccount.com");
    assert_eq!(claims["scope"], "https://www.googleapis.com/auth/monitoring.read");
    assert!(claims["aud"].as_str().unwrap().ends_with("/token"));
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 3600);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
    assert!((now - claims["iat"].as_i64().unwrap()).abs() < 60);
    (200, "", json!({ "access_token": TOKEN, "expires_in": 3599, "token_type": "Bearer" }).to_string())
}

/// A Google that grants a token and answers with the time series that `say` makes of a metric's name and a page's token.
fn google_saying(say: impl Fn(&str, &str) -> Value + Send + Sync + 'static) -> Origin {
    vendor(move |asked| {
        if asked.target == "/token" {
            return grant(asked);
        }
        assert_eq!(asked.header("authorization"), Some(format!("Bearer {TOKEN}").as_str()));
        let target = percent_decode_str(&asked.target).decode_utf8().unwrap().into_owned();
        let metric = target.split("/https/").nth(1).unwrap().split('"').next().unwrap();
        let page = target.split("&pageToken=").nth(1).unwrap_or_default();
        (200, "", say(metric, page).to_string())
    })
}

fn series(labels: Value, points: &[(Seconds, &str)]) -> Value {
    let points = points.iter().rev().map(|(start, count)| {
        let interval = json!({ "startTime": minutes::write(*start), "endTime": minutes::write(start + 60) });
        json!({ "interval": interval, "value": { "int64Value": count } })
    });
    json!({ "metric": { "labels": labels }, "resource": { "type": "https_lb_rule", "labels": { "url_map_name": "web-map" } },
            "metricKind": "DELTA", "valueType": "INT64", "points": points.collect::<Vec<_>>() })
}

fn served(result: &str, class: &str, points: &[(Seconds, &str)]) -> Value {
    series(json!({ "cache_result": result, "response_code_class": class }), points)
}

#[test]
fn a_minute_is_what_its_three_metrics_say() {
    let at = HOUR.from;
    let origin = google_saying(move |metric, _| match metric {
        "request_count" => json!({ "timeSeries": [
            served("HIT", "200", &[(at, "800"), (at + 60, "9")]), served("HIT", "300", &[(at, "100")]),
            served("MISS", "200", &[(at, "60")]), served("DISABLED", "500", &[(at, "5")]),
            served("PARTIAL_HIT", "200", &[(at, "3")]), served("MISS", "0", &[(at, "2")]),
        ] }),
        "response_bytes_count" => {
            json!({ "timeSeries": [series(json!({}), &[(at, "4611686018427387"), (at + 120, "1")])] })
        }
        "backend_request_count" => json!({ "timeSeries": [series(json!({}), &[(at, "70")])] }),
        other => panic!("{other} was asked for"),
    });
    let first = Bucket {
        property: "web-map".into(),
        start: at,
        requests: 970,
        hits: Some(900),
        misses: Some(62),
        bytes: Some(4_611_686_018_427_387),
        classes: [0, 863, 100, 0, 5].map(Some),
        origin_requests: Some(70),
        ..Bucket::default()
    };
    let second = Bucket {
        property: "web-map".into(),
        start: at + 60,
        requests: 9,
        hits: Some(9),
        misses: Some(0),
        classes: [0, 9, 0, 0, 0].map(Some),
        ..Bucket::default()
    };
    assert_eq!(asking(&origin).unwrap(), [first, second]);
}

#[test]
fn the_question_is_the_documented_one_and_one_token_does_for_all() {
    let origin = google_saying(|_, _| json!({}));
    let google = google(&origin);
    let asked = run(async {
        assert_eq!(google.buckets(&client(), HOUR).await.unwrap(), []);
        google.buckets(&client(), HOUR).await.unwrap();
        origin.requests()
    });
    assert_eq!(asked.iter().filter(|asked| asked.target == "/token").count(), 1);
    assert_eq!(asked.len(), 7);
    let target = percent_decode_str(&asked[1].target).decode_utf8().unwrap().into_owned();
    let expected = "/v3/projects/shop/timeSeries?filter=metric.type=\"loadbalancing.googleapis.com/https/request_count\" \
                    AND resource.type=\"https_lb_rule\" AND resource.label.url_map_name=one_of(\"web-map\")\
                    &interval.startTime=2026-11-23T06:00:00Z&interval.endTime=2026-11-23T07:00:00Z\
                    &aggregation.alignmentPeriod=60s&aggregation.perSeriesAligner=ALIGN_DELTA\
                    &aggregation.crossSeriesReducer=REDUCE_SUM&pageSize=20000\
                    &aggregation.groupByFields=resource.label.url_map_name\
                    &aggregation.groupByFields=metric.label.cache_result\
                    &aggregation.groupByFields=metric.label.response_code_class";
    assert_eq!(target, expected);
}

#[test]
fn a_token_near_its_end_or_refused_is_not_used_again() {
    let grants = AtomicUsize::new(0);
    let short = vendor(move |asked| match asked.target.as_str() {
        "/token" if grants.fetch_add(1, SeqCst) == 0 => {
            (200, "", json!({ "access_token": TOKEN, "expires_in": 60 }).to_string())
        }
        "/token" => grant(asked),
        _ => (200, "", "{}".into()),
    });
    assert_eq!(asking(&short).unwrap(), []);
    assert_eq!(short.requests().iter().filter(|asked| asked.target == "/token").count(), 2);
    let refusing = vendor(|asked| match asked.target.as_str() {
        "/token" => grant(asked),
        _ => (401, "", json!({ "error": { "code": 401, "status": "UNAUTHENTICATED" } }).to_string()),
    });
    let google = google(&refusing);
    run(async {
        for _ in 0..2 {
            let error = google.buckets(&client(), HOUR).await.unwrap_err();
            assert!(error.to_string().contains("UNAUTHENTICATED"), "{error}");
        }
    });
    assert_eq!(refusing.requests().iter().filter(|asked| asked.target == "/token").count(), 2);
}

#[test]
fn pages_are_read_to_the_last_and_not_in_circles() {
    let at = HOUR.from;
    let origin = google_saying(move |metric, page| match (metric, page) {
        ("request_count", "") => json!({ "timeSeries": [served("HIT", "200", &[(at, "1")])], "nextPageToken": "a b" }),
        ("request_count", "a b") => {
            json!({ "timeSeries": [served("HIT", "200", &[(at + 60, "2")])], "nextPageToken": "" })
        }
        _ => json!({}),
    });
    assert_eq!(asking(&origin).unwrap().iter().map(|bucket| bucket.requests).sum::<u64>(), 3);
    let circle = google_saying(|_, _| json!({ "nextPageToken": "a" }));
    assert!(asking(&circle).unwrap_err().to_string().contains("circle"));
    let endless = google_saying(|_, page| json!({ "nextPageToken": format!("{page}a") }));
    assert!(matches!(asking(&endless).unwrap_err(), VendorError::Lying { .. }));
    assert_eq!(endless.requests().len(), 1 + PAGES);
}

#[test]
fn what_cannot_be_true_is_no_figure() {
    let at = HOUR.from;
    let mut foreign = served("HIT", "200", &[(at, "1")]);
    foreign["resource"]["labels"]["url_map_name"] = "other".into();
    let lies = [
        json!([served("HIT", "200", &[(at - 60, "1")])]),
        json!([served("HIT", "200", &[(HOUR.until, "1")])]),
        json!([served("HIT", "200", &[(at + 1, "1")])]),
        json!([served("HIT", "200", &[(at, "18446744073709551615")])]),
        json!([served("HIT", "200", &[(at, "1"), (at, "2")])]),
        json!([foreign]),
    ];
    for lie in lies {
        let told = lie.clone();
        let error = asking(&google_saying(move |_, _| json!({ "timeSeries": told }))).unwrap_err();
        assert!(matches!(error, VendorError::Lying { .. }), "{lie}: {error}");
    }
    for count in ["-1", "1.5", "", "many"] {
        let error = asking(&google_saying(move |_, _| json!({ "timeSeries": [served("HIT", "200", &[(at, count)])] })));
        assert!(matches!(error.unwrap_err(), VendorError::Malformed { .. }), "{count}");
    }
    for rubbish in [json!("series"), json!({ "timeSeries": 1 }), json!({ "timeSeries": [{ "points": [{}] }] })] {
        let told = rubbish.clone();
        let error = asking(&google_saying(move |_, _| told.clone())).unwrap_err();
        assert!(matches!(error, VendorError::Malformed { .. }), "{rubbish}: {error}");
    }
    let partly = google_saying(|_, _| json!({ "executionErrors": [{ "code": 4, "message": "one cell timed out" }] }));
    assert!(asking(&partly).unwrap_err().to_string().contains("one cell timed out"));
}

#[test]
fn refusals_come_in_googles_words_and_without_a_token() {
    let denied = vendor(|asked| match asked.target.as_str() {
        "/token" => grant(asked),
        _ => (
            403,
            "",
            json!({ "error": { "code": 403, "message": "Permission monitoring.timeSeries.list denied" } }).to_string(),
        ),
    });
    assert!(asking(&denied).unwrap_err().to_string().contains("timeSeries.list denied"));
    let skewed = json!({ "error": "invalid_grant", "error_description": "Invalid JWT: check your iat and exp values" });
    let skewed = vendor(move |_| (400, "", skewed.to_string()));
    let error = asking(&skewed).unwrap_err();
    assert!(
        matches!(error, VendorError::Refused { status: 400, .. }) && error.to_string().contains("iat and exp"),
        "{error}"
    );
    let odd = vendor(|_| (200, "", json!({ "access_token": TOKEN, "expires_in": "soon" }).to_string()));
    assert!(matches!(asking(&odd).unwrap_err(), VendorError::Malformed { .. }));
    assert!(matches!(asking(&silent()).unwrap_err(), VendorError::TooSlow { .. }));
}

#[test]
fn a_file_that_is_no_key_is_said_to_be_none() {
    let error = |file: &str| Google::new(URL, file.as_bytes(), "shop", vec![]).unwrap_err().to_string();
    assert!(error("s3cret").contains("no key of a service account"));
    let text = json!({ "client_email": "a", "private_key": "s3cret", "token_uri": "b" }).to_string();
    assert!(error(&text).contains("PEM") && !error(&text).contains("s3cret"));
    let text = json!({ "client_email": "a", "private_key": ["s3cret"], "token_uri": "b" }).to_string();
    assert!(!error(&text).contains("s3cret"), "{}", error(&text));
}
