//! Limits as people write them, and what a value is against them: the codes and the line of a plug-in for Nagios
//! (Monitoring Plugins Development Guidelines).

use super::{Checked, Measured, Unit};
use crate::moment;

/// What a check says, with the code that it exits with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// 0
    Ok,
    /// 1
    Warning,
    /// 2
    Critical,
    /// 3
    Unknown,
}

impl State {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            State::Ok => "OK",
            State::Warning => "WARNING",
            State::Critical => "CRITICAL",
            State::Unknown => "UNKNOWN",
        }
    }
}

/// Reads a limit: `5/m` (also `/s` and `/h`) of a rate, `2%` or `0.02` of a share, `500ms`, `2s` or `30m` of a time, or a number.
///
/// # Errors
/// What to write instead.
pub fn read(text: &str, unit: Unit) -> Result<f64, String> {
    let number = |digits: &str| digits.trim().parse::<f64>().ok().filter(|number| number.is_finite());
    let (value, remedy) = match unit {
        Unit::PerMinute => {
            let value = match text.split_once('/') {
                None => number(text),
                Some((digits, "s")) => number(digits).map(|number| number * 60.0),
                Some((digits, "m")) => number(digits),
                Some((digits, "h")) => number(digits).map(|number| number / 60.0),
                Some(_) => None,
            };
            (value.filter(|value| *value >= 0.0), "a rate, such as 5/m")
        }
        Unit::Share => {
            let value = match text.strip_suffix('%') {
                Some(digits) => number(digits).map(|number| number / 100.0),
                None => number(text),
            };
            (value, "a share, such as 2% or 0.02")
        }
        Unit::Seconds => {
            let value = headwater_config::units::duration(text).ok().map(|length| length.as_secs_f64());
            (value.or_else(|| number(text)).filter(|value| *value >= 0.0), "a time, such as 500ms or 30m")
        }
        Unit::Count => (number(text).filter(|value| *value >= 0.0), "a number"),
    };
    value.ok_or_else(|| format!("\"{text}\" is no limit here; write {remedy}"))
}

/// The limits of a check.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// From here on it is a warning,
    pub warn: f64,
    /// and from here on critical.
    pub crit: f64,
    /// Whether what lies under them is wrong, and not what lies over them.
    pub under: bool,
}

impl Limits {
    /// What a value is. One that is just as much as a limit is beyond it.
    pub fn judge(&self, value: f64) -> State {
        if value.is_nan() {
            return State::Unknown;
        }
        let beyond = |limit: f64| if self.under { value <= limit } else { value >= limit };
        if beyond(self.crit) {
            State::Critical
        } else if beyond(self.warn) {
            State::Warning
        } else {
            State::Ok
        }
    }

    /// Whether critical is the worse of the two.
    pub fn are_in_order(&self) -> bool {
        if self.under { self.crit <= self.warn } else { self.crit >= self.warn }
    }
}

/// The one line, with what is drawn after its bar.
pub fn line(checked: Checked, cdn: Option<&str>, limits: &Limits, measured: &Measured, now: i64) -> String {
    let state = limits.judge(measured.value);
    let unit = checked.unit();
    let of = cdn.map_or_else(String::new, |cdn| format!(" of {cdn}"));
    let late = (now - measured.window.1).max(0);
    let note = if measured.note.is_empty() { String::new() } else { format!(", {}", clean(&measured.note)) };
    // A range of the guidelines: what lies under `5:` is wrong.
    let range = |limit: f64| format!("{}{}", short(scaled(limit, unit)), if limits.under { ":" } else { "" });
    let drawn = match unit {
        Unit::Share => "%",
        Unit::Seconds => "s",
        Unit::PerMinute | Unit::Count => "",
    };
    format!(
        "{} - {}{of}: {}{note} ({} s until {}, {late} s ago) |{}={}{drawn};{};{}",
        state.word(),
        checked.name(),
        text(measured.value, unit),
        measured.window.1 - measured.window.0,
        moment::write(measured.window.1),
        checked.name(),
        short(scaled(measured.value, unit)),
        range(limits.warn),
        range(limits.crit),
    )
}

/// One line, without what would begin the drawn part.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c == '|' || c.is_control() { ' ' } else { c }).collect()
}

fn text(value: f64, unit: Unit) -> String {
    let number = short(scaled(value, unit));
    match unit {
        Unit::PerMinute => format!("{number} a minute"),
        Unit::Share => format!("{number} %"),
        Unit::Seconds => format!("{number} s"),
        Unit::Count => number,
    }
}

fn scaled(value: f64, unit: Unit) -> f64 {
    if unit == Unit::Share { value * 100.0 } else { value }
}

/// At most three digits after the point, and none that are 0.
fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_written_as_people_write_them() {
        for (text, unit, value) in [
            ("5/m", Unit::PerMinute, 5.0),
            ("2/s", Unit::PerMinute, 120.0),
            ("30/h", Unit::PerMinute, 0.5),
            ("5", Unit::PerMinute, 5.0),
            ("2%", Unit::Share, 0.02),
            ("0.9", Unit::Share, 0.9),
            ("-5%", Unit::Share, -0.05),
            ("500ms", Unit::Seconds, 0.5),
            ("30m", Unit::Seconds, 1800.0),
            ("3", Unit::Count, 3.0),
        ] {
            assert_eq!(read(text, unit), Ok(value), "{text}");
        }
        for (text, unit) in [
            ("", Unit::Count),
            ("5/d", Unit::PerMinute),
            ("-1/m", Unit::PerMinute),
            ("NaN", Unit::Share),
            ("inf", Unit::Count),
            ("x%", Unit::Share),
            ("5 parsecs", Unit::Seconds),
        ] {
            assert!(read(text, unit).is_err(), "{text}");
        }
    }

    #[test]
    fn as_much_as_a_limit_is_beyond_it() {
        let over = Limits { warn: 5.0, crit: 20.0, under: false };
        assert_eq!(
            [4.9, 5.0, 19.9, 20.0].map(|value| over.judge(value)),
            [State::Ok, State::Warning, State::Warning, State::Critical]
        );
        let under = Limits { warn: 0.9, crit: 0.8, under: true };
        assert_eq!([0.91, 0.9, 0.8].map(|value| under.judge(value)), [State::Ok, State::Warning, State::Critical]);
        assert_eq!(over.judge(f64::NAN), State::Unknown);
        assert!(over.are_in_order() && under.are_in_order());
        assert!(!Limits { under: true, ..over }.are_in_order());
    }

    #[test]
    fn the_line_is_what_nagios_reads() {
        let measured = |value| Measured { value, window: (1_700_000_000, 1_700_000_300), note: String::new() };
        let limits = Limits { warn: 5.0, crit: 20.0, under: false };
        assert_eq!(
            line(Checked::Beacons, Some("fastly"), &limits, &measured(3.0), 1_700_000_360),
            "OK - beacons of fastly: 3 a minute (300 s until 2023-11-14T22:18:20Z, 60 s ago) |beacons=3;5;20"
        );
        let limits = Limits { warn: 0.9, crit: 0.8, under: true };
        assert!(line(Checked::Offload, None, &limits, &measured(0.875), 0).ends_with("|offload=87.5%;90:;80:"));
    }
}
