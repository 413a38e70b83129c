//! A real Apache, with a document root of files.

use headwater_testkit::{Apache, Client, FASTLY, Headwater, Response, get, request};

const STATIC: &str = "max-age=94670800";

fn css() -> String {
    (0..300).map(|number| format!(".rule-{number} {{ margin: {number}px auto; color: #{number:06x}; }}\n")).collect()
}

fn picture() -> Vec<u8> {
    [&b"\xff\xd8\xff\xe0"[..], &(0..9000_u32).map(|i| ((i * i) >> 3) as u8).collect::<Vec<_>>()].concat()
}

fn site() -> (Apache, Headwater) {
    let (css, picture) = (css(), picture());
    let apache = Apache::start(
        "",
        &[
            ("site.css", css.as_bytes()),
            ("app.js", css.as_bytes()),
            ("index.html", css.as_bytes()),
            ("sub/page.html", b"<p>short</p>"),
            ("photo.jpg", &picture),
            ("with space.txt", b"spaced"),
        ],
    );
    let headwater = Headwater::start(&format!("[origin]\nservers = [\"{}\"]\n{FASTLY}", apache.address()));
    (apache, headwater)
}

fn pull(headwater: &Headwater, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut all = vec![("X-CDN-Provider", "fastly")];
    all.extend(headers);
    get(headwater.http, path, &all)
}

const GZIP: (&str, &str) = ("Accept-Encoding", "gzip");

#[test]
fn a_stylesheet_lives_long_and_is_compressed() {
    let (_apache, headwater) = site();
    for (path, media_type) in [("/site.css", "text/css"), ("/app.js", "javascript")] {
        let got = pull(&headwater, path, &[GZIP]);
        assert_eq!(got.status, 200, "{}", got.head);
        assert_eq!(got.headers("Cache-Control"), [STATIC], "{path}\n{}", got.head);
        assert!(got.header("Content-Type").is_some_and(|found| found.contains(media_type)), "{}", got.head);
        if path == "/site.css" {
            assert_eq!((got.header("Content-Encoding"), got.headers("Vary")), (Some("gzip"), vec!["Accept-Encoding"]));
            assert_eq!(got.gunzip(), css().as_bytes());
            assert!(got.header("ETag").unwrap().starts_with("W/\""), "{}", got.head);
        }
        let plain = pull(&headwater, path, &[]);
        assert_eq!((plain.text(), plain.headers("Cache-Control")), (css(), vec![STATIC]));
    }
}

#[test]
fn a_page_is_compressed_and_keeps_the_lifetime_it_has() {
    let (_apache, headwater) = site();
    let got = pull(&headwater, "/index.html", &[GZIP]);
    assert_eq!((got.header("Content-Encoding"), got.header("Cache-Control")), (Some("gzip"), None), "{}", got.head);
    assert_eq!(got.gunzip(), css().as_bytes());
    let index = pull(&headwater, "/", &[]);
    assert_eq!(index.text(), css());
}

#[test]
fn a_picture_goes_through_untouched() {
    let (_apache, headwater) = site();
    let got = pull(&headwater, "/photo.jpg", &[GZIP]);
    assert_eq!(
        (got.header("Content-Encoding"), got.header("Content-Type")),
        (None, Some("image/jpeg")),
        "{}",
        got.head
    );
    assert_eq!((got.header("Cache-Control"), got.header("Accept-Ranges")), (Some(STATIC), Some("bytes")));
    assert!(got.body == picture());
    assert!(!got.header("ETag").unwrap().starts_with("W/"), "{}", got.head);
}

#[test]
fn what_was_pulled_once_revalidates() {
    let (_apache, headwater) = site();
    for (path, headers) in
        [("/site.css", &[GZIP][..]), ("/site.css", &[]), ("/photo.jpg", &[GZIP]), ("/index.html", &[GZIP])]
    {
        let first = pull(&headwater, path, headers);
        let tag = first.header("ETag").expect("Apache gives tags").to_string();
        let since = first.header("Last-Modified").expect("and dates").to_string();
        for validator in [("If-None-Match", tag.as_str()), ("If-Modified-Since", since.as_str())] {
            let mut all = headers.to_vec();
            all.push(validator);
            let again = pull(&headwater, path, &all);
            assert_eq!((again.status, again.body.len()), (304, 0), "{path} {validator:?}\n{}", again.head);
            assert_eq!(again.header("Cache-Control"), first.header("Cache-Control"), "{}", again.head);
            if path != "/photo.jpg" {
                assert!(again.has_member("Vary", "Accept-Encoding"), "{}", again.head);
            }
        }
        let changed = pull(&headwater, path, &[("If-None-Match", "\"another\"")]);
        assert_eq!(changed.status, 200);
    }
}

