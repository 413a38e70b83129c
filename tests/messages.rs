//! Requests and answers go through as they came: methods, targets, bodies, interim answers, trailers.

use headwater_testkit::{Client, Headwater, Origin, Recorded, Then, Wire, answer, exchange, get, request};
use std::time::Duration;

fn before(bytes: impl AsRef<[u8]>) -> (Origin, Headwater) {
    let origin = Origin::answering(bytes);
    let headwater = Headwater::before(&origin);
    (origin, headwater)
}

/// Answers with the body that was sent.
fn echo(request: &Recorded, stream: &mut dyn Wire) -> Then {
    let _ = stream.write_all(&answer("200 OK", &[], &request.body));
    Then::Keep
}

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n";

#[test]
fn the_origin_is_asked_in_http_1_1() {
    let (origin, headwater) = before(answer("200 OK", &[], "ok"));
    exchange(headwater.http, "GET /a HTTP/1.0\r\nHost: a\r\n\r\n");
    assert!(origin.last().head.starts_with("GET /a HTTP/1.1\r\n"), "{}", origin.last().head);
}

#[test]
fn an_http_1_0_client_gets_no_chunks() {
    let (_origin, headwater) = before(CHUNKED);
    for host in ["", "Host: a\r\n"] {
        let mut client = Client::connect(headwater.http);
        client.send(format!("GET / HTTP/1.0\r\n{host}\r\n"));
        let got = client.read_response();
        assert_eq!((got.header("Transfer-Encoding"), got.text().as_str()), (None, "hello world"), "{}", got.head);
        assert!(got.complete && client.is_closed());
    }
}

#[test]
fn an_http_1_0_client_may_keep_its_connection() {
    let (_origin, headwater) = before(answer("200 OK", &[], "ok"));
    let mut client = Client::connect(headwater.http);
    for _ in 0..3 {
        client.send("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n");
        let got = client.read_response();
        assert!(got.has_member("Connection", "keep-alive"), "{}", got.head);
        assert_eq!(got.text(), "ok");
    }
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    assert_eq!(client.read_response().text(), "ok");
    assert!(client.is_closed());
}

#[test]
fn a_chunked_answer_stays_chunked_and_whole() {
    let (_origin, headwater) = before(CHUNKED);
    let mut client = Client::connect(headwater.http);
    for _ in 0..3 {
        client.send(request("GET", "/", &[]));
        let got = client.read_response();
        assert_eq!((got.headers("Transfer-Encoding"), got.header("Content-Length")), (vec!["chunked"], None));
        assert!(got.complete && got.text() == "hello world");
    }
}

#[test]
fn an_answer_that_ends_with_its_connection_is_framed() {
    for version in ["1.0", "1.1"] {
        let origin = Origin::with(move |_, stream| {
            let _ = stream.write_all(format!("HTTP/{version} 200 OK\r\n\r\nall of it").as_bytes());
            Then::Close
        });
        let headwater = Headwater::before(&origin);
        let mut client = Client::connect(headwater.http);
        for _ in 0..2 {
            client.send(request("GET", "/", &[]));
            let got = client.read_response();
            assert_eq!(got.header("Transfer-Encoding"), Some("chunked"), "{}", got.head);
            assert!(got.complete && got.text() == "all of it");
        }
    }
}

#[test]
fn head_has_the_length_and_no_body() {
    let (origin, headwater) = before("HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n");
    let mut client = Client::connect(headwater.http);
    for _ in 0..3 {
        client.send(request("HEAD", "/", &[]));
        let got = client.read_response_to("HEAD");
        assert_eq!((got.status, got.header("Content-Length")), (200, Some("12345")), "{}", got.head);
    }
    assert_eq!(origin.last().method, "HEAD");
    assert_eq!(origin.connections(), 1, "a HEAD leaves the origin's connection in step");
}

#[test]
fn answers_without_a_body_have_none() {
    for (status, says_length) in
        [("204 No Content", ""), ("304 Not Modified", ""), ("304 Not Modified", "Content-Length: 99\r\n")]
    {
        let (origin, headwater) = before(format!("HTTP/1.1 {status}\r\n{says_length}X-A: 1\r\n\r\n"));
        let mut client = Client::connect(headwater.http);
        for _ in 0..3 {
            client.send(request("GET", "/", &[]));
            let got = client.read_response();
            assert_eq!(
                (got.status_line.as_str(), got.header("X-A")),
                (format!("HTTP/1.1 {status}").as_str(), Some("1"))
            );
            assert_eq!(got.header("Transfer-Encoding"), None);
        }
        assert_eq!(origin.connections(), 1);
    }
}

