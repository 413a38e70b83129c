//! Whether any path can reach a rule past the rules before it: inclusion of regular languages, by walking the product
//! of two automata.

use regex_automata::Input;
use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::util::primitives::StateID;
use regex_automata::util::syntax;
use std::collections::HashSet;

/// Past this many pairs of states the question is left open: such a list of rules is no one's, or an attack.
const MOST_PAIRS: usize = 200_000;
const MOST_BYTES: usize = 4 << 20;

type Dfa = dense::DFA<Vec<u32>>;

/// A path that `rule` matches and none of `earlier` does, or proof that there is none.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Some path reaches the rule.
    Reachable,
    /// None does.
    Shadowed,
    /// Too large to tell.
    Unknown,
}

pub(crate) fn reach(rule: &str, earlier: &[&str]) -> Reach {
    let (Some(rule), Some(earlier)) = (build(&[rule]), build(earlier)) else { return Reach::Unknown };
    let (Some(first), Some(first_earlier)) = (start(&rule), start(&earlier)) else { return Reach::Unknown };
    // Every path begins with a slash.
    let mut seen = HashSet::new();
    let mut open = Vec::new();
    step(&rule, &earlier, (first, first_earlier, false), b'/', &mut seen, &mut open);
    while let Some((state, state_earlier, matched)) = open.pop() {
        let matches = |dfa: &Dfa, state: StateID| dfa.is_match_state(dfa.next_eoi_state(state));
        if (matched || matches(&rule, state)) && !matches(&earlier, state_earlier) {
            return Reach::Reachable;
        }
        for byte in 0..=255 {
            step(&rule, &earlier, (state, state_earlier, matched), byte, &mut seen, &mut open);
        }
        if seen.len() > MOST_PAIRS {
            return Reach::Unknown;
        }
    }
    Reach::Shadowed
}

/// Both states, and whether the rule has matched already.
type Pair = (StateID, StateID, bool);

fn step(rule: &Dfa, earlier: &Dfa, from: Pair, byte: u8, seen: &mut HashSet<Pair>, open: &mut Vec<Pair>) {
    let (state, state_earlier, matched) = (rule.next_state(from.0, byte), earlier.next_state(from.1, byte), from.2);
    // A match is reported one byte late, and holds for every longer path.
    let matched = matched || rule.is_match_state(state);
    let hopeless = rule.is_dead_state(state) && !matched;
    if hopeless || earlier.is_match_state(state_earlier) || rule.is_quit_state(state) {
        return;
    }
    let pair = (state, state_earlier, matched);
    if seen.insert(pair) {
        open.push(pair);
    }
}

fn build(patterns: &[&str]) -> Option<Dfa> {
    dense::Builder::new()
        .configure(
            dense::Config::new()
                .start_kind(StartKind::Unanchored)
                .match_kind(regex_automata::MatchKind::All)
                .unicode_word_boundary(false)
                .dfa_size_limit(Some(MOST_BYTES))
                .determinize_size_limit(Some(MOST_BYTES)),
        )
        .syntax(syntax::Config::new().utf8(false))
        .thompson(regex_automata::nfa::thompson::Config::new().utf8(false))
        .build_many(patterns)
        .ok()
}

fn start(dfa: &Dfa) -> Option<StateID> {
    dfa.start_state_forward(&Input::new("/")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_behind_a_wider_one_is_shadowed() {
        assert_eq!(reach(r"\.css$", &[r"\.(gif|css)$"]), Reach::Shadowed);
        assert_eq!(reach(r"^/static/", &["^/"]), Reach::Shadowed);
        assert_eq!(reach(r"^/a/.*\.js$", &[r"^/b/", r"^/a/"]), Reach::Shadowed);
        assert_eq!(reach("/x", &["."]), Reach::Shadowed);
    }

    #[test]
    fn two_rules_may_shadow_a_third_only_together() {
        assert_eq!(reach("^/(a|b)", &["^/a", "^/b"]), Reach::Shadowed);
        assert_eq!(reach("^/(a|b|c)", &["^/a", "^/b"]), Reach::Reachable);
    }

    #[test]
    fn a_rule_with_a_path_of_its_own_is_reachable() {
        assert_eq!(reach(r"\.(gif|css)$", &[r"\.css$"]), Reach::Reachable);
        assert_eq!(reach("(?i)\\.CSS$", &[r"\.css$"]), Reach::Reachable);
        assert_eq!(reach(r"^/b", &[r"^/a"]), Reach::Reachable);
        assert_eq!(reach("x", &["x$"]), Reach::Reachable);
    }

    #[test]
    fn a_rule_that_no_path_matches_is_shadowed_by_nothing_at_all() {
        assert_eq!(reach("^static/", &[]), Reach::Shadowed);
    }
}
