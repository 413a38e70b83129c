//! Clients that mean harm: each costs a bounded amount, and pulls beside it are answered.

use headwater_testkit::http2::{ENHANCE_YOUR_CALM, Http2, flag, frame, head, kind, number};
use headwater_testkit::{
    Apache, Client, Headwater, Origin, Then, answer, exchange, get, raise_descriptors, request, wait_until,
};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

fn before(origin: &Origin, more: &str) -> Headwater {
    Headwater::start_with(&(origin.config() + more), &["--set", "listen.http2=all"], &[])
}

fn quick() -> Origin {
    Origin::answering(answer("200 OK", &[], "ok"))
}

/// Somebody who pulls all the while, and how it fares.
struct Beside {
    stop: Arc<AtomicBool>,
    slowest: Arc<AtomicU64>,
    pulls: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Beside {
    fn pulling(address: SocketAddr) -> Self {
        let (stop, slowest, pulls) =
            (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let (stopped, slow, count) = (stop.clone(), slowest.clone(), pulls.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(SeqCst) {
                let begun = Instant::now();
                assert_eq!(get(address, "/beside", &[]).status, 200);
                slow.fetch_max(begun.elapsed().as_millis() as u64, SeqCst);
                count.fetch_add(1, SeqCst);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Self { stop, slowest, pulls, thread: Some(thread) }
    }

    /// Whether every pull was answered, and none took seconds.
    fn fared_well(mut self) {
        self.stop.store(true, SeqCst);
        self.thread.take().unwrap().join().expect("every pull beside the flood is answered");
        assert!(self.pulls.load(SeqCst) > 0);
        let slowest = self.slowest.load(SeqCst);
        assert!(slowest < 2000, "a pull beside the flood took {slowest} ms");
    }
}

/// Sends pieces until the other side ends the connection; the error that it ended it with, if it said one.
fn flood(client: &mut Http2, mut piece: impl FnMut(u32) -> Vec<u8>, most: u32) -> Option<u32> {
    let mut listener = client.listener();
    let goodbye = std::thread::spawn(move || listener.read_until(|frame| frame.kind == kind::GOAWAY));
    let ended = (0..most).any(|n| !client.send(&piece(n)));
    let goodbye = goodbye.join().unwrap();
    assert!(ended || goodbye.is_some(), "the flood was taken to its end");
    goodbye.map(|frame| frame.error())
}

#[test]
fn rapid_reset_ends_the_connection() {
    let origin = quick();
    let headwater = before(&origin, "");
    let beside = Beside::pulling(headwater.http);
    let mut client = Http2::connect(headwater.http, &[]);
    let error = flood(
        &mut client,
        |n| {
            let head =
                frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, n * 2 + 1, &head("GET", "/reset", &[]));
            [head, frame(kind::RST_STREAM, 0, n * 2 + 1, &8_u32.to_be_bytes())].concat()
        },
        200_000,
    );
    assert!(error.is_none_or(|error| error == ENHANCE_YOUR_CALM), "{error:?}");
    beside.fared_well();
    let asked = origin.requests().iter().filter(|request| request.target == "/reset").count();
    assert!(asked < 400, "the origin was asked {asked} times");
    headwater.wait_metric("headwater_downstream_connections", &[], 0.0);
    headwater.wait_metric("headwater_pulls_in_flight", &[], 0.0);
    headwater.wait_metric("headwater_http2_floods_total", &[], 1.0);
}

#[test]
fn streams_that_are_broken_off_once_the_origin_has_been_asked_are_bounded_too() {
    // Each is under way when it is reset, so the library below does not count it.
    let origin = Origin::with(|_, stream| {
        std::thread::sleep(Duration::from_millis(20));
        let _ = stream.write_all(&answer("200 OK", &[], "ok"));
        Then::Close
    });
    let headwater = before(&origin, "");
    let mut client = Http2::connect(headwater.http, &[]);
    let mut ended = false;
    for n in 0..400_u32 {
        ended |= !client.get(n * 2 + 1, "/reset", &[]);
        std::thread::sleep(Duration::from_millis(2));
        ended |= !client.send(&frame(kind::RST_STREAM, 0, n * 2 + 1, &8_u32.to_be_bytes()));
        if ended {
            break;
        }
    }
    let goodbye = client.read_until(|frame| frame.kind == kind::GOAWAY);
    assert!(ended || goodbye.is_some_and(|frame| frame.error() == ENHANCE_YOUR_CALM));
    headwater.wait_metric("headwater_http2_floods_total", &[("kind", "resets")], 1.0);
    assert!(origin.requests().len() < 300, "{}", origin.requests().len());
}

#[test]
fn endless_continuation_ends_the_connection() {
    let origin = quick();
    let headwater = before(&origin, "");
    let beside = Beside::pulling(headwater.http);
    let resting = headwater.memory_kib("VmRSS");
    let mut client = Http2::connect(headwater.http, &[]);
    client.send(&frame(kind::HEADERS, flag::END_STREAM, 1, &head("GET", "/", &[])));
    let field = head("GET", "/", &[("x-more", &"y".repeat(1000))]);
    // The part behind the pseudo-header fields.
    let more = field[field.len() - 1012..].to_vec();
    flood(&mut client, |_| frame(kind::CONTINUATION, 0, 1, &more), 100_000);
    beside.fared_well();
    assert!(headwater.memory_kib("VmRSS") < resting + (16 << 10));
}

#[test]
fn frames_that_ask_for_nothing_end_the_connection() {
    let origin = quick();
    let headwater = before(&origin, "");
    let beside = Beside::pulling(headwater.http);
    let ping = frame(kind::PING, 0, 0, b"12345678").repeat(100);
    let settings = frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff]).repeat(100);
    let window = frame(kind::WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()).repeat(100);
    let unknown = frame(0x42, 0, 0, &[0; 100]).repeat(20);
    for (count, piece) in [ping, settings, window, unknown].into_iter().enumerate() {
        let mut client = Http2::connect(headwater.http, &[]);
        let error = flood(&mut client, |_| piece.clone(), 20_000);
        assert!(error.is_none_or(|error| error == ENHANCE_YOUR_CALM), "{count}: {error:?}");
        headwater.wait_metric("headwater_http2_floods_total", &[("kind", "frames")], count as f64 + 1.0);
    }
    beside.fared_well();
}

#[test]
fn empty_and_tiny_data_frames_end_the_connection() {
    let origin = quick();
    let headwater = before(&origin, "");
    let beside = Beside::pulling(headwater.http);
    for piece in [frame(kind::DATA, 0, 1, b"").repeat(50), frame(kind::DATA, 0, 1, b"x").repeat(50)] {
        let mut client = Http2::connect(headwater.http, &[]);
        client.send(&frame(kind::HEADERS, flag::END_HEADERS, 1, &head("POST", "/", &[])));
        flood(&mut client, |_| piece.clone(), 100_000);
    }
    beside.fared_well();
}

#[test]
fn a_small_block_that_unfolds_into_a_large_head_is_refused() {
    let origin = quick();
    let headwater = before(&origin, "");
    let resting = headwater.memory_kib("VmRSS");
    let mut client = Http2::connect(headwater.http, &[]);
    // One cookie of 4,000 bytes goes into the table; each further byte stands for it again.
    let mut block = head("GET", "/", &[]);
    block.push(0x40);
    number(&mut block, 0, 7, 6);
    block.extend(b"cookie");
    number(&mut block, 0, 7, 4000);
    block.extend([b'c'; 4000]);
    block.extend([0xbe].repeat(12_000));
    for stream in 0..50 {
        if !client.send(&frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, stream * 2 + 1, &block)) {
            break;
        }
    }
    let heard = client.read_until(|frame| {
        frame.kind == kind::HEADERS || frame.kind == kind::GOAWAY || frame.kind == kind::RST_STREAM
    });
    assert!(heard.is_none_or(|frame| !frame.is_200()));
    assert_eq!(get(headwater.http, "/", &[]).status, 200);
    let grown = headwater.memory_kib("VmRSS").saturating_sub(resting);
    assert!(grown < 32 << 10, "{grown} KiB");
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn more_streams_than_are_allowed_are_refused() {
    let origin = Origin::with(|_, stream| {
        std::thread::sleep(Duration::from_millis(300));
        let _ = stream.write_all(&answer("200 OK", &[], "ok"));
        Then::Keep
    });
    let headwater = before(&origin, "[limits]\nmax_streams = 5\n");
    let mut client = Http2::connect(headwater.http, &[]);
    for n in 0..8 {
        client.get(n * 2 + 1, "/", &[]);
    }
    let (mut served, mut refused) = (0, 0);
    while served + refused < 8 {
        let frame = client.read().expect("each is answered or refused");
        served += u32::from(frame.is_200());
        refused += u32::from(frame.kind == kind::RST_STREAM && frame.error() == 7);
    }
    assert_eq!((served, refused), (5, 3));
}

#[test]
fn a_preface_that_drips_runs_into_the_deadline() {
    let origin = quick();
    let headwater = before(&origin, "[limits]\nheader_timeout = \"500ms\"\nidle_timeout = \"800ms\"\n");
    let mut client = Client::connect(headwater.http);
    client.send("PRI * HTTP/2.0\r\n");
    let begun = Instant::now();
    assert!(client.is_closed());
    assert!(begun.elapsed() < Duration::from_secs(5));
    let mut client = Client::connect(headwater.http);
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    let begun = Instant::now();
    while !client.read_some().is_empty() {}
    assert!(begun.elapsed() < Duration::from_secs(5), "a client that never sends its settings");
}

#[test]
fn slow_heads_slow_bodies_and_slow_readers_do_not_keep_others_out() {
    let large = answer("200 OK", &[], vec![7; 4 << 20]);
    let origin = Origin::with(move |request, stream| {
        let _ = stream.write_all(if request.target == "/large" { &large } else { b"HTTP/1.1 204 No\r\n\r\n" });
        Then::Keep
    });
    let limits = "[limits]\nheader_timeout = \"2s\"\nbody_idle_timeout = \"2s\"\nidle_timeout = \"2s\"\n";
    let headwater = Headwater::before_with(&origin, limits);
    let mut slow: Vec<Client> = (0..300).map(|_| Client::connect(headwater.http)).collect();
    for (n, client) in slow.iter_mut().enumerate() {
        client.send(match n % 3 {
            0 => "GET / HTTP/1.1\r\nHost: a\r\nX: ".into(),
            1 => "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n1".into(),
            _ => request("GET", "/large", &[]),
        });
    }
    headwater.wait_metric("headwater_downstream_connections", &[], 300.0);
    let begun = Instant::now();
    for _ in 0..50 {
        assert_eq!(get(headwater.http, "/", &[]).status, 204);
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    headwater.wait_metric("headwater_downstream_connections", &[], 0.0);
    headwater.wait_metric("headwater_pulls_in_flight", &[], 0.0);
}

#[test]
fn a_storm_of_ranges_is_not_passed_on() {
    let apache = Apache::start("", &[("large.bin", &[7; 100_000])]);
    let config = format!("[origin]\nservers = [\"{}\"]\n", apache.address());
    let headwater = Headwater::start(&config);
    let ranges = |count: usize| (0..count).map(|n| format!("{n}-{n}")).collect::<Vec<_>>().join(",");
    let few = get(headwater.http, "/large.bin", &[("Range", &format!("bytes={}", ranges(5)))]);
    assert_eq!(few.status, 206);
    let storm = get(headwater.http, "/large.bin", &[("Range", &format!("bytes={}", ranges(17)))]);
    assert_eq!((storm.status, storm.body.len()), (200, 100_000));
    let split = format!(
        "GET /large.bin HTTP/1.1\r\nHost: a\r\nRange: bytes={}\r\nRange: bytes={}\r\n\r\n",
        ranges(10),
        ranges(10)
    );
    assert_eq!(exchange(headwater.http, split).status, 200, "two lines are one list");
    let own = Headwater::start(&format!("{config}[limits]\nmax_ranges = 100\n"));
    assert_eq!(get(own.http, "/large.bin", &[("Range", &format!("bytes={}", ranges(17)))]).status, 206);
}

#[test]
fn twenty_thousand_idle_connections_cost_little() {
    // Of a machine's limit, this process and Headwater's leave a little for what else they have open.
    let limit = raise_descriptors(9000) as usize;
    let count = (limit - 500).min(20_000);
    let origin = quick();
    let headwater = Headwater::start(&format!(
        "[origin]\nservers = [\"{}\"]\n[limits]\nmax_connections = 21_000\n",
        origin.address
    ));
    assert_eq!(get(headwater.http, "/", &[]).status, 200);
    let resting = headwater.memory_kib("VmRSS");
    let idle = open(headwater.http, count);
    wait_until("all are taken", || headwater.metrics().value("headwater_downstream_connections", &[]) >= count as f64);
    let grown = headwater.memory_kib("VmRSS") - resting;
    assert!(grown < count as u64 * 4, "{grown} KiB for {count} connections");
    let begun = Instant::now();
    for _ in 0..20 {
        assert_eq!(get(headwater.http, "/", &[]).status, 200);
    }
    assert!(begun.elapsed() < Duration::from_secs(2));
    drop(idle);
    headwater.wait_metric("headwater_downstream_connections", &[], 0.0);
}

fn open(address: SocketAddr, count: usize) -> Vec<std::net::TcpStream> {
    (0..count).map(|_| std::net::TcpStream::connect(address).expect("a connection")).collect()
}
