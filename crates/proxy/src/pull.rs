//! The life of a pull: every layer in its place, outermost first.
//!
//! A layer here is a function over the pull and its answer, and the stack is the body of [`answer`] and [`serve`]. A stack
//! of generic services would say the same in more types, and cost a future each.

use crate::access_log::Line;
use crate::beacon;
use crate::cache_control;
use crate::caller::Caller;
use crate::cap::Place;
use crate::compress;
use crate::downstream::{Downstream, End, Sending, Sent, unless_gone};
use crate::failure::Failure;
use crate::forward;
use crate::http1::head::{Framing, Refusal, RequestHead, Unread, Version};
use crate::identify::{Asker, client_address};
use crate::live::Held;
use crate::response::Response;
use crate::server_timing;
use crate::trace::{Recording, Trace};
use crate::upstream::OriginBody;
use crate::whoopsie;
use crate::worker::Worker;
use futures_util::FutureExt;
use headwater_config::{AccessLog, Country, LogFormat, Verdict};
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::time::Instant;

/// A pull, from the end of its head to the end of its answer.
pub(crate) struct Pull<'a> {
    pub worker: &'a Rc<Worker>,
    /// The policy it began with, and ends with.
    pub live: Held,
    pub request: &'a RequestHead,
    /// The index of its rule.
    pub rule: usize,
    pub asker: Asker,
    /// Who connected.
    pub caller: &'a Caller,
    /// The user, as far as a proven provider tells.
    pub client: IpAddr,
    pub id: Id,
    /// There if traces are configured.
    pub trace: Option<Trace>,
    /// Its permit.
    place: Option<Place>,
    begun: Instant,
    first_byte: Option<Duration>,
    upstream: Option<String>,
    /// Why it has no answer of the app's: a word for the log.
    reason: Option<&'static str>,
}

impl Pull<'_> {
    /// Its `cdn` label.
    pub fn label(&self) -> &str {
        &self.live.meters.labels[self.asker.label(self.live.policy.providers.len())]
    }

    /// The origin is about to be asked, perhaps once more.
    pub fn asks(&mut self) {
        if let Some(trace) = &mut self.trace {
            trace.asks();
        }
    }

    /// The origin was asked.
    pub fn asked(&mut self, server: &str) {
        if let Some(trace) = &mut self.trace {
            trace.asked(server);
        }
        if self.upstream.as_deref() != Some(server) {
            self.upstream = Some(server.to_string());
        }
    }
}

/// A request's id: 32 hex digits of our own, or a proven provider's.
pub(crate) enum Id {
    Fresh([u8; 32]),
    Kept(String),
}

impl Id {
    fn fresh() -> Self {
        let mut digits = [0; 32];
        for half in digits.chunks_exact_mut(16) {
            let mut bits = fastrand::u64(..);
            for digit in half {
                *digit = b"0123456789abcdef"[(bits & 15) as usize];
                bits >>= 4;
            }
        }
        Id::Fresh(digits)
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        match self {
            Id::Fresh(digits) => std::str::from_utf8(digits).unwrap_or(""),
            Id::Kept(text) => text,
        }
    }

    /// As bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.as_str().as_bytes()
    }
}

