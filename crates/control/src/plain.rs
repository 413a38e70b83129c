//! One request over plain HTTP, for what stands beside us: the proxies' admin endpoints, and the control plane itself.

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Asks `host:port` and reads the answer to its end, or says what went wrong. The request's target is a path.
///
/// # Errors
/// No whole answer within `deadline`, or one that is longer than `limit` bytes. Any status is an answer.
pub(crate) async fn ask(
    authority: &str,
    mut request: Request<Full<Bytes>>,
    deadline: Duration,
    limit: usize,
) -> Result<Response<Bytes>, String> {
    if let Ok(host) = HeaderValue::from_str(authority) {
        request.headers_mut().insert(header::HOST, host);
    }
    let exchange = async {
        let stream = TcpStream::connect(authority).await.map_err(|error| error.to_string())?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        let answer = async {
            let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, limit).collect().await.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    format!("the answer is longer than {limit} bytes")
                } else {
                    format!("the answer broke off: {error}")
                }
            })?;
            Ok(Response::from_parts(head, body.to_bytes()))
        };
        // The connection lives as long as its one answer, and ends with it.
        let mut connection = std::pin::pin!(connection);
        let mut answer = std::pin::pin!(answer);
        tokio::select! {
            answer = &mut answer => answer,
            _ = &mut connection => answer.await,
        }
    };
    timeout(deadline, exchange).await.map_err(|_| format!("no answer within {} s", deadline.as_secs()))?
}
