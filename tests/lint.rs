//! Every kind of answer of ours, read by a linter of HTTP that knows the RFCs better than we do.

use headwater_testkit::{Client, Headwater, Origin, Then, request};
use std::io::Write;
use std::process::{Command, Stdio};

const LINTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/test-tools/venv/bin/httplint");

fn lint(name: &str, raw: &[u8]) {
    assert!(std::path::Path::new(LINTER).exists(), "httplint is missing: run `make test-tools`");
    let mut child = Command::new(LINTER).arg("-n").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(raw).unwrap();
    let said = String::from_utf8_lossy(&child.wait_with_output().unwrap().stdout).into_owned();
    assert!(
        !said.trim().is_empty() && !said.contains("[BAD]"),
        "{name}:\n{}\n{said}",
        String::from_utf8_lossy(&raw[..raw.len().min(600)])
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
        "{}[[rule]]\nname = \"r\"\npath = '^/page'\ncache_control = \"max-age=60\"\n[limits]\nmax_body = \"10 B\"\n",
        origin.config()
    );
    let proxy = Headwater::start(&config);
    let denying = Headwater::start(&format!("{config}[identify]\nuntagged = \"deny\"\n"));
    let gzip = ("Accept-Encoding", "gzip");
    let close = ("Connection", "close");
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("200", request("GET", "/page", &[close]).into()),
        ("200 gzip", request("GET", "/page", &[gzip, close]).into()),
        ("HEAD gzip", request("HEAD", "/page", &[gzip, close]).into()),
        ("304", request("GET", "/page", &[gzip, ("If-None-Match", "W/\"abc\""), close]).into()),
        ("206", request("GET", "/page", &[gzip, ("Range", "bytes=0-9"), close]).into()),
        ("404", request("GET", "/none", &[close]).into()),
        ("whoopsie", request("GET", "/boom", &[("Accept", "text/html"), close]).into()),
        ("whoopsie gzip", request("GET", "/boom", &[("Accept", "text/html"), gzip, close]).into()),
        ("whoopsie json", request("GET", "/boom", &[("Accept", "application/json"), close]).into()),
        ("beacon", request("GET", "/status/images/beacon.gif?source=x", &[close]).into()),
        ("beacon post", request("POST", "/status/images/beacon.gif", &[("Content-Length", "0"), close]).into()),
        (
            "reports",
            b"POST /status/reports HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: close\r\n\r\n[]".to_vec(),
        ),
        ("405", request("DELETE", "/status/reports", &[close]).into()),
        ("400", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("413", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n".to_vec()),
        ("431", request("GET", "/", &[("A", &"x".repeat(40_000))]).into()),
        ("501", b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n".to_vec()),
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
        lint(name, &raw(proxy.http, bytes));
    }
    lint("403", &raw(denying.http, request("GET", "/", &[close]).as_bytes()));
}
