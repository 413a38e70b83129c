//! Lifetimes: what a rule says, against what the origin said, for the one who asks.

use crate::fields::Fields;
use headwater_config::{ADDRESSED, Kind, Lifetime, Mode, Provider, Rule};
use std::time::SystemTime;

/// Applies a rule's lifetime and its targeted headers to an answer.
/// `asker` is the proven provider and its index, `None` for everybody else.
pub(crate) fn apply(fields: &mut Fields, status: u16, rule: &Rule, asker: Option<(usize, &Provider)>) {
    let kind = asker.map(|(_, provider)| provider.kind);
    fields.retain(|name, _| addressed_to(name).is_none_or(|readers| kind.is_some_and(|kind| readers.contains(&kind))));
    if status >= 500 {
        forbid(fields);
        return;
    }
    one_of_each_age(fields);
    let (applies, sets) = match &rule.lifetime {
        Some(lifetime) => (lifetime.status.contains(status), lifetime.mode == Mode::Set),
        None => (matches!(status, 200..300 | 304), false),
    };
    if !applies {
        return;
    }
    // A targeted header outranks Cache-Control: it must not publish what the origin keeps to itself.
    let may_publish = sets || !keeps_private(fields);
    if let Some(lifetime) = &rule.lifetime {
        apply_lifetime(fields, lifetime);
    }
    if may_publish {
        apply_targeted(fields, rule, asker);
    }
}

/// An error is stored nowhere: one that a CDN keeps outlives its cause.
pub(crate) fn forbid(fields: &mut Fields) {
    const LIFETIMES: [&str; 4] = ["Expires", "Pragma", "Age", "Cache-Control"];
    let tells = |name: &[u8], known: &str| known.len() == name.len() && name.eq_ignore_ascii_case(known.as_bytes());
    fields.retain(|name, _| addressed_to(name).is_none() && !LIFETIMES.iter().any(|known| tells(name, known)));
    fields.push("Cache-Control", b"no-store");
}

/// The kinds of providers that a field is meant for; `None` where it is meant for all.
fn addressed_to(name: &[u8]) -> Option<&'static [Kind]> {
    let known = |known: &str| known.len() == name.len() && name.eq_ignore_ascii_case(known.as_bytes());
    ADDRESSED.iter().find(|(header, _)| known(header)).map(|(_, kinds)| *kinds)
}

/// Two lifetimes of one kind would be read as either; the shorter one counts (RFC 9111, section 4.2.1).
fn one_of_each_age(fields: &mut Fields) {
    let count = |age: &str| {
        let is_age = |directive: &&[u8]| directive_parts(directive).0.eq_ignore_ascii_case(age.as_bytes());
        fields.members("Cache-Control").filter(is_age).count()
    };
    if count("max-age") > 1 || count("s-maxage") > 1 {
        let (kept, ages) = apart(fields, u64::MAX);
        let value = [kept, ages_of(&ages)].concat().join(&b", "[..]);
        fields.set("Cache-Control", &value);
    }
}

fn apply_targeted(fields: &mut Fields, rule: &Rule, asker: Option<(usize, &Provider)>) {
    let Some((asker, _)) = asker else { return };
    for (_, targeted, value) in rule.targeted.iter().filter(|(provider, _, _)| *provider == asker) {
        fields.set(targeted.header(), value.as_bytes());
    }
}

fn apply_lifetime(fields: &mut Fields, lifetime: &Lifetime) {
    match lifetime.mode {
        Mode::Set => set(fields, lifetime.value.as_bytes()),
        _ if keeps_private(fields) => {}
        Mode::Default => {
            if !fields.has("Cache-Control") && !fields.has("Expires") {
                set(fields, lifetime.value.as_bytes());
            }
        }
        Mode::Cap => cap(fields, lifetime),
    }
}

fn set(fields: &mut Fields, value: &[u8]) {
    // Expires and Pragma would say something else to those who read them.
    fields.remove("Expires");
    fields.remove("Pragma");
    fields.set("Cache-Control", value);
}

/// Whether the origin forbade sharing or storing.
fn keeps_private(fields: &Fields) -> bool {
    fields.members("Cache-Control").any(forbids) || fields.all("Cache-Control").flat_map(hidden).any(forbids)
}

