//! The access log: lines are gathered by each worker and written by a thread of its own. When the disk stalls, lines are
//! dropped and counted, and no pull waits.

use headwater_config::{AccessLog, Log, LogFormat};
use prometheus::IntCounter;
use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, SystemTime};

/// Batches that may wait for the disk: with [`BATCH`], two megabytes per process.
const MOST_BATCHES: usize = 64;
/// Bytes after which a batch goes to the writer.
const BATCH: usize = 32 << 10;
/// How long a line may stay with its worker.
pub(crate) const LINGER: Duration = Duration::from_millis(100);
/// What strangers send is cut to so many bytes, as written: GoAccess and others read a line into 4,096 bytes and take the rest for
/// another line, and all of these together leave room for what is ours.
const HOST: usize = 256;
const METHOD: usize = 32;
const TARGET: usize = 2048;
const REFERER: usize = 704;
const USER_AGENT: usize = 512;

/// What a line tells.
pub(crate) struct Line<'a> {
    pub host: &'a [u8],
    pub port: u16,
    pub client: IpAddr,
    /// Empty where no request could be read.
    pub method: &'a str,
    /// The target, or the first line of what could not be read.
    pub target: &'a [u8],
    pub protocol: &'a str,
    pub status: u16,
    pub bytes: u64,
    pub referer: &'a [u8],
    pub user_agent: &'a [u8],
    pub cdn: &'a str,
    pub rule: &'a str,
    pub id: &'a str,
    pub total: Duration,
    pub first_byte: Option<Duration>,
    pub upstream: &'a str,
    pub end: &'static str,
    /// Why it has no answer of the app's, or no whole one; `-` where it has.
    pub reason: &'static str,
    pub country: &'a str,
    /// The trace that it is recorded in.
    pub trace: Option<u128>,
    /// The share of such pulls that get a line.
    pub sample: f64,
}

enum Message {
    Lines { text: Vec<u8>, count: u64 },
    Open(Log),
    Reopen,
    Flush(SyncSender<()>),
}

/// The way to the writing thread.
#[derive(Clone)]
pub(crate) struct Sink {
    sender: SyncSender<Message>,
    dropped: IntCounter,
}

impl Sink {
    /// Starts the thread. It ends when the last sink is dropped.
    pub fn start(log: Log, dropped: IntCounter) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(MOST_BATCHES);
        let counter = dropped.clone();
        std::thread::Builder::new().name("access-log".into()).spawn(move || write_lines(log, &receiver, &counter))?;
        Ok(Self { sender, dropped })
    }

    /// Takes over another configuration.
    pub fn open(&self, log: Log) {
        self.tell(Message::Open(log));
    }

    /// Opens the file anew, after a rotation.
    pub fn reopen(&self) {
        self.tell(Message::Reopen);
    }

    fn tell(&self, message: Message) {
        // A stalled disk must not stall who steers; a thread waits in his place, and there are few of these.
        if let Err(std::sync::mpsc::TrySendError::Full(message)) = self.sender.try_send(message) {
            let sender = self.sender.clone();
            std::thread::spawn(move || {
                let _ = sender.send(message);
            });
        }
    }

    /// Waits until what was handed over is written, or for two seconds.
    pub fn flush(&self) {
        let (done, written) = sync_channel(1);
        if self.sender.try_send(Message::Flush(done)).is_ok() {
            let _ = written.recv_timeout(Duration::from_secs(2));
        }
    }
}

/// A worker's lines that have not been handed over.
pub(crate) struct Batch {
    text: RefCell<Vec<u8>>,
    count: std::cell::Cell<u64>,
    sink: Sink,
}

impl Batch {
    pub fn new(sink: Sink) -> Self {
        Self { text: RefCell::default(), count: std::cell::Cell::new(0), sink }
    }

    /// Adds a line. Says whether it is the first, so that somebody sees to it that the batch leaves in time.
    pub fn add(&self, line: &Line<'_>, format: LogFormat, now: &Clock) -> bool {
        let mut text = self.text.borrow_mut();
        if text.capacity() == 0 {
            text.reserve(BATCH + 4096);
        }
        match format {
            LogFormat::Combined => write_combined(&mut text, line, now),
            LogFormat::Json => write_json(&mut text, line, now),
        }
        let full = text.len() >= BATCH;
        drop(text);
        self.count.set(self.count.get() + 1);
        if full {
            self.hand_over();
        }
        self.count.get() == 1
    }