#[test]
fn ranges_pass_both_ways() {
    let headers = [("Content-Range", "bytes 2-5/10"), ("Content-Type", "text/plain"), ("ETag", "\"r\"")];
    let (origin, headwater) = before(answer("206 Partial Content", &headers, "cdef"));
    let got = get(headwater.http, "/", &[("Range", "bytes=2-5"), ("If-Range", "\"r\""), ("Accept-Encoding", "gzip")]);
    assert_eq!((got.status, got.text().as_str()), (206, "cdef"));
    for (name, value) in headers {
        assert_eq!(got.header(name), Some(value));
    }
    assert_eq!((origin.last().header("Range"), origin.last().header("If-Range")), (Some("bytes=2-5"), Some("\"r\"")));
}

#[test]
fn a_416_passes_with_its_range() {
    let (_origin, headwater) = before(answer("416 Range Not Satisfiable", &[("Content-Range", "bytes */10")], ""));
    let got = get(headwater.http, "/", &[("Range", "bytes=20-")]);
    assert_eq!((got.status, got.header("Content-Range")), (416, Some("bytes */10")));
}

#[test]
fn a_body_with_a_length_goes_up_as_it_came() {
    let origin = Origin::with(echo);
    let headwater = Headwater::before(&origin);
    let mut client = Client::connect(headwater.http);
    for length in [0, 1, 5_000, 1_000_000] {
        let body: Vec<u8> = (0..length).map(|i| (i * 7 % 251) as u8).collect();
        client.send(request("POST", "/", &[("Content-Length", &length.to_string())]));
        client.send(&body);
        assert_eq!(client.read_response().body, body);
        let seen = origin.last();
        assert_eq!(
            (seen.headers("Content-Length"), seen.has("Transfer-Encoding")),
            (vec![length.to_string().as_str()], false)
        );
        assert!(seen.complete && seen.body == body);
    }
}

