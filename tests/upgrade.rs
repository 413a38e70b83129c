//! Upgrades: tunnels for WebSocket and the like, and none for what would slip past the proxy.

use headwater_testkit::{Client, Headwater, Origin, Recorded, Then, Wire, answer, get, request, wait_until};
use std::time::{Duration, Instant};

const WEBSOCKET: [(&str, &str); 4] = [
    ("Connection", "keep-alive, Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
];

/// Switches if it is asked to, and echoes from then on until it hears `quit`.
fn echo(request: &Recorded, stream: &mut dyn Wire) -> Then {
    if !request.has("Upgrade") {
        let _ = stream.write_all(&answer("200 OK", &[], "plain"));
        return Then::Keep;
    }
    let _ = stream.write_all(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\nhello",
    );
    let mut bytes = [0; 4096];
    while let Ok(count) = stream.read(&mut bytes) {
        if count == 0 || bytes[..count].starts_with(b"quit") {
            break;
        }
        let _ = stream.write_all(&bytes[..count]);
    }
    Then::Close
}

fn tunnel(headwater: &Headwater) -> Client {
    let mut client = Client::connect(headwater.http);
    client.send(request("GET", "/chat", &WEBSOCKET));
    let got = client.read_response();
    assert_eq!(got.status, 101, "{}", got.head);
    assert!(got.has_member("Connection", "upgrade"), "{}", got.head);
    assert_eq!((got.header("Upgrade"), got.header("Sec-WebSocket-Accept")), (Some("websocket"), Some("x")));
    assert_eq!((got.header("Content-Length"), got.header("Transfer-Encoding")), (None, None));
    assert_eq!(client.read_bytes(5), b"hello", "what came with the 101");
    client
}

fn says(client: &mut Client, bytes: &[u8]) {
    client.send(bytes);
    assert_eq!(client.read_bytes(bytes.len()), bytes);
}

#[test]
fn a_websocket_is_a_tunnel_both_ways() {
    let origin = Origin::with(echo);
    let headwater = Headwater::before(&origin);
    let mut client = tunnel(&headwater);
    says(&mut client, b"\x81\x85binary\0\r\n\xff");
    std::thread::sleep(Duration::from_millis(100));
    says(&mut client, &[7; 3000]);
    let seen = origin.last();
    assert_eq!((seen.header("Upgrade"), seen.header("Sec-WebSocket-Version")), (Some("websocket"), Some("13")));
    assert!(seen.header("Connection").unwrap().eq_ignore_ascii_case("upgrade"), "{}", seen.head);
    client.send("quit");
    assert!(client.is_closed(), "the origin's end ends the client's");
}

#[test]
fn the_clients_end_ends_the_origins() {
    let origin = Origin::with(echo);
    let headwater = Headwater::before(&origin);
    let client = tunnel(&headwater);
    assert_eq!(origin.open(), 1);
    drop(client);
    wait_until("the origin's end of the tunnel is closed", || origin.open() == 0);
}

#[test]
fn a_tunnel_is_logged_at_its_end() {
    let origin = Origin::with(echo);
    let headwater = Headwater::before(&origin);
    let mut client = tunnel(&headwater);
    says(&mut client, b"12345");
    client.send("quit");
    let line = headwater.wait_for_log(|line| line.contains("/chat"));
    assert!(line.contains("\" 101 10 "), "hello and its echo: {line}");
}

#[test]
fn a_silent_tunnel_is_closed() {
    let origin = Origin::with(echo);
    let headwater = Headwater::before_with(&origin, "[limits]\ntunnel_idle_timeout = \"600ms\"\n");
    let mut client = tunnel(&headwater);
    for _ in 0..4 {
        std::thread::sleep(Duration::from_millis(300));
        says(&mut client, b"alive");
    }
    let begun = Instant::now();
    assert!(client.is_closed());
    assert!(begun.elapsed() > Duration::from_millis(300));
    wait_until("the origin's end is closed too", || origin.open() == 0);
}

#[test]
fn a_tunnel_outlives_other_idle_timeouts() {
    let origin = Origin::with(echo);
    let limits = "response_timeout = \"400ms\"\n[limits]\nidle_timeout = \"400ms\"\nbody_idle_timeout = \"400ms\"\n";
    let headwater = Headwater::before_with(&origin, limits);
    let mut client = tunnel(&headwater);
    std::thread::sleep(Duration::from_secs(1));
    says(&mut client, b"still here");
}

#[test]
fn a_tunnel_outlives_a_reload() {
    let origin = Origin::with(echo);
    let headwater = Headwater::before(&origin);
    let mut client = tunnel(&headwater);
    headwater.rewrite(&(origin.config() + "[gzip]\nlevel = 1\n"));
    headwater.signal("HUP");
    headwater.wait_for_stderr("reloaded");
    says(&mut client, b"still here");
}

#[test]
fn a_tunnel_does_not_hold_up_the_stop_for_longer_than_the_drain() {
    let origin = Origin::with(echo);
    let mut headwater = Headwater::start_with(&origin.config(), &["--drain", "1s"], &[]);
    let mut client = tunnel(&headwater);
    headwater.signal("TERM");
    says(&mut client, b"still here");
    let begun = Instant::now();
    assert!(headwater.wait_exit(Duration::from_secs(8)).is_some(), "it is still there");
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

#[test]
fn h2c_is_never_forwarded() {
    let origin = Origin::with(echo);
    let headwater = Headwater::before(&origin);
    for upgrade in ["h2c", "H2C", "h2c, h2", "h2"] {
        let got = get(
            headwater.http,
            "/",
            &[("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", upgrade), ("HTTP2-Settings", "AAMAAABkAAQAAP__")],
        );
        assert_eq!((got.status, got.text().as_str()), (200, "plain"), "{upgrade}");
        let seen = origin.last();
        for name in ["Upgrade", "HTTP2-Settings", "Connection"] {
            assert!(!seen.has(name), "{upgrade}:\n{}", seen.head);
        }
    }
}

#[test]
fn what_is_not_named_by_connection_is_no_upgrade() {
    let origin = Origin::with(echo);
    let headwater = Headwater::before(&origin);
    assert_eq!(get(headwater.http, "/", &[("Upgrade", "websocket")]).text(), "plain");
    assert!(!origin.last().has("Upgrade"));
}

#[test]
fn an_http_1_0_client_cannot_upgrade() {
    let origin = Origin::with(echo);
    let headwater = Headwater::before(&origin);
    let mut client = Client::connect(headwater.http);
    client.send("GET / HTTP/1.0\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(client.read_response().text(), "plain");
}

#[test]
fn an_origin_that_declines_is_heard() {
    let origin = Origin::answering(answer("426 Upgrade Required", &[], "another version"));
    let headwater = Headwater::before(&origin);
    let mut client = Client::connect(headwater.http);
    for _ in 0..2 {
        client.send(request("GET", "/", &WEBSOCKET));
        let got = client.read_response();
        assert_eq!((got.status, got.text().as_str()), (426, "another version"));
    }
}

#[test]
fn what_follows_a_declined_upgrade_is_a_request_and_no_tunnel() {
    let origin = Origin::answering(answer("200 OK", &[], "plain"));
    let headwater = Headwater::before(&origin);
    let mut client = Client::connect(headwater.http);
    client.send(request("GET", "/first", &WEBSOCKET) + &request("GET", "/second", &[("X-Forwarded-For", "6.6.6.6")]));
    assert_eq!(client.read_response().text(), "plain");
    assert_eq!(client.read_response().text(), "plain");
    let seen = origin.last();
    assert_eq!((seen.target.as_str(), seen.headers("Via")), ("/second", vec!["1.1 headwater"]));
    assert!(!seen.head.contains("6.6.6.6"), "{}", seen.head);
}

#[test]
fn an_origin_that_switches_unasked_is_in_the_wrong() {
    let origin =
        Origin::answering("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    let headwater = Headwater::before(&origin);
    assert_eq!(get(headwater.http, "/", &[]).status, 502);
}
