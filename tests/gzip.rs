//! Compression: asked for, agreed to, and told truthfully.

use headwater_testkit::{Client, Headwater, Origin, Response, Then, get, request};
use std::io::Read;
use std::time::{Duration, Instant};

fn page(extra: &str) -> String {
    let body = "<p>hello, hello</p>".repeat(100);
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n{extra}Content-Length: {}\r\n\r\n{body}", body.len())
}

fn ask(answer: &str, config: &str, accept: &str) -> Response {
    let origin = Origin::answering(answer);
    let proxy = Headwater::start(&format!("{}{config}", origin.config()));
    get(proxy.http, "/page.html", &[("Accept-Encoding", accept)])
}

fn encoding(answer: &str, config: &str) -> Option<String> {
    let answer = ask(answer, config, "gzip");
    assert_eq!(answer.status, 200);
    answer.header("Content-Encoding").map(str::to_string)
}

#[test]
fn the_client_decides_whether_it_gets_gzip() {
    let origin = Origin::answering(page(""));
    let proxy = Headwater::start(&origin.config());
    for (accept, expected) in [
        ("gzip", Some("gzip")),
        ("br;q=1, GZIP;q=0.1", Some("gzip")),
        ("*", Some("gzip")),
        ("gzip;q=0, *", None),
        ("identity;q=0", None),
        ("br, identity;q=0", None),
        ("gzip;q=0.5, identity", None),
        ("", None),
    ] {
        let answer = get(proxy.http, "/", &[("Accept-Encoding", accept)]);
        assert_eq!((answer.status, answer.header("Content-Encoding")), (200, expected), "{accept}");
        assert_eq!(answer.headers("Vary"), ["Accept-Encoding"], "{accept}");
    }
}

#[test]
fn what_is_compressed_is_what_the_rules_name() {
    let html = page("");
    assert_eq!(encoding(&html, "").as_deref(), Some("gzip"));
    assert_eq!(encoding(&html.replace("text/html", "image/png"), ""), None);
    assert_eq!(encoding(&html.replace("text/html", "TEXT/HTML"), "").as_deref(), Some("gzip"));
    assert_eq!(encoding(&html, "[gzip]\nmin_length = \"2 KiB\"\n"), None);
    assert_eq!(encoding(&html, "[gzip]\ntypes = [\"image/*\"]\n"), None);
    assert_eq!(encoding(&html.replace("text/html", "image/x"), "[gzip]\ntypes = [\"image/*\"]\n").as_deref(), Some("gzip"));
    let rule = |key: &str| format!("[[rule]]\nname = \"r\"\npath = '.'\n{key}\n");
    assert_eq!(encoding(&html, &rule("gzip = false")), None);
    assert_eq!(encoding(&html, &rule("gzip_min_length = \"1 MiB\"")), None);
    assert_eq!(encoding(&html, &rule("gzip_types = [\"text/css\"]")), None);
}

#[test]
fn what_is_encoded_already_is_left_alone() {
    assert_eq!(encoding(&page("Content-Encoding: br\r\n"), "").as_deref(), Some("br"));
    assert_eq!(encoding(&page("Content-Encoding: identity\r\n"), "").as_deref(), Some("gzip"));
}

#[test]
fn the_level_changes_the_size() {
    let mut seed = 1_u32;
    let words: String = (0..20_000)
        .map(|_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            format!("w{} ", seed >> 22)
        })
        .collect();
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n{words}", words.len());
    let size = |level| {
        let answer = ask(&answer, &format!("[gzip]\nlevel = {level}\n"), "gzip");
        assert_eq!(answer.gunzip(), words.as_bytes());
        answer.body.len()
    };
    assert!(size(1) > size(9), "level 9 is no smaller than level 1");
}

#[test]
fn vary_is_merged_and_never_doubled() {
    let vary = |extra| ask(&page(extra), "", "gzip").headers("Vary").join("|");
    assert_eq!(vary("Vary: Cookie\r\n"), "Cookie, Accept-Encoding");
    assert_eq!(vary("Vary: Cookie\r\nVary: accept-encoding\r\n"), "Cookie|accept-encoding");
    assert_eq!(vary("Vary: *\r\n"), "*");
}

#[test]
fn five_mebibytes_come_back_byte_for_byte() {
    let body: Vec<u8> = (0..5 << 20_u32).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> (n % 29)) as u8).collect();
    let kept = body.clone();
    let origin = Origin::with(move |_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/css\r\nTransfer-Encoding: chunked\r\n\r\n");
        for chunk in kept.chunks(77_777) {
            let _ = stream.write_all(format!("{:x}\r\n", chunk.len()).as_bytes());
            let _ = stream.write_all(chunk);
            let _ = stream.write_all(b"\r\n");
        }
        let _ = stream.write_all(b"0\r\nX-Sum: 1\r\n\r\n");
        Then::Keep
    });
    let proxy = Headwater::start(&origin.config());
    let answer = get(proxy.http, "/", &[("Accept-Encoding", "gzip")]);
    assert!(answer.gunzip() == body);
    assert_eq!(answer.trailers, [("X-Sum".to_string(), "1".to_string())]);
    let metrics = proxy.metrics();
    assert_eq!(metrics.value("headwater_gzip_bytes_total", &[("direction", "in")]), body.len() as f64);
    assert_eq!(metrics.value("headwater_gzip_bytes_total", &[("direction", "out")]), answer.body.len() as f64);
    proxy.wait_metric("headwater_pull_bytes_total", &[], answer.body.len() as f64);
}

#[test]
fn when_the_origin_pauses_what_it_has_said_goes_out() {
    let origin = Origin::with(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
        std::thread::sleep(Duration::from_secs(2));
        let _ = stream.write_all(b"6\r\nsecond\r\n0\r\n\r\n");
        Then::Keep
    });
    let proxy = Headwater::start(&origin.config());
    let mut client = Client::connect(proxy.http);
    let started = Instant::now();
    client.send(request("GET", "/", &[("Accept-Encoding", "gzip")]));
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(client.read_bytes(1));
    }
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.extend(client.read_bytes(1));
    }
    let size = usize::from_str_radix(String::from_utf8(line).unwrap().trim(), 16).unwrap();
    let piece = client.read_bytes(size);
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    let mut text = [0; 5];
    flate2::read::GzDecoder::new(&piece[..]).read_exact(&mut text).unwrap();
    assert_eq!(&text, b"first");
}
