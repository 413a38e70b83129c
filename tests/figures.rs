//! Figures: on /metrics, in Graphite and in StatsD, and true.

use headwater_testkit::{Client, Headwater, Origin, Then, get, request, wait_until};
use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const FASTLY: &str = "[[cdn]]\nname = \"fastly\"\nkind = \"fastly\"\nnetworks = [\"127.0.0.1\"]\n";

#[test]
fn every_figure_of_the_data_plane_is_given_out_as_prometheus_reads_it() {
    let origin = Origin::with(|request, stream| {
        let answer = match request.target.as_str() {
            "/boom" => "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n".to_string(),
            "/bad" => "nonsense\r\n\r\n".to_string(),
            _ => {
                format!("HTTP/1.1 200 OK\r\nContent-Type: text/css\r\nContent-Length: 2000\r\n\r\n{}", "x".repeat(2000))
            }
        };
        let _ = stream.write_all(answer.as_bytes());
        Then::Keep
    });
    // One worker, so that one connection to the origin is enough for all.
    let proxy = Headwater::start_with(&format!("{}{FASTLY}", origin.config()), &["--set", "listen.workers=1"], &[]);
    let fastly = ("X-CDN-Provider", "fastly");
    get(proxy.http, "/bad", &[fastly, ("CF-Ray", "x")]);
    get(proxy.http, "/a.css", &[fastly, ("Accept-Encoding", "gzip")]);
    get(proxy.http, "/boom", &[fastly, ("Fastly-FF", "x")]);
    get(proxy.http, "/status/images/beacon.gif?source=s", &[fastly]);
    let report = r#"[{"type":"network-error","body":{"phase":"dns"}}]"#;
    let head = request("POST", "/status/reports", &[("Content-Length", &report.len().to_string())]);
    headwater_testkit::exchange(proxy.http, head + report);
    proxy.wait_metric("headwater_pulls_total", &[], 5.0);
    let metrics = proxy.metrics();
    for (name, labels, value) in [
        // The beacon's path ends in .gif, so it counts under the rule for pictures.
        ("headwater_pulls_total", vec![("cdn", "fastly"), ("rule", "static"), ("code", "2xx")], 2.0),
        ("headwater_pulls_total", vec![("cdn", "fastly"), ("rule", "default"), ("code", "5xx")], 2.0),
        ("headwater_pull_duration_seconds_count", vec![("cdn", "fastly")], 4.0),
        ("headwater_upstream_first_byte_seconds_count", vec![("cdn", "fastly")], 2.0),
        ("headwater_upstream_errors_total", vec![("reason", "bad_head")], 1.0),
        ("headwater_gzip_bytes_total", vec![("direction", "in")], 2000.0),
        ("headwater_whoopsie_total", vec![("cdn", "fastly"), ("reason", "origin_5xx"), ("language", "en")], 1.0),
        ("headwater_whoopsie_total", vec![("cdn", "fastly"), ("reason", "bad_head"), ("language", "en")], 1.0),
        ("headwater_beacons_total", vec![("source", "s"), ("cdn", "fastly")], 1.0),
        ("headwater_beacon_countries_total", vec![("country", "unknown")], 1.0),
        ("headwater_reports_total", vec![("type", "network-error"), ("phase", "dns"), ("cdn", "unknown")], 1.0),
        ("headwater_identity_mismatch_total", vec![("claimed", "fastly")], 1.0),
        ("headwater_policy_reload_failed", vec![], 0.0),
        ("headwater_log_lines_dropped_total", vec![], 0.0),
        ("headwater_upstream_connections", vec![("state", "open")], 1.0),
        ("headwater_upstream_connections", vec![("state", "idle")], 1.0),
        ("headwater_upstream_connections", vec![("state", "waiting")], 0.0),
    ] {
        assert!(!metrics.series(name, &labels).is_empty(), "{name}{labels:?} is missing from\n{}", metrics.0);
        assert_eq!(metrics.value(name, &labels), value, "{name}{labels:?}\n{}", metrics.0);
    }
    let out = metrics.value("headwater_gzip_bytes_total", &[("direction", "out")]);
    assert_eq!(metrics.value("headwater_pull_bytes_total", &[("cdn", "fastly"), ("rule", "static")]), out + 43.0);
    for line in metrics.0.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
        let name = series
            .split('{')
            .next()
            .unwrap()
            .trim_end_matches("_bucket")
            .trim_end_matches("_sum")
            .trim_end_matches("_count");
        assert!(
            metrics.0.contains(&format!("# TYPE {name} ")) && metrics.0.contains(&format!("# HELP {name} ")),
            "{line}"
        );
    }
}

