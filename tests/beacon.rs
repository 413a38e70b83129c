//! Beacons and reports: heard with the app down, counted by closed labels, and in the line that the talk's pipeline reads.

use headwater_testkit::{Client, Headwater, Origin, Response, exchange, get, request};
use std::process::Command;

/// No app stands behind it.
fn alone(config: &str) -> Headwater {
    Headwater::start(&format!("[origin]\nservers = [\"127.0.0.1:1\"]\n{config}"))
}

const CDN: &str = "[[cdn]]\nname = \"fastly\"\nkind = \"fastly\"\nnetworks = [\"127.0.0.0/8\", \"203.0.113.0/24\"]\n";

fn post(proxy: &Headwater, target: &str, content_type: &str, body: &str) -> Response {
    let length = body.len().to_string();
    let head = request("POST", target, &[("Content-Type", content_type), ("Content-Length", &length)]);
    exchange(proxy.http, head + body)
}

#[test]
fn the_pixel_is_sent_with_the_app_down() {
    let proxy = alone("");
    let answer = get(proxy.http, "/status/images/beacon.gif?source=fastly_503&server_identity=cache-ny57-NYC", &[]);
    assert_eq!((answer.status, answer.header("Content-Type"), answer.body.len()), (200, Some("image/gif"), 43));
    assert_eq!(answer.header("Cache-Control"), Some("no-store"));
    assert!(answer.body.starts_with(b"GIF89a") && answer.body.ends_with(b"\x3b"));
    assert!(answer.header("Date").is_some());
    get(proxy.http, "/status/images/beacon.gif?beacon_source=fastly_503", &[]);
    exchange(proxy.http, request("HEAD", "/status/images/beacon.gif?source=fastly_503", &[]));
    assert_eq!(proxy.metrics().value("headwater_beacons_total", &[("source", "fastly_503"), ("cdn", "untagged")]), 3.0);
    assert_eq!(proxy.metrics().value("headwater_beacon_countries_total", &[("country", "unknown")]), 3.0);
    proxy.wait_for_log(|line| line.contains("server_identity=cache-ny57-NYC") && line.contains("upstream=-"));
}

#[test]
fn a_browser_may_post_it() {
    let proxy = alone("");
    assert_eq!(post(&proxy, "/status/images/beacon.gif?source=a", "text/plain", "").status, 204);
    assert_eq!(
        post(&proxy, "/status/images/beacon.gif", "application/x-www-form-urlencoded", "x=1&source=a").status,
        204
    );
    let json = r#"{"at":1,"source":"a"}"#;
    assert_eq!(post(&proxy, "/status/images/beacon.gif", "application/json", json).status, 204);
    assert_eq!(proxy.metrics().value("headwater_beacons_total", &[("source", "a")]), 3.0);
    assert_eq!(post(&proxy, "/status/images/beacon.gif", "text/plain", &"x".repeat(65_537)).status, 413);
    assert_eq!(exchange(proxy.http, request("DELETE", "/status/images/beacon.gif", &[])).status, 405);
}

#[test]
fn strangers_make_at_most_64_sources() {
    let proxy = alone("");
    let mut client = Client::connect(proxy.http);
    for n in 0..100 {
        client.send(request("GET", &format!("/status/images/beacon.gif?source=s{n}"), &[]));
        assert_eq!(client.read_response().status, 200);
    }
    for odd in ["", "%22%7D", "a%0ab", &"x".repeat(65)] {
        client.send(request("GET", &format!("/status/images/beacon.gif?source={odd}"), &[]));
        client.read_response();
    }
    let metrics = proxy.metrics();
    let counted = metrics.series("headwater_beacons_total", &[]);
    assert_eq!(counted.iter().filter(|(_, value)| *value > 0.0).count(), 65);
    assert_eq!(metrics.value("headwater_beacons_total", &[("source", "other")]), 40.0);
    let named = alone("[beacon]\nsources = [\"known\"]\n");
    for source in ["known", "unknown"] {
        get(named.http, &format!("/status/images/beacon.gif?source={source}"), &[]);
    }
    assert_eq!(named.metrics().value("headwater_beacons_total", &[("source", "known")]), 1.0);
    assert_eq!(named.metrics().value("headwater_beacons_total", &[("source", "other")]), 1.0);
}

