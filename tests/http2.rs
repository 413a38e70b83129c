//! Pulls over HTTP/2: what the app sees is what it would see of HTTP/1.1, and no client makes us hold more than a window.

use crate::tls::{Place, curl, said, start, tls};
use headwater_testkit::http2::{Http2, flag, frame, head, kind};
use headwater_testkit::{Client, Headwater, Origin, Then, answer, get, needs, request, wait_until};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

const PLAIN_TOO: [&str; 2] = ["--set", "listen.http2=all"];

fn before(origin: &Origin, more: &str) -> Headwater {
    Headwater::start_with(&(origin.config() + more), &PLAIN_TOO, &[])
}

/// Pulls with curl, which begins with HTTP/2.
fn curl2(address: SocketAddr, path: &str, arguments: &[&str]) -> Output {
    needs("/usr/bin/curl", "curl");
    let url = format!("http://{address}{path}");
    Command::new("/usr/bin/curl")
        .args(["-sS", "-i", "--max-time", "20", "--http2-prior-knowledge"])
        .args(arguments)
        .arg(url)
        .output()
        .unwrap()
}

#[test]
fn a_client_that_offers_http2_in_the_handshake_gets_it() {
    let place = Place::new();
    let origin = Origin::answering(answer("200 OK", &[], "over HTTP/2"));
    let (headwater, https) = start(&origin, &tls(&place.issue("shop", &["shop.example"])));
    let output = curl(&place, https, "shop.example", &["--http2"]);
    assert!(said(&output).starts_with("HTTP/2 200") && said(&output).ends_with("over HTTP/2"), "{}", said(&output));
    let seen = origin.last();
    assert_eq!(seen.headers("Host"), [format!("shop.example:{}", https.port())]);
    assert_eq!(seen.header("Via"), Some("2.0 headwater"));
    assert_eq!(seen.header("X-Forwarded-Proto"), Some("https"));
    assert!(seen.head.starts_with("GET /page HTTP/1.1\r\n"), "{}", seen.head);
    headwater.wait_for_log(|line| line.contains("\"GET /page HTTP/2.0\" 200 11 "));
}

#[test]
fn http2_is_spoken_where_the_config_says_so() {
    let place = Place::new();
    let origin = Origin::answering(answer("200 OK", &[], "ok"));
    let (headwater, _) = start(&origin, &tls(&place.issue("shop", &["shop.example"])));
    let plain = curl2(headwater.http, "/", &[]);
    assert!(!plain.status.success(), "plain connections speak HTTP/1 alone unless told: {}", said(&plain));
    let off = Headwater::start_with(
        &(origin.config() + &tls(&place.issue("shop", &["shop.example"]))),
        &["--set", "listen.https=[\"127.0.0.1:0\"]", "--set", "listen.http2=off"],
        &[],
    );
    let output = curl(&place, off.https.unwrap(), "shop.example", &["--http2"]);
    assert!(said(&output).starts_with("HTTP/1.1 200"), "{}", said(&output));
    let all = before(&origin, "");
    assert!(said(&curl2(all.http, "/", &[])).starts_with("HTTP/2 200"));
    assert_eq!(get(all.http, "/", &[]).status, 200, "and HTTP/1 beside it");
}

#[test]
fn many_streams_share_a_connection_and_each_gets_its_own_answer() {
    needs("/usr/bin/nghttp", "nghttp2-client");
    let origin = Origin::with(|request, stream| {
        let _ = stream.write_all(&answer("200 OK", &[], format!("you asked for {}", request.target)));
        Then::Keep
    });
    let headwater = before(&origin, "");
    let urls: Vec<String> = (0..40).map(|n| format!("http://{}/number/{n}", headwater.http)).collect();
    let output = Command::new("/usr/bin/nghttp").args(&urls).output().unwrap();
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    for n in 0..40 {
        assert_eq!(text.matches(&format!("you asked for /number/{n}")).count(), if n < 4 { 1 + extra(n) } else { 1 });
    }
    headwater.wait_metric("headwater_pulls_total", &[("code", "2xx")], 40.0);
}

/// `/number/1` is also the beginning of `/number/10` to `/number/19`; the answers stand without spaces between them.
fn extra(n: usize) -> usize {
    if n == 0 { 0 } else { 10 }
}

