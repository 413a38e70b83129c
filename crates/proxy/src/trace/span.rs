//! What a recorded pull leaves: a span of its own, and one below it for each time that the origin was asked. Attributes have the
//! names of OpenTelemetry's conventions for HTTP, or begin with `headwater.`.

use crate::access_log::Line;
use prometheus::IntCounter;
use std::borrow::Cow;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::Instant;

/// Pulls whose spans may wait to be sent. With the cut of texts, some ten megabytes at the worst.
const MOST_WAITING: usize = 2048;
/// Longer texts from strangers are cut.
const LONGEST_TEXT: usize = 512;
const METHODS: [&str; 10] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"];

/// What a span is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A pull.
    Server,
    /// Our asking the origin.
    Client,
}

/// An attribute's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Text(Cow<'static, str>),
    Number(i64),
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Text(text.into())
    }
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Value::Text(text.into())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Value::Number(number as i64)
    }
}

/// A span that has ended. Times are since 1970.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub trace: u128,
    pub id: u64,
    pub parent: Option<u64>,
    /// Whether the parent is somebody else's.
    pub is_entry: bool,
    pub state: String,
    pub kind: Kind,
    pub name: &'static str,
    pub begun: Duration,
    pub ended: Duration,
    pub attributes: Vec<(&'static str, Value)>,
    /// When the origin's head was there.
    pub first_byte: Option<Duration>,
    pub failed: bool,
}

/// The way to the exporter. Nobody waits for it.
pub(crate) struct Queue {
    sender: Sender<Vec<Span>>,
    dropped: IntCounter,
}

impl Queue {
    /// A queue, and its other end.
    pub fn new(dropped: IntCounter) -> (Self, Receiver<Vec<Span>>) {
        let (sender, receiver) = channel(MOST_WAITING);
        (Self { sender, dropped }, receiver)
    }

    /// Hands over the spans of a pull, or drops and counts them where too many wait.
    pub fn hand_over(&self, spans: Vec<Span>) {
        let count = spans.len() as u64;
        if self.sender.try_send(spans).is_err() {
            self.dropped.inc_by(count);
        }
    }

    /// Pulls whose spans wait.
    pub fn waiting(&self) -> usize {
        self.sender.max_capacity() - self.sender.capacity()
    }
}

/// Our asking the origin once.
struct Ask {
    id: u64,
    begun: Instant,
    /// `None` until a connection is there.
    server: Option<String>,
}

/// What is noted of a pull as it goes.
pub(crate) struct Recording {
    trace: u128,
    id: u64,
    parent: Option<u64>,
    state: String,
    begun: Instant,
    asks: Vec<Ask>,
}

impl Recording {
    pub fn new(trace: u128, id: u64, parent: Option<u64>, state: String, begun: Instant) -> Self {
        Self { trace, id, parent, state, begun, asks: Vec::new() }
    }

    /// The trace's id.
    pub fn trace(&self) -> u128 {
        self.trace
    }

    /// The origin is about to be asked; the id of that span.
    pub fn asks(&mut self) -> u64 {
        let id = fastrand::u64(1..);
        self.asks.push(Ask { id, begun: Instant::now(), server: None });
        id
    }

    /// By that server.
    pub fn asked(&mut self, server: &str) {
        if let Some(ask) = self.asks.last_mut() {
            ask.server = Some(server.to_string());
        }
    }

