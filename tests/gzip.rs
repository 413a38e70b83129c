//! gzip: who gets it, of what, and what comes out.

use flate2::write::GzDecoder;
use headwater_testkit::{Client, Headwater, Origin, Then, answer, exchange, get, request};
use std::io::Write;
use std::time::{Duration, Instant};

fn text() -> String {
    (0..400).map(|line| format!("line {line} of a text that compresses well enough\n")).collect()
}

fn before_text() -> (Origin, Headwater) {
    let origin = Origin::answering(answer("200 OK", &[("Content-Type", "text/plain")], text()));
    let headwater = Headwater::before(&origin);
    (origin, headwater)
}

fn is_gzipped(headwater: &Headwater, path: &str) -> bool {
    let got = get(headwater.http, path, &[("Accept-Encoding", "gzip")]);
    assert!(got.complete, "{}", got.head);
    got.header("Content-Encoding") == Some("gzip")
}

#[test]
fn a_client_that_accepts_gzip_gets_it() {
    let (_origin, headwater) = before_text();
    for accepted in [
        "gzip",
        "GZIP",
        "x-gzip",
        "gzip;q=1.0",
        "gzip; q=0.5",
        "*",
        "deflate, gzip, br",
        "br;q=1.0, gzip;q=0.8, *;q=0.1",
        "gzip;q=0.5, identity;q=0.1",
        "identity;q=0, *",
        "gzip,identity;q=0",
    ] {
        let got = get(headwater.http, "/", &[("Accept-Encoding", accepted)]);
        assert_eq!(got.header("Content-Encoding"), Some("gzip"), "{accepted}\n{}", got.head);
        assert_eq!(got.gunzip(), text().as_bytes(), "{accepted}");
        assert_eq!(got.headers("Vary"), ["Accept-Encoding"], "{accepted}");
    }
}

#[test]
fn a_client_that_does_not_accept_gzip_gets_the_text() {
    let (_origin, headwater) = before_text();
    for accepted in [
        "",
        "identity",
        "br",
        "deflate",
        "gzip;q=0",
        "gzip;q=0.0",
        "gzip;q=0.000",
        "gzip ; q=0",
        "gzip;Q=0",
        "gzip;q=0, *",
        "*, gzip;q=0",
        "*;q=0",
        "sgzip",
        "gzipped",
        "identity, gzip;q=0.5",
        "identity;q=1, *;q=0.2",
    ] {
        let got = get(headwater.http, "/", &[("Accept-Encoding", accepted)]);
        assert_eq!((got.status, got.header("Content-Encoding")), (200, None), "{accepted:?}\n{}", got.head);
        assert_eq!(got.text(), text(), "{accepted:?}");
        assert_eq!(got.headers("Vary"), ["Accept-Encoding"], "{accepted:?}");
    }
}

#[test]
fn a_client_that_says_nothing_gets_the_text() {
    let (_origin, headwater) = before_text();
    let got = get(headwater.http, "/", &[]);
    assert_eq!((got.header("Content-Encoding"), got.text()), (None, text()));
}

#[test]
fn several_accept_encoding_lines_are_one_list() {
    let (_origin, headwater) = before_text();
    let got = get(headwater.http, "/", &[("Accept-Encoding", "br"), ("Accept-Encoding", "gzip")]);
    assert_eq!(got.header("Content-Encoding"), Some("gzip"), "{}", got.head);
    let got = get(headwater.http, "/", &[("Accept-Encoding", "*"), ("Accept-Encoding", "gzip;q=0")]);
    assert_eq!(got.header("Content-Encoding"), None, "{}", got.head);
}

#[test]
fn what_cannot_be_satisfied_is_still_no_error() {
    let (_origin, headwater) = before_text();
    for accepted in ["identity;q=0", "identity;q=0, *;q=0", "br, identity;q=0, gzip;q=0"] {
        let got = get(headwater.http, "/", &[("Accept-Encoding", accepted)]);
        assert_eq!(got.status, 200, "{accepted}\n{}", got.head);
        let body = if got.header("Content-Encoding").is_some() { got.gunzip() } else { got.body };
        assert_eq!(body, text().as_bytes(), "{accepted}");
    }
}

