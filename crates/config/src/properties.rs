//! What holds of every configuration, rule and path.

use super::*;
use proptest::prelude::*;

/// Texts that look like a configuration, and texts that do not.
fn config() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "http",
        "admin",
        "servers",
        "connect_timeout",
        "max_head",
        "max_fields",
        "name",
        "kind",
        "path",
        "mode",
        "status",
        "cache_control",
        "gzip",
        "gzip_level",
        "types",
        "networks",
        "secret",
        "cdn",
        "pages",
        "answer",
        "format",
        "header",
        "unproven",
        "database",
        "graphite",
        "certificate",
        "client_ca",
        "url",
        "proxy_protocol_from",
        "nonsense",
        "ключ",
    ]);
    let value = prop_oneof![
        "\"[ -~]{0,12}\"",
        "'[^'\n]{0,8}'",
        "-?[0-9]{1,20}",
        Just("true".to_string()),
        Just("\"5s\"".to_string()),
        Just("\"32 KiB\"".to_string()),
        Just("[]".to_string()),
        Just("[\"fastly\", 7, \"ü\"]".to_string()),
        Just("{ header = \"X\", values = [\"x\"] }".to_string()),
        Just("{ fastly = { surrogate_control = \"max-age=x\" } }".to_string()),
        Just("[[1], {}]".to_string()),
        "\\PC{0,6}",
    ];
    let table = prop::sample::select(vec![
        "[listen]",
        "[origin]",
        "[limits]",
        "[[cdn]]",
        "[[rule]]",
        "[gzip]",
        "[beacon]",
        "[whoopsie]",
        "[geo]",
        "[log]",
        "[metrics]",
        "[identify]",
        "[tls]",
        "[[tls.more]]",
        "[rule]",
        "[nothing]",
        "[",
    ]);
    let line = prop_oneof![
        4 => (key, value).prop_map(|(key, value)| format!("{key} = {value}")),
        2 => table.prop_map(str::to_string),
        1 => "\\PC{0,20}",
    ];
    prop::collection::vec(line, 0..14).prop_map(|lines| lines.join("\n"))
}

/// Where something is changed, and to what, if not to nothing.
type Slip = (prop::sample::Index, Option<char>);

fn slips() -> impl Strategy<Value = Vec<Slip>> {
    let put = prop_oneof![
        Just(None),
        any::<char>().prop_map(Some),
        prop::sample::select(vec!['"', '\'', '[', ']', '=', '{', '}', '#', '\n', '0', '-', '\\']).prop_map(Some),
    ];
    prop::collection::vec((any::<prop::sample::Index>(), put), 1..6)
}

fn reference_with(slips: &[Slip]) -> String {
    let mut text: Vec<char> = include_str!("../../../config/headwater.toml").chars().collect();
    for (at, put) in slips {
        let at = at.index(text.len());
        match put {
            Some(put) => text[at] = *put,
            None => drop(text.remove(at)),
        }
    }
    text.into_iter().collect()
}

fn every_mistake_has_a_place(text: &str) {
    let (policy, mistakes) = from_text("headwater.toml", text);
    assert!(policy.is_some() != mistakes.iter().any(|mistake| mistake.severity == Severity::Error));
    for mistake in mistakes {
        assert!(!mistake.what.is_empty() && !mistake.remedy.is_empty());
        let _ = mistake.to_string();
        if let Some(place) = mistake.place.filter(|place| place.source.name == "headwater.toml") {
            assert!(text.get(place.span.clone()).is_some(), "{:?} is no place: {}", place.span, mistake.what);
            let (line, column) = place.line_and_column();
            let lines: Vec<&str> = text.split('\n').collect();
            assert!(
                line <= lines.len() && column <= lines[line - 1].chars().count() + 1,
                "{line}:{column}: {}",
                mistake.what
            );
        }
    }
}

/// A path's expression that can be told without regular expressions.
#[derive(Clone, Debug)]
enum Plain {
    Begins(String),
    Ends(String),
    Holds(String),
    Is(String),
}

impl Plain {
    fn expression(&self) -> String {
        match self {
            Plain::Begins(text) => format!("^{text}"),
            Plain::Ends(text) => format!("{text}$"),
            Plain::Holds(text) => text.clone(),
            Plain::Is(text) => format!("^{text}$"),
        }
    }

    fn matches(&self, path: &str) -> bool {
        match self {
            Plain::Begins(text) => path.starts_with(text),
            Plain::Ends(text) => path.ends_with(text),
            Plain::Holds(text) => path.contains(text),
            Plain::Is(text) => path == text,
        }
    }
}

fn plain() -> impl Strategy<Value = Plain> {
    prop_oneof![
        "/[ab/]{0,2}".prop_map(Plain::Begins),
        "[ab/]{1,3}".prop_map(Plain::Ends),
        "[ab/]{1,3}".prop_map(Plain::Holds),
        "/[ab/]{0,2}".prop_map(Plain::Is),
    ]
}

fn rules(plain: &[Plain]) -> String {
    let mut text = "[origin]\nservers = [\"a:1\"]\n".to_string();
    for (number, one) in plain.iter().enumerate() {
        text += &format!("[[rule]]\nname = \"r{number}\"\npath = '{}'\n", one.expression());
    }
    text
}

/// Every path of at most six characters out of four.
fn short_paths() -> Vec<String> {
    let mut all = vec!["/".to_string()];
    let mut longest = all.clone();
    for _ in 0..5 {
        longest = longest.iter().flat_map(|path| ["/", "a", "b", "z"].map(|next| format!("{path}{next}"))).collect();
        all.extend_from_slice(&longest);
    }
    all
}

proptest! {
    #[test]
    fn any_text_is_a_policy_or_has_mistakes_in_their_places(text in config()) {
        every_mistake_has_a_place(&text);
        every_mistake_has_a_place(&format!("[origin]\nservers = [\"a:1\"]\n{text}"));
    }

    #[test]
    fn a_slip_in_the_reference_has_its_place(slips in slips()) {
        every_mistake_has_a_place(&reference_with(&slips));
    }

    #[test]
    fn the_first_rule_that_matches_wins(plain in prop::collection::vec(plain(), 1..6), path in "/[abz/]{0,7}") {
        let policy = from_text("t", &rules(&plain)).0.unwrap();
        let expected = plain.iter().position(|one| one.matches(&path)).unwrap_or(plain.len());
        prop_assert_eq!(policy.rules.matching(path.as_bytes()), expected);
    }

    #[test]
    fn a_rule_is_called_unreachable_if_and_only_if_no_path_reaches_it(plain in prop::collection::vec(plain(), 1..5)) {
        let text = rules(&plain);
        let (policy, mistakes) = from_text("t", &text);
        let policy = policy.unwrap();
        let mut reached = vec![false; plain.len() + 1];
        for path in short_paths() {
            reached[policy.rules.matching(path.as_bytes())] = true;
        }
        for (number, reached) in reached.iter().take(plain.len()).enumerate() {
            let line = number * 3 + 5;
            let warned = mistakes.iter().any(|m| m.place.as_ref().is_some_and(|place| place.line_and_column().0 == line));
            prop_assert_eq!(warned, !reached, "r{} of\n{}", number, &text);
        }
    }
}
