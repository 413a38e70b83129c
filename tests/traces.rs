//! Traces: whose context is believed, what the app is told, what a collector hears, and that no pull waits for it.

use headwater_testkit::{Client, FASTLY, Headwater, Origin, Then, answer, get, request, wait_until};
use serde_json::Value;
use std::collections::HashSet;
use std::net::TcpListener;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
const TAG: (&str, &str) = ("X-CDN-Provider", "fastly");

fn sampled() -> String {
    format!("00-{TRACE}-{PARENT}-01")
}

/// A collector that takes all.
fn collector() -> Origin {
    Origin::answering("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
}

fn trace_to(collector: &Origin, more: &str) -> String {
    format!("{FASTLY}[trace]\nendpoint = \"http://{}\"\n{more}\n", collector.address)
}

/// The spans that it heard of.
fn spans(collector: &Origin) -> Vec<Value> {
    let mut spans = Vec::new();
    for asked in collector.requests() {
        assert_eq!((asked.method.as_str(), asked.target.as_str()), ("POST", "/v1/traces"));
        assert_eq!(asked.header("Content-Type"), Some("application/json"));
        let body: Value = serde_json::from_slice(&asked.body).expect("it is JSON");
        for resource in body["resourceSpans"].as_array().unwrap() {
            let named = |attribute: &Value| attribute["key"] == "service.name";
            assert!(resource["resource"]["attributes"].as_array().unwrap().iter().any(named));
            for scope in resource["scopeSpans"].as_array().unwrap() {
                spans.extend(scope["spans"].as_array().unwrap().iter().cloned());
            }
        }
    }
    spans
}

fn wait_for_spans(collector: &Origin, count: usize) -> Vec<Value> {
    wait_until(&format!("{count} spans come"), || spans(collector).len() >= count);
    let spans = spans(collector);
    assert_eq!(spans.len(), count, "{spans:#?}");
    spans
}

/// A span's attribute, as text.
fn attribute(span: &Value, key: &str) -> Option<String> {
    let found = span["attributes"].as_array().unwrap().iter().find(|attribute| attribute["key"] == key)?;
    let value = &found["value"];
    value["stringValue"].as_str().or(value["intValue"].as_str()).map(str::to_string)
}

/// Version, trace, parent and flags.
fn context(origin: &Origin) -> [String; 4] {
    let asked = origin.last();
    assert_eq!(asked.headers("traceparent").len(), 1, "{}", asked.head);
    let parts: Vec<String> = asked.header("traceparent").unwrap().split('-').map(str::to_string).collect();
    assert_eq!(parts.iter().map(String::len).collect::<Vec<_>>(), [2, 32, 16, 2], "{}", asked.head);
    parts.try_into().unwrap()
}

#[test]
fn a_pull_leaves_a_span_and_another_for_what_the_app_was_asked() {
    let (origin, collector) = (Origin::answering(OK), collector());
    let proxy = Headwater::before_with(&origin, &trace_to(&collector, "sample = 1\nservice = \"front door\""));
    get(proxy.http, "/a/b.css?token=secret", &[TAG, ("User-Agent", "curl/9 \"\\")]);
    let spans = wait_for_spans(&collector, 2);
    let [_, trace, parent, flags] = context(&origin);
    let (pull, ask) = (&spans[0], &spans[1]);
    assert_eq!((pull["kind"].as_i64(), ask["kind"].as_i64()), (Some(2), Some(3)));
    assert_eq!((&pull["traceId"], &ask["traceId"]), (&trace.as_str().into(), &trace.as_str().into()));
    assert_eq!((pull["parentSpanId"].as_str(), &ask["parentSpanId"]), (None, &pull["spanId"]));
    assert_eq!(
        (ask["spanId"].as_str(), flags.as_str()),
        (Some(parent.as_str()), "01"),
        "the app's parent is our asking"
    );
    for (key, value) in [
        ("http.request.method", "GET"),
        ("url.path", "/a/b.css"),
        ("url.scheme", "http"),
        ("http.response.status_code", "200"),
        ("network.protocol.version", "1.1"),
        ("user_agent.original", "curl/9 \"\\"),
        ("server.address", "shop.example"),
        ("headwater.cdn", "fastly"),
        ("headwater.rule", "static"),
        ("headwater.end", "complete"),
    ] {
        assert_eq!(attribute(pull, key).as_deref(), Some(value), "{key}");
    }
    assert_eq!(attribute(pull, "headwater.id").as_deref(), origin.last().header("X-Request-Id"));
    assert_eq!(attribute(ask, "server.address").as_deref(), Some("127.0.0.1"));
    assert_eq!(attribute(ask, "server.port").unwrap(), origin.address.port().to_string());
    let text = String::from_utf8(collector.last().body).unwrap();
    assert!(!text.contains("secret") && !text.contains("client.address") && text.contains("front door"), "{text}");
    let time = |value: &Value| value.as_str().unwrap().parse::<u64>().unwrap();
    let times = [
        time(&pull["startTimeUnixNano"]),
        time(&ask["startTimeUnixNano"]),
        time(&ask["events"][0]["timeUnixNano"]),
        time(&ask["endTimeUnixNano"]),
    ];
    assert!(times.is_sorted() && times[3] <= time(&pull["endTimeUnixNano"]), "{times:?}");
    assert!(times[0] > 1_700_000_000_000_000_000 && times[3] - times[0] < 10_000_000_000);
    let line = proxy.wait_for_log(|line| line.contains("/a/b.css"));
    assert!(line.ends_with(&format!(" trace={trace}")), "{line}");
    wait_until("they are counted", || proxy.metrics().value("headwater_spans_sent_total", &[]) == 2.0);
}

#[test]
fn a_proven_providers_context_is_kept() {
    let (origin, collector) = (Origin::answering(OK), collector());
    let more = trace_to(&collector, "sample = 0\nclient_address = true") + "[log]\nformat = \"json\"\n";
    let proxy = Headwater::before_with(&origin, &more);
    let state = [("tracestate", "a=1,b=2"), ("tracestate", "c=3")];
    get(proxy.http, "/", &[TAG, ("traceparent", &sampled()), state[0], state[1]]);
    let [version, trace, parent, flags] = context(&origin);
    assert_eq!((version.as_str(), trace.as_str(), flags.as_str()), ("00", TRACE, "01"));
    assert_ne!(parent, PARENT);
    assert_eq!(origin.last().headers("tracestate"), ["a=1,b=2", "c=3"]);
    let spans = wait_for_spans(&collector, 2);
    assert_eq!((&spans[0]["traceId"], &spans[0]["parentSpanId"]), (&TRACE.into(), &PARENT.into()));
    assert_eq!((&spans[0]["traceState"], spans[0]["flags"].as_i64()), (&"a=1,b=2,c=3".into(), Some(0x301)));
    assert_eq!((&spans[1]["spanId"], spans[1]["flags"].as_i64()), (&parent.into(), Some(0x101)));
    assert_eq!(attribute(&spans[0], "client.address").as_deref(), Some("127.0.0.1"));
    let line = proxy.wait_for_log(|line| line.contains("trace_id"));
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["trace_id"], TRACE);

    // One that says that it is not recorded is not, and the app sees who asked us.
    let not_recorded = format!("00-{TRACE}-{PARENT}-00");
    get(proxy.http, "/quiet", &[TAG, ("traceparent", &not_recorded), state[0]]);
    assert_eq!(origin.last().header("traceparent"), Some(not_recorded.as_str()));
    assert_eq!(origin.last().headers("tracestate"), ["a=1,b=2"]);
    assert!(!proxy.wait_for_log(|line| line.contains("/quiet")).contains("trace_id"));
}

