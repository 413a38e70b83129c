//! Limits: how large, how many, how long.

use headwater_testkit::{Client, Headwater, Origin, Response, Then, answer, exchange, get, request, wait_until};
use std::time::{Duration, Instant};

fn before(limits: &str) -> (Origin, Headwater) {
    let origin = Origin::with(|request, stream| {
        let _ = stream.write_all(&answer("200 OK", &[], request.body.len().to_string()));
        Then::Keep
    });
    let headwater = Headwater::before_with(&origin, limits);
    (origin, headwater)
}

/// The answer to bytes that get the connection closed.
fn last_answer(headwater: &Headwater, bytes: impl AsRef<[u8]>) -> Response {
    let mut client = Client::connect(headwater.http);
    client.send(bytes);
    let got = client.read_response();
    assert!(got.has_member("Connection", "close"), "{}", got.head);
    assert_eq!(got.header("Cache-Control"), Some("no-store"), "{}", got.head);
    assert!(client.is_closed());
    got
}

fn head_of(bytes: usize) -> String {
    let bare = request("GET", "/", &[("X-Long", "")]).len();
    request("GET", "/", &[("X-Long", &"x".repeat(bytes - bare))])
}

#[test]
fn a_head_over_32_kib_is_too_large() {
    let (origin, headwater) = before("");
    assert_eq!(exchange(headwater.http, head_of(32 << 10)).status, 200);
    assert_eq!(last_answer(&headwater, head_of((32 << 10) + 1)).status, 431);
    assert_eq!(last_answer(&headwater, head_of(500_000)).status, 431);
    // It is refused as soon as it is too large, not when it ends.
    let begun = Instant::now();
    assert_eq!(last_answer(&headwater, &head_of(60_000)[..40_000]).status, 431);
    assert!(begun.elapsed() < Duration::from_secs(5));
    let status = last_answer(&headwater, request("GET", &format!("/{}", "x".repeat(33_000)), &[])).status;
    assert!([414, 431].contains(&status), "{status}");
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn a_head_of_more_than_100_fields_is_too_large() {
    let (origin, headwater) = before("");
    let fields = |count: usize| request("GET", "/", &vec![("X", "y"); count - 1]);
    assert_eq!(exchange(headwater.http, fields(100)).status, 200);
    assert_eq!(last_answer(&headwater, fields(101)).status, 431);
    assert_eq!(last_answer(&headwater, fields(1000)).status, 431);
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn the_bounds_of_a_head_are_the_configs() {
    let (_origin, headwater) = before("[limits]\nmax_head = \"1 KiB\"\nmax_fields = 5\n");
    assert_eq!(exchange(headwater.http, head_of(1024)).status, 200);
    assert_eq!(last_answer(&headwater, head_of(1025)).status, 431);
    assert_eq!(last_answer(&headwater, request("GET", "/", &[("X", "y"); 5])).status, 431);
}

fn chunked(target: &str, pieces: &[usize]) -> String {
    let mut text = request("POST", target, &[("Transfer-Encoding", "chunked")]);
    for piece in pieces {
        text += &format!("{piece:x}\r\n{}\r\n", "x".repeat(*piece));
    }
    text + "0\r\n\r\n"
}

fn sized(target: &str, length: usize) -> String {
    request("POST", target, &[("Content-Length", &length.to_string())]) + &"x".repeat(length)
}

#[test]
fn a_body_over_max_body_is_too_large() {
    let (origin, headwater) = before("[limits]\nmax_body = \"1 KiB\"\n");
    assert_eq!(exchange(headwater.http, sized("/", 1024)).text(), "1024");
    assert_eq!(last_answer(&headwater, sized("/", 1025)).status, 413);
    assert_eq!(last_answer(&headwater, request("POST", "/", &[("Content-Length", "99999999999")])).status, 413);
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn chunks_count_towards_max_body() {
    let (origin, headwater) = before("[limits]\nmax_body = \"1 KiB\"\n");
    assert_eq!(exchange(headwater.http, chunked("/", &[1000, 24])).text(), "1024");
    assert_eq!(last_answer(&headwater, chunked("/", &[1000, 25])).status, 413);
    assert_eq!(last_answer(&headwater, chunked("/", &[100; 50])).status, 413);
    assert_eq!(last_answer(&headwater, chunked("/", &[50_000])).status, 413);
    // A chunk that is too large need not come to its end.
    let begun = Instant::now();
    let endless = request("POST", "/", &[("Transfer-Encoding", "chunked")]) + "FFFFFFFF\r\n" + &"x".repeat(2000);
    let mut client = Client::connect(headwater.http);
    client.send(endless);
    assert_eq!(client.read_response().status, 413);
    assert!(begun.elapsed() < Duration::from_secs(5));
    wait_until("the origin's connections are gone", || origin.open() <= 1);
    assert_eq!(origin.requests().iter().filter(|request| request.complete).count(), 1);
}

#[test]
fn a_rule_may_have_a_max_body_of_its_own() {
    let rules = "[limits]\nmax_body = \"1 KiB\"\n\
                 [[rule]]\nname = \"upload\"\npath = '^/upload'\nmax_body = \"2 KiB\"\n\
                 [[rule]]\nname = \"form\"\npath = '^/form'\nmax_body = \"10 B\"\n";
    let (_origin, headwater) = before(rules);
    assert_eq!(exchange(headwater.http, sized("/upload", 2048)).text(), "2048");
    assert_eq!(exchange(headwater.http, chunked("/upload", &[2048])).text(), "2048");
    assert_eq!(last_answer(&headwater, sized("/upload", 2049)).status, 413);
    assert_eq!(last_answer(&headwater, sized("/", 1025)).status, 413);
    assert_eq!(last_answer(&headwater, sized("/form", 11)).status, 413);
    assert_eq!(last_answer(&headwater, chunked("/form", &[5, 6])).status, 413);
}

#[test]
fn who_is_told_413_reads_it_though_he_is_still_sending() {
    let (_origin, headwater) = before("[limits]\nmax_body = \"1 KiB\"\n");
    for _ in 0..5 {
        let mut client = Client::connect(headwater.http);
        client.send(sized("/", 200_000));
        let got = client.try_read_response_to("POST").expect("the 413 was lost in a reset");
        assert_eq!((got.status, got.complete), (413, true));
    }
}

#[test]
fn a_slow_head_runs_into_its_deadline_however_steadily_it_drips() {
    let (origin, headwater) = before("[limits]\nheader_timeout = \"1s\"\n");
    let begun = Instant::now();
    let mut client = Client::connect(headwater.http);
    client.send("GET / HTTP/1.1\r\nHost: shop.example\r\n");
    for number in 0..15 {
        client.send(format!("X-{number}: y\r\n"));
        std::thread::sleep(Duration::from_millis(100));
    }
    let got = client.read_response();
    assert_eq!(got.status, 408);
    assert!(got.has_member("Connection", "close") && client.is_closed());
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert_eq!(origin.requests().len(), 0);
}

#[test]
fn the_heads_deadline_begins_with_its_first_byte() {
    let (_origin, headwater) = before("[limits]\nheader_timeout = \"500ms\"\n");
    let mut client = Client::connect(headwater.http);
    for _ in 0..2 {
        std::thread::sleep(Duration::from_millis(900));
        client.send(request("GET", "/", &[]));
        assert_eq!(client.read_response().status, 200);
    }
}

#[test]
fn the_heads_deadline_does_not_count_for_the_body() {
    let (_origin, headwater) = before("[limits]\nheader_timeout = \"500ms\"\n");
    let mut client = Client::connect(headwater.http);
    client.send(request("POST", "/", &[("Content-Length", "5")]) + "he");
    std::thread::sleep(Duration::from_millis(900));
    client.send("llo");
    assert_eq!(client.read_response().text(), "5");
}

#[test]
fn an_upload_that_stops_is_ended() {
    let (origin, headwater) = before("[limits]\nbody_idle_timeout = \"700ms\"\n");
    for framing in [("Content-Length", "10"), ("Transfer-Encoding", "chunked")] {
        let begun = Instant::now();
        let mut client = Client::connect(headwater.http);
        client.send(request("POST", "/", &[framing]) + if framing.1 == "10" { "hello" } else { "5\r\nhello\r\n" });
        let got = client.read_response();
        assert_eq!(got.status, 408, "{}", got.head);
        assert!(client.is_closed());
        assert!(begun.elapsed() > Duration::from_millis(600) && begun.elapsed() < Duration::from_secs(4));
    }
    wait_until("the origin's connections are gone", || origin.open() == 0);
    assert!(origin.requests().iter().all(|request| !request.complete));
}

#[test]
fn an_upload_that_is_slow_and_alive_is_spared() {
    let (_origin, headwater) = before("response_timeout = \"700ms\"\n[limits]\nbody_idle_timeout = \"700ms\"\n");
    let mut client = Client::connect(headwater.http);
    client.send(request("POST", "/", &[("Content-Length", "10")]));
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(250));
        client.send("x");
    }
    let got = client.read_response();
    assert_eq!((got.status, got.text().as_str()), (200, "10"), "{}", got.head);
}

#[test]
fn one_pull_too_many_is_told_to_come_back() {
    let origin = Origin::with(|request, stream| {
        if request.target == "/slow" {
            std::thread::sleep(Duration::from_secs(1));
        }
        let _ = stream.write_all(&answer("200 OK", &[], "ok"));
        Then::Keep
    });
    let headwater = Headwater::before_with(&origin, "[limits]\nmax_in_flight = 1\nwait_timeout = \"300ms\"\n");
    let mut slow = Client::connect(headwater.http);
    slow.send(request("GET", "/slow", &[]));
    wait_until("the slow pull has arrived", || origin.requests().len() == 1);
    let got = get(headwater.http, "/", &[]);
    assert_eq!((got.status, got.header("Cache-Control")), (503, Some("no-store")), "{}", got.head);
    assert!(got.header("Retry-After").is_some(), "{}", got.head);
    assert_eq!(slow.read_response().status, 200);
    wait_until("the permit is free again", || get(headwater.http, "/", &[]).status == 200);
    assert!(headwater.metrics().value("headwater_whoopsie_total", &[("reason", "overload")]) >= 1.0);
}

#[test]
fn pulls_beyond_the_cap_wait_and_are_served_when_there_is_room() {
    let origin = Origin::with(|_, stream| {
        std::thread::sleep(Duration::from_millis(200));
        let _ = stream.write_all(&answer("200 OK", &[], "ok"));
        Then::Keep
    });
    let headwater = Headwater::before_with(&origin, "[limits]\nmax_in_flight = 2\nwait_timeout = \"9s\"\n");
    let mut clients: Vec<Client> = (0..8).map(|_| Client::connect(headwater.http)).collect();
    for client in &mut clients {
        client.send(request("GET", "/", &[]));
    }
    headwater.wait_metric("headwater_pulls_waiting", &[], 6.0);
    // While all is full: the admin endpoint answers (it just did), and so do beacons.
    let beacon = get(headwater.http, "/status/images/beacon.gif?source=full", &[]);
    assert_eq!((beacon.status, beacon.body.len()), (200, 43));
    let begun = Instant::now();
    for client in &mut clients {
        assert_eq!(client.read_response().status, 200);
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "each is served as soon as one has ended: {:?}", begun.elapsed());
    headwater.wait_metric("headwater_pulls_waiting", &[], 0.0);
}

#[test]
fn who_leaves_while_it_waits_is_not_asked_for_at_the_origin() {
    let origin = Origin::with(|_, stream| {
        std::thread::sleep(Duration::from_millis(500));
        let _ = stream.write_all(&answer("200 OK", &[], "ok"));
        Then::Keep
    });
    let headwater = Headwater::before_with(&origin, "[limits]\nmax_in_flight = 1\nwait_timeout = \"9s\"\n");
    let mut first = Client::connect(headwater.http);
    first.send(request("GET", "/", &[]));
    wait_until("the first has arrived", || origin.requests().len() == 1);
    let mut leaving = Client::connect(headwater.http);
    leaving.send(request("GET", "/left", &[]));
    headwater.wait_metric("headwater_pulls_waiting", &[], 1.0);
    drop(leaving);
    headwater.wait_metric("headwater_pulls_waiting", &[], 0.0);
    assert_eq!(first.read_response().status, 200);
    assert!(headwater.wait_for_log(|line| line.contains("/left")).contains("\" 499 "));
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn one_connection_too_many_is_turned_away() {
    let (_origin, headwater) = before("[limits]\nmax_connections = 2\n");
    let mut first = Client::connect(headwater.http);
    let mut second = Client::connect(headwater.http);
    for client in [&mut first, &mut second] {
        client.send(request("GET", "/", &[]));
        assert_eq!(client.read_response().status, 200);
    }
    let mut third = Client::connect(headwater.http);
    third.send(request("GET", "/", &[]));
    let turned_away = third.try_read_response_to("GET").is_none_or(|got| got.status == 503);
    assert!(turned_away);
    headwater.wait_metric("headwater_connections_refused_total", &[], 1.0);
    drop(first);
    wait_until("there is room again", || {
        let mut next = Client::connect(headwater.http);
        next.send(request("GET", "/", &[]));
        next.try_read_response_to("GET").is_some_and(|got| got.status == 200)
    });
}

#[test]
fn a_chunk_that_says_it_is_too_large_is_refused_before_it_comes() {
    let origin = Origin::answering(answer("200 OK", &[], "ok"));
    let headwater = Headwater::before_with(&origin, "[limits]\nmax_body = \"1 KiB\"\n");
    let mut client = Client::connect(headwater.http);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\nx");
    assert_eq!(client.read_response().status, 413);
}
