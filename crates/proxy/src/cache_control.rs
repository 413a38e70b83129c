//! Lifetimes: what a rule says, against what the origin said, for the one who asks.

use crate::fields::{Fields, members};
use headwater_config::{Lifetime, Mode, Provider, Rule, Targeted};
use std::time::SystemTime;

/// Applies a rule's lifetime and its targeted headers to an answer.
/// `asker` is the proven provider and its index, `None` for everybody else.
pub(crate) fn apply(fields: &mut Fields, status: u16, rule: &Rule, asker: Option<(usize, &Provider)>) {
    let honoured = asker.map_or(&[][..], |(_, provider)| provider.kind.honours());
    for (_, targeted) in Targeted::ALL {
        if !honoured.contains(&targeted) || status >= 500 {
            fields.remove(targeted.header());
        }
    }
    if status >= 500 {
        forbid(fields);
        return;
    }
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
    for name in ["Expires", "Pragma"] {
        fields.remove(name);
    }
    fields.set("Cache-Control", b"no-store");
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
    fields.members("Cache-Control").any(|directive| {
        let (name, _) = directive_parts(directive);
        ["private", "no-store", "no-cache"].iter().any(|word| name.eq_ignore_ascii_case(word.as_bytes()))
    })
}

/// Shortens every lifetime of the origin's that is longer; where there is none, the rule's stands in, as a cache that is
/// told nothing may guess a longer one.
fn cap(fields: &mut Fields, lifetime: &Lifetime) {
    let most = lifetime.max_age.unwrap_or(0);
    let value: Vec<u8> = fields.all("Cache-Control").collect::<Vec<_>>().join(&b", "[..]);
    let mut found = Vec::new();
    let mut kept: Vec<Vec<u8>> = Vec::new();
    for directive in members(&value) {
        let (name, argument) = directive_parts(directive);
        match ["max-age", "s-maxage"].iter().find(|age| name.eq_ignore_ascii_case(age.as_bytes())) {
            // An age that cannot be read means that the answer is stale already (RFC 9111, section 4.2.1).
            Some(age) => found.push((*age, seconds(argument).unwrap_or(0).min(most))),
            None => kept.push(directive.to_vec()),
        }
    }
    if found.is_empty() {
        match fields.get("Expires").map(|expires| until(expires, fields.get("Date"))) {
            Some(left) => found.push(("max-age", left.min(most))),
            None if kept.is_empty() => return set(fields, lifetime.value.as_bytes()),
            None => found.push(("max-age", most)),
        }
    }
    let mut ages: Vec<Vec<u8>> = Vec::new();
    for age in ["max-age", "s-maxage"] {
        // Two of one kind: the shorter one counts.
        if let Some(least) = found.iter().filter(|(name, _)| *name == age).map(|(_, seconds)| *seconds).min() {
            ages.push(format!("{age}={least}").into_bytes());
        }
    }
    kept.extend(ages);
    set(fields, &kept.join(&b", "[..]));
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
    fn an_error_carries_no_lifetime_whatever_is_written() {
        let mut fields = Fields::default();
        fields.push("Cache-Control", b"max-age=5");
        fields.push("Surrogate-Control", b"max-age=5");
        fields.push("Expires", b"Mon, 23 Nov 2026 10:00:30 GMT");
        apply(&mut fields, 503, &lifetime("set", "max-age=100"), None);
        assert_eq!(fields.iter().collect::<Vec<_>>(), [(&b"Cache-Control"[..], &b"no-store"[..])]);
    }
}
