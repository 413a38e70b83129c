//! Sends spans to a collector, in batches, from beside the pulls. A collector that is away is tried again; meanwhile spans wait in
//! a queue that is bounded, and what finds it full is dropped and counted.

use super::otlp;
use super::span::Span;
use crate::push::Presence;
use crate::server::Control;
use headwater_config::{Collector, Trace as Settings};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderMap, RETRY_AFTER};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::fmt::Display;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// How long spans gather before they are sent. The queue is looked at then, and rings for nobody: a pull would pay for that.
const LINGER: Duration = Duration::from_millis(250);
/// The same after a batch that was full: the queue must not run over meanwhile.
const HURRY: Duration = Duration::from_millis(20);
/// Spans of one request.
const BATCH: usize = 512;
/// A collector that takes longer counts as away.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two tries; the first time a second, then twice as long each time.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// More of an answer is not read.
const LARGEST_ANSWER: usize = 64 << 10;

/// Sends what comes until `stop` is ready, and then what is left, once.
pub(crate) async fn export(control: Arc<Control>, queue: Receiver<Vec<Span>>, stop: impl Future<Output = ()>) {
    let dropped = control.shared.figures.spans_dropped.clone();
    let presence = Presence::new("otlp", dropped, control.sinks.clone());
    let mut exporter = Exporter { control, queue, presence, batch: Vec::new(), pause: LINGER };
    let mut stop = std::pin::pin!(stop);
    loop {
        let ends = tokio::select! {
            biased;
            () = &mut stop => true,
            () = sleep(exporter.pause) => false,
        };
        exporter.pause = exporter.send_all().await;
        if ends {
            return;
        }
    }
}

struct Exporter {
    control: Arc<Control>,
    queue: Receiver<Vec<Span>>,
    presence: Presence,
    /// What is sent next, perhaps once more.
    batch: Vec<Span>,
    pause: Duration,
}

impl Exporter {
    /// Sends what waits; says how long to pause.
    async fn send_all(&mut self) -> Duration {
        let Some(settings) = self.control.shared.live.load().policy.trace.clone() else {
            // Nobody is to hear of what was recorded before a reload.
            while self.fill() {
                self.presence.drops(self.batch.drain(..).len() as u64);
            }
            self.presence.is_forgotten();
            return LINGER;
        };
        let sink = settings.collector.address.clone();
        let mut late = 0;
        while self.fill() {
            let count = self.batch.len() as u64;
            match post(&settings, &self.batch).await {
                Outcome::Taken { rejected } => {
                    self.control.shared.figures.spans_sent.inc_by(count.saturating_sub(rejected));
                    self.presence.drops(rejected.min(count));
                    late += count;
                    self.batch.clear();
                    self.presence.answers(&sink, late);
                }
                Outcome::Refused(status) => {
                    self.presence.fails(&sink, &format!("it refuses spans: {status}"));
                    self.presence.drops(count);
                    self.batch.clear();
                }
                Outcome::Away { error, come_back } => {
                    self.presence.fails(&sink, &error);
                    self.presence.waits(count + self.control.shared.spans.waiting() as u64);
                    let next = (self.pause * 2).clamp(Duration::from_secs(1), LONGEST_PAUSE);
                    return come_back.unwrap_or(next);
                }
            }
        }
        if late < BATCH as u64 { LINGER } else { HURRY }
    }

    /// Takes a batch out of the queue, unless one is in hand; says whether there is one.
    fn fill(&mut self) -> bool {
        while self.batch.len() < BATCH
            && let Ok(spans) = self.queue.try_recv()
        {
            self.batch.extend(spans);
        }
        !self.batch.is_empty()
    }
}

/// What became of a batch (OTLP 1, "OTLP/HTTP Response").
enum Outcome {
    /// It has it, or most of it.
    Taken { rejected: u64 },
    /// It does not want it, now or ever.
    Refused(StatusCode),
    /// It may want it later.
    Away { error: String, come_back: Option<Duration> },
}

impl Outcome {
    fn away(error: impl Display) -> Self {
        Outcome::Away { error: error.to_string(), come_back: None }
    }
}

async fn post(settings: &Settings, spans: &[Span]) -> Outcome {
    let body = otlp::body(&settings.service, spans);
    match timeout(PATIENCE, exchange(&settings.collector, body)).await {
        Err(_) => Outcome::away("it took too long"),
        Ok(Err(error)) => Outcome::away(error),
        Ok(Ok((status, _, answer))) if status.is_success() => Outcome::Taken { rejected: otlp::rejected(&answer) },
        Ok(Ok((status, headers, _))) if matches!(status.as_u16(), 429 | 502..=504) => {
            Outcome::Away { error: format!("it answers {status}"), come_back: come_back(&headers) }
        }
        Ok(Ok((status, ..))) => Outcome::Refused(status),
    }
}

/// When it says that it can be asked again.
fn come_back(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).clamp(LINGER, LONGEST_PAUSE))
}

async fn exchange(collector: &Collector, body: Vec<u8>) -> io::Result<(StatusCode, HeaderMap, Bytes)> {
    let stream = TcpStream::connect(&collector.address).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(other)?;
    // Ends with this function, however that ends.
    let mut tasks = JoinSet::new();
    tasks.spawn_local(connection);
    let request = Request::post(&collector.path)
        .header(HOST, &collector.address)
        .header(CONTENT_TYPE, "application/json")
        .header(CONNECTION, "close")
        .body(Full::new(Bytes::from(body)))
        .map_err(other)?;
    let (head, body) = sender.send_request(request).await.map_err(other)?.into_parts();
    let answer = Limited::new(body, LARGEST_ANSWER).collect().await.map(|read| read.to_bytes()).unwrap_or_default();
    Ok((head.status, head.headers, answer))
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::other(error)
}
