//! Seventeen things that proxies before an origin get wrong, and that are right here (docs/right.md).

use headwater_testkit::{Apache, Client, Headwater, Origin, Response, exchange, get, request};

const TEXT: &str = "the quick brown fox jumps over the lazy dog; ";

fn body() -> String {
    TEXT.repeat(230)
}

/// An origin of one file with a strong tag, which revalidates by weak comparison as RFC 9110 has it.
fn tagged(extra: &'static str) -> Origin {
    Origin::with(move |request, stream| {
        let held = request.header("If-None-Match").unwrap_or("").replace("W/", "");
        let body = body();
        let head = format!("Content-Type: text/html\r\nETag: \"abc\"\r\nAccept-Ranges: bytes\r\n{extra}");
        let answer = if held == "\"abc\"" {
            format!("HTTP/1.1 304 Not Modified\r\nETag: \"abc\"\r\n{extra}\r\n")
        } else if request.header("Range").is_some() {
            let head = head.replace("Content-Type", "Content-Range: bytes 0-999/10350\r\nContent-Type");
            format!("HTTP/1.1 206 Partial Content\r\n{head}Content-Length: 1000\r\n\r\n{}", &body[..1000])
        } else {
            let sent = if request.method == "HEAD" { "" } else { &body };
            format!("HTTP/1.1 200 OK\r\n{head}Content-Length: {}\r\n\r\n{sent}", body.len())
        };
        let _ = stream.write_all(answer.as_bytes());
        headwater_testkit::Then::Keep
    })
}

fn before(origin: &Origin, rest: &str) -> Headwater {
    Headwater::start(&format!("{}{rest}", origin.config()))
}

fn gzip(proxy: &Headwater, headers: &[(&str, &str)]) -> Response {
    let mut all = vec![("Accept-Encoding", "gzip")];
    all.extend_from_slice(headers);
    get(proxy.http, "/page", &all)
}

#[test]
fn row_01_a_pull_that_came_through_a_cdn_is_compressed() {
    let (origin, via) = (tagged(""), ("Via", "1.1 cdn"));
    let answer = gzip(&before(&origin, ""), &[via]);
    assert_eq!(answer.header("Content-Encoding"), Some("gzip"));
    assert_eq!(answer.gunzip(), body().as_bytes());
}

#[test]
fn row_02_a_strong_tag_is_weakened_when_the_bytes_change() {
    let origin = tagged("");
    let proxy = before(&origin, "");
    assert_eq!(gzip(&proxy, &[]).header("ETag"), Some("W/\"abc\""));
    assert_eq!(get(proxy.http, "/page", &[]).header("ETag"), Some("\"abc\""));
}

#[test]
fn row_03_the_tag_that_was_given_out_revalidates() {
    let origin = tagged("");
    let proxy = before(&origin, "");
    let tag = gzip(&proxy, &[]).header("ETag").unwrap().to_string();
    let again = gzip(&proxy, &[("If-None-Match", &tag)]);
    assert_eq!((again.status, again.header("ETag")), (304, Some(tag.as_str())));
    assert_eq!(origin.last().header("If-None-Match"), Some(tag.as_str()));
}

#[test]
fn row_03_the_tag_revalidates_at_a_real_apache() {
    let apache = Apache::start("", &[("page.html", body().as_bytes())]);
    let proxy = Headwater::start(&format!("[origin]\nservers = [\"{}\"]\n", apache.address()));
    let first = get(proxy.http, "/page.html", &[("Accept-Encoding", "gzip")]);
    assert_eq!(first.header("Content-Encoding"), Some("gzip"));
    let tag = first.header("ETag").unwrap();
    let again = get(proxy.http, "/page.html", &[("Accept-Encoding", "gzip"), ("If-None-Match", tag)]);
    assert_eq!((again.status, again.header("ETag")), (304, Some(tag)));
}

