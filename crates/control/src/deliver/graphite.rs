//! The store's minutes for Graphite, each with its own time.

use crate::figures::{self, Figure, Roll};
use crate::offload;
use crate::store::{Batch, Reader, Step};
use crate::{Context, ControlError, service, totals};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Between two looks for what is new.
const LOOK: Duration = Duration::from_secs(10);
/// A delivery that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// What is older is not delivered at the first time.
const FIRST: i64 = 86_400;
/// At most so much time at once.
const STRETCH: i64 = 6 * 3600;
/// A minute of ours is whole so long after its end.
const LAG: i64 = 30;
/// A proxy that cannot be read is waited for so long: its gap is filled when it is back.
const LONGEST_WAIT: i64 = 3600;

/// Delivers for as long as it is polled.
pub(crate) async fn deliver(context: Arc<Context>, sink: String) {
    let mut look = tokio::time::interval(LOOK);
    let mut is_away = false;
    loop {
        look.tick().await;
        loop {
            match one(&context, &sink).await {
                Ok(None) => break,
                Ok(Some(points)) if is_away && points > 0 => {
                    is_away = false;
                    tracing::info!(sink, points, "Graphite takes what is kept again");
                }
                Ok(_) => {}
                Err(error) => {
                    if !is_away {
                        tracing::warn!(sink, error, "what is kept cannot be delivered to Graphite; it waits");
                    }
                    is_away = true;
                    break;
                }
            }
        }
    }
}

/// Delivers what the marks are behind by; how many points that were. `None`: they are behind by nothing.
async fn one(context: &Context, sink: &str) -> Result<Option<usize>, String> {
    let (providers, prefix) = (totals::providers(context), context.policy.metrics.prefix.clone());
    let now = service::now();
    let due = context.store.read(move |reader| due(reader, &providers, &prefix, now));
    let (lines, batch) = due.await.map_err(|error| error.to_string())?;
    if !lines.is_empty() {
        send(sink, lines.concat().as_bytes()).await.map_err(|error| error.to_string())?;
    }
    if batch.is_empty() {
        return Ok(None);
    }
    context.store.write(batch).await.map_err(|error| error.to_string())?;
    Ok(Some(lines.len()))
}

/// The lines that are due, and the marks to set when they are taken.
fn due(
    reader: &Reader<'_>,
    providers: &[String],
    prefix: &str,
    now: i64,
) -> Result<(Vec<String>, Batch), ControlError> {
    let mut batch = Batch::default();
    let mut lines = Vec::new();
    let (edge, ours): (Vec<&'static Figure>, Vec<_>) =
        figures::ALL.iter().copied().partition(|figure| figure.name.starts_with("edge_"));
    for cdn in providers {
        let Some(settled) = offload::settled(reader, cdn)? else { continue };
        let name = format!("graphite/edge/{cdn}");
        let Some(window) = behind(reader, &name, settled, now)? else { continue };
        let mut buckets = std::collections::BTreeMap::new();
        for figure in &edge {
            for series in reader.points(figure, Some(cdn), window, Step::Minute)? {
                for (at, value) in series.points {
                    buckets.insert(at, i64::from(series.grain));
                    lines.push((at, line(prefix, figure.name, &[cdn, &series.label], value, at)));
                }
            }
        }
        for (at, grain) in buckets {
            let worth = offload::worth(reader, std::slice::from_ref(cdn), (at, at + grain))?;
            let Some(worth) = worth.first() else { continue };
            for (name, value) in [("offload", worth.offload), ("byte_offload", worth.byte_offload)] {
                lines.extend(value.map(|value| (at, line(prefix, name, &[cdn], value, at))));
            }
        }
        batch.checkpoint(name, Some(window.1.to_string()));
    }
    if let Some(window) = behind(reader, "graphite/ours", whole_until(reader, now)?, now)? {
        for figure in ours {
            lines.extend(of_ours(reader, figure, prefix, window)?);
        }
        batch.checkpoint("graphite/ours", Some(window.1.to_string()));
    }
    // By time, so that who reads along sees no time twice.
    lines.sort_by_key(|(at, _)| *at);
    Ok((lines.into_iter().map(|(_, line)| line).collect(), batch))
}

fn of_ours(
    reader: &Reader<'_>,
    figure: &'static Figure,
    prefix: &str,
    window: (i64, i64),
) -> Result<Vec<(i64, String)>, ControlError> {
    let mut lines = Vec::new();
    if figure.roll != Roll::Sketch {
        for series in reader.points(figure, None, window, Step::Minute)? {
            let named = |(at, value)| (at, line(prefix, figure.name, &[&series.cdn, &series.label], value, at));
            lines.extend(series.points.iter().copied().map(named));
        }
        return Ok(lines);
    }
    for series in reader.sketches(figure, None, window, Step::Minute)? {
        for (at, sketch) in &series.points {
            for (name, q) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)] {
                let Some(value) = sketch.quantile(q) else { continue };
                lines.push((*at, line(prefix, figure.name, &[&series.cdn, &series.label, name], value, *at)));
            }
        }
    }
    Ok(lines)
}

/// Up to when our own minutes change no more: where the slowest proxy was read last.
fn whole_until(reader: &Reader<'_>, now: i64) -> Result<i64, ControlError> {
    let mut until = now - LAG;
    for proxy in offload::join::in_force(reader)?.into_keys() {
        let reading = reader.checkpoint(&format!("pulls/{proxy}"))?.unwrap_or_default();
        let reading: serde_json::Value = serde_json::from_str(&reading).unwrap_or_default();
        until = until.min(reading["at"].as_i64().unwrap_or(0).max(now - LONGEST_WAIT));
    }
    Ok(until.div_euclid(60) * 60)
}

/// What a mark is behind by, if anything.
fn behind(reader: &Reader<'_>, mark: &str, until: i64, now: i64) -> Result<Option<(i64, i64)>, ControlError> {
    let from = reader.checkpoint(mark)?.and_then(|text| text.parse().ok());
    let from = from.unwrap_or((now - FIRST).div_euclid(3600) * 3600);
    Ok((from < until).then_some((from, until.min(from + STRETCH))))
}

/// `PREFIX.edge.requests.CDN.LABEL VALUE TIME`
fn line(prefix: &str, figure: &str, labels: &[&str], value: f64, at: i64) -> String {
    let mut name = match figure.split_once('_') {
        Some(("edge", rest)) => format!("{prefix}.edge.{rest}"),
        Some(("user", rest)) => format!("{prefix}.users.{rest}"),
        _ => format!("{prefix}.{figure}"),
    };
    for label in labels.iter().filter(|label| !label.is_empty()) {
        let plain = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '_' };
        name.push('.');
        name.extend(label.chars().map(plain));
    }
    format!("{name} {value} {at}\n")
}

/// Sends, and waits until the receiver has read it all: it closes its side when it comes to the end of ours.
async fn send(sink: &str, lines: &[u8]) -> io::Result<()> {
    let exchange = async {
        let mut stream = TcpStream::connect(sink).await?;
        stream.write_all(lines).await?;
        stream.shutdown().await?;
        while stream.read(&mut [0; 256]).await? > 0 {}
        Ok(())
    };
    timeout(PATIENCE, exchange).await.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "it took too long"))?
}

#[cfg(test)]
#[path = "graphite_tests.rs"]
mod tests;
