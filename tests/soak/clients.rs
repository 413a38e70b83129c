//! Those who pull, and what they saw.

use super::origin::text;
use fastrand::Rng;
use headwater_testkit::{Client, Response, request};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub const SECRET: &str = "0123456789abcdef0123";
const CLIENTS: u64 = 8;
/// From a client's pull to its next.
const BEAT: Duration = Duration::from_millis(40);

/// What was seen of one pull.
#[derive(Clone, Debug)]
pub struct Pull {
    /// With a number of its own.
    pub target: String,
    pub cdn: &'static str,
    pub status: u16,
    pub complete: bool,
}

/// What the clients saw.
#[derive(Default)]
pub struct Tally {
    pub all: Vec<Pull>,
    /// Kept connections that were closed before anything of an answer: the pull was sent again.
    pub again: u64,
    pub wrong: Vec<String>,
}

impl Tally {
    /// Pulls that were answered.
    pub fn pulls(&self) -> u64 {
        self.all.len() as u64
    }

    /// Answers by provider and class of status, as the figures have them.
    pub fn classes(&self) -> HashMap<(&'static str, String), u64> {
        let mut classes = HashMap::new();
        for pull in &self.all {
            *classes.entry((pull.cdn, format!("{}xx", pull.status / 100))).or_default() += 1;
        }
        classes
    }
}

static NUMBER: AtomicU64 = AtomicU64::new(1);

pub struct Crowd {
    stopping: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Tally>>,
}

impl Crowd {
    pub fn start(address: SocketAddr) -> Self {
        let stopping = Arc::<AtomicBool>::default();
        let threads = (0..CLIENTS).map(|_| {
            let stopping = stopping.clone();
            std::thread::spawn(move || pull_on(address, &stopping))
        });
        Self { threads: threads.collect(), stopping }
    }

    pub fn stop(&self) {
        self.stopping.store(true, SeqCst);
    }

    /// Waits for the last answers.
    pub fn leave(self) -> Tally {
        let mut whole = Tally::default();
        for thread in self.threads {
            let tally = thread.join().expect("a client does not fall");
            whole.all.extend(tally.all);
            whole.wrong.extend(tally.wrong);
            whole.again += tally.again;
        }
        whole
    }
}

/// What a pull is and what becomes of it.
struct Plan {
    text: Vec<u8>,
    target: String,
    method: &'static str,
    cdn: &'static str,
    wanted: Wanted,
}

enum Wanted {
    /// 200 and this, compressed or not.
    Whole(Vec<u8>),
    /// 200 and this; or a 502, where a kept connection's end crossed what must not be sent twice.
    Upload(Vec<u8>),
    /// This status, and a whole answer.
    Status(u16),
    /// 206 and this.
    Part(Vec<u8>),
    /// The beginning of this and a break, or a 502.
    Broken(Vec<u8>),
}

fn plan(random: &mut Rng) -> Plan {
    let number = NUMBER.fetch_add(1, SeqCst);
    let seed = random.u64(..1 << 40);
    let length = [0, 10, 900, 5000, 60_000, 300_000][random.usize(..6)];
    let kind = if random.bool() { "&binary" } else { "" };
    let wait = random.u64(..300);
    let target = |path: &str| format!("/{path}?n={number}&seed={seed}&length={length}&wait={wait}{kind}");
    let body = text(seed, length);
    let mut headers: Vec<(&str, &str)> = Vec::new();
    let cdn = match random.u8(..5) {
        0 => "untagged",
        1 => {
            headers.push(("X-CDN-Provider", "fastly"));
            "unproven"
        }
        2 => {
            headers.push(("X-CDN-Provider", "nobody"));
            "other"
        }
        _ => {
            headers.extend([("X-CDN-Provider", "fastly"), ("X-CDN-Secret", SECRET)]);
            "fastly"
        }
    };
    if random.bool() {
        headers.push(("Accept-Encoding", "gzip"));
    }
    let (method, target, wanted) = match random.u8(..32) {
        0..=8 => ("GET", target("whole"), Wanted::Whole(body)),
        9 | 10 => ("GET", target("chunks"), Wanted::Whole(body)),
        11 | 12 => ("GET", target("slow"), Wanted::Whole(body)),
        13 => ("GET", target("close"), Wanted::Whole(body)),
        14 => ("GET", target("leave"), Wanted::Whole(body)),
        15 | 16 => ("HEAD", target("whole"), Wanted::Whole(Vec::new())),
        17 | 18 if length > 100 => {
            headers.push(("Range", "bytes=0-99"));
            ("GET", target("whole"), Wanted::Part(body[..100].to_vec()))
        }
        19 | 20 => ("GET", target("error"), Wanted::Status(500)),
        21 => ("GET", target("reset"), Wanted::Status(502)),
        22 => ("GET", target("nothing"), Wanted::Status(502)),
        23 => ("GET", target("half-head"), Wanted::Status(502)),
        24 => ("GET", target("junk"), Wanted::Status(502)),
        25 if length > 0 => ("GET", target("short"), Wanted::Broken(body)),
        26 if length > 0 => ("GET", target("broken-chunks"), Wanted::Broken(body)),
        27 | 28 => {
            return upload(random, target("upload"), cdn, &headers, body);
        }
        _ => ("GET", format!("/status/images/beacon.gif?source=soak&n={number}"), Wanted::Status(200)),
    };
    Plan { text: request(method, &target, &headers).into_bytes(), target, method, cdn, wanted }
}

