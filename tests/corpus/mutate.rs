//! The corpus, changed at random: what neither the oracle's author nor the product's has thought of.

use super::{House, cases};
use fastrand::Rng;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// Seconds, unless `CHANCE_SECONDS` says otherwise.
const PATIENCE: u64 = 8;
const THREADS: u64 = 8;

const PIECES: [&[u8]; 32] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b"\0",
    b" ",
    b"\t",
    b"\x0b",
    b"\x7f",
    b"\xa0",
    b":",
    b",",
    b";",
    b"\"",
    b"-",
    b"_",
    b"0",
    b"0\r\n\r\n",
    b"5\r\nhello\r\n",
    b"chunked",
    b"close",
    b"keep-alive",
    b"http://shop.example",
    b"Host: shop.example\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"Connection: keep-alive, Content-Length\r\n",
    b"Expect: 100-continue\r\n",
    b"X-Forwarded-For: 192.0.2.66\r\n",
    b"GET /smuggled HTTP/1.1\r\nHost: shop.example\r\n\r\n",
];

fn change(bytes: &mut Vec<u8>, others: &[Vec<u8>], random: &mut Rng) {
    let at = random.usize(..=bytes.len());
    let end = (at + 1 + random.usize(..8)).min(bytes.len());
    match random.u8(..9) {
        0 => drop(bytes.drain(at..end)),
        1 => bytes.insert(at, random.u8(..)),
        2 if at < bytes.len() => bytes[at] = random.u8(..),
        3 if at < bytes.len() => bytes[at] ^= 1 << random.u8(..8),
        4 => drop(bytes.splice(at..at, bytes[at..end].to_vec().repeat(2))),
        // A line again, or elsewhere.
        5 | 6 => {
            let lines: Vec<Vec<u8>> = bytes.split_inclusive(|&b| b == b'\n').map(<[u8]>::to_vec).collect();
            let mut lines = lines;
            if !lines.is_empty() {
                let line = lines[random.usize(..lines.len())].clone();
                lines.insert(random.usize(..=lines.len()), line);
                if random.bool() {
                    lines.remove(random.usize(..lines.len()));
                }
                *bytes = lines.concat();
            }
        }
        7 => {
            let other = &others[random.usize(..others.len())];
            let from = random.usize(..=other.len());
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
        _ => drop(bytes.splice(at..at, PIECES[random.usize(..PIECES.len())].iter().copied())),
    }
}

/// Takes out what the failure does not need.
fn shrink(house: &House, bytes: Vec<u8>) -> Vec<u8> {
    let mut least = bytes;
    let mut step = least.len() / 2;
    let deadline = Instant::now() + Duration::from_secs(20);
    while step > 0 && Instant::now() < deadline {
        let mut at = 0;
        while at + step <= least.len() {
            let fewer = [&least[..at], &least[at + step..]].concat();
            if house.try_out(&fewer).is_err() {
                least = fewer;
            } else {
                at += step;
            }
        }
        step /= 2;
    }
    least
}

#[test]
fn what_chance_makes_of_the_cases_is_read_as_a_strict_reader_reads_it() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let patience = Duration::from_secs(number("CHANCE_SECONDS").unwrap_or(PATIENCE));
    let seed = number("CHANCE_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("CHANCE_SEED={seed}");
    let small: Vec<Vec<u8>> =
        cases::all().into_iter().map(|case| case.bytes).filter(|bytes| bytes.len() < 1000).collect();
    let house = House::new();
    let tried = AtomicUsize::new(0);
    let failed = Mutex::new(None);
    let deadline = Instant::now() + patience;
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (house, small, tried, failed) = (&house, &small, &tried, &failed);
            scope.spawn(move || {
                let mut random = Rng::with_seed(seed.wrapping_add(thread));
                while Instant::now() < deadline && failed.lock().unwrap().is_none() {
                    let mut bytes = small[random.usize(..small.len())].clone();
                    for _ in 0..=random.u8(..4) {
                        change(&mut bytes, small, &mut random);
                    }
                    tried.fetch_add(1, SeqCst);
                    if house.try_out(&bytes).is_err() {
                        failed.lock().unwrap().get_or_insert(bytes);
                    }
                }
            });
        }
    });
    let tried = tried.into_inner();
    println!("{tried} variants in {patience:?}");
    if let Some(bytes) = failed.into_inner().unwrap() {
        let least = shrink(&house, bytes);
        let why = house.try_out(&least).err().unwrap_or_else(|| "(it does not happen again)".into());
        panic!("CHANCE_SEED={seed}: \"{}\"\n{why}", least.escape_ascii());
    }
    let rubbish = house.origin.rubbish();
    assert!(rubbish.is_empty(), "CHANCE_SEED={seed}: the origin got \"{}\"", rubbish[0].1.escape_ascii());
    assert!(tried > 100, "only {tried} variants were tried");
}
