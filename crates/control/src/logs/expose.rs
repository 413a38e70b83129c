//! `--listen`: the counts as Prometheus text.

use super::totals;
use crate::store::Store;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Connections at one time; more wait to be accepted.
const MOST_CONNECTIONS: usize = 64;

/// What became of lines since the start.
#[derive(Default)]
pub(super) struct Lines {
    pub counted: AtomicU64,
    pub unmatched: AtomicU64,
    pub too_old: AtomicU64,
}

impl Lines {
    fn text(&self) -> String {
        let mut out = "# HELP headwater_log_lines_total Lines that were read since the start.\n\
                       # TYPE headwater_log_lines_total counter\n"
            .to_string();
        for (result, count) in [("counted", &self.counted), ("unmatched", &self.unmatched), ("too_old", &self.too_old)]
        {
            let count = count.load(Ordering::Relaxed);
            let _ = writeln!(out, "headwater_log_lines_total{{result=\"{result}\"}} {count}");
        }
        out
    }
}

/// Answers for as long as it is polled.
pub(super) async fn serve(listener: TcpListener, store: Store, lines: Arc<Lines>) {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (store, lines) = (store.clone(), lines.clone());
        connections.spawn(async move {
            let _place = place;
            let service = service_fn(|request| {
                let (store, lines) = (store.clone(), lines.clone());
                async move { Ok::<_, Infallible>(answer(request.uri().path(), &store, &lines).await) }
            });
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(10));
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(path: &str, store: &Store, lines: &Lines) -> Response<Full<Bytes>> {
    let (status, body) = match path {
        "/metrics" => match store.read(totals::prometheus).await {
            Ok(text) => (StatusCode::OK, text + &lines.text()),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        },
        "/livez" => (StatusCode::OK, "alive\n".into()),
        _ => (StatusCode::NOT_FOUND, "there is nothing here but /metrics and /livez\n".into()),
    };
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let kind = http::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}
