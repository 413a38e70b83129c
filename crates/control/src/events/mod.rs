//! Events: what happened, a vertical line on every graph. Whoever writes one is bounded in length and in pace, and stands in
//! the audit log.

pub(crate) mod grafana;
mod pace;
pub(crate) mod watch;

use crate::service::now;
use crate::store::{Batch, Event, Store};
use crate::{ControlError, moment};
use serde_json::{Value, json};

pub(crate) use pace::Pace;

/// Of an event's text, in characters.
pub const LONGEST_TEXT: usize = 500;
/// Of a tag, in characters.
pub const LONGEST_TAG: usize = 40;
/// Of a name, in characters.
pub const LONGEST_WHO: usize = 80;
/// How far ahead an event may lie, in seconds: clocks differ, and some deploys are announced.
const AHEAD: i64 = 86_400;
/// At most so many are answered, the latest.
pub const MOST: usize = 5000;

/// What somebody wants to have written down, not looked at yet.
#[derive(Clone, Debug, Default)]
pub struct Note {
    /// When; now, where it is not said.
    pub at: Option<i64>,
    /// A word to find it by. May be empty.
    pub tag: String,
    /// What happened.
    pub text: String,
    /// Who says so.
    pub who: String,
}

impl Note {
    /// The event that it is, or what is wrong with it. `kept` is for how many seconds events are kept.
    ///
    /// # Errors
    /// What is wrong, for the one who wrote it.
    pub fn accept(self, now: i64, kept: i64) -> Result<Event, String> {
        let text = line("text", &self.text, LONGEST_TEXT)?;
        if text.is_empty() {
            return Err("the text is empty; say what happened".into());
        }
        let who = line("who", &self.who, LONGEST_WHO)?;
        let tag = self.tag.trim();
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.:/".contains(&b);
        if tag.len() > LONGEST_TAG || !tag.bytes().all(plain) {
            return Err(format!("a tag is a word of at most {LONGEST_TAG} letters, digits and - _ . : /"));
        }
        let at = self.at.unwrap_or(now);
        if at > now + AHEAD || at < now - kept {
            return Err(format!("{} is more than a day ahead, or older than what is kept", moment::write(at)));
        }
        Ok(Event { at, kind: "note".into(), tag: tag.into(), text, who })
    }
}

/// A line of text without what would break one.
fn line(name: &str, text: &str, longest: usize) -> Result<String, String> {
    let text = text.trim();
    if text.chars().count() > longest {
        return Err(format!("{name} is longer than {longest} characters"));
    }
    if text.chars().any(char::is_control) {
        return Err(format!("{name} has control characters; write one line"));
    }
    Ok(text.into())
}

/// Keeps an event that somebody wrote, and in the audit log that he did.
///
/// # Errors
/// Where the store fails.
pub async fn keep(store: &Store, event: Event) -> Result<(), ControlError> {
    let mut batch = Batch::default();
    batch.audit(
        now(),
        event.who.clone(),
        "event",
        format!("{} [{}] {}", moment::write(event.at), event.tag, event.text),
    );
    batch.event(event);
    store.write(batch).await
}

/// As the API says it.
pub fn to_json(event: &Event) -> Value {
    json!({
        "at": event.at, "time": moment::write(event.at),
        "kind": event.kind, "tag": event.tag, "text": event.text, "who": event.who,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(text: &str) -> Note {
        Note { text: text.into(), tag: "deploy".into(), who: "ann".into(), at: None }
    }

    #[test]
    fn what_is_written_is_a_line_with_a_bound() {
        let event = note(" deploy 3f2a ").accept(1000, 500).unwrap();
        let kind = "note".to_string();
        assert_eq!(
            event,
            Event { at: 1000, kind, tag: "deploy".into(), text: "deploy 3f2a".into(), who: "ann".into() }
        );
        assert!(note("").accept(0, 0).is_err());
        assert!(note("two\nlines").accept(0, 0).is_err());
        assert!(note(&"é".repeat(LONGEST_TEXT)).accept(0, 0).is_ok());
        assert!(note(&"x".repeat(LONGEST_TEXT + 1)).accept(0, 0).is_err());
        assert!(Note { tag: "two words".into(), ..note("x") }.accept(0, 0).is_err());
        assert!(Note { tag: "x".repeat(LONGEST_TAG + 1), ..note("x") }.accept(0, 0).is_err());
        assert!(Note { who: "x".repeat(LONGEST_WHO + 1), ..note("x") }.accept(0, 0).is_err());
    }

    #[test]
    fn an_event_lies_where_a_graph_can_show_it() {
        let at = |at| Note { at: Some(at), ..note("x") }.accept(1_000_000, 1000);
        assert!(at(999_000).is_ok() && at(1_086_400).is_ok());
        assert!(at(998_999).is_err() && at(1_086_401).is_err());
    }
}