#[test]
fn crumbs_of_cookies_reach_the_app_as_one() {
    let origin = Origin::answering(answer("200 OK", &[], "ok"));
    let headwater = before(&origin, "");
    let mut client = Http2::connect(headwater.http, &[]);
    client.get(1, "/", &[("cookie", "a=1"), ("accept", "*/*"), ("cookie", "b=2"), ("cookie", "c=3")]);
    assert!(client.read_until(|frame| frame.is_200()).is_some());
    assert_eq!(origin.last().headers("Cookie"), ["a=1; b=2; c=3"]);
}

#[test]
fn authority_and_host_agree_or_the_request_is_refused() {
    let origin = Origin::answering(answer("200 OK", &[], "ok"));
    let headwater = before(&origin, "");
    let mut client = Http2::connect(headwater.http, &[]);
    client.get(1, "/", &[("host", "other.example")]);
    let head = client.read_until(|frame| frame.kind == kind::HEADERS).unwrap();
    assert_eq!(head.payload[0], 0x8c, "a 400 by its entry in the static table");
    client.get(3, "/", &[("host", "shop.example")]);
    assert!(client.read_until(|frame| frame.is_200()).is_some(), "the connection goes on");
    assert_eq!(origin.requests().len(), 1);
    assert_eq!(origin.last().headers("Host"), ["shop.example"]);
}

#[test]
fn connect_and_extended_connect_are_refused() {
    let origin = Origin::answering(answer("200 OK", &[], "ok"));
    let headwater = before(&origin, "");
    let mut client = Http2::connect(headwater.http, &[]);
    let mut block = Vec::new();
    for (name, value) in [(":method", "CONNECT"), (":authority", "shop.example:80")] {
        block.push(0);
        for text in [name, value] {
            block.push(text.len() as u8);
            block.extend(text.as_bytes());
        }
    }
    client.send(&frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, &block));
    let refused = client.read_until(|frame| frame.stream == 1).unwrap();
    assert!(!refused.is_200(), "{refused:?}");
    let extended = head("CONNECT", "/chat", &[(":protocol", "websocket")]);
    client.send(&frame(kind::HEADERS, flag::END_HEADERS, 3, &extended));
    let refused = client.read_until(|frame| frame.stream == 3 || frame.kind == kind::GOAWAY);
    assert!(refused.is_none_or(|frame| frame.kind == kind::RST_STREAM || frame.kind == kind::GOAWAY));
    assert_eq!(origin.requests().len(), 0);
    assert_eq!(get(headwater.http, "/", &[]).status, 200);
}

#[test]
fn what_two_servers_could_read_differently_never_reaches_the_app() {
    let origin = Origin::answering(answer("200 OK", &[], "ok"));
    let headwater = before(&origin, "");
    let smuggled: [&[(&str, &str)]; 6] = [
        &[("transfer-encoding", "chunked")],
        &[("connection", "x-y")],
        &[("content-length", "5")],
        &[("X-Upper", "1")],
        &[("a b", "1")],
        &[("x", "1\r\nevil: 1")],
    ];
    for fields in smuggled {
        let mut client = Http2::connect(headwater.http, &[]);
        client.get(1, "/", fields);
        let refused = client.read_until(|frame| frame.stream == 1 || frame.kind == kind::GOAWAY);
        assert!(!refused.as_ref().is_some_and(|frame| frame.is_200()), "{fields:?}: {refused:?}");
    }
    // The library takes a fragment off, as RFC 3986 has it, and the app sees the path without.
    for path in ["page", "/a b", "/a\0b"] {
        let mut client = Http2::connect(headwater.http, &[]);
        client.get(1, path, &[]);
        let refused = client.read_until(|frame| frame.stream == 1 || frame.kind == kind::GOAWAY);
        assert!(!refused.as_ref().is_some_and(|frame| frame.is_200()), "{path}: {refused:?}");
    }
    assert_eq!(origin.requests().len(), 0);
}

