//! What happens when the origin fails: every row of the table in `docs/errors.md`, made to happen.

use headwater_testkit::{
    Authority, Client, Headwater, Origin, Recorded, Response, Then, Wire, answer, get, request, wait_until,
};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

/// A row of the table: what happens, and what is said to follow.
#[derive(Clone, Debug)]
struct Row {
    fault: String,
    status: String,
    reason: String,
    end: String,
    health: String,
}

fn table() -> Vec<Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/errors.md");
    let text = std::fs::read_to_string(path).unwrap();
    let rows =
        text.lines().skip_while(|line| !line.starts_with("| what happens | status | `reason` | `end` |")).skip(2);
    rows.take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<String> =
                line.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect();
            let [fault, status, reason, end, health] = <[String; 5]>::try_from(cells).unwrap();
            Row { fault, status, reason, end, health }
        })
        .collect()
}

/// Who makes a fault: an origin of the testkit, and what is kept alive with it.
struct Fault {
    servers: String,
    more: String,
    /// Whether another pull has to be in hand.
    busy: bool,
    _kept: Box<dyn std::any::Any>,
}

fn by(behave: impl Fn(&Recorded, &mut dyn Wire) -> Then + Send + Sync + 'static) -> Fault {
    let origin = Origin::with(behave);
    Fault { servers: origin.address.to_string(), more: String::new(), busy: false, _kept: Box::new(origin) }
}

fn saying(bytes: impl Into<Vec<u8>>, then: Then) -> Fault {
    let bytes = bytes.into();
    by(move |_, stream| {
        let _ = stream.write_all(&bytes);
        then
    })
}

/// As [`saying`], and then it waits until the proxy gives up.
fn saying_and_silent(bytes: &'static str) -> Fault {
    by(move |_, stream| {
        let _ = stream.write_all(bytes.as_bytes());
        let _ = stream.read(&mut [0]);
        Then::Close
    })
}

fn nobody() -> Fault {
    let address = TcpListener::bind("127.0.0.78:0").unwrap().local_addr().unwrap();
    Fault { servers: address.to_string(), more: String::new(), busy: false, _kept: Box::new(()) }
}

fn over_tls(trusted: bool, then: Then) -> Fault {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (Authority::new("Ours"), Authority::new("Theirs"));
    let pair = if trusted { &ours } else { &theirs }.issue(folder.path(), "origin", &["127.0.0.1"]);
    let origin = Origin::over_tls(&pair, None, move |_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nsome of it");
        then
    });
    let more = format!("tls = {{ ca = \"{}\" }}\n", ours.write(folder.path(), "ca").display());
    Fault { servers: format!("https://{}", origin.address), more, busy: false, _kept: Box::new((origin, folder)) }
}

const PROMISE: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1000\r\n\r\n";

