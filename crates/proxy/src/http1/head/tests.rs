use super::*;
use proptest::prelude::*;

fn parse(head: &str) -> Result<RequestHead, Refusal> {
    let found = Search::default().find(head.as_bytes())?;
    assert_eq!(found, Some(head.len()), "{head:?} is one head");
    RequestHead::parse(head.as_bytes(), 100)
}

fn framing_of(lines: &str) -> Result<Framing, Refusal> {
    parse(&format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n")).map(|head| head.framing)
}

fn answers_framing(status: u16, lines: &str, method: &str) -> Option<Framing> {
    ResponseHead::parse(format!("HTTP/1.1 {status} X\r\n{lines}\r\n").as_bytes())?.framing(method)
}

#[test]
fn a_requests_body_is_delimited_in_one_way_or_refused() {
    assert_eq!(framing_of("").unwrap(), Framing::Empty);
    assert_eq!(framing_of("Content-Length: 0\r\n").unwrap(), Framing::Empty);
    assert_eq!(framing_of("content-length: 7\r\n").unwrap(), Framing::Length(7));
    assert_eq!(framing_of("Transfer-Encoding: Chunked\r\n").unwrap(), Framing::Chunked);
    for lines in [
        "Content-Length: 7\r\nContent-Length: 7\r\n",
        "Content-Length: 7, 7\r\n",
        "Content-Length: +7\r\n",
        "Content-Length: -7\r\n",
        "Content-Length: 0x7\r\n",
        "Content-Length: 7 7\r\n",
        "Content-Length:\r\n",
        "Content-Length: 18446744073709551616\r\n",
        "Content-Length: 7\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: xchunked\r\nContent-Length: 1\r\n",
        "Transfer-Encoding:\r\n",
    ] {
        assert_eq!(framing_of(lines).map_err(Refusal::status), Err(400), "{lines:?}");
    }
    assert_eq!(framing_of("Transfer-Encoding: gzip, chunked\r\n").map_err(Refusal::status), Err(501));
    let old = parse("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(old.map(|_| ()).map_err(Refusal::status), Err(400));
}

#[test]
fn an_answers_body_is_delimited_in_one_way_or_not_believed() {
    assert_eq!(answers_framing(200, "Content-Length: 7\r\n", "GET"), Some(Framing::Length(7)));
    assert_eq!(answers_framing(200, "Content-Length: 7\r\nContent-Length: 7\r\n", "GET"), Some(Framing::Length(7)));
    assert_eq!(answers_framing(200, "Transfer-Encoding: chunked\r\n", "GET"), Some(Framing::Chunked));
    assert_eq!(answers_framing(200, "", "GET"), Some(Framing::UntilClose));
    for status in [100, 204, 304] {
        assert_eq!(answers_framing(status, "Content-Length: 7\r\n", "GET"), Some(Framing::Empty), "{status}");
    }
    assert_eq!(answers_framing(200, "Content-Length: 7\r\n", "HEAD"), Some(Framing::Empty));
    for lines in [
        "Content-Length: 7\r\nContent-Length: 8\r\n",
        "Content-Length: 7, 7\r\n",
        "Content-Length: x\r\n",
        "Content-Length: 7\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: gzip\r\n",
    ] {
        assert_eq!(answers_framing(200, lines, "GET"), None, "{lines:?}");
    }
}

#[test]
fn a_target_is_a_path_or_a_url_of_the_host() {
    for (target, expected) in [
        ("/", "/"),
        ("/a?b", "/a?b"),
        ("http://shop.example/a?b", "/a?b"),
        ("HTTP://SHOP.example", "/"),
        ("//other/", "//other/"),
    ] {
        let head = parse(&format!("GET {target} HTTP/1.1\r\nHost: shop.example\r\n\r\n")).unwrap();
        assert_eq!(head.target(), expected.as_bytes(), "{target}");
    }
    for target in
        ["a", "*", "http://other/", "http://shop.example@other/", "ftp://shop.example/", "http://", "/#x", "?q"]
    {
        let head = parse(&format!("GET {target} HTTP/1.1\r\nHost: shop.example\r\n\r\n"));
        assert_eq!(head.map(|_| ()).map_err(Refusal::status), Err(400), "{target}");
    }
    assert!(parse("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").is_ok());
}

#[test]
fn a_host_is_what_rfc_3986_calls_an_authority() {
    for (host, good) in [
        ("shop.example", true),
        ("shop.example:", true),
        ("shop.example:65535", true),
        ("shop.example:65536", false),
        ("shop.example:000080", false),
        ("%73hop.example", true),
        ("%7hop.example", false),
        ("shop.example%7", false),
        ("%", false),
        ("[2001:db8::1]", true),
        ("[2001:db8::1]:80", true),
        ("[::ffff:192.0.2.1]", true),
        ("[shop.example]", false),
        ("[]", false),
        ("[::1", false),
        ("[::1]x", false),
        ("[fe80::1%25eth0]", false),
        (":80", false),
        ("a,b", false),
    ] {
        assert_eq!(is_authority(host.as_bytes()), good, "{host}");
    }
}

#[test]
fn connection_names_names() {
    for (value, good) in
        [("close", true), (" , Keep-Alive ,,x", true), ("\",close", false), ("a b", false), ("a;b", false)]
    {
        assert_eq!(framing_of(&format!("Connection: {value}\r\n")).is_ok(), good, "{value}");
    }
}

/// Bytes among which those that matter to the grammar are frequent.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        4 => prop::sample::select(&b"\r\n: \t,;/?=ACGHTP1.0"[..]),
        1 => any::<u8>(),
    ];
    prop::collection::vec(byte, 0..120)
}

