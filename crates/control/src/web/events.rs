//! `/api/events`: what happened, read and written.

use super::answer::{self, Answer};
use crate::events::{self, Note};
use crate::service::now;
use crate::{Context, moment};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Of a request's body: the longest event in the longest way of writing JSON.
const LARGEST: usize = 8 << 10;
/// For a request's body.
const DEADLINE: Duration = Duration::from_secs(10);
/// What is answered where nothing is asked: a day.
const DEFAULT_STRETCH: i64 = 86_400;

/// `GET /api/events?from=&until=&tag=`
pub(crate) async fn list(context: &Context, query: Option<&str>) -> Answer {
    let now = now();
    let mut until = now + 1;
    let (mut from, mut tag) = (None, None);
    for (key, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        let moment = || moment::read(&value, now);
        let read = match &*key {
            "from" => moment().map(|at| from = Some(at)),
            "until" => moment().map(|at| until = at),
            "tag" => {
                tag = Some(value.into_owned());
                Ok(())
            }
            _ => Err(format!("there is no \"{key}\" here; from, until and tag are known")),
        };
        if let Err(why) = read {
            return answer::text(StatusCode::BAD_REQUEST, format!("{why}\n"));
        }
    }
    let from = from.unwrap_or(until - DEFAULT_STRETCH);
    let found =
        context.store.read(move |reader| reader.latest_events((from, until), tag.as_deref(), events::MOST)).await;
    match found {
        Ok(found) => {
            let found: Vec<Value> = found.iter().map(events::to_json).collect();
            answer::json(StatusCode::OK, &json!({ "from": from, "until": until, "events": found }))
        }
        Err(error) => failed(&error),
    }
}

/// `POST /api/events`, past the guard: `{"text", "tag", "at", "who"}`, of which the text alone must be there.
pub(crate) async fn add(context: &Context, request: Request<Incoming>) -> Answer {
    if !context.pace.takes(Instant::now()) {
        return answer::text(StatusCode::TOO_MANY_REQUESTS, "that is more than an event a second\n");
    }
    let body = tokio::time::timeout(DEADLINE, Limited::new(request.into_body(), LARGEST).collect()).await;
    let Ok(Ok(body)) = body else {
        let why = format!("send at most {LARGEST} bytes, within {} s\n", DEADLINE.as_secs());
        return answer::text(StatusCode::BAD_REQUEST, why);
    };
    let now = now();
    let kept = context.policy.control.keep.days.as_secs() as i64;
    let event = note(&body.to_bytes(), now).and_then(|note| note.accept(now, kept));
    let event = match event {
        Ok(event) => event,
        Err(why) => return answer::text(StatusCode::UNPROCESSABLE_ENTITY, format!("{why}\n")),
    };
    match events::keep(&context.store, event.clone()).await {
        Ok(()) => answer::json(StatusCode::CREATED, &events::to_json(&event)),
        Err(error) => failed(&error),
    }
}

fn note(body: &[u8], now: i64) -> Result<Note, String> {
    let Ok(Value::Object(fields)) = serde_json::from_slice(body) else {
        return Err("send a JSON object: {\"text\": \"deploy 3f2a\", \"tag\": \"deploy\"}".into());
    };
    let mut note = Note { who: "api".into(), ..Note::default() };
    for (key, value) in fields {
        match (key.as_str(), value) {
            ("text", Value::String(text)) => note.text = text,
            ("tag", Value::String(tag)) => note.tag = tag,
            ("who", Value::String(who)) if !who.trim().is_empty() => note.who = who,
            ("at", Value::Number(at)) => note.at = Some(at.as_i64().ok_or("at is in whole seconds since 1970")?),
            ("at", Value::String(at)) => note.at = Some(moment::read(&at, now)?),
            (key, value) => return Err(format!("\"{key}\": {value} is not known; text, tag, who and at are")),
        }
    }
    Ok(note)
}

fn failed(error: &crate::ControlError) -> Answer {
    tracing::error!(%error, "the store fails");
    answer::text(StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_whole_or_not_at_all() {
        let read = |text: &str| note(text.as_bytes(), 10_000);
        let good = read(r#"{"text": "deploy", "tag": "d", "at": "15m ago", "who": "ann"}"#).unwrap();
        assert_eq!((good.at, good.who.as_str(), good.tag.as_str()), (Some(9100), "ann", "d"));
        assert_eq!(read(r#"{"text": "x"}"#).unwrap().who, "api");
        for wrong in ["", "[]", r#"{"text": 1}"#, r#"{"text": "x", "colour": "red"}"#, r#"{"text": "x", "at": 1.5}"#] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