#[test]
fn strangers_do_not_take_the_place_of_our_own_sources() {
    for sources in ["", "[beacon]\nsources = [\"known\"]\n"] {
        let proxy = alone(&format!("{CDN}{sources}"));
        let mut client = Client::connect(proxy.http);
        let mut say = |source: &str| {
            client.send(request("GET", &format!("/status/images/beacon.gif?source={source}"), &[]));
            assert_eq!(client.read_response().status, 200);
        };
        (0..64).for_each(|n| say(&format!("junk{n}")));
        let own = ["fastly_503", "fastly_599", "untagged_502", "unproven_500", "other_504"];
        own.iter().for_each(|source| say(source));
        let strange = ["bunny_503", "fastly_404", "fastly_5030", "fastly_"];
        strange.iter().for_each(|source| say(source));
        let count = |source: &str| proxy.metrics().value("headwater_beacons_total", &[("source", source)]);
        own.iter().for_each(|source| assert_eq!(count(source), 1.0, "{source} {sources}"));
        strange.iter().for_each(|source| assert_eq!(count(source), 0.0, "{source} {sources}"));
    }
}

#[test]
fn what_is_exported_for_a_cdn_has_its_own_source() {
    let proxy = alone(&format!("[beacon]\nurl = \"https://beacons.example.net/b.gif\"\n{CDN}"));
    let out = proxy.folder().join("pages");
    let config = proxy.config_path();
    let (config, out) = (config.to_str().unwrap(), out.to_str().unwrap());
    let made = headwater_testkit::run(&["whoopsie", "export", "-c", config, "--cdn", "fastly", "--out", out]);
    assert!(made.status.success());
    let page = std::fs::read_to_string(format!("{out}/en.html")).unwrap();
    let source = page.split("b.gif?source=").nth(1).unwrap().split(['"', '&']).next().unwrap();
    for n in 0..64 {
        get(proxy.http, &format!("/status/images/beacon.gif?source=junk{n}"), &[]);
    }
    get(proxy.http, &format!("/status/images/beacon.gif?source={source}"), &[]);
    assert_eq!(proxy.metrics().value("headwater_beacons_total", &[("source", source), ("cdn", "untagged")]), 1.0);
}

#[test]
fn users_are_counted_by_country_and_cdn() {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/countries.mmdb");
    let proxy = alone(&format!("{CDN}[geo]\ndatabase = \"{data}\"\n"));
    for (address, country) in [
        ("192.0.2.9", "DE"),
        ("198.51.100.9", "JP"),
        ("2001:db8::9", "BR"),
        ("203.0.113.9", "unknown"),
        ("8.8.8.8", "unknown"),
    ] {
        let before = proxy.metrics().value("headwater_beacon_countries_total", &[("country", country)]);
        get(
            proxy.http,
            "/status/images/beacon.gif?source=x",
            &[("X-CDN-Provider", "fastly"), ("Fastly-Client-IP", address)],
        );
        let after = proxy.metrics().value("headwater_beacon_countries_total", &[("country", country)]);
        assert_eq!(after, before + 1.0, "{address}");
    }
    assert_eq!(proxy.metrics().value("headwater_beacons_total", &[("cdn", "fastly")]), 5.0);
}

/// The talk's expression (its backslashes restored), by the program it was written for.
fn talk_matches(line: &str) -> bool {
    let script = r#"
import re, sys
talk = r'^\S+(s:)? (?P<remote_addr>[0-9.]+),? [0-9.,\- ]+ \[[^\]]+\] "GET /status/images/beacon.gif\?(beacon_)?source=(?P<source>\S+) HTTP/1.\d" \d+ [\d\-]+ "(?P<referrer>[^"]+)" "(?P<user_agent>[^"]+)" .*$'
sys.exit(0 if re.match(talk, sys.argv[1]) else 1)"#;
    let status = Command::new("python3").args(["-c", script, line]).status().expect("python3 is there");
    status.success()
}