#[test]
fn bodies_go_up_with_and_without_a_length_and_with_trailers() {
    let origin = Origin::answering(answer("200 OK", &[], "ok"));
    let headwater = before(&origin, "");
    let mut client = Http2::connect(headwater.http, &[]);
    for (stream, fields) in [(1, &[("content-length", "6")][..]), (3, &[])] {
        client.send(&frame(kind::HEADERS, flag::END_HEADERS, stream, &head("POST", "/up", fields)));
        client.send(&frame(kind::DATA, 0, stream, b"abc"));
        client.send(&frame(kind::DATA, flag::END_STREAM, stream, b"def"));
        assert!(client.read_until(|frame| frame.is_200() && frame.stream == stream).is_some());
        let seen = origin.last();
        assert_eq!(seen.body, b"abcdef");
        assert_eq!(
            (seen.header("Content-Length"), seen.has("Transfer-Encoding")),
            if stream == 1 { (Some("6"), false) } else { (None, true) }
        );
    }
    client.send(&frame(kind::HEADERS, flag::END_HEADERS, 5, &head("POST", "/up", &[("trailer", "x-sum")])));
    client.send(&frame(kind::DATA, 0, 5, b"abc"));
    let mut trailers = vec![0, 5];
    trailers.extend(b"x-sum");
    trailers.push(2);
    trailers.extend(b"42");
    client.send(&frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 5, &trailers));
    assert!(client.read_until(|frame| frame.is_200() && frame.stream == 5).is_some());
    assert_eq!(origin.last().trailers, [("x-sum".to_string(), "42".to_string())]);
}

#[test]
fn a_body_shorter_or_longer_than_it_said_is_never_whole_for_the_app() {
    let origin = Origin::answering(answer("200 OK", &[], "ok"));
    let headwater = before(&origin, "");
    for body in [&b"abc"[..], b"abcdefgh"] {
        let mut client = Http2::connect(headwater.http, &[]);
        client.send(&frame(kind::HEADERS, flag::END_HEADERS, 1, &head("POST", "/", &[("content-length", "6")])));
        client.send(&frame(kind::DATA, flag::END_STREAM, 1, body));
        let end = client
            .read_until(|frame| frame.stream == 1 && frame.kind != kind::WINDOW_UPDATE || frame.kind == kind::GOAWAY);
        assert!(end.is_none_or(|frame| frame.kind != kind::HEADERS || !frame.is_200()));
    }
    assert!(origin.requests().iter().all(|request| !request.complete), "{:?}", origin.requests());
}

#[test]
fn early_hints_and_trailers_come_down() {
    needs("/usr/bin/nghttp", "nghttp2-client");
    let origin = Origin::with(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n");
        let _ = stream.write_all(
            b"HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 42\r\n\r\n",
        );
        Then::Keep
    });
    let headwater = before(&origin, "");
    let output = Command::new("/usr/bin/nghttp").args(["-v", &format!("http://{}/", headwater.http)]).output().unwrap();
    let text = said(&output);
    let at = |wanted: &str| text.find(wanted).unwrap_or_else(|| panic!("no {wanted} in\n{text}"));
    assert!(
        at(":status: 103") < at("link: </a.css>; rel=preload") && at(":status: 103") < at(":status: 200"),
        "{text}"
    );
    assert!(at(":status: 200") < at("x-sum: 42"), "{text}");
}

