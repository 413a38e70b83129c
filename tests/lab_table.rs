//! Seventeen things that reverse proxies get wrong, each done right.

use headwater_testkit::{
    Apache, Client, FASTLY, Headwater, Nginx, Origin, Recorded, Response, Then, Wire, answer, get, request,
};

fn text() -> String {
    "All the world's a stage, and all the men and women merely players. ".repeat(150)
}

/// 10 kB of text under a strong tag, as an app serves it: with ranges and revalidation.
fn page(request: &Recorded, stream: &mut dyn Wire) -> Then {
    page_with(request, stream, &[])
}

fn page_with(request: &Recorded, stream: &mut dyn Wire, more: &[(&str, &str)]) -> Then {
    let mut headers = vec![("ETag", "\"abc\""), ("Content-Type", "text/plain"), ("Accept-Ranges", "bytes")];
    headers.extend(more);
    let text = text();
    let held = request.header("If-None-Match").map(|tag| tag.trim_start_matches("W/"));
    let bytes = if held == Some("\"abc\"") {
        b"HTTP/1.1 304 Not Modified\r\nETag: \"abc\"\r\n\r\n".to_vec()
    } else if request.header("Range").is_some() {
        let range = format!("bytes 0-1999/{}", text.len());
        headers.push(("Content-Range", &range));
        answer("206 Partial Content", &headers, &text[..2000])
    } else {
        let mut bytes = answer("200 OK", &headers, &text);
        if request.method == "HEAD" {
            bytes.truncate(bytes.len() - text.len());
        }
        bytes
    };
    let _ = stream.write_all(&bytes);
    Then::Keep
}

fn before_page() -> (Origin, Headwater) {
    let origin = Origin::with(page);
    let headwater = Headwater::before(&origin);
    (origin, headwater)
}

const GZIP: (&str, &str) = ("Accept-Encoding", "gzip");

#[test]
fn row_1_a_pull_that_came_through_a_cdn_is_compressed() {
    let (_origin, headwater) = before_page();
    let got = get(headwater.http, "/", &[GZIP, ("Via", "1.1 cdn")]);
    assert_eq!(got.header("Content-Encoding"), Some("gzip"), "{}", got.head);
    assert_eq!(got.gunzip(), text().as_bytes());
    assert!(got.complete && got.body.len() < 2000);
}

#[test]
fn row_2_a_strong_etag_is_weakened_when_the_body_is_gzipped() {
    let (_origin, headwater) = before_page();
    assert_eq!(get(headwater.http, "/", &[GZIP]).header("ETag"), Some("W/\"abc\""));
    assert_eq!(get(headwater.http, "/", &[]).header("ETag"), Some("\"abc\""));
}

/// Takes a tag, and asks again with it.
fn revalidated(headwater: &Headwater, path: &str) -> Response {
    let first = get(headwater.http, path, &[GZIP]);
    assert_eq!((first.status, first.header("Content-Encoding")), (200, Some("gzip")), "{}", first.head);
    let tag = first.header("ETag").expect("a tag").to_string();
    let second = get(headwater.http, path, &[GZIP, ("If-None-Match", &tag)]);
    assert_eq!((second.status, second.body.len()), (304, 0), "{}", second.head);
    assert_eq!(second.header("ETag"), Some(tag.as_str()), "{}", second.head);
    second
}

#[test]
fn row_3_the_tag_that_was_given_out_revalidates() {
    let (_origin, headwater) = before_page();
    revalidated(&headwater, "/");
}

#[test]
fn row_3_the_tag_that_was_given_out_revalidates_at_a_real_apache() {
    let apache = Apache::start("", &[("a.css", text().as_bytes())]);
    let headwater = Headwater::start(&format!("[origin]\nservers = [\"{}\"]\n", apache.address()));
    let second = revalidated(&headwater, "/a.css");
    assert!(second.has_member("Vary", "Accept-Encoding"), "{}", second.head);
}

#[test]
fn row_3_the_tag_that_was_given_out_revalidates_at_a_real_nginx() {
    let nginx = Nginx::start("", &[("a.css", text().as_bytes())]);
    let headwater = Headwater::start(&format!("[origin]\nservers = [\"{}\"]\n", nginx.address()));
    let second = revalidated(&headwater, "/a.css");
    assert!(second.has_member("Vary", "Accept-Encoding"), "{}", second.head);
}

