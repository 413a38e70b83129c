//! How a server is reached: over TCP, TLS or a socket in the file system.

use crate::failure::Failure;
use crate::wire::Stream;
use headwater_config::OriginTls;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

/// A way to a server, with what is ready for it.
pub(crate) struct Way {
    written: headwater_config::Way,
    /// The address, where no name has to be looked up.
    address: Option<SocketAddr>,
    tls: Option<Tls>,
}

struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
    /// Of the authorities and certificates it was made from.
    fingerprint: u64,
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) struct NoWay {
    pub failure: Failure,
    /// What the system said.
    pub detail: String,
}

impl NoWay {
    fn new(failure: Failure, detail: impl ToString) -> Self {
        Self { failure, detail: detail.to_string() }
    }
}

impl Way {
    pub fn new(written: &headwater_config::Way, tls: Option<&OriginTls>) -> Self {
        use headwater_config::Way::{Tcp, Tls as OverTls, Unix};
        let (address, tls) = match written {
            Tcp(address) => (address.parse().ok(), None),
            OverTls(address, name) => (address.parse().ok(), tls.map(|tls| Tls::new(tls, name))),
            Unix(_) => (None, None),
        };
        Self { written: written.clone(), address, tls }
    }

    /// Whether it is the way that is written, and leads to what is trusted for the same reason.
    pub fn is(&self, written: &headwater_config::Way, tls: Option<&OriginTls>) -> bool {
        let needs_trust = self.tls.as_ref().map(|own| own.fingerprint);
        self.written == *written && needs_trust.is_none_or(|own| tls.is_some_and(|tls| tls.fingerprint == own))
    }

    /// Opens a connection within `patience`, its TLS handshake included.
    pub async fn connect(&self, patience: Duration) -> Result<Stream, NoWay> {
        let deadline = Instant::now() + patience;
        let late = |what| NoWay::new(Failure::ConnectTimeout, what);
        let stream = match timeout_at(deadline, self.open()).await {
            Ok(opened) => opened.map_err(|error| NoWay::new(Failure::Connect, error))?,
            Err(_) => return Err(late("no connection in time")),
        };
        let (tls, stream) = match (&self.tls, stream) {
            (Some(tls), Stream::Tcp(stream)) => (tls, stream),
            (_, stream) => return Ok(stream),
        };
        match timeout_at(deadline, tls.connector.connect(tls.name.clone(), stream)).await {
            Ok(Ok(stream)) => Ok(Stream::Tls(Box::new(stream.into()))),
            Ok(Err(error)) => Err(NoWay::new(Failure::Tls, error)),
            Err(_) => Err(late("no TLS handshake in time")),
        }
    }

    async fn open(&self) -> std::io::Result<Stream> {
        use headwater_config::Way::{Tcp, Tls, Unix};
        let stream = match (&self.written, self.address) {
            (Unix(path), _) => return UnixStream::connect(path).await.map(Stream::Unix),
            (_, Some(address)) => TcpStream::connect(address).await?,
            (Tcp(name) | Tls(name, _), None) => TcpStream::connect(name).await?,
        };
        stream.set_nodelay(true)?;
        Ok(Stream::Tcp(stream))
    }
}

impl Tls {
    /// Sessions are each server's own: one server cannot resume what another has issued.
    fn new(tls: &OriginTls, name: &ServerName<'static>) -> Self {
        let mut client = rustls::ClientConfig::clone(&tls.client);
        client.resumption = Resumption::in_memory_sessions(32);
        Self { connector: Arc::new(client).into(), name: name.clone(), fingerprint: tls.fingerprint }
    }
}
