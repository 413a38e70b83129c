//! What the app sees, what the client gets, and that nothing is lost between them.

use headwater_testkit::{Client, Headwater, Origin, Recorded, Then, exchange, get, request, wait_until};
use std::time::{Duration, Instant};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Sends one request through a proxy; what the app saw.
fn seen(bytes: &str) -> Recorded {
    let origin = Origin::answering(OK);
    let proxy = Headwater::start(&origin.config());
    let answer = exchange(proxy.http, bytes);
    assert_eq!(answer.status, 200, "{bytes:?}: {}", answer.text());
    origin.last()
}

fn answered(answer: &'static str, bytes: &str) -> headwater_testkit::Response {
    let origin = Origin::answering(answer);
    let proxy = Headwater::start(&origin.config());
    exchange(proxy.http, bytes)
}

#[test]
fn targets_reach_the_app_as_they_came() {
    for target in ["/", "/a%2Fb", "/a%2fb/../c", "//x", "/%ff?x=%00&y", "/?", "/a?b?c", "/ü", "/a;b=c", "/a\\b", "/%"]
    {
        assert_eq!(seen(&request("GET", target, &[])).target, target);
    }
    let absolute = seen("GET http://Shop.example/x?y HTTP/1.1\r\nHost: shop.Example\r\n\r\n");
    assert_eq!((absolute.target.as_str(), absolute.header("Host")), ("/x?y", Some("shop.Example")));
    assert_eq!(seen("GET http://a HTTP/1.1\r\nHost: a\r\n\r\n").target, "/");
    assert_eq!(seen("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").target, "*");
}

#[test]
fn headers_keep_their_order_and_repetition_both_ways() {
    let app = seen(&request("GET", "/", &[("B", "1"), ("A", "2"), ("b", "3"), ("Cookie", "x=1; y=2")]));
    let order: Vec<&str> =
        app.headers.iter().map(|(name, _)| name.as_str()).filter(|n| ["A", "B", "b"].contains(n)).collect();
    assert_eq!(order, ["B", "A", "b"]);
    let answer = answered(
        "HTTP/1.1 200 Fine\r\nSet-Cookie: a=1\r\nX: y\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n",
        &request("GET", "/", &[]),
    );
    assert_eq!(answer.headers("Set-Cookie"), ["a=1", "b=2"]);
    assert!(answer.status_line.ends_with("200 Fine"));
}

#[test]
fn the_app_is_told_who_asked_for_what_and_through_whom() {
    let app = seen(&request("GET", "/", &[("Via", "1.1 cdn")]));
    assert_eq!(app.header("Host"), Some("shop.example"));
    assert_eq!(app.headers("Via"), ["1.1 cdn", "1.1 headwater"]);
    assert_eq!(app.header("X-Forwarded-For"), Some("127.0.0.1"));
    assert_eq!(app.header("X-Forwarded-Proto"), Some("http"));
    assert_eq!(app.header("X-Forwarded-Host"), Some("shop.example"));
    assert_eq!(app.header("Forwarded"), Some("for=127.0.0.1;host=\"shop.example\";proto=http"));
    assert_eq!(app.header("X-Request-Id").map(str::len), Some(32));
}

#[test]
fn connection_cannot_take_away_what_we_say() {
    let app = seen(&request("GET", "/", &[("Connection", "X-Forwarded-For, X-Real-IP, Host, X-Request-Id, Via")]));
    for name in ["X-Forwarded-For", "X-Real-IP", "Host", "X-Request-Id", "Via"] {
        assert_eq!(app.headers(name).len(), 1, "{name}\n{}", app.head);
    }
}

#[test]
fn hop_by_hop_fields_of_an_answer_end_here() {
    let answer = answered(
        "HTTP/1.1 200 OK\r\nConnection: X-One, keep-alive\r\nConnection: X-Two\r\nX-One: 1\r\nX-Two: 2\r\nX-Three: 3\r\n\
         Keep-Alive: timeout=5\r\nX-CDN-Provider: fastly\r\nContent-Length: 0\r\n\r\n",
        &request("GET", "/", &[]),
    );
    for name in ["X-One", "X-Two", "Keep-Alive", "Connection", "X-CDN-Provider"] {
        assert!(answer.header(name).is_none(), "{name}");
    }
    assert_eq!(answer.header("X-Three"), Some("3"));
}

