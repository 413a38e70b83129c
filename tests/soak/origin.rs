//! An origin that does what the target says, whole and broken.

use headwater_testkit::{Origin, Recorded, Then, Wire, answer};
use std::time::Duration;

/// Text of that length, the same for the same seed: compressible, and unlike any other.
pub fn text(seed: u64, length: usize) -> Vec<u8> {
    let line = format!("{seed:016x} All the world's a stage, and all the men and women merely players.\n");
    line.bytes().cycle().skip(seed as usize % 60).take(length).collect()
}

/// `?n=7&seed=5&length=100` as numbers.
pub fn number(target: &str, key: &str) -> u64 {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let value = query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}

pub fn start() -> Origin {
    Origin::with(behave)
}

fn behave(request: &Recorded, stream: &mut dyn Wire) -> Then {
    let target = request.target.as_str();
    let (path, _) = target.split_once('?').unwrap_or((target, ""));
    let body = text(number(target, "seed"), number(target, "length") as usize);
    let kind = if target.contains("binary") { "application/octet-stream" } else { "text/plain" };
    let headers = [("Content-Type", kind), ("ETag", "\"soak\"")];
    let whole = answer("200 OK", &headers, &body);
    let head = whole.len() - body.len();
    match path {
        "/whole" | "/slow" | "/close" | "/leave" if request.method == "HEAD" => {
            let _ = stream.write_all(&whole[..head]);
            return Then::Keep;
        }
        "/whole" if request.has("Range") => {
            let range = format!("bytes 0-99/{}", body.len());
            let headers = [("Content-Type", kind), ("Content-Range", range.as_str())];
            let _ = stream.write_all(&answer("206 Partial Content", &headers, &body[..100]));
        }
        "/whole" => drop(stream.write_all(&whole)),
        "/slow" => {
            std::thread::sleep(Duration::from_millis(number(target, "wait")));
            let half = head + body.len() / 2;
            let _ = stream.write_all(&whole[..half]);
            std::thread::sleep(Duration::from_millis(20));
            let _ = stream.write_all(&whole[half..]);
        }
        "/chunks" | "/broken-chunks" => {
            let _ = stream.write_all(
                format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n").as_bytes(),
            );
            for chunk in body.chunks(7000) {
                let _ = stream.write_all(format!("{:x}\r\n", chunk.len()).as_bytes());
                let _ = stream.write_all(chunk);
                let _ = stream.write_all(b"\r\n");
            }
            if path == "/broken-chunks" {
                return Then::Close;
            }
            let _ = stream.write_all(b"0\r\n\r\n");
        }
        "/close" => {
            let headers = [("Content-Type", kind), ("Connection", "close")];
            let _ = stream.write_all(&answer("200 OK", &headers, &body));
            return Then::Close;
        }
        "/leave" => {
            let _ = stream.write_all(&whole);
            return Then::Close;
        }
        "/error" => {
            let headers = [("Content-Type", "text/html"), ("Retry-After", "1")];
            let _ = stream.write_all(&answer("500 Internal Server Error", &headers, "<p>oh"));
        }
        "/upload" => {
            let sum = request.body.iter().fold(0_u64, |sum, &byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
            let text = format!("{} {sum} {}", request.body.len(), request.complete);
            let _ = stream.write_all(&answer("200 OK", &headers, text));
        }
        "/reset" => return Then::Reset,
        "/nothing" => return Then::Close,
        "/half-head" => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Le");
            return Then::Close;
        }
        "/junk" => {
            let _ = stream.write_all(b"nonsense\r\n\r\n");
            return Then::Close;
        }
        "/short" => {
            let _ = stream.write_all(&whole[..head + body.len() / 2]);
            return if number(target, "seed").is_multiple_of(2) { Then::Close } else { Then::Reset };
        }
        _ => drop(stream.write_all(&answer("404 Not Found", &[], "no such fault"))),
    }
    Then::Keep
}