#[test]
fn what_can_be_known_beforehand_begins_at_0() {
    let proxy = Headwater::start(&format!("[origin]\nservers = [\"127.0.0.1:1\"]\n{FASTLY}"));
    let metrics = proxy.metrics();
    for (name, labels, count) in [
        ("headwater_pulls_total", vec![("cdn", "fastly"), ("rule", "static")], 4),
        ("headwater_pulls_total", vec![("cdn", "untagged"), ("rule", "default"), ("code", "5xx")], 1),
        ("headwater_pull_bytes_total", vec![("cdn", "other")], 2),
        ("headwater_pull_duration_seconds_count", vec![], 4),
        ("headwater_upstream_errors_total", vec![], 9),
        ("headwater_whoopsie_total", vec![("cdn", "fastly"), ("reason", "connect"), ("language", "ja")], 1),
        ("headwater_beacons_total", vec![("source", "fastly_503"), ("cdn", "untagged")], 1),
        ("headwater_beacons_total", vec![("source", "fastly_503"), ("cdn", "fastly")], 1),
        ("headwater_reports_total", vec![("type", "tcp.timed_out"), ("cdn", "fastly")], 1),
        ("headwater_identity_mismatch_total", vec![("claimed", "fastly")], 1),
        ("headwater_tls_handshakes_total", vec![], 4),
        ("headwater_pushes_dropped_total", vec![], 2),
        ("headwater_strangers_refused_total", vec![], 2),
    ] {
        let found = metrics.series(name, &labels);
        assert_eq!(found.len(), count, "{name}{labels:?}\n{}", metrics.0);
        assert!(found.iter().all(|(_, value)| *value == 0.0), "{found:?}");
    }
    // Those behind it are of the control plane.
    let rules = include_str!("../docs/alerts.yml").split("- name: headwater-control").next().unwrap();
    for name in rules.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|n| n.starts_with("headwater_")) {
        assert!(!metrics.series(name, &[]).is_empty(), "docs/alerts.yml asks for {name}");
    }
}

#[test]
fn names_that_a_reload_took_away_vanish_when_their_last_pull_ends() {
    let origin = Origin::with(|request, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab");
        if request.target == "/slow" {
            std::thread::sleep(Duration::from_secs(2));
        }
        let _ = stream.write_all(b"cd");
        Then::Keep
    });
    let rule = "[[rule]]\nname = \"old\"\npath = '^/'\n";
    let proxy = Headwater::start(&format!("{}{FASTLY}{rule}", origin.config()));
    get(proxy.http, "/", &[("X-CDN-Provider", "fastly")]);
    get(proxy.http, "/status/images/beacon.gif?source=fastly_503", &[]);
    let mut slow = Client::connect(proxy.http);
    slow.send(request("GET", "/slow", &[("X-CDN-Provider", "fastly")]));
    wait_until("it is asked", || origin.requests().iter().any(|request| request.target == "/slow"));
    proxy.rewrite(&format!("{}{}", origin.config(), rule.replace("old", "new")));
    assert_eq!(headwater_testkit::exchange(proxy.admin, request("POST", "/reload", &[])).status, 200);
    get(proxy.http, "/", &[]);
    proxy.wait_metric("headwater_pulls_total", &[("rule", "new"), ("code", "2xx")], 1.0);
    let old = || proxy.metrics().0.lines().filter(|line| line.contains("fastly") || line.contains("\"old\"")).count();
    assert!(old() > 0, "a pull of the old policy still runs");
    assert_eq!(slow.read_response().body, b"abcd");
    wait_until("the old names are gone", || old() == 0);
    proxy.rewrite(&format!("{}{FASTLY}{rule}", origin.config()));
    assert_eq!(headwater_testkit::exchange(proxy.admin, request("POST", "/reload", &[])).status, 200);
    get(proxy.http, "/", &[("X-CDN-Provider", "fastly")]);
    proxy.wait_metric("headwater_pulls_total", &[("cdn", "fastly"), ("rule", "old"), ("code", "2xx")], 1.0);
}

#[test]
fn bytes_are_those_that_were_sent() {
    let origin = Origin::with(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n");
        let _ = stream.write_all(&vec![0; 100_000_000]);
        Then::Close
    });
    let proxy = Headwater::start(&origin.config());
    let mut client = Client::connect(proxy.http);
    client.send(request("GET", "/", &[]));
    client.read_bytes(1_000_000);
    drop(client);
    proxy.wait_for_log(|line| line.contains("end=downstream"));
    wait_until("it is counted", || proxy.metrics().value("headwater_pull_bytes_total", &[]) > 0.0);
    let bytes = proxy.metrics().value("headwater_pull_bytes_total", &[]);
    assert!((900_000.0..100_000_000.0).contains(&bytes), "{bytes}");
}

