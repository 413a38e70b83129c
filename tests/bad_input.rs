//! What two servers could read in two ways is refused, and never reaches the origin.

use headwater_testkit::{Client, Headwater, Origin, Response, get};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Sends bytes to a proxy of its own; the answer, whether the connection was closed, and how often the origin was asked.
fn send_all(cases: &[(&str, Vec<u8>)], expected: u16) {
    let origin = Origin::answering(OK);
    let proxy = Headwater::start(&origin.config());
    for (name, bytes) in cases {
        let mut client = Client::connect(proxy.http);
        client.send(bytes);
        let answer = client.try_read_response_to("GET").unwrap_or_else(|| panic!("{name}: no answer"));
        assert_eq!(answer.status, expected, "{name}: {}", answer.text());
        assert_eq!(answer.header("Connection"), Some("close"), "{name}");
        assert!(client.is_closed(), "{name}: the connection stays open");
    }
    assert_eq!(origin.requests().len(), 0, "{:?}", origin.requests());
    assert_eq!(get(proxy.http, "/", &[]).text(), "ok", "the proxy serves on");
}

fn head(rest: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{rest}\r\n").into_bytes()
}

fn post(rest: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{rest}").into_bytes()
}

#[test]
fn two_ways_to_end_a_body_are_refused() {
    send_all(
        &[
            ("CL, TE", post("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")),
            ("TE, CL", post("tRANSFER-eNCODING: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n")),
            ("two equal CLs", post("Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc")),
            ("two different CLs", post("Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd")),
            ("a list of CLs", post("Content-Length: 3, 3\r\n\r\nabc")),
            ("CL with a sign", post("Content-Length: +3\r\n\r\nabc")),
            ("CL in hex", post("Content-Length: 0x3\r\n\r\nabc")),
            ("CL with a space", post("Content-Length: 3 3\r\n\r\nabc")),
            ("empty CL", post("Content-Length:\r\n\r\n")),
            ("CL past 64 bits", post("Content-Length: 99999999999999999999999\r\n\r\nabc")),
            ("TE that is not chunked", post("Transfer-Encoding: identity\r\n\r\n")),
            ("TE with chunked not last", post("Transfer-Encoding: chunked, gzip\r\n\r\n")),
            ("two TEs", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")),
            ("TE with a vertical tab", post("Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n")),
            ("TE in HTTP/1.0", b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_vec()),
        ],
        400,
    );
}

#[test]
fn lines_end_in_one_way_only() {
    send_all(
        &[
            ("bare LF after the request line", b"GET / HTTP/1.1\nHost: a\r\n\r\n".to_vec()),
            ("bare LF after a field", head("A: b\nC: d\r\n")),
            ("bare LF before the end", b"GET / HTTP/1.1\r\nHost: a\r\n\n".to_vec()),
            ("bare LFs alone", b"GET / HTTP/1.1\nHost: a\n\n".to_vec()),
            ("bare CR in a value", head("A: b\rC: d\r\n")),
            ("bare CR in a name", head("A\rB: d\r\n")),
            ("bare CR in the target", b"GET /\rx HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
            ("CR CR LF", head("A: b\r\r\n")),
            ("obs-fold with a space", head("A: b\r\n c\r\n")),
            ("obs-fold with a tab", head("A: b\r\n\tc\r\n")),
            ("a space before the colon", head("A : b\r\n")),
            ("a tab before the colon", head("A\t: b\r\n")),
            ("a line without a colon", head("A\r\n")),
            ("an empty name", head(": b\r\n")),
        ],
        400,
    );
}

#[test]
fn no_control_character_passes() {
    let mut cases = Vec::new();
    for byte in (0..0x20_u8).chain([0x7f]).filter(|byte| !b"\t\r\n".contains(byte)) {
        cases.push(("in a value", [b"GET / HTTP/1.1\r\nHost: a\r\nA: b", &[byte][..], b"c\r\n\r\n"].concat()));
        cases.push(("in a name", [b"GET / HTTP/1.1\r\nHost: a\r\nA", &[byte][..], b"b: c\r\n\r\n"].concat()));
        cases.push(("in the target", [b"GET /a", &[byte][..], b"b HTTP/1.1\r\nHost: a\r\n\r\n"].concat()));
        cases.push(("in the method", [b"G", &[byte][..], b"T / HTTP/1.1\r\nHost: a\r\n\r\n"].concat()));
    }
    send_all(&cases, 400);
}

#[test]
fn a_request_names_one_host() {
    send_all(
        &[
            ("no Host", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
            ("two Hosts", head("Host: a\r\n")),
            ("an empty Host", b"GET / HTTP/1.1\r\nHost:\r\n\r\n".to_vec()),
            ("a Host with a path", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n".to_vec()),
            ("a Host with a user", b"GET / HTTP/1.1\r\nHost: x@a\r\n\r\n".to_vec()),
            ("a list of Hosts", b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n".to_vec()),
            ("a Host with a wrong port", b"GET / HTTP/1.1\r\nHost: a:http\r\n\r\n".to_vec()),
            ("absolute-form with another Host", b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
            ("absolute-form with another port", b"GET http://a:81/ HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
            ("a fragment", b"GET /x#y HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
            ("no path", b"GET x HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
            ("another scheme", b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
            ("a star for GET", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
        ],
        400,
    );
}

#[test]
fn what_is_not_http_1_gets_505_and_connect_gets_501() {
    send_all(
        &[
            ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
            ("HTTP/1.2", b"GET / HTTP/1.2\r\nHost: a\r\n\r\n".to_vec()),
            ("HTTP/0.9", b"GET / HTTP/0.9\r\nHost: a\r\n\r\n".to_vec()),
        ],
        505,
    );
    send_all(&[("CONNECT", b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n".to_vec())], 501);
    send_all(&[("gzip, chunked", post("Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"))], 501);
    send_all(&[("Expect", post("Expect: the-spanish-inquisition\r\nContent-Length: 0\r\n\r\n"))], 417);
}

#[test]
fn a_bad_chunk_ends_the_pull_and_the_connection() {
    for chunks in [
        "0x3\r\nabc\r\n0\r\n\r\n",
        "+3\r\nabc\r\n0\r\n\r\n",
        " 3\r\nabc\r\n0\r\n\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nabc0\r\n\r\n",
        "3;a=\rb\r\nabc\r\n0\r\n\r\n",
        "\r\n3\r\nabc\r\n0\r\n\r\n",
        "-1\r\nabc\r\n0\r\n\r\n",
        "FFFFFFFFFFFFFFFFF\r\nabc\r\n0\r\n\r\n",
        "00000000000000003\r\nabc\r\n0\r\n\r\n",
        "3\r\nabc\r\n0\r\nA: b\nC: d\r\n\r\n",
        "3\r\nabc\r\n0\r\nContent Length: 5\r\n\r\n",
    ] {
        let origin = Origin::answering(OK);
        let proxy = Headwater::start(&origin.config());
        let mut client = Client::connect(proxy.http);
        client.send(post(&format!("Transfer-Encoding: chunked\r\n\r\n{chunks}")));
        let answer = client.try_read_response_to("POST").unwrap_or_else(|| panic!("{chunks:?}: no answer"));
        assert_eq!(answer.status, 400, "{chunks:?}");
        assert!(client.is_closed(), "{chunks:?}");
        // What reached the origin is at most the front of a body that it knows to be unfinished.
        assert_eq!(get(proxy.http, "/", &[]).text(), "ok");
    }
}

#[test]
fn garbage_neither_hangs_nor_harms() {
    let origin = Origin::answering(OK);
    let proxy = Headwater::start(&format!(
        "{}[limits]\nheader_timeout = \"200ms\"\nidle_timeout = \"200ms\"\n",
        origin.config()
    ));
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let pieces: [&[u8]; 14] = [
        b"GET ",
        b"/ ",
        b"HTTP/1.1",
        b"\r\n",
        b"\n",
        b"Host: a",
        b"Content-Length: ",
        b"5",
        b"Transfer-Encoding: chunked",
        b"\r\n\r\n",
        b":",
        b"\0",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"\xff\xfe",
    ];
    let mut clients: Vec<(Vec<u8>, Client)> = Vec::new();
    for _ in 0..300 {
        let mut bytes = Vec::new();
        for _ in 0..next() % 20 + 1 {
            match next() % 4 {
                0 => bytes.extend(next().to_le_bytes()),
                _ => bytes.extend(pieces[next() as usize % pieces.len()]),
            }
        }
        let mut client = Client::connect(proxy.http);
        client.send(&bytes);
        clients.push((bytes, client));
    }
    for (bytes, client) in &mut clients {
        if let Some(answer) = client.try_read_response_to("GET") {
            let shown = String::from_utf8_lossy(bytes);
            assert!(matches!(answer.status, 200 | 400..=499 | 501 | 505), "{} for {shown:?}", answer.status);
        }
    }
    assert_eq!(get(proxy.http, "/", &[]).text(), "ok");
}

#[test]
fn a_head_that_is_too_large_gets_431() {
    let line = format!("A: {}\r\n", "x".repeat(1000));
    send_all(
        &[
            ("40 KiB", head(&line.repeat(40))),
            ("one long target", format!("GET /{} HTTP/1.1\r\n", "x".repeat(40_000)).into()),
        ],
        431,
    );
    send_all(&[("101 fields", head(&"A: b\r\n".repeat(100)))], 431);
    let origin = Origin::answering(OK);
    let proxy = Headwater::start(&origin.config());
    let mut client = Client::connect(proxy.http);
    client.send(head(&"A: b\r\n".repeat(99)));
    assert_eq!(client.read_response().status, 200);
    client.send(head(&line.repeat(31)));
    assert_eq!(client.read_response().status, 200);
}

fn upload(proxy: &Headwater, text: String) -> Response {
    let mut client = Client::connect(proxy.http);
    client.send(text);
    let answer = client.read_response();
    assert!(answer.status == 200 || client.is_closed());
    answer
}

#[test]
fn a_body_that_is_too_large_gets_413_by_length_and_by_chunks() {
    let origin = Origin::answering(OK);
    let proxy = Headwater::start(&format!(
        "{}[limits]\nmax_body = \"10 B\"\n[[rule]]\nname = \"up\"\npath = '^/up'\nmax_body = \"20 B\"\n",
        origin.config()
    ));
    let by_length = |path: &str, n: usize| {
        format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {n}\r\n\r\n{}", "x".repeat(n))
    };
    let by_chunks = |path: &str, n: usize| {
        let chunks = "5\r\nxxxxx\r\n".repeat(n / 5);
        format!("POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n")
    };
    for (path, size, expected) in [("/", 10, 200), ("/", 15, 413), ("/up", 20, 200), ("/up", 25, 413)] {
        assert_eq!(upload(&proxy, by_length(path, size)).status, expected, "{path} {size} by length");
        assert_eq!(upload(&proxy, by_chunks(path, size)).status, expected, "{path} {size} by chunks");
    }
}
