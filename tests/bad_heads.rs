//! Heads that two servers could read in two ways are refused with 400, and the connection is closed.

use headwater_testkit::{Client, Headwater, Origin, answer, get, request};

fn before() -> (Origin, Headwater) {
    let origin = Origin::answering(answer("200 OK", &[], "ok"));
    let headwater = Headwater::before(&origin);
    (origin, headwater)
}

const NEXT: &[u8] = b"GET /smuggled HTTP/1.1\r\nHost: shop.example\r\n\r\n";

/// Sends each with another request behind it: one answer comes, of one of these statuses, then the end, and the origin
/// hears of nothing. A pull over a connection that was open before, and one over a new one, are served as ever.
fn are_refused(statuses: &[u16], bad: &[&[u8]]) {
    let (origin, headwater) = before();
    let mut neighbour = Client::connect(headwater.http);
    let mut good = 0;
    for bytes in bad {
        let shown = String::from_utf8_lossy(bytes);
        let mut client = Client::connect(headwater.http);
        client.send([bytes, NEXT].concat());
        let got = client.try_read_response_to("GET").unwrap_or_else(|| panic!("no answer to {shown:?}"));
        assert!(statuses.contains(&got.status), "{shown:?} got\n{}{}", got.head, got.text());
        assert!(got.complete, "{shown:?}");
        assert_eq!(got.header("Cache-Control"), Some("no-store"), "{shown:?} got\n{}", got.head);
        assert!(got.has_member("Connection", "close"), "{shown:?} got\n{}", got.head);
        assert!(got.header("Content-Type").is_some_and(|found| found.starts_with("text/plain")), "{}", got.head);
        assert!(client.is_closed(), "{shown:?} was not the end");
        neighbour.send(request("GET", "/neighbour", &[]));
        assert_eq!(neighbour.read_response().text(), "ok", "{shown:?}");
        good += 1;
        let asked = origin.requests();
        assert_eq!(asked.len(), good, "the origin heard of {shown:?}:\n{}", asked.last().unwrap().head);
    }
    assert_eq!(get(headwater.http, "/", &[]).status, 200);
    headwater.wait_metric("headwater_pulls_total", &[], (2 * bad.len() + 1) as f64);
}

#[test]
fn bare_lf_ends_no_line() {
    are_refused(
        &[400],
        &[
            b"GET / HTTP/1.1\nHost: shop.example\n\n",
            b"GET / HTTP/1.1\nHost: shop.example\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: shop.example\n\r\n",
            b"GET / HTTP/1.1\r\nHost: shop.example\r\nX: a\nY: b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: shop.example\r\nX: a\r\n\n",
            b"GET / HTTP/1.1\r\nHost: shop.example\r\n\nGET /x HTTP/1.1\r\n\r\n",
        ],
    );
}

#[test]
fn bare_cr_stands_nowhere() {
    are_refused(
        &[400],
        &[
            b"GET / HTTP/1.1\r\nHost: shop.example\r\nX: a\rb\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: shop.example\r\nX: a\rY: b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: shop.example\r\nX: a\r\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: shop.example\r\n\rX: b\r\n\r\n",
            b"GET /\r HTTP/1.1\r\nHost: shop.example\r\n\r\n",
            b"GET / HTTP/1.1\r\r\nHost: shop.example\r\n\r\n",
            b"GET / HTTP/1.1\rHost: shop.example\r\n\r\n",
        ],
    );
}

