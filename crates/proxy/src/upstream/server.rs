//! The app servers, and how many pulls each of them has in hand.

use crate::wire::Stream;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tokio::net::{TcpStream, UnixStream};

/// One server. It outlives a reload that still names it.
#[derive(Debug)]
pub(crate) struct Server {
    /// As the config has it: `host:port` or `unix:/path`.
    pub name: String,
    /// The address, where no name has to be looked up.
    address: Option<SocketAddr>,
    /// Pulls that wait for it or read from it, over all workers.
    in_flight: AtomicUsize,
}

impl Server {
    fn new(name: &str) -> Self {
        Self { name: name.into(), address: name.parse().ok(), in_flight: AtomicUsize::new(0) }
    }

    /// Opens a connection.
    pub async fn connect(&self) -> std::io::Result<Stream> {
        if let Some(path) = self.name.strip_prefix("unix:") {
            return UnixStream::connect(path).await.map(Stream::Unix);
        }
        let stream = match self.address {
            Some(address) => TcpStream::connect(address).await?,
            None => TcpStream::connect(&self.name).await?,
        };
        stream.set_nodelay(true)?;
        Ok(Stream::Tcp(stream))
    }

    /// What the app sees as `Host` when the one that was asked for is not kept.
    pub fn host(&self) -> &str {
        if self.name.starts_with("unix:") { "localhost" } else { &self.name }
    }

    /// Counts a pull until the guard is dropped.
    pub fn enter(self: &Arc<Self>) -> InHand {
        self.in_flight.fetch_add(1, Relaxed);
        InHand(self.clone())
    }

    /// Pulls in hand.
    pub fn load(&self) -> usize {
        self.in_flight.load(Relaxed)
    }
}

/// A pull that a server has in hand.
pub(crate) struct InHand(Arc<Server>);

impl Drop for InHand {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

/// The servers of a config; those that were there before are kept with their counts.
pub(crate) fn servers(names: &[String], before: &[Arc<Server>]) -> Vec<Arc<Server>> {
    names
        .iter()
        .map(|name| {
            let kept = before.iter().find(|server| server.name == *name);
            kept.cloned().unwrap_or_else(|| Arc::new(Server::new(name)))
        })
        .collect()
}
