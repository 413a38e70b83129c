//! A connection of HTTP/2: its streams are served side by side in the connection's own task.

mod calm;
mod duplex;
mod stream;

use crate::caller::Caller;
use crate::downstream::{Downstream, http1};
use crate::http1::head::{Unread, Version};
use crate::http2::request_head;
use crate::pull;
use crate::wire::Alarm;
use crate::worker::{InFlight, Worker};
use bytes::Bytes;
pub(crate) use calm::{Tally, add};
use duplex::{Duplex, Outbox};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
pub(crate) use stream::Stream;
use tokio::time::{Instant, timeout};

/// What a request's body may send ahead of what is read of it, for a stream and for the connection.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// What of an answer may wait for the kernel to take it, for a stream.
const SEND_BUFFER: usize = 64 << 10;
/// How long a connection that was told to go may take to do so.
const GOODBYE: Duration = Duration::from_secs(1);

type Accepted = (http::Request<RecvStream>, SendResponse<Bytes>);

/// What happens on a connection.
#[allow(clippy::large_enum_variant, reason = "one at a time, on the stack, for a moment")]
enum Event {
    /// A stream was opened.
    Opened(Accepted),
    /// A stream ended.
    Ended,
    /// Nothing was asked for too long, or a goodbye took too long.
    Rested,
    /// The client has lost its calm, in this way.
    Flood(&'static str),
    /// The worker drains.
    Drained,
    /// The connection ended; not calm if the library ended it for one of the bounds that it keeps itself: streams that are
    /// reset before they are served, tiny frames, endless heads.
    Closed { calm: bool },
}

/// Serves one stream after the other, and side by side, until the client or the drain ends the connection.
pub(crate) async fn converse(worker: &Rc<Worker>, connection: http1::Connection, caller: &Caller) {
    let live = worker.live();
    let limits = live.policy.limits.clone();
    drop(live);
    let Some((reader, mut writer)) = connection.into_halves() else { return };
    writer.be_prompt();
    let tally = Rc::new(Tally::default());
    let outbox = Outbox::new(writer);
    let duplex = Duplex { reader, outbox: outbox.clone(), tally: tally.clone() };
    let mut builder = Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_streams(limits.max_streams)
        // Twice what we take, as we log and count what we refuse, and the library does not.
        .max_header_list_size(2 * (limits.max_head + limits.max_fields * 32) as u32);
    let handshake = timeout(limits.header_timeout, builder.handshake::<_, Bytes>(duplex)).await;
    let Ok(Ok(mut connection)) = handshake else { return };
    outbox.gathers.set(true);

    let begun = Instant::now();
    let mut streams = FuturesUnordered::new();
    let mut alarm = Alarm::default();
    let mut drained = pin!(worker.drained());
    let mut patience =
        if caller.crowded { limits.header_timeout.min(limits.idle_timeout) } else { limits.idle_timeout };
    let mut since = Instant::now();
    // Whether we have said goodbye, and whether the client has lost its calm.
    let (mut going, mut lost) = (false, false);
    loop {
        let deadline = (streams.is_empty() || lost).then(|| since + patience);
        let event = poll_fn(|cx| {
            if let Poll::Ready(event) = poll_event(&mut connection, &mut streams, cx) {
                return Poll::Ready(event);
            }
            // Now that no stream can move, what they sent leaves together.
            if let Poll::Ready(Err(_)) = outbox.poll_flush(cx) {
                return Poll::Ready(Event::Closed { calm: true });
            }
            // Frames that ask for nothing are no event of the library's.
            if !lost && let Some(kind) = tally.flood(begun) {
                return Poll::Ready(Event::Flood(kind));
            }
            if !going && drained.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Event::Drained);
            }
            match deadline {
                Some(deadline) => alarm.poll(cx, deadline).map(|()| Event::Rested),
                None => Poll::Pending,
            }
        })
        .await;
        match event {
            Event::Opened(accepted) => {
                add(&tally.streams, 1);
                streams.push(serve(worker, caller, accepted, &tally));
            }
            Event::Ended => since = Instant::now(),
            Event::Rested if going => break,
            Event::Rested | Event::Drained => {
                connection.graceful_shutdown();
                (going, since, patience) = (true, Instant::now(), GOODBYE);
            }
            Event::Flood(kind) => {
                worker.shared.figures.floods.with_label_values(&[kind]).inc();
                tracing::debug!(peer = %caller.peer, kind, "a client of HTTP/2 has lost its calm");
                connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                (going, lost, since, patience) = (true, true, Instant::now(), GOODBYE);
            }
            Event::Closed { calm } => {
                if !calm {
                    worker.shared.figures.floods.with_label_values(&["limits"]).inc();
                }
                break;
            }
        }
    }
    // Streams that the end of the connection cut off notice it, and are recorded.
    drop(connection);
    while streams.next().await.is_some() {}
}

/// Moves every stream, and then the connection, with which what they sent leaves.
fn poll_event<S: Future<Output = ()>>(
    connection: &mut Connection<Duplex, Bytes>,
    streams: &mut FuturesUnordered<S>,
    cx: &mut Context<'_>,
) -> Poll<Event> {
    let mut ended = false;
    while let Poll::Ready(Some(())) = streams.poll_next_unpin(cx) {
        ended = true;
    }
    match connection.poll_accept(cx) {
        Poll::Ready(Some(Ok(accepted))) => Poll::Ready(Event::Opened(accepted)),
        Poll::Ready(Some(Err(error))) => Poll::Ready(Event::Closed {
            calm: !error.is_library() || error.reason() != Some(Reason::ENHANCE_YOUR_CALM),
        }),
        Poll::Ready(None) => Poll::Ready(Event::Closed { calm: true }),
        Poll::Pending if ended => Poll::Ready(Event::Ended),
        Poll::Pending => Poll::Pending,
    }
}

/// Serves the pull of one stream.
async fn serve(worker: &Rc<Worker>, caller: &Caller, (request, responder): Accepted, tally: &Rc<Tally>) {
    let begun = Instant::now();
    let _in_flight = InFlight::enter(&worker.shared);
    let (parts, receive) = request.into_parts();
    let has_body = !receive.is_end_stream();
    let head = request_head(&parts, has_body, &worker.live().policy.limits);
    let head = head.map_err(|refusal| {
        let line = format!("{} {} {}", parts.method, parts.uri.path(), Version::Http2.name());
        Unread { refusal, begun, line: line.into_bytes() }
    });
    drop(parts);
    let mut stream = Stream::new(receive, responder, tally);
    match head {
        Ok(head) => {
            add(&tally.asked, head.fields.size() as u64);
            pull::serve(worker, &mut Downstream::Two(&mut stream), caller, &head, begun).await;
        }
        Err(unread) => pull::refuse(worker, &mut Downstream::Two(&mut stream), caller, &unread).await,
    }
    if has_body && stream.is_unread() {
        // The rest of it may be on its way.
        add(&tally.asked, STREAM_WINDOW.into());
    }
    if !stream.answered {
        add(&tally.broken, 1);
    }
}
