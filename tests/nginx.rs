//! A real nginx as the origin.

use headwater_testkit::{Client, Headwater, Nginx, exchange, get, request};

fn css() -> String {
    (0..300).map(|number| format!(".rule-{number} {{ margin: {number}px auto; }}\n")).collect()
}

fn before(extra: &str) -> (Nginx, Headwater) {
    let css = css();
    let nginx = Nginx::start(
        extra,
        &[("site.css", css.as_bytes()), ("index.html", css.as_bytes()), ("photo.png", b"\x89PNG....")],
    );
    let headwater = Headwater::start(&format!("[origin]\nservers = [\"{}\"]\n", nginx.address()));
    (nginx, headwater)
}

const GZIP: (&str, &str) = ("Accept-Encoding", "gzip");

#[test]
fn files_come_compressed_with_their_lifetime_and_revalidate() {
    let (_nginx, headwater) = before("");
    let first = get(headwater.http, "/site.css", &[GZIP]);
    assert_eq!(first.header("Cache-Control"), Some("max-age=94670800"), "{}", first.head);
    assert_eq!(first.gunzip(), css().as_bytes());
    let tag = first.header("ETag").unwrap().to_string();
    let again = get(headwater.http, "/site.css", &[GZIP, ("If-None-Match", &tag)]);
    assert_eq!((again.status, again.header("ETag")), (304, Some(tag.as_str())), "{}", again.head);
    let range = get(headwater.http, "/site.css", &[GZIP, ("Range", "bytes=5-9")]);
    assert_eq!((range.status, range.text().as_str()), (206, &css()[5..10]));
}

#[test]
fn an_expiry_of_nginxs_is_replaced_and_not_doubled() {
    let (_nginx, headwater) = before("expires 1h;");
    let got = get(headwater.http, "/site.css", &[]);
    assert_eq!((got.headers("Cache-Control"), got.header("Expires")), (vec!["max-age=94670800"], None), "{}", got.head);
    let page = get(headwater.http, "/index.html", &[]);
    assert_eq!(page.headers("Cache-Control"), ["max-age=3600"]);
    assert!(page.header("Expires").is_some());
}

#[test]
fn what_nginx_compressed_is_left_alone() {
    let (_nginx, headwater) = before("gzip on; gzip_proxied any; gzip_vary on; gzip_types text/css;");
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
fn what_connection_names_is_gone_before_nginx_sees_it() {
    let (_nginx, headwater) = before("add_header X-Saw \"$http_x_secret|$http_te|$http_upgrade\" always;");
    let got = get(headwater.http, "/", &[("X-Secret", "1"), ("TE", "trailers"), ("Connection", "X-Secret, TE")]);
    assert_eq!(got.header("X-Saw"), Some("||"), "{}", got.head);
}

#[test]
fn keep_alive_holds_over_many_pulls() {
    let (_nginx, headwater) = before("keepalive_requests 7; add_header X-Count $connection_requests always;");
    let mut client = Client::connect(headwater.http);
    for number in 0..30 {
        client.send(request("GET", if number % 3 == 0 { "/site.css" } else { "/photo.png" }, &[]));
        let got = client.read_response();
        assert!(got.status == 200 && got.complete);
        assert_eq!(got.header("X-Count"), Some((number % 7 + 1).to_string().as_str()), "pull {number}");
    }
}

#[test]
fn a_500_of_nginxs_becomes_the_page() {
    let (_nginx, headwater) = before("location /fail { add_header Retry-After 9 always; return 503; }");
    let got = get(headwater.http, "/fail", &[("Accept", "text/html")]);
    assert_eq!(
        (got.status, got.header("Retry-After"), got.header("Cache-Control")),
        (503, Some("9"), Some("no-store"))
    );
    assert!(got.text().contains("<html") && !got.text().contains("nginx"));
}

#[test]
fn head_and_missing_files_are_nginxs_to_answer() {
    let (_nginx, headwater) = before("");
    let got = exchange(headwater.http, request("HEAD", "/photo.png", &[]));
    assert_eq!((got.status, got.header("Content-Length")), (200, Some("8")));
    assert_eq!(get(headwater.http, "/missing", &[]).status, 404);
}
