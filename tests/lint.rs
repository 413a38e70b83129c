//! Every kind of answer of ours, read by a linter of HTTP that knows the RFCs better than we do.

use headwater_testkit::{Client, Headwater, Origin, Then, request};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};

const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/test-tools/venv/bin/python");
/// The linter is told of the request, which some of its judgements need.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/lint_exchange.py");

/// What the linter says of every answer with a status, whatever stands in it: it means the status itself.
const OF_THE_STATUS: [(&str, &str); 1] = [("505", "* [BAD] The request HTTP version isn't supported.")];

/// The name begins with the status that is expected.
fn lint(name: &str, request: &[u8], raw: &[u8]) {
    let status = name.split(' ').next().unwrap();
    let head = String::from_utf8_lossy(&raw[..raw.len().min(600)]).into_owned();
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{name}:\n{head}");
    assert!(std::path::Path::new(PYTHON).exists(), "httplint is missing: run `make test-tools`");
    let request = std::ffi::OsStr::from_bytes(request);
    let mut child =
        Command::new(PYTHON).arg(SCRIPT).arg(request).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(raw).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let is_bad = |line: &&str| line.contains("[BAD]") && !OF_THE_STATUS.contains(&(status, line));
    assert!(
        output.status.success() && !said.trim().is_empty() && !said.lines().any(|line| is_bad(&line)),
        "{name}:\n{head}\n{said}"
    );
}

#[test]
fn no_answer_of_ours_is_bad() {
    let origin = Origin::with(|request, stream| {
        let date = "Last-Modified: Sun, 22 Nov 2026 10:00:00 GMT\r\nETag: \"abc\"\r\n";
        let body = "<p>hello</p>".repeat(200);
        let answer = match request.target.as_str() {
            _ if request.header("If-None-Match").is_some() => format!("HTTP/1.1 304 Not Modified\r\n{date}\r\n"),
            _ if request.header("Range").is_some() => {
                format!(
                    "HTTP/1.1 206 Partial Content\r\n{date}Content-Type: text/html\r\nContent-Range: bytes 0-9/2400\r\nContent-Length: 10\r\n\r\n{}",
                    &body[..10]
                )
            }
            "/none" => {
                format!("HTTP/1.1 404 Not Found\r\n{date}Content-Type: text/html\r\nContent-Length: 4\r\n\r\nnone")
            }
            "/boom" => format!("HTTP/1.1 503 Busy\r\n{date}Retry-After: 5\r\nContent-Length: 0\r\n\r\n"),
            _ => {
                let sent = if request.method == "HEAD" { "" } else { body.as_str() };
                format!(
                    "HTTP/1.1 200 OK\r\n{date}Content-Type: text/html\r\nAccept-Ranges: bytes\r\nContent-Length: 2400\r\n\r\n{sent}"
                )
            }
        };
        let _ = stream.write_all(answer.as_bytes());
        Then::Keep
    });
    let config = format!(
        "{}[[rule]]\nname = \"r\"\npath = '^/page'\ncache_control = \"max-age=60\"\n[limits]\nmax_body = \"10 B\"\nheader_timeout = \"500ms\"\nbody_idle_timeout = \"500ms\"\nstranger_rate = 1\n",
        origin.config()
    );
    let proxy = Headwater::start(&config);
    let denying = Headwater::start(&format!("{config}[identify]\nuntagged = \"deny\"\n"));
    let gzip = ("Accept-Encoding", "gzip");
    let close = ("Connection", "close");
    let preflight = [
        ("Origin", "https://b"),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "content-type"),
        close,
    ];
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("200", request("GET", "/page", &[close]).into()),
        ("200 gzip", request("GET", "/page", &[gzip, close]).into()),
        ("200 HEAD gzip", request("HEAD", "/page", &[gzip, close]).into()),
        ("304", request("GET", "/page", &[gzip, ("If-None-Match", "W/\"abc\""), close]).into()),
        ("206", request("GET", "/page", &[gzip, ("Range", "bytes=0-9"), close]).into()),
        ("404", request("GET", "/none", &[close]).into()),
        ("503 whoopsie", request("GET", "/boom", &[("Accept", "text/html"), close]).into()),
        ("503 whoopsie gzip", request("GET", "/boom", &[("Accept", "text/html"), gzip, close]).into()),
        ("503 whoopsie json", request("GET", "/boom", &[("Accept", "application/json"), close]).into()),
        ("200 beacon", request("GET", "/status/images/beacon.gif?source=x", &[close]).into()),
        ("204 beacon post", request("POST", "/status/images/beacon.gif", &[("Content-Length", "0"), close]).into()),
        (
            "204 reports",
            b"POST /status/reports HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: close\r\n\r\n[]".to_vec(),
        ),
        (
            "204 reports from elsewhere",
            b"POST /status/reports HTTP/1.1\r\nHost: a\r\nOrigin: https://b\r\nContent-Length: 2\r\nConnection: close\r\n\r\n[]"
                .to_vec(),
        ),
        ("204 beacon preflight", request("OPTIONS", "/status/images/beacon.gif", &preflight).into()),
        ("204 reports preflight", request("OPTIONS", "/status/reports", &preflight).into()),
        ("204 beacon options", request("OPTIONS", "/status/images/beacon.gif", &[close]).into()),
        ("405", request("DELETE", "/status/reports", &[close]).into()),
        ("400", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("413", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n".to_vec()),
        ("417", request("GET", "/", &[("Expect", "wonders"), close]).into()),
        ("408 head", b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec()),
        ("408 body", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx".to_vec()),
        ("431", request("GET", "/", &[("A", &"x".repeat(40_000))]).into()),
        ("501", b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n".to_vec()),
        ("505", b"GET / HTTP/3.0\r\nHost: a\r\n\r\n".to_vec()),
    ];
    let raw = |address, bytes: &[u8]| {
        let mut client = Client::connect(address);
        client.send(bytes);
        let mut raw = Vec::new();
        loop {
            let some = client.read_some();
            if some.is_empty() {
                return raw;
            }
            raw.extend(some);
        }
    };
    for (name, bytes) in &cases {
        lint(name, bytes, &raw(proxy.http, bytes));
    }
    let asked = request("GET", "/", &[close]);
    lint("403", asked.as_bytes(), &raw(denying.http, asked.as_bytes()));
    // This machine's own addresses have no bound: the pulls come from elsewhere.
    let crowded = Headwater::start_with(&config, &["--set", "listen.proxy_protocol_from=[\"127.0.0.1/32\"]"], &[]);
    let from_elsewhere = format!("PROXY TCP4 203.0.113.1 198.51.100.1 4711 80\r\n{asked}");
    let too_many =
        (0..20).map(|_| raw(crowded.http, from_elsewhere.as_bytes())).find(|raw| raw.starts_with(b"HTTP/1.1 429"));
    lint("429", asked.as_bytes(), &too_many.expect("a second has one pull"));
}
