//! Bodies that two servers could delimit in two ways are refused, and nothing of what follows is taken for a request.

use headwater_testkit::{Client, Headwater, Origin, answer, exchange, get, request, wait_until};
use std::time::Duration;

const NEXT: &str = "GET /smuggled HTTP/1.1\r\nHost: shop.example\r\n\r\n";

fn before() -> (Origin, Headwater) {
    let origin = Origin::answering(answer("200 OK", &[], "ok"));
    let headwater = Headwater::before(&origin);
    (origin, headwater)
}

/// Sends a POST with these fields and this body, and a request behind it.
fn refusal(headwater: &Headwater, fields: &str, body: &str) -> u16 {
    let mut client = Client::connect(headwater.http);
    client.send(format!("POST / HTTP/1.1\r\nHost: shop.example\r\n{fields}\r\n{body}{NEXT}"));
    let got = client.try_read_response_to("POST").unwrap_or_else(|| panic!("no answer to {fields:?} {body:?}"));
    assert!(got.has_member("Connection", "close"), "{fields:?} {body:?} got\n{}", got.head);
    assert_eq!(got.header("Cache-Control"), Some("no-store"), "{}", got.head);
    assert!(client.is_closed(), "{fields:?} {body:?} was not the end");
    got.status
}

#[test]
fn a_length_beside_a_transfer_encoding_is_refused() {
    let (origin, headwater) = before();
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "transfer-encoding: chunked\r\nX: y\r\ncontent-length: 0\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\nConnection: Content-Length\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\nConnection: Transfer-Encoding\r\n",
    ] {
        assert_eq!(refusal(&headwater, fields, "0\r\n\r\n"), 400, "{fields:?}");
    }
    assert_eq!(origin.connections(), 0);
}

