//! Bodies larger than memory stream through, both ways, and each side waits for the other.

use headwater_testkit::{Client, Headwater, Origin, Then, request};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

const GIB: u64 = 1 << 30;
const MIB: usize = 1 << 20;

fn assert_is_slim(headwater: &Headwater) {
    let most = headwater.memory_kib("VmHWM");
    assert!(most < 64 << 10, "it took {} MiB", most >> 10);
}

/// Reads so many bytes and throws them away.
fn discard(reader: &mut impl Read, mut left: u64) -> u64 {
    let mut room = vec![0; MIB];
    let mut read = 0;
    while left > 0 {
        let most = left.min(MIB as u64) as usize;
        match reader.read(&mut room[..most]) {
            Ok(0) | Err(_) => break,
            Ok(count) => {
                read += count as u64;
                left -= count as u64;
            }
        }
    }
    read
}

/// Answers every request with so many zeros.
fn zeros(length: u64) -> Origin {
    Origin::with(move |_, stream| {
        let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes());
        let zeros = vec![0; MIB];
        for _ in 0..length / MIB as u64 {
            if stream.write_all(&zeros).is_err() {
                return Then::Close;
            }
        }
        Then::Keep
    })
}

#[test]
fn two_gib_come_down_and_memory_stays_small() {
    let origin = zeros(2 * GIB);
    let headwater = Headwater::before(&origin);
    let mut client = Client::connect(headwater.http);
    client.send(request("GET", "/", &[]));
    assert_eq!(client.read_head().header("Content-Length"), Some((2 * GIB).to_string().as_str()));
    assert_eq!(discard(client.reader(), 2 * GIB), 2 * GIB);
    assert_is_slim(&headwater);
    headwater.wait_metric("headwater_pull_bytes_total", &[], (2 * GIB) as f64);
}

/// An origin that counts a body's bytes and answers with their number. Understands chunks of any size.
fn swallowing() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::with_capacity(MIB, stream.try_clone().unwrap());
        let mut length = None;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if let Some((name, value)) = line.split_once(": ") {
                if name.eq_ignore_ascii_case("content-length") {
                    length = Some(value.trim().parse().unwrap());
                }
            } else if line == "\r\n" {
                break;
            }
        }
        let swallowed = match length {
            Some(length) => discard(&mut reader, length),
            None => swallow_chunks(&mut reader),
        };
        let text = swallowed.to_string();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}", text.len());
        let _ = (&stream).write_all(head.as_bytes());
    });
    address
}

fn swallow_chunks(reader: &mut BufReader<TcpStream>) -> u64 {
    let mut total = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let size = u64::from_str_radix(line.trim(), 16).unwrap();
        total += discard(reader, size);
        line.clear();
        reader.read_line(&mut line).unwrap();
        if size == 0 {
            return total;
        }
    }
}

fn before(address: SocketAddr) -> Headwater {
    Headwater::start(&format!("[origin]\nservers = [\"{address}\"]\n[limits]\nmax_body = \"3 GiB\"\n"))
}

#[test]
fn two_gib_go_up_and_memory_stays_small() {
    let headwater = before(swallowing());
    let mut client = Client::connect(headwater.http);
    client.send(request("PUT", "/", &[("Content-Length", &(2 * GIB).to_string())]));
    let zeros = vec![0; MIB];
    for _ in 0..2 * GIB / MIB as u64 {
        client.send(&zeros);
    }
    assert_eq!(client.read_response().text(), (2 * GIB).to_string());
    assert_is_slim(&headwater);
}

#[test]
fn half_a_gib_goes_up_in_chunks_and_memory_stays_small() {
    let headwater = before(swallowing());
    let mut client = Client::connect(headwater.http);
    client.send(request("PUT", "/", &[("Transfer-Encoding", "chunked")]));
    let chunk = [format!("{MIB:x}\r\n").as_bytes(), &vec![0; MIB], b"\r\n"].concat();
    for _ in 0..GIB / 2 / MIB as u64 {
        client.send(&chunk);
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.read_response().text(), (GIB / 2).to_string());
    assert_is_slim(&headwater);
}

#[test]
fn a_client_that_does_not_read_holds_the_origin_back() {
    let sent = Arc::new(AtomicU64::new(0));
    let counted = sent.clone();
    let origin = Origin::with(move |_, stream| {
        let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {GIB}\r\n\r\n").as_bytes());
        while stream.write_all(&[0; 65536]).is_ok() {
            counted.fetch_add(65536, SeqCst);
        }
        Then::Close
    });
    let headwater = Headwater::before(&origin);
    let mut client = Client::connect(headwater.http);
    client.send(request("GET", "/", &[]));
    client.read_head();
    std::thread::sleep(Duration::from_secs(1));
    let after_a_second = sent.load(SeqCst);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(sent.load(SeqCst), after_a_second, "the origin sends on though nobody reads");
    // What there is lies in the kernel's buffers.
    assert!(after_a_second < 64 << 20, "{after_a_second} bytes went somewhere");
    assert_is_slim(&headwater);
}

#[test]
fn an_origin_that_does_not_read_holds_the_client_back() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let headwater = before(listener.local_addr().unwrap());
    let client = Client::connect(headwater.http);
    let mut stream = client.stream().try_clone().unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    stream.write_all(request("PUT", "/", &[("Content-Length", &GIB.to_string())]).as_bytes()).unwrap();
    let mut sent = 0_u64;
    while let Ok(count) = stream.write(&[0; 65536]) {
        sent += count as u64;
        assert!(sent < 64 << 20, "{sent} bytes went somewhere");
    }
    assert_is_slim(&headwater);
}

#[test]
fn a_slow_client_and_a_large_gzip_stay_small() {
    let origin = Origin::with(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/css\r\nTransfer-Encoding: chunked\r\n\r\n");
        let chunk = [b"100000\r\n".as_slice(), &vec![b'a'; MIB], b"\r\n"].concat();
        for _ in 0..256 {
            if stream.write_all(&chunk).is_err() {
                return Then::Close;
            }
        }
        let _ = stream.write_all(b"0\r\n\r\n");
        Then::Keep
    });
    let headwater = Headwater::before(&origin);
    let mut client = Client::connect(headwater.http);
    client.send(request("GET", "/", &[("Accept-Encoding", "gzip")]));
    let got = client.read_response();
    assert!(got.complete);
    let mut plain = flate2::read::GzDecoder::new(&got.body[..]);
    assert_eq!(discard(&mut plain, u64::MAX), 256 * MIB as u64);
    assert_is_slim(&headwater);
}