/// Serves one pull; says whether the connection may be used again.
pub(crate) async fn serve(
    worker: &Rc<Worker>,
    down: &mut Downstream<'_>,
    caller: &Caller,
    request: &RequestHead,
    begun: Instant,
) -> bool {
    // 1. Stamp: the policy is taken once, so a reload never splits a pull; the rule is matched once, before anything asks for it.
    let live = worker.live();
    let policy = &live.policy;
    let rule = policy.rules.matching(&decoded(request.path()));

    // 2. Identify: before any layer that trusts the answer. What a stranger claims is dropped when the request is forwarded.
    let asker = Asker::of(&request.fields, caller, policy);
    if let Some(claimed) = asker.mismatch(&request.fields, policy) {
        worker.shared.figures.mismatch.with_label_values(&[claimed]).inc();
    }
    let provider = asker.proven(policy);
    let client = client_address(&request.fields, caller.ip(), provider);

    // 3. Request id: a foreign one is kept only from a proven provider, as it will stand in logs.
    let kept = request.fields.get("X-Request-Id").filter(|_| provider.is_some()).and_then(plain_id);
    let id = kept.map_or_else(Id::fresh, Id::Kept);
    //    So is a trace's context, unless the config says otherwise: strangers must not choose what is recorded.
    let trace = policy.trace.as_ref().map(|trace| Trace::new(trace, &request.fields, provider.is_some(), begun));

    let mut pull = Pull {
        worker,
        live: live.clone(),
        request,
        rule,
        asker,
        caller,
        client,
        id,
        trace,
        place: None,
        begun,
        first_byte: None,
        upstream: None,
        reason: None,
    };
    let (response, rest) = answer(&mut pull, down).await;
    let status = response.status;
    let sent = if status == GONE {
        Sent { bytes: 0, end: End::Downstream, upstream_error: None, keep: false }
    } else {
        let welcome = provider.is_some() || !caller.crowded;
        let keep =
            wants_keep(request) && welcome && !is_refusal(status, request) && !worker.shared.draining.load(Relaxed);
        let (clock, pool) = (&worker.clock, &worker.pool);
        down.send(response, Sending { request: Some(request), keep, clock, limits: &policy.limits, pool }).await
    };
    if let Some(rest) = rest {
        drain(worker, down, rest).await;
    }

    // 4 and 5. Access log and offload: at the end of the body, with the bytes that were sent and who broke it off.
    record(&pull, status, &sent);
    sent.keep
}

/// A client that has gone is answered by nobody; the status stands in the log.
const GONE: u16 = 499;

/// Layers 6 to 12.
async fn answer(pull: &mut Pull<'_>, down: &mut Downstream<'_>) -> (Response, Option<OriginBody>) {
    // 7. Catch-panic lies within 6, which renders its 500.
    let result =
        AssertUnwindSafe(answer_or_fail(pull, down)).catch_unwind().await.unwrap_or_else(|_| Err(Failure::Panic));
    if let Err(failure) = &result {
        pull.reason = Some(failure.reason());
        if failure.is_upstream() {
            let server = pull.upstream.as_deref().unwrap_or("-");
            pull.worker.shared.complaints.origin_failed(failure.reason(), server, pull.id.as_str());
        }
    }
    if let Err(Failure::DownstreamGone) = result {
        return (Response::empty(GONE), None);
    }
    // 6. Whoopsie: outside all that can fail, inside the log and the counters, which see the status that was sent.
    whoopsie::rescue(pull, result)
}

async fn answer_or_fail(pull: &mut Pull<'_>, down: &mut Downstream<'_>) -> Result<Response, Failure> {
    // 8. Intercept: before admission, so that beacons are counted when all else is full, and before any bound or denial, as
    //    users' browsers carry no proof, and many of them share a network.
    if let Some(answered) = beacon::intercept(pull, down).await {
        return answered.map_err(Failure::Refused);
    }
    bound(pull)?;
    admit(pull)?;
    // 9. Admission: the permit is held to the end of the body. Who finds none waits a while: most peaks are short.
    let limits = &pull.live.policy.limits;
    let deadline = Instant::now() + limits.wait_timeout;
    let admission = pull.worker.shared.admission.take_until(limits.max_in_flight, deadline);
    let place = unless_gone(down.incoming().as_mut(), admission).await.ok_or(Failure::DownstreamGone)?;
    pull.place = Some(place.ok_or(Failure::Overload)?);
    // 12. Forward, with the one retry. Innermost: what follows sees the origin's own answer.
    let largest = pull.live.policy.rules.all()[pull.rule].max_body;
    match (pull.request.framing, down.incoming()) {
        (Framing::Length(length), _) if length > largest => return Err(Failure::Refused(Refusal::BodyTooLarge)),
        (_, Some(incoming)) => incoming.allowed = largest,
        _ => {}
    }
    let mut response = forward::forward(pull, down).await?;
    pull.first_byte = Some(pull.begun.elapsed());

    let live = pull.live.clone();
    let rule = &live.policy.rules.all()[pull.rule];
    // 11. Compress: inside 10, so that `no-transform` is the origin's word and not the rule's.
    if response.status < 500 {
        compress::apply(pull, down, &mut response).await;
    }
    // 10. Cache-Control: by rule and status, for the one who asks.
    let asker = match pull.asker {
        Asker::Proven(index) => Some((index, &live.policy.providers[index])),
        _ => None,
    };
    cache_control::apply(&mut response.fields, response.status, rule, asker);
    //     Server-Timing: with it, as what it adds is for the same one who asks, and is kept with what he keeps.
    server_timing::apply(&mut response.fields, response.status, rule, asker.map(|(_, provider)| provider));
    Ok(response)
}