#[test]
fn several_lengths_are_refused() {
    let (origin, headwater) = before();
    for fields in [
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\ncontent-length: 0\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: 5, 6\r\n",
    ] {
        assert_eq!(refusal(&headwater, fields, "hello"), 400, "{fields:?}");
    }
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_length_is_digits() {
    let (origin, headwater) = before();
    for length in [
        "+5",
        "-5",
        "5 5",
        "0x5",
        "5a",
        "",
        "5.0",
        "5;",
        "\"5\"",
        "18446744073709551616",
        "99999999999999999999999",
        "-0",
        "5e0",
        "five",
        "٥",
    ] {
        assert_eq!(refusal(&headwater, &format!("Content-Length: {length}\r\n"), "hello"), 400, "{length:?}");
    }
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_transfer_encoding_is_chunked_and_nothing_else() {
    let (origin, headwater) = before();
    for coding in [
        "identity",
        "xchunked",
        "chunkedx",
        "chunked, identity",
        "chunked, chunked",
        "chunked,",
        ", chunked",
        "\"chunked\"",
        "chunked;q=1",
        "cow",
        "",
        "\x0bchunked",
        "gzip, chunked",
        "chunked gzip",
    ] {
        let status = refusal(&headwater, &format!("Transfer-Encoding: {coding}\r\n"), "0\r\n\r\n");
        assert!([400, 501].contains(&status), "{coding:?}: {status}");
    }
    for fields in [
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
    ] {
        let status = refusal(&headwater, fields, "0\r\n\r\n");
        assert!([400, 501].contains(&status), "{fields:?}: {status}");
    }
    assert_eq!(origin.connections(), 0);
}

#[test]
fn http_1_0_has_no_transfer_encoding() {
    let (origin, headwater) = before();
    let mut client = Client::connect(headwater.http);
    client.send(format!("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{NEXT}"));
    assert_eq!(client.read_response().status, 400);
    assert!(client.is_closed());
    assert_eq!(origin.connections(), 0);
}

/// The head may have gone up before the bad chunk was seen, but the origin never sees a whole request.
#[test]
fn bad_chunks_are_refused() {
    let (origin, headwater) = before();
    for chunks in [
        "xyz\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5_0\r\nhello\r\n0\r\n\r\n",
        "5.\r\nhello\r\n0\r\n\r\n",
        "\r\n5\r\nhello\r\n0\r\n\r\n",
        ";x=y\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "4\r\nhello\r\n0\r\n\r\n",
        "5\rX\nhello\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
        "5;a\0b\r\nhello\r\n0\r\n\r\n",
        "FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\n\r\n",
        "5\r\nhello\r\n0\r\nX: y\n\r\n",
        "5\r\nhello\r\n0\r\nX: a\0\r\n\r\n",
        "5\r\nhello\r\n0\r\nX : y\r\n\r\n",
        "5\r\nhello\r\n0\r\n X: y\r\n\r\n",
        "5\r\nhello\r\n0\r\nno colon\r\n\r\n",
        "5\r\nhello\r\n0\r\n\n",
    ] {
        assert_eq!(refusal(&headwater, "Transfer-Encoding: chunked\r\n", chunks), 400, "{chunks:?}");
        wait_until("the origin's connection is gone", || origin.open() == 0);
        let whole = origin.requests().iter().filter(|request| request.complete).count();
        assert_eq!(whole, 0, "the origin took {chunks:?} for a body");
    }
    assert!(origin.requests().iter().all(|request| request.target == "/"), "what follows was taken for a request");
    assert_eq!(exchange(headwater.http, request("GET", "/", &[])).status, 200);
}

#[test]
fn endless_chunk_extensions_and_trailers_are_refused() {
    let (origin, headwater) = before();
    for chunks in [
        format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(100_000)),
        format!("5\r\nhello\r\n0\r\nX: {}\r\n\r\n", "x".repeat(100_000)),
        format!("5\r\nhello\r\n0\r\n{}\r\n", "X: y\r\n".repeat(10_000)),
    ] {
        let status = refusal(&headwater, "Transfer-Encoding: chunked\r\n", &chunks);
        assert!([400, 431].contains(&status), "{status} to {}", &chunks[..20]);
    }
    wait_until("the origin's connections are gone", || origin.open() == 0);
    assert!(origin.requests().iter().all(|request| !request.complete && request.target == "/"));
}

#[test]
fn a_body_that_breaks_off_is_not_passed_for_whole() {
    let (origin, headwater) = before();
    for (framing, half) in [("Content-Length: 10", "hello"), ("Transfer-Encoding: chunked", "5\r\nhello\r\n")] {
        let mut client = Client::connect(headwater.http);
        client.send(format!("POST / HTTP/1.1\r\nHost: shop.example\r\n{framing}\r\n\r\n{half}"));
        std::thread::sleep(Duration::from_millis(100));
        drop(client);
        wait_until("the origin's connection is gone", || origin.connections() > 0 && origin.open() == 0);
    }
    assert!(origin.requests().iter().all(|request| !request.complete));
}

#[test]
fn a_get_may_have_a_body_and_it_is_not_the_next_request() {
    let (origin, headwater) = before();
    let mut client = Client::connect(headwater.http);
    client.send(request("GET", "/first", &[("Content-Length", &NEXT.len().to_string())]) + NEXT);
    assert_eq!(client.read_response().status, 200);
    assert_eq!(origin.last().body, NEXT.as_bytes());
    client.send(request("GET", "/second", &[]));
    assert_eq!(client.read_response().status, 200);
    assert_eq!(origin.requests().len(), 2);
}

#[test]
fn an_unknown_expectation_is_refused() {
    let (origin, headwater) = before();
    let got = exchange(headwater.http, request("POST", "/", &[("Expect", "200-maybe"), ("Content-Length", "0")]));
    assert_eq!(got.status, 417, "{}", got.head);
    assert_eq!(origin.requests().len(), 0);
}

#[test]
fn garbage_neither_hangs_nor_harms() {
    let origin = Origin::answering(answer("200 OK", &[], "ok"));
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