#[test]
fn a_strangers_context_is_not_believed() {
    let (origin, collector) = (Origin::answering(OK), collector());
    let proxy = Headwater::before_with(&origin, &trace_to(&collector, "sample = 0"));
    for headers in [
        vec![("traceparent", sampled())],
        vec![("traceparent", sampled()), ("X-CDN-Provider", "cloudflare".into())],
        vec![("Traceparent", sampled()), ("Tracestate", "a=1".into())],
    ] {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        get(proxy.http, "/", &headers);
        let [_, trace, parent, flags] = context(&origin);
        assert!(trace != TRACE && parent != PARENT && flags == "00", "{}", origin.last().head);
        assert!(!origin.last().has("tracestate"));
    }
    // A trailer is no way around it.
    let chunked = [("Transfer-Encoding", "chunked"), ("Trailer", "traceparent")];
    let text =
        format!("{}2\r\nok\r\n0\r\ntraceparent: {}\r\nx-other: 1\r\n\r\n", request("POST", "/", &chunked), sampled());
    headwater_testkit::exchange(proxy.http, text);
    let names: Vec<String> = origin.last().trailers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    assert_eq!(names, ["x-other"]);

    // What a proven one sends is kept: it comes last, so that all that came before would have been heard of.
    get(proxy.http, "/", &[TAG, ("traceparent", &sampled())]);
    let spans = wait_for_spans(&collector, 2);
    assert!(spans.iter().all(|span| span["traceId"] == TRACE));
}