#[test]
fn row_4_the_form_without_gzip_says_vary_too() {
    let (_origin, headwater) = before_page();
    for headers in [&[][..], &[("Accept-Encoding", "br")], &[("Accept-Encoding", "identity")]] {
        let got = get(headwater.http, "/", headers);
        assert_eq!(got.header("Content-Encoding"), None);
        assert_eq!(got.headers("Vary"), ["Accept-Encoding"], "{headers:?}\n{}", got.head);
    }
}

#[test]
fn row_5_a_304_says_vary() {
    let (_origin, headwater) = before_page();
    for tag in ["\"abc\"", "W/\"abc\""] {
        for headers in [&[("If-None-Match", tag)][..], &[("If-None-Match", tag), GZIP]] {
            let got = get(headwater.http, "/", headers);
            assert_eq!(got.status, 304);
            assert_eq!(got.headers("Vary"), ["Accept-Encoding"], "{headers:?}\n{}", got.head);
        }
    }
}

#[test]
fn row_6_what_must_not_be_transformed_is_not() {
    let origin =
        Origin::with(|request, stream| page_with(request, stream, &[("Cache-Control", "no-transform, max-age=60")]));
    let headwater = Headwater::before(&origin);
    let got = get(headwater.http, "/", &[GZIP]);
    assert_eq!(got.header("Content-Encoding"), None, "{}", got.head);
    assert_eq!(got.header("ETag"), Some("\"abc\""));
    assert_eq!(got.header("Content-Length"), Some(text().len().to_string().as_str()));
    assert_eq!(got.text(), text());
}

#[test]
fn row_6_the_origins_no_transform_counts_even_where_a_rule_sets_another_lifetime() {
    let origin = Origin::with(|request, stream| page_with(request, stream, &[("Cache-Control", "no-transform")]));
    let headwater = Headwater::before(&origin);
    let got = get(headwater.http, "/a.css", &[GZIP]);
    assert_eq!(got.header("Content-Encoding"), None, "{}", got.head);
    assert_eq!(got.text(), text());
}

#[test]
fn row_7_a_range_is_never_compressed() {
    let (_origin, headwater) = before_page();
    let got = get(headwater.http, "/", &[GZIP, ("Range", "bytes=0-1999")]);
    assert_eq!((got.status, got.header("Content-Encoding")), (206, None), "{}", got.head);
    assert_eq!(got.header("Content-Range"), Some(format!("bytes 0-1999/{}", text().len()).as_str()));
    assert_eq!(got.header("ETag"), Some("\"abc\""));
    assert_eq!(got.text(), text()[..2000]);
}

#[test]
fn row_8_gzip_that_is_ruled_out_is_not_let_in_by_an_asterisk() {
    let (_origin, headwater) = before_page();
    let got = get(headwater.http, "/", &[("Accept-Encoding", "gzip;q=0, *")]);
    assert_eq!((got.status, got.header("Content-Encoding")), (200, None), "{}", got.head);
    assert_eq!(got.text(), text());
}

#[test]
fn row_9_a_gzipped_body_offers_no_ranges() {
    let (_origin, headwater) = before_page();
    assert_eq!(get(headwater.http, "/", &[GZIP]).header("Accept-Ranges"), None);
    assert_eq!(get(headwater.http, "/", &[]).header("Accept-Ranges"), Some("bytes"));
}

/// What an answer says of what it stands for; framing and the moment aside.
fn metadata(response: &Response) -> Vec<(String, String)> {
    const OF_THE_MESSAGE: [&str; 4] = ["date", "transfer-encoding", "content-length", "x-request-id"];
    let mut all: Vec<_> =
        response.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect();
    all.retain(|(name, _)| !OF_THE_MESSAGE.contains(&name.as_str()));
    all.sort();
    all
}

fn head_is_like_get(headwater: &Headwater, path: &str) {
    for headers in [&[][..], &[GZIP], &[("Accept-Encoding", "gzip;q=0")]] {
        let mut client = Client::connect(headwater.http);
        client.send(request("GET", path, headers));
        let of_get = client.read_response();
        client.send(request("HEAD", path, headers));
        let of_head = client.read_response_to("HEAD");
        assert_eq!(metadata(&of_head), metadata(&of_get), "{headers:?}\n{}\n{}", of_head.head, of_get.head);
        // A HEAD may leave the length out, but not tell another.
        if let Some(length) = of_head.header("Content-Length") {
            assert_eq!(length, of_get.body.len().to_string(), "{headers:?}");
        }
        client.send(request("GET", path, headers));
        assert_eq!(client.read_response().body, of_get.body, "the HEAD's answer had no body");
    }
}