/// Bounds what comes from one network without proof; a proven provider has no bound.
fn bound(pull: &Pull<'_>) -> Result<(), Failure> {
    if matches!(pull.asker, Asker::Proven(_)) {
        return Ok(());
    }
    let shared = &pull.worker.shared;
    let reason = if pull.caller.crowded {
        "connections"
    } else if !shared.strangers.pull(pull.caller.ip(), pull.live.policy.limits.stranger_rate) {
        "rate"
    } else {
        return Ok(());
    };
    shared.figures.strangers.with_label_values(&[reason]).inc();
    Err(Failure::Refused(Refusal::TooMany))
}

/// Denies those who are to be denied.
fn admit(pull: &Pull<'_>) -> Result<(), Failure> {
    let identify = &pull.live.policy.identify;
    let verdict = match pull.asker {
        Asker::Proven(_) => Verdict::Serve,
        Asker::Unproven(_) | Asker::Other => identify.unproven,
        Asker::Untagged => identify.untagged,
    };
    match verdict {
        Verdict::Serve => Ok(()),
        Verdict::Deny => Err(Failure::Refused(Refusal::Denied)),
    }
}

/// Percent-encoding taken off, as Apache's `LocationMatch` sees it. Most paths have none.
fn decoded(path: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    percent_encoding::percent_decode(path).into()
}

/// An id that may stand in a header and a log.
fn plain_id(id: &[u8]) -> Option<String> {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-_.:+/=".contains(b);
    (1..=128).contains(&id.len()).then(|| id.iter().all(plain)).filter(|good| *good)?;
    String::from_utf8(id.to_vec()).ok()
}

/// Whether the client keeps the connection (RFC 9112, section 9.3).
fn wants_keep(request: &RequestHead) -> bool {
    let says = |word| request.fields.has_member("Connection", word);
    if request.version != Version::Http10 { !says("close") } else { says("keep-alive") && !says("close") }
}

/// Whether the answer says that the request's own bytes were not to be trusted or not read.
fn is_refusal(status: u16, request: &RequestHead) -> bool {
    matches!(status, 408 | 413 | 417) || (status == 400 && request.framing != Framing::Empty)
}

/// A replaced error's body is read up while it is small: throwing the connection away would cost a failing origin a new
/// one for every error.
const SMALL_ERROR: u64 = 64 << 10;

async fn drain(worker: &Rc<Worker>, down: &mut Downstream<'_>, rest: OriginBody) {
    if !rest.is_small(SMALL_ERROR) {
        return;
    }
    if down.incoming().is_none() {
        // The request's body is still lent to the exchange, so this connection waits for it.
        *down.incoming() = rest.drain(SMALL_ERROR, &worker.pool).await;
    } else {
        let worker = worker.clone();
        let pool = worker.clone();
        let mut rest = Box::pin(async move {
            rest.drain(SMALL_ERROR, &pool.pool).await;
        });
        // Mostly all of it came with its head.
        if futures_util::poll!(&mut rest).is_pending() {
            worker.spawn(rest);
        }
    }
}