/// Makes a row's fault happen. Faults that a row names together come one after the other.
fn faults(row: &str) -> Vec<Fault> {
    match row {
        "no server takes the connection" => vec![nobody()],
        "none takes it, or ends its TLS handshake, within origin.connect_timeout" => {
            let deaf = Origin::deaf();
            let silent = TcpListener::bind("127.0.0.1:0").unwrap();
            let shakes_no_hands = format!("https://{}", silent.local_addr().unwrap());
            let kept: [(String, Box<dyn std::any::Any>); 2] =
                [(deaf.address.to_string(), Box::new(deaf)), (shakes_no_hands, Box::new(silent))];
            let fault = |(servers, kept)| Fault { servers, more: String::new(), busy: false, _kept: kept };
            kept.into_iter().map(fault).collect()
        }
        "none has a certificate that can be trusted, or none speaks TLS" => vec![over_tls(false, Then::Close)],
        "all of origin.max_connections are busy for origin.wait_timeout" => {
            let slow = by(|request, stream| {
                if request.target == "/slow" {
                    let _ = stream.read(&mut [0]);
                }
                Then::Close
            });
            vec![Fault { more: "max_connections = 1\nwait_timeout = \"300ms\"\n".into(), busy: true, ..slow }]
        }
        "the connection is taken, and no answer begins within origin.response_timeout" => vec![saying_and_silent("")],
        "half a head comes, and then nothing" => vec![saying_and_silent("HTTP/1.1 200 OK\r\nContent-Le")],
        "the connection ends before a head" => vec![saying("", Then::Close), saying("", Then::Reset)],
        "half a head comes, and then the end" => vec![saying("HTTP/1.1 200 OK\r\nContent-Le", Then::Close)],
        "the head is over 128 KiB" => {
            let megabyte = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X-Filler: 0123456789abcdef\r\n".repeat(37_500));
            let one_field = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
            vec![saying(megabyte, Then::Keep), saying(one_field, Then::Keep)]
        }
        "the head cannot be read" => vec![saying("SSH-2.0-OpenSSH_9.2\r\n\r\n", Then::Keep)],
        "the head delimits its body in two ways" => vec![
            saying("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!", Then::Keep),
            saying("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Then::Keep),
        ],
        "the body ends too early, or a chunk is none" => {
            let chunked =
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n";
            let garbled = by(move |_, stream| {
                let _ = stream.write_all(chunked.as_bytes());
                std::thread::sleep(Duration::from_millis(100));
                let _ = stream.write_all(b"no chunk\r\n");
                Then::Keep
            });
            vec![
                saying(format!("{PROMISE}some of it"), Then::Close),
                saying(format!("{PROMISE}some of it"), Then::Reset),
                saying(chunked, Then::Close),
                garbled,
            ]
        }
        "over TLS, a body that ends with its connection ends without close_notify" => vec![over_tls(true, Then::Cut)],
        "the body pauses for longer than limits.body_idle_timeout" => {
            vec![saying_and_silent("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nsome of it")]
        }
        "more comes than the head has announced" => {
            let smuggled =
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
            vec![saying(smuggled, Then::Keep)]
        }
        "the app answers 5xx" => vec![saying(answer("503 Service Unavailable", &[], "no"), Then::Keep)],
        other => panic!("nobody knows how to make this happen: {other}"),
    }
}

#[test]
fn every_fault_of_the_table_ends_as_it_says() {
    let rows = table();
    assert_eq!(rows.len(), 16, "the table is where it was");
    // Most of a fault is waiting for it.
    std::thread::scope(|scope| {
        for some in rows.chunks(4) {
            scope.spawn(move || {
                for row in some {
                    faults(&row.fault).iter().for_each(|fault| ends_as_said(row, fault));
                }
            });
        }
    });
}

fn ends_as_said(row: &Row, fault: &Fault) {
    let config = format!(
        "[origin]\nservers = [\"{}\"]\nconnect_timeout = \"500ms\"\nresponse_timeout = \"500ms\"\n{}\
         [limits]\nbody_idle_timeout = \"500ms\"\n",
        fault.servers, fault.more
    );
    let headwater = Headwater::start(&config);
    let busy = fault.busy.then(|| {
        let mut client = Client::connect(headwater.http);
        client.send(request("GET", "/slow", &[]));
        headwater.wait_metric("headwater_upstream_connections", &[("state", "open")], 1.0);
        client
    });
    let begun = Instant::now();
    let got = get(headwater.http, "/fault", &[("Accept", "text/html")]);
    assert!(begun.elapsed() < Duration::from_secs(4), "{row:?} took {:?}", begun.elapsed());
    is_shown(row, &got);
    drop(busy);

    let line = headwater.wait_for_log(|line| line.contains("/fault"));
    assert!(
        line.contains(&format!("end={}", row.end)) && line.contains(&format!(" {} ", got.status)),
        "{row:?}\n{line}"
    );
    let metrics = headwater.metrics();
    let count = |name, reason| metrics.value(name, &[("reason", reason)]);
    let (errors, pages) = ("headwater_upstream_errors_total", "headwater_whoopsie_total");
    match row.reason.as_str() {
        "-" => {
            assert_eq!(metrics.value(errors, &[]), 0.0, "{row:?}");
            assert_eq!(count(pages, "origin_5xx"), f64::from(u8::from(got.status >= 500)), "{row:?}");
        }
        reason => {
            assert_eq!(count(errors, reason), 1.0, "{row:?}\n{}", metrics.0);
            assert_eq!(count(pages, reason), f64::from(u8::from(got.status >= 500)), "{row:?}");
        }
    }
    // Five pulls in a row tell whether health takes it to heart.
    if !fault.busy {
        (0..4).for_each(|_| drop(get(headwater.http, "/again", &[])));
        if row.health == "yes" {
            headwater.wait_for_stderr("is kept as no other is up");
        } else {
            assert!(!headwater.stderr().contains("is kept"), "{row:?}\n{}", headwater.stderr());
        }
    }
    headwater.wait_metric("headwater_pulls_in_flight", &[], 0.0);
}

/// What users see.
fn is_shown(row: &Row, got: &Response) {
    match row.status.as_str() {
        "as sent; broken off" => assert!(got.status == 200 && !got.complete, "{row:?}\n{}", got.head),
        "as sent; what is beyond is heard by nobody" => {
            assert!(got.complete, "{row:?}");
            assert_eq!((got.status, got.text().as_str()), (200, "ok"));
        }
        "kept" => assert!(got.status == 503 && got.text().contains("<html"), "{row:?}\n{}", got.head),
        said => {
            let (status, more) = said.split_once(", ").unwrap_or((said, ""));
            assert_eq!(got.status.to_string(), status, "{row:?}\n{}", got.head);
            assert!(more.is_empty() || !got.headers(more).is_empty(), "{row:?}\n{}", got.head);
            assert_eq!(got.header("Cache-Control"), Some("no-store"));
            assert!(got.complete && got.text().contains("<html"), "{row:?}\n{}", got.head);
        }
    }
}

#[test]
fn an_origin_that_closes_after_each_answer_without_a_word_costs_no_pull() {
    let origin = Origin::with(|_, stream| {
        let _ = stream.write_all(&answer("200 OK", &[], "ok"));
        Then::Close
    });
    let headwater = Headwater::before(&origin);
    let mut client = Client::connect(headwater.http);
    for _ in 0..50 {
        client.send(request("GET", "/", &[]));
        assert_eq!(client.read_response().text(), "ok");
        wait_until("it has closed", || origin.open() == 0);
    }
    let metrics = headwater.metrics();
    assert_eq!(metrics.value("headwater_upstream_errors_total", &[]), 0.0);
    let retries = metrics.value("headwater_retries_total", &[]);
    assert!(retries < 10.0, "what has ended is not used: {retries}");
}

#[test]
fn servers_that_go_and_come_back_one_after_the_other_cost_few_pulls_and_no_help() {
    let address = || TcpListener::bind("127.0.0.79:0").unwrap().local_addr().unwrap();
    let addresses = [address(), address()];
    let begin = |at: usize| {
        Origin::at(addresses[at], |_, stream| {
            let _ = stream.write_all(&answer("200 OK", &[], "ok"));
            Then::Close
        })
    };
    let config = format!(
        "[origin]\nservers = [\"{}\", \"{}\"]\nfails = 2\neject = \"200ms\"\nslow_start = \"0s\"\n",
        addresses[0], addresses[1]
    );
    let headwater = Headwater::start(&config);
    let pull = || get(headwater.http, "/", &[]).status;
    let mut servers = [Some(begin(0)), Some(begin(1))];
    for _ in 0..2 {
        for away in [0, 1] {
            servers[away] = None;
            wait_until("it is gone", || TcpStream::connect(addresses[away]).is_err());
            for _ in 0..40 {
                assert_eq!(pull(), 200, "the other one is there");
            }
            servers[away] = Some(begin(away));
            let name = addresses[away].to_string();
            wait_until("it is up", || {
                assert_eq!(pull(), 200);
                headwater.metrics().value("headwater_upstream_up", &[("server", &name)]) == 1.0
            });
        }
    }
    // Both at once: nothing can be answered, and as soon as one is back everything is.
    servers = [None, None];
    wait_until("pulls fail", || pull() == 502);
    servers[1] = Some(begin(1));
    wait_until("pulls are answered", || (0..20).all(|_| pull() == 200));
    drop(servers);
}