fn upload(random: &mut Rng, target: String, cdn: &'static str, headers: &[(&str, &str)], body: Vec<u8>) -> Plan {
    let length = body.len().to_string();
    let mut headers = headers.to_vec();
    let chunked = random.bool();
    headers.push(if chunked { ("Transfer-Encoding", "chunked") } else { ("Content-Length", &length) });
    let mut text = request("POST", &target, &headers).into_bytes();
    if chunked {
        for chunk in body.chunks(5000) {
            text.extend(format!("{:x}\r\n", chunk.len()).bytes().chain(chunk.iter().copied()).chain(*b"\r\n"));
        }
        text.extend(b"0\r\n\r\n");
    } else {
        text.extend(&body);
    }
    let sum = body.iter().fold(0_u64, |sum, &byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let wanted = Wanted::Upload(format!("{} {sum} true", body.len()).into_bytes());
    Plan { text, target, method: "POST", cdn, wanted }
}

fn pull_on(address: SocketAddr, stopping: &AtomicBool) -> Tally {
    let mut random = Rng::new();
    let mut tally = Tally::default();
    let mut kept: Option<Client> = None;
    while !stopping.load(SeqCst) {
        let next = Instant::now() + BEAT;
        let plan = plan(&mut random);
        let got = match kept.take().filter(|_| random.u8(..8) > 0) {
            Some(mut client) => match ask(&mut client, &plan) {
                Some(got) => Some((client, got)),
                // The end of a kept connection may cross a pull on its way.
                None => {
                    tally.again += 1;
                    ask_anew(address, &plan)
                }
            },
            None => ask_anew(address, &plan),
        };
        match got {
            Some((client, got)) => {
                if let Err(why) = judge(&plan, &got) {
                    tally.wrong.push(format!("{} {} ({}): {why}\n{}", plan.method, plan.target, plan.cdn, got.head));
                }
                tally.all.push(Pull { target: plan.target, cdn: plan.cdn, status: got.status, complete: got.complete });
                if got.complete && !got.has_member("Connection", "close") {
                    kept = Some(client);
                }
            }
            None => tally.wrong.push(format!("{} {} ({}) was not answered", plan.method, plan.target, plan.cdn)),
        }
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    tally
}

fn ask(client: &mut Client, plan: &Plan) -> Option<Response> {
    client.send(&plan.text);
    client.try_read_response_to(plan.method)
}

fn ask_anew(address: SocketAddr, plan: &Plan) -> Option<(Client, Response)> {
    let mut client = Client::connect(address);
    ask(&mut client, plan).map(|got| (client, got))
}

/// Whether an answer is what the origin's deed allows.
fn judge(plan: &Plan, got: &Response) -> Result<(), String> {
    let body = || match got.header("Content-Encoding") {
        Some(_) => got.gunzip(),
        None => got.body.clone(),
    };
    let expect = |status: u16, complete: bool| match (got.status, got.complete) == (status, complete) {
        true => Ok(()),
        false => Err(format!("status {} and not {status}, complete: {}", got.status, got.complete)),
    };
    match &plan.wanted {
        Wanted::Whole(_) if plan.method == "HEAD" => expect(200, true),
        Wanted::Upload(_) if got.status == 502 => expect(502, true),
        Wanted::Whole(wanted) | Wanted::Upload(wanted) => {
            expect(200, true)?;
            let body = body();
            if body == *wanted { Ok(()) } else { Err(format!("{} bytes, of {} others", body.len(), wanted.len())) }
        }
        Wanted::Part(wanted) => {
            expect(206, true)?;
            if got.body == *wanted { Ok(()) } else { Err("another part".into()) }
        }
        Wanted::Status(status) => expect(*status, true),
        Wanted::Broken(_) if got.status == 502 => expect(502, true),
        Wanted::Broken(wanted) => {
            expect(200, false)?;
            let compressed = got.header("Content-Encoding").is_some();
            if compressed || wanted.starts_with(&got.body) { Ok(()) } else { Err("no beginning of the body".into()) }
        }
    }
}
