//! The admin endpoint: figures, health, status, and the one thing that changes something.

use crate::server::Control;
use crate::status;
use headwater_config::Mistake;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, ALLOW, AUTHORIZATION, CONNECTION, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::{Encoder, TextEncoder};
use serde_json::json;
use std::cell::Cell;
use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use subtle::ConstantTimeEq;
use tokio::sync::{Semaphore, watch};

type Answer = Response<Full<Bytes>>;

/// Connections at one time; more wait to be accepted.
const MOST_CONNECTIONS: usize = 64;

/// Serves for as long as the proxy runs, or until it has `retired`: from then on its successor answers.
pub(crate) async fn serve(control: Arc<Control>, listener: TcpListener, mut retired: watch::Receiver<bool>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    let _asking = control.asking.clone();
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            biased;
            _ = retired.wait_for(|retired| *retired) => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (control, mut retired) = (control.clone(), retired.clone());
        tokio::task::spawn_local(async move {
            let (_place, _asking) = (place, control.asking.clone());
            let asked = Cell::new(false);
            let others = retired.clone();
            let service = service_fn(|request| {
                asked.set(true);
                let mut answer = answer(&control, &request);
                if *others.borrow() {
                    answer.headers_mut().insert(CONNECTION, hyper::header::HeaderValue::from_static("close"));
                }
                async move { Ok::<_, Infallible>(answer) }
            });
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(30));
            let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
            tokio::select! {
                _ = connection.as_mut() => return,
                _ = retired.wait_for(|retired| *retired) => {}
            }
            // Whose first request is on its way gets an answer; who rests comes to the successor with the next one.
            if asked.get() {
                connection.as_mut().graceful_shutdown();
            }
            let _ = connection.await;
        });
    }
}

fn answer(control: &Control, request: &Request<Incoming>) -> Answer {
    let reads = request.method() == Method::GET || request.method() == Method::HEAD;
    match (request.uri().path(), reads, request.method() == Method::POST) {
        ("/metrics", true, _) => metrics(control),
        ("/livez", true, _) => text(StatusCode::OK, "alive\n"),
        ("/readyz", true, _) if control.ready.load(Relaxed) => text(StatusCode::OK, "ready\n"),
        ("/readyz", true, _) => text(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        ("/status", true, _) => status(control),
        ("/reload", _, true) => reload(control, request),
        ("/metrics" | "/livez" | "/readyz" | "/status", ..) => not_allowed("GET, HEAD"),
        ("/reload", ..) => not_allowed("POST"),
        _ => text(StatusCode::NOT_FOUND, "there are /metrics, /livez, /readyz, /status and POST /reload\n"),
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

fn not_allowed(allow: &'static str) -> Answer {
    let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, format!("this path takes {allow}\n"));
    answer.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static(allow));
    answer
}

fn metrics(control: &Control) -> Answer {
    let mut out = Vec::new();
    match TextEncoder::new().encode(&control.gather(), &mut out) {
        Ok(()) => {
            let mut answer = text(StatusCode::OK, out);
            let form = hyper::header::HeaderValue::from_static(prometheus::TEXT_FORMAT);
            answer.headers_mut().insert(CONTENT_TYPE, form);
            answer
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot write the figures: {error}\n")),
    }
}

fn status(control: &Control) -> Answer {
    as_json(StatusCode::OK, &status::status(control))
}

fn as_json(status: StatusCode, value: &serde_json::Value) -> Answer {
    let mut answer = text(status, format!("{value:#}\n"));
    answer.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/json"));
    answer
}

fn reload(control: &Control, request: &Request<Incoming>) -> Answer {
    let live = control.shared.live.load();
    if let Some(token) = &live.policy.listen.admin_token {
        let sent = request.headers().get(AUTHORIZATION).map(|value| value.as_bytes()).unwrap_or_default();
        let sent = sent.strip_prefix(b"Bearer ").unwrap_or_default();
        if !bool::from(token.expose().ct_eq(sent)) {
            let mut answer = text(StatusCode::UNAUTHORIZED, "send Authorization: Bearer TOKEN\n");
            let ask = hyper::header::HeaderValue::from_static("Bearer");
            answer.headers_mut().insert(hyper::header::WWW_AUTHENTICATE, ask);
            return answer;
        }
    }
    // A page in a browser on this machine may post here without a token; it cannot hide that it is one.
    if request.headers().contains_key("origin") || request.headers().contains_key("sec-fetch-site") {
        return text(StatusCode::FORBIDDEN, "this is not for browsers\n");
    }
    let (reloaded, mistakes) = match control.reload() {
        Ok(warnings) => (true, warnings),
        Err(mistakes) => (false, mistakes),
    };
    let status = if reloaded { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    let waiting = control.waits_for_restart();
    if asks_for_json(request) {
        let mistakes: Vec<_> = mistakes.iter().map(Mistake::to_json).collect();
        return as_json(status, &json!({ "reloaded": reloaded, "mistakes": mistakes, "waits_for_restart": waiting }));
    }
    let said: String = mistakes.iter().map(|mistake| format!("{mistake}\n\n")).collect();
    let verdict = match (reloaded, waiting.as_slice()) {
        (false, _) => "the old policy stays in force".into(),
        (true, []) => "reloaded".into(),
        (true, keys) => format!("reloaded, but for what waits for an upgrade or a restart: {}", keys.join(", ")),
    };
    text(status, format!("{said}{verdict}\n"))
}

/// Scripts name JSON; who takes anything is a person with curl.
fn asks_for_json(request: &Request<Incoming>) -> bool {
    let lines = request.headers().get_all(ACCEPT).iter().filter_map(|line| line.to_str().ok());
    let mut types = lines.flat_map(|line| line.split(',')).map(|one| one.split(';').next().unwrap_or_default().trim());
    types.any(|media_type| media_type.eq_ignore_ascii_case("application/json"))
}
