//! Checks of the servers' health, beside the pulls: in the thread of the admin endpoint, over connections of their own.

use super::server::{CHECKS, Server};
use crate::failure::Failure;
use crate::http1::body::{Decoder, Step};
use crate::http1::head::{ResponseHead, Search};
use crate::live::Live;
use crate::wire::{Halt, Reader};
use crate::worker::Shared;
use headwater_config::Checks;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout_at};

/// A longer head is a bad one.
const LARGEST_HEAD: usize = 16 << 10;
/// So much of a body is read, so that the app is not cut off in the middle of a sentence.
const LARGEST_BODY: usize = 64 << 10;

/// Checks every server for as long as the proxy runs, and those of the next policy when there is one.
pub(crate) async fn watch(shared: Arc<Shared>) {
    let mut watched = Watched::default();
    loop {
        watched.see_to(&shared.live.load_full());
        shared.reloaded.notified().await;
    }
}

/// The tasks that check, one for each server, and what they go by.
#[derive(Default)]
struct Watched {
    checks: Option<Checks>,
    tasks: Vec<(Arc<Server>, AbortHandle)>,
}

impl Watched {
    /// Begins and ends tasks, so that they are those of this policy. A server that stays goes on at its pace.
    fn see_to(&mut self, live: &Live) {
        let checks = &live.policy.origin.checks;
        let same = self.checks == *checks;
        self.tasks.retain(|(server, task)| {
            let stays = same && live.servers.iter().any(|other| Arc::ptr_eq(other, server));
            if !stays {
                task.abort();
            }
            stays
        });
        self.checks.clone_from(checks);
        let Some(checks) = checks else { return };
        for server in &live.servers {
            if !self.tasks.iter().any(|(other, _)| Arc::ptr_eq(other, server)) {
                let task = tokio::task::spawn_local(check_on(server.clone(), checks.clone()));
                self.tasks.push((server.clone(), task.abort_handle()));
            }
        }
    }
}

/// Checks one server again and again. Its pace varies, so that several proxies do not all ask at the same moment.
async fn check_on(server: Arc<Server>, checks: Checks) {
    // The first soon: a server that is down at the start should not be found out by users.
    sleep(checks.interval.min(Duration::from_secs(1)).mul_f64(fastrand::f64())).await;
    loop {
        let next = Instant::now() + checks.interval.mul_f64(0.9 + 0.2 * fastrand::f64());
        let (outcome, detail) = match check(&server, &checks).await {
            Ok(()) => ("good", String::new()),
            Err(bad) => bad,
        };
        let index = CHECKS.iter().position(|name| *name == outcome).unwrap_or_default();
        server.checked(index, &detail);
        tokio::time::sleep_until(next).await;
    }
}

type Bad = (&'static str, String);

async fn check(server: &Server, checks: &Checks) -> Result<(), Bad> {
    let deadline = Instant::now() + checks.timeout;
    let stream = server.way.connect(checks.timeout).await.map_err(|no_way| {
        let outcome = match no_way.failure {
            Failure::ConnectTimeout => "timeout",
            Failure::Tls => "tls",
            _ => "connect",
        };
        (outcome, no_way.detail)
    })?;
    let (mut reader, mut writer) = stream.split();
    let host = checks.host.as_deref().unwrap_or(&server.host);
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: Headwater/{} (health)\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        checks.path,
        env!("CARGO_PKG_VERSION"),
    );
    // An app that refuses to read may have said why.
    let _ = writer.write(request.as_bytes(), b"", checks.timeout).await;
    let head = read_head(&mut reader, deadline).await?;
    let status = head.status;
    let rest = async {
        read_body(&mut reader, &head).await;
        writer.shut().await;
    };
    let _ = timeout_at(deadline, rest).await;
    if checks.expect.contains(status) { Ok(()) } else { Err(("status", format!("it answered {status}"))) }
}

/// The final head.
async fn read_head(reader: &mut Reader, deadline: Instant) -> Result<ResponseHead, Bad> {
    let bad = |what: &str| ("bad_head", what.to_string());
    let mut search = Search::default();
    loop {
        match search.find(reader.buffer.data()) {
            Ok(Some(length)) => {
                let head = ResponseHead::parse(&reader.buffer.data()[..length]).ok_or_else(|| bad("no head"))?;
                reader.buffer.consume(length);
                if head.status >= 200 {
                    return Ok(head);
                }
                search = Search::default();
            }
            Ok(None) if reader.buffer.len() < LARGEST_HEAD => match reader.fill_until(LARGEST_HEAD, deadline).await {
                Ok(()) => {}
                Err(Halt::TimedOut) => return Err(("timeout", "no answer in time".into())),
                Err(Halt::Ended | Halt::Broken) if reader.buffer.is_empty() => {
                    return Err(("closed", "it closed without an answer".into()));
                }
                Err(Halt::Ended | Halt::Broken) => return Err(bad("half a head")),
            },
            _ => return Err(bad("no head, or one that is too large")),
        }
    }
}

/// Reads a body to its end, or as much of it as is decent.
async fn read_body(reader: &mut Reader, head: &ResponseHead) {
    let Some(framing) = head.framing("GET") else { return };
    let mut decoder = Decoder::new(framing);
    let mut left = LARGEST_BODY;
    loop {
        match decoder.step(&mut reader.buffer) {
            Ok(Step::Data(count)) if count <= left => {
                left -= count;
                decoder.took(count, &mut reader.buffer);
            }
            Ok(Step::More) if reader.fill(LARGEST_HEAD, Duration::from_secs(1)).await.is_ok() => {}
            _ => return,
        }
    }
}
