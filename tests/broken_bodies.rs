//! An answer that breaks off half way breaks off for the client too, and never looks whole.

use headwater_testkit::{
    Client, Headwater, Origin, Recorded, Response, Then, Wire, exchange, get, request, wait_until,
};
use std::time::{Duration, Instant};

const SIZED: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100000\r\n\r\n";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Sends a head and 20 kB of a body, and then does as it is told.
fn halfway(head: &'static str, then: Then, pause: Duration) -> Origin {
    Origin::with(move |_, stream| {
        let _ = stream.write_all(head.as_bytes());
        let piece = "some of the body that the head has announced ".repeat(445);
        let _ = if head == CHUNKED {
            stream.write_all(format!("{:x}\r\n{piece}\r\n", piece.len()).as_bytes())
        } else {
            stream.write_all(piece.as_bytes())
        };
        std::thread::sleep(pause);
        then
    })
}

fn assert_broken(got: &Response, told: &str) {
    assert_eq!(got.status, 200, "{told}");
    assert!(!got.complete, "{told}: the answer looks whole, with {} bytes of body\n{}", got.body.len(), got.head);
}

#[test]
fn a_short_body_never_looks_whole() {
    for head in [SIZED, CHUNKED] {
        for then in [Then::Close, Then::Reset] {
            let origin = halfway(head, then, Duration::from_millis(50));
            let headwater = Headwater::before(&origin);
            for accepted in ["identity", "gzip"] {
                let told = format!("{then:?} {accepted} {head}");
                assert_broken(&get(headwater.http, "/", &[("Accept-Encoding", accepted)]), &told);
                let raw = format!("GET / HTTP/1.0\r\nHost: a\r\nAccept-Encoding: {accepted}\r\n\r\n");
                assert_broken(&exchange(headwater.http, raw), &format!("HTTP/1.0 {told}"));
            }
            headwater.wait_metric("headwater_upstream_errors_total", &[("reason", "body_broken")], 4.0);
        }
    }
}

#[test]
fn a_connection_with_a_broken_answer_is_of_no_further_use() {
    let origin = halfway(SIZED, Then::Close, Duration::ZERO);
    let headwater = Headwater::before(&origin);
    let mut client = Client::connect(headwater.http);
    client.send(request("GET", "/1", &[]) + &request("GET", "/2", &[]));
    assert_broken(&client.read_response(), "the first of two");
    assert!(client.try_read_response_to("GET").is_none());
}

#[test]
fn what_had_come_before_the_break_is_passed_on() {
    let origin = halfway(SIZED, Then::Close, Duration::from_millis(300));
    let headwater = Headwater::before(&origin);
    let got = get(headwater.http, "/", &[]);
    assert_eq!(got.body.len(), 20_025);
}

#[test]
fn a_chunk_that_is_no_chunk_breaks_the_answer() {
    for rest in
        ["xyz\r\nmore\r\n0\r\n\r\n", "-1\r\n", "4\r\nmore0\r\n\r\n", "4\nmore\r\n0\r\n\r\n", "FFFFFFFFFFFFFFFFFF\r\n"]
    {
        let origin = Origin::with(move |_, stream| {
            let _ = stream.write_all(format!("{CHUNKED}4\r\nsome\r\n{rest}").as_bytes());
            Then::Keep
        });
        let headwater = Headwater::before(&origin);
        let mut client = Client::connect(headwater.http);
        client.send(request("GET", "/", &[]));
        // Where the bad chunk comes with the head, the proxy may still say what is wrong.
        let got = client.read_response();
        assert!(got.status == 502 || !got.complete, "{rest:?}: {}{}", got.head, got.text());
        let errors = headwater.metrics().value("headwater_upstream_errors_total", &[]);
        assert_eq!(errors, 1.0, "{rest:?}");
    }
}

#[test]
fn a_broken_answer_is_logged_as_one() {
    let origin = halfway(CHUNKED, Then::Close, Duration::ZERO);
    let headwater = Headwater::before(&origin);
    get(headwater.http, "/broken", &[]);
    let line = headwater.wait_for_log(|line| line.contains("/broken"));
    assert!(line.contains(" 200 20025 ") && line.contains("end=upstream"), "{line}");
}