#[test]
fn row_10_head_tells_what_get_tells() {
    let (_origin, headwater) = before_page();
    head_is_like_get(&headwater, "/");
    head_is_like_get(&headwater, "/a.css");
}

#[test]
fn row_10_head_tells_what_get_tells_at_a_real_apache() {
    let apache = Apache::start("", &[("a.html", text().as_bytes()), ("small.html", b"<p>Hi")]);
    let headwater = Headwater::start(&format!("[origin]\nservers = [\"{}\"]\n", apache.address()));
    head_is_like_get(&headwater, "/a.html");
    head_is_like_get(&headwater, "/small.html");
}

fn rule(mode: &str) -> String {
    format!("[[rule]]\nname = \"all\"\npath = '.'\ncache_control = \"max-age=3600\"\nmode = \"{mode}\"\n")
}

/// The one `Cache-Control` that leaves where the origin says `said`.
fn lifetime(mode: &str, said: &'static str) -> Vec<String> {
    let origin = Origin::with(move |_, stream| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{said}\r\nok");
        let _ = stream.write_all(head.as_bytes());
        Then::Keep
    });
    let headwater = Headwater::before_with(&origin, &rule(mode));
    let got = get(headwater.http, "/", &[]);
    assert_eq!(got.status, 200);
    got.headers("Cache-Control").iter().map(|value| value.replace(' ', "")).collect()
}

#[test]
fn row_11_an_origins_private_outlives_every_mode_but_set() {
    for word in ["private", "no-store", "no-cache"] {
        let said: &'static str = format!("Cache-Control: {word}\r\n").leak();
        assert_eq!(lifetime("default", said), [word]);
        assert_eq!(lifetime("cap", said), [word]);
        assert_eq!(lifetime("set", said), ["max-age=3600"]);
    }
}

#[test]
fn row_11_a_lifetime_is_never_said_twice() {
    let both = "Cache-Control: no-transform, max-age=60\r\n";
    assert_eq!(lifetime("set", both), ["max-age=3600"]);
    assert_eq!(lifetime("default", both), ["no-transform,max-age=60"]);
    for said in
        [both, "Cache-Control: max-age=86400\r\nCache-Control: public\r\n", "Cache-Control: max-age=5, max-age=9\r\n"]
    {
        for mode in ["set", "default", "cap"] {
            let left = lifetime(mode, said).join(",");
            assert!(mode == "default" || left.matches("max-age").count() == 1, "{mode} of {said:?}: {left}");
        }
    }
    let capped = lifetime("cap", both).join(",");
    assert!(capped.contains("max-age=60") && capped.contains("no-transform"), "{capped}");
}

#[test]
fn row_12_an_error_never_gets_a_lifetime() {
    for answers in ["both", "off"] {
        let origin = Origin::answering(answer(
            "500 Internal Server Error",
            &[
                ("Cache-Control", "max-age=600"),
                ("Expires", "Sun, 06 Nov 2044 08:49:37 GMT"),
                ("Surrogate-Control", "max-age=600"),
                ("CDN-Cache-Control", "max-age=600"),
                ("Content-Type", "text/html"),
            ],
            "oh",
        ));
        let rules = "[[rule]]\nname = \"all\"\npath = '.'\ncache_control = \"max-age=5\"\nstatus = [\"2xx\", \"4xx\"]\n\
                     cdn = { fastly = { surrogate_control = \"max-age=9\" } }\n";
        let headwater =
            Headwater::before_with(&origin, &format!("[whoopsie]\nanswer = \"{answers}\"\n{FASTLY}{rules}"));
        let got = get(headwater.http, "/", &[("X-CDN-Provider", "fastly")]);
        assert_eq!((got.status, got.header("Cache-Control")), (500, Some("no-store")), "{}", got.head);
        for name in ["Expires", "Surrogate-Control", "CDN-Cache-Control"] {
            assert_eq!(got.header(name), None, "{answers}: {}", got.head);
        }
    }
}

fn failing_app() -> (Origin, Headwater) {
    let headers = [("Content-Type", "application/json"), ("Retry-After", "120"), ("X-Err", "E17")];
    let origin = Origin::answering(answer("503 Service Unavailable", &headers, "{\"error\":17}"));
    let headwater = Headwater::before(&origin);
    (origin, headwater)
}