#[test]
fn an_http_1_0_pull_gets_gzip_up_to_the_end_of_the_connection() {
    let (_origin, headwater) = before_text();
    let got = exchange(headwater.http, "GET / HTTP/1.0\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n");
    assert_eq!((got.header("Content-Encoding"), got.header("Transfer-Encoding")), (Some("gzip"), None), "{}", got.head);
    assert_eq!(got.gunzip(), text().as_bytes());
}

#[test]
fn short_bodies_stay_as_they_are() {
    let origin = Origin::with(|request, stream| {
        let length: usize = request.target[1..].parse().unwrap();
        let mut bytes = answer("200 OK", &[("Content-Type", "text/html")], "x".repeat(length));
        if request.method == "HEAD" {
            bytes.truncate(bytes.len() - length);
        }
        let _ = stream.write_all(&bytes);
        Then::Keep
    });
    let headwater = Headwater::before(&origin);
    assert!(!is_gzipped(&headwater, "/1"));
    assert!(!is_gzipped(&headwater, "/0"));
    assert!(!is_gzipped(&headwater, "/859"));
    assert!(is_gzipped(&headwater, "/860"));
    let of_head = exchange(headwater.http, request("HEAD", "/859", &[("Accept-Encoding", "gzip")]));
    assert_eq!((of_head.header("Content-Encoding"), of_head.header("Content-Length")), (None, Some("859")));
}

#[test]
fn types_are_told_without_parameters_and_case() {
    let origin = Origin::with(|request, stream| {
        let media_type = request.header("X-Type").unwrap_or("").to_string();
        let headers: &[_] = if media_type.is_empty() { &[] } else { &[("Content-Type", media_type.as_str())] };
        let _ = stream.write_all(&answer("200 OK", headers, text()));
        Then::Keep
    });
    let headwater = Headwater::before(&origin);
    for (media_type, wanted) in [
        ("text/html", true),
        ("text/html; charset=utf-8", true),
        ("TEXT/HTML;charset=UTF-8", true),
        ("text/css", true),
        ("application/javascript ; x=y", true),
        ("application/json", true),
        ("image/svg+xml", true),
        ("text/htmlx", false),
        ("text", false),
        ("image/jpeg", false),
        ("application/octet-stream", false),
        ("application/problem; text/html", false),
        ("", false),
    ] {
        let got = get(headwater.http, "/", &[("Accept-Encoding", "gzip"), ("X-Type", media_type)]);
        assert_eq!(got.header("Content-Encoding").is_some(), wanted, "{media_type:?}\n{}", got.head);
    }
}

#[test]
fn types_level_and_size_go_by_the_rule() {
    let origin = Origin::with(|request, stream| {
        let media_type = if request.target.ends_with(".wasm") { "application/wasm" } else { "text/plain" };
        let _ = stream.write_all(&answer("200 OK", &[("Content-Type", media_type)], text()));
        Then::Keep
    });
    let rules = "[gzip]\nmin_length = \"1 KiB\"\nlevel = 5\n\
                 [[rule]]\nname = \"off\"\npath = '^/off'\ngzip = false\n\
                 [[rule]]\nname = \"wasm\"\npath = 'wasm$'\ngzip_types = [\"application/wasm\"]\n\
                 [[rule]]\nname = \"fast\"\npath = '^/fast'\ngzip_level = 1\n\
                 [[rule]]\nname = \"small\"\npath = '^/small'\ngzip_level = 9\n\
                 [[rule]]\nname = \"long\"\npath = '^/long'\ngzip_min_length = \"1 MiB\"\n";
    let headwater = Headwater::before_with(&origin, rules);
    assert!(is_gzipped(&headwater, "/"));
    assert!(!is_gzipped(&headwater, "/off"));
    assert!(is_gzipped(&headwater, "/a.wasm"));
    assert!(!is_gzipped(&headwater, "/long"));
    let size = |path| get(headwater.http, path, &[("Accept-Encoding", "gzip")]).body.len();
    let (fast, small) = (size("/fast"), size("/small"));
    assert!(fast > small, "level 1 took {fast} bytes, level 9 {small}");
    // Off means off: there is one form, and nothing that it varies by.
    assert_eq!(get(headwater.http, "/off", &[]).header("Vary"), None);
}

