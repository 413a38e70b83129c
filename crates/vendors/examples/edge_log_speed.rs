//! How many log lines a second one core reads: `cargo run --release -p headwater-vendors --example edge_log_speed`.

use headwater_vendors::edge_log::{Format, Outcome, Parser, Piece, Splitter};
use std::time::Instant;

const LINES: usize = 500_000;

fn main() {
    let own = |number| {
        format!(
            "{{\"time\":1700000000,\"host\":\"www.example.com\",\"status\":200,\"bytes\":5120,\"cache\":\"HIT\",\"shield\":0,\"id\":\"cache-lhr-{number:012}\"}}\n"
        )
    };
    let logpush = |number| {
        format!(
            "{{\"CacheCacheStatus\":\"hit\",\"ClientASN\":8075,\"ClientCountry\":\"nl\",\"ClientIP\":\"192.0.2.7\",\"ClientRequestBytes\":7495,\
             \"ClientRequestHost\":\"www.example.com\",\"ClientRequestMethod\":\"GET\",\"ClientRequestPath\":\"/a/listing/1234567\",\
             \"ClientRequestProtocol\":\"HTTP/2\",\"ClientRequestReferer\":\"https://www.example.com/search?q=chairs\",\"ClientRequestSource\":\"eyeball\",\
             \"ClientRequestURI\":\"/a/listing/1234567?ref=search\",\"ClientRequestUserAgent\":\"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)\",\
             \"EdgeColoCode\":\"AMS\",\"EdgeEndTimestamp\":\"2025-09-17T08:37:18Z\",\"EdgeResponseBytes\":1063,\"EdgeResponseStatus\":200,\
             \"EdgeStartTimestamp\":\"2025-09-17T08:37:18Z\",\"OriginResponseStatus\":0,\"RayID\":\"{number:016x}\",\"WorkerSubrequest\":false,\"ZoneID\":296364127}}\n"
        )
    };
    let cloudfront = |number| format!("1663583003.838\t200\t5120\twww.example.com\tid{number:052}==\tHit\n");
    let columns = ["timestamp", "sc-status", "sc-bytes", "cs-host", "x-edge-request-id", "x-edge-response-result-type"];
    let columns = columns.map(|name| (None, name.to_owned()));
    measure("NDJSON, 130 bytes a line", &Parser::new(Format::Ndjson, &[]), (0..LINES).map(own).collect());
    measure("Logpush, 22 fields", &Parser::new(Format::Cloudflare, &[]), (0..LINES).map(logpush).collect());
    measure(
        "CloudFront in real time",
        &Parser::new(Format::CloudFront, &columns),
        (0..LINES).map(cloudfront).collect(),
    );
}

fn measure(name: &str, parser: &Parser, body: String) {
    let begun = Instant::now();
    let mut reader = parser.begin();
    let mut bytes = 0;
    let mut found = 0;
    let mut take = |piece: Piece<'_>| {
        if let Piece::Line(line) = piece {
            reader.line(line, |outcome| {
                if let Outcome::Line(line) = outcome {
                    bytes += line.bytes.unwrap_or_default();
                    found += 1;
                }
            });
        }
    };
    let mut splitter = Splitter::default();
    body.as_bytes().chunks(64 << 10).for_each(|chunk| splitter.feed(chunk, &mut take));
    splitter.end(take);
    assert_eq!(found, LINES);
    let seconds = begun.elapsed().as_secs_f64();
    let (lines, mib) = (found as f64 / seconds, body.len() as f64 / seconds / f64::from(1 << 20));
    println!("{name:<26} {lines:>10.0} lines/s {mib:>7.0} MiB/s   ({bytes} bytes counted)");
}