#[test]
fn whose_context_is_believed_is_configured() {
    let (origin, collector) = (Origin::answering(OK), collector());
    let proxy = Headwater::before_with(&origin, &trace_to(&collector, "sample = 0\nparent = \"all\""));
    get(proxy.http, "/", &[("traceparent", &sampled())]);
    assert_eq!(context(&origin)[1], TRACE);
    let servers = origin.config();
    proxy.rewrite(&(servers.clone() + &trace_to(&collector, "sample = 0\nparent = \"nobody\"")));
    proxy.signal("HUP");
    proxy.wait_for_stderr("reloaded");
    get(proxy.http, "/", &[TAG, ("traceparent", &sampled())]);
    assert_ne!(context(&origin)[1], TRACE);
}

#[test]
fn a_context_that_cannot_be_read_begins_anew() {
    let (origin, collector) = (Origin::answering(OK), collector());
    let proxy = Headwater::before_with(&origin, &trace_to(&collector, "sample = 0"));
    for wrong in [
        format!("ff-{TRACE}-{PARENT}-01"),
        format!("00-{}-{PARENT}-01", "0".repeat(32)),
        format!("00-{TRACE}-{}-01", "0".repeat(16)),
        format!("00-{}-{PARENT}-01", TRACE.to_uppercase()),
        format!("00-{TRACE}-{PARENT}-01-more"),
        format!("00-{TRACE}-{PARENT}-1"),
        "nonsense".into(),
        String::new(),
    ] {
        get(proxy.http, "/", &[TAG, ("traceparent", &wrong), ("tracestate", "a=1")]);
        let [_, trace, _, flags] = context(&origin);
        assert!(trace != TRACE && trace != "0".repeat(32) && flags == "00", "{wrong}");
        assert!(!origin.last().has("tracestate"), "{wrong}");
    }
    get(proxy.http, "/", &[TAG, ("traceparent", &sampled()), ("traceparent", &sampled())]);
    assert_ne!(context(&origin)[1], TRACE, "two of them are none");
    get(proxy.http, "/", &[TAG, ("traceparent", &format!("01-{TRACE}-{PARENT}-01-more"))]);
    assert_eq!(context(&origin)[..2], ["00", TRACE], "of a later version, what is known is read");
}

#[test]
fn a_share_of_the_pulls_begins_a_trace() {
    let (origin, collector) = (Origin::answering(OK), collector());
    let proxy = Headwater::before_with(&origin, &trace_to(&collector, "sample = 0.5"));
    let mut client = Client::connect(proxy.http);
    let (mut traces, mut recorded) = (HashSet::new(), 0);
    for _ in 0..200 {
        client.send(request("GET", "/", &[]));
        assert_eq!(client.read_response().status, 200);
        let [_, trace, _, flags] = context(&origin);
        recorded += usize::from(flags == "01");
        assert!(traces.insert(trace), "each has a trace of its own");
    }
    // Eight standard deviations of a fair coin.
    assert!((43..=157).contains(&recorded), "{recorded}");
    wait_for_spans(&collector, 2 * recorded);
}

