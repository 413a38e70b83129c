//! An origin that reads as strictly as the oracle, answers with what it read, and remembers it by the address that the
//! proxy says the request is from.

use crate::corpus::oracle::{End, Request, WIDE, read};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

#[derive(Default)]
struct Memory {
    requests: Mutex<HashMap<IpAddr, Vec<Request>>>,
    /// Beginnings of requests whose end never came.
    halves: Mutex<HashMap<IpAddr, Vec<Vec<u8>>>>,
    /// What no strict reader takes.
    rubbish: Mutex<Vec<(Option<IpAddr>, Vec<u8>)>>,
    stopping: AtomicBool,
}

pub struct Recorder {
    pub address: SocketAddr,
    memory: Arc<Memory>,
}

impl Recorder {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let memory = Arc::<Memory>::default();
        let kept = memory.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if memory.stopping.load(SeqCst) {
                    return;
                }
                let memory = memory.clone();
                std::thread::spawn(move || converse(stream, &memory));
            }
        });
        Self { address, memory: kept }
    }

    /// What was asked for somebody.
    pub fn requests(&self, of: IpAddr) -> Vec<Request> {
        self.memory.requests.lock().unwrap().get(&of).cloned().unwrap_or_default()
    }

    /// The request for a target, whoever it is from.
    pub fn asked(&self, target: &[u8]) -> Option<Request> {
        let requests = self.memory.requests.lock().unwrap();
        requests.values().flatten().find(|request| request.target == target).cloned()
    }

    /// What was begun for somebody and not ended.
    pub fn halves(&self, of: IpAddr) -> Vec<Vec<u8>> {
        self.memory.halves.lock().unwrap().get(&of).cloned().unwrap_or_default()
    }

    /// What came that is no request to a strict reader.
    pub fn rubbish(&self) -> Vec<(Option<IpAddr>, Vec<u8>)> {
        self.memory.rubbish.lock().unwrap().clone()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.memory.stopping.store(true, SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

/// What the body of an answer says.
pub fn echo(request: &Request) -> Vec<u8> {
    [&request.method, &b" "[..], &request.target].concat()
}

fn converse(mut stream: TcpStream, memory: &Memory) {
    let _ = stream.set_nodelay(true);
    let mut buffer = Vec::new();
    let mut bytes = vec![0; 64 << 10];
    let mut told_to_continue = false;
    loop {
        // One at a time: a proxy sends one, and waits.
        let (requests, end) = read(&buffer, WIDE);
        match (&requests[..], end) {
            ([], End::Open | End::Unfinished) => {}
            ([], End::UnfinishedBody) => {
                let lower = buffer.to_ascii_lowercase();
                if !told_to_continue && lower.windows(9).any(|window| window == b"\r\nexpect:") {
                    told_to_continue = true;
                    let _ = stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n");
                }
            }
            ([request], End::Open | End::Closed) => {
                let of =
                    request.values("X-Real-IP").first().and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
                match of {
                    Some(of) => memory.requests.lock().unwrap().entry(of).or_default().push(request.clone()),
                    None => memory.rubbish.lock().unwrap().push((None, buffer.clone())),
                }
                let body = echo(request);
                let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
                if request.method != b"HEAD" {
                    answer.extend(body);
                }
                let _ = stream.write_all(&answer);
                buffer.clear();
                told_to_continue = false;
            }
            _ => {
                memory.rubbish.lock().unwrap().push((told_of(&buffer), buffer));
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 7\r\n\r\nrubbish");
                return;
            }
        }
        match stream.read(&mut bytes) {
            Ok(count) if count > 0 => buffer.extend_from_slice(&bytes[..count]),
            _ => break,
        }
    }
    if !buffer.is_empty() {
        match told_of(&buffer) {
            Some(of) => memory.halves.lock().unwrap().entry(of).or_default().push(buffer),
            None => memory.rubbish.lock().unwrap().push((None, buffer)),
        }
    }
}

/// Whom the proxy says that this is from, in a text that need not be a request.
fn told_of(text: &[u8]) -> Option<IpAddr> {
    let text = String::from_utf8_lossy(text).to_ascii_lowercase();
    text.split("\r\n").find_map(|line| line.strip_prefix("x-real-ip: ")?.parse().ok())
}
