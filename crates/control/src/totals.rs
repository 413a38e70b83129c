//! What each edge served since we count, on settled buckets alone: totals that only grow, over restarts too.

use crate::figures::{self, Figure};
use crate::offload::{self, Points};
use crate::store::{Batch, Reader, Step};
use crate::{Context, ControlError};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Between two looks for what has settled.
const LOOK: Duration = Duration::from_secs(10);
/// Totals are led on by at most so much at once.
const STRETCH: i64 = 86_400;

/// What an edge served up to a moment. What its vendor does not tell is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Total {
    /// The end of the last bucket that is in it.
    pub until: i64,
    pub requests: Option<f64>,
    pub bytes: Option<f64>,
    pub hits: Option<f64>,
}

impl Total {
    /// The total that stands under this name.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn read(reader: &Reader<'_>, name: &str) -> Result<Option<Self>, ControlError> {
        Ok(reader.checkpoint(name)?.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// Writes it under this name.
    pub fn write(&self, batch: &mut Batch, name: String) {
        batch.checkpoint(name, Some(serde_json::json!(self).to_string()));
    }
}

/// The checkpoint of a provider's total.
pub(crate) fn name(cdn: &str) -> String {
    format!("edge_total/{cdn}")
}

/// The totals that follow on `total`, one for each bucket that has settled since. Counting begins at 0 where the figures
/// are settled when they are first seen.
///
/// # Errors
/// Where the store cannot be read.
pub(crate) fn advance(reader: &Reader<'_>, cdn: &str, total: Option<Total>) -> Result<Vec<Total>, ControlError> {
    let Some(settled) = offload::settled(reader, cdn)? else { return Ok(Vec::new()) };
    let Some(total) = total else { return Ok(vec![Total { until: settled, ..Total::default() }]) };
    let window = (total.until, settled.min(total.until + STRETCH));
    if window.1 <= window.0 {
        return Ok(Vec::new());
    }
    let mut grain = 60;
    let mut read = |figure: &'static Figure| -> Result<Points, ControlError> {
        let series = offload::preferred(reader.points(figure, Some(cdn), window, Step::Minute)?);
        grain = series.iter().map(|series| i64::from(series.grain)).max().unwrap_or(60).max(grain);
        Ok(offload::added(&series))
    };
    let (requests, bytes, hits) =
        (read(figures::EDGE_REQUESTS)?, read(figures::EDGE_BYTES)?, read(figures::EDGE_HITS)?);
    let starts: BTreeSet<i64> = requests.keys().chain(bytes.keys()).chain(hits.keys()).copied().collect();
    let add = |total: Option<f64>, more: Option<&f64>| match more {
        Some(more) => Some(total.unwrap_or(0.0) + more),
        None => total,
    };
    let mut now = total;
    let mut totals = Vec::new();
    for start in starts.into_iter().filter(|start| start + grain <= window.1) {
        now = Total {
            until: start + grain,
            requests: add(now.requests, requests.get(&start)),
            bytes: add(now.bytes, bytes.get(&start)),
            hits: add(now.hits, hits.get(&start)),
        };
        totals.push(now);
    }
    // Where nothing was told of a settled time, nothing will be.
    if totals.is_empty() && window.1 - window.0 >= grain {
        totals.push(Total { until: window.1.div_euclid(grain) * grain, ..now });
    }
    Ok(totals)
}

/// Leads the totals on for as long as it is polled.
pub(crate) async fn keep(context: Arc<Context>) {
    let mut look = tokio::time::interval(LOOK);
    loop {
        look.tick().await;
        if let Err(error) = lead_on(&context).await {
            tracing::error!(%error, "cannot lead the edges' totals on");
        }
    }
}

async fn lead_on(context: &Context) -> Result<(), ControlError> {
    let providers = providers(context);
    let batch = context.store.read(move |reader| {
        let mut batch = Batch::default();
        for cdn in &providers {
            let total = Total::read(reader, &name(cdn))?;
            if let Some(total) = advance(reader, cdn, total)?.last() {
                total.write(&mut batch, name(cdn));
            }
        }
        Ok(batch)
    });
    let batch = batch.await?;
    if batch.is_empty() { Ok(()) } else { context.store.write(batch).await }
}

/// Every configured provider.
pub(crate) fn providers(context: &Context) -> Vec<String> {
    context.policy.providers.iter().map(|provider| provider.name.clone()).collect()
}
