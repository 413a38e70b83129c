//! An origin that does what a test says, and remembers what it was asked.

use crate::https::{self, Greeting};
use crate::message::{fields, read_body, read_head};
use crate::{PATIENCE, Pair, wait_until};
use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    /// Request line and fields, with their line ends.
    pub head: String,
    /// The method.
    pub method: String,
    /// The target.
    pub target: String,
    /// Names and values in their order.
    pub headers: Vec<(String, String)>,
    /// The body without its framing.
    pub body: Vec<u8>,
    /// Fields behind the last chunk.
    pub trailers: Vec<(String, String)>,
    /// Whether the body came to its proper end.
    pub complete: bool,
    /// Which connection it came over, from 0.
    pub connection: usize,
    /// How the connection began, where it is one over TLS.
    pub tls: Option<Greeting>,
}

impl Recorded {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).first().copied()
    }

    /// Every value of a header.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// Whether there is such a header.
    pub fn has(&self, name: &str) -> bool {
        !self.headers(name).is_empty()
    }
}

/// What an origin does after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Waits for the next request.
    Keep,
    /// Ends the connection, over TLS with a `close_notify`.
    Close,
    /// Ends the connection, over TLS without one.
    Cut,
    /// Resets it.
    Reset,
}

/// A socket of either family.
pub trait Wire: Read + Write + Send {
    /// Makes the end of it a reset, if it can be one.
    fn reset(&self) {}

    /// Says that nothing more will come, where there is a way to say it.
    fn say_goodbye(&mut self) {}
}

impl Wire for TcpStream {
    fn reset(&self) {
        let _ = socket2::SockRef::from(self).set_linger(Some(std::time::Duration::ZERO));
    }
}

impl Wire for UnixStream {}

type Behaviour = dyn Fn(&Recorded, &mut dyn Wire) -> Then + Send + Sync;

/// A server that a test scripts.
pub struct Origin {
    /// Where it listens; a Unix socket has none of use.
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<Recorded>>>,
    connections: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    stopping: Arc<AtomicBool>,
}

impl Origin {
    /// Gives the same bytes for every request and keeps the connection.
    pub fn answering(bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref().to_vec();
        Self::with(move |_, stream| {
            let _ = stream.write_all(&bytes);
            Then::Keep
        })
    }

    /// Calls the closure for every request, its body read.
    pub fn with(behave: impl Fn(&Recorded, &mut dyn Wire) -> Then + Send + Sync + 'static) -> Self {
        Self::start(TcpListener::bind("127.0.0.1:0").unwrap(), Arc::new(behave), true, None)
    }

    /// As [`Origin::with`], over TLS. With an authority, clients need a certificate of it.
    pub fn over_tls(
        pair: &Pair,
        client_ca: Option<&Path>,
        behave: impl Fn(&Recorded, &mut dyn Wire) -> Then + Send + Sync + 'static,
    ) -> Self {
        let tls = Some(https::config(pair, client_ca));
        Self::start(TcpListener::bind("127.0.0.1:0").unwrap(), Arc::new(behave), true, tls)
    }

    /// Calls the closure as soon as a request's head is there; it reads the body itself if it likes.
    pub fn with_heads(behave: impl Fn(&Recorded, &mut dyn Wire) -> Then + Send + Sync + 'static) -> Self {
        Self::start(TcpListener::bind("127.0.0.1:0").unwrap(), Arc::new(behave), false, None)
    }

    /// As [`Origin::with`], on a port of one's choice.
    pub fn at(address: SocketAddr, behave: impl Fn(&Recorded, &mut dyn Wire) -> Then + Send + Sync + 'static) -> Self {
        let mut listener = None;
        wait_until("the port is free", || {
            listener = TcpListener::bind(address).ok();
            listener.is_some()
        });
        Self::start(listener.unwrap(), Arc::new(behave), true, None)
    }