#[test]
fn what_is_encoded_already_is_not_encoded_again() {
    for coding in ["gzip", "br", "zstd", "aes128gcm"] {
        let headers = [("Content-Type", "text/plain"), ("Content-Encoding", coding), ("ETag", "\"1\"")];
        let origin = Origin::answering(answer("200 OK", &headers, text()));
        let headwater = Headwater::before(&origin);
        let got = get(headwater.http, "/", &[("Accept-Encoding", "gzip, br")]);
        assert_eq!(got.headers("Content-Encoding"), [coding]);
        assert_eq!((got.header("ETag"), got.text()), (Some("\"1\""), text()));
    }
}

#[test]
fn what_the_origin_sent_so_far_is_not_held_back_when_it_pauses() {
    let half = "half a line of text that the origin has sent so far; ".repeat(40);
    let sent = half.clone();
    let origin = Origin::with(move |_, stream| {
        // The chunk's other half comes two seconds later.
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n";
        let _ = stream.write_all(format!("{head}{:x}\r\n{sent}", sent.len() * 2).as_bytes());
        std::thread::sleep(Duration::from_secs(2));
        let _ = stream.write_all(format!("{sent}\r\n0\r\n\r\n").as_bytes());
        Then::Keep
    });
    let headwater = Headwater::before(&origin);
    for accepted in ["gzip", "identity"] {
        let begun = Instant::now();
        let mut client = Client::connect(headwater.http);
        client.send(request("GET", "/", &[("Accept-Encoding", accepted)]));
        let head = client.read_head();
        let mut decoder = GzDecoder::new(Vec::new());
        let mut plain = Vec::new();
        let mut first_half_after = None;
        while let Some(chunk) = client.read_chunk().filter(|chunk| !chunk.is_empty()) {
            if head.header("Content-Encoding").is_some() {
                decoder.write_all(&chunk).unwrap();
                decoder.flush().unwrap();
                plain = decoder.get_ref().clone();
            } else {
                plain.extend_from_slice(&chunk);
            }
            if plain.len() >= half.len() {
                first_half_after.get_or_insert(begun.elapsed());
            }
        }
        let first_half_after = first_half_after.expect("the first half");
        assert!(
            first_half_after < Duration::from_secs(1),
            "{accepted}: the first half came after {first_half_after:?}"
        );
        assert_eq!(plain, half.repeat(2).as_bytes(), "{accepted}");
    }
}

#[test]
fn a_long_text_comes_out_as_it_went_in() {
    // Numbers in no order: large enough for many reads and writes, with matches near and far.
    let mut seed = 1_u64;
    let body: String = (0..200_000)
        .map(|_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            format!("{} ", seed >> 44)
        })
        .collect();
    let sent = body.clone();
    let origin = Origin::with(move |request, stream| {
        if request.target == "/chunked" {
            let _ =
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/css\r\nTransfer-Encoding: chunked\r\n\r\n");
            for piece in sent.as_bytes().chunks(70_001) {
                let _ = stream.write_all(format!("{:X}\r\n", piece.len()).as_bytes());
                let _ = stream.write_all(piece);
                let _ = stream.write_all(b"\r\n");
            }
            let _ = stream.write_all(b"0\r\n\r\n");
        } else {
            let _ = stream.write_all(&answer("200 OK", &[("Content-Type", "text/css")], &sent));
        }
        Then::Keep
    });
    let headwater = Headwater::before(&origin);
    for path in ["/chunked", "/length"] {
        for level in [1, 6] {
            let got = get(headwater.http, path, &[("Accept-Encoding", "gzip")]);
            assert!(got.complete && got.gunzip() == body.as_bytes(), "{path} {level}");
        }
    }
}

#[test]
fn gzip_counts_its_bytes() {
    let (_origin, headwater) = before_text();
    let got = get(headwater.http, "/", &[("Accept-Encoding", "gzip")]);
    headwater.wait_metric("headwater_gzip_bytes_total", &[("direction", "in")], text().len() as f64);
    headwater.wait_metric("headwater_gzip_bytes_total", &[("direction", "out")], got.body.len() as f64);
    headwater.wait_metric("headwater_pull_bytes_total", &[], got.body.len() as f64);
}
