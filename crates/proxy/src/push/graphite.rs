//! Graphite: over TCP, every figure with the time it was read at; what could not be delivered is kept.

use super::{Presence, beat, samples};
use crate::server::Control;
use flate2::Compression;
use flate2::read::{DeflateDecoder, DeflateEncoder};
use prometheus::proto::MetricFamily;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;

/// What could not be delivered is kept so long, and no more than so many bytes of it.
const LONGEST: Duration = Duration::from_secs(3600);
const MOST_BYTES: usize = 32 << 20;
/// A sink that takes longer counts as away.
const PATIENCE: Duration = Duration::from_secs(5);

/// Sends every figure as `PREFIX.NAME.LABEL_VALUE... VALUE TIMESTAMP`, with the time of the beat it was read at.
pub(crate) async fn to_graphite(control: Arc<Control>) {
    let dropped = control.shared.figures.pushes_dropped.with_label_values(&["graphite"]);
    let sender = Sender {
        backlog: RefCell::default(),
        presence: RefCell::new(Presence::new("graphite", dropped, control.sinks.clone())),
        bell: Notify::new(),
        control,
    };
    // Side by side, as a sink that hangs must not delay the next reading.
    tokio::join!(sender.collect(), sender.deliver());
}

struct Sender {
    control: Arc<Control>,
    backlog: RefCell<Backlog>,
    presence: RefCell<Presence>,
    /// Rings at every beat.
    bell: Notify,
}

impl Sender {
    async fn collect(&self) {
        let mut last = Duration::ZERO;
        loop {
            let metrics = self.control.shared.live.load().policy.metrics.clone();
            last = beat(metrics.interval, last).await;
            if metrics.graphite.is_some() {
                let (lines, text) = lines(&self.control.gather(), &metrics.prefix, last);
                let mut presence = self.presence.borrow_mut();
                match Push::new(last, lines, &text) {
                    Ok(push) => self.backlog.borrow_mut().push_back(push),
                    Err(_) => presence.drops(lines),
                }
                let mut backlog = self.backlog.borrow_mut();
                presence.drops(backlog.trim(last));
                presence.waits(backlog.pushes.len().saturating_sub(1) as u64);
            }
            self.bell.notify_one();
        }
    }

    async fn deliver(&self) {
        let mut connection: Option<Connection> = None;
        loop {
            self.bell.notified().await;
            let Some(sink) = self.control.shared.live.load().policy.metrics.graphite.clone() else {
                connection = None;
                self.backlog.take();
                self.presence.borrow_mut().is_forgotten();
                continue;
            };
            if connection.as_ref().is_some_and(|connection| connection.to != sink || !connection.stands()) {
                self.give_up(&mut connection);
            }
            let mut lines = 0;
            loop {
                let Some(push) = self.backlog.borrow_mut().pop_front() else {
                    self.presence.borrow_mut().answers(&sink, lines);
                    break;
                };
                match write(&mut connection, &sink, &push).await {
                    Ok(()) => {
                        lines += push.lines;
                        if let Some(connection) = &mut connection {
                            connection.last = Some(push);
                        }
                    }
                    Err(error) => {
                        self.presence.borrow_mut().fails(&sink, &error);
                        self.backlog.borrow_mut().push_front(push);
                        self.give_up(&mut connection);
                        break;
                    }
                }
            }
        }
    }

    /// Whether the sink read what was written last before the connection ended, nobody knows. It is sent again: a point
    /// that comes twice is one point.
    fn give_up(&self, connection: &mut Option<Connection>) {
        if let Some(push) = connection.take().and_then(|connection| connection.last) {
            self.backlog.borrow_mut().push_front(push);
        }
    }
}

struct Connection {
    to: String,
    stream: TcpStream,
    last: Option<Push>,
}