proptest! {
    #[test]
    fn rubbish_is_never_a_panic(rubbish in bytes()) {
        let _ = RequestHead::parse(&rubbish, 100);
        let _ = ResponseHead::parse(&rubbish);
        for (before, after) in [("GET / HTTP/1.1\r\nHost: a\r\n", "\r\n\r\n"), ("GET ", " HTTP/1.1\r\nHost: a\r\n\r\n")] {
            let head = [before.as_bytes(), &rubbish, after.as_bytes()].concat();
            let _ = RequestHead::parse(&head, 100);
        }
    }

    #[test]
    fn what_is_taken_is_read_in_one_way(rubbish in bytes()) {
        let head = [b"GET / HTTP/1.1\r\nHost: a\r\n", &rubbish[..], b"\r\n\r\n"].concat();
        if let Ok(Some(length)) = Search::default().find(&head)
            && let Ok(head) = RequestHead::parse(&head[..length], 100)
        {
            for (name, value) in head.fields.iter() {
                prop_assert!(!name.is_empty() && !name.iter().any(|b| b" \t\r\n\0:".contains(b)), "{:?}", name);
                prop_assert!(!value.iter().any(|b| b"\r\n\0".contains(b)), "{:?}", value);
            }
            // What is written for the next server is what was read here.
            let mut again = b"GET / HTTP/1.1\r\n".to_vec();
            head.fields.write_to(&mut again);
            again.extend_from_slice(b"\r\n");
            let again = RequestHead::parse(&again, 100).unwrap();
            prop_assert!(head.fields.iter().eq(again.fields.iter()));
            prop_assert_eq!(head.framing, again.framing);
        }
    }

    #[test]
    fn the_end_of_a_head_is_where_it_is_however_it_arrives(rubbish in bytes(), step in 1..20_usize) {
        let whole = Search::default().find(&rubbish);
        let mut search = Search::default();
        let mut last = Ok(None);
        for end in (0..rubbish.len()).step_by(step).chain([rubbish.len()]) {
            last = search.find(&rubbish[..end]);
            if !matches!(last, Ok(None)) {
                break;
            }
        }
        prop_assert_eq!(whole, last);
    }
}
