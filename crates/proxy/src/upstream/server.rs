//! The app servers: how each is reached, and how many pulls it has in hand.

use crate::failure::Failure;
use crate::wire::Stream;
use headwater_config::{Origin, OriginServer, OriginTls, Way};
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

/// One server. It outlives a reload that still names it, unless it is trusted for another reason then.
pub(crate) struct Server {
    /// As the config has it.
    pub name: String,
    /// What the app sees as `Host` when the one that was asked for is not kept.
    pub host: String,
    way: Way,
    /// The address, where no name has to be looked up.
    address: Option<SocketAddr>,
    tls: Option<Tls>,
    state: Arc<State>,
}

/// What stays the same server's when its certificate is checked in another way.
#[derive(Default)]
struct State {
    /// Pulls that wait for it or read from it, over all workers.
    in_flight: AtomicUsize,
}

struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
    /// Of the authorities and certificates it was made from.
    fingerprint: u64,
}

impl Tls {
    /// Sessions are each server's own: one server cannot resume what another has issued.
    fn new(tls: &OriginTls, name: &ServerName<'static>) -> Self {
        let mut client = rustls::ClientConfig::clone(&tls.client);
        client.resumption = Resumption::in_memory_sessions(32);
        Self { connector: Arc::new(client).into(), name: name.clone(), fingerprint: tls.fingerprint }
    }
}

impl Server {
    fn new(entry: &OriginServer, tls: Option<&OriginTls>, state: Arc<State>) -> Self {
        let (address, tls) = match &entry.way {
            Way::Tcp(address) => (address.parse().ok(), None),
            Way::Tls(address, name) => (address.parse().ok(), tls.map(|tls| Tls::new(tls, name))),
            Way::Unix(_) => (None, None),
        };
        Self { name: entry.name.clone(), host: entry.host.clone(), way: entry.way.clone(), address, tls, state }
    }

    /// Whether connections to it are as good under these settings as they were when they were made.
    fn is(&self, entry: &OriginServer, tls: Option<&OriginTls>) -> bool {
        let trusted = self.tls.as_ref().map(|own| own.fingerprint);
        let is_tls = matches!(entry.way, Way::Tls(..));
        self.way == entry.way && self.host == entry.host && trusted == tls.filter(|_| is_tls).map(|tls| tls.fingerprint)
    }

    /// Opens a connection within `patience`, its TLS handshake included.
    pub async fn connect(&self, patience: Duration) -> Result<Stream, Failure> {
        let deadline = Instant::now() + patience;
        let opened = match timeout_at(deadline, self.open()).await {
            Err(_) => return Err(Failure::ConnectTimeout),
            Ok(opened) => opened,
        };
        let stream = opened.map_err(|error| {
            tracing::debug!(server = self.name, %error, "cannot connect to the origin");
            Failure::Connect
        })?;
        let (tls, stream) = match (&self.tls, stream) {
            (Some(tls), Stream::Tcp(stream)) => (tls, stream),
            (_, stream) => return Ok(stream),
        };
        match timeout_at(deadline, tls.connector.connect(tls.name.clone(), stream)).await {
            Ok(Ok(stream)) => Ok(Stream::Tls(Box::new(stream.into()))),
            Ok(Err(error)) => {
                tracing::debug!(server = self.name, %error, "cannot speak TLS with the origin");
                Err(Failure::Tls)
            }
            Err(_) => Err(Failure::ConnectTimeout),
        }
    }

    async fn open(&self) -> std::io::Result<Stream> {
        let stream = match (&self.way, self.address) {
            (Way::Unix(path), _) => return UnixStream::connect(path).await.map(Stream::Unix),
            (_, Some(address)) => TcpStream::connect(address).await?,
            (Way::Tcp(name) | Way::Tls(name, _), None) => TcpStream::connect(name).await?,
        };
        stream.set_nodelay(true)?;
        Ok(Stream::Tcp(stream))
    }

    /// Counts a pull until the guard is dropped.
    pub fn enter(self: &Arc<Self>) -> InHand {
        self.state.in_flight.fetch_add(1, Relaxed);
        InHand(self.clone())
    }

    /// Pulls in hand.
    pub fn load(&self) -> usize {
        self.state.in_flight.load(Relaxed)
    }
}

/// A pull that a server has in hand.
pub(crate) struct InHand(Arc<Server>);

impl Drop for InHand {
    fn drop(&mut self) {
        self.0.state.in_flight.fetch_sub(1, Relaxed);
    }
}

/// The servers of a config. Those that were there before are kept, or at least what is known of them.
pub(crate) fn servers(origin: &Origin, before: &[Arc<Server>]) -> Vec<Arc<Server>> {
    let tls = origin.tls.as_ref();
    origin
        .servers
        .iter()
        .map(|entry| match before.iter().find(|server| server.name == entry.name) {
            Some(kept) if kept.is(entry, tls) => kept.clone(),
            other => {
                let state = other.map_or_else(Arc::default, |kept| kept.state.clone());
                Arc::new(Server::new(entry, tls, state))
            }
        })
        .collect()
}
