//! Bodies pass through and are never held.

use headwater_testkit::{Client, Headwater, Origin, Then, request};
use std::io::{Read, Write};
use std::time::Duration;

const SIZE: u64 = 2 << 30;
const MOST_KIB: u64 = 64 << 10;

#[test]
fn two_gibibytes_down_pass_in_little_memory() {
    let origin = Origin::with(|_, stream| {
        let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n").as_bytes());
        let block = vec![0; 1 << 20];
        for _ in 0..SIZE >> 20 {
            if stream.write_all(&block).is_err() {
                break;
            }
        }
        Then::Keep
    });
    let proxy = Headwater::start(&origin.config());
    let mut client = Client::connect(proxy.http);
    client.send(request("GET", "/", &[]));
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(client.read_bytes(1));
    }
    let mut reader = client.reader().take(SIZE);
    let mut block = vec![0; 1 << 20];
    let mut total = 0;
    while let Ok(count @ 1..) = reader.read(&mut block) {
        total += count as u64;
    }
    assert_eq!(total, SIZE);
    assert!(proxy.memory_kib("VmHWM") < MOST_KIB, "{} KiB", proxy.memory_kib("VmHWM"));
    proxy.wait_metric("headwater_pull_bytes_total", &[], SIZE as f64);
}

#[test]
fn two_gibibytes_up_pass_in_little_memory() {
    let origin = Origin::with_heads(|_, stream| {
        let mut block = vec![0; 1 << 20];
        let mut total = 0;
        while total < SIZE {
            match stream.read(&mut block) {
                Ok(count @ 1..) => total += count as u64,
                _ => break,
            }
        }
        let _ = stream.write_all(
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{total}", total.to_string().len()).as_bytes(),
        );
        Then::Close
    });
    let proxy = Headwater::start(&format!("{}[limits]\nmax_body = \"3 GiB\"\n", origin.config()));
    let mut client = Client::connect(proxy.http);
    client.send(format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n"));
    let mut stream = client.stream().try_clone().unwrap();
    let block = vec![0; 1 << 20];
    for _ in 0..SIZE >> 20 {
        stream.write_all(&block).unwrap();
    }
    assert_eq!(client.read_response().text(), SIZE.to_string());
    assert!(proxy.memory_kib("VmHWM") < MOST_KIB, "{} KiB", proxy.memory_kib("VmHWM"));
}

#[test]
fn a_slow_reader_of_a_large_body_costs_no_memory() {
    let origin = Origin::with(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n");
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(65536));
        while stream.write_all(chunk.as_bytes()).is_ok() {}
        Then::Close
    });
    let proxy = Headwater::start(&origin.config());
    let clients: Vec<Client> = (0..8)
        .map(|_| {
            let mut client = Client::connect(proxy.http);
            client.send(request("GET", "/", &[]));
            client.read_bytes(1000);
            client
        })
        .collect();
    std::thread::sleep(Duration::from_millis(700));
    assert!(proxy.memory_kib("VmHWM") < MOST_KIB, "{} KiB", proxy.memory_kib("VmHWM"));
    drop(clients);
}
