//! An origin that fails in every way it can: what users see, what is counted, and that nothing hangs or looks whole.

use headwater_testkit::{Client, Headwater, Origin, Response, Then, get, request, wait_until};
use std::net::TcpListener;
use std::time::Duration;

/// A proxy before an origin that answers every request with these bytes and then closes.
fn broken(bytes: &'static str) -> (Origin, Headwater) {
    let origin = Origin::with(move |_, stream| {
        let _ = stream.write_all(bytes.as_bytes());
        Then::Close
    });
    let config = format!("{}response_timeout = \"300ms\"\n[limits]\nbody_idle_timeout = \"300ms\"\n", origin.config());
    let proxy = Headwater::start(&config);
    (origin, proxy)
}

fn expect(proxy: &Headwater, status: u16, reason: &str) -> Response {
    let answer = get(proxy.http, "/", &[("Accept", "text/html")]);
    assert_eq!(answer.status, status, "{}", answer.head);
    assert!(answer.text().contains("<html") && answer.complete);
    assert_eq!(answer.header("Cache-Control"), Some("no-store"));
    proxy.wait_metric("headwater_upstream_errors_total", &[("reason", reason)], 1.0);
    assert_eq!(proxy.metrics().value("headwater_whoopsie_total", &[("reason", reason), ("language", "en")]), 1.0);
    assert_eq!(get(proxy.admin, "/livez", &[]).status, 200);
    answer
}

#[test]
fn an_origin_that_is_down_is_502() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let proxy = Headwater::start(&format!("[origin]\nservers = [\"{address}\"]\n"));
    expect(&proxy, 502, "connect");
}

#[test]
fn an_origin_that_never_answers_is_504() {
    let origin = Origin::with(|_, _| {
        std::thread::sleep(Duration::from_secs(3));
        Then::Close
    });
    let proxy = Headwater::start(&format!("{}response_timeout = \"300ms\"\n", origin.config()));
    expect(&proxy, 504, "first_byte_timeout");
}

#[test]
fn an_origin_that_closes_before_its_head_is_502() {
    let (_origin, proxy) = broken("");
    expect(&proxy, 502, "closed_before_head");
}

#[test]
fn half_a_head_and_heads_that_cannot_be_read_are_502() {
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Le",
        "SSH-2.0-OpenSSH_9\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 2\n\nab",
        "HTTP/1.1 200 OK\r\nA: b\0c\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        "HTTP/1.1 999 Oops\r\nContent-Length: 2\r\n\r\nab",
    ] {
        let (_origin, proxy) = broken(head);
        expect(&proxy, 502, "bad_head");
    }
}

#[test]
fn a_head_of_a_megabyte_is_502() {
    let origin = Origin::with(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
        for _ in 0..1024 {
            let _ = stream.write_all(format!("A: {}\r\n", "x".repeat(1019)).as_bytes());
        }
        let _ = stream.write_all(b"Content-Length: 0\r\n\r\n");
        Then::Close
    });
    let proxy = Headwater::start(&origin.config());
    expect(&proxy, 502, "bad_head");
}

/// A body that breaks off breaks the answer too.
fn never_whole(answer: &Response, proxy: &Headwater, reason: &str) {
    assert_eq!(answer.status, 200);
    assert!(!answer.complete, "the answer looks whole:\n{}{}", answer.head, answer.text());
    proxy.wait_metric("headwater_upstream_errors_total", &[("reason", reason)], 1.0);
    let end = if reason == "body_idle" { "end=timeout" } else { "end=upstream" };
    proxy.wait_for_log(|line| line.contains(end));
}

#[test]
fn a_body_that_breaks_off_never_looks_whole() {
    for body in [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5000\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let (_origin, proxy) = broken(body);
        never_whole(&get(proxy.http, "/", &[("Accept-Encoding", "gzip")]), &proxy, "body_broken");
    }
}

#[test]
fn a_broken_body_is_a_reset_where_only_the_end_of_the_connection_ends_it() {
    let (_origin, proxy) = broken("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
    let mut client = Client::connect(proxy.http);
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    let answer = client.try_read_response_to("GET");
    assert!(answer.is_none_or(|answer| !answer.complete));
    proxy.wait_metric("headwater_upstream_errors_total", &[("reason", "body_broken")], 1.0);
}

#[test]
fn a_body_that_stands_still_is_broken_off() {
    let origin = Origin::with(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
        std::thread::sleep(Duration::from_secs(3));
        Then::Close
    });
    let proxy = Headwater::start(&format!("{}[limits]\nbody_idle_timeout = \"300ms\"\n", origin.config()));
    never_whole(&get(proxy.http, "/", &[]), &proxy, "body_idle");
}