#[test]
fn the_app_is_asked_for_nothing_where_a_client_waits_for_100_and_is_refused() {
    let origin = Origin::with_heads(|request, stream| {
        if request.has("Expect") {
            let _ = stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        let mut body = [0; 5];
        let _ = stream.read_exact(&mut body);
        let _ = stream.write_all(&answer("200 OK", &[], body));
        Then::Close
    });
    let headwater = before(&origin, "");
    let output = curl2(headwater.http, "/", &["-X", "PUT", "-H", "Expect: 100-continue", "--data-binary", "hello"]);
    assert!(said(&output).contains("HTTP/2 200") && said(&output).ends_with("hello"), "{}", said(&output));
}

#[test]
fn large_bodies_are_whole_in_both_directions() {
    let body: Vec<u8> = (0..5_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let sent = body.clone();
    let origin = Origin::with(move |request, stream| {
        let _ =
            stream.write_all(&answer("200 OK", &[("X-Whole", if request.body == sent { "yes" } else { "no" })], &sent));
        Then::Keep
    });
    let headwater = before(&origin, "");
    let file = headwater.folder().join("body");
    std::fs::write(&file, &body).unwrap();
    let output = curl2(headwater.http, "/", &["-X", "POST", "--data-binary", &format!("@{}", file.display())]);
    let split = output.stdout.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    assert!(String::from_utf8_lossy(&output.stdout[..split]).to_lowercase().contains("x-whole: yes"));
    assert!(output.stdout[split + 4..] == body, "{} bytes", output.stdout.len() - split - 4);
    headwater.wait_metric("headwater_pull_bytes_total", &[], 5_000_000.0);
}

#[test]
fn a_body_that_breaks_off_resets_the_stream() {
    let origin = Origin::with(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf of it");
        Then::Close
    });
    let headwater = before(&origin, "");
    let mut client = Http2::connect(headwater.http, &[]);
    client.get(1, "/", &[]);
    let end = client.read_until(|frame| {
        frame.kind == kind::RST_STREAM || frame.flags & flag::END_STREAM > 0 && frame.kind == kind::DATA
    });
    assert_eq!(end.unwrap().kind, kind::RST_STREAM);
    headwater.wait_metric("headwater_upstream_errors_total", &[("reason", "body_broken")], 1.0);
    headwater.wait_for_log(|line| line.contains("end=upstream"));
}

#[test]
fn a_client_that_leaves_before_the_answer_frees_the_origin() {
    let origin = Origin::with(|_, stream| {
        // Until Headwater gives up, which ends this connection.
        let _ = stream.read(&mut [0]);
        Then::Close
    });
    let headwater = before(&origin, "");
    let mut client = Http2::connect(headwater.http, &[]);
    client.get(1, "/", &[]);
    wait_until("the origin is asked", || origin.requests().len() == 1);
    client.send(&frame(kind::RST_STREAM, 0, 1, &8_u32.to_be_bytes()));
    headwater.wait_metric("headwater_upstream_connections", &[("state", "open")], 0.0);
    headwater.wait_for_log(|line| line.contains("\" 499 0 ") && line.contains("end=downstream"));
    client.get(3, "/", &[]);
    wait_until("the origin is asked again", || origin.requests().len() == 2);
    drop(client);
    headwater.wait_metric("headwater_upstream_connections", &[("state", "open")], 0.0);
    headwater.wait_metric("headwater_downstream_connections", &[], 0.0);
}

/// An origin whose body never ends, and how much of it was taken.
fn endless() -> (SocketAddr, std::sync::Arc<std::sync::atomic::AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let taken = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let count = taken.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(64).flatten() {
            let count = count.clone();
            std::thread::spawn(move || {
                let mut stream = stream;
                let _ = stream.set_write_timeout(Some(Duration::from_secs(20)));
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n");
                while let Ok(written) = stream.write(&[7; 65536]) {
                    count.fetch_add(written as u64, std::sync::atomic::Ordering::SeqCst);
                }
            });
        }
    });
    (address, taken)
}

#[test]
fn a_client_that_makes_no_room_holds_the_origin_back_and_not_memory() {
    let (origin, taken) = endless();
    let config = format!("[origin]\nservers = [\"{origin}\"]\n[limits]\nbody_idle_timeout = \"3s\"\n");
    let headwater = Headwater::start_with(&config, &PLAIN_TOO, &[]);
    let before = headwater.memory_kib("VmRSS");
    // A window of 16 KiB for each of 40 streams, and never an update.
    let mut client = Http2::connect(headwater.http, &[(4, 16 << 10)]);
    for n in 0..40 {
        client.get(n * 2 + 1, "/endless", &[]);
    }
    for _ in 0..40 {
        assert!(client.read_until(|frame| frame.is_200()).is_some());
    }
    let grown = headwater.memory_kib("VmRSS").saturating_sub(before);
    assert!(grown < 32 << 10, "{grown} KiB for forty streams that stand still");
    let begun = Instant::now();
    wait_until("the streams are given up", || headwater.metrics().value("headwater_pulls_in_flight", &[]) == 0.0);
    assert!(begun.elapsed() < Duration::from_secs(8));
    // What the kernel's buffers took, on both sides, and a window each: nothing was read on and on.
    let most = taken.load(std::sync::atomic::Ordering::SeqCst);
    assert!(most < 40 * (12 << 20), "{most} bytes were taken from the origin");
    headwater.wait_for_log(|line| line.contains("end=timeout"));
}