#[test]
fn the_admin_endpoint_tells_of_health_and_state() {
    let origin = Origin::answering(OK);
    let proxy = Headwater::start(&format!("{}{FASTLY}", origin.config()));
    get(proxy.http, "/", &[("X-CDN-Provider", "fastly")]);
    proxy.wait_metric("headwater_pulls_total", &[], 1.0);
    assert_eq!((get(proxy.admin, "/livez", &[]).status, get(proxy.admin, "/readyz", &[]).status), (200, 200));
    let status: serde_json::Value = serde_json::from_str(&get(proxy.admin, "/status", &[]).text()).unwrap();
    assert_eq!(status["providers"]["fastly"]["pulls"], 1);
    assert_eq!(status["providers"]["fastly"]["bytes"], 2);
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["policy"]["hash"].as_str().map(str::len), Some(16));
    assert_eq!(status["upstream"]["servers"][0]["server"], origin.address.to_string());
    assert_eq!(get(proxy.admin, "/nothing", &[]).status, 404);
}

/// A Graphite that keeps what it hears.
fn graphite(listener: TcpListener) -> Arc<Mutex<Vec<(String, f64, u64)>>> {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let kept = heard.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let words: Vec<&str> = line.split(' ').collect();
                kept.lock().unwrap().push((words[0].to_string(), words[1].parse().unwrap(), words[2].parse().unwrap()));
            }
        }
    });
    heard
}

#[test]
fn graphite_hears_of_the_time_it_was_away() {
    let origin = Origin::answering(OK);
    let place = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = place.local_addr().unwrap();
    drop(place);
    let config = format!(
        "{}{FASTLY}[metrics]\ngraphite = \"{address}\"\nprefix = \"web.hw\"\ninterval = \"300ms\"\n",
        origin.config()
    );
    let proxy = Headwater::start(&config);
    get(proxy.http, "/", &[("X-CDN-Provider", "fastly")]);
    std::thread::sleep(Duration::from_millis(2300));
    let mut listener = None;
    wait_until("the port is free", || {
        listener = TcpListener::bind(address).ok();
        listener.is_some()
    });
    let heard = graphite(listener.unwrap());
    let name = "web.hw.pulls_total.fastly.2xx.default";
    let times = || {
        heard.lock().unwrap().iter().filter(|(found, _, _)| found == name).map(|(_, _, time)| *time).collect::<Vec<_>>()
    };
    wait_until("it hears", || times().len() > 6);
    wait_until("it is told of", || proxy.stderr().contains("graphite is back"));
    for words in ["graphite is away", "graphite is back"] {
        assert_eq!(proxy.stderr().matches(words).count(), 1, "{}", proxy.stderr());
    }
    let times = times();
    assert!(times.windows(2).all(|pair| pair[0] <= pair[1]));
    assert!(times.last().unwrap() - times[0] >= 2, "the points keep the time they were read at: {times:?}");
    assert_eq!(heard.lock().unwrap().iter().find(|(found, _, _)| found == name).unwrap().1, 1.0);
}

#[test]
fn no_point_is_missing_after_graphite_hung() {
    let (origin, deaf) = (Origin::answering(OK), Origin::deaf());
    let address = deaf.address;
    let proxy =
        Headwater::start(&format!("{}[metrics]\ngraphite = \"{address}\"\ninterval = \"1s\"\n", origin.config()));
    // A connection that nobody takes is given up after 5 s: readings that waited for that would be missing.
    proxy.wait_for_stderr("graphite is away");
    drop(deaf);
    let mut listener = None;
    wait_until("the port is free", || {
        listener = TcpListener::bind(address).ok();
        listener.is_some()
    });
    let heard = graphite(listener.unwrap());
    proxy.wait_for_stderr("graphite is back");
    let times = || {
        let heard = heard.lock().unwrap();
        heard.iter().filter(|(name, _, _)| name == "headwater.pulls_in_flight").map(|heard| heard.2).collect::<Vec<_>>()
    };
    wait_until("it hears", || times().len() >= 6);
    let times = times();
    assert!(times.windows(2).all(|pair| pair[1] == pair[0] + 1), "a point each second: {times:?}");
}

/// A Graphite that takes connections, reads nothing and breaks them off.
fn rude(listener: &TcpListener) {
    let (stream, _) = listener.accept().unwrap();
    stream.set_nonblocking(false).unwrap();
    let mut first = [0];
    assert_eq!(std::io::Read::read(&mut &stream, &mut first).unwrap(), 1);
    // What it did not read makes the end a reset.
    drop(stream);
}