fn forbids(directive: &[u8]) -> bool {
    let (name, _) = directive_parts(directive);
    ["private", "no-store", "no-cache"].iter().any(|word| name.eq_ignore_ascii_case(word.as_bytes()))
}

/// The directives of a line with a quote that does not end, as those readers see them that mind no quotes.
fn hidden(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let broken = is_broken(line);
    line.split(|&b| b == b',').map(<[u8]>::trim_ascii).filter(move |_| broken)
}

/// Whether a quote does not end.
fn is_broken(text: &[u8]) -> bool {
    let (mut quoted, mut escaped) = (false, false);
    for &b in text {
        match b {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => {}
        }
    }
    quoted
}

/// Shortens every lifetime of the origin's that is longer; where there is none, the rule's stands in, as a cache that is
/// told nothing may guess a longer one.
fn cap(fields: &mut Fields, lifetime: &Lifetime) {
    let most = lifetime.max_age.unwrap_or(0);
    let (mut kept, mut found) = apart(fields, most);
    if found.is_empty() {
        match fields.get("Expires").map(|expires| until(expires, fields.get("Date"))) {
            Some(left) => found.push(("max-age", left.min(most))),
            None if kept.is_empty() => return set(fields, lifetime.value.as_bytes()),
            None => found.push(("max-age", most)),
        }
    }
    kept.extend(ages_of(&found));
    set(fields, &kept.join(&b", "[..]));
}

