//! gzip: what the head says of it.

use headwater_testkit::{Client, Headwater, Origin, Response, Then, answer, exchange, get, request};

fn text() -> String {
    "a text that compresses well; ".repeat(200)
}

fn gzipped(headers: &[(&str, &str)]) -> Response {
    let mut all = vec![("Content-Type", "text/html")];
    all.extend(headers);
    let origin = Origin::answering(answer("200 OK", &all, text()));
    let headwater = Headwater::before(&origin);
    get(headwater.http, "/", &[("Accept-Encoding", "gzip")])
}

#[test]
fn vary_is_merged_once() {
    for (lines, wanted) in [
        (&["Accept-Encoding"][..], &["accept-encoding"][..]),
        (&["accept-encoding"], &["accept-encoding"]),
        (&["Cookie"], &["accept-encoding", "cookie"]),
        (&["Cookie, Accept-Encoding"], &["accept-encoding", "cookie"]),
        (&["Cookie", "Origin,Accept-Encoding"], &["accept-encoding", "cookie", "origin"]),
        (&["X-Accept-Encoding"], &["accept-encoding", "x-accept-encoding"]),
    ] {
        let headers: Vec<_> = lines.iter().map(|line| ("Vary", *line)).collect();
        let got = gzipped(&headers);
        assert_eq!(got.header("Content-Encoding"), Some("gzip"));
        let mut members: Vec<String> = got
            .headers("Vary")
            .iter()
            .flat_map(|line| line.split(','))
            .map(|member| member.trim().to_lowercase())
            .collect();
        members.sort();
        assert_eq!(members, wanted, "{}", got.head);
    }
}

#[test]
fn vary_on_everything_stays_that() {
    let got = gzipped(&[("Vary", "*")]);
    assert_eq!(got.headers("Vary"), ["*"], "{}", got.head);
}

#[test]
fn a_weak_etag_stays_as_it_is() {
    assert_eq!(gzipped(&[("ETag", "W/\"v1\"")]).headers("ETag"), ["W/\"v1\""]);
}

