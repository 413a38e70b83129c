//! Header fields on their way: what is kept, what is dropped, and what is told to the app.

use headwater_testkit::{FASTLY, Headwater, Origin, Recorded, Then, answer, exchange, get, request};

fn before(more: &str) -> (Origin, Headwater) {
    let origin = Origin::answering(answer("200 OK", &[], "ok"));
    let headwater = Headwater::before_with(&origin, more);
    (origin, headwater)
}

/// What the app sees of a request with these headers.
fn seen(more: &str, headers: &[(&str, &str)]) -> Recorded {
    let (origin, headwater) = before(more);
    assert_eq!(get(headwater.http, "/", headers).status, 200);
    origin.last()
}

#[test]
fn a_requests_headers_keep_their_order_case_and_number() {
    let sent = [("x-b", "1"), ("X-A", "2"), ("X-b", "3"), ("Cookie", "a=b; c=d"), ("x-EMPTY", ""), ("X-A", "4, 5")];
    let seen = seen("", &sent);
    let kept: Vec<(&str, &str)> = seen
        .headers
        .iter()
        .filter(|(name, _)| sent.iter().any(|(sent, _)| sent == name))
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(kept, sent);
}

#[test]
fn an_answers_headers_keep_their_order_case_and_number() {
    let sent = [
        ("x-B", "1"),
        ("Set-Cookie", "a=1; Path=/"),
        ("X-a", "2"),
        ("set-cookie", "b=2, c"),
        ("X-Empty", ""),
        ("X-a", "3"),
    ];
    let origin = Origin::answering(answer("200 OK", &sent, "ok"));
    let headwater = Headwater::before(&origin);
    let got = get(headwater.http, "/", &[]);
    let kept: Vec<(&str, &str)> = got
        .headers
        .iter()
        .filter(|(name, _)| sent.iter().any(|(sent, _)| sent == name))
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(kept, sent);
}

#[test]
fn what_any_connection_line_names_is_dropped() {
    let seen = seen(
        "",
        &[
            ("Connection", "X-One"),
            ("X-One", "1"),
            ("X-Two", "2"),
            ("X-Three", "3"),
            ("X-Kept", "4"),
            ("connection", "keep-alive, x-two,,  X-THREE "),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Connection", "keep-alive"),
        ],
    );
    for name in ["X-One", "X-Two", "X-Three", "Keep-Alive", "Proxy-Connection"] {
        assert!(!seen.has(name), "the app saw {name}:\n{}", seen.head);
    }
    assert_eq!(seen.header("X-Kept"), Some("4"));
    assert!(!seen.headers("Connection").iter().any(|value| value.to_lowercase().contains("x-")), "{}", seen.head);
}

#[test]
fn connection_cannot_delete_what_the_proxy_says() {
    let seen = seen(
        FASTLY,
        &[
            ("Connection", "X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, X-Real-IP, Forwarded, Via"),
            ("Connection", "X-CDN-Provider, X-Request-Id, Host"),
            ("X-CDN-Provider", "fastly"),
        ],
    );
    for (name, value) in [
        ("X-Forwarded-For", "127.0.0.1"),
        ("X-Forwarded-Proto", "http"),
        ("X-Forwarded-Host", "shop.example"),
        ("X-Real-IP", "127.0.0.1"),
        ("X-CDN-Provider", "fastly"),
        ("Host", "shop.example"),
        ("Via", "1.1 headwater"),
    ] {
        assert_eq!(seen.headers(name), [value], "{}", seen.head);
    }
    assert!(seen.has("Forwarded") && seen.has("X-Request-Id"), "{}", seen.head);
}

#[test]
fn connection_cannot_delete_a_bodys_framing() {
    let (origin, headwater) = before("");
    for (framing, body) in
        [(("Content-Length", "5"), "hello"), (("Transfer-Encoding", "chunked"), "5\r\nhello\r\n0\r\n\r\n")]
    {
        let head = request("POST", "/", &[("Connection", "Content-Length, Transfer-Encoding"), framing]);
        let got = exchange(headwater.http, head + body);
        assert_eq!(got.status, 200);
        assert_eq!(
            (origin.last().body.as_slice(), origin.last().complete),
            (&b"hello"[..], true),
            "{}",
            origin.last().head
        );
    }
}

#[test]
fn an_answers_hop_by_hop_fields_end_here() {
    let headers = [
        ("Connection", "X-Internal"),
        ("X-Internal", "1"),
        ("Connection", "keep-alive, x-second"),
        ("X-Second", "2"),
        ("Keep-Alive", "timeout=5, max=99"),
        ("Proxy-Connection", "keep-alive"),
        ("Upgrade", "h2,h2c"),
        ("X-Kept", "3"),
    ];
    let origin = Origin::answering(answer("200 OK", &headers, "ok"));
    let headwater = Headwater::before(&origin);
    let got = get(headwater.http, "/", &[]);
    for name in ["X-Internal", "X-Second", "Keep-Alive", "Proxy-Connection", "Upgrade"] {
        assert_eq!(got.header(name), None, "{}", got.head);
    }
    assert!(!got.head.to_lowercase().contains("x-internal"), "{}", got.head);
    assert_eq!((got.header("X-Kept"), got.text().as_str()), (Some("3"), "ok"));
}

#[test]
fn an_answers_connection_cannot_delete_its_framing() {
    let (_, headers) = ((), [("Connection", "Content-Length, Cache-Control"), ("Cache-Control", "max-age=3")]);
    let origin = Origin::answering(answer("200 OK", &headers, "ok"));
    let headwater = Headwater::before(&origin);
    let got = get(headwater.http, "/", &[]);
    assert!(got.complete && got.text() == "ok", "{}", got.head);
}

