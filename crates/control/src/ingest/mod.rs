//! Log lines that CDNs push to `/ingest/NAME`, counted by the minute of each line's own time.
//!
//! Vendors deliver at least once. What was counted is remembered in the transaction that counts it ([`window`]), and only
//! then is the vendor answered with success; a delivery that comes again, also after a `kill -9`, counts nothing.

mod admit;
mod body;
mod counters;
mod tally;
#[cfg(test)]
mod tests;
mod window;

use crate::service::now;
use crate::store::{Batch, Store};
use crate::web::answer::{self, Answer};
use crate::{Context, ControlError};
use aws_lc_rs::digest;
use body::{Parsed, Refusal, Task};
use counters::Counters;
use headwater_config::{EdgeLogs, LineFormat, Policy};
use headwater_vendors::edge_log::{Format, Parser, Role, firehose};
use http::header::{ALLOW, CONTENT_LENGTH, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;
use tally::Tally;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::timeout;
use window::Window;

/// Where Fastly asks whether it may push here.
pub(crate) const CHALLENGE: &str = "/.well-known/fastly/logging/challenge";
/// What stands before a provider's name.
pub(crate) const PATH: &str = "/ingest/";
/// Bodies that are held at one time; more wait.
const MOST_BODIES: usize = 8;
/// For a place among them.
const PATIENCE: Duration = Duration::from_secs(10);
/// For a whole body. Firehose gives up an answer after 180 s.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// How far ahead of ours a vendor's clock may be, in seconds.
const AHEAD: i64 = 300;

/// Every provider's stream.
pub struct Ingest {
    streams: Vec<Arc<Stream>>,
    places: Semaphore,
    /// What Fastly is told; `None` where nothing of Fastly's comes here.
    challenge: Option<String>,
}

/// One provider's stream.
struct Stream {
    cdn: String,
    logs: EdgeLogs,
    /// Whether the vendor is asked for totals too.
    has_api: bool,
    parser: Parser,
    /// For how long minutes are kept, in seconds.
    keeps: i64,
    counters: Counters,
    /// The minute of the last quotation of a malformed line.
    quoted: AtomicI64,
    /// `None` until it was read from the store.
    window: Mutex<Option<Window>>,
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Receipt {
    lines: u64,
    counted: u64,
}

impl Ingest {
    /// The streams of a configuration.
    pub fn new(policy: &Policy) -> Self {
        let keeps = policy.control.keep.minutes.as_secs() as i64;
        let streamed = policy.providers.iter().filter_map(|provider| Some((provider, provider.logs.clone()?)));
        let streams: Vec<_> = streamed
            .map(|(provider, logs)| {
                let parser = Parser::new(format(logs.format), &fields(&logs));
                Arc::new(Stream {
                    cdn: provider.name.clone(),
                    logs,
                    has_api: provider.api.is_some(),
                    parser,
                    keeps,
                    counters: Counters::default(),
                    quoted: AtomicI64::new(0),
                    window: Mutex::default(),
                })
            })
            .collect();
        let challenge = challenge(streams.iter().map(|stream| &stream.logs));
        Self { streams, places: Semaphore::new(MOST_BODIES), challenge }
    }

    /// How each stream stands: its counters since the start.
    pub(crate) fn status(&self) -> serde_json::Value {
        self.streams.iter().map(|stream| (stream.cdn.clone(), stream.counters.status())).collect()
    }

    /// The answer to Fastly's challenge.
    pub(crate) fn challenge(&self) -> Option<Answer> {
        self.challenge.clone().map(|lines| answer::text(StatusCode::OK, lines))
    }
}

/// A line for each service that may push, or `*` for any, which then still needs the token
/// (fastly.com/documentation/guides/integrations/logging-endpoints/log-streaming-https).
fn challenge<'l>(logs: impl Iterator<Item = &'l EdgeLogs>) -> Option<String> {
    let mut lines = None;
    for logs in logs.filter(|logs| logs.format == LineFormat::Fastly) {
        let lines = lines.get_or_insert_with(String::new);
        if logs.services.is_empty() {
            lines.push_str("*\n");
        }
        for service in &logs.services {
            let hash = digest::digest(&digest::SHA256, service.as_bytes());
            for byte in hash.as_ref() {
                let _ = write!(lines, "{byte:02x}");
            }
            lines.push('\n');
        }
    }
    lines
}

fn format(format: LineFormat) -> Format {
    match format {
        LineFormat::Fastly => Format::Fastly,
        LineFormat::Cloudflare => Format::Cloudflare,
        LineFormat::DataStream2 => Format::DataStream2,
        LineFormat::CloudFront => Format::CloudFront,
        LineFormat::Ndjson => Format::Ndjson,
    }
}

fn fields(logs: &EdgeLogs) -> Vec<(Option<Role>, String)> {
    let role = |name: &str| Role::NAMED.iter().find(|(known, _)| *known == name).map(|(_, role)| *role);
    logs.fields.iter().map(|field| (field.role.and_then(role), field.name.clone())).collect()
}

/// Why a delivery was not taken.
struct Denial {
    status: StatusCode,
    why: String,
}

fn deny(status: StatusCode, why: impl Into<String>) -> Denial {
    Denial { status, why: why.into() }
}

/// Takes a delivery, or says why not.
pub(crate) async fn receive(context: &Context, request: Request<Incoming>) -> Answer {
    let name = request.uri().path().strip_prefix(PATH).unwrap_or_default();
    let Some(stream) = context.ingest.streams.iter().find(|stream| stream.cdn == name) else {
        return answer::text(StatusCode::NOT_FOUND, "there is nothing here\n");
    };
    let firehose =
        request.headers().get("x-amz-firehose-request-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
    let taken = take(context, stream, request, firehose.clone()).await;
    let (status, receipt, mistake) = match taken {
        Ok(receipt) => (StatusCode::OK, receipt, None),
        Err(denial) => (denial.status, Receipt::default(), Some(denial.why)),
    };
    let mut answer = match (firehose, mistake) {
        (Some(id), mistake) => answer::json(status, &firehose::answer(&id, now() as u64 * 1000, mistake.as_deref())),
        (None, None) => {
            answer::json(status, &serde_json::json!({ "lines": receipt.lines, "counted": receipt.counted }))
        }
        (None, Some(why)) => answer::text(status, format!("{why}\n")),
    };
    advise(&mut answer);
    answer
}

/// What goes with some statuses.
fn advise<B>(answer: &mut Response<B>) {
    let (name, value) = match answer.status() {
        StatusCode::UNAUTHORIZED => (WWW_AUTHENTICATE, "Bearer, Basic realm=\"logs\""),
        StatusCode::METHOD_NOT_ALLOWED => (ALLOW, "POST, PUT"),
        StatusCode::SERVICE_UNAVAILABLE => (RETRY_AFTER, "5"),
        _ => return,
    };
    answer.headers_mut().insert(name, HeaderValue::from_static(value));
}

async fn take(
    context: &Context,
    stream: &Arc<Stream>,
    request: Request<Incoming>,
    firehose: Option<String>,
) -> Result<Receipt, Denial> {
    if !matches!(*request.method(), Method::POST | Method::PUT) {
        return Err(deny(StatusCode::METHOD_NOT_ALLOWED, "logs are posted"));
    }
    if !admit::is_admitted(&stream.logs, &request) {
        stream.counters.denied.add(1);
        return Err(deny(StatusCode::UNAUTHORIZED, "send the token of this log stream"));
    }
    let Ok(Ok(_place)) = timeout(PATIENCE, context.ingest.places.acquire()).await else {
        stream.counters.busy.add(1);
        return Err(deny(StatusCode::SERVICE_UNAVAILABLE, "too many bodies at one time"));
    };
    let bytes = collect(stream, request).await.inspect_err(|_| stream.counters.refused.add(1))?;
    stream.counters.bytes.add(bytes.len() as u64);
    let task = Task { max_text: stream.logs.max_text, firehose, now: now(), keeps: stream.keeps };
    let parsing = stream.clone();
    let parsed = tokio::task::spawn_blocking(move || body::read(&parsing.parser, &bytes, &task)).await;
    let parsed = parsed.map_err(|_| deny(StatusCode::INTERNAL_SERVER_ERROR, "this body cannot be read"))?;
    let parsed = parsed.map_err(|refusal| {
        stream.counters.refused.add(1);
        match refusal {
            Refusal::TooLarge(why) => deny(StatusCode::PAYLOAD_TOO_LARGE, why),
            Refusal::Malformed(why) => deny(StatusCode::BAD_REQUEST, why),
        }
    })?;
    // A vendor that hangs up takes this future with it, and what is on its way to the store must be remembered all the same.
    let committing = tokio::spawn(stream.clone().commit(context.store.clone(), parsed));
    match committing.await {
        Ok(Ok(receipt)) => Ok(receipt),
        Ok(Err(error)) => {
            stream.counters.failed.add(1);
            tracing::error!(cdn = stream.cdn, %error, "cannot count a delivery of log lines; its vendor is asked to send it again");
            Err(deny(StatusCode::SERVICE_UNAVAILABLE, "the store fails; send this again"))
        }
        Err(_) => Err(deny(StatusCode::INTERNAL_SERVER_ERROR, "this body cannot be counted")),
    }
}

/// The whole body, as it comes.
async fn collect(stream: &Stream, request: Request<Incoming>) -> Result<bytes::Bytes, Denial> {
    let most = stream.logs.max_body;
    let too_large =
        || deny(StatusCode::PAYLOAD_TOO_LARGE, format!("a body has at most {most} bytes: send smaller batches"));
    let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > most) {
        return Err(too_large());
    }
    match timeout(BODY_TIMEOUT, Limited::new(request.into_body(), most as usize).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(deny(StatusCode::BAD_REQUEST, "the body broke off")),
        Err(_) => Err(deny(StatusCode::REQUEST_TIMEOUT, "the body took too long")),
    }
}

impl Stream {
    /// Counts what was not counted before. What is returned is durable.
    async fn commit(self: Arc<Self>, store: Store, parsed: Parsed) -> Result<Receipt, ControlError> {
        let mut held = self.window.lock().await;
        // Whatever fails from here on leaves nothing in its place, so that the store is asked what it has.
        let window = match held.take() {
            Some(window) => window,
            None => Window::load(&store, &self.cdn).await?,
        };
        let receipt = Receipt { lines: parsed.found(), counted: 0 };
        if window.has(&parsed.id) {
            *held = Some(window);
            self.counters.repeated.add(1);
            return Ok(receipt);
        }
        let malformed = parsed.quote.clone();
        let this = self.clone();
        let (mut window, fresh, mut batch, parsed) = tokio::task::spawn_blocking(move || {
            let (fresh, batch) = this.weigh(&window, &parsed);
            (window, fresh, batch, parsed)
        })
        .await
        .map_err(|_| ControlError::Closed)?;
        let counted = fresh.counted;
        if parsed.found() > 0 {
            let entry = window.plan(&mut batch, parsed.id, fresh.ids, now());
            store.write(batch).await?;
            window.apply(entry);
        }
        *held = Some(window);
        drop(held);
        self.counters.note(&parsed, counted, now());
        if let Some((why, line)) = malformed {
            counters::quote(&self.quoted, &self.cdn, why, &line, now());
        }
        Ok(Receipt { counted, ..receipt })
    }

    /// Which lines are new, and what is written for them.
    fn weigh(&self, window: &Window, parsed: &Parsed) -> (tally::Fresh, Batch) {
        let (tally, fresh) = Tally::of(window, &parsed.lines);
        let mut batch = tally.into_batch(&self.cdn, self.logs.sampled);
        let settled = now() - self.logs.lateness.as_secs() as i64;
        // Where the vendor's API tells the totals, it also tells what is settled.
        if fresh.counted > 0 && !self.has_api {
            batch.checkpoint(format!("edge_settled/{}", self.cdn), Some((settled.div_euclid(60) * 60).to_string()));
        }
        (fresh, batch)
    }
}