    fn start(
        listener: TcpListener,
        behave: Arc<Behaviour>,
        read_bodies: bool,
        tls: Option<Arc<rustls::ServerConfig>>,
    ) -> Self {
        let origin = Self::empty(listener.local_addr().unwrap());
        let (requests, connections, open, stopping) =
            (origin.requests.clone(), origin.connections.clone(), origin.open.clone(), origin.stopping.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopping.load(SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let number = connections.fetch_add(1, SeqCst);
                let (requests, behave, open, tls) = (requests.clone(), behave.clone(), open.clone(), tls.clone());
                open.fetch_add(1, SeqCst);
                std::thread::spawn(move || {
                    let _ = stream.set_read_timeout(Some(PATIENCE * 3));
                    let _ = stream.set_nodelay(true);
                    // Who reads the body himself must find all of it in the socket.
                    let ahead = if read_bodies { 64 << 10 } else { 1 };
                    if let Some(tls) = tls {
                        if let Some((stream, greeting)) = https::accept(stream, tls) {
                            let reader = BufReader::new(stream.clone());
                            let first = Recorded { connection: number, tls: Some(greeting), ..Default::default() };
                            converse(reader, stream, first, &requests, &*behave, true);
                        }
                    } else {
                        let reader = BufReader::with_capacity(ahead, stream.try_clone().unwrap());
                        let first = Recorded { connection: number, ..Default::default() };
                        converse(reader, stream, first, &requests, &*behave, read_bodies);
                    }
                    open.fetch_sub(1, SeqCst);
                });
            }
        });
        origin
    }

    /// As [`Origin::with`], on a Unix socket.
    pub fn on_unix(path: &Path, behave: impl Fn(&Recorded, &mut dyn Wire) -> Then + Send + Sync + 'static) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let origin = Self::empty(SocketAddr::from(([127, 0, 0, 1], 0)));
        let (requests, connections) = (origin.requests.clone(), origin.connections.clone());
        let behave: Arc<Behaviour> = Arc::new(behave);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let number = connections.fetch_add(1, SeqCst);
                let (requests, behave) = (requests.clone(), behave.clone());
                std::thread::spawn(move || {
                    let _ = stream.set_read_timeout(Some(PATIENCE));
                    let reader = BufReader::new(stream.try_clone().unwrap());
                    let first = Recorded { connection: number, ..Default::default() };
                    converse(reader, stream, first, &requests, &*behave, true);
                });
            }
        });
        origin
    }

    fn empty(address: SocketAddr) -> Self {
        Self {
            address,
            requests: Arc::default(),
            connections: Arc::default(),
            open: Arc::default(),
            stopping: Arc::default(),
        }
    }

    /// A server that accepts no connection: connecting to it takes forever.
    pub fn deaf() -> Deaf {
        Deaf::start()
    }

    /// A config with this server as the only one.
    pub fn config(&self) -> String {
        format!("[origin]\nservers = [\"{}\"]\n", self.address)
    }

    /// What was asked so far.
    pub fn requests(&self) -> Vec<Recorded> {
        self.requests.lock().unwrap().clone()
    }

    /// The last request.
    pub fn last(&self) -> Recorded {
        self.requests().pop().expect("the origin was asked")
    }

    /// Connections that were accepted.
    pub fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }

    /// Connections that are open.
    pub fn open(&self) -> usize {
        self.open.load(SeqCst)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stopping.store(true, SeqCst);
        if self.address.port() != 0 {
            let _ = TcpStream::connect_timeout(&self.address, PATIENCE);
        }
    }
}

/// A listener whose queue is full.
pub struct Deaf {
    /// Where nobody answers.
    pub address: SocketAddr,
    _listener: socket2::Socket,
    _waiting: Vec<socket2::Socket>,
}

impl Deaf {
    fn start() -> Self {
        use socket2::{Domain, Socket, Type};
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        // A queue of length 0 still holds one or two that wait; what comes later gets no answer.
        let waiting = (0..4)
            .map(|_| {
                let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
                socket.set_nonblocking(true).unwrap();
                let _ = socket.connect(&address);
                socket
            })
            .collect();
        std::thread::sleep(std::time::Duration::from_millis(50));
        Self { address: address.as_socket().unwrap(), _listener: listener, _waiting: waiting }
    }
}

fn converse(
    mut reader: BufReader<impl Read>,
    mut stream: impl Wire,
    first: Recorded,
    requests: &Mutex<Vec<Recorded>>,
    behave: &Behaviour,
    read_bodies: bool,
) {
    while let Ok(Some(head)) = read_head(&mut reader) {
        let mut words = head.split([' ', '\r']);
        let method = words.next().unwrap_or("").to_string();
        let target = words.next().unwrap_or("").to_string();
        let headers = fields(&head);
        let mut recorded = Recorded { method, target, headers, head, ..first.clone() };
        if read_bodies {
            if recorded.headers("Expect").contains(&"100-continue") {
                let _ = stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
            (recorded.body, recorded.trailers, recorded.complete) = read_body(&mut reader, &recorded.headers, false);
        }
        requests.lock().unwrap().push(recorded.clone());
        match behave(&recorded, &mut stream) {
            Then::Keep => {}
            Then::Close => {
                stream.say_goodbye();
                return;
            }
            Then::Cut => return,
            Then::Reset => {
                stream.reset();
                return;
            }
        }
    }
}