#[test]
fn what_graphite_may_not_have_read_is_sent_again() {
    let origin = Origin::answering(OK);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Headwater::start(&format!(
        "{}[metrics]\ngraphite = \"{}\"\ninterval = \"1s\"\n",
        origin.config(),
        listener.local_addr().unwrap()
    ));
    rude(&listener);
    let broken = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let heard = graphite(listener);
    wait_until("it hears", || !heard.lock().unwrap().is_empty());
    let first = heard.lock().unwrap()[0].2;
    assert!(first <= broken, "the push of {broken} and not {first} comes first");
    drop(proxy);
}

#[test]
fn statsd_hears_what_was_added_since() {
    let origin = Origin::answering(OK);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let config =
        format!("{}[metrics]\nstatsd = \"{}\"\ninterval = \"200ms\"\n", origin.config(), socket.local_addr().unwrap());
    let proxy = Headwater::start(&config);
    let mut sums: HashMap<String, f64> = HashMap::new();
    let mut client = Client::connect(proxy.http);
    let mut packet = [0; 65536];
    for round in 1..=3 {
        for _ in 0..5 {
            client.send(request("GET", "/", &[]));
            client.read_response();
        }
        while sums.get("headwater.pulls_total.untagged.2xx.default").copied().unwrap_or(0.0) < f64::from(round * 5) {
            let count = socket.recv(&mut packet).expect("statsd is sent to");
            for line in std::str::from_utf8(&packet[..count]).unwrap().lines() {
                let (name, rest) = line.split_once(':').unwrap();
                let (value, kind) = rest.split_once('|').unwrap();
                assert!(["c", "g"].contains(&kind), "{line}");
                if kind == "c" {
                    *sums.entry(name.to_string()).or_default() += value.parse::<f64>().unwrap();
                }
            }
        }
    }
    assert_eq!(sums["headwater.pulls_total.untagged.2xx.default"], 15.0);
}

/// What StatsD heard of one counter until it reached `wanted`, as a sum.
fn statsd_sum(socket: &UdpSocket, name: &str, wanted: f64) -> f64 {
    let mut packet = [0; 65536];
    let mut sum = 0.0;
    while sum < wanted {
        let count = socket.recv(&mut packet).expect("statsd is sent to");
        for line in std::str::from_utf8(&packet[..count]).unwrap().lines() {
            if let Some(rest) = line.strip_prefix(&format!("{name}:")) {
                sum += rest.strip_suffix("|c").unwrap().parse::<f64>().unwrap();
            }
        }
    }
    sum
}

#[test]
fn statsd_hears_of_what_was_counted_while_its_port_was_closed() {
    let origin = Origin::answering(OK);
    let place = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = place.local_addr().unwrap();
    drop(place);
    let proxy =
        Headwater::start(&format!("{}[metrics]\nstatsd = \"{address}\"\ninterval = \"200ms\"\n", origin.config()));
    let lost = || proxy.metrics().value("headwater_pushes_dropped_total", &[("sink", "statsd")]);
    let mut pulls = 0;
    let mut client = Client::connect(proxy.http);
    // The first push into a closed port seems to succeed, so several are to be seen failing.
    let mut losses = 0.0;
    for _ in 0..4 {
        for _ in 0..10 {
            client.send(request("GET", "/", &[]));
            client.read_response();
            pulls += 1;
        }
        wait_until("another push is refused", || lost() > losses);
        losses = lost();
    }
    let mut socket = None;
    wait_until("the port is free", || {
        socket = UdpSocket::bind(address).ok();
        socket.is_some()
    });
    let socket = socket.unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let name = "headwater.pulls_total.untagged.2xx.default";
    assert_eq!(statsd_sum(&socket, name, f64::from(pulls)), f64::from(pulls));
    proxy.wait_for_stderr("statsd is back");
    for words in ["statsd is away", "statsd is back"] {
        assert_eq!(proxy.stderr().matches(words).count(), 1, "{}", proxy.stderr());
    }
    client.send(request("GET", "/", &[]));
    client.read_response();
    assert_eq!(statsd_sum(&socket, name, 1.0), 1.0, "nothing is counted twice");
}