#[test]
fn the_talks_pipeline_reads_our_line_where_it_can() {
    let proxy = alone(CDN);
    let tag = ("X-CDN-Provider", "fastly");
    get(proxy.http, "/status/images/beacon.gif?source=one", &[("User-Agent", "Moz"), ("Referer", "http://a/")]);
    get(proxy.http, "/status/images/beacon.gif?beacon_source=two", &[]);
    get(proxy.http, "/status/images/beacon.gif?source=three", &[tag, ("Fastly-Client-IP", "2001:db8::1")]);
    exchange(proxy.http, "GET /status/images/beacon.gif?source=four HTTP/1.0\r\n\r\n");
    for (source, matches) in [("one", true), ("two", true), ("three", false), ("four", true)] {
        let line = proxy.wait_for_log(|line| line.contains(&format!("source={source} ")));
        assert_eq!(talk_matches(&line), matches, "{line}");
        // What the expression rejects is counted all the same.
        assert_eq!(proxy.metrics().value("headwater_beacons_total", &[("source", source)]), 1.0);
    }
}

#[test]
fn an_ipv6_user_is_heard() {
    let proxy = alone("[listen]\nhttp = [\"[::1]:0\", \"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\n");
    assert_eq!(get(proxy.http, "/status/images/beacon.gif?source=six", &[]).status, 200);
    proxy.wait_for_log(|line| line.contains(" ::1 - - ["));
    assert_eq!(proxy.metrics().value("headwater_beacons_total", &[("source", "six")]), 1.0);
}

const NEL: &str = r#"{"type":"network-error","age":0,"url":"https://www.example.com/","user_agent":"x","body":{"sampling_fraction":1.0,
    "server_ip":"203.0.113.42","protocol":"h2","method":"GET","status_code":0,"elapsed_time":143,"phase":"connection","type":"tcp.timed_out"}}"#;

#[test]
fn browsers_reports_are_counted_by_type_phase_and_provider() {
    let proxy = alone(CDN);
    let reports = "application/reports+json";
    assert_eq!(post(&proxy, "/status/reports", reports, &format!("[{NEL},{NEL}]")).status, 204);
    assert_eq!(post(&proxy, "/status/reports", reports, &format!("[{}]", NEL.replace("203.0.113.42", ""))).status, 204);
    assert_eq!(
        post(
            &proxy,
            "/status/reports",
            reports,
            r#"[{"type":"deprecation","body":{}},{"type":"made-up-1","body":{"phase":"made-up"}}]"#
        )
        .status,
        204
    );
    let count = |kind, phase, cdn| {
        proxy.metrics().value("headwater_reports_total", &[("type", kind), ("phase", phase), ("cdn", cdn)])
    };
    assert_eq!(count("tcp.timed_out", "connection", "fastly"), 2.0);
    assert_eq!(count("tcp.timed_out", "connection", "unknown"), 1.0);
    assert_eq!(count("deprecation", "none", "unknown"), 1.0);
    assert_eq!(count("other", "other", "unknown"), 1.0);
}

#[test]
fn network_errors_are_counted_by_what_they_are_called() {
    let proxy = alone(CDN);
    let batch = [
        NEL.replace("tcp.timed_out", "ok").replace("connection", "application"),
        NEL.replace("tcp.timed_out", "tls.cert.date_invalid"),
        NEL.replace("tcp.timed_out", "http.response.invalid.empty").replace("connection", "application"),
        NEL.replace("tcp.timed_out", "made.up"),
        r#"{"type":"network-error","body":{"phase":"dns"}}"#.into(),
        r#"{"type":"tcp.timed_out","body":{"type":"tcp.timed_out"}}"#.into(),
    ];
    let answer = post(&proxy, "/status/reports", "application/reports+json", &format!("[{}]", batch.join(",")));
    assert_eq!(answer.status, 204);
    for (kind, phase, cdn, count) in [
        ("ok", "application", "fastly", 1.0),
        ("tls.cert.date_invalid", "connection", "fastly", 1.0),
        ("http.response.invalid.empty", "application", "fastly", 1.0),
        ("network-error", "connection", "fastly", 1.0),
        ("network-error", "dns", "unknown", 1.0),
        ("tcp.timed_out", "connection", "fastly", 0.0),
        ("other", "none", "unknown", 1.0),
    ] {
        let labels = [("type", kind), ("phase", phase), ("cdn", cdn)];
        assert_eq!(proxy.metrics().value("headwater_reports_total", &labels), count, "{labels:?}");
    }
}