#[test]
fn row_04_the_identity_form_says_that_there_is_another() {
    let origin = tagged("");
    let answer = get(before(&origin, "").http, "/page", &[]);
    assert!(answer.header("Content-Encoding").is_none() && answer.has_member("Vary", "Accept-Encoding"));
}

#[test]
fn row_05_a_304_says_it_too() {
    let origin = tagged("");
    let answer = gzip(&before(&origin, ""), &[("If-None-Match", "W/\"abc\"")]);
    assert_eq!(answer.status, 304);
    assert!(answer.has_member("Vary", "Accept-Encoding"));
}

#[test]
fn row_06_no_transform_is_obeyed() {
    let origin = tagged("Cache-Control: no-transform\r\n");
    let answer = gzip(&before(&origin, ""), &[]);
    assert!(answer.header("Content-Encoding").is_none());
    assert_eq!((answer.header("ETag"), answer.body.len()), (Some("\"abc\""), body().len()));
}

#[test]
fn row_07_a_206_is_never_compressed() {
    let origin = tagged("");
    let answer = gzip(&before(&origin, ""), &[("Range", "bytes=0-999")]);
    assert_eq!((answer.status, answer.header("Content-Range")), (206, Some("bytes 0-999/10350")));
    assert!(answer.header("Content-Encoding").is_none());
    assert_eq!(answer.body, &body().as_bytes()[..1000]);
}

#[test]
fn row_08_gzip_with_quality_0_is_not_sent_even_beside_a_wildcard() {
    let origin = tagged("");
    let answer = get(before(&origin, "").http, "/page", &[("Accept-Encoding", "gzip;q=0, *")]);
    assert_eq!((answer.status, answer.header("Content-Encoding")), (200, None));
}

#[test]
fn row_09_ranges_of_the_identity_form_are_not_offered_for_the_compressed_one() {
    let origin = tagged("");
    let proxy = before(&origin, "");
    assert!(gzip(&proxy, &[]).header("Accept-Ranges").is_none());
    assert_eq!(get(proxy.http, "/page", &[]).header("Accept-Ranges"), Some("bytes"));
}

#[test]
fn row_10_head_tells_what_get_tells() {
    let origin = tagged("");
    let proxy = before(&origin, "");
    for encoding in ["gzip", "identity"] {
        let headers = [("Accept-Encoding", encoding)];
        let got = get(proxy.http, "/page", &headers);
        let head = exchange(proxy.http, request("HEAD", "/page", &headers));
        assert!(head.body.is_empty());
        for name in ["Content-Encoding", "ETag", "Vary", "Content-Type", "Accept-Ranges", "Cache-Control"] {
            assert_eq!(head.header(name), got.header(name), "{name} with {encoding}");
        }
        // A length may be left out, but never be wrong.
        assert!(head.header("Content-Length").is_none() || head.header("Content-Length") == got.header("Content-Length"));
    }
}

const EXPIRY: &str = "[[rule]]\nname = \"all\"\npath = '.'\ncache_control = \"max-age=3600\"\n";

#[test]
fn row_11_an_expiry_by_path_respects_private_and_never_makes_two_ages() {
    for mode in ["default", "cap"] {
        let origin = tagged("Cache-Control: private\r\n");
        let answer = get(before(&origin, &format!("{EXPIRY}mode = \"{mode}\"\n")).http, "/page", &[]);
        assert_eq!(answer.header("Cache-Control"), Some("private"), "{mode}");
    }
    for mode in ["default", "cap", "set"] {
        let origin = tagged("Cache-Control: no-transform, max-age=60\r\n");
        let answer = get(before(&origin, &format!("{EXPIRY}mode = \"{mode}\"\n")).http, "/page", &[]);
        assert_eq!(answer.headers("Cache-Control").concat().matches("max-age").count(), 1, "{mode}");
    }
}

