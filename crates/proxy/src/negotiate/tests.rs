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

/// A list as a client writes it: names with their qualities in thousandths, and blanks and case as they come.
fn written(members: &[(String, Option<u16>)], blank: &str, capitals: bool) -> String {
    let quality = |q: u16| if q >= 1000 { "1.000".to_string() } else { format!("0.{q:03}") };
    let text = members.iter().map(|(name, q)| match q {
        Some(q) => format!("{blank}{name}{blank};{blank}q={}", quality(*q)),
        None => name.clone(),
    });
    let text = text.collect::<Vec<_>>().join(&format!("{blank},"));
    if capitals { text.to_ascii_uppercase() } else { text }
}

/// Different names out of some, each with a quality or none.
fn members(names: &'static [&'static str]) -> impl Strategy<Value = Vec<(String, Option<u16>)>> {
    let quality = prop_oneof![Just(None), Just(Some(0)), (0..=1000_u16).prop_map(Some), Just(Some(1000))];
    let qualities = prop::collection::vec(quality, names.len());
    (prop::sample::subsequence(names, 0..=names.len()).prop_shuffle(), qualities)
        .prop_map(|(names, qualities)| names.iter().map(|name| name.to_string()).zip(qualities).collect())
}

fn quality_of(members: &[(String, Option<u16>)], name: &str) -> Option<u16> {
    members.iter().find(|(found, _)| found == name).map(|(_, q)| q.unwrap_or(1000))
}

proptest! {
    #[test]
    fn gzip_goes_to_those_who_like_it_at_least_as_much_as_none(
        members in members(&["gzip", "br", "identity", "*", "deflate"]), blank in " {0,2}", capitals: bool,
    ) {
        // RFC 9110, section 12.5.3, in its own words: the asterisk stands for what is not named.
        let gzip = quality_of(&members, "gzip").or(quality_of(&members, "*")).unwrap_or(0);
        let identity = quality_of(&members, "identity");
        let expected = gzip > 0 && identity.is_none_or(|identity| gzip >= identity);
        let text = written(&members, &blank, capitals);
        prop_assert_eq!(accepts_gzip(&fields("Accept-Encoding", &text)), expected, "{}", text);
    }

    #[test]
    fn a_language_that_is_liked_best_and_is_there_is_chosen(
        members in members(&["de", "pt-br", "ja", "fi", "zh-hans", "en"]), blank in " {0,2}", capitals: bool,
    ) {
        let available = ["en", "de", "ja", "pt-BR", "zh-Hans"];
        let text = written(&members, &blank, capitals);
        let chosen = available[language(&fields("Accept-Language", &text), &available)].to_ascii_lowercase();
        let best = members.iter().map(|(name, q)| (name, q.unwrap_or(1000)))
            .filter(|(name, q)| *q > 0 && available.iter().any(|one| one.eq_ignore_ascii_case(name)))
            // The first of those that are liked best.
            .rev().max_by_key(|(_, q)| *q);
        prop_assert_eq!(&chosen, best.map_or("en", |(name, _)| name), "{}", text);
    }

    #[test]
    fn nobody_likes_json_and_html_better_than_each_other(
        members in members(&["application/json", "text/html", "text/*", "*/*", "application/problem+json", "image/png"]),
        blank in " {0,2}", capitals: bool,
    ) {
        let text = written(&members, &blank, capitals);
        let fields = fields("Accept", &text);
        prop_assert!(!(prefers_json(&fields) && prefers_html(&fields)), "{}", text);
        let json = quality_of(&members, "application/json").max(quality_of(&members, "application/problem+json"));
        if json.is_none_or(|q| q == 0) {
            prop_assert!(!prefers_json(&fields), "who does not name JSON gets none: {}", text);
        }
        if quality_of(&members, "text/html").is_none_or(|q| q == 0) {
            prop_assert!(!prefers_html(&fields), "{}", text);
        }
    }

    #[test]
    fn no_header_makes_negotiation_fail(value in prop::collection::vec(any::<u8>(), 0..60)) {
        let mut fields = Fields::default();
        for name in ["Accept", "Accept-Encoding", "Accept-Language"] {
            fields.push(name, &value);
        }
        let available = ["en", "de", "zh-Hans"];
        accepts_gzip(&fields);
        prop_assert!(language(&fields, &available) < available.len());
        prop_assert!(!(prefers_json(&fields) && prefers_html(&fields)));
    }

    #[test]
    fn vary_keeps_what_it_had_and_has_each_name_once(
        lines in prop::collection::vec(prop::sample::subsequence(&["Cookie", "Origin", "ACCEPT-ENCODING", "X"][..], 0..4), 0..3),
        added in prop::sample::subsequence(&["Accept-Encoding", "Accept-Language", "Accept"][..], 0..4),
    ) {
        let mut all = Fields::default();
        let lines: Vec<String> = lines.iter().map(|names| names.join(" ,, ")).collect();
        lines.iter().for_each(|line| all.push("vary", line.as_bytes()));
        let before: Vec<Vec<u8>> = all.members("Vary").map(<[u8]>::to_vec).collect();
        for name in added.iter().chain(&added) {
            add_vary(&mut all, name);
        }
        for name in &before {
            prop_assert!(all.members("Vary").any(|found| found == name));
        }
        for name in &added {
            let had = before.iter().filter(|found| found.eq_ignore_ascii_case(name.as_bytes())).count();
            let times = all.members("Vary").filter(|found| found.eq_ignore_ascii_case(name.as_bytes())).count();
            prop_assert_eq!(times, had.max(1));
        }
    }
}