#[test]
fn via_is_appended() {
    assert_eq!(seen("", &[]).headers("Via"), ["1.1 headwater"]);
    let all = seen("", &[("Via", "1.1 varnish"), ("Via", "2 cdn")]).headers("Via").join(", ");
    assert_eq!(all, "1.1 varnish, 2 cdn, 1.1 headwater");
}

#[test]
fn via_tells_the_version_that_was_spoken() {
    let (origin, headwater) = before("");
    exchange(headwater.http, "GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    assert_eq!(origin.last().headers("Via"), ["1.0 headwater"]);
}

#[test]
fn a_strangers_forwarding_fields_are_replaced() {
    let seen = seen(
        "",
        &[
            ("X-Forwarded-For", "6.6.6.6"),
            ("x-forwarded-for", "6.6.6.7"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Host", "evil.example"),
            ("Forwarded", "for=6.6.6.6;host=evil.example"),
            ("X-Real-IP", "6.6.6.6"),
        ],
    );
    assert!(!seen.head.contains("6.6.6.") && !seen.head.contains("evil"), "{}", seen.head);
    assert_eq!(seen.headers("X-Forwarded-For"), ["127.0.0.1"]);
    assert_eq!(seen.headers("X-Forwarded-Proto"), ["http"]);
    assert_eq!(seen.headers("X-Forwarded-Host"), ["shop.example"]);
    assert_eq!(seen.headers("X-Real-IP"), ["127.0.0.1"]);
    let forwarded = seen.headers("Forwarded");
    assert_eq!(forwarded.len(), 1);
    let mut parts: Vec<String> = forwarded[0].split(';').map(|part| part.trim().replace('"', "")).collect();
    parts.retain(|part| !part.starts_with("by="));
    parts.sort();
    assert_eq!(parts, ["for=127.0.0.1", "host=shop.example", "proto=http"]);
}

#[test]
fn a_proven_providers_forwarding_fields_are_kept_and_added_to() {
    let seen = seen(
        FASTLY,
        &[
            ("X-CDN-Provider", "fastly"),
            ("X-Forwarded-For", "203.0.113.7"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Host", "www.shop.example"),
            ("Forwarded", "for=203.0.113.7"),
        ],
    );
    assert_eq!(seen.headers("X-Forwarded-For").join(", ").replace(' ', ""), "203.0.113.7,127.0.0.1");
    assert_eq!(seen.headers("X-Forwarded-Proto"), ["https"]);
    assert_eq!(seen.headers("X-Forwarded-Host"), ["www.shop.example"]);
    let forwarded = seen.headers("Forwarded").join(", ");
    assert!(forwarded.starts_with("for=203.0.113.7, ") && forwarded.contains("for=127.0.0.1"), "{forwarded}");
}

#[test]
fn a_host_with_a_port_is_quoted_in_forwarded() {
    let seen = seen("", &[("Host", "shop.example:8080")]);
    assert_eq!(seen.header("Host"), Some("shop.example:8080"));
    assert!(seen.header("Forwarded").unwrap().contains("host=\"shop.example:8080\""), "{}", seen.head);
}

#[test]
fn a_strangers_request_id_is_replaced() {
    let seen = seen("", &[("X-Request-Id", "attacker-chosen")]);
    let ids = seen.headers("X-Request-Id");
    assert_eq!(ids.len(), 1, "{}", seen.head);
    assert!(ids[0].len() == 32 && ids[0].bytes().all(|b| b.is_ascii_hexdigit()), "{}", seen.head);
}

#[test]
fn the_host_that_was_asked_for_is_kept() {
    assert_eq!(seen("", &[("Host", "WWW.Shop.example")]).headers("Host"), ["WWW.Shop.example"]);
}

#[test]
fn the_host_may_be_the_servers_own() {
    let (origin, headwater) = before("preserve_host = false\n");
    get(headwater.http, "/", &[]);
    let seen = origin.last();
    assert_eq!(seen.headers("Host"), [origin.address.to_string()]);
    assert_eq!(seen.headers("X-Forwarded-Host"), ["shop.example"]);
}

#[test]
fn end_to_end_fields_that_look_like_ours_are_the_apps() {
    let headers = [("X-Forward", "/a"), ("Authorization", "Basic eA=="), ("X-Secret-Thing", "1"), ("Accept", "*/*")];
    let seen = seen("", &headers);
    for (name, value) in headers {
        assert_eq!(seen.headers(name), [value]);
    }
}

#[test]
fn what_only_a_proxy_may_say_of_scheme_path_and_country_is_no_strangers_to_say() {
    let headers = [
        ("X-Original-URL", "/admin"),
        ("X-Forwarded-Prefix", "/a"),
        ("X-Forwarded-Scheme", "https"),
        ("CF-IPCountry", "DE"),
    ];
    let seen = seen("", &headers);
    for (name, _) in headers {
        assert!(!seen.has(name), "{}", seen.head);
    }
}

#[test]
fn every_answer_has_one_date() {
    let (_origin, headwater) = before("");
    let got = get(headwater.http, "/", &[]);
    assert!(got.header("Date").is_some_and(|date| date.ends_with(" GMT")), "{}", got.head);
    let then = "Sun, 06 Nov 1994 08:49:37 GMT";
    let origin = Origin::with(move |_, stream| {
        let _ = stream.write_all(&answer("200 OK", &[("Date", then)], "ok"));
        Then::Keep
    });
    let headwater = Headwater::before(&origin);
    assert_eq!(get(headwater.http, "/", &[]).header("Date"), Some(then));
}
