//! Lines that vendors publish, and those that nobody should send.

use super::*;

fn read(format: Format, fields: &[(Option<Role>, &str)], body: &str) -> Vec<Result<Line<'static>, &'static str>> {
    let fields: Vec<_> = fields.iter().map(|(role, name)| (*role, name.to_string())).collect();
    let parser = Parser::new(format, &fields);
    let mut reader = parser.begin();
    let mut lines = Vec::new();
    let mut take = |piece: Piece<'_>| {
        let Piece::Line(line) = piece else { return };
        reader.line(line, |outcome| match outcome {
            Outcome::Line(line) => lines.push(Ok(owned(line))),
            Outcome::Malformed(why) => lines.push(Err(why)),
            Outcome::Nothing => {}
        });
    };
    let mut splitter = Splitter::default();
    splitter.feed(body.as_bytes(), &mut take);
    splitter.end(take);
    lines
}

fn owned(line: Line<'_>) -> Line<'static> {
    let owned = |text: Option<Cow<'_, str>>| text.map(|text| Cow::Owned(text.into_owned()));
    Line {
        host: owned(line.host),
        id: owned(line.id),
        time: line.time,
        status: line.status,
        bytes: line.bytes,
        cache: line.cache,
        is_shield: line.is_shield,
    }
}

fn one(format: Format, line: &str) -> Line<'static> {
    let mut lines = read(format, &[], line);
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.remove(0).unwrap()
}

#[test]
fn fastlys_own_example_is_read() {
    // The names of Fastly's example format; a line as rubygems.org publishes one of theirs.
    let line = one(
        Format::Fastly,
        r#"{"timestamp":"2025-05-09T09:13:14+0000","geo_city":"the dalles","host":"rubyforge.org","url":"/pipermail/a.html",
            "request_method":"GET","response_state":"MISS-CLUSTER","response_status":404,"response_reason":"Not Found",
            "response_body_size":826,"fastly_server":"cache-bfi-kbfi7400031-BFI","fastly_is_edge":true}"#
            .replace('\n', " ")
            .as_str(),
    );
    assert_eq!(line.time, 1_746_781_994);
    assert_eq!((line.status, line.bytes, line.cache), (Some(404), Some(826), Some(Cache::Miss)));
    assert_eq!((line.host.as_deref(), line.is_shield, line.id), (Some("rubyforge.org"), false, None));
}

