//! Who connected, and how: what is the same for every pull of a connection.

use crate::figures::Figures;
use crate::live::Held;
use crate::proxy_protocol;
use crate::strangers::{Presence, Strangers};
use crate::wire::Stream;
use headwater_config::{Http2, Listen, tls};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

/// The listener that a connection came in by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Door {
    pub port: u16,
    pub tls: bool,
}

/// The other end of a connection from downstream.
pub(crate) struct Caller {
    pub peer: SocketAddr,
    pub door: Door,
    /// Subject alternative names of the certificate that it proved to own.
    pub certificate: Vec<String>,
    /// Whether its network has more connections than strangers may have.
    pub crowded: bool,
    _presence: Presence,
}

/// How a TLS connection began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handshake {
    Full,
    Resumed,
    Failed,
    TimedOut,
}

impl Handshake {
    /// A metric's label.
    pub fn name(self) -> &'static str {
        match self {
            Handshake::Full => "full",
            Handshake::Resumed => "resumed",
            Handshake::Failed => "failed",
            Handshake::TimedOut => "timeout",
        }
    }
}

impl Caller {
    /// Somebody on this machine, for the micro benches.
    #[cfg(feature = "micro")]
    pub fn local() -> Self {
        let peer = SocketAddr::from(([127, 0, 0, 1], 4711));
        let presence = Arc::new(Strangers::default()).enter(peer.ip());
        let door = Door { port: 80, tls: false };
        Self { peer, door, certificate: Vec::new(), crowded: false, _presence: presence }
    }

    /// The address it connected from.
    pub fn ip(&self) -> IpAddr {
        self.peer.ip()
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static [u8] {
        if self.door.tls { b"https" } else { b"http" }
    }

    /// Whether the connection is, or may be, one of HTTP/2: by what was agreed in the handshake, or by what the config says of
    /// plain connections.
    pub fn takes_http2(&self, stream: &Stream, listen: &Listen) -> bool {
        match stream {
            Stream::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
            Stream::Tcp(_) | Stream::Unix(_) => listen.http2 == Http2::All,
        }
    }

    /// Begins a connection: with what a load balancer says of it, then over TLS with its handshake. Each has the deadline
    /// for a head. `None`: it is not to be served.
    pub async fn greet(
        mut stream: TcpStream,
        peer: SocketAddr,
        door: Door,
        live: &Held,
        figures: &Figures,
        strangers: &Arc<Strangers>,
    ) -> Option<(Stream, Self)> {
        let mut peer = peer;
        if live.policy.listen.proxy_protocol_from.contains(peer.ip()) {
            let (outcome, told) =
                match timeout(live.policy.limits.header_timeout, proxy_protocol::read(&mut stream)).await {
                    Ok(Ok(Some(told))) => ("client", Some(told)),
                    Ok(Ok(None)) => ("none", Some(peer)),
                    Ok(Err(error)) => {
                        tracing::debug!(%peer, %error, "a connection that had to begin with a PROXY header does not");
                        ("refused", None)
                    }
                    Err(_) => ("timeout", None),
                };
            figures.proxy_headers.with_label_values(&[outcome]).inc();
            let told = told?;
            peer = SocketAddr::new(told.ip().to_canonical(), told.port());
        }
        let presence = strangers.enter(peer.ip());
        let crowded = presence.is_crowded(live.policy.limits.stranger_connections);
        let caller = Self { peer, door, certificate: Vec::new(), crowded, _presence: presence };
        if !door.tls {
            return Some((Stream::Tcp(stream), caller));
        }
        let (begun, outcome) = caller.shake_hands(stream, live).await;
        figures.handshakes.with_label_values(&[outcome.name()]).inc();
        begun
    }

    async fn shake_hands(mut self, stream: TcpStream, live: &Held) -> (Option<(Stream, Self)>, Handshake) {
        let Some(tls) = &live.policy.tls else { return (None, Handshake::Failed) };
        // Handshakes are several small messages, each of which the other side waits for.
        let _ = stream.set_nodelay(true);
        let accepting = TlsAcceptor::from(tls.server.clone()).accept(stream);
        match timeout(live.policy.limits.header_timeout, accepting).await {
            Ok(Ok(stream)) => {
                let session = stream.get_ref().1;
                let resumed = session.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
                let certificate = session.peer_certificates().and_then(|chain| chain.first());
                self.certificate = certificate.map(tls::names).unwrap_or_default();
                let kind = if resumed { Handshake::Resumed } else { Handshake::Full };
                (Some((Stream::Tls(Box::new(stream.into())), self)), kind)
            }
            Ok(Err(error)) => {
                tracing::debug!(peer = %self.peer, %error, "a TLS handshake failed");
                (None, Handshake::Failed)
            }
            Err(_) => (None, Handshake::TimedOut),
        }
    }
}
