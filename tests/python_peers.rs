//! Peers that know their protocol better than a test does: Python's `websockets` and `h2`.

use crate::tls::{Place, start, tls};
use headwater_testkit::{Headwater, Origin, Then};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

/// The Python that has the packages; `make test-tools` makes it.
fn python() -> PathBuf {
    let python = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/test-tools/venv/bin/python"));
    assert!(python.exists(), "there is no {}: run `make test-tools`", python.display());
    python
}

fn script(name: &str) -> String {
    format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// The server behind and the client before, in one process.
struct WebSockets {
    child: Child,
    said: BufReader<ChildStdout>,
    port: u16,
}

impl WebSockets {
    fn start() -> Self {
        let mut child = Command::new(python())
            .arg(script("websockets_through.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        Self { child, said, port: line.trim().parse().expect("the server's port") }
    }

    /// Talks through the proxy; what the client says of it.
    fn talk(mut self, url: &str, authority: Option<&str>) -> serde_json::Value {
        let told = serde_json::json!([url, authority]);
        self.child.stdin.take().unwrap().write_all(format!("{told}\n").as_bytes()).unwrap();
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        assert!(self.child.wait().unwrap().success());
        serde_json::from_str(&line).unwrap()
    }
}

#[test]
fn websockets_talk_through_the_proxy() {
    let sockets = WebSockets::start();
    let config = format!("[origin]\nservers = [\"127.0.0.1:{}\"]\n", sockets.port);
    let headwater = Headwater::start(&config);
    let heard = sockets.talk(&format!("ws://{}/chat", headwater.http), None);
    assert_eq!((&heard["subprotocol"], &heard["messages"]), (&"chat".into(), &5.into()));
    headwater.wait_for_log(|line| line.contains("\"GET /chat HTTP/1.1\" 101 ") && line.contains("end=complete"));
}

#[test]
fn websockets_talk_through_the_proxy_over_tls() {
    let (place, sockets) = (Place::new(), WebSockets::start());
    let config = format!("[origin]\nservers = [\"127.0.0.1:{}\"]\n", sockets.port);
    let https = ["--set", "listen.https=[\"127.0.0.1:0\"]"];
    let headwater = Headwater::start_with(&(config + &tls(&place.issue("shop", &["shop.example"]))), &https, &[]);
    let authority = place.authority.write(place.path(), "authority");
    let url = format!("wss://{}/chat", headwater.https.unwrap());
    let heard = sockets.talk(&url, Some(authority.to_str().unwrap()));
    assert_eq!(heard["messages"], 5);
}

#[test]
fn streams_with_windows_of_a_kilobyte_get_whole_bodies_and_trailers() {
    let body: Vec<u8> = (0..60_000_u32).map(|n| (n % 251) as u8).collect();
    let sent = body.clone();
    let origin = Origin::with(move |_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for chunk in sent.chunks(7001) {
            let _ = stream.write_all(format!("{:x}\r\n", chunk.len()).as_bytes());
            let _ = stream.write_all(chunk);
            let _ = stream.write_all(b"\r\n");
        }
        let _ = stream.write_all(b"0\r\nX-Sum: 42\r\n\r\n");
        Then::Keep
    });
    let place = Place::new();
    let (_headwater, https) = start(&origin, &tls(&place.issue("shop", &["shop.example"])));
    let authority = place.authority.write(place.path(), "authority");
    let output = Command::new(python())
        .arg(script("h2_through.py"))
        .arg(https.port().to_string())
        .arg(authority)
        .args(["/body", "20"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answers: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answers.len(), 20);
    for answer in &answers {
        assert_eq!((&answer["status"], &answer["length"]), (&"200".into(), &60_000.into()), "{answer}");
        assert_eq!(answer["hash"], answers[0]["hash"]);
        assert_eq!(answer["trailers"], serde_json::json!([["x-sum", "42"]]));
    }
}
