//! What a URL asks for: names and values, each mistake with what to write instead.

use super::answer::{self, Answer};
use crate::figures::{self, Figure};
use crate::store::Step;
use hyper::StatusCode;
use percent_encoding::percent_decode_str;
use std::borrow::Cow;

/// Points of one series that are answered at most.
const MOST_POINTS: i64 = 3000;
/// No stretch is longer: ten years.
const LONGEST: i64 = 3660 * 86_400;
/// Without `from`: the last six hours.
const USUAL: i64 = 6 * 3600;

/// The part of a URL after `?`.
pub(crate) struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    pub fn of(query: Option<&'a str>) -> Self {
        Self(query.unwrap_or_default())
    }

    /// The value of a name, decoded; `None` where it is not there or empty.
    pub fn get(&self, name: &str) -> Option<Cow<'a, str>> {
        let mut pairs = self.0.split('&').filter_map(|pair| pair.split_once('='));
        let value = pairs.find(|(known, _)| *known == name).map(|(_, value)| value)?;
        if value.is_empty() {
            return None;
        }
        if value.contains('+') {
            let spaces = value.replace('+', " ");
            return Some(percent_decode_str(&spaces).decode_utf8_lossy().into_owned().into());
        }
        Some(percent_decode_str(value).decode_utf8_lossy())
    }

    /// `from` and `until`, in seconds since the epoch; without them the last six hours.
    pub fn range(&self, now: i64) -> Result<(i64, i64), String> {
        let number = |name: &str, default: i64| match self.get(name) {
            None => Ok(default),
            Some(text) => {
                text.parse::<i64>().map_err(|_| format!("{name} is in seconds since the epoch, and this is \"{text}\""))
            }
        };
        let until = number("until", now)?;
        let from = number("from", until.saturating_sub(USUAL))?;
        if from >= until || until.saturating_sub(from) > LONGEST || from < 0 || until > now + LONGEST {
            return Err("from lies before until, and no more than ten years".into());
        }
        Ok((from, until))
    }

    /// The figure that `figure` names.
    pub fn figure(&self) -> Result<&'static Figure, String> {
        let name = self.get("figure").unwrap_or_default();
        figures::named(&name).ok_or_else(|| {
            let names: Vec<&str> = figures::ALL.iter().map(|figure| figure.name).collect();
            format!("there is no figure \"{name}\"; figure is one of {}", names.join(", "))
        })
    }

    /// The length of a bucket, and what it is read from: `step` in seconds or `minute`, `hour`, `day`.
    pub fn step(&self, (from, until): (i64, i64)) -> Result<(i64, Step), String> {
        let length = until - from;
        let Some(text) = self.get("step") else {
            let step = Step::for_length(length);
            return Ok((step.seconds(), step));
        };
        let seconds = match &*text {
            "minute" => 60,
            "hour" => 3600,
            "day" => 86_400,
            number => number.parse::<i64>().unwrap_or(0),
        };
        let step =
            [Step::Day, Step::Hour, Step::Minute].into_iter().find(|step| seconds > 0 && seconds % step.seconds() == 0);
        let step =
            step.ok_or_else(|| String::from("step is minute, hour, day or a number of seconds, of whole minutes"))?;
        if length / seconds > MOST_POINTS {
            return Err(format!("that makes more than {MOST_POINTS} points of a series; let step be longer"));
        }
        Ok((seconds, step))
    }
}

pub(crate) fn wrong(why: String) -> Answer {
    answer::json(StatusCode::BAD_REQUEST, &serde_json::json!({ "error": why }))
}

/// The store fails: says so, and why.
pub(crate) fn failed(error: &crate::ControlError) -> Answer {
    tracing::error!(%error, "cannot answer from the store");
    answer::json(StatusCode::SERVICE_UNAVAILABLE, &serde_json::json!({ "error": error.to_string() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded() {
        let query = Query("a=&cdn=ak%61mai+eu&label=%3Cscript%3E%ff&step=hour");
        assert_eq!(query.get("cdn").unwrap(), "akamai eu");
        assert_eq!(query.get("label").unwrap(), "<script>\u{fffd}");
        assert_eq!((query.get("a"), query.get("b")), (None, None));
        assert_eq!(query.step((0, 86_400)).unwrap(), (3600, Step::Hour));
    }

    #[test]
    fn no_question_is_boundless() {
        let now = 1_700_000_000;
        for text in
            ["from=5&until=5", "from=9&until=3", "from=-1", "until=99999999999", "from=x", "until=9223372036854775807"]
        {
            assert!(Query(text).range(now).is_err(), "{text}");
        }
        assert_eq!(Query("").range(now).unwrap(), (now - USUAL, now));
        for text in ["step=0", "step=-60", "step=59", "step=week", "step=minute"] {
            assert!(Query(text).step((0, 40 * 86_400)).is_err(), "{text}");
        }
        assert_eq!(Query("step=600").step((0, 86_400)).unwrap(), (600, Step::Minute));
        assert_eq!(Query("step=604800").step((0, 365 * 86_400)).unwrap(), (604_800, Step::Day));
        assert_eq!(Query("").step((0, 7 * 86_400)).unwrap(), (3600, Step::Hour));
    }
}
