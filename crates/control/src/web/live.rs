//! The newest minute as it comes, by server-sent events (HTML Living Standard, 9.2).

use super::answer::{self, Answer};
use crate::figures::{self, Figure};
use crate::service::now;
use crate::store::Reader;
use crate::{Context, ControlError};
use bytes::Bytes;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame};
use hyper::{Response, StatusCode};
use serde_json::{Map, Value, json};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

/// Browsers that listen at one time.
const MOST_LISTENERS: usize = 100;
/// Between two looks for something new, made for all listeners together.
const LOOK: Duration = Duration::from_secs(3);
/// After so long without news, a line that says nothing, so that a lost connection is noticed.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// A minute that is older is no news.
const NEW: i64 = 900;
/// What is told.
const TOLD: [&Figure; 5] =
    [figures::PULLS, figures::PULLS_5XX, figures::EDGE_REQUESTS, figures::WHOOPSIES, figures::BEACONS];

/// Who listens, and what they were told last.
pub(crate) struct Live {
    news: watch::Sender<Bytes>,
    places: Arc<Semaphore>,
}

impl Live {
    pub fn new() -> Self {
        Self { news: watch::Sender::new(Bytes::new()), places: Arc::new(Semaphore::new(MOST_LISTENERS)) }
    }
}

/// Looks for news while somebody listens. Runs until it is dropped.
pub(crate) async fn keep_watch(context: Arc<Context>) {
    let mut look = tokio::time::interval(LOOK);
    loop {
        look.tick().await;
        if context.live.news.receiver_count() == 0 {
            continue;
        }
        match context.store.read(|reader| newest(reader, now())).await {
            Ok(news) => {
                let news = Bytes::from(format!("event: minute\ndata: {news}\n\n"));
                context.live.news.send_if_modified(|told| {
                    let is_new = *told != news;
                    *told = news;
                    is_new
                });
            }
            Err(error) => tracing::warn!(%error, "cannot look for the newest minute"),
        }
    }
}

/// The newest minute in which proxies were read, and what is known of it; edge totals may still lack.
fn newest(reader: &Reader<'_>, now: i64) -> Result<Value, ControlError> {
    let Some(at) = reader.newest(figures::PULLS, now - NEW)? else { return Ok(json!({ "at": null })) };
    let mut providers = Map::<String, Value>::new();
    for figure in TOLD {
        for (cdn, _, value) in reader.totals(figure, None, (at, at + 60), crate::store::Step::Minute)? {
            let told = providers.entry(cdn).or_insert_with(|| json!({}));
            told[figure.name] = json!(told[figure.name].as_f64().unwrap_or(0.0) + value);
        }
    }
    Ok(json!({ "at": at, "providers": providers }))
}

/// `GET /api/live`
pub(crate) fn answer(context: &Context) -> Answer {
    let Ok(place) = context.live.places.clone().try_acquire_owned() else {
        return answer::text(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many listen already; the page asks again by itself\n",
        );
    };
    let (send, receive) = mpsc::channel(4);
    tokio::spawn(tell(context.live.news.subscribe(), send));
    let mut answer = Response::new(Listener { receive, _place: place }.boxed());
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx would gather events before it passes them on.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    answer
}

/// Ends when the listener does.
async fn tell(mut news: watch::Receiver<Bytes>, listener: mpsc::Sender<Bytes>) {
    news.mark_changed();
    loop {
        let said = tokio::select! {
            changed = news.changed() => match changed {
                Ok(()) => news.borrow_and_update().clone(),
                Err(_) => return,
            },
            () = tokio::time::sleep(HEARTBEAT) => Bytes::from_static(b": alive\n\n"),
            () = listener.closed() => return,
        };
        if !said.is_empty() && listener.send(said).await.is_err() {
            return;
        }
    }
}

struct Listener {
    receive: mpsc::Receiver<Bytes>,
    _place: OwnedSemaphorePermit,
}

impl Body for Listener {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.receive.poll_recv(context).map(|said| said.map(|said| Ok(Frame::data(said))))
    }
}
