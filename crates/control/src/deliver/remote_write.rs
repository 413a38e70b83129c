//! The edges' settled totals for a Prometheus-compatible server, by remote write.

use super::write_request::{Series, encode};
use crate::store::Batch;
use crate::totals::{self, Total};
use crate::{Context, ControlError};
use bytes::Bytes;
use headwater_vendors::VendorError;
use http::{Request, header};
use http_body_util::Full;
use std::sync::Arc;
use std::time::Duration;

/// Between two looks for what is new.
const LOOK: Duration = Duration::from_secs(10);
/// An answer says nothing that would be long.
const LIMIT: usize = 64 << 10;
const DEADLINE: Duration = Duration::from_secs(30);

/// Delivers for as long as it is polled.
pub(crate) async fn deliver(context: Arc<Context>, url: String) {
    let mut look = tokio::time::interval(LOOK);
    let mut is_away = false;
    loop {
        look.tick().await;
        for cdn in totals::providers(&context) {
            // All that waits of a provider, a day at a time.
            loop {
                match one(&context, &url, &cdn).await {
                    Ok(0) => break,
                    Ok(buckets) if is_away => {
                        is_away = false;
                        tracing::info!(url, buckets, "remote write is taken again");
                    }
                    Ok(_) => {}
                    Err(error) => {
                        if !is_away {
                            tracing::warn!(url, error, "remote write fails; what is settled waits");
                        }
                        is_away = true;
                        break;
                    }
                }
            }
        }
    }
}

fn mark(cdn: &str) -> String {
    format!("remote_write/{cdn}")
}

/// Delivers what a provider's mark is behind by; how many buckets that were.
async fn one(context: &Context, url: &str, cdn: &str) -> Result<usize, String> {
    let name = cdn.to_string();
    let read = context.store.read(move |reader| match Total::read(reader, &mark(&name))? {
        Some(sent) => Ok((totals::advance(reader, &name, Some(sent))?, None)),
        // Beginning where the totals of `/metrics` stand, both have the same values.
        None => Ok((Vec::new(), Total::read(reader, &totals::name(&name))?)),
    });
    let (totals, begin) = read.await.map_err(|error| error.to_string())?;
    let last = totals.last().copied().or(begin);
    let Some(last) = last else { return Ok(0) };
    send(context, url, cdn, &totals).await?;
    let mut batch = Batch::default();
    last.write(&mut batch, mark(cdn));
    context.store.write(batch).await.map_err(|error: ControlError| error.to_string())?;
    Ok(totals.len())
}

/// Sends; an end before the mark is written sends the same samples again, which are the same samples then.
async fn send(context: &Context, url: &str, cdn: &str, totals: &[Total]) -> Result<(), String> {
    let series = |name: &str, of: fn(&Total) -> Option<f64>| Series {
        labels: vec![("__name__", name.into()), ("cdn", cdn.into()), ("job", "headwater-control".into())],
        samples: totals.iter().filter_map(|total| Some((total.until * 1000, of(total)?))).collect(),
    };
    let mut all = vec![
        series("headwater_edge_requests_total", |total| total.requests),
        series("headwater_edge_bytes_total", |total| total.bytes),
        series("headwater_edge_hits_total", |total| total.hits),
    ];
    all.retain(|series| !series.samples.is_empty());
    if all.is_empty() {
        return Ok(());
    }
    let body = encode(&all).map_err(|error| error.to_string())?;
    let request = Request::post(url)
        .header(header::CONTENT_TYPE, "application/x-protobuf")
        .header(header::CONTENT_ENCODING, "snappy")
        .header("X-Prometheus-Remote-Write-Version", "0.1.0")
        .header(header::USER_AGENT, concat!("headwater/", env!("CARGO_PKG_VERSION")))
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| error.to_string())?;
    match context.vendors.in_the_clear().bounded(DEADLINE, LIMIT).ask(request).await {
        Ok(_) => Ok(()),
        // What it will never take must not stand in the way of what comes after it.
        Err(VendorError::Failed { status: 400, words, .. }) => {
            tracing::error!(url, cdn, words, buckets = totals.len(), "remote write refuses samples; they are left out");
            Ok(())
        }
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
#[path = "remote_write_tests.rs"]
mod tests;
