//! Behind a load balancer that speaks the PROXY protocol.

use headwater_testkit::{Client, FASTLY, Haproxy, Headwater, Origin, answer, get, needs, request};
use std::process::Command;
use std::time::{Duration, Instant};

const FROM: &str = "listen.proxy_protocol_from=[\"127.0.0.1/32\"]";

fn behind(origin: &Origin, more: &str) -> Headwater {
    Headwater::start_with(&format!("{}{more}", origin.config()), &["--set", FROM], &[])
}

/// A header of version 2: command, family and transport, and what follows.
fn version_2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([0x20 | command, family]);
    header.extend((rest.len() as u16).to_be_bytes());
    header.extend_from_slice(rest);
    header
}

/// Sends a header and a request, all in one; what the app was told of the client.
fn told(headwater: &Headwater, origin: &Origin, header: &[u8]) -> String {
    let mut client = Client::connect(headwater.http);
    client.send([header, request("GET", "/first", &[]).as_bytes()].concat());
    assert_eq!(client.read_response().status, 200, "{header:?}");
    client.send(request("GET", "/second", &[]));
    assert_eq!(client.read_response().status, 200, "the header is read once a connection");
    origin.last().header("X-Real-IP").unwrap().to_string()
}

#[test]
fn both_versions_name_the_client() {
    let origin = Origin::answering(answer("200 OK", &[], "ok"));
    let headwater = behind(&origin, "");
    let addresses = [192, 0, 2, 1, 198, 51, 100, 1, 0x12, 0x67, 0, 80];
    let mut wide = [0; 36];
    wide[..4].copy_from_slice(&[0x20, 1, 0x0d, 0xb8]);
    wide[15] = 1;
    let with_extensions = [&addresses[..], &[0x04, 0, 3, 1, 2, 3]].concat();
    for (header, expected) in [
        (b"PROXY TCP4 192.0.2.1 198.51.100.1 4711 80\r\n".to_vec(), "192.0.2.1"),
        (b"PROXY TCP6 2001:db8::1 2001:db8::2 4711 80\r\n".to_vec(), "2001:db8::1"),
        (b"PROXY TCP6 ::ffff:192.0.2.1 ::1 4711 80\r\n".to_vec(), "192.0.2.1"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (version_2(1, 0x11, &addresses), "192.0.2.1"),
        (version_2(1, 0x11, &with_extensions), "192.0.2.1"),
        (version_2(1, 0x21, &wide), "2001:db8::1"),
        (version_2(0, 0x00, &[]), "127.0.0.1"),
    ] {
        assert_eq!(told(&headwater, &origin, &header), expected, "{:?}", String::from_utf8_lossy(&header));
    }
    assert!(origin.last().header("Forwarded").unwrap().starts_with("for=127.0.0.1"), "the last of them named nobody");
    headwater.wait_metric("headwater_proxy_headers_total", &[("result", "client")], 6.0);
    headwater.wait_metric("headwater_proxy_headers_total", &[("result", "none")], 2.0);
}

#[test]
fn a_proof_by_network_goes_by_the_address_that_is_told() {
    let origin = Origin::answering(answer("200 OK", &[], "ok"));
    let headwater = behind(&origin, &FASTLY.replace("127.0.0.0/8", "192.0.2.0/24"));
    let tagged = |source: &str| {
        let mut client = Client::connect(headwater.http);
        client.send(format!("PROXY TCP4 {source} 198.51.100.1 4711 80\r\n"));
        client.send(request("GET", "/", &[("X-CDN-Provider", "fastly")]));
        assert_eq!(client.read_response().status, 200);
        origin.last().header("X-CDN-Provider").map(str::to_string)
    };
    assert_eq!(tagged("192.0.2.7").as_deref(), Some("fastly"));
    assert_eq!(tagged("203.0.113.7"), None);
}

#[test]
fn whatever_else_such_a_connection_begins_with_is_refused() {
    let origin = Origin::answering(answer("200 OK", &[], "ok"));
    let headwater = behind(&origin, "");
    let endless = format!("PROXY {}", "x".repeat(200));
    let too_long = [&version_2(1, 0x11, &[])[..14], &[0xff, 0xff], &[0; 100]].concat();
    let refused: [&[u8]; 8] = [
        b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n",
        b"PROXY TCP4 192.0.2.1\r\nGET / HTTP/1.1\r\nHost: shop.example\r\n\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 4711 80\nGET / HTTP/1.1\r\nHost: shop.example\r\n\r\n",
        b"PROXY TCP4 localhost 198.51.100.1 4711 80\r\nGET / HTTP/1.1\r\nHost: shop.example\r\n\r\n",
        b"proxy TCP4 192.0.2.1 198.51.100.1 4711 80\r\nGET / HTTP/1.1\r\nHost: shop.example\r\n\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x01\x12\x67\0\x50",
        endless.as_bytes(),
        &too_long,
    ];
    for bytes in refused {
        let mut client = Client::connect(headwater.http);
        client.send(bytes);
        assert!(client.try_read_response_to("GET").is_none(), "{:?}", String::from_utf8_lossy(bytes));
    }
    assert_eq!(origin.requests().len(), 0);
    headwater.wait_metric("headwater_proxy_headers_total", &[("result", "refused")], refused.len() as f64);
    headwater.wait_metric("headwater_downstream_connections", &[], 0.0);
}

#[test]
fn a_header_has_a_deadline() {
    let origin = Origin::answering(answer("200 OK", &[], "ok"));
    let headwater = behind(&origin, "[limits]\nheader_timeout = \"500ms\"\n");
    for beginning in ["", "PROXY TCP4 192.0.2.1 "] {
        let begun = Instant::now();
        let mut client = Client::connect(headwater.http);
        client.send(beginning);
        assert!(client.is_closed());
        assert!(begun.elapsed() > Duration::from_millis(400) && begun.elapsed() < Duration::from_secs(5));
    }
    headwater.wait_metric("headwater_proxy_headers_total", &[("result", "timeout")], 2.0);
}

#[test]
fn from_anybody_else_it_is_no_request() {
    let origin = Origin::answering(answer("200 OK", &[], "ok"));
    let headwater = Headwater::before(&origin);
    let mut client = Client::connect(headwater.http);
    client.send("PROXY TCP4 192.0.2.1 198.51.100.1 4711 80\r\nGET / HTTP/1.1\r\nHost: shop.example\r\n\r\n");
    assert!(client.read_response().status >= 400);
    assert_eq!((origin.requests().len(), get(headwater.http, "/", &[]).status), (0, 200));
}

#[test]
fn curl_and_haproxy_speak_it_to_us() {
    needs("/usr/bin/curl", "curl");
    let origin = Origin::answering(answer("200 OK", &[], "ok"));
    let headwater = behind(&origin, "");
    let output = Command::new("/usr/bin/curl")
        .args(["-sS", "--max-time", "20", "--haproxy-protocol", &format!("http://{}/", headwater.http)])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "ok", "{output:?}");
    for version in ["send-proxy", "send-proxy-v2"] {
        let haproxy = Haproxy::start(&format!("server headwater {} {version}", headwater.http));
        assert_eq!(get(haproxy.address(), "/", &[]).text(), "ok", "{version}");
    }
    headwater.wait_metric("headwater_proxy_headers_total", &[("result", "client")], 3.0);
}