impl Connection {
    /// A sink that went away while we were silent shows itself by an end; what is written into that is lost unseen.
    fn stands(&self) -> bool {
        matches!(self.stream.try_read(&mut [0; 64]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

async fn write(connection: &mut Option<Connection>, sink: &str, push: &Push) -> io::Result<()> {
    let late = || io::Error::new(io::ErrorKind::TimedOut, "it took too long");
    let text = push.text()?;
    if connection.is_none() {
        let stream = timeout(PATIENCE, TcpStream::connect(sink)).await.map_err(|_| late())??;
        *connection = Some(Connection { to: sink.into(), stream, last: None });
    }
    let Some(Connection { stream, .. }) = connection else { return Ok(()) };
    timeout(PATIENCE, stream.write_all(&text)).await.map_err(|_| late())?
}

fn lines(families: &[MetricFamily], prefix: &str, at: Duration) -> (u64, Vec<u8>) {
    let mut out = String::new();
    let mut count = 0;
    for sample in samples(families, prefix) {
        out.push_str(&format!("{} {} {}\n", sample.name, sample.value, at.as_secs()));
        count += 1;
    }
    (count, out.into_bytes())
}

/// What is sent at one beat. Compressed, as an hour of it may wait.
struct Push {
    at: Duration,
    lines: u64,
    packed: Vec<u8>,
}

impl Push {
    fn new(at: Duration, lines: u64, text: &[u8]) -> io::Result<Self> {
        let mut packed = Vec::new();
        DeflateEncoder::new(text, Compression::fast()).read_to_end(&mut packed)?;
        Ok(Self { at, lines, packed })
    }

    fn text(&self) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        DeflateDecoder::new(&self.packed[..]).read_to_end(&mut text)?;
        Ok(text)
    }
}

/// What waits to be delivered, oldest first.
#[derive(Default)]
struct Backlog {
    pushes: VecDeque<Push>,
    bytes: usize,
}

impl Backlog {
    fn push_back(&mut self, push: Push) {
        self.bytes += push.packed.len();
        self.pushes.push_back(push);
    }

    fn push_front(&mut self, push: Push) {
        self.bytes += push.packed.len();
        self.pushes.push_front(push);
    }

    fn pop_front(&mut self) -> Option<Push> {
        let push = self.pushes.pop_front()?;
        self.bytes -= push.packed.len();
        Some(push)
    }

    /// Drops what is too old or too much; says how many figures that were.
    fn trim(&mut self, now: Duration) -> u64 {
        let mut dropped = 0;
        while let Some(oldest) = self.pushes.front() {
            if now.saturating_sub(oldest.at) <= LONGEST && self.bytes <= MOST_BYTES {
                break;
            }
            dropped += self.pop_front().map_or(0, |push| push.lines);
        }
        dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(at: u64, text: &[u8]) -> Push {
        Push::new(Duration::from_secs(at), 3, text).unwrap()
    }

    #[test]
    fn an_hour_is_kept_whatever_the_interval_is() {
        for interval in [1, 10, 60] {
            let mut backlog = Backlog::default();
            for at in (interval..=3600 + interval).step_by(interval as usize) {
                backlog.push_back(push(at, b"a 1 1\n"));
                assert_eq!(backlog.trim(Duration::from_secs(at)), 0, "at {at}");
            }
            let later = 3600 + 2 * interval;
            backlog.push_back(push(later, b"a 1 1\n"));
            assert_eq!(backlog.trim(Duration::from_secs(later)), 3);
            assert_eq!(backlog.pop_front().unwrap().at, Duration::from_secs(2 * interval));
        }
    }

    #[test]
    fn what_waits_has_a_bound_in_bytes() {
        let noise: Vec<u8> = (0..1 << 20).map(|_| fastrand::u8(..)).collect();
        let mut backlog = Backlog::default();
        for at in 0..40 {
            backlog.push_back(push(at, &noise));
            backlog.trim(Duration::from_secs(at));
            assert!(backlog.bytes <= MOST_BYTES);
        }
        assert!(backlog.pushes.len() >= 30);
        assert_eq!(backlog.pop_front().unwrap().text().unwrap(), noise);
    }

    #[test]
    fn an_hour_of_thousands_of_figures_fits() {
        let text: String = (0..6_000)
            .map(|n| {
                format!(
                    "headwater.pulls_total.provider-{}.rule-{}.{}xx {} 1764000000\n",
                    n % 35,
                    n % 47,
                    n % 5,
                    n * 7919
                )
            })
            .collect();
        let an_hour = 360 * push(0, text.as_bytes()).packed.len();
        assert!(an_hour < MOST_BYTES, "{an_hour} bytes");
    }
}