    /// The spans of a pull that has ended just now. `client`: whether its address may be told.
    pub fn spans(&self, line: &Line<'_>, scheme: &'static str, client: bool) -> Vec<Span> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let begun = now.saturating_sub(line.total);
        let at = |moment: Instant| begun + moment.saturating_duration_since(self.begun);
        let mut spans = Vec::with_capacity(1 + self.asks.len());
        let failed = line.status >= 500 || matches!(line.end, "upstream" | "timeout");
        let mut attributes = request(line);
        attributes.push(("url.path", path(line).into()));
        attributes.push(("url.scheme", scheme.into()));
        let host = text(line.host);
        push_address(&mut attributes, &host);
        if !line.user_agent.is_empty() {
            attributes.push(("user_agent.original", text(line.user_agent).into()));
        }
        if client {
            attributes.push(("client.address", line.client.to_string().into()));
        }
        attributes.push(("network.protocol.version", protocol(line.protocol).into()));
        attributes.push(("http.response.status_code", u64::from(line.status).into()));
        attributes.push(("http.response.body.size", line.bytes.into()));
        for (key, value) in [("headwater.cdn", line.cdn), ("headwater.rule", line.rule), ("headwater.id", line.id)] {
            attributes.push((key, value.to_string().into()));
        }
        attributes.push(("headwater.end", line.end.into()));
        if failed {
            attributes.push(("error.type", error(line)));
        }
        spans.push(Span {
            trace: self.trace,
            id: self.id,
            parent: self.parent,
            is_entry: true,
            state: self.state.clone(),
            kind: Kind::Server,
            name: name(line.method),
            begun,
            ended: now,
            attributes,
            first_byte: None,
            failed,
        });
        for (turn, ask) in self.asks.iter().enumerate() {
            let next = self.asks.get(turn + 1);
            let answered = line.first_byte.filter(|_| next.is_none());
            let broke_off = line.end != "complete";
            let failed = answered.is_none() || line.status >= 400 || broke_off;
            let mut attributes = request(line);
            if let Some(server) = &ask.server {
                let (scheme, place) = server.split_once("://").unwrap_or(("http", server));
                push_address(&mut attributes, place);
                let place = if place.starts_with("unix:") { "localhost" } else { place };
                attributes.push(("url.full", format!("{scheme}://{place}{}", path(line)).into()));
            }
            if answered.is_some() {
                attributes.push(("http.response.status_code", u64::from(line.status).into()));
            }
            if turn > 0 {
                attributes.push(("http.request.resend_count", (turn as u64).into()));
            }
            if failed {
                // Of a pull that is tried once more, the origin had closed a connection at rest.
                attributes.push(("error.type", if next.is_some() { "closed_before_head".into() } else { error(line) }));
            }
            spans.push(Span {
                trace: self.trace,
                id: ask.id,
                parent: Some(self.id),
                is_entry: false,
                state: self.state.clone(),
                kind: Kind::Client,
                name: name(line.method),
                begun: at(ask.begun),
                ended: next.map_or(now, |next| at(next.begun)),
                attributes,
                first_byte: answered.map(|first_byte| begun + first_byte),
                failed,
            });
        }
        spans
    }
}

/// What both kinds of spans say of the request.
fn request(line: &Line<'_>) -> Vec<(&'static str, Value)> {
    let mut attributes = Vec::with_capacity(16);
    let known = METHODS.iter().find(|known| **known == line.method);
    attributes.push(("http.request.method", known.copied().unwrap_or("_OTHER").into()));
    if known.is_none() {
        attributes.push(("http.request.method_original", text(line.method.as_bytes()).into()));
    }
    attributes
}

fn name(method: &str) -> &'static str {
    METHODS.into_iter().find(|known| *known == method).unwrap_or("HTTP")
}

/// What went wrong, from a closed set of words, or the status.
fn error(line: &Line<'_>) -> Value {
    match (line.reason, line.end) {
        ("-", "complete") => line.status.to_string().into(),
        ("-", end) => end.into(),
        (reason, _) => reason.into(),
    }
}

/// Without the query, in which secrets may stand.
fn path(line: &Line<'_>) -> String {
    text(line.target.split(|&b| b == b'?').next().unwrap_or_default())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(LONGEST_TEXT)]).into_owned()
}

fn protocol(name: &str) -> &'static str {
    match name {
        "HTTP/2.0" => "2",
        "HTTP/1.0" => "1.0",
        _ => "1.1",
    }
}