#[test]
fn without_a_collector_anybodys_context_passes_as_it_came() {
    let origin = Origin::answering(OK);
    let proxy = Headwater::before_with(&origin, FASTLY);
    for headers in [vec![("traceparent", "What-Ever"), ("tracestate", "a=1")], vec![TAG, ("traceparent", "x")]] {
        get(proxy.http, "/", &headers);
        for (name, value) in headers.iter().filter(|header| **header != TAG) {
            assert_eq!(origin.last().header(name), Some(*value));
        }
    }
    get(proxy.http, "/none", &[]);
    assert!(!origin.last().has("traceparent"));
}

#[test]
fn what_went_wrong_stands_in_the_spans() {
    let collector = collector();
    // The second request over a connection finds it closed.
    let origin = Origin::with(|asked, stream| match asked.target.as_str() {
        "/gone" => Then::Close,
        "/cut" => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
            Then::Close
        }
        "/error" => {
            let _ = stream.write_all(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n");
            Then::Keep
        }
        _ => {
            let _ = stream.write_all(OK.as_bytes());
            Then::Keep
        }
    });
    let proxy = Headwater::before_with(&origin, &trace_to(&collector, "sample = 1"));
    let about = |path: &str| {
        get(proxy.http, path, &[]);
        let of_path = || -> Vec<Value> {
            let all = spans(&collector);
            let trace = all.iter().find(|span| attribute(span, "url.path").as_deref() == Some(path));
            let trace = trace.map(|span| span["traceId"].clone());
            all.into_iter().filter(|span| Some(&span["traceId"]) == trace.as_ref()).collect()
        };
        wait_until("its spans come", || of_path().len() > 1);
        of_path()
    };
    for (path, status, reason) in
        [("/gone", "502", "closed_before_head"), ("/cut", "200", "body_broken"), ("/error", "503", "503")]
    {
        let spans = about(path);
        assert_eq!(attribute(&spans[0], "http.response.status_code").as_deref(), Some(status), "{path}");
        for span in &spans {
            assert_eq!(span["status"]["code"], 2, "{path}");
            assert_eq!(attribute(span, "error.type").as_deref(), Some(reason), "{path}");
        }
    }
    // What the client gets wrong is no error of the server's.
    let refused = request("GET", "/wonders", &[("Expect", "wonders")]);
    headwater_testkit::exchange(proxy.http, refused);
    wait_until("its span comes", || {
        spans(&collector).iter().any(|span| {
            attribute(span, "url.path").as_deref() == Some("/wonders")
                && attribute(span, "http.response.status_code").as_deref() == Some("417")
                && span["status"].as_object().unwrap().is_empty()
        })
    });
}

#[test]
fn a_pull_that_is_tried_once_more_leaves_a_span_for_each_try() {
    let collector = collector();
    // It promises to keep the connection, and closes it as the next request comes.
    let origin = Origin::with(|asked, stream| {
        let repeated = asked.connection > 0;
        if asked.target == "/second" && !repeated {
            return Then::Close;
        }
        let _ = stream.write_all(OK.as_bytes());
        Then::Keep
    });
    let proxy = Headwater::start(&format!(
        "[listen]\nhttp = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\nworkers = 1\n{}{}",
        origin.config(),
        trace_to(&collector, "sample = 1")
    ));
    get(proxy.http, "/first", &[]);
    assert_eq!(get(proxy.http, "/second", &[]).status, 200);
    let spans = wait_for_spans(&collector, 5);
    let of_second: Vec<&Value> = spans.iter().filter(|span| span["traceId"] == context(&origin)[1].as_str()).collect();
    let [pull, first, second] = of_second[..] else { panic!("{spans:#?}") };
    assert_eq!((&first["parentSpanId"], &second["parentSpanId"]), (&pull["spanId"], &pull["spanId"]));
    assert_eq!(attribute(first, "error.type").as_deref(), Some("closed_before_head"));
    assert_eq!(attribute(second, "http.request.resend_count").as_deref(), Some("1"));
    assert!(second["status"].as_object().unwrap().is_empty() && pull["status"].as_object().unwrap().is_empty());
    assert_eq!(context(&origin)[2], second["spanId"].as_str().unwrap());
}

