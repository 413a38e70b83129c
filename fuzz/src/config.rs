//! Configurations: any text is a policy or has mistakes, each in its place.

use headwater_config::{Severity, from_text};

fn main() {
    afl::fuzz!(|bytes: &[u8]| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        // Files that it may name are none of this test's.
        if text.contains("file:") || text.contains("include") {
            return;
        }
        let (policy, mistakes) = from_text("headwater.toml", text);
        let wrong = mistakes.iter().any(|mistake| mistake.severity == Severity::Error);
        assert!(policy.is_some() != wrong, "a policy with mistakes, or none without");
        for mistake in mistakes {
            let _ = mistake.to_string();
            if let Some(place) = &mistake.place {
                assert!(place.source.text.get(place.span.clone()).is_some(), "{:?} is no place", place.span);
            }
        }
    });
}
