//! TLS for the origin that a test scripts.

use crate::Pair;
use crate::origin::Wire;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// How a client began a connection over TLS.
#[derive(Clone, Debug, Default)]
pub struct Greeting {
    /// The name it asked for.
    pub server_name: Option<String>,
    /// The protocol that was agreed on.
    pub protocol: Option<String>,
    /// Whether it went on with an earlier session.
    pub resumed: bool,
    /// Whether it proved to own a certificate.
    pub has_certificate: bool,
}

pub(crate) fn config(pair: &Pair, client_ca: Option<&Path>) -> Arc<ServerConfig> {
    let read = |path: &Path| CertificateDer::pem_file_iter(path).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let builder = match client_ca {
        Some(path) => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(read(path));
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
        None => builder.with_no_client_auth(),
    };
    let key = PrivateKeyDer::from_pem_file(&pair.key).unwrap();
    let mut config = builder.with_single_cert(read(&pair.certificate), key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}

/// Both halves of a connection, which one thread uses in turn.
#[derive(Clone)]
pub(crate) struct Secure(Arc<Mutex<StreamOwned<ServerConnection, TcpStream>>>);

/// Shakes hands. `None`: the client did not like it.
pub(crate) fn accept(mut stream: TcpStream, config: Arc<ServerConfig>) -> Option<(Secure, Greeting)> {
    let mut session = ServerConnection::new(config).unwrap();
    while session.is_handshaking() {
        session.complete_io(&mut stream).ok()?;
    }
    let greeting = Greeting {
        server_name: session.server_name().map(str::to_string),
        protocol: session.alpn_protocol().map(|protocol| String::from_utf8_lossy(protocol).into_owned()),
        resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
        has_certificate: session.peer_certificates().is_some_and(|chain| !chain.is_empty()),
    };
    Some((Secure(Arc::new(Mutex::new(StreamOwned::new(session, stream)))), greeting))
}

impl Read for Secure {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.lock().unwrap().read(buffer)
    }
}

impl Write for Secure {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.lock().unwrap().flush()
    }
}

impl Wire for Secure {
    fn reset(&self) {
        self.0.lock().unwrap().sock.reset();
    }

    fn say_goodbye(&mut self) {
        let mut stream = self.0.lock().unwrap();
        stream.conn.send_close_notify();
        let _ = stream.flush();
    }
}