#[test]
fn an_origin_that_falls_silent_in_a_body_is_ended() {
    for head in [SIZED, CHUNKED] {
        let origin = halfway(head, Then::Keep, Duration::ZERO);
        let headwater = Headwater::before_with(&origin, "[limits]\nbody_idle_timeout = \"600ms\"\n");
        for (accepted, path) in [("identity", "/plain"), ("gzip", "/gzip")] {
            let begun = Instant::now();
            assert_broken(&get(headwater.http, path, &[("Accept-Encoding", accepted)]), accepted);
            assert!(begun.elapsed() > Duration::from_millis(500) && begun.elapsed() < Duration::from_secs(4));
            let line = headwater.wait_for_log(|line| line.contains(path));
            assert!(line.contains("end=timeout"), "{line}");
        }
        headwater.wait_metric("headwater_upstream_errors_total", &[("reason", "body_idle")], 2.0);
        wait_until("the origin's connections are closed", || origin.open() == 0);
    }
}

fn drips(_: &Recorded, stream: &mut dyn Wire) -> Then {
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(250));
        let _ = stream.write_all(b"1\r\nx\r\n");
    }
    let _ = stream.write_all(b"0\r\n\r\n");
    Then::Keep
}

#[test]
fn a_download_that_is_slow_and_alive_is_spared() {
    let origin = Origin::with(drips);
    let limits = "response_timeout = \"700ms\"\n[limits]\nbody_idle_timeout = \"700ms\"\nheader_timeout = \"700ms\"\n";
    let headwater = Headwater::before_with(&origin, limits);
    for accepted in ["identity", "gzip"] {
        let got = get(headwater.http, "/", &[("Accept-Encoding", accepted)]);
        assert!(got.complete, "{}", got.head);
        let body = if got.header("Content-Encoding").is_some() { got.gunzip() } else { got.body };
        assert_eq!(body, b"xxxxxxxxxx", "{accepted}");
    }
}

/// Sends without end, until nobody listens.
fn endless(_: &Recorded, stream: &mut dyn Wire) -> Then {
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n");
    while stream.write_all(&[b'x'; 65536]).is_ok() {}
    Then::Close
}

#[test]
fn a_client_that_leaves_in_the_middle_frees_the_origin() {
    let origin = Origin::with(endless);
    let headwater = Headwater::before(&origin);
    let mut client = Client::connect(headwater.http);
    client.send(request("GET", "/left", &[]));
    client.read_head();
    client.read_bytes(1_000_000);
    drop(client);
    wait_until("the origin's connection is closed", || origin.open() == 0);
    let line = headwater.wait_for_log(|line| line.contains("/left"));
    assert!(line.contains("end=downstream"), "{line}");
    headwater.wait_metric("headwater_upstream_connections", &[("state", "open")], 0.0);
    assert_eq!(headwater.metrics().value("headwater_upstream_errors_total", &[]), 0.0, "it was not the origin's fault");
}

#[test]
fn a_client_that_leaves_while_the_origin_pauses_frees_it() {
    let origin = Origin::with(|_, stream| {
        let _ = stream.write_all(format!("{CHUNKED}4\r\nsome\r\n").as_bytes());
        // Ends when the proxy closes.
        let _ = stream.read(&mut [0]);
        Then::Close
    });
    let headwater = Headwater::before(&origin);
    let mut client = Client::connect(headwater.http);
    client.send(request("GET", "/", &[]));
    client.read_head();
    drop(client);
    wait_until("the origin's connection is closed", || origin.open() == 0);
}

#[test]
fn a_client_that_takes_nothing_is_ended() {
    let origin = Origin::with(endless);
    let headwater = Headwater::before_with(&origin, "[limits]\nbody_idle_timeout = \"700ms\"\n");
    let mut client = Client::connect(headwater.http);
    client.send(request("GET", "/stuck", &[]));
    let line = headwater.wait_for_log(|line| line.contains("/stuck"));
    assert!(line.contains("end=timeout"), "{line}");
    wait_until("the origin's connection is closed", || origin.open() == 0);
    assert_eq!(headwater.metrics().value("headwater_upstream_errors_total", &[]), 0.0, "it was not the origin's fault");
    drop(client);
}
