//! Tells the user's browser which CDN served it: a fill names the CDN that it goes to, and the copy that the CDN keeps does
//! so for each user (Server Timing, <https://www.w3.org/TR/server-timing/>).

use crate::fields::Fields;
use headwater_config::{Provider, Rule};

/// Adds a line beside those of the app's. `asker` is the proven provider: the copy of nobody else is a CDN's.
pub(crate) fn apply(fields: &mut Fields, status: u16, rule: &Rule, asker: Option<&Provider>) {
    // 304 too, as a cache takes its fields over those that it has (RFC 9111, section 3.2).
    let (true, 200..300 | 304, Some(provider)) = (rule.server_timing, status, asker) else { return };
    fields.push_with("Server-Timing", |line| {
        // A provider's name needs no escapes.
        line.extend_from_slice(b"cdn;desc=\"");
        line.extend_from_slice(provider.name.as_bytes());
        line.push(b'"');
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(on: bool, status: u16, proven: bool) -> Vec<String> {
        let text = format!(
            "[origin]\nservers = [\"a:1\"]\n[[cdn]]\nname = \"fastly\"\nkind = \"fastly\"\nnetworks = [\"fastly\"]\n\
             [[rule]]\nname = \"r\"\npath = '.'\nserver_timing = {on}\n"
        );
        let policy = headwater_config::from_text("t", &text).0.unwrap();
        let mut fields = Fields::default();
        fields.push("server-timing", b"db;dur=53");
        apply(&mut fields, status, &policy.rules.all()[0], proven.then(|| &policy.providers[0]));
        fields.all("Server-Timing").map(|value| String::from_utf8(value.to_vec()).unwrap()).collect()
    }

    #[test]
    fn a_fill_names_its_cdn_beside_what_the_app_says() {
        for status in [200, 206, 304] {
            assert_eq!(applied(true, status, true), ["db;dur=53", "cdn;desc=\"fastly\""], "{status}");
        }
    }

    #[test]
    fn nothing_is_said_where_it_is_off_or_of_errors_or_to_those_who_prove_nothing() {
        for (on, status, proven) in [(false, 200, true), (true, 404, true), (true, 503, true), (true, 200, false)] {
            assert_eq!(applied(on, status, proven), ["db;dur=53"], "{on} {status} {proven}");
        }
    }
}