#[test]
fn a_chunked_body_goes_up_in_chunks() {
    let origin = Origin::with(echo);
    let headwater = Headwater::before(&origin);
    let mut client = Client::connect(headwater.http);
    // Extensions, leading zeros and capitals are in order, and end here.
    for chunks in [
        "0\r\n\r\n".to_string(),
        "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n".into(),
        "05;name=value\r\nhello\r\n00;last\r\n\r\n".into(),
        "A;x=\"y z\"\r\n0123456789\r\na\r\n0123456789\r\n000\r\n\r\n".into(),
        format!("{:X}\r\n{}\r\n0\r\n\r\n", 300_000, "z".repeat(300_000)),
    ] {
        client.send(request("PUT", "/", &[("Transfer-Encoding", "chunked")]));
        client.send(&chunks);
        let got = client.read_response();
        let seen = origin.last();
        assert_eq!((seen.headers("Transfer-Encoding"), seen.has("Content-Length")), (vec!["chunked"], false));
        assert!(seen.complete && seen.body == got.body);
        let letters = chunks.split("\r\n").skip(1).step_by(2).collect::<String>();
        assert_eq!(String::from_utf8_lossy(&got.body), letters);
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_request_without_a_body_gets_no_framing() {
    let (origin, headwater) = before(answer("200 OK", &[], "ok"));
    get(headwater.http, "/", &[]);
    assert!(!origin.last().has("Content-Length") && !origin.last().has("Transfer-Encoding"), "{}", origin.last().head);
}

#[test]
fn a_post_without_a_body_says_so() {
    let (origin, headwater) = before(answer("200 OK", &[], "ok"));
    exchange(headwater.http, request("POST", "/", &[("Content-Length", "0")]));
    assert_eq!(
        origin.last().header("Content-Length"),
        Some("0"),
        "some apps wait for a body that is not said to be empty"
    );
}

#[test]
fn an_upload_reaches_the_origin_while_it_is_still_going_on() {
    let origin = Origin::with_heads(|_, stream| {
        let mut first = [0; 5];
        let _ = stream.read_exact(&mut first);
        let _ = stream.write_all(&answer("200 OK", &[("Connection", "close")], first));
        Then::Close
    });
    let headwater = Headwater::before(&origin);
    let mut client = Client::connect(headwater.http);
    client.send(request("POST", "/", &[("Content-Length", "10")]));
    // The kit's origin reads ahead, so the body must not come with the head.
    std::thread::sleep(Duration::from_millis(200));
    client.send("first");
    assert_eq!(client.read_response().text(), "first", "the other half was never sent");
}

#[test]
fn expect_100_continue_is_the_origins_to_answer() {
    let origin = Origin::with(echo);
    let headwater = Headwater::before(&origin);
    let mut client = Client::connect(headwater.http);
    for framing in [("Content-Length", "4"), ("Transfer-Encoding", "chunked")] {
        client.send(request("POST", "/", &[framing, ("Expect", "100-continue")]));
        assert_eq!(client.read_response().status, 100);
        client.send(if framing.1 == "4" { "body" } else { "4\r\nbody\r\n0\r\n\r\n" });
        assert_eq!(client.read_response().text(), "body");
        assert_eq!(origin.last().header("Expect"), Some("100-continue"));
    }
}

#[test]
fn an_app_that_knows_no_100_gets_the_body_all_the_same() {
    let origin = Origin::with_heads(|_, stream| {
        let mut body = [0; 2];
        let _ = stream.read_exact(&mut body);
        let _ = stream.write_all(&answer("200 OK", &[], "ok"));
        Then::Close
    });
    let proxy = Headwater::start(&origin.config());
    let mut client = Client::connect(proxy.http);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    let started = std::time::Instant::now();
    assert_eq!(client.read_response().status, 100);
    assert!(started.elapsed() < Duration::from_secs(4));
    client.send("hi");
    assert_eq!(client.read_response().text(), "ok");
}

#[test]
fn an_origin_that_refuses_is_heard_before_the_body_is_sent() {
    let origin = Origin::with_heads(|_, stream| {
        let _ = stream.write_all(&answer("401 Unauthorized", &[("Connection", "close")], "no"));
        Then::Close
    });
    let headwater = Headwater::before(&origin);
    let mut client = Client::connect(headwater.http);
    client.send(request("POST", "/", &[("Content-Length", "1000000"), ("Expect", "100-continue")]));
    let got = client.read_response();
    assert_eq!((got.status, got.text().as_str()), (401, "no"), "no 100 came first");
    assert!(client.is_closed(), "nobody knows whether the body will come");
}

#[test]
fn no_100_when_413_is_due() {
    let (origin, headwater) = before(answer("200 OK", &[], "ok"));
    drop(headwater);
    let headwater = Headwater::before_with(&origin, "[limits]\nmax_body = \"1 KiB\"\n");
    let mut client = Client::connect(headwater.http);
    client.send(request("POST", "/", &[("Content-Length", "1025"), ("Expect", "100-continue")]));
    assert_eq!(client.read_response().status, 413);
    assert!(client.is_closed());
    assert_eq!(origin.requests().len(), 0);
}

#[test]
fn early_hints_reach_http_1_1_clients_alone() {
    let (_origin, headwater) = before(
        "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nLink: </b.js>; rel=preload\r\n\
         \r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    let mut client = Client::connect(headwater.http);
    for _ in 0..2 {
        client.send(request("GET", "/", &[]));
        assert_eq!(client.read_response().status, 102);
        let hints = client.read_response();
        assert_eq!((hints.status, hints.headers("Link").len()), (103, 2));
        assert_eq!(client.read_response().text(), "ok");
    }
    let got = exchange(headwater.http, "GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    assert_eq!((got.status, got.text().as_str()), (200, "ok"));
}

#[test]
fn trailers_come_down() {
    let (_origin, headwater) = before(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 42\r\nx-other: 1\r\n\r\n",
    );
    let got = get(headwater.http, "/", &[("TE", "trailers")]);
    assert!(got.complete);
    assert_eq!(got.trailers, [("X-Sum".into(), "42".into()), ("x-other".into(), "1".into())]);
}

#[test]
fn trailers_go_up() {
    let origin = Origin::with(echo);
    let headwater = Headwater::before(&origin);
    let head = request("POST", "/", &[("Transfer-Encoding", "chunked"), ("Trailer", "X-Sum")]);
    exchange(headwater.http, format!("{head}2\r\nok\r\n0\r\nX-Sum: 42\r\n\r\n"));
    assert_eq!(origin.last().trailers, [("X-Sum".into(), "42".into())]);
}

#[test]
fn a_trailer_cannot_pass_for_a_header_that_counts() {
    let origin = Origin::with(echo);
    let headwater = Headwater::before(&origin);
    let head = request("POST", "/", &[("Transfer-Encoding", "chunked")]);
    let trailers = "Content-Length: 99\r\nTransfer-Encoding: chunked\r\nHost: other\r\nX-Ok: 1\r\n\
                    X-CDN-Provider: fastly\r\nX-Forwarded-For: 192.0.2.1\r\nX_Real_IP: 192.0.2.1\r\n";
    exchange(headwater.http, format!("{head}2\r\nok\r\n0\r\n{trailers}\r\n"));
    assert_eq!(origin.last().trailers, [("X-Ok".into(), "1".into())]);
}

#[test]
fn odd_targets_go_through_as_they_came() {
    let (origin, headwater) = before(answer("200 OK", &[], "ok"));
    for target in [
        "/a%2Fb",
        "/a%2fb/..%2Fc",
        "//double//slash",
        "/a/../b/./c",
        "/a?b?c=d&&=",
        "/?",
        "/a;v=1,2",
        "/%41%7e~",
        "/%zz%",
        "/a?q=%00%0a",
        "/(x)*'!$@:",
        "/a?url=http://other/",
        "/caf%C3%A9",
    ] {
        assert_eq!(get(headwater.http, target, &[]).status, 200, "{target}");
        assert_eq!(origin.last().target, target);
    }
}

#[test]
fn a_url_for_a_target_becomes_a_path() {
    let (origin, headwater) = before(answer("200 OK", &[], "ok"));
    for (target, path) in
        [("http://shop.example/a?b", "/a?b"), ("http://shop.example", "/"), ("HTTP://Shop.Example/", "/")]
    {
        assert_eq!(get(headwater.http, target, &[]).status, 200, "{target}");
        assert_eq!((origin.last().target.as_str(), origin.last().header("Host")), (path, Some("shop.example")));
    }
}

#[test]
fn any_method_goes_through() {
    let (origin, headwater) = before(answer("200 OK", &[], "ok"));
    for method in ["OPTIONS", "DELETE", "PATCH", "PURGE", "PROPFIND", "M-SEARCH"] {
        assert_eq!(exchange(headwater.http, request(method, "/x", &[])).status, 200);
        assert_eq!(origin.last().method, method);
    }
    assert_eq!(exchange(headwater.http, request("OPTIONS", "*", &[])).status, 200);
    assert_eq!((origin.last().method.as_str(), origin.last().target.as_str()), ("OPTIONS", "*"));
}

#[test]
fn the_reason_stays_also_where_there_is_none() {
    let (_origin, headwater) = before(answer("299 Very Fine", &[], ""));
    assert_eq!(get(headwater.http, "/", &[]).status_line, "HTTP/1.1 299 Very Fine");
    let (_origin, headwater) = before("HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(get(headwater.http, "/", &[]).text(), "ok");
}

#[test]
fn an_answer_that_does_not_wait_for_a_large_upload_says_that_the_connection_ends() {
    let origin = Origin::with_heads(|_, stream| {
        let _ = stream.write_all(&answer("403 Forbidden", &[], "no"));
        Then::Close
    });
    let headwater = Headwater::before(&origin);
    let mut client = Client::connect(headwater.http);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\nbegin");
    let got = client.read_response();
    assert_eq!((got.status, got.header("Connection")), (403, Some("close")), "{}", got.head);
}

#[test]
fn every_expectation_on_every_line_is_known_or_refused() {
    let origin = Origin::answering(answer("200 OK", &[], "ok"));
    let headwater = Headwater::before(&origin);
    let lines = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nExpect: tea\r\nContent-Length: 1\r\n\r\nx";
    assert_eq!(exchange(headwater.http, lines).status, 417);
    assert_eq!(origin.requests().len(), 0);
}
