//! Events as annotations in Grafana (its HTTP API, `POST /api/annotations`). Where it is down they wait in the store and are
//! delivered later, each once.

use crate::store::{Batch, Event};
use crate::{Context, ControlError};
use bytes::Bytes;
use headwater_config::Grafana;
use headwater_vendors::VendorError;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// The checkpoint: the number of the last event that was delivered.
const DELIVERED: &str = "grafana";
/// Between two looks for new events.
const EVERY: Duration = Duration::from_secs(5);
/// Between two tries, where Grafana is down, at most.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// For one answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// Of an answer, in bytes.
const LIMIT: usize = 1 << 20;
/// Events that are read at once.
const AT_ONCE: usize = 100;

/// Delivers for as long as it is polled, if a Grafana is configured.
pub(crate) async fn run(context: Arc<Context>) {
    let Some(grafana) = context.policy.control.grafana.clone() else { return };
    // What was sent just before we were ended may have arrived.
    let mut unsure = true;
    let mut wait = EVERY;
    loop {
        match deliver(&context, &grafana, &mut unsure).await {
            Ok(()) => wait = EVERY,
            Err(error) => {
                tracing::warn!(%error, "Grafana does not take the events; they wait");
                unsure = true;
                wait = (wait * 2).min(LONGEST_WAIT);
            }
        }
        tokio::time::sleep(wait).await;
    }
}

#[derive(Debug, thiserror::Error)]
enum Undelivered {
    #[error(transparent)]
    Grafana(#[from] VendorError),
    #[error(transparent)]
    Store(#[from] ControlError),
}

/// Delivers all that waits. `unsure`: whether the first of it may be there already.
async fn deliver(context: &Context, grafana: &Grafana, unsure: &mut bool) -> Result<(), Undelivered> {
    let mut last =
        match context.store.read(|reader| reader.checkpoint(DELIVERED)).await?.and_then(|last| last.parse().ok()) {
            Some(last) => last,
            None => {
                // A Grafana that is new here hears of what happens from now on.
                let last = context.store.read(|reader| reader.last_event()).await?;
                delivered(context, last).await?;
                last
            }
        };
    loop {
        let after = last;
        let waiting = context.store.read(move |reader| reader.events_written_after(after, AT_ONCE)).await?;
        if waiting.is_empty() {
            return Ok(());
        }
        for (number, event) in waiting {
            if !(std::mem::take(unsure) && is_there(context, grafana, number, &event).await?) {
                match send(context, grafana, number, &event).await {
                    // It will not take this one tomorrow either, and the others wait behind it.
                    Err(error @ VendorError::Failed { status: 400 | 422, .. }) => {
                        tracing::warn!(%error, number, "Grafana refuses an event; it is left out");
                    }
                    sent => sent?,
                }
            }
            last = number;
            delivered(context, last).await?;
        }
    }
}

async fn delivered(context: &Context, last: i64) -> Result<(), ControlError> {
    let mut batch = Batch::default();
    batch.checkpoint(DELIVERED, Some(last.to_string()));
    context.store.write(batch).await
}

/// The tag by which an event is found again.
fn mark(number: i64) -> String {
    format!("headwater:{number}")
}

/// `GET /api/annotations` with the tags that `send` gives it.
async fn is_there(context: &Context, grafana: &Grafana, number: i64, event: &Event) -> Result<bool, VendorError> {
    let tag: String = form_urlencoded::byte_serialize(mark(number).as_bytes()).collect();
    let at = event.at * 1000;
    let path = format!("/api/annotations?tags={tag}&from={}&to={}&limit=1", at - 1, at + 1);
    let answer = ask(context, grafana, Method::GET, &path, None).await?;
    let found: Value = serde_json::from_slice(&answer).unwrap_or_default();
    Ok(found.as_array().is_some_and(|found| !found.is_empty()))
}

async fn send(context: &Context, grafana: &Grafana, number: i64, event: &Event) -> Result<(), VendorError> {
    ask(context, grafana, Method::POST, "/api/annotations", Some(annotation(number, event))).await?;
    Ok(())
}

fn annotation(number: i64, event: &Event) -> Value {
    let mut tags = vec!["headwater".to_string(), event.kind.clone()];
    if !event.tag.is_empty() && event.tag != event.kind {
        tags.push(event.tag.clone());
    }
    tags.push(mark(number));
    json!({ "time": event.at * 1000, "tags": tags, "text": format!("{} ({})", event.text, event.who) })
}

async fn ask(
    context: &Context,
    grafana: &Grafana,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> Result<Bytes, VendorError> {
    let host = || grafana.url.clone();
    let wrong = |error: &dyn std::fmt::Display| VendorError::Unreachable { host: host(), why: error.to_string() };
    let mut token = HeaderValue::from_bytes(&[b"Bearer ", grafana.token.expose()].concat()).map_err(|e| wrong(&e))?;
    token.set_sensitive(true);
    let request = Request::builder()
        .method(method)
        .uri(format!("{}{path}", grafana.url))
        .header(AUTHORIZATION, token)
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(body.map(|body| Bytes::from(body.to_string())).unwrap_or_default()))
        .map_err(|error| wrong(&error))?;
    Ok(context.vendors.bounded(DEADLINE, LIMIT).ask(request).await?.into_body())
}