#[test]
fn a_body_that_ends_with_the_connection_is_whole() {
    let (_origin, proxy) = broken("HTTP/1.1 200 OK\r\n\r\nall of it");
    let answer = get(proxy.http, "/", &[]);
    assert_eq!((answer.text().as_str(), answer.complete), ("all of it", true));
    let (_origin, proxy) = broken("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nall of it");
    assert_eq!(get(proxy.http, "/", &[("Accept-Encoding", "gzip")]).gunzip(), b"all of it");
}

#[test]
fn replaced_errors_cost_the_origin_no_new_connections() {
    let origin = Origin::answering(
        "HTTP/1.1 503 Busy\r\nContent-Type: text/html\r\nContent-Length: 300\r\n\r\n".to_string() + &"x".repeat(300),
    );
    let proxy = Headwater::start(&origin.config());
    let mut client = Client::connect(proxy.http);
    for _ in 0..20 {
        client.send(request("GET", "/", &[("Accept", "text/html")]));
        let answer = client.read_response();
        assert_eq!(answer.status, 503);
        assert!(answer.text().contains("<html"));
    }
    assert_eq!((origin.requests().len(), origin.connections()), (20, 1));
}

#[test]
fn a_large_error_is_replaced_without_being_read_to_its_end() {
    let origin = Origin::with(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 500 Oops\r\nContent-Length: 1000000000\r\n\r\n");
        while stream.write_all(&[b'x'; 65536]).is_ok() {}
        Then::Close
    });
    let proxy = Headwater::start(&origin.config());
    assert!(get(proxy.http, "/", &[("Accept", "text/html")]).text().contains("<html"));
    wait_until("the origin's connection is free", || origin.open() == 0);
}

#[test]
fn a_client_that_goes_away_frees_the_origin() {
    for begun in [false, true] {
        let origin = Origin::with(move |_, stream| {
            if begun {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
                while stream.write_all(&[b'x'; 65536]).is_ok() {}
            } else {
                // Reads on: the end that the proxy makes is what ends this wait.
                let _ = stream.read(&mut [0]);
            }
            Then::Close
        });
        let proxy = Headwater::start(&origin.config());
        let mut client = Client::connect(proxy.http);
        client.send(request("GET", "/", &[]));
        wait_until("the origin is asked", || origin.requests().len() == 1);
        drop(client);
        wait_until("the origin's connection is free", || origin.open() == 0);
        proxy.wait_for_log(|line| line.contains("end=downstream"));
    }
}

#[test]
fn a_server_that_is_down_is_passed_over_for_one_that_is_up() {
    let down = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let up = Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    let proxy = Headwater::start(&format!("[origin]\nservers = [\"{down}\", \"{}\"]\n", up.address));
    for _ in 0..10 {
        assert_eq!(get(proxy.http, "/", &[]).text(), "ok");
    }
}

#[test]
fn a_stale_connection_is_tried_once_more_for_a_get_and_never_for_a_post() {
    // Every connection serves one request, promises to stay, and is gone when the next one comes.
    let origin = Origin::with(|request, stream| {
        if request.target == "/second" && request.connection == 0 {
            return Then::Close;
        }
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        Then::Keep
    });
    let proxy = Headwater::start(
        &origin
            .config()
            .replace("[origin]", "[listen]\nhttp = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\nworkers = 1\n[origin]"),
    );
    assert_eq!(get(proxy.http, "/first", &[]).status, 200);
    assert_eq!(get(proxy.http, "/second", &[]).status, 200);
    let seconds: Vec<usize> =
        origin.requests().iter().filter(|r| r.target == "/second").map(|r| r.connection).collect();
    assert_eq!(seconds, [0, 1]);

    let posts = Origin::with(|request, stream| {
        if request.method == "POST" {
            return Then::Close;
        }
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        Then::Keep
    });
    let proxy = Headwater::start(&posts.config());
    assert_eq!(get(proxy.http, "/", &[]).status, 200);
    let mut client = Client::connect(proxy.http);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(client.read_response().status, 502);
    assert_eq!(posts.requests().iter().filter(|request| request.method == "POST").count(), 1);
}