fn record(pull: &Pull<'_>, status: u16, sent: &Sent) {
    let (worker, live) = (pull.worker, &*pull.live);
    let total = pull.begun.elapsed();
    let label = pull.asker.label(live.policy.providers.len());
    let first_byte = pull.first_byte.map(|time| time.as_secs_f64());
    live.meters.count(label, pull.rule, status, sent.bytes, total.as_secs_f64(), first_byte);
    if let Some(reason) = sent.upstream_error {
        worker.shared.figures.upstream_errors.with_label_values(&[reason]).inc();
        worker.shared.complaints.origin_failed(reason, pull.upstream.as_deref().unwrap_or("-"), pull.id.as_str());
    }
    let rule = &live.policy.rules.all()[pull.rule];
    let sample = if is_plain(pull, status, sent) { rule.log_sample } else { 1.0 };
    let mut logged = live.policy.log.access != AccessLog::Off;
    if logged && sample < 1.0 && fastrand::f64() >= sample {
        worker.shared.figures.lines_sampled_out.inc();
        logged = false;
    }
    let recording = pull.trace.as_ref().and_then(Trace::recording);
    if !logged && recording.is_none() {
        return;
    }
    let fields = &pull.request.fields;
    let country = match live.policy.log.format {
        LogFormat::Json => live.policy.country(pull.client),
        LogFormat::Combined => Country::default(),
    };
    let line = Line {
        host: fields.get("Host").unwrap_or(b""),
        port: pull.caller.door.port,
        client: pull.client,
        method: pull.request.method(),
        target: pull.request.target(),
        protocol: pull.request.version.name(),
        status,
        bytes: sent.bytes,
        referer: fields.get("Referer").unwrap_or(b""),
        user_agent: fields.get("User-Agent").unwrap_or(b""),
        cdn: pull.label(),
        rule: &rule.name,
        id: pull.id.as_str(),
        total,
        first_byte: pull.first_byte,
        upstream: pull.upstream.as_deref().unwrap_or("-"),
        end: sent.end.name(),
        reason: pull.reason.or(sent.upstream_error).unwrap_or("-"),
        country: country.as_str(),
        trace: recording.map(Recording::trace),
        sample,
    };
    if let (Some(recording), Some(settings)) = (recording, &live.policy.trace) {
        let scheme = if pull.caller.door.tls { "https" } else { "http" };
        worker.shared.spans.hand_over(recording.spans(&line, scheme, settings.client_address));
    }
    if logged {
        worker.log(&line, live.policy.log.format);
    }
}

/// Whether the app answered and all went well: lines of such pulls may be left out. Those of beacons never are, as each stands for
/// an error that a user saw.
fn is_plain(pull: &Pull<'_>, status: u16, sent: &Sent) -> bool {
    status < 500 && sent.end == End::Complete && pull.first_byte.is_some() && pull.reason.is_none()
}

/// Answers what could not be read as a request, and counts it as one.
pub(crate) async fn refuse(worker: &Rc<Worker>, down: &mut Downstream<'_>, caller: &Caller, unread: &Unread) {
    let live = worker.live();
    let Unread { refusal, begun, line } = unread;
    let response = whoopsie::refused(refusal.status(), &refusal.to_string());
    let status = response.status;
    let (limits, clock, pool) = (&live.policy.limits, &worker.clock, &worker.pool);
    let sent = down.send(response, Sending { request: None, keep: false, clock, limits, pool }).await;
    let label = Asker::Untagged.label(live.policy.providers.len());
    let rules = live.policy.rules.all();
    let total = begun.elapsed();
    live.meters.count(label, rules.len() - 1, status, sent.bytes, total.as_secs_f64(), None);
    if live.policy.log.access != AccessLog::Off {
        worker.log(
            &Line {
                host: b"",
                port: caller.door.port,
                client: caller.ip(),
                method: "",
                target: line,
                protocol: "",
                status,
                bytes: sent.bytes,
                referer: b"",
                user_agent: b"",
                cdn: &live.meters.labels[label],
                rule: headwater_config::rules::DEFAULT,
                id: "-",
                total,
                first_byte: None,
                upstream: "-",
                end: sent.end.name(),
                reason: refusal.reason(),
                country: "",
                trace: None,
                sample: 1.0,
            },
            live.policy.log.format,
        );
    }
}
