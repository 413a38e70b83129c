//! What the control plane answers over HTTP: every path in one list.

pub(crate) mod answer;
mod assets;
mod checks;
mod events;
mod guard;
mod history;
mod live;
mod metrics;
mod query;
mod support;

pub(crate) use live::{Live, keep_watch};

use crate::{Context, ControlError, ingest, rum};
use answer::Answer;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Connections at one time; more wait to be accepted.
const MOST_CONNECTIONS: usize = 1024;
/// For a request's head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Listens.
///
/// # Errors
/// Where the address is taken, or not ours.
pub(crate) fn listen(address: SocketAddr) -> Result<TcpListener, ControlError> {
    let listen = |error| ControlError::Listen { address, error };
    let listener = TcpListener::bind(address).map_err(listen)?;
    listener.set_nonblocking(true).map_err(listen)?;
    Ok(listener)
}

/// Who is answered on a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Those who may see everything.
    Operators,
    /// Anybody.
    Strangers,
}

/// Serves for as long as it is polled.
pub(crate) async fn serve(context: Arc<Context>, listener: TcpListener, audience: Audience) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let Ok((stream, peer)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let context = context.clone();
        connections.spawn(async move {
            let _place = place;
            let service = service_fn(|request| {
                let context = context.clone();
                async move { Ok::<_, Infallible>(answer(&context, audience, peer, request).await) }
            });
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(context: &Arc<Context>, audience: Audience, peer: SocketAddr, request: Request<Incoming>) -> Answer {
    match strangers(context, peer, request).await {
        Ok(answer) => answer,
        Err(request) if audience == Audience::Operators => operators(context, request).await,
        Err(_) => answer::text(StatusCode::NOT_FOUND, "there is nothing here\n"),
    }
}

/// What anybody may ask for; each of these guards itself. Any other request comes back.
async fn strangers(
    context: &Arc<Context>,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Result<Answer, Request<Incoming>> {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/livez") => Ok(answer::text(StatusCode::OK, "alive\n")),
        (_, path) if context.policy.rum.path.as_deref() == Some(path) => Ok(rum::answer(context, peer, request).await),
        (_, path) if path.starts_with(ingest::PATH) => Ok(ingest::receive(context, request).await),
        (&Method::GET, ingest::CHALLENGE) => context.ingest.challenge().ok_or(request),
        (&Method::GET, "/api/support") => Ok(support::answer(&context.policy, peer)),
        (&Method::GET, path) => assets::find(&context.policy, path, false, request.headers()).ok_or(request),
        _ => Err(request),
    }
}

/// What operators ask for. Reading is free; what changes something has passed the guard.
async fn operators(context: &Arc<Context>, request: Request<Incoming>) -> Answer {
    if let Some(refusal) = guard::refuse(&context.policy.control, &request) {
        return refusal;
    }
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => metrics::answer(context).await,
        (&Method::GET, "/status") => answer::json(StatusCode::OK, &status(context)),
        (&Method::GET, "/api/check") => checks::answer(context, request.uri().query()).await,
        (&Method::GET, "/api/anomalies") => answer::json(StatusCode::OK, &context.departures.read().to_json()),
        (&Method::GET, "/api/events") => events::list(context, request.uri().query()).await,
        (&Method::POST, "/api/events") => events::add(context, request).await,
        (&Method::GET, "/api/users") => rum::users(context, request.uri().query()).await,
        (&Method::GET, "/api/points") => history::points(context, request.uri().query()).await,
        (&Method::GET, "/api/totals") => history::totals(context, request.uri().query()).await,
        (&Method::GET, "/api/overview") => history::overview_of(context, request.uri().query()).await,
        (&Method::GET, "/api/measures") => history::measures_of(context, request.uri().query()).await,
        (&Method::GET, "/api/audit") => history::audit(context).await,
        (&Method::GET, "/api/live") => live::answer(context),
        (&Method::GET, path) => assets::find(&context.policy, path, true, request.headers())
            .unwrap_or_else(|| answer::text(StatusCode::NOT_FOUND, "there is nothing here\n")),
        _ => answer::text(StatusCode::NOT_FOUND, "there is nothing here\n"),
    }
}

/// How the control plane stands.
fn status(context: &Context) -> serde_json::Value {
    let policy = &context.policy;
    serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "policy": { "hash": policy.hash },
        "store": policy.control.store,
        "edge": context.collectors.to_json(),
        "log_streams": context.ingest.status(),
    })
}
