//! A stream of HTTP/2: one pull's body in, its answer out. What is sent waits for the client's window, so a client that reads
//! slowly holds back the origin and not memory.

use super::calm::Tally;
use crate::downstream::{End, LINGER_BYTES, LINGER_PATIENCE, Sending, Sent};
use crate::failure::Failure;
use crate::fields::Fields;
use crate::http1::body::Step;
use crate::http2::{interim_head, response_head, trailers};
use crate::incoming::Incoming;
use crate::response::{Body, Response};
use crate::upstream::Broken;
use crate::wire::Alarm;
use bytes::Bytes;
use futures_util::future::{Either, select};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use std::borrow::Cow;
use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;
use tokio::time::Instant;

/// A stream, from its head to the end of its answer.
pub(crate) struct Stream {
    /// The request's body; away while it goes up.
    pub incoming: Option<Incoming>,
    responder: Rc<RefCell<SendResponse<Bytes>>>,
    /// Whether the answer went out to its end.
    pub answered: bool,
}

impl Stream {
    pub fn new(receive: RecvStream, responder: SendResponse<Bytes>, tally: &Rc<Tally>) -> Self {
        let responder = Rc::new(RefCell::new(responder));
        let incoming = Incoming::over_stream(receive, responder.clone(), tally.clone());
        Self { incoming: Some(incoming), responder, answered: false }
    }

    /// Reads and drops a small rest of the request's body, as some clients take the reset that ends a stream early for an error.
    async fn read_up(&mut self) {
        let Some(incoming) = &mut self.incoming else { return };
        let mut left = LINGER_BYTES;
        loop {
            match incoming.step() {
                Ok(Step::Data(count)) if count <= left => {
                    left -= count;
                    incoming.took(count);
                }
                Ok(Step::More) => {
                    if incoming.fill(1, LINGER_PATIENCE).await.is_err() {
                        return;
                    }
                }
                _ => return,
            }
        }
    }

    /// Whether some of the request's body was not read.
    pub fn is_unread(&mut self) -> bool {
        !self.incoming.as_mut().is_some_and(|incoming| matches!(incoming.step(), Ok(Step::End)))
    }

    /// Sends a 1xx.
    pub fn send_interim(&mut self, status: u16, fields: &Fields) -> Result<(), Failure> {
        let sent = self.responder.borrow_mut().send_informational(interim_head(status, fields));
        sent.map_err(|_| Failure::DownstreamGone)
    }

    /// Sends an answer.
    pub async fn send(&mut self, mut response: Response, sending: Sending<'_>) -> Sent {
        let bodyless = sending.is_bodyless(response.status);
        let length = match &response.body {
            Body::Ready(body) => Some(body.len() as u64),
            Body::Origin(body) if !bodyless => body.length(),
            Body::Gzip(_) if !bodyless => None,
            _ => response.length,
        };
        let length = length.filter(|_| response.status != 204);
        let empty = bodyless || length == Some(0) || matches!(response.body, Body::Empty | Body::Tunnel(_));
        let head = response_head(&response, length, &mut sending.clock.borrow_mut());
        let sent = self.responder.borrow_mut().send_response(head, empty);
        let Ok(stream) = sent else { return Sent::broken(0, Broken::Downstream) };
        let mut out = Outgoing { stream, sent: 0, patience: sending.limits.body_idle_timeout, alarm: Alarm::default() };
        let result = match &mut response.body {
            // An origin that answers HEAD, 204 or 304 sends no body; its connection is free at once.
            body if empty => body.step().map(drop),
            Body::Ready(body) => out.send_whole(std::mem::take(body)).await,
            body => out.pump(body).await,
        };
        if let Err(broken) = result {
            // A stream that is reset is never taken for a whole answer.
            out.stream.send_reset(if broken == Broken::Downstream { Reason::CANCEL } else { Reason::INTERNAL_ERROR });
            return Sent::broken(out.sent, broken);
        }
        if let Some(incoming) = response.body.finish(sending.pool) {
            self.incoming = Some(incoming);
        }
        self.answered = true;
        self.read_up().await;
        Sent { bytes: out.sent, end: End::Complete, upstream_error: None, keep: true }
    }
}

/// The sending half, after the head.
struct Outgoing {
    stream: SendStream<Bytes>,
    sent: u64,
    /// How long the client may not make room.
    patience: Duration,
    alarm: Alarm,
}

impl Outgoing {
    /// Sends a body that is here.
    async fn send_whole(&mut self, body: Cow<'static, [u8]>) -> Result<(), Broken> {
        let mut rest = match body {
            Cow::Borrowed(body) => Bytes::from_static(body),
            Cow::Owned(body) => Bytes::from(body),
        };
        while !rest.is_empty() {
            let room = self.room(rest.len()).await?;
            let piece = rest.split_to(room);
            self.put(piece, rest.is_empty())?;
        }
        Ok(())
    }

    /// Sends a body piece by piece as it comes.
    async fn pump(&mut self, body: &mut Body) -> Result<(), Broken> {
        loop {
            match body.step()? {
                Step::Data(count) => {
                    let room = self.room(count).await?;
                    let piece = Bytes::copy_from_slice(body.data(room));
                    body.took(room);
                    let last = body.is_at_end();
                    self.put(piece, last)?;
                    if last {
                        return Ok(());
                    }
                }
                Step::More => {
                    let gone = poll_fn(|cx| self.stream.poll_reset(cx));
                    match select(pin!(body.fill()), pin!(gone)).await {
                        Either::Left((filled, _)) => filled?,
                        Either::Right(_) => return Err(Broken::Downstream),
                    }
                }
                Step::End => break,
            }
        }
        match body.trailers() {
            Some(fields) => self.stream.send_trailers(trailers(fields)).map_err(|_| Broken::Downstream),
            None => self.put(Bytes::new(), true),
        }
    }

    fn put(&mut self, piece: Bytes, last: bool) -> Result<(), Broken> {
        let count = piece.len() as u64;
        self.stream.send_data(piece, last).map_err(|_| Broken::Downstream)?;
        self.sent += count;
        Ok(())
    }

    /// Waits for room for some of `wanted` bytes: the client's window, and what may wait for the kernel.
    async fn room(&mut self, wanted: usize) -> Result<usize, Broken> {
        self.stream.reserve_capacity(wanted);
        let mut deadline = None;
        poll_fn(|cx| {
            loop {
                let room = self.stream.capacity();
                if room > 0 {
                    return Poll::Ready(Ok(room.min(wanted)));
                }
                match self.stream.poll_capacity(cx) {
                    Poll::Ready(Some(Ok(_))) => {}
                    Poll::Ready(_) => return Poll::Ready(Err(Broken::Downstream)),
                    Poll::Pending => {
                        let deadline = *deadline.get_or_insert_with(|| Instant::now() + self.patience);
                        return self.alarm.poll(cx, deadline).map(|()| Err(Broken::DownstreamIdle));
                    }
                }
            }
        })
        .await
    }
}
