//! Follows a fleet's counters in a Prometheus-compatible server. What was missed while it or we were away is made up for
//! from its samples, each with its own time.

use super::fleet::scrapes;
use super::increment::Increment;
use super::reading::Reading;
use super::{DEADLINE, beat, checkpoint};
use crate::offload::join::{self, PROXIES};
use crate::store::Batch;
use crate::{Context, service};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The samples of so many seconds are asked for at once.
const STRETCH: i64 = 300;
/// An answer with them: 2,000 series of 20 processes, scraped every 15 s.
const LIMIT: usize = 64 << 20;
/// A scrape can be read so long after it began. One that is later is not missed: the next one tells what both gained.
const LAG: i64 = 10;
/// Who has no sample for so long is gone, as Prometheus sees it too.
const GONE: i64 = 300;
/// How long it is remembered where a process's counters stood.
const REMEMBERED: i64 = 86_400;
/// Longest outage that is made up for.
const LONGEST: i64 = 7 * 86_400;
const STATE: &str = "pulls_fleet";

/// How far the samples are read, and of each process when it was scraped last.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
struct State {
    until: i64,
    scraped: BTreeMap<String, i64>,
}

/// Follows for as long as it is polled.
pub(crate) async fn follow(context: Arc<Context>, server: String) {
    let mut is_away = false;
    loop {
        beat().await;
        // All that waits, a stretch at a time.
        loop {
            match advance(&context, &server, service::now() - LAG).await {
                Ok(false) => break,
                Ok(true) if is_away => {
                    is_away = false;
                    tracing::info!(server, "the fleet's figures can be read again");
                }
                Ok(true) => {}
                Err(error) => {
                    if !is_away {
                        tracing::warn!(server, error, "the fleet's figures cannot be read");
                    }
                    is_away = true;
                    break;
                }
            }
        }
    }
}

/// Keeps the next stretch of samples up to `now`; whether there was one.
async fn advance(context: &Context, server: &str, now: i64) -> Result<bool, String> {
    let read = context.store.read(|reader| {
        let state: Option<State> = reader.checkpoint(STATE)?.and_then(|text| serde_json::from_str(&text).ok());
        let mut last: BTreeMap<String, Reading> = BTreeMap::new();
        for instance in state.iter().flat_map(|state| state.scraped.keys()) {
            let text = reader.checkpoint(&checkpoint(instance))?;
            last.extend(text.and_then(|text| Some((instance.clone(), serde_json::from_str(&text).ok()?))));
        }
        Ok((state, last, join::in_force(reader)?))
    });
    let (state, mut last, before) = read.await.map_err(|error| error.to_string())?;
    let mut state = state.unwrap_or_else(|| State { until: now - STRETCH, ..State::default() });
    state.until = state.until.max(now - LONGEST);
    let until = now.min(state.until + STRETCH);
    if until <= state.until {
        return Ok(false);
    }
    let client = context.vendors.in_the_clear().bounded(DEADLINE, LIMIT);
    let mut batch = Batch::default();
    for (instance, readings) in scrapes(&client, server, until, until - state.until).await? {
        for reading in readings {
            let known = last.get(&instance);
            if known.is_some_and(|known| reading.at <= known.at) {
                continue;
            }
            let increment = Increment::between(known, &reading);
            let lost = increment.map_or(0, |increment| increment.write(&mut batch, &instance));
            if lost > 0 {
                tracing::warn!(instance, pulls = lost, "a gap of more than a week is not written");
            }
            state.scraped.insert(instance.clone(), reading.at);
            last.insert(instance.clone(), reading);
        }
        if let Some(reading) = last.get(&instance) {
            batch.checkpoint(checkpoint(&instance), Some(serde_json::json!(reading).to_string()));
        }
    }
    state.until = until;
    for (instance, _) in state.scraped.iter().filter(|(_, at)| **at < until - REMEMBERED) {
        batch.checkpoint(checkpoint(instance), None);
    }
    state.scraped.retain(|_, at| *at >= until - REMEMBERED);
    let there = state.scraped.iter().filter(|(_, at)| **at >= until - GONE);
    let there: BTreeMap<_, _> = there.map(|(instance, at)| (instance, before.get(instance).unwrap_or(at))).collect();
    batch.checkpoint(PROXIES, Some(serde_json::json!(there).to_string()));
    batch.checkpoint(STATE, Some(serde_json::json!(state).to_string()));
    context.store.write(batch).await.map_err(|error| error.to_string())?;
    Ok(true)
}
