//! Origins that fail before there is an answer, and what a failing origin costs.

use headwater_testkit::{Client, Headwater, Origin, Recorded, Then, Wire, answer, get, request, wait_until};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

fn server(address: impl std::fmt::Display) -> String {
    format!("[origin]\nservers = [\"{address}\"]\n")
}

/// A pull gets this status and a page that nobody stores; the origin's error is counted under one of these reasons.
fn fails(headwater: &Headwater, status: u16, reasons: &[&str]) {
    let got = get(headwater.http, "/a.css", &[("Accept", "text/html")]);
    assert_eq!((got.status, got.header("Cache-Control")), (status, Some("no-store")), "{}", got.head);
    assert!(got.complete && got.text().contains("<html"), "{}", got.head);
    let metrics = headwater.metrics();
    let count = |name| reasons.iter().map(|reason| metrics.value(name, &[("reason", reason)])).sum::<f64>();
    assert_eq!(count("headwater_upstream_errors_total"), 1.0, "{reasons:?}\n{}", metrics.0);
    assert_eq!(count("headwater_whoopsie_total"), 1.0, "{reasons:?}\n{}", metrics.0);
    assert_eq!(metrics.value("headwater_upstream_errors_total", &[]), 1.0, "{}", metrics.0);
    headwater.wait_metric("headwater_pulls_total", &[("code", "5xx"), ("rule", "static")], 1.0);
}

fn fails_after(
    behave: impl Fn(&Recorded, &mut dyn Wire) -> Then + Send + Sync + 'static,
    status: u16,
    reasons: &[&str],
) {
    let origin = Origin::with(behave);
    fails(&Headwater::before_with(&origin, "response_timeout = \"600ms\"\n"), status, reasons);
}

#[test]
fn an_origin_that_refuses_is_502() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    fails(&Headwater::start(&server(nobody)), 502, &["connect"]);
    fails(&Headwater::start(&server("unix:/nowhere/at/all.sock")), 502, &["connect"]);
}

