//! Graphite: over TCP, every figure with the time it was read at; what could not be delivered is kept.

use super::samples;
use crate::server::Control;
use prometheus::proto::MetricFamily;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// An hour of pushes every ten seconds, and no more than so many bytes of them.
const MOST_PUSHES: usize = 360;
const MOST_BYTES: usize = 32 << 20;
/// A sink that takes longer counts as away.
const PATIENCE: Duration = Duration::from_secs(5);

/// Sends every figure as `PREFIX.NAME.LABEL_VALUE... VALUE TIMESTAMP`, with the time it was read at.
pub(crate) async fn to_graphite(control: Arc<Control>) {
    let mut waiting: VecDeque<(u64, Vec<u8>)> = VecDeque::new();
    let mut bytes = 0;
    let mut connection: Option<(String, TcpStream)> = None;
    loop {
        let metrics = control.shared.live.load().policy.metrics.clone();
        tokio::time::sleep(metrics.interval).await;
        let Some(sink) = &metrics.graphite else {
            (connection, bytes) = (None, 0);
            waiting.clear();
            continue;
        };
        let (count, text) = graphite_lines(&control.gather(), &metrics.prefix);
        bytes += text.len();
        waiting.push_back((count, text));
        while waiting.len() > MOST_PUSHES || bytes > MOST_BYTES {
            let Some((count, text)) = waiting.pop_front() else { break };
            bytes -= text.len();
            control.shared.figures.pushes_dropped.with_label_values(&["graphite"]).inc_by(count);
            tracing::warn!(sink, lines = count, "graphite has been away too long: its oldest figures are dropped");
        }
        while let Some((_, text)) = waiting.front() {
            match deliver(&mut connection, sink, text).await {
                Ok(()) => {
                    bytes -= text.len();
                    waiting.pop_front();
                }
                Err(error) => {
                    connection = None;
                    tracing::debug!(sink, %error, waiting = waiting.len(), "graphite is away");
                    break;
                }
            }
        }
    }
}

async fn deliver(connection: &mut Option<(String, TcpStream)>, sink: &str, text: &[u8]) -> std::io::Result<()> {
    let late = || std::io::Error::from(std::io::ErrorKind::TimedOut);
    // A sink that went away while we were silent shows itself by an end; what is written into that is lost unseen.
    let stands = connection.as_ref().is_some_and(|(to, stream)| {
        to == sink
            && matches!(stream.try_read(&mut [0; 64]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    });
    if !stands {
        let stream = timeout(PATIENCE, TcpStream::connect(sink)).await.map_err(|_| late())??;
        *connection = Some((sink.to_string(), stream));
    }
    let Some((_, stream)) = connection else { return Err(late()) };
    timeout(PATIENCE, stream.write_all(text)).await.map_err(|_| late())?
}

fn graphite_lines(families: &[MetricFamily], prefix: &str) -> (u64, Vec<u8>) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut out = String::new();
    let mut count = 0;
    for sample in samples(families, prefix) {
        out.push_str(&format!("{} {} {now}\n", sample.name, sample.value));
        count += 1;
    }
    (count, out.into_bytes())
}