    /// Gives the lines to the writing thread, or drops and counts them if it is too far behind.
    pub fn hand_over(&self) {
        let text = std::mem::take(&mut *self.text.borrow_mut());
        let count = self.count.replace(0);
        if count > 0 && self.sink.sender.try_send(Message::Lines { text, count }).is_err() {
            self.sink.dropped.inc_by(count);
        }
    }
}

fn write_lines(log: Log, receiver: &Receiver<Message>, dropped: &IntCounter) {
    let mut target = Target::open(&log.access);
    let mut log = log;
    loop {
        match receiver.recv_timeout(Duration::from_secs(60)) {
            Ok(Message::Lines { text, count }) => {
                if matches!(target, Target::Lost) {
                    target = Target::open(&log.access);
                }
                if let Err(error) = target.write(&text) {
                    dropped.inc_by(count);
                    tracing::warn!(%error, lines = count, "cannot write the access log");
                    if matches!(target, Target::File(_)) {
                        target = Target::Lost;
                    }
                }
            }
            Ok(Message::Open(new)) => {
                if new.access != log.access {
                    target = Target::open(&new.access);
                }
                log = new;
            }
            Ok(Message::Reopen) => target = Target::open(&log.access),
            Ok(Message::Flush(done)) => {
                let _ = done.send(());
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

enum Target {
    Off,
    Stdout,
    File(File),
    /// The file cannot be opened; it is tried again with the next lines.
    Lost,
}

impl Target {
    fn open(access: &AccessLog) -> Self {
        match access {
            AccessLog::Off => Target::Off,
            AccessLog::Stdout => Target::Stdout,
            AccessLog::File(path) => match OpenOptions::new().append(true).create(true).open(path) {
                Ok(file) => Target::File(file),
                Err(error) => {
                    tracing::warn!(%error, path = %path.display(), "cannot open the access log");
                    Target::Lost
                }
            },
        }
    }

    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        match self {
            Target::Off => Ok(()),
            Target::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(text)?;
                out.flush()
            }
            Target::File(file) => file.write_all(text),
            Target::Lost => Err(io::Error::other("the file cannot be opened")),
        }
    }
}

/// The time of a line, formatted once a second.
pub(crate) struct Clock {
    second: u64,
    millisecond: u32,
    /// As RFC 9110 has it: `Mon, 23 Nov 2026 10:00:00 GMT`.
    http: String,
}

impl Clock {
    pub fn new() -> Self {
        let mut clock = Self { second: 0, millisecond: 0, http: String::new() };
        clock.tick();
        clock
    }

    /// Sets the clock to now.
    pub fn tick(&mut self) {
        let now = SystemTime::now();
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.millisecond = since.subsec_millis();
        if since.as_secs() != self.second || self.http.is_empty() {
            self.second = since.as_secs();
            self.http = httpdate::fmt_http_date(now);
        }
    }

    /// For a `Date` header.
    pub fn http(&self) -> &str {
        &self.http
    }

    /// `23/Nov/2026:10:00:00 +0000`
    fn combined(&self, out: &mut Vec<u8>) {
        let text = &self.http;
        for part in [&text[5..7], "/", &text[8..11], "/", &text[12..16], ":", &text[17..25], " +0000"] {
            out.extend_from_slice(part.as_bytes());
        }
    }

    /// RFC 3339, with milliseconds.
    fn rfc3339(&self, out: &mut Vec<u8>) {
        const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let text = &self.http;
        let month = MONTHS.iter().position(|month| *month == &text[8..11]).unwrap_or(0) + 1;
        let _ = write!(out, "{}-{month:02}-{}T{}.{:03}Z", &text[12..16], &text[5..7], &text[17..25], self.millisecond);
    }
}

fn write_combined(out: &mut Vec<u8>, line: &Line<'_>, now: &Clock) {
    let host = if line.host.is_empty() { b"-" } else { line.host };
    let host = cut(host, HOST);
    escape(out, host, HOST);
    let port_given = host.iter().rposition(|&b| b == b':').is_some_and(|colon| !host[colon..].contains(&b']'));
    if !port_given {
        let _ = write!(out, ":{}", line.port);
    }
    let _ = write!(out, " {} - - [", line.client);
    now.combined(out);
    out.extend_from_slice(b"] \"");
    if line.method.is_empty() {
        escape(out, if line.target.is_empty() { b"-" } else { line.target }, TARGET);
    } else {
        escape(out, line.method.as_bytes(), METHOD);
        out.push(b' ');
        escape(out, line.target, TARGET);
        out.push(b' ');
        out.extend_from_slice(line.protocol.as_bytes());
    }
    out.extend_from_slice(b"\" ");
    number(out, line.status.into());
    out.push(b' ');
    number(out, line.bytes);
    for (text, most) in [(line.referer, REFERER), (line.user_agent, USER_AGENT)] {
        out.extend_from_slice(b" \"");
        escape(out, if text.is_empty() { b"-" } else { text }, most);
        out.push(b'"');
    }
    for (key, value) in [(" cdn=", line.cdn), (" rule=", line.rule), (" id=", line.id)] {
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(value.as_bytes());
    }
    out.extend_from_slice(b" total=");
    seconds(out, line.total);
    out.extend_from_slice(b" first_byte=");
    match line.first_byte {
        Some(first_byte) => seconds(out, first_byte),
        None => out.push(b'-'),
    }
    for (key, value) in [(" upstream=", line.upstream), (" end=", line.end), (" reason=", line.reason)] {
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(value.as_bytes());
    }
    if let Some(trace) = line.trace {
        let _ = write!(out, " trace={trace:032x}");
    }
    if line.sample < 1.0 {
        let _ = write!(out, " sample={}", line.sample);
    }
    out.push(b'\n');
}

fn write_json(out: &mut Vec<u8>, line: &Line<'_>, now: &Clock) {
    out.extend_from_slice(b"{\"time\":\"");
    now.rfc3339(out);
    out.push(b'"');
    let client = line.client.to_string();
    for (key, value) in [
        ("host", cut(line.host, HOST)),
        ("client", client.as_bytes()),
        ("country", line.country.as_bytes()),
        ("method", cut(line.method.as_bytes(), METHOD)),
        ("target", cut(line.target, TARGET)),
        ("protocol", line.protocol.as_bytes()),
        ("referer", cut(line.referer, REFERER)),
        ("user_agent", cut(line.user_agent, USER_AGENT)),
        ("cdn", line.cdn.as_bytes()),
        ("rule", line.rule.as_bytes()),
        ("id", line.id.as_bytes()),
        ("upstream", line.upstream.as_bytes()),
        ("end", line.end.as_bytes()),
        ("reason", line.reason.as_bytes()),
    ] {
        let _ = write!(out, ",\"{key}\":");
        let text = String::from_utf8_lossy(value);
        let _ = serde_json::to_writer(&mut *out, &text);
    }
    let _ = write!(out, ",\"status\":{},\"bytes\":{},\"total\":", line.status, line.bytes);
    seconds(out, line.total);
    out.extend_from_slice(b",\"first_byte\":");
    match line.first_byte {
        Some(first_byte) => seconds(out, first_byte),
        None => out.extend_from_slice(b"null"),
    }
    if let Some(trace) = line.trace {
        let _ = write!(out, ",\"trace_id\":\"{trace:032x}\"");
    }
    if line.sample < 1.0 {
        let _ = write!(out, ",\"sample\":{}", line.sample);
    }
    out.extend_from_slice(b"}\n");
}

fn cut(text: &[u8], most: usize) -> &[u8] {
    &text[..text.len().min(most)]
}

/// As Apache does: quotes and backslashes get a backslash, what is not printable ASCII becomes `\xHH`. Writes `most` bytes at most,
/// and no half of an escape.
fn escape(out: &mut Vec<u8>, text: &[u8], most: usize) {
    let plain = |&b: &u8| matches!(b, 0x20..=0x7e) && b != b'"' && b != b'\\';
    let text = cut(text, most);
    if text.iter().all(plain) {
        return out.extend_from_slice(text);
    }
    let end = out.len() + most;
    for byte in text {
        let before = out.len();
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            byte if plain(byte) => out.push(*byte),
            byte => {
                let _ = write!(out, "\\x{byte:02x}");
            }
        }
        if out.len() > end {
            return out.truncate(before);
        }
    }
}

/// Seconds with six decimals, without the formatting machinery: this runs for every pull.
fn seconds(out: &mut Vec<u8>, time: Duration) {
    number(out, time.as_secs());
    out.push(b'.');
    let mut micros = time.subsec_micros();
    let mut digits = [b'0'; 6];
    for digit in digits.iter_mut().rev() {
        *digit += (micros % 10) as u8;
        micros /= 10;
    }
    out.extend_from_slice(&digits);
}

fn number(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests;