#[test]
fn row_13_a_replaced_error_keeps_retry_after_and_the_apps_other_headers() {
    let (_origin, headwater) = failing_app();
    let got = get(headwater.http, "/", &[("Accept", "text/html")]);
    assert_eq!(got.status, 503);
    assert!(got.header("Content-Type").unwrap().starts_with("text/html"), "{}", got.head);
    assert_eq!((got.header("Retry-After"), got.header("X-Err")), (Some("120"), Some("E17")), "{}", got.head);
    assert!(got.text().contains("<html"), "{}", got.text());
}

#[test]
fn row_13_a_program_gets_the_apps_json_as_it_came() {
    let (_origin, headwater) = failing_app();
    for accept in ["application/json", "*/*"] {
        let got = get(headwater.http, "/", &[("Accept", accept)]);
        assert_eq!((got.status, got.text().as_str()), (503, "{\"error\":17}"), "{accept}");
        assert_eq!(got.header("Content-Type"), Some("application/json"));
        assert_eq!((got.header("Retry-After"), got.header("X-Err")), (Some("120"), Some("E17")));
    }
}

#[test]
fn row_14_a_rules_headers_are_on_a_404_too() {
    let origin = Origin::answering(answer("404 Not Found", &[("X-App", "1"), ("Content-Type", "text/plain")], text()));
    let rules = "[[rule]]\nname = \"all\"\npath = '.'\ncache_control = \"max-age=7\"\nstatus = [\"2xx\", \"404\"]\n\
                 cdn = { fastly = { surrogate_control = \"max-age=9\" } }\n";
    let headwater = Headwater::before_with(&origin, &format!("{FASTLY}{rules}"));
    let got = get(headwater.http, "/", &[("X-CDN-Provider", "fastly"), GZIP]);
    assert_eq!(got.status, 404);
    assert_eq!(got.header("Cache-Control"), Some("max-age=7"), "{}", got.head);
    assert_eq!(got.header("Surrogate-Control"), Some("max-age=9"), "{}", got.head);
    assert_eq!(got.header("X-App"), Some("1"));
    assert_eq!(got.header("Vary"), Some("Accept-Encoding"));
}

#[test]
fn row_15_what_connection_names_does_not_reach_the_app() {
    let (origin, headwater) = before_page();
    get(
        headwater.http,
        "/",
        &[
            ("X-Secret", "1"),
            ("TE", "trailers"),
            ("Keep-Alive", "timeout=99"),
            ("Upgrade", "h2c"),
            ("HTTP2-Settings", "AAMAAABkAAQAAP__"),
            ("Connection", "X-Secret, TE, Keep-Alive, Upgrade, HTTP2-Settings"),
        ],
    );
    let seen = origin.last();
    for name in ["X-Secret", "TE", "Keep-Alive", "Upgrade", "HTTP2-Settings"] {
        assert!(!seen.has(name), "the app saw {name}:\n{}", seen.head);
    }
}

#[test]
fn row_16_a_strangers_word_on_addresses_does_not_reach_the_app() {
    let (origin, headwater) = before_page();
    get(headwater.http, "/", &[("X-Forwarded-For", "6.6.6.6"), ("X-Real-IP", "6.6.6.6"), ("Forwarded", "for=6.6.6.6")]);
    let seen = origin.last();
    assert!(!seen.head.contains("6.6.6.6"), "{}", seen.head);
    assert_eq!(seen.headers("X-Forwarded-For"), ["127.0.0.1"]);
    assert_eq!(seen.headers("X-Real-IP"), ["127.0.0.1"]);
}

#[test]
fn row_17_underscore_twins_do_not_reach_the_app() {
    let (origin, headwater) = before_page();
    let twins = [
        "X_Forwarded_For",
        "X_Real_IP",
        "X_Forwarded_Proto",
        "X_Forwarded_Host",
        "X_CDN_Provider",
        "x_forwarded_for",
        "X-Forwarded_For",
        "X_Request_Id",
    ];
    let headers: Vec<_> = twins.iter().map(|name| (*name, "6.6.6.6")).collect();
    get(headwater.http, "/", &headers);
    let seen = origin.last();
    assert!(!seen.head.contains("6.6.6.6"), "{}", seen.head);
}