/// Every path of `/status` to a value that is no object and no list of them, with the kind of the value.
fn shape(value: &serde_json::Value, path: &str, out: &mut Vec<String>) {
    use serde_json::Value;
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| shape(value, &format!("{path}.{key}"), out)),
        Value::Array(items) if items.iter().any(Value::is_object) => {
            items.iter().for_each(|item| shape(item, &format!("{path}[]"), out));
        }
        Value::Array(_) => out.push(format!("{path} list")),
        Value::Number(_) => out.push(format!("{path} number")),
        Value::String(_) => out.push(format!("{path} text")),
        Value::Bool(_) => out.push(format!("{path} bool")),
        Value::Null => out.push(format!("{path} null")),
    }
}

#[test]
fn status_has_the_shape_that_is_documented() {
    let (origin, place) = (Origin::answering(OK), crate::tls::Place::new());
    let more = place.issue("more", &["img.example"]);
    let config = |level: u32| {
        format!(
            "{}{}[[tls.more]]\ncertificate = \"{}\"\nkey = \"{}\"\n[[cdn]]\nname = \"fastly\"\nkind = \"fastly\"\n\
             networks = [\"127.0.0.0/8\"]\nsecret = {{ header = \"X-S\", values = [\"0123456789abcdef0123\"] }}\n\
             [metrics]\nstatsd = \"127.0.0.1:9\"\n[trace]\nendpoint = \"http://127.0.0.1:9\"\n[gzip]\nlevel = {level}\n",
            origin.config(),
            crate::tls::tls(&place.issue("first", &["www.example", "shop.example"])),
            more.certificate.display(),
            more.key.display()
        )
    };
    let settings = ["--set", "listen.https=[\"127.0.0.1:0\"]"];
    let proxy = Headwater::start_with(&config(6), &settings, &[]);
    let status = || -> serde_json::Value { serde_json::from_str(&get(proxy.admin, "/status", &[]).text()).unwrap() };
    assert!(status()["policy"]["last_reload"].is_null());
    get(proxy.http, "/", &[("X-CDN-Provider", "fastly")]);
    proxy.wait_metric("headwater_pulls_total", &[], 1.0);
    proxy.rewrite(&config(11));
    proxy.signal("HUP");
    wait_until("the reload is told of", || status()["policy"]["last_reload"]["result"] == "failed");
    assert_eq!(
        (&status()["policy"]["last_reload"]["errors"], &status()["policy"]["reload_failed"]),
        (&1.into(), &true.into())
    );
    proxy.rewrite(&config(9));
    proxy.signal("HUP");
    wait_until("the reload is told of", || status()["policy"]["last_reload"]["result"] == "ok");

    let status = status();
    assert_eq!(status["listeners"]["http"][0], proxy.http.to_string());
    assert_eq!(status["listeners"]["https"][0], proxy.https.unwrap().to_string());
    assert_eq!(status["listeners"]["admin"], proxy.admin.to_string());
    assert_eq!(status["workers"].as_array().unwrap().len(), 2);
    let certificates = &status["tls"]["certificates"];
    assert_eq!(certificates[0]["names"], serde_json::json!(["www.example", "shop.example"]));
    assert_eq!(certificates[1]["names"], serde_json::json!(["img.example"]));
    assert_eq!(certificates[0]["expires"], "Sun, 01 Jan 4096 00:00:00 GMT");
    assert!(certificates[0]["expires_in_seconds"].as_i64().unwrap() > 1_000_000_000);
    let fastly = &status["providers"]["fastly"];
    assert_eq!((&fastly["kind"], &fastly["identity_mismatches"]), (&"fastly".into(), &1.into()));
    assert_eq!(fastly["proofs"], serde_json::json!(["secret", "networks"]));
    assert_eq!(status["providers"]["unproven"]["pulls"], 1);
    assert!(!status.to_string().contains("0123456789abcdef0123"));

    let reference = include_str!("../docs/metrics.md");
    let documented = reference.split("<!-- status -->").nth(1).expect("the shape stands between two marks");
    let documented = documented.split("```").nth(1).unwrap().trim_start_matches("json");
    let mut expected = Vec::new();
    shape(&serde_json::from_str(documented).expect("the example is JSON"), "", &mut expected);
    let mut found = Vec::new();
    shape(&status, "", &mut found);
    for list in [&mut expected, &mut found] {
        // Whether something has failed, or was tried, is not of the shape.
        list.retain(|path| !path.contains("last_failure") && !path.starts_with(".sinks"));
        list.sort();
        list.dedup();
    }
    assert_eq!(found, expected, "\n{status:#}");
    for sink in ["statsd", "otlp"] {
        assert_eq!(status["sinks"][sink].get("dropped").map(|dropped| dropped.is_u64()), Some(true), "{status:#}");
    }
    assert!(status["sinks"].get("graphite").is_none(), "it is not configured");
}