#[test]
fn ranges_are_served_to_the_byte() {
    let (_apache, headwater) = site();
    let got = pull(&headwater, "/site.css", &[GZIP, ("Range", "bytes=100-199")]);
    assert_eq!((got.status, got.header("Content-Encoding")), (206, None), "{}", got.head);
    assert_eq!(got.header("Content-Range"), Some(format!("bytes 100-199/{}", css().len()).as_str()));
    assert_eq!(got.text(), css()[100..200]);
    let tail = pull(&headwater, "/photo.jpg", &[("Range", "bytes=-10")]);
    assert_eq!(tail.body, picture()[picture().len() - 10..]);
    let several = pull(&headwater, "/site.css", &[GZIP, ("Range", "bytes=0-9,100-109")]);
    assert_eq!(several.status, 206);
    assert!(several.header("Content-Type").unwrap().starts_with("multipart/byteranges"), "{}", several.head);
    assert!(several.complete && several.text().contains(&css()[100..110]));
    assert_eq!(pull(&headwater, "/site.css", &[("Range", "bytes=999999-")]).status, 416);
}

#[test]
fn a_range_of_what_was_given_out_with_a_strong_tag_is_served_and_with_a_weak_one_is_not() {
    let (_apache, headwater) = site();
    let strong = pull(&headwater, "/photo.jpg", &[]).header("ETag").unwrap().to_string();
    assert_eq!(pull(&headwater, "/photo.jpg", &[("Range", "bytes=0-9"), ("If-Range", &strong)]).status, 206);
    let weak = pull(&headwater, "/site.css", &[GZIP]).header("ETag").unwrap().to_string();
    // RFC 9110, section 13.1.5: a weak tag never matches here, so the client gets the whole and not a mixture.
    assert_eq!(pull(&headwater, "/site.css", &[("Range", "bytes=0-9"), ("If-Range", &weak)]).status, 200);
}

#[test]
fn apaches_own_words_pass() {
    let (_apache, headwater) = site();
    let missing = pull(&headwater, "/missing.css", &[]);
    assert_eq!((missing.status, missing.header("Cache-Control")), (404, None), "{}", missing.head);
    let moved = pull(&headwater, "/sub", &[]);
    assert_eq!(moved.status, 301);
    assert!(moved.header("Location").unwrap().starts_with("http://shop.example"), "{}", moved.head);
    assert_eq!(pull(&headwater, "/with%20space.txt", &[]).text(), "spaced");
    assert!(moved.header("Server").is_some_and(|server| server.contains("Apache")), "{}", moved.head);
}

#[test]
fn apache_compresses_and_we_do_not_again() {
    let deflate = "AddOutputFilterByType DEFLATE text/css\n";
    let apache = Apache::start(deflate, &[("site.css", css().as_bytes())]);
    let headwater = Headwater::start(&format!("[origin]\nservers = [\"{}\"]\n", apache.address()));
    let got = get(headwater.http, "/site.css", &[GZIP]);
    assert_eq!(
        (got.headers("Content-Encoding"), got.headers("Vary")),
        (vec!["gzip"], vec!["Accept-Encoding"]),
        "{}",
        got.head
    );
    assert_eq!(got.gunzip(), css().as_bytes());
}

#[test]
fn a_rule_outranks_mod_headers_and_says_one_lifetime() {
    let extra = "Header append Cache-Control private\nHeader append Cache-Control max-age=5\n";
    let apache = Apache::start(extra, &[("site.css", b"a{}"), ("index.html", b"<p>")]);
    let headwater = Headwater::start(&format!("[origin]\nservers = [\"{}\"]\n", apache.address()));
    assert_eq!(get(headwater.http, "/site.css", &[]).headers("Cache-Control"), [STATIC]);
    assert_eq!(get(headwater.http, "/index.html", &[]).headers("Cache-Control"), ["private, max-age=5"]);
}

#[test]
fn pulls_are_counted_for_the_provider() {
    let (_apache, headwater) = site();
    let sent = pull(&headwater, "/site.css", &[GZIP]).body.len() + pull(&headwater, "/app.js", &[]).body.len();
    pull(&headwater, "/index.html", &[]);
    pull(&headwater, "/missing", &[]);
    get(headwater.http, "/site.css", &[]);
    headwater.wait_metric("headwater_pulls_total", &[("cdn", "fastly"), ("rule", "static"), ("code", "2xx")], 2.0);
    headwater.wait_metric("headwater_pulls_total", &[("cdn", "fastly"), ("rule", "default"), ("code", "2xx")], 1.0);
    headwater.wait_metric("headwater_pulls_total", &[("cdn", "fastly"), ("code", "4xx")], 1.0);
    headwater.wait_metric("headwater_pulls_total", &[("cdn", "untagged")], 1.0);
    headwater.wait_metric("headwater_pull_bytes_total", &[("cdn", "fastly"), ("rule", "static")], sent as f64);
    headwater.wait_metric("headwater_upstream_first_byte_seconds_count", &[("cdn", "fastly")], 4.0);
}

#[test]
fn apaches_keep_alive_is_never_outlived() {
    let apache = Apache::start("KeepAliveTimeout 1\nMaxKeepAliveRequests 3\n", &[("site.css", b"a{}")]);
    let headwater = Headwater::start(&format!("[origin]\nservers = [\"{}\"]\n", apache.address()));
    let mut client = Client::connect(headwater.http);
    for round in 0..12 {
        client.send(request("POST", "/site.css", &[("Content-Length", "0")]));
        let got = client.read_response();
        assert!(got.status < 500, "pull {round}: {}", got.head);
        std::thread::sleep(std::time::Duration::from_millis([0, 10, 990, 1010][round % 4]));
    }
    assert_eq!(headwater.metrics().value("headwater_upstream_errors_total", &[]), 0.0);
}