#[test]
fn row_12_an_error_gets_no_expiry() {
    for answer in ["both", "off"] {
        let origin = Origin::answering("HTTP/1.1 500 Oops\r\nCache-Control: max-age=5\r\nExpires: 0\r\nContent-Length: 0\r\n\r\n");
        let got = get(before(&origin, &format!("{EXPIRY}[whoopsie]\nanswer = \"{answer}\"\n")).http, "/page", &[]);
        assert_eq!((got.status, got.header("Cache-Control"), got.header("Expires")), (500, Some("no-store"), None));
    }
}

const JSON_ERROR: &str = "HTTP/1.1 500 Oops\r\nContent-Type: application/json\r\nRetry-After: 7\r\nX-Err: 42\r\n\
                          Content-Length: 13\r\n\r\n{\"error\":\"x\"}";

#[test]
fn row_13_a_json_error_reaches_the_program_that_asked_as_it_came() {
    let origin = Origin::answering(JSON_ERROR);
    let answer = get(before(&origin, "").http, "/api", &[("Accept", "application/json")]);
    assert_eq!((answer.status, answer.text().as_str()), (500, "{\"error\":\"x\"}"));
    assert_eq!((answer.header("Retry-After"), answer.header("X-Err")), (Some("7"), Some("42")));
}

#[test]
fn row_13_a_replaced_error_keeps_the_headers_that_are_still_true() {
    let origin = Origin::answering(JSON_ERROR);
    let answer = get(before(&origin, "").http, "/page", &[("Accept", "text/html")]);
    assert!(answer.text().contains("<html"));
    assert_eq!((answer.status, answer.header("Retry-After"), answer.header("X-Err")), (500, Some("7"), Some("42")));
}

#[test]
fn row_14_a_rule_reaches_every_status_it_names() {
    let origin = Origin::answering("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    let answer = get(before(&origin, &format!("{EXPIRY}status = [\"404\"]\n")).http, "/page", &[]);
    assert_eq!(answer.header("Cache-Control"), Some("max-age=3600"));
}

fn seen_by_app(headers: &str) -> headwater_testkit::Recorded {
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let proxy = before(&origin, "");
    let mut client = Client::connect(proxy.http);
    client.send(format!("GET / HTTP/1.1\r\nHost: shop.example\r\n{headers}\r\n"));
    assert_eq!(client.read_response().status, 200);
    origin.last()
}

#[test]
fn row_15_what_connection_names_is_not_forwarded() {
    let seen = seen_by_app(
        "Connection: X-Secret, TE\r\nConnection: keep-alive, Upgrade, X-Other\r\nX-Secret: 1\r\nX-Other: 1\r\nTE: gzip\r\n\
         Keep-Alive: 5\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nX-Kept: 1\r\n",
    );
    for name in ["X-Secret", "X-Other", "TE", "Keep-Alive", "Upgrade", "HTTP2-Settings", "Connection"] {
        assert!(seen.header(name).is_none(), "{name} reached the app:\n{}", seen.head);
    }
    assert_eq!(seen.header("X-Kept"), Some("1"));
}

#[test]
fn row_16_a_strangers_word_on_his_address_is_not_forwarded() {
    let seen = seen_by_app("X-Forwarded-For: 1.2.3.4\r\nX-Real-IP: 1.2.3.4\r\nForwarded: for=1.2.3.4\r\nTrue-Client-IP: 1.2.3.4\r\n");
    assert!(!seen.head.contains("1.2.3.4"), "{}", seen.head);
    assert_eq!((seen.header("X-Forwarded-For"), seen.header("X-Real-IP")), (Some("127.0.0.1"), Some("127.0.0.1")));
}

#[test]
fn row_17_underscore_twins_are_not_forwarded() {
    let seen = seen_by_app("X_Forwarded_For: 1.2.3.4\r\nX_Real-IP: 1.2.3.4\r\nx_cdn_provider: fastly\r\nmy_own: kept\r\n");
    assert!(!seen.head.contains("1.2.3.4") && !seen.head.contains("fastly"), "{}", seen.head);
    assert_eq!(seen.header("my_own"), Some("kept"));
}
