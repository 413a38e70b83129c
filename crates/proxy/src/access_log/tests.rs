use super::*;

#[test]
fn no_line_is_longer_than_what_reads_it() {
    let long = vec![b'x'; 32 << 10];
    let hostile: Vec<u8> = (0..=255).cycle().take(32 << 10).collect();
    let (id, name) = ("i".repeat(128), "n".repeat(32));
    for text in [&long, &hostile] {
        let line = Line {
            host: text,
            port: 65_535,
            client: IpAddr::from([0xffff; 8]),
            method: std::str::from_utf8(&long).unwrap(),
            target: text,
            protocol: "HTTP/1.1",
            status: 503,
            bytes: u64::MAX,
            referer: text,
            user_agent: text,
            cdn: &name,
            rule: &name,
            id: &id,
            total: Duration::from_secs(u64::from(u32::MAX)),
            first_byte: Some(Duration::from_secs(u64::from(u32::MAX))),
            upstream: "a-server.of-some.long.name.example.com:65535",
            end: "downstream",
            reason: "closed_before_head",
            country: "unknown",
            trace: Some(u128::MAX),
            sample: 0.000_123,
        };
        let mut out = Vec::new();
        write_combined(&mut out, &line, &Clock::new());
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.len() < 4096 && text.contains(" reason=closed_before_head ") && text.ends_with('\n'),
            "{}",
            text.len()
        );
    }
}

#[test]
fn what_is_cut_is_cut_between_two_escapes() {
    let escaped = |text: &[u8], most| {
        let mut out = Vec::new();
        escape(&mut out, text, most);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(escaped(b"abcdef", 4), "abcd");
    assert_eq!(escaped(b"ab\"cd", 4), "ab\\\"");
    assert_eq!(escaped(b"abc\"d", 4), "abc");
    assert_eq!(escaped(b"\xff\xfe", 7), "\\xff");
    assert_eq!(escaped(b"\xff\xfe", 8), "\\xff\\xfe");
}
