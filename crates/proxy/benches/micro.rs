//! The pieces that every pull pays for, each alone.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use headwater_proxy::micro;
use std::hint::black_box;

const REQUEST: &[u8] =
    b"GET /assets/app-4f3c2a.js?v=3 HTTP/1.1\r\nHost: shop.example.com\r\nX-CDN-Provider: fastly\r\n\
X-CDN-Secret: 0123456789abcdef0123456789abcdef\r\nFastly-Client-IP: 192.0.2.7\r\nFastly-FF: x!LHR!cache-lhr-1\r\n\
X-Forwarded-For: 192.0.2.7\r\nAccept-Encoding: gzip\r\nAccept: */*\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n\
If-None-Match: W/\"abc\"\r\nVia: 1.1 varnish\r\n\r\n";

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nDate: Mon, 23 Nov 2026 10:00:00 GMT\r\nServer: Apache\r\n\
Last-Modified: Sun, 22 Nov 2026 10:00:00 GMT\r\nETag: \"abc\"\r\nAccept-Ranges: bytes\r\nContent-Length: 153600\r\n\
Cache-Control: max-age=60\r\nVary: Cookie\r\nContent-Type: application/javascript\r\n\r\n";

const CONFIG: &str = r#"
[origin]
servers = ["127.0.0.1:8000"]
[[cdn]]
name = "fastly"
kind = "fastly"
secret = { header = "X-CDN-Secret", values = ["0123456789abcdef0123456789abcdef"] }
"#;

fn pieces(c: &mut Criterion) {
    let (policy, _) = headwater_config::from_text("bench", CONFIG);
    let Some(policy) = policy else { return };
    c.bench_function("read a request's head", |b| b.iter(|| micro::read_request(black_box(REQUEST))));
    c.bench_function("read an answer's head", |b| b.iter(|| micro::read_response(black_box(RESPONSE))));
    c.bench_function("prove the provider", |b| {
        let request = micro::Request::read(REQUEST);
        b.iter(|| micro::identify(black_box(&request), &policy));
    });
    c.bench_function("match the rule", |b| b.iter(|| policy.rules.matching(black_box(b"/assets/app-4f3c2a.js"))));
    c.bench_function("negotiate the coding", |b| {
        let request = micro::Request::read(REQUEST);
        b.iter(|| micro::accepts_gzip(black_box(&request)));
    });
    c.bench_function("find a network among Fastly's and CloudFront's", |b| {
        let text = CONFIG.replace("secret", "networks = [\"fastly\", \"cloudfront\"]\nsecret");
        let Some(policy) = headwater_config::from_text("bench", &text).0 else { return };
        b.iter(|| policy.providers[0].networks.contains(black_box([151, 101, 1, 1].into())));
    });
    let mut gzip = c.benchmark_group("gzip");
    let items =
        (0..2500_u32).map(|n| format!("<li class=item id=i{n}><a href=/listing/{}>{n}</a>\n", n.wrapping_mul(n)));
    let page = items.collect::<String>().into_bytes();
    gzip.throughput(Throughput::Bytes(page.len() as u64));
    for level in [1, 6, 9] {
        gzip.bench_function(format!("level {level}"), |b| b.iter(|| micro::gzip(black_box(&page), level)));
    }
    gzip.finish();
}

criterion_group!(benches, pieces);
criterion_main!(benches);