#[test]
fn a_connection_that_rests_is_told_goodbye_and_one_with_a_stream_is_not() {
    let origin = Origin::with(|_, stream| {
        std::thread::sleep(Duration::from_millis(1500));
        let _ = stream.write_all(&answer("200 OK", &[], "late"));
        Then::Keep
    });
    let headwater = before(&origin, "[limits]\nidle_timeout = \"500ms\"\n");
    let mut client = Http2::connect(headwater.http, &[]);
    client.get(1, "/", &[]);
    assert!(client.read_until(|frame| frame.is_200()).is_some(), "a pull that takes longer is not cut");
    let goodbye = client.read_until(|frame| frame.kind == kind::GOAWAY).unwrap();
    assert_eq!(goodbye.error(), 0);
    assert!(client.is_closed());
}

#[test]
fn a_drain_finishes_streams_and_says_goodbye() {
    let origin = Origin::with(|_, stream| {
        std::thread::sleep(Duration::from_millis(800));
        let _ = stream.write_all(&answer("200 OK", &[], "late"));
        Then::Keep
    });
    let mut headwater = before(&origin, "");
    let mut client = Http2::connect(headwater.http, &[]);
    client.get(1, "/", &[]);
    wait_until("the origin is asked", || origin.requests().len() == 1);
    headwater.signal("TERM");
    let (mut goodbye, mut served) = (false, false);
    while let Some(frame) = client.read() {
        goodbye |= frame.kind == kind::GOAWAY && frame.error() == 0;
        served |= frame.kind == kind::DATA && frame.payload == b"late";
        if frame.kind == kind::PING && frame.flags & flag::ACK == 0 {
            client.send(&headwater_testkit::http2::frame(kind::PING, flag::ACK, 0, &frame.payload));
        }
    }
    assert!(goodbye && served, "goodbye {goodbye}, served {served}");
    assert_eq!(headwater.wait_exit(Duration::from_secs(5)), Some(0));
}

#[test]
fn head_requests_gzip_errors_and_beacons_are_as_over_http1() {
    let origin = Origin::with(|request, stream| {
        let body = "all work and no play ".repeat(200);
        let (status, kind) = if request.target == "/fail" { ("503 x", "text/plain") } else { ("200 OK", "text/html") };
        let bytes = answer(status, &[("Content-Type", kind), ("Retry-After", "7")], body);
        let head = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        let _ = stream.write_all(if request.method == "HEAD" { &bytes[..head] } else { &bytes });
        Then::Keep
    });
    let headwater = before(&origin, "");
    let fields = |output: &Output| said(output).split("\r\n\r\n").next().unwrap().to_lowercase();
    let got = curl2(headwater.http, "/", &["-H", "Accept-Encoding: gzip"]);
    assert!(fields(&got).contains("content-encoding: gzip"), "{}", fields(&got));
    let whole = curl2(headwater.http, "/", &["--compressed"]);
    assert!(said(&whole).ends_with(&"all work and no play ".repeat(200)));
    let head = curl2(headwater.http, "/", &["-I"]);
    assert!(fields(&head).contains("content-length: 4200"), "{}", fields(&head));
    let failed = curl2(headwater.http, "/fail", &["-H", "Accept-Language: de"]);
    assert!(said(&failed).starts_with("HTTP/2 503") && said(&failed).contains("lang=\"de\""), "{}", said(&failed));
    assert!(fields(&failed).contains("retry-after: 7") && fields(&failed).contains("cache-control: no-store"));
    let beacon =
        curl2(headwater.http, "/status/images/beacon.gif?source=h2", &["-o", "/dev/null", "-w", "%{size_download}"]);
    assert!(said(&beacon).contains("43"), "{}", said(&beacon));
    headwater.wait_metric("headwater_beacons_total", &[("source", "h2")], 1.0);
}

#[test]
fn http1_goes_on_where_plain_connections_may_speak_both() {
    let origin = Origin::answering(answer("200 OK", &[], "ok"));
    let headwater = before(&origin, "");
    let mut client = Client::connect(headwater.http);
    // Its first letters are those of HTTP/2's preface.
    client.send("PR");
    std::thread::sleep(Duration::from_millis(50));
    client.send("OPFIND / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.read_response().status, 200);
    client.send(request("GET", "/", &[]));
    assert_eq!(client.read_response().status, 200);
    assert_eq!(origin.requests()[0].method, "PROPFIND");
}