#[test]
fn a_provider_without_networks_is_told_by_its_vendors_list() {
    let secret = |n: u8| format!("secret = {{ header = \"X-CDN-Secret\", values = [\"0123456789abcdef012{n}\"] }}");
    let proxy = alone(&format!(
        "[[cdn]]\nname = \"edge-one\"\nkind = \"fastly\"\n{}\n[[cdn]]\nname = \"own\"\nkind = \"generic\"\n{}\n",
        secret(3),
        secret(4)
    ));
    let list = String::from_utf8(headwater_testkit::run(&["networks", "show", "fastly"]).stdout).unwrap();
    let network = list.lines().find(|line| line.starts_with(|c: char| c.is_ascii_digit())).unwrap();
    let server = network.split('/').next().unwrap();
    for (server, cdn) in [(server, "edge-one"), ("203.0.113.42", "unknown")] {
        let report = format!("[{}]", NEL.replace("203.0.113.42", server));
        assert_eq!(post(&proxy, "/status/reports", "application/reports+json", &report).status, 204);
        let labels = [("type", "tcp.timed_out"), ("phase", "connection"), ("cdn", cdn)];
        assert_eq!(proxy.metrics().value("headwater_reports_total", &labels), 1.0, "{server}");
    }
}

#[test]
fn reports_have_bounds() {
    let proxy = alone("");
    let batch = |count: usize| format!("[{}]", vec!["{\"type\":\"crash\"}"; count].join(","));
    let send = |body: &str| post(&proxy, "/status/reports", "application/reports+json", body).status;
    assert_eq!(send(&batch(100)), 204);
    assert_eq!(send(&batch(101)), 400);
    assert_eq!(send(&format!("[{}]", " ".repeat(65_534))), 204);
    assert_eq!(send(&format!("[{}]", " ".repeat(65_535))), 413);
    for wrong in ["", "{", "{}", "nonsense", "[1,", &"[".repeat(10_000)] {
        assert_eq!(send(wrong), 400, "{wrong:.20}");
    }
    assert_eq!(proxy.metrics().value("headwater_reports_total", &[]), 100.0);
}

#[test]
fn a_browser_may_ask_first() {
    let proxy = alone("");
    for path in ["/status/reports", "/status/images/beacon.gif"] {
        let ask = |origin: &str| {
            let fields = [
                ("Origin", origin),
                ("Access-Control-Request-Method", "POST"),
                ("Access-Control-Request-Headers", "content-type"),
            ];
            exchange(proxy.http, request("OPTIONS", path, &fields))
        };
        let say = |origin: &str| {
            let fields = [("Origin", origin), ("Content-Length", "2"), ("Content-Type", "application/json")];
            exchange(proxy.http, request("POST", path, &fields) + "[]")
        };
        for origin in ["https://www.example.com", "http://127.0.0.1:8080", "null"] {
            for answer in [ask(origin), say(origin)] {
                assert_eq!(answer.status, 204, "{path} {origin}");
                assert_eq!(answer.header("Access-Control-Allow-Origin"), Some(origin));
                // Browsers send beacons with cookies, and then take no `*`.
                assert_eq!(answer.header("Access-Control-Allow-Credentials"), Some("true"));
                assert!(answer.has_member("Vary", "Origin"));
            }
        }
        let answer = ask("https://www.example.com");
        assert_eq!(answer.header("Access-Control-Allow-Headers"), Some("content-type"));
        assert!(answer.has_member("Access-Control-Allow-Methods", "POST"));
        for no_origin in ["https://a/b", "https://a, https://b", "*", "nonsense"] {
            for answer in [ask(no_origin), say(no_origin)] {
                assert_eq!((answer.status, answer.header("Access-Control-Allow-Origin")), (204, None), "{no_origin}");
                assert_eq!(answer.header("Access-Control-Allow-Credentials"), None);
            }
        }
    }
    assert_eq!(get(proxy.http, "/status/reports", &[]).status, 405);
    // Who asks without a page behind it hears of methods alone.
    let answer = exchange(proxy.http, request("OPTIONS", "/status/reports", &[]));
    assert_eq!((answer.status, answer.header("Allow")), (204, Some("POST, OPTIONS")));
    assert_eq!(answer.header("Access-Control-Allow-Methods"), None);
}

#[test]
fn a_beacon_never_reaches_the_app() {
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let proxy = Headwater::start(&origin.config());
    get(proxy.http, "/status/images/beacon.gif?source=x", &[]);
    post(&proxy, "/status/reports", "application/reports+json", "[]");
    assert!(origin.requests().is_empty());
    get(proxy.http, "/status/images/beacon.gif.png", &[]);
    assert_eq!(origin.requests().len(), 1);
}
