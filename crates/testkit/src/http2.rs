//! HTTP/2 frame by frame: a client that says exactly what it is told.

use crate::PATIENCE;
use std::io::{BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// Types of frames (RFC 9113, section 6).
pub mod kind {
    #![allow(missing_docs, reason = "the names are the RFC's")]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Flags of frames.
pub mod flag {
    #![allow(missing_docs, reason = "the names are the RFC's")]
    pub const ACK: u8 = 1;
    pub const END_STREAM: u8 = 1;
    pub const END_HEADERS: u8 = 4;
}

/// `ENHANCE_YOUR_CALM` (RFC 9113, section 7).
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// A frame as it came.
#[derive(Clone, Debug)]
pub struct Frame {
    /// One of [`kind`].
    pub kind: u8,
    /// See [`flag`].
    pub flags: u8,
    /// The stream; 0 is the connection.
    pub stream: u32,
    /// What is in it.
    pub payload: Vec<u8>,
}

impl Frame {
    /// Whether it is a head with status 200, which has an entry of its own in the static table.
    pub fn is_200(&self) -> bool {
        self.kind == kind::HEADERS && self.payload.first() == Some(&0x88)
    }

    /// The error code of a GOAWAY or RST_STREAM.
    pub fn error(&self) -> u32 {
        let at = if self.kind == kind::GOAWAY { 4 } else { 0 };
        self.payload[at..at + 4].iter().fold(0, |code, byte| code << 8 | u32::from(*byte))
    }
}

/// A connection of HTTP/2 with prior knowledge.
pub struct Http2 {
    reader: BufReader<TcpStream>,
    stream: TcpStream,
}

impl Http2 {
    /// Connects, with settings beyond the default ones.
    pub fn connect(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("somebody listens");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut client = Self { reader: BufReader::new(stream.try_clone().unwrap()), stream };
        let payload: Vec<u8> =
            settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
        let opening = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(kind::SETTINGS, 0, 0, &payload)[..]].concat();
        assert!(client.send(&opening));
        client
    }

    /// Sends bytes as they are; whether the other side took them.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Asks for a path.
    pub fn get(&mut self, stream: u32, path: &str, fields: &[(&str, &str)]) -> bool {
        let head = head("GET", path, fields);
        self.send(&frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, stream, &head))
    }

    /// The next frame; `None` at the end of the connection, or after the patience of a test.
    pub fn read(&mut self) -> Option<Frame> {
        let mut start = [0; 9];
        self.reader.read_exact(&mut start).ok()?;
        let length = usize::from(start[0]) << 16 | usize::from(start[1]) << 8 | usize::from(start[2]);
        let mut payload = vec![0; length];
        self.reader.read_exact(&mut payload).ok()?;
        let stream = start[5..].iter().fold(0, |id, byte| id << 8 | u32::from(*byte)) & 0x7fff_ffff;
        Some(Frame { kind: start[3], flags: start[4], stream, payload })
    }

    /// Reads until a frame is of use; `None` as in [`Http2::read`].
    pub fn read_until(&mut self, mut wanted: impl FnMut(&Frame) -> bool) -> Option<Frame> {
        loop {
            let frame = self.read()?;
            if wanted(&frame) {
                return Some(frame);
            }
        }
    }

    /// A second handle that only reads, for a thread of its own.
    pub fn listener(&self) -> Self {
        let stream = self.stream.try_clone().unwrap();
        Self { reader: BufReader::new(stream.try_clone().unwrap()), stream }
    }

    /// Whether the other side ends the connection within the patience of a test, whatever it says before.
    pub fn is_closed(&mut self) -> bool {
        let mut bytes = [0; 4096];
        loop {
            match self.reader.read(&mut bytes) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
            }
        }
    }
}

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A request's head for `shop.example`, each field written out and none remembered (RFC 7541, section 6.2.2).
pub fn head(method: &str, path: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    let pseudo = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "shop.example")];
    for (name, value) in pseudo.iter().chain(fields) {
        block.push(0);
        text(&mut block, name);
        text(&mut block, value);
    }
    block
}

fn text(block: &mut Vec<u8>, text: &str) {
    number(block, 0, 7, text.len());
    block.extend(text.as_bytes());
}

/// A number with a prefix of so many bits (RFC 7541, section 5.1).
pub fn number(block: &mut Vec<u8>, first: u8, bits: u8, value: usize) {
    let most = (1 << bits) - 1;
    if value < most {
        block.push(first | value as u8);
        return;
    }
    block.push(first | most as u8);
    let mut rest = value - most;
    while rest >= 128 {
        block.push((rest % 128 + 128) as u8);
        rest /= 128;
    }
    block.push(rest as u8);
}
