//! What proxies do, seen in their `/status`: reloads, origin servers that leave and come back, proxies that fall silent. The
//! last look is kept in the store together with the events that it gave, so that a restart of ours neither misses what
//! happened meanwhile nor tells it twice.

use crate::plain;
use crate::service::now;
use crate::store::{Batch, Event};
use crate::{Context, ControlError};
use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(5);
/// For one answer.
const DEADLINE: Duration = Duration::from_secs(4);
/// Of an answer, in bytes.
const LIMIT: usize = 4 << 20;
/// So many looks in a row without an answer are an event.
const SILENT_AFTER: u32 = 3;
/// Origin servers of one proxy that are told apart.
const MOST_SERVERS: usize = 200;
/// Of a name that a proxy tells us, in characters.
const LONGEST_NAME: usize = 100;
/// Clocks and the looks' own duration, in seconds: a state that is so much younger than the last look began after it.
const SLACK: f64 = 2.0;

/// Looks for as long as it is polled.
pub(crate) async fn run(context: Arc<Context>) {
    let control = &context.policy.control;
    let proxies = if control.proxies.is_empty() {
        vec![context.policy.listen.admin.to_string()]
    } else {
        control.proxies.clone()
    };
    join_all(proxies.iter().map(|proxy| watch(&context, proxy))).await;
}

async fn watch(context: &Context, proxy: &str) {
    let name = format!("status {proxy}");
    let mut last = {
        let name = name.clone();
        let kept = context.store.read(move |reader| reader.checkpoint(&name)).await;
        kept.ok().flatten().and_then(|kept| Seen::from_kept(&kept)).unwrap_or_default()
    };
    let mut silent = 0;
    let mut beat = tokio::time::interval(EVERY);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        let next = match look(proxy).await {
            Ok(seen) => {
                silent = 0;
                seen
            }
            Err(why) => {
                silent += 1;
                tracing::debug!(proxy, why, "no status");
                if silent < SILENT_AFTER {
                    continue;
                }
                Seen { answers: false, at: now(), ..last.clone() }
            }
        };
        let told = compare(proxy, &last, &next);
        if told.is_empty() && last.same_as(&next) {
            // The moment of the last look need not be kept at every look.
            last = next;
            continue;
        }
        if let Err(error) = keep(context, &name, &next, told).await {
            tracing::error!(%error, "what a proxy did cannot be written down; it is tried again");
            continue;
        }
        last = next;
    }
}

async fn keep(context: &Context, name: &str, seen: &Seen, told: Vec<Event>) -> Result<(), ControlError> {
    let mut batch = Batch::default();
    for event in told {
        batch.audit(event.at, event.who.clone(), event.kind.clone(), event.text.clone());
        batch.event(event);
    }
    batch.checkpoint(name, Some(seen.to_kept()));
    context.store.write(batch).await
}

async fn look(proxy: &str) -> Result<Seen, String> {
    let request = Request::get("/status").body(Full::<Bytes>::default()).map_err(|error| error.to_string())?;
    let answer = plain::ask(proxy, request, DEADLINE, LIMIT).await?;
    if answer.status() != StatusCode::OK {
        return Err(format!("it answers {}", answer.status()));
    }
    let status: Value = serde_json::from_slice(answer.body()).map_err(|error| error.to_string())?;
    Seen::read(&status, now()).ok_or_else(|| "this is no status of a proxy".into())
}

/// What is compared from look to look.
#[derive(Clone, Debug, Default, PartialEq)]
struct Seen {
    /// When, in seconds since the epoch; 0 before the first look.
    at: i64,
    answers: bool,
    pid: u64,
    hash: String,
    /// When the file was last read anew and what came of it, as the proxy says it.
    reload: Option<(String, String)>,
    /// State and its age in seconds, by server.
    servers: BTreeMap<String, (String, f64)>,
}

impl Seen {
    /// Reads `/status`. `None` where it has another shape.
    fn read(status: &Value, at: i64) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(|text| text.chars().take(LONGEST_NAME).collect::<String>());
        let reload = &status["policy"]["last_reload"];
        let servers = status["upstream"]["servers"].as_array()?.iter().take(MOST_SERVERS);
        Some(Self {
            at,
            answers: true,
            pid: status["pid"].as_u64()?,
            hash: text(&status["policy"]["hash"])?,
            reload: text(&reload["at"]).zip(text(&reload["result"])),
            servers: servers
                .map(|server| {
                    Some((text(&server["server"])?, (text(&server["state"])?, server["since_seconds"].as_f64()?)))
                })
                .collect::<Option<_>>()?,
        })
    }

    fn to_kept(&self) -> String {
        json!({
            "at": self.at, "answers": self.answers, "pid": self.pid, "hash": self.hash, "reload": self.reload,
            "servers": self.servers,
        })
        .to_string()
    }

    fn from_kept(text: &str) -> Option<Self> {
        let kept: Value = serde_json::from_str(text).ok()?;
        let text = |value: &Value| value.as_str().map(str::to_string);
        Some(Self {
            at: kept["at"].as_i64()?,
            answers: kept["answers"].as_bool()?,
            pid: kept["pid"].as_u64()?,
            hash: text(&kept["hash"])?,
            reload: text(&kept["reload"][0]).zip(text(&kept["reload"][1])),
            servers: kept["servers"]
                .as_object()?
                .iter()
                .map(|(name, state)| Some((name.clone(), (text(&state[0])?, state[1].as_f64()?))))
                .collect::<Option<_>>()?,
        })
    }

    /// But for how old everything is.
    fn same_as(&self, other: &Self) -> bool {
        let states = |seen: &Self| {
            seen.servers.iter().map(|(name, (state, _))| (name.clone(), state.clone())).collect::<Vec<_>>()
        };
        (self.answers, self.pid, &self.hash, &self.reload, states(self))
            == (other.answers, other.pid, &other.hash, &other.reload, states(other))
    }
}