#[test]
fn what_was_true_of_the_text_alone_is_taken_out() {
    let got = gzipped(&[
        ("Content-MD5", "Q2hlY2sgSW50ZWdyaXR5IQ=="),
        ("Content-Digest", "sha-256=:abc=:"),
        ("Repr-Digest", "sha-256=:abc=:"),
        ("Digest", "SHA-256=abc="),
        ("Accept-Ranges", "bytes"),
        ("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("X-App", "1"),
    ]);
    for name in ["Content-MD5", "Content-Digest", "Repr-Digest", "Digest", "Accept-Ranges"] {
        assert_eq!(got.header(name), None, "{}", got.head);
    }
    assert_eq!((got.header("X-App"), got.header("Content-Type")), (Some("1"), Some("text/html")));
    assert_eq!(got.header("Last-Modified"), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
}

#[test]
fn a_body_that_comes_at_once_has_its_new_length() {
    let got = gzipped(&[]);
    assert_eq!(got.header("Content-Length"), Some(got.body.len().to_string().as_str()), "{}", got.head);
    assert!(!got.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("Transfer-Encoding")), "{}", got.head);
}

#[test]
fn no_transform_is_found_wherever_it_stands() {
    for lines in [&["no-transform"][..], &["max-age=9, No-Transform"], &["public", "max-age=5,no-transform"]] {
        let headers: Vec<_> = lines.iter().map(|line| ("Cache-Control", *line)).collect();
        let got = gzipped(&headers);
        assert_eq!((got.header("Content-Encoding"), got.text()), (None, text()), "{}", got.head);
    }
}

#[test]
fn an_answer_with_a_content_range_is_left_alone_whatever_its_status() {
    let got = gzipped(&[("Content-Range", "bytes 0-9/10")]);
    assert_eq!((got.header("Content-Encoding"), got.text()), (None, text()), "{}", got.head);
}

/// An app with a strong tag that revalidates weakly, and says as little in its 304 as it may.
fn revalidating(in_304: &'static str) -> (Origin, Headwater) {
    let origin = Origin::with(move |request, stream| {
        let held = request.header("If-None-Match").unwrap_or("").to_string();
        let bytes = if held.contains("\"v1\"") {
            format!("HTTP/1.1 304 Not Modified\r\n{in_304}\r\n").into_bytes()
        } else {
            answer("200 OK", &[("Content-Type", "text/html"), ("ETag", "\"v1\"")], text())
        };
        let _ = stream.write_all(&bytes);
        Then::Keep
    });
    let headwater = Headwater::before(&origin);
    (origin, headwater)
}

#[test]
fn a_304_has_the_tag_that_the_client_holds() {
    let (_origin, headwater) = revalidating("ETag: \"v1\"\r\nCache-Control: max-age=5\r\n");
    for (held, wanted) in [("W/\"v1\"", "W/\"v1\""), ("\"v1\"", "\"v1\""), ("\"v0\", W/\"v1\"", "W/\"v1\"")] {
        let got = get(headwater.http, "/", &[("If-None-Match", held), ("Accept-Encoding", "gzip")]);
        assert_eq!((got.status, got.header("ETag")), (304, Some(wanted)), "{held}\n{}", got.head);
        assert_eq!(got.headers("Vary"), ["Accept-Encoding"], "{held}\n{}", got.head);
        assert_eq!(got.header("Cache-Control"), Some("max-age=5"));
    }
}

#[test]
fn a_304_merges_vary_too() {
    let (_origin, headwater) = revalidating("Vary: Cookie\r\nETag: \"v1\"\r\n");
    let got = get(headwater.http, "/", &[("If-None-Match", "\"v1\"")]);
    assert!(got.has_member("Vary", "Cookie") && got.has_member("Vary", "Accept-Encoding"), "{}", got.head);
    let (_origin, headwater) = revalidating("Vary: *\r\nETag: \"v1\"\r\n");
    assert_eq!(get(headwater.http, "/", &[("If-None-Match", "\"v1\"")]).headers("Vary"), ["*"]);
}

#[test]
fn a_304_has_no_body_and_leaves_the_connection_in_step() {
    let (_origin, headwater) = revalidating("ETag: \"v1\"\r\nContent-Length: 5800\r\nContent-Type: text/html\r\n");
    let mut client = Client::connect(headwater.http);
    for _ in 0..3 {
        client.send(request("GET", "/", &[("If-None-Match", "W/\"v1\""), ("Accept-Encoding", "gzip")]));
        let got = client.read_response();
        assert_eq!((got.status, got.header("Transfer-Encoding")), (304, None), "{}", got.head);
        client.send(request("GET", "/", &[("Accept-Encoding", "gzip")]));
        assert_eq!(client.read_response().gunzip(), text().as_bytes());
    }
}

#[test]
fn head_of_a_compressible_page_says_what_get_says() {
    let origin = Origin::with(|request, stream| {
        let body = text();
        let mut bytes =
            answer("200 OK", &[("Content-Type", "text/html"), ("ETag", "\"v1\""), ("Content-MD5", "xx")], &body);
        if request.method == "HEAD" {
            bytes.truncate(bytes.len() - body.len());
        }
        let _ = stream.write_all(&bytes);
        Then::Keep
    });
    let headwater = Headwater::before(&origin);
    let got = exchange(headwater.http, request("HEAD", "/", &[("Accept-Encoding", "gzip")]));
    assert_eq!(got.header("Content-Encoding"), Some("gzip"), "{}", got.head);
    assert_eq!(got.headers("ETag"), ["W/\"v1\""]);
    assert_eq!(got.headers("Vary"), ["Accept-Encoding"]);
    assert_eq!((got.header("Content-Length"), got.header("Content-MD5")), (None, None), "{}", got.head);
}

#[test]
fn trailers_follow_a_compressed_body() {
    let origin = Origin::answering(format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, X-Rows\r\n\r\n\
         {:x}\r\n{}\r\n0\r\nX-Sum: 42\r\nX-Rows: 7\r\n\r\n",
        text().len(),
        text()
    ));
    let headwater = Headwater::before(&origin);
    let mut client = Client::connect(headwater.http);
    for _ in 0..2 {
        client.send(request("GET", "/", &[("Accept-Encoding", "gzip"), ("TE", "trailers")]));
        let got = client.read_response();
        assert_eq!(got.gunzip(), text().as_bytes());
        assert!(got.complete);
        let wanted = [("X-Sum".to_string(), "42".to_string()), ("X-Rows".to_string(), "7".to_string())];
        assert_eq!(got.trailers, wanted, "{}", got.head);
    }
}

#[test]
fn an_empty_body_of_unknown_length_is_a_whole_gzip() {
    let origin =
        Origin::answering("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    let headwater = Headwater::before(&origin);
    let got = get(headwater.http, "/", &[("Accept-Encoding", "gzip")]);
    assert!(got.complete);
    if got.header("Content-Encoding").is_some() {
        assert_eq!(got.gunzip(), b"");
    } else {
        assert_eq!(got.body, b"");
    }
}

#[test]
fn an_answer_without_a_body_is_not_called_gzip() {
    let origin = Origin::answering("HTTP/1.1 204 No Content\r\nContent-Type: text/html\r\n\r\n");
    let headwater = Headwater::before(&origin);
    let got = get(headwater.http, "/", &[("Accept-Encoding", "gzip")]);
    assert_eq!((got.status, got.header("Content-Encoding")), (204, None), "{}", got.head);
    assert_eq!((got.header("Content-Length"), got.header("Transfer-Encoding")), (None, None), "{}", got.head);
}