#[test]
fn the_servers_own_name_is_sent_where_the_host_is_not_kept() {
    let origin = Origin::answering(OK);
    let proxy = Headwater::start(&format!("{}preserve_host = false\n", origin.config()));
    get(proxy.http, "/", &[]);
    assert_eq!(origin.last().header("Host"), Some(origin.address.to_string().as_str()));
    assert_eq!(origin.last().header("X-Forwarded-Host"), Some("shop.example"));
}

#[test]
fn connections_are_kept_as_each_side_asks() {
    let origin = Origin::answering(OK);
    let proxy = Headwater::start(&origin.config());
    let mut client = Client::connect(proxy.http);
    for _ in 0..3 {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = client.read_response();
        assert!(answer.text() == "ok" && answer.header("Connection").is_none());
    }
    client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(client.read_response().header("Connection"), Some("keep-alive"));
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_eq!(client.read_response().header("Connection"), Some("close"));
    assert!(client.is_closed());
    let mut old = Client::connect(proxy.http);
    old.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(old.read_response().text(), "ok");
    assert!(old.is_closed());
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let origin = Origin::with(|request, stream| {
        let _ = stream.write_all(
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}", request.target.len(), request.target).as_bytes(),
        );
        Then::Keep
    });
    let proxy = Headwater::start(&origin.config());
    let mut client = Client::connect(proxy.http);
    client.send((0..20).map(|n| request("GET", &format!("/{n}"), &[])).collect::<String>());
    for n in 0..20 {
        assert_eq!(client.read_response().text(), format!("/{n}"));
    }
}

#[test]
fn answers_without_a_body_have_none() {
    let head = answered("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n", &request("HEAD", "/", &[]));
    assert_eq!(head.header("Content-Length"), Some("1234"));
    let none = answered("HTTP/1.1 204 No Content\r\n\r\n", &request("GET", "/", &[]));
    assert!(none.header("Content-Length").is_none() && none.header("Transfer-Encoding").is_none());
    let same =
        answered("HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 99\r\n\r\n", &request("GET", "/", &[]));
    assert_eq!((same.status, same.header("Content-Length")), (304, Some("99")));
    let empty = answered("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", &request("GET", "/", &[]));
    assert_eq!((empty.header("Content-Length"), empty.complete), (Some("0"), true));
}

#[test]
fn bodies_and_trailers_pass_in_chunks_both_ways() {
    let origin = Origin::with(|request, stream| {
        let body = String::from_utf8_lossy(&request.body);
        let sum = request.trailers.first().map_or("-", |(_, value)| value);
        let answer = format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n{:x}\r\n{body}\r\n0\r\nX-Sum: {sum}\r\nContent-Length: 7\r\n\r\n",
            body.len()
        );
        let _ = stream.write_all(answer.as_bytes());
        Then::Keep
    });
    let proxy = Headwater::start(&origin.config());
    let mut client = Client::connect(proxy.http);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\nX-Sum: 5\r\n\r\n");
    let answer = client.read_response();
    assert_eq!(answer.text(), "abcde");
    assert_eq!(answer.trailers, [("X-Sum".to_string(), "5".to_string())]);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(client.read_response().text(), "hello");
    // HTTP/1.0 has no chunks: the body ends with the connection.
    client.send("POST / HTTP/1.0\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nhi");
    let answer = client.read_response();
    assert_eq!((answer.text().as_str(), answer.header("Connection")), ("hi", Some("close")));
}