/// What happened between two looks. Nothing did before the first.
fn compare(proxy: &str, last: &Seen, next: &Seen) -> Vec<Event> {
    let mut told = Vec::new();
    let mut tell = |kind: &str, tag: &str, at: i64, text: String| {
        told.push(Event { at, kind: kind.into(), tag: tag.into(), text, who: proxy.into() });
    };
    if last.at == 0 {
        return told;
    }
    if last.answers != next.answers {
        let text = if next.answers { "the proxy answers again" } else { "the proxy does not answer" };
        tell("proxy", if next.answers { "answers" } else { "silent" }, next.at, format!("{text}: {proxy}"));
    }
    if !next.answers {
        return told;
    }
    if last.pid != next.pid {
        tell("proxy", "start", next.at, format!("another process serves: {proxy}, pid {}", next.pid));
    }
    if last.hash != next.hash {
        tell("reload", "reload", next.at, format!("policy {} is in force, before it {}", next.hash, last.hash));
    } else if last.pid == next.pid && last.reload != next.reload {
        // One that came to the same policy changed nothing, or not yet.
        if next.reload.as_ref().is_some_and(|(_, result)| result != "ok") {
            let text = "the file on disk has mistakes; the policy in force stays";
            tell("reload", "reload-failed", next.at, text.into());
        }
    }
    for (server, (state, age)) in &next.servers {
        let Some((before, _)) = last.servers.get(server) else { continue };
        let since = next.at - *age as i64;
        if state != before {
            tell("origin", state, since, format!("origin server {server} is {state}, and was {before}"));
        } else if last.pid == next.pid && *age + SLACK < (next.at - last.at) as f64 {
            tell(
                "origin",
                state,
                since,
                format!("origin server {server} is {state} again, and was not between two looks"),
            );
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(state: &str, age: f64) -> Value {
        json!({
            "pid": 7,
            "policy": { "hash": "aa", "last_reload": null },
            "upstream": { "servers": [{ "server": "127.0.0.1:8000", "state": state, "since_seconds": age }] },
        })
    }

    fn seen(state: &str, age: f64, at: i64) -> Seen {
        Seen::read(&status(state, age), at).unwrap()
    }

    fn texts(last: &Seen, next: &Seen) -> Vec<String> {
        compare("127.0.0.1:9180", last, next)
            .into_iter()
            .map(|event| format!("{} {} {}", event.at, event.kind, event.tag))
            .collect()
    }

    #[test]
    fn the_first_look_tells_nothing_and_the_next_only_what_changed() {
        assert!(texts(&Seen::default(), &seen("down", 1.0, 1000)).is_empty());
        assert!(texts(&seen("up", 100.0, 1000), &seen("up", 105.0, 1005)).is_empty());
        assert_eq!(texts(&seen("up", 100.0, 1000), &seen("ejected", 3.0, 1005)), ["1002 origin ejected"]);
    }

    #[test]
    fn a_server_that_left_and_came_back_between_two_looks_is_told_of() {
        assert_eq!(texts(&seen("up", 100.0, 1000), &seen("up", 1.0, 1005)), ["1004 origin up"]);
        let restarted = Seen { pid: 8, ..seen("up", 1.0, 1005) };
        assert_eq!(texts(&seen("up", 100.0, 1000), &restarted), ["1005 proxy start"]);
    }

    #[test]
    fn reloads_are_told_of_by_what_came_of_them() {
        let last = seen("up", 100.0, 1000);
        let reload = |result: &str| Some(("today".to_string(), result.to_string()));
        let changed = Seen { hash: "bb".into(), reload: reload("ok"), ..seen("up", 105.0, 1005) };
        assert_eq!(texts(&last, &changed), ["1005 reload reload"]);
        let failed = Seen { reload: reload("failed"), ..seen("up", 105.0, 1005) };
        assert_eq!(texts(&last, &failed), ["1005 reload reload-failed"]);
        assert!(texts(&failed, &Seen { at: 1010, ..failed.clone() }).is_empty());
        let same = Seen { reload: reload("ok"), ..seen("up", 105.0, 1005) };
        assert!(texts(&last, &same).is_empty(), "it changed nothing");
    }

    #[test]
    fn a_silent_proxy_is_told_of_once_and_so_is_its_return() {
        let last = seen("up", 100.0, 1000);
        let silent = Seen { answers: false, at: 1015, ..last.clone() };
        assert_eq!(texts(&last, &silent), ["1015 proxy silent"]);
        assert!(texts(&silent, &Seen { at: 1020, ..silent.clone() }).is_empty());
        assert_eq!(texts(&silent, &seen("up", 125.0, 1025)), ["1025 proxy answers"]);
    }

    #[test]
    fn what_is_kept_is_what_was_seen() {
        let seen = Seen { reload: Some(("a".into(), "ok".into())), ..seen("up", 1.5, 1000) };
        assert_eq!(Seen::from_kept(&seen.to_kept()), Some(seen));
        assert_eq!(Seen::read(&json!({ "pid": 1 }), 0), None);
        assert_eq!(Seen::from_kept("{}"), None);
    }
}