#[test]
fn no_pull_waits_for_a_collector_that_is_away_and_what_is_lost_is_counted() {
    let origin = Origin::answering(OK);
    let place = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = place.local_addr().unwrap();
    drop(place);
    let config = format!("{}[trace]\nendpoint = \"http://{address}\"\nsample = 1\n", origin.config());
    let proxy = Headwater::start(&config);
    let mut client = Client::connect(proxy.http);
    let pull = |client: &mut Client| {
        client.send(request("GET", "/", &[]));
        assert_eq!(client.read_response().status, 200);
    };
    pull(&mut client);
    proxy.wait_for_stderr("otlp is away");
    let status: Value = serde_json::from_str(&get(proxy.admin, "/status", &[]).text()).unwrap();
    assert_eq!(status["sinks"]["otlp"]["state"], "away", "{status:#}");
    let mut pulls = 1;
    while proxy.metrics().value("headwater_spans_dropped_total", &[]) == 0.0 {
        (0..500).for_each(|_| pull(&mut client));
        pulls += 500;
        assert!(pulls < 10_000, "what waits has a bound");
    }
    assert_eq!(proxy.stderr().matches("otlp is away").count(), 1);
    let collector = Origin::at(address, |_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
        Then::Keep
    });
    wait_until("every span is sent or counted as lost", || {
        let metrics = proxy.metrics();
        let dropped = metrics.value("headwater_spans_dropped_total", &[]);
        metrics.value("headwater_spans_sent_total", &[]) + dropped == f64::from(2 * pulls)
    });
    proxy.wait_for_stderr("otlp is back");
    let heard = spans(&collector);
    let ids: HashSet<&str> = heard.iter().map(|span| span["spanId"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), heard.len(), "none comes twice");
    let status: Value = serde_json::from_str(&get(proxy.admin, "/status", &[]).text()).unwrap();
    assert_eq!((&status["sinks"]["otlp"]["state"], &status["sinks"]["otlp"]["waiting"]), (&"up".into(), &0.into()));
}

#[test]
fn a_collector_that_is_busy_is_asked_again_and_one_that_refuses_is_not() {
    let origin = Origin::answering(OK);
    let times = std::sync::atomic::AtomicUsize::new(0);
    let collector = Origin::with(move |_, stream| {
        let answer: &[u8] = match times.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            0 => b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n",
            1 => &answer("200 OK", &[], r#"{"partialSuccess":{"rejectedSpans":"1"}}"#),
            _ => b"HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n",
        };
        let _ = stream.write_all(answer);
        Then::Keep
    });
    let mut proxy = Headwater::before_with(&origin, &trace_to(&collector, "sample = 1"));
    get(proxy.http, "/", &[]);
    wait_until("it is asked again", || collector.requests().len() == 2);
    assert_eq!(collector.requests()[0].body, collector.requests()[1].body);
    let counted = |sent: f64, dropped: f64| {
        proxy.wait_metric("headwater_spans_sent_total", &[], sent);
        proxy.wait_metric("headwater_spans_dropped_total", &[], dropped);
    };
    counted(1.0, 1.0);
    get(proxy.http, "/", &[]);
    counted(1.0, 3.0);
    proxy.wait_for_stderr("it refuses spans: 400");
    assert_eq!(collector.requests().len(), 3);
    // What is left at the end is sent once more.
    get(proxy.http, "/", &[]);
    assert_eq!(proxy.stop(), Some(0));
    assert_eq!(collector.requests().len(), 4);
}
