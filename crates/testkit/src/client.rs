//! A client that says exactly what it is told, and hears exactly what is said.

use crate::PATIENCE;
use crate::message::{Response, fields, read_body, read_head};
use socket2::{Domain, Socket, Type};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};

/// A connection.
pub struct Client {
    reader: BufReader<TcpStream>,
    stream: TcpStream,
}

impl Client {
    /// Connects.
    pub fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect_timeout(&address, PATIENCE).expect("somebody listens"))
    }

    /// Connects from an address of one's choice, of which loopback has 16 million.
    pub fn connect_from(source: IpAddr, address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(source, 0).into()).expect("an address of this machine");
        socket.connect_timeout(&address.into(), PATIENCE).expect("somebody listens");
        Self::over(socket.into())
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { reader: BufReader::new(stream.try_clone().unwrap()), stream }
    }

    /// Sends bytes as they are. A connection that was closed meanwhile is no error here.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// The answer to a request that was no HEAD.
    pub fn read_response(&mut self) -> Response {
        self.read_response_to("GET")
    }

    /// The answer to a request of that method; also a 1xx.
    pub fn read_response_to(&mut self, method: &str) -> Response {
        self.try_read_response_to(method).expect("an answer")
    }

    /// As [`Client::read_response_to`]; `None` when the connection ended or was silent instead.
    pub fn try_read_response_to(&mut self, method: &str) -> Option<Response> {
        let head = read_head(&mut self.reader).ok()??;
        let status_line = head.lines().next().unwrap_or("").to_string();
        let status: u16 = status_line.split(' ').nth(1)?.parse().ok()?;
        let headers = fields(&head);
        let bodyless = method == "HEAD" || matches!(status, 100..200 | 204 | 304);
        let (body, trailers, complete) =
            if bodyless { (Vec::new(), Vec::new(), true) } else { read_body(&mut self.reader, &headers, true) };
        Some(Response { status, status_line, headers, body, trailers, complete, head })
    }

    /// Reads a head alone; the body is left to [`Client::read_chunk`], [`Client::read_bytes`] or [`Client::reader`].
    pub fn read_head(&mut self) -> Response {
        self.read_response_to("HEAD")
    }

    /// The next chunk of a body; empty at its end, whose trailers are not read. `None`: it broke off.
    pub fn read_chunk(&mut self) -> Option<Vec<u8>> {
        let mut line = String::new();
        self.reader.read_line(&mut line).ok()?;
        let mut bytes = vec![0; usize::from_str_radix(line.trim(), 16).ok()?];
        if !bytes.is_empty() {
            self.reader.read_exact(&mut bytes).ok()?;
            self.reader.read_exact(&mut [0; 2]).ok()?;
        }
        Some(bytes)
    }

    /// Reads exactly so many bytes.
    pub fn read_bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.reader.read_exact(&mut bytes).expect("so many bytes");
        bytes
    }

    /// Reads what comes next, at least a byte; empty at the end.
    pub fn read_some(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; 64 << 10];
        let count = self.reader.read(&mut bytes).unwrap_or(0);
        bytes.truncate(count);
        bytes
    }

    /// A reader, for bodies too large to keep.
    pub fn reader(&mut self) -> &mut BufReader<TcpStream> {
        &mut self.reader
    }

    /// The bare socket.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Whether the other side ends the connection, without another byte, within the patience of a test.
    pub fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        match self.reader.read(&mut byte) {
            Ok(count) => count == 0,
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }
}

/// The text of a request without a body.
pub fn request(method: &str, target: &str, headers: &[(&str, &str)]) -> String {
    let mut text = format!("{method} {target} HTTP/1.1\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        text.push_str("Host: shop.example\r\n");
    }
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text
}

/// One GET over a connection of its own.
pub fn get(address: SocketAddr, target: &str, headers: &[(&str, &str)]) -> Response {
    exchange(address, request("GET", target, headers))
}

/// Sends bytes over a connection of its own and reads the answer.
pub fn exchange(address: SocketAddr, bytes: impl AsRef<[u8]>) -> Response {
    let mut client = Client::connect(address);
    client.send(bytes.as_ref());
    let method = if bytes.as_ref().starts_with(b"HEAD ") { "HEAD" } else { "GET" };
    client.read_response_to(method)
}