/// The directives that tell no age, and the ages, none of them longer than `most`.
fn apart(fields: &Fields, most: u64) -> (Vec<Vec<u8>>, Vec<(&'static str, u64)>) {
    let (mut kept, mut ages) = (Vec::new(), Vec::new());
    for directive in fields.members("Cache-Control") {
        let (name, argument) = directive_parts(directive);
        match ["max-age", "s-maxage"].into_iter().find(|age| name.eq_ignore_ascii_case(age.as_bytes())) {
            // An age that cannot be read means that the answer is stale already (RFC 9111, section 4.2.1).
            Some(age) => ages.push((age, seconds(argument).unwrap_or(0).min(most))),
            // It would swallow what is put behind it.
            None if is_broken(directive) => {}
            None => kept.push(directive.to_vec()),
        }
    }
    for forbidding in fields.all("Cache-Control").flat_map(hidden).filter(|directive| forbids(directive)) {
        if !kept.iter().any(|other| other == forbidding) {
            kept.push(forbidding.to_vec());
        }
    }
    (kept, ages)
}

/// At most one directive of each kind.
fn ages_of(found: &[(&'static str, u64)]) -> Vec<Vec<u8>> {
    let least = |age| found.iter().filter(|(name, _)| *name == age).map(|(_, seconds)| *seconds).min();
    let directive = |age| least(age).map(|seconds| format!("{age}={seconds}").into_bytes());
    ["max-age", "s-maxage"].into_iter().filter_map(directive).collect()
}

/// Seconds from `Date`, or now, to `Expires`; none where either cannot be read, as `Expires: 0`.
fn until(expires: &[u8], date: Option<&[u8]>) -> u64 {
    let read = |text: &[u8]| std::str::from_utf8(text).ok().and_then(|text| httpdate::parse_http_date(text).ok());
    let Some(expires) = read(expires) else { return 0 };
    let from = date.and_then(read).unwrap_or_else(SystemTime::now);
    expires.duration_since(from).map_or(0, |left| left.as_secs())
}

fn directive_parts(directive: &[u8]) -> (&[u8], &[u8]) {
    match directive.iter().position(|&b| b == b'=') {
        Some(at) => (directive[..at].trim_ascii(), directive[at + 1..].trim_ascii()),
        None => (directive, b""),
    }
}

/// Whole seconds, quoted or not; more than fits is the most there is (RFC 9111, section 1.2.2).
fn seconds(argument: &[u8]) -> Option<u64> {
    let argument = argument.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(argument);
    if argument.is_empty() || !argument.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(std::str::from_utf8(argument).ok()?.parse().unwrap_or(1 << 31))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::members;
    use proptest::prelude::*;

    /// `Cache-Control` as origins write it, over up to three lines.
    fn said() -> impl Strategy<Value = Vec<String>> {
        let select = |all: &'static [&'static str]| prop::sample::select(all).prop_map(str::to_string);
        let directive = prop_oneof![
            4 => "(max-age|s-maxage|Max-Age|S-MAXAGE) ?= ?\"?[0-9]{0,22}\"?",
            1 => select(&["public", "no-transform", "immutable", "stale-while-revalidate=9", "ext=\"a, max-age=7\""]),
            1 => select(&["private", "no-store", "No-Cache=\"x\"", "private=\"a,b\""]),
            1 => "[ -~]{0,10}",
        ];
        let line = prop::collection::vec(directive, 0..4).prop_map(|all| all.join(", "));
        prop::collection::vec(line, 0..3)
    }

    /// Every age that an answer tells, by name.
    fn ages(lines: &[(String, String)], name: &str) -> Vec<String> {
        let all = lines.iter().filter(|(name, _)| name.eq_ignore_ascii_case("cache-control"));
        let all = all.flat_map(|(_, value)| members(value.as_bytes()).map(directive_parts));
        let ages = all.filter(|(found, _)| found.eq_ignore_ascii_case(name.as_bytes()));
        ages.map(|(_, seconds)| String::from_utf8_lossy(seconds).into_owned()).collect()
    }

    fn as_fields(lines: &[(impl AsRef<str>, impl AsRef<str>)]) -> Fields {
        let mut fields = Fields::default();
        lines.iter().for_each(|(name, value)| fields.push(name.as_ref(), value.as_ref().as_bytes()));
        fields
    }

    proptest! {
        #[test]
        fn nothing_is_said_twice_or_for_longer_than_the_cap_and_privacy_stays(
            said in said(), expires in prop::option::of("[ -~]{0,30}"), mode in "cap|default",
        ) {
            let mut lines: Vec<(&str, &str)> = said.iter().map(|value| ("Cache-Control", value.as_str())).collect();
            lines.extend(expires.as_deref().map(|value| ("Expires", value)));
            let after = applied(&mode, &lines);
            let (max_age, s_maxage) = (ages(&after, "max-age"), ages(&after, "s-maxage"));
            prop_assert!(max_age.len() <= 1 && s_maxage.len() <= 1, "{:?}", after);
            if keeps_private(&as_fields(&lines)) {
                prop_assert!(keeps_private(&as_fields(&after)), "{:?}", after);
            } else if mode == "cap" {
                prop_assert_eq!(after.len(), 1, "{:?}", after);
                prop_assert!(!max_age.is_empty() || !s_maxage.is_empty(), "told nothing, a cache may guess: {:?}", after);
                for seconds in max_age.iter().chain(&s_maxage) {
                    prop_assert!(seconds.parse::<u64>().is_ok_and(|seconds| seconds <= 100), "{:?}", after);
                }
            }
        }

        #[test]
        fn set_says_one_thing_and_default_nothing_against_the_origin(said in said()) {
            let lines: Vec<(&str, &str)> = said.iter().map(|value| ("Cache-Control", value.as_str())).collect();
            prop_assert_eq!(applied("set", &lines), only("max-age=100"));
            let same: Vec<(String, String)> = lines.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
            let after = applied("default", &lines);
            if lines.is_empty() {
                prop_assert_eq!(after, only("max-age=100"));
            } else if ages(&same, "max-age").len() <= 1 && ages(&same, "s-maxage").len() <= 1 {
                prop_assert_eq!(after, same);
            }
        }

        #[test]
        fn no_error_has_a_lifetime(said in said(), status in 500_u16..600, mode in "set|default|cap") {
            let mut fields = Fields::default();
            said.iter().for_each(|value| fields.push("Cache-Control", value.as_bytes()));
            fields.push("CDN-Cache-Control", b"max-age=9");
            apply(&mut fields, status, &lifetime(&mode, "max-age=100"), None);
            prop_assert_eq!(fields.iter().collect::<Vec<_>>(), [(&b"Cache-Control"[..], &b"no-store"[..])]);
        }
    }

    #[test]
    fn a_quote_that_does_not_end_hides_nothing() {
        assert_eq!(applied("cap", &[("Cache-Control", "x=\"a, max-age=500")]), only("max-age=100"));
        for kept in ["max-age=\", private=\"a,b\"", "x=\"a, private", "x=\"a, max-age=500, No-Store"] {
            assert_eq!(applied("cap", &[("Cache-Control", kept)]), only(kept));
        }
        assert_eq!(
            applied("cap", &[("Cache-Control", "max-age=5, max-age=6, x=\"a, private")]),
            only("private, max-age=5")
        );
    }

    fn lifetime(mode: &str, value: &str) -> Rule {
        let text = format!(
            "[origin]\nservers = [\"a:1\"]\n[[rule]]\nname = \"r\"\npath = '.'\nmode = \"{mode}\"\ncache_control = \"{value}\"\n"
        );
        headwater_config::from_text("t", &text).0.unwrap().rules.all()[0].clone()
    }

    fn applied(mode: &str, origin: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut fields = Fields::default();
        for (name, value) in origin {
            fields.push(name, value.as_bytes());
        }
        apply(&mut fields, 200, &lifetime(mode, "max-age=100"), None);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        fields.iter().map(|(name, value)| (text(name), text(value))).collect()
    }

    fn only(value: &str) -> Vec<(String, String)> {
        vec![("Cache-Control".into(), value.into())]
    }

    #[test]
    fn set_replaces_whatever_the_origin_said() {
        assert_eq!(
            applied("set", &[("cache-control", "private"), ("Expires", "0"), ("Pragma", "no-cache")]),
            only("max-age=100")
        );
    }

    #[test]
    fn privacy_outlives_default_and_cap() {
        for mode in ["default", "cap"] {
            for kept in ["private", "no-store", "max-age=5, No-Cache", "no-cache=\"Set-Cookie\""] {
                assert_eq!(applied(mode, &[("Cache-Control", kept)]), only(kept), "{mode}");
            }
        }
    }

    #[test]
    fn default_stands_in_only_where_the_origin_sent_none() {
        assert_eq!(applied("default", &[]), only("max-age=100"));
        assert_eq!(applied("default", &[("Cache-Control", "public")]), only("public"));
        assert_eq!(applied("default", &[("Expires", "0")]), [("Expires".into(), "0".into())]);
    }

    #[test]
    fn cap_shortens_and_never_leaves_two_ages() {
        assert_eq!(applied("cap", &[]), only("max-age=100"));
        assert_eq!(applied("cap", &[("Cache-Control", "max-age=50")]), only("max-age=50"));
        assert_eq!(
            applied("cap", &[("Cache-Control", "public, max-age=500, s-maxage=9000")]),
            only("public, max-age=100, s-maxage=100")
        );
        assert_eq!(
            applied("cap", &[("Cache-Control", "max-age=70"), ("Cache-Control", "max-age=80")]),
            only("max-age=70")
        );
        assert_eq!(applied("cap", &[("Cache-Control", "max-age=soon")]), only("max-age=0"));
        assert_eq!(applied("cap", &[("Cache-Control", "max-age=99999999999999999999999")]), only("max-age=100"));
        assert_eq!(applied("cap", &[("Cache-Control", "public")]), only("public, max-age=100"));
        assert_eq!(
            applied("cap", &[("Expires", "Mon, 23 Nov 2026 10:00:30 GMT"), ("Date", "Mon, 23 Nov 2026 10:00:00 GMT")])
                [1],
            ("Cache-Control".into(), "max-age=30".into())
        );
    }

    #[test]
    fn the_origins_own_two_ages_become_one() {
        for mode in ["default", "cap"] {
            let both = [("Cache-Control", "max-age=7, public"), ("Cache-Control", "s-maxage=5, max-age=9, s-maxage=6")];
            assert_eq!(applied(mode, &both), only("public, max-age=7, s-maxage=5"), "{mode}");
        }
    }

    #[test]
    fn what_is_meant_for_one_vendor_reaches_no_other() {
        let lines = [("Surrogate-Key", "a"), ("Edge-Cache-Tag", "b"), ("X-Accel-Expires", "9"), ("X-Other", "c")];
        assert_eq!(applied("default", &lines)[0], ("X-Other".into(), "c".into()), "for nobody who is proven");
    }

    #[test]
    fn an_error_carries_no_lifetime_whatever_is_written() {
        let mut fields = Fields::default();
        fields.push("Cache-Control", b"max-age=5");
        fields.push("Surrogate-Control", b"max-age=5");
        fields.push("Expires", b"Mon, 23 Nov 2026 10:00:30 GMT");
        apply(&mut fields, 503, &lifetime("set", "max-age=100"), None);
        assert_eq!(fields.iter().collect::<Vec<_>>(), [(&b"Cache-Control"[..], &b"no-store"[..])]);
    }
}