/// Host and port, or the path of a socket.
fn push_address(attributes: &mut Vec<(&'static str, Value)>, place: &str) {
    let split = place.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    let (host, port) = split.map_or((place, None), |(host, port)| (host, Some(port)));
    let host = host.trim_start_matches("unix:").trim_start_matches('[').trim_end_matches(']');
    if !host.is_empty() {
        attributes.push(("server.address", host.to_string().into()));
        attributes.extend(port.map(|port| ("server.port", u64::from(port).into())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line<'a>(method: &'a str, target: &'a [u8], upstream: &'a str) -> Line<'a> {
        Line {
            host: b"[2001:db8::1]:8443",
            port: 80,
            client: [192, 0, 2, 1].into(),
            method,
            target,
            protocol: "HTTP/2.0",
            status: 404,
            bytes: 7,
            referer: b"",
            user_agent: b"",
            cdn: "untagged",
            rule: "default",
            id: "1",
            total: Duration::from_millis(5),
            first_byte: Some(Duration::from_millis(3)),
            upstream,
            end: "complete",
            reason: "-",
            country: "",
            trace: None,
            sample: 1.0,
        }
    }

    fn spans(line: &Line<'_>) -> Vec<Span> {
        let mut recording = Recording::new(1, 2, None, String::new(), Instant::now());
        recording.asks();
        recording.asked(line.upstream);
        recording.spans(line, "https", false)
    }

    fn get<'s>(span: &'s Span, key: &str) -> Option<&'s Value> {
        span.attributes.iter().find(|(found, _)| *found == key).map(|(_, value)| value)
    }

    #[test]
    fn addresses_are_taken_apart() {
        for (server, address, port, url) in [
            ("127.0.0.1:80", "127.0.0.1", Some(80), "http://127.0.0.1:80/a"),
            ("https://app.internal:8443", "app.internal", Some(8443), "https://app.internal:8443/a"),
            ("[::1]:80", "::1", Some(80), "http://[::1]:80/a"),
            ("unix:/run/app.sock", "/run/app.sock", None, "http://localhost/a"),
        ] {
            let ask = spans(&line("GET", b"/a?b=c", server)).pop().unwrap();
            assert_eq!(get(&ask, "server.address"), Some(&address.into()), "{server}");
            assert_eq!(get(&ask, "server.port"), port.map(Value::Number).as_ref(), "{server}");
            assert_eq!(get(&ask, "url.full"), Some(&url.into()));
        }
        let pull = &spans(&line("GET", b"/a?b=c", "a:1"))[0];
        assert_eq!(get(pull, "server.address"), Some(&"2001:db8::1".into()));
        assert_eq!(get(pull, "server.port"), Some(&Value::Number(8443)));
        assert_eq!(get(pull, "network.protocol.version"), Some(&"2".into()));
    }

    #[test]
    fn a_404_is_an_error_of_the_asking_and_not_of_the_pull() {
        let spans = spans(&line("GET", b"/", "a:1"));
        assert_eq!((spans[0].failed, spans[1].failed), (false, true));
        assert_eq!((get(&spans[0], "error.type"), get(&spans[1], "error.type")), (None, Some(&"404".into())));
        assert_eq!(spans[1].first_byte, Some(spans[0].begun + Duration::from_millis(3)));
    }

    #[test]
    fn what_strangers_say_has_a_bound_and_makes_no_names() {
        let long = [b"/".as_slice(), &[0xff; 5000]].concat();
        let method = "X".repeat(5000);
        for span in spans(&line(&method, &long, "a:1")) {
            assert_eq!((span.name, get(&span, "http.request.method")), ("HTTP", Some(&"_OTHER".into())));
            let bytes = |value: &Value| match value {
                Value::Text(text) => text.len(),
                Value::Number(_) => 8,
            };
            // What is no UTF-8 takes three bytes for one.
            assert!(span.attributes.iter().all(|(_, value)| bytes(value) <= 3 * LONGEST_TEXT + 32));
        }
    }

    #[test]
    fn a_queue_that_nobody_empties_drops_and_counts() {
        let dropped = IntCounter::new("dropped", "x").unwrap();
        let (queue, mut receiver) = Queue::new(dropped.clone());
        for _ in 0..MOST_WAITING + 10 {
            queue.hand_over(spans(&line("GET", b"/", "a:1")));
        }
        assert_eq!((dropped.get(), queue.waiting()), (20, MOST_WAITING));
        assert!(receiver.try_recv().is_ok());
        queue.hand_over(spans(&line("GET", b"/", "a:1")));
        assert_eq!(dropped.get(), 20);
    }
}