#[test]
fn fastlys_shields_are_known_by_any_of_their_marks() {
    for (mark, is_shield) in [
        (r#""shield":0"#, false),
        (r#""shield":"1""#, true),
        (r#""fastly_is_edge":true"#, false),
        (r#""fastly_is_edge":"false""#, true),
        (r#""visits_this_service":2"#, true),
        (r#""url":"/""#, false),
    ] {
        let line = one(Format::Fastly, &format!(r#"{{"time":1746781994,"status":200,{mark}}}"#));
        assert_eq!(line.is_shield, is_shield, "{mark}");
    }
}

#[test]
fn fastlys_states_say_what_the_cache_did() {
    for (state, cache) in [
        ("HIT", Cache::Hit),
        ("HIT-CLUSTER", Cache::Hit),
        ("HIT-STALE-CLUSTER", Cache::Hit),
        ("MISS", Cache::Miss),
        ("MISS-WAIT-CLUSTER", Cache::Miss),
        ("PASS", Cache::Other),
        ("HITPASS", Cache::Other),
        ("HIT-SYNTH", Cache::Other),
        ("ERROR", Cache::Other),
    ] {
        let line = one(Format::Fastly, &format!(r#"{{"time":1746781994,"cache":"{state}"}}"#));
        assert_eq!(line.cache, Some(cache), "{state}");
    }
}

#[test]
fn cloudflares_lines_are_read_and_workers_own_requests_are_no_users() {
    // Shortened from the fixtures of Elastic's Cloudflare Logpush integration.
    let user =
        r#"{"CacheCacheStatus":"hit","ClientRequestHost":"api.deals-referral.com","ClientRequestSource":"eyeball",
        "Cookies":{"key":["value"]},"EdgeEndTimestamp":"2025-09-17T08:37:18.000Z","EdgeResponseBytes":1063,
        "EdgeResponseBodyBytes":980,"EdgeResponseStatus":200,"EdgeStartTimestamp":"2025-09-17T08:37:17.000Z",
        "OriginResponseStatus":0,"RayID":"980747e7ad8fbdf3","WorkerSubrequest":false,"ZoneID":296364127}"#
            .replace('\n', " ");
    let line = one(Format::Cloudflare, &user);
    assert_eq!((line.time, line.status, line.bytes), (1_758_098_237, Some(200), Some(1063)));
    assert_eq!((line.cache, line.is_shield, line.id.as_deref()), (Some(Cache::Hit), false, Some("980747e7ad8fbdf3")));
    assert!(one(Format::Cloudflare, &user.replace("eyeball", "edgeWorkerFetch")).is_shield);
    assert!(
        one(Format::Cloudflare, &user.replace("\"WorkerSubrequest\":false", "\"WorkerSubrequest\":true")).is_shield
    );
    let nanoseconds = user.replace("\"2025-09-17T08:37:17.000Z\"", "1758098237000000000");
    assert_eq!(one(Format::Cloudflare, &nanoseconds), line);
    for (status, cache) in
        [("expired", Cache::Miss), ("dynamic", Cache::Other), ("bypass", Cache::Other), ("stale", Cache::Hit)]
    {
        assert_eq!(one(Format::Cloudflare, &user.replace("\"hit\"", &format!("\"{status}\""))).cache, Some(cache));
    }
    assert_eq!(read(Format::Cloudflare, &[], "{\"content\":\"tests\"}"), []);
}

#[test]
fn datastreams_lines_are_read_in_both_shapes() {
    // Fields and values of techdocs.akamai.com/datastream2/docs/log-format.
    let json =
        r#"{"version":1,"streamId":"12345","cp":"123456","reqId":"1239f220","reqTimeSec":"1573840000","bytes":"4995",
        "cliIP":"128.147.28.68","statusCode":"206","reqHost":"test.hostname.net","totalBytes":"5020","cacheStatus":"1",
        "isMidgress":0}"#
            .replace('\n', " ");
    let line = one(Format::DataStream2, &json);
    assert_eq!((line.time, line.status, line.bytes), (1_573_840_000, Some(206), Some(5020)));
    assert_eq!((line.cache, line.is_shield, line.id.as_deref()), (Some(Cache::Hit), false, Some("1239f220")));
    assert!(one(Format::DataStream2, &json.replace("\"isMidgress\":0", "\"isMidgress\":\"2\"")).is_shield);
    let missed = json.replace("\"cacheStatus\":\"1\"", "\"cacheStatus\":\"0\"");
    assert_eq!(one(Format::DataStream2, &missed).cache, Some(Cache::Miss));
    let passed = missed.replace("\"isMidgress\"", "\"cacheable\":\"0\",\"isMidgress\"");
    assert_eq!(one(Format::DataStream2, &passed).cache, Some(Cache::Other));

    let fields =
        ["streamId", "reqId", "reqTimeSec", "statusCode", "reqHost", "totalBytes", "cacheStatus", "isMidgress", "UA"];
    let fields = fields.map(|name| (None, name));
    for delimiter in [" ", "\t"] {
        let body =
            ["12345", "1239f220", "1573840000.482", "206", "test.hostname.net", "5020", "1", "0", "Mozilla%2F5.0"];
        let lines = read(Format::DataStream2, &fields, &body.join(delimiter));
        assert_eq!(lines, [Ok(line.clone())]);
    }
    assert_eq!(
        read(Format::DataStream2, &fields, "12345 - 1573840000 - ^ - - - -"),
        [Ok(Line {
            time: 1_573_840_000,
            host: None,
            status: None,
            bytes: None,
            cache: None,
            is_shield: false,
            id: None
        })]
    );
}

/// The example of docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/standard-logs-reference, and a line of a request
/// that its user left.
const CLOUDFRONT: &str = "#Version: 1.0
#Fields: date time x-edge-location sc-bytes c-ip cs-method cs(Host) cs-uri-stem sc-status cs(Referer) cs(User-Agent) cs-uri-query cs(Cookie) x-edge-result-type x-edge-request-id x-host-header cs-protocol cs-bytes time-taken x-forwarded-for ssl-protocol ssl-cipher x-edge-response-result-type cs-protocol-version fle-status fle-encrypted-fields c-port time-to-first-byte x-edge-detailed-result-type sc-content-type sc-content-len sc-range-start sc-range-end
2019-12-04\t21:02:31\tLAX1\t392\t192.0.2.100\tGET\td111111abcdef8.cloudfront.net\t/index.html\t200\t-\tMozilla/5.0\t-\t-\tHit\tSOX4xwn4XV6Q4rgb7XiVGOHms_BGlTAC4KyHmureZmBNrjGdRLiNIQ==\td111111abcdef8.cloudfront.net\thttps\t23\t0.001\t-\tTLSv1.2\tECDHE-RSA-AES128-GCM-SHA256\tHit\tHTTP/2.0\t-\t-\t11040\t0.001\tHit\ttext/html\t78\t-\t-
2019-12-13\t22:36:27\tSEA19-C1\t900\t192.0.2.200\tGET\td111111abcdef8.cloudfront.net\t/favicon.ico\t502\thttp://www.example.com/\tMozilla/5.0\t-\t-\tError\t1pkpNfBQ39sYMnjjUQjmH2w1wdJnbHYTbag21o_3OfcQgPzdL2RSSQ==\twww.example.com\thttp\t675\t0.102\t-\t-\t-\tError\tHTTP/1.1\t-\t-\t25260\t0.102\tOriginDnsError\ttext/html\t507\t-\t-
2022-04-19\t12:29:36\tSEA19-C2\t0\t192.0.2.3\tGET\td111111abcdef8.cloudfront.net\t/\t000\t-\tcurl\t-\t-\tError\tkBkDzGnceVtWHqSCqBUqtA_cEs2T3tFUBbnBNkB9El_uVRhHgcZfcw==\ttest.com\thttps\t1\t0.2\t-\tTLSv1.3\tTLS\tHit\tHTTP/2.0
";

#[test]
fn cloudfronts_files_are_read_by_their_own_head() {
    let lines: Vec<_> = read(Format::CloudFront, &[], CLOUDFRONT).into_iter().map(Result::unwrap).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!((lines[0].time, lines[0].status, lines[0].bytes), (1_575_493_351, Some(200), Some(392)));
    assert_eq!((lines[0].cache, lines[0].host.as_deref()), (Some(Cache::Hit), Some("d111111abcdef8.cloudfront.net")));
    assert_eq!(lines[0].id.as_deref(), Some("SOX4xwn4XV6Q4rgb7XiVGOHms_BGlTAC4KyHmureZmBNrjGdRLiNIQ=="));
    assert_eq!(
        (lines[1].status, lines[1].cache, lines[1].host.as_deref()),
        (Some(502), Some(Cache::Other), Some("www.example.com"))
    );
    assert_eq!((lines[2].status, lines[2].cache), (None, Some(Cache::Hit)), "the cache had it, and its user left");
}

#[test]
fn cloudfronts_real_time_lines_are_read_in_the_order_that_was_configured() {
    let fields = ["timestamp", "c-ip", "sc-status", "sc-bytes", "x-edge-request-id", "x-edge-result-type"];
    let fields = fields.map(|name| (None, name));
    let lines = read(Format::CloudFront, &fields, "1663583003.838\t2001:DB8::1\t304\t210\tabc==\tRefreshHit\n");
    let line = lines[0].as_ref().unwrap();
    assert_eq!(
        (line.time, line.status, line.bytes, line.cache),
        (1_663_583_003, Some(304), Some(210), Some(Cache::Hit))
    );
    assert_eq!(
        read(Format::CloudFront, &fields, "1\t2\t3\t4\t5\t6\t7"),
        [Err("it has more columns than there are fields")]
    );
    let json = one(Format::CloudFront, r#"{"date":"2019-12-04","time":"21:02:31","sc-status":"200","sc-bytes":"392"}"#);
    assert_eq!((json.time, json.status, json.bytes), (1_575_493_351, Some(200), Some(392)));
}

#[test]
fn names_of_ones_own_take_the_place_of_the_usual_ones() {
    let fields = [(Some(Role::Time), "ts"), (Some(Role::Cache), "was_cached"), (Some(Role::Shield), "is_internal")];
    let lines = read(
        Format::Ndjson,
        &fields,
        "{\"ts\":1700000000.5,\"time\":1,\"status\":\"201\",\"was_cached\":true,\"is_internal\":false,\"id\":17}\n{\"time\":1700000000}",
    );
    let line = lines[0].as_ref().unwrap();
    assert_eq!(
        (line.time, line.status, line.cache, line.is_shield),
        (1_700_000_000, Some(201), Some(Cache::Hit), false)
    );
    assert_eq!(line.id.as_deref(), Some("17"));
    assert_eq!(lines[1], Err("it has no time"));
}

#[test]
fn rubbish_is_malformed_and_takes_no_neighbour_with_it() {
    let body = "{\"time\":1700000000,\"status\":200}\n{\"time\":1700000000,\"sta\nplain text\n{\"time\":\"soon\"}\n{}\n\
        {\"time\":1700000000,\"status\":\"two hundred\"}\n{\"time\":1700000000}{\"time\":1700000001}\n42\n\"x\"\n\u{0}\n\
        [{\"time\":1700000002},{\"time\":1700000003}]\n";
    let lines = read(Format::Ndjson, &[], body);
    let times: Vec<i64> = lines.iter().filter_map(|line| Some(line.as_ref().ok()?.time - 1_700_000_000)).collect();
    assert_eq!(times, [0, 0, 1, 2, 3]);
    assert_eq!(lines.iter().filter(|line| line.is_err()).count(), 8);
    let deep = format!("{{\"time\":{}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
    assert_eq!(read(Format::Ndjson, &[], &deep), [Err("it has no time")], "and no stack is used up");
    assert_eq!(read(Format::CloudFront, &[], "no head before it").len(), 1);
}

#[test]
fn a_delivery_of_firehoses_is_opened() {
    // The example of the vendor's page on the format of requests.
    let body = br#"{"requestId":"ed4acda5-034f-9f42-bba1-f29aea6d7d8f","timestamp":1578090901599,
        "records":[{"data":"aGVsbG8="},{"data":"aGVsbG8gd29ybGQ="},{"data":"!"}]}"#;
    let delivery = firehose::Delivery::open(body).unwrap();
    assert_eq!(delivery.request_id, "ed4acda5-034f-9f42-bba1-f29aea6d7d8f");
    let records: Vec<_> = delivery.records().collect();
    assert_eq!(records, [Some(b"hello".to_vec()), Some(b"hello world".to_vec()), None]);
    assert!(firehose::Delivery::open(b"{}").unwrap_err().contains("requestId"));
    assert_eq!(firehose::answer("a", 5, None).to_string(), r#"{"requestId":"a","timestamp":5}"#);
}
