//! HTTP/1.1 on loopback: how the simulated parties serve, and how they ask.

use super::locked;
use anyhow::{Context, Result, anyhow};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// What a simulated party answers with.
pub type Answer = Response<Full<Bytes>>;

/// Open connections of one listener. All parties share one process, and so its limit of open files, often 1,024.
const CONNECTIONS: usize = 200;
/// Kept connections of one client.
const IDLE: usize = 32;
/// Bytes of a body that is collected; nothing in the demo comes near.
const LARGEST: usize = 4 << 20;
/// From the request to the answer's last byte.
const PATIENCE: Duration = Duration::from_secs(30);

/// Accepts until it is dropped, and answers every request with what `handle` makes of it and of the peer's address.
pub async fn serve<H, F>(listener: TcpListener, handle: H)
where
    H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    while let Ok(place) = places.clone().acquire_owned().await {
        let Ok((stream, peer)) = listener.accept().await else {
            // Out of open files, most likely: they come back as connections end.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let handle = handle.clone();
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let service = service_fn(move |request| {
                let answer = handle(request, peer);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            // An error means that the peer went away, and there is nobody to tell.
            let _ = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .title_case_headers(true)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            drop(place);
        });
    }
}

/// An answer with a body of text.
pub fn text(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static(content_type));
    answer
}

/// Reads a request's or an answer's whole body.
///
/// # Errors
/// Where it breaks off, or is longer than anything in the demo.
pub async fn collect(body: Incoming) -> Result<Bytes> {
    let collected = Limited::new(body, LARGEST).collect().await;
    Ok(collected.map_err(|error| anyhow!("the body broke off: {error}"))?.to_bytes())
}

/// Asks one server, over connections that it keeps.
pub struct Client {
    server: SocketAddr,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

impl Client {
    /// A client without a connection yet.
    pub fn new(server: SocketAddr) -> Self {
        Self { server, idle: Mutex::default() }
    }

    /// Sends a request and collects the answer.
    ///
    /// # Errors
    /// Where no connection or no whole answer could be had in 30 s.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>> {
        tokio::time::timeout(PATIENCE, self.try_send(request)).await.context("no answer in 30 s")?
    }

    async fn try_send(&self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>> {
        while let Some(mut kept) = self.newest() {
            if kept.ready().await.is_err() {
                continue;
            }
            match kept.try_send_request(request.clone()).await {
                Ok(response) => return self.finish(kept, response).await,
                // The server closed it in the same moment. Whatever the cause, a fresh connection tells.
                Err(_) => break,
            }
        }
        let mut fresh = self.connect().await.with_context(|| format!("cannot connect to {}", self.server))?;
        let response = fresh.send_request(request).await.context("the connection ended before the answer")?;
        self.finish(fresh, response).await
    }

    fn newest(&self) -> Option<SendRequest<Full<Bytes>>> {
        locked(&self.idle).pop()
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(self.server).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            // The sender learns of its end by itself.
            let _ = connection.await;
        });
        Ok(sender)
    }

    async fn finish(&self, sender: SendRequest<Full<Bytes>>, response: Response<Incoming>) -> Result<Response<Bytes>> {
        let (head, body) = response.into_parts();
        let body = collect(body).await?;
        let mut idle = locked(&self.idle);
        if idle.len() < IDLE && !sender.is_closed() {
            idle.push(sender);
        }
        Ok(Response::from_parts(head, body))
    }
}