#[test]
fn a_post_without_a_body_says_so() {
    let app = seen("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(app.header("Content-Length"), Some("0"));
}

#[test]
fn expect_100_continue_is_the_apps_to_answer() {
    let origin = Origin::answering(OK);
    let proxy = Headwater::start(&format!("{}[limits]\nmax_body = \"10 B\"\n", origin.config()));
    let mut client = Client::connect(proxy.http);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    assert_eq!(client.read_response().status, 100);
    client.send("hi");
    assert_eq!(client.read_response().status, 200);
    assert_eq!((origin.last().header("Expect"), origin.last().body.as_slice()), (Some("100-continue"), &b"hi"[..]));
    client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 11\r\n\r\n");
    assert_eq!(client.read_response().status, 413, "no 100 before a 413");
}

#[test]
fn an_app_that_knows_no_100_gets_the_body_all_the_same() {
    let origin = Origin::with_heads(|_, stream| {
        let mut body = [0; 2];
        let _ = stream.read_exact(&mut body);
        let _ = stream.write_all(OK.as_bytes());
        Then::Close
    });
    let proxy = Headwater::start(&origin.config());
    let mut client = Client::connect(proxy.http);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    let started = Instant::now();
    assert_eq!(client.read_response().status, 100);
    assert!(started.elapsed() < Duration::from_secs(4));
    client.send("hi");
    assert_eq!(client.read_response().text(), "ok");
}

#[test]
fn early_hints_reach_those_who_know_them() {
    let origin = Origin::answering(
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    let proxy = Headwater::start(&origin.config());
    let mut client = Client::connect(proxy.http);
    client.send(request("GET", "/", &[]));
    let hints = client.read_response();
    assert_eq!((hints.status, hints.header("Link")), (103, Some("</a.css>; rel=preload")));
    assert_eq!(client.read_response().text(), "ok");
    assert_eq!(exchange(proxy.http, "GET / HTTP/1.0\r\n\r\n").status, 200);
}

#[test]
fn an_answer_may_come_while_the_body_still_goes_up() {
    let origin = Origin::with_heads(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        let mut byte = [0];
        for _ in 0..5 {
            if stream.read_exact(&mut byte).is_err() {
                break;
            }
            let _ = stream.write_all(&[b"1\r\n", &byte[..], b"\r\n"].concat());
        }
        let _ = stream.write_all(b"0\r\n\r\n");
        Then::Close
    });
    let proxy = Headwater::start(&origin.config());
    let mut client = Client::connect(proxy.http);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(client.read_bytes(1));
    }
    for letter in [b"a", b"b", b"c", b"d", b"e"] {
        client.send(letter);
        assert_eq!(client.read_bytes(6), [b"1\r\n", &letter[..], b"\r\n"].concat());
    }
    assert_eq!(client.read_bytes(5), b"0\r\n\r\n");
}

#[test]
fn an_upgrade_becomes_a_tunnel() {
    let origin = Origin::with(|request, stream| {
        assert_eq!(request.header("Upgrade"), Some("websocket"));
        assert_eq!(request.header("Connection"), Some("Upgrade"));
        let _ = stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\nhello");
        let mut block = [0; 1000];
        while let Ok(count @ 1..) = stream.read(&mut block) {
            let _ = stream.write_all(&block[..count]);
        }
        Then::Close
    });
    let proxy = Headwater::start(&origin.config());
    let mut client = Client::connect(proxy.http);
    client.send(request(
        "GET",
        "/chat",
        &[("Connection", "keep-alive, Upgrade"), ("Upgrade", "websocket, h2c"), ("Sec-WebSocket-Key", "k")],
    ));
    let answer = client.read_response();
    assert_eq!(
        (answer.status, answer.header("Upgrade"), answer.header("Sec-WebSocket-Accept")),
        (101, Some("websocket"), Some("x"))
    );
    assert_eq!(client.read_bytes(5), b"hello");
    for text in ["one", "three"] {
        client.send(text);
        assert_eq!(client.read_bytes(text.len()), text.as_bytes());
    }
    client.stream().shutdown(std::net::Shutdown::Write).unwrap();
    assert!(client.is_closed());
    proxy.wait_for_log(|line| line.contains(" 101 13 ") && line.contains("end=complete"));
}

#[test]
fn an_origin_may_be_a_unix_socket() {
    let folder = std::env::temp_dir().join(format!("headwater-unix-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("app.sock");
    let _ = std::fs::remove_file(&path);
    let _origin = Origin::on_unix(&path, |_, stream| {
        let _ = stream.write_all(OK.as_bytes());
        Then::Keep
    });
    let proxy = Headwater::start(&format!("[origin]\nservers = [\"unix:{}\"]\n", path.display()));
    assert_eq!(get(proxy.http, "/", &[]).text(), "ok");
    assert_eq!(get(proxy.http, "/", &[]).text(), "ok");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn the_origins_word_on_how_long_it_keeps_a_connection_is_obeyed() {
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1, max=100\r\nContent-Length: 2\r\n\r\nok");
    let proxy = Headwater::start(&origin.config());
    get(proxy.http, "/", &[]);
    assert_eq!(origin.open(), 1);
    let started = Instant::now();
    wait_until("the connection is closed", || origin.open() == 0);
    assert!(started.elapsed() < Duration::from_millis(1900), "{:?}", started.elapsed());
}