#[test]
fn folded_lines_are_refused() {
    are_refused(
        &[400],
        &[
            b"GET / HTTP/1.1\r\nHost: shop.example\r\nX: a\r\n b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: shop.example\r\nX: a\r\n\tb\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: shop.example\r\nX:\r\n a\r\n\r\n",
            b"GET / HTTP/1.1\r\n Host: shop.example\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: shop.example\r\n \r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: shop.example\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        ],
    );
}

#[test]
fn a_name_ends_at_its_colon() {
    are_refused(
        &[400],
        &[
            b"GET / HTTP/1.1\r\nHost: shop.example\r\nX : a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost : shop.example\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: shop.example\r\nX\t: a\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: shop.example\r\nContent-Length : 5\r\n\r\nhello",
            b"POST / HTTP/1.1\r\nHost: shop.example\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: shop.example\r\nX a: b\r\n\r\n",
        ],
    );
}

#[test]
fn a_line_is_a_name_and_a_value() {
    are_refused(
        &[400],
        &[
            b"GET / HTTP/1.1\r\nHost: shop.example\r\nX\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: shop.example\r\n: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: shop.example\r\nX(y): a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: shop.example\r\n\"X\": a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: shop.example\r\nX\xc3\xa4: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: shop.example\r\n\x0bContent-Length: 5\r\n\r\nhello",
        ],
    );
}

#[test]
fn a_nul_stands_nowhere() {
    are_refused(
        &[400],
        &[
            b"GET /\0 HTTP/1.1\r\nHost: shop.example\r\n\r\n",
            b"GET /a\0b HTTP/1.1\r\nHost: shop.example\r\n\r\n",
            b"GE\0T / HTTP/1.1\r\nHost: shop.example\r\n\r\n",
            b"\0GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n",
            b"GET / HTTP/1.1\0\r\nHost: shop.example\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: shop.example\0\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: shop.example\0.evil.example\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: shop.example\r\nX\0: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: shop.example\r\nX: a\0\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: shop.example\r\nX: \0a\r\n\r\n",
        ],
    );
}

#[test]
fn there_is_one_host_and_it_is_one() {
    are_refused(
        &[400],
        &[
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nX-Host: shop.example\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: shop.example\r\nHost: shop.example\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: shop.example\r\nhost: evil.example\r\n\r\n",
            b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: shop.example, evil.example\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: shop.example evil.example\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: user@shop.example\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: shop.example/path\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: shop.example:80:81\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: shop.example:port\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: shop.example#x\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: shop.example?x\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: shop.example\\x\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
        ],
    );
}

#[test]
fn a_url_for_a_target_names_the_host_that_the_host_names() {
    are_refused(
        &[400],
        &[
            b"GET http://evil.example/ HTTP/1.1\r\nHost: shop.example\r\n\r\n",
            b"GET http://shop.example:81/ HTTP/1.1\r\nHost: shop.example\r\n\r\n",
            b"GET http://shop.example@evil.example/ HTTP/1.1\r\nHost: shop.example\r\n\r\n",
            b"GET http://shop.example.evil.example/ HTTP/1.1\r\nHost: shop.example\r\n\r\n",
            b"GET http://shop.example/ HTTP/1.1\r\n\r\n",
            b"GET http:/// HTTP/1.1\r\nHost: shop.example\r\n\r\n",
            b"GET http:/shop.example/ HTTP/1.1\r\nHost: shop.example\r\n\r\n",
            b"GET ftp://shop.example/ HTTP/1.1\r\nHost: shop.example\r\n\r\n",
            b"GET file:///etc/passwd HTTP/1.1\r\nHost: shop.example\r\n\r\n",
        ],
    );
}

#[test]
fn a_request_line_has_three_words() {
    are_refused(
        &[400, 505],
        &[
            b"GET  / HTTP/1.1\r\nHost: shop.example\r\n\r\n",
            b" GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n",
            b"GET /a b HTTP/1.1\r\nHost: shop.example\r\n\r\n",
            b"GET /\tHTTP/1.1\r\nHost: shop.example\r\n\r\n",
            b"GET\t/ HTTP/1.1\r\nHost: shop.example\r\n\r\n",
            b"GET HTTP/1.1\r\nHost: shop.example\r\n\r\n",
            b"GET a HTTP/1.1\r\nHost: shop.example\r\n\r\n",
            b"GET * HTTP/1.1\r\nHost: shop.example\r\n\r\n",
            b"GET /#fragment HTTP/1.1\r\nHost: shop.example\r\n\r\n",
            b"GE(T / HTTP/1.1\r\nHost: shop.example\r\n\r\n",
            b"GET /\x01 HTTP/1.1\r\nHost: shop.example\r\n\r\n",
            b"GET /\x7f HTTP/1.1\r\nHost: shop.example\r\n\r\n",
        ],
    );
}

#[test]
fn other_protocols_are_refused() {
    are_refused(
        &[400, 501, 505],
        &[
            b"GET / HTTP/1.1 \r\nHost: shop.example\r\n\r\n",
            b"GET / HTTP/1.1.1\r\nHost: shop.example\r\n\r\n",
            b"GET / HTTP/2.0\r\nHost: shop.example\r\n\r\n",
            b"GET / HTTP/0.9\r\nHost: shop.example\r\n\r\n",
            b"GET / HTTP/1.10\r\nHost: shop.example\r\n\r\n",
            b"GET / http/1.1\r\nHost: shop.example\r\n\r\n",
            b"GET / ICY/1.1\r\nHost: shop.example\r\n\r\n",
            b"GET /\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"CONNECT shop.example:443 HTTP/1.1\r\nHost: shop.example:443\r\n\r\n",
            b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n",
            b"EHLO shop.example\r\n\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET / HTTP/1.1\r\nHost: shop.example\r\n\r\n",
        ],
    );
}

#[test]
fn what_is_only_unusual_is_served() {
    let (origin, headwater) = before();
    for head in [
        &b"GET / HTTP/1.1\r\nhost:shop.example\r\n\r\n"[..],
        b"GET / HTTP/1.1\r\nHOST: \t shop.example \t \r\n\r\n",
        b"\r\n\r\nGET / HTTP/1.1\r\nHost: shop.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nX-Empty:\r\nHost: shop.example\r\nX-Tab: a\tb\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: shop.example\r\nX-Name: caf\xe9 \xc3\xa9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: shop.example\r\n!#$%&'*+-.^_`|~9: odd but a token\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: [2001:db8::1]:8080\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: my_shop.example.\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
    ] {
        let mut client = Client::connect(headwater.http);
        client.send(head);
        let got = client.read_response();
        assert_eq!((got.status, got.text().as_str()), (200, "ok"), "{:?}", String::from_utf8_lossy(head));
    }
    assert_eq!(origin.requests().len(), 9);
}
