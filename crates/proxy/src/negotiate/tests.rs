use super::*;
use proptest::prelude::*;

fn fields(name: &str, value: &str) -> Fields {
    let mut fields = Fields::default();
    fields.push(name, value.as_bytes());
    fields
}

#[test]
fn gzip_is_taken_by_quality_and_wildcard() {
    for (value, expected) in [
        ("gzip", true),
        ("br, GZIP;q=0.1", true),
        ("*", true),
        ("gzip;q=0, *", false),
        ("gzip;q=0", false),
        ("identity, gzip;q=0.5", false),
        ("gzip;q=1.0, identity;q=0.5", true),
        ("identity;q=0", false),
        ("br", false),
        ("", false),
        ("gzip;q=2", false),
        ("gzip;q=0.0000", false),
        ("gzip ; Q=0.001", true),
        ("*;q=0", false),
        ("x-gzip", true),
    ] {
        assert_eq!(accepts_gzip(&fields("Accept-Encoding", value)), expected, "{value}");
    }
    assert!(!accepts_gzip(&Fields::default()));
}

#[test]
fn a_language_is_looked_up_in_the_order_of_quality() {
    let available = ["en", "de", "pt", "ja", "zh-Hans"];
    for (value, expected) in [
        ("de", "de"),
        ("de-AT, en;q=0.9", "de"),
        ("fi, de;q=0.3, ja;q=0.8", "ja"),
        ("pt-BR", "pt"),
        ("zh-CN", "zh-Hans"),
        ("zh", "zh-Hans"),
        ("zh-Hans-CN", "zh-Hans"),
        ("zh-TW, ja;q=0.1", "ja"),
        ("*", "en"),
        ("de;q=0, *", "en"),
        ("fi", "en"),
        ("", "en"),
    ] {
        assert_eq!(available[language(&fields("Accept-Language", value), &available)], expected, "{value}");
    }
    assert_eq!(language(&fields("Accept-Language", "pt"), &["en", "pt-BR"]), 1);
}

#[test]
fn json_is_for_those_who_ask_for_it() {
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    for (value, json, html) in [
        ("application/json", true, false),
        ("application/json, text/plain, */*", true, false),
        ("application/vnd.api+json", true, false),
        (browser, false, true),
        ("text/html, application/json;q=0.9", false, true),
        ("application/json, text/html;q=0.9", true, false),
        ("*/*", false, false),
    ] {
        let fields = fields("Accept", value);
        assert_eq!((prefers_json(&fields), prefers_html(&fields)), (json, html), "{value}");
    }
}

#[test]
fn vary_is_merged_into_one_line_and_never_doubled() {
    let mut one = Fields::default();
    one.push("Vary", b"Cookie");
    one.push("vary", b"accept-encoding");
    add_vary(&mut one, "Accept-Encoding");
    assert_eq!(one.iter().count(), 2);
    add_vary(&mut one, "Accept-Language");
    assert_eq!(one.all("Vary").collect::<Vec<_>>(), [b"Cookie, accept-encoding, Accept-Language"]);
    let mut star = fields("Vary", "*");
    add_vary(&mut star, "Accept-Encoding");
    assert_eq!(star.get("Vary"), Some(&b"*"[..]));
}

proptest! {
    #[test]
    fn no_header_makes_negotiation_fail(value in "[ -~]{0,60}") {
        let available = ["en", "de", "zh-Hans"];
        accepts_gzip(&fields("Accept-Encoding", &value));
        prop_assert!(language(&fields("Accept-Language", &value), &available) < available.len());
        prefers_json(&fields("Accept", &value));
    }

    #[test]
    fn a_name_is_in_vary_exactly_once_however_often_it_is_added(value in "[a-zA-Z, -]{0,40}") {
        let mut all = fields("Vary", &value);
        add_vary(&mut all, "Accept-Encoding");
        add_vary(&mut all, "Accept-Encoding");
        let times = all.members("Vary").filter(|member| member.eq_ignore_ascii_case(b"accept-encoding")).count();
        prop_assert!(times >= 1);
        prop_assert!(times <= 1 || value.to_ascii_lowercase().matches("accept-encoding").count() > 1);
    }
}