#[test]
fn an_origin_that_takes_no_connection_is_504() {
    let origin = Origin::deaf();
    let begun = Instant::now();
    fails(&Headwater::start(&(server(origin.address) + "connect_timeout = \"500ms\"\n")), 504, &["connect_timeout"]);
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

#[test]
fn an_origin_that_never_answers_is_504() {
    let begun = Instant::now();
    fails_after(
        |_, stream| {
            let _ = stream.read(&mut [0]);
            Then::Close
        },
        504,
        &["first_byte_timeout"],
    );
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

#[test]
fn an_origin_that_closes_without_a_word_is_502() {
    fails_after(|_, _| Then::Close, 502, &["closed_before_head"]);
    fails_after(|_, _| Then::Reset, 502, &["closed_before_head"]);
}

#[test]
fn half_a_head_is_502() {
    for half in ["HTTP/1.1 200 OK\r\nContent-Le", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", "H"] {
        let behave = move |_: &Recorded, stream: &mut dyn Wire| {
            let _ = stream.write_all(half.as_bytes());
            Then::Close
        };
        fails_after(behave, 502, &["closed_before_head", "bad_head"]);
    }
}

#[test]
fn half_a_head_and_then_silence_is_an_error_in_time() {
    let begun = Instant::now();
    let origin = Origin::with(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Le");
        let _ = stream.read(&mut [0]);
        Then::Close
    });
    let headwater = Headwater::before_with(&origin, "response_timeout = \"600ms\"\n");
    assert!([502, 504].contains(&get(headwater.http, "/", &[]).status));
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

#[test]
fn a_head_that_drips_is_an_error_in_time() {
    let begun = Instant::now();
    let origin = Origin::with(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nX: ");
        while stream.write_all(b"y").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
        Then::Close
    });
    let headwater = Headwater::before_with(&origin, "response_timeout = \"600ms\"\n");
    assert!([502, 504].contains(&get(headwater.http, "/", &[]).status));
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

#[test]
fn a_head_that_is_no_head_is_502() {
    for garbage in [
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "<html>hello</html>\r\n\r\n",
        "\0\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x64\r\n\r\n",
    ] {
        let behave = move |_: &Recorded, stream: &mut dyn Wire| {
            let _ = stream.write_all(garbage.as_bytes());
            Then::Keep
        };
        fails_after(behave, 502, &["bad_head"]);
    }
}

#[test]
fn a_head_of_a_megabyte_is_502() {
    for ends in ["\r\n\r\n", ""] {
        let behave = move |_: &Recorded, stream: &mut dyn Wire| {
            let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\nX: {}{ends}", "x".repeat(1 << 20)).as_bytes());
            Then::Keep
        };
        fails_after(behave, 502, &["bad_head"]);
    }
}

#[test]
fn an_answer_that_is_framed_in_two_ways_is_502() {
    for framing in [
        "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n",
        "Content-Length: 2\r\nContent-Length: 3\r\n",
        "Content-Length: 2, 3\r\n",
        "Content-Length: two\r\n",
        "Content-Length: -2\r\n",
        "Content-Length: +2\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    ] {
        let behave = move |_: &Recorded, stream: &mut dyn Wire| {
            let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\n{framing}\r\n2\r\nok\r\n0\r\n\r\n").as_bytes());
            Then::Keep
        };
        fails_after(behave, 502, &["bad_head"]);
    }
}

#[test]
fn an_origin_that_closes_during_an_upload_is_502() {
    let origin = Origin::with_heads(|_, _| Then::Reset);
    let headwater = Headwater::before(&origin);
    let mut client = Client::connect(headwater.http);
    client.send(request("POST", "/", &[("Content-Length", "100000")]));
    client.send("x".repeat(50_000));
    let got = client.read_response();
    assert_eq!(got.status, 502, "{}", got.head);
    assert!(got.complete);
}

/// Reads until the other side has gone, and says so.
fn watching(gone: Arc<AtomicBool>) -> impl Fn(&Recorded, &mut dyn Wire) -> Then + Send + Sync {
    move |_, stream| {
        if matches!(stream.read(&mut [0]), Ok(0)) {
            gone.store(true, SeqCst);
        }
        Then::Close
    }
}

#[test]
fn a_client_that_leaves_before_the_answer_frees_the_origin() {
    let gone = Arc::new(AtomicBool::new(false));
    let origin = Origin::with(watching(gone.clone()));
    let headwater = Headwater::before(&origin);
    let mut client = Client::connect(headwater.http);
    client.send(request("GET", "/left", &[]));
    wait_until("the origin is asked", || origin.requests().len() == 1);
    drop(client);
    wait_until("the origin's connection is closed", || gone.load(SeqCst));
    let line = headwater.wait_for_log(|line| line.contains("/left"));
    assert!(line.contains("end=downstream"), "{line}");
}

/// Whether the page is there long before a stubborn origin would be done.
fn is_quick(begun: Instant) -> bool {
    begun.elapsed() < Duration::from_secs(3)
}

#[test]
fn a_replaced_error_keeps_the_origins_connection() {
    let headers = [("Content-Type", "text/html")];
    let sized = answer("500 Internal Server Error", &headers, "a stack trace ".repeat(500));
    let chunked =
        b"HTTP/1.1 503 Service Unavailable\r\nTransfer-Encoding: chunked\r\n\r\n3\r\noh!\r\n4\r\nbye!\r\n0\r\n\r\n"
            .to_vec();
    let empty = answer("502 Bad Gateway", &[], "");
    for bytes in [sized, chunked, empty] {
        let origin = Origin::answering(bytes);
        let headwater = Headwater::before(&origin);
        let mut client = Client::connect(headwater.http);
        for _ in 0..10 {
            client.send(request("GET", "/", &[("Accept", "text/html")]));
            let got = client.read_response();
            assert!(got.status >= 500 && got.text().contains("<html"), "{}", got.head);
            // The rest is read after the page has been sent.
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!((origin.requests().len(), origin.connections()), (10, 1));
    }
}

#[test]
fn an_endless_error_is_not_read_to_its_end() {
    let origin = Origin::with(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 1000000000\r\n\r\n");
        while stream.write_all(&[b'x'; 65536]).is_ok() {}
        Then::Close
    });
    let headwater = Headwater::before(&origin);
    let begun = Instant::now();
    let mut client = Client::connect(headwater.http);
    for _ in 0..3 {
        client.send(request("GET", "/", &[]));
        assert_eq!(client.read_response().status, 500);
    }
    assert!(is_quick(begun), "{:?}", begun.elapsed());
    wait_until("the origin's connections are closed", || origin.open() == 0);
}

#[test]
fn an_error_that_hesitates_does_not_hold_up_the_page() {
    let origin = Origin::with(|_, stream| {
        let _ =
            stream.write_all(b"HTTP/1.1 500 Internal Server Error\r\nTransfer-Encoding: chunked\r\n\r\n2\r\noh\r\n");
        let _ = stream.read(&mut [0]);
        Then::Close
    });
    let headwater = Headwater::before(&origin);
    let begun = Instant::now();
    assert_eq!(get(headwater.http, "/", &[]).status, 500);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    wait_until("the origin's connection is closed", || origin.open() == 0);
}

#[test]
fn the_page_does_not_inherit_the_errors_encoding() {
    let headers = [
        ("Content-Type", "text/html"),
        ("Content-Encoding", "gzip"),
        ("ETag", "\"e\""),
        ("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("Set-Cookie", "kept=1"),
    ];
    let origin = Origin::answering(answer("500 Internal Server Error", &headers, "not really gzip"));
    let headwater = Headwater::before(&origin);
    let plain = get(headwater.http, "/", &[("Accept", "text/html")]);
    assert_eq!(plain.header("Content-Encoding"), None, "{}", plain.head);
    assert!(plain.text().contains("<html"));
    assert_eq!((plain.header("ETag"), plain.header("Last-Modified")), (None, None), "{}", plain.head);
    let gzipped = get(headwater.http, "/", &[("Accept", "text/html"), ("Accept-Encoding", "gzip")]);
    assert_eq!(gzipped.headers("Content-Encoding"), ["gzip"]);
    assert!(String::from_utf8(gzipped.gunzip()).unwrap().contains("<html"));
    assert_eq!(plain.header("Set-Cookie"), Some("kept=1"));
}
