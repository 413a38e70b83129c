//! Pushes figures to Graphite and StatsD, and keeps what could not be delivered.

use crate::server::Control;
use prometheus::proto::{MetricFamily, MetricType};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// An hour of pushes every ten seconds, and no more than so many bytes of them.
const MOST_PUSHES: usize = 360;
const MOST_BYTES: usize = 32 << 20;
/// A sink that takes longer counts as away.
const PATIENCE: Duration = Duration::from_secs(5);
/// What fits an Ethernet frame, so that a datagram is not cut.
const DATAGRAM: usize = 1400;

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

/// Sends what counters gained as `|c` and gauges as `|g`. What could not be sent is in the next difference.
pub(crate) async fn to_statsd(control: Arc<Control>) {
    let mut delivered: HashMap<String, f64> = HashMap::new();
    let mut socket: Option<(String, UdpSocket)> = None;
    loop {
        let metrics = control.shared.live.load().policy.metrics.clone();
        tokio::time::sleep(metrics.interval).await;
        let Some(sink) = &metrics.statsd else {
            socket = None;
            continue;
        };
        if socket.as_ref().is_none_or(|(to, _)| to != sink) {
            socket = connect_udp(sink).await.ok().map(|socket| (sink.clone(), socket));
        }
        let Some((_, udp)) = &socket else { continue };
        if send_statsd(udp, &control.gather(), &metrics.prefix, &mut delivered).await.is_err() {
            socket = None;
        }
    }
}

async fn connect_udp(sink: &str) -> std::io::Result<UdpSocket> {
    let address = tokio::net::lookup_host(sink).await?.next().ok_or(std::io::ErrorKind::NotFound)?;
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(address).await?;
    Ok(socket)
}

async fn send_statsd(
    udp: &UdpSocket,
    families: &[MetricFamily],
    prefix: &str,
    delivered: &mut HashMap<String, f64>,
) -> std::io::Result<()> {
    let mut packet = String::new();
    let mut in_packet: Vec<(String, f64)> = Vec::new();
    for sample in samples(families, prefix) {
        let line = if sample.counts {
            let gained = sample.value - delivered.get(&sample.name).copied().unwrap_or(0.0);
            if gained == 0.0 {
                continue;
            }
            format!("{}:{gained}|c\n", sample.name)
        } else {
            format!("{}:{}|g\n", sample.name, sample.value)
        };
        if packet.len() + line.len() > DATAGRAM && !packet.is_empty() {
            udp.send(packet.trim_end().as_bytes()).await?;
            delivered.extend(in_packet.drain(..));
            packet.clear();
        }
        packet.push_str(&line);
        if sample.counts {
            in_packet.push((sample.name, sample.value));
        }
    }
    if !packet.is_empty() {
        udp.send(packet.trim_end().as_bytes()).await?;
        delivered.extend(in_packet);
    }
    Ok(())
}

/// A figure under a dotted name.
struct Sample {
    name: String,
    value: f64,
    /// Whether it only grows.
    counts: bool,
}

/// Every counter and gauge; of a histogram its count and its sum.
fn samples(families: &[MetricFamily], prefix: &str) -> Vec<Sample> {
    let mut samples = Vec::new();
    for family in families {
        let name = family.name().strip_prefix("headwater_").unwrap_or(family.name());
        for metric in family.get_metric() {
            let mut path = format!("{prefix}.{name}");
            for label in metric.get_label() {
                path.push('.');
                // A dot in a value would make two levels of it.
                path.extend(label.value().chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }));
            }
            let mut add = |suffix: &str, value: f64, counts: bool| {
                samples.push(Sample { name: format!("{path}{suffix}"), value, counts });
            };
            match family.get_field_type() {
                MetricType::COUNTER => add("", metric.get_counter().get_value(), true),
                MetricType::GAUGE => add("", metric.get_gauge().get_value(), false),
                MetricType::HISTOGRAM => {
                    let histogram = metric.get_histogram();
                    add(".count", histogram.get_sample_count() as f64, true);
                    add(".sum", histogram.get_sample_sum(), true);
                }
                _ => {}
            }
        }
    }
    samples
}
