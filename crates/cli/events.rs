//! `headwater events`: what happened, written down and read.

use crate::api::{Api, block_on, in_a_query};
use crate::say;
use anyhow::{Context, Result, bail};
use headwater_config::Control;
use headwater_control::events::{self, Note};
use headwater_control::moment;
use headwater_control::remote::RemoteError;
use headwater_control::store::{Event, Store};
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::SystemTime;

/// What happened: a line on every graph.
#[derive(clap::Args)]
pub struct Events {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// Write down that something happened. Where the control plane is down, it is written to its store directly.
    #[command(after_help = "Example:\n  headwater events add \"deploy 3f2a\" --tag deploy")]
    Add {
        /// What happened, in a line.
        text: String,
        /// A word to find it by.
        #[arg(long, default_value = "")]
        tag: String,
        /// When: 2026-11-24T20:00:00Z, seconds since 1970, or "15m ago". Now unless given.
        #[arg(long, value_name = "TIME")]
        at: Option<String>,
        /// Who says so; the user who is logged in unless given.
        #[arg(long)]
        who: Option<String>,
        /// Print the event as JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        api: Api,
    },
    /// Show what happened, the latest last.
    #[command(after_help = "Example:\n  headwater events list --from \"2d ago\" --tag deploy")]
    List {
        /// From when; a day ago unless given.
        #[arg(long, value_name = "TIME")]
        from: Option<String>,
        /// Until when; now unless given.
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
        /// Of this tag alone.
        #[arg(long)]
        tag: Option<String>,
        /// Print the events as JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        api: Api,
    },
}

impl Events {
    /// Runs the verb.
    pub fn run(self) -> Result<ExitCode> {
        match self.verb {
            Verb::Add { text, tag, at, who, json, api } => {
                let now = now();
                let at = match at.map(|at| moment::read(&at, now)).transpose() {
                    Ok(at) => at.unwrap_or(now),
                    Err(why) => return Ok(called_wrongly(&why)),
                };
                let note = Note { at: Some(at), tag, text, who: who.unwrap_or_else(user) };
                // Its own look: what is wrong is said though nobody answers.
                let event = match note.accept(now, i64::MAX / 2) {
                    Ok(event) => event,
                    Err(why) => return Ok(called_wrongly(&why)),
                };
                add(&event, json, &api)?;
            }
            Verb::List { from, until, tag, json, api } => {
                let now = now();
                let mut query = String::new();
                for (key, value) in [("from", from), ("until", until)] {
                    match value.map(|value| moment::read(&value, now)).transpose() {
                        Ok(Some(at)) => query.push_str(&format!("&{key}={at}")),
                        Ok(None) => {}
                        Err(why) => return Ok(called_wrongly(&why)),
                    }
                }
                if let Some(tag) = tag {
                    query.push_str(&format!("&tag={}", in_a_query(&tag)));
                }
                let found = api.find()?;
                let answer = block_on(async {
                    Ok(found.remote.get(&format!("/api/events?{}", query.trim_start_matches('&'))).await?)
                })?;
                let list = answer["events"].as_array().context("the control plane answers without events")?;
                say::out(&if json { format!("{:#}\n", Value::from(list.clone())) } else { table(list) })?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn add(event: &Event, json: bool, api: &Api) -> Result<()> {
    let found = api.find()?;
    let body = json!({ "at": event.at, "tag": event.tag, "text": event.text, "who": event.who });
    let (written, way) = block_on(async {
        match (found.remote.post("/api/events", &body).await, &found.control) {
            (Ok(written), _) => Ok((written, "api")),
            (Err(error @ RemoteError::Unreachable { .. }), Some(control)) => {
                keep(control, event).await.with_context(|| error.to_string())?;
                Ok((events::to_json(event), "store"))
            }
            (Err(error), _) => Err(error.into()),
        }
    })?;
    let mut shown = written.clone();
    shown["written_to"] = way.into();
    let says = match (json, way) {
        (true, _) => format!("{shown:#}\n"),
        (false, "api") => format!("{}  {}\n", moment::write(event.at), event.text),
        (false, _) => {
            format!("{}  {}  (the control plane is down: written to its store)\n", moment::write(event.at), event.text)
        }
    };
    say::out(&says)?;
    Ok(())
}

/// Writes to the file that the control plane will find again.
async fn keep(control: &Control, event: &Event) -> Result<()> {
    if !control.store.exists() {
        // A file that we made would be ours, and not the control plane's.
        bail!("there is no store at {} yet; start `headwater control` once", control.store.display());
    }
    let store = Store::open(&control.store, control.keep)?;
    Ok(events::keep(&store, event.clone()).await?)
}

fn table(list: &[Value]) -> String {
    let text = |event: &Value, key: &str| event[key].as_str().unwrap_or_default().to_string();
    list.iter()
        .map(|event| {
            let tag = text(event, "tag");
            let tag = if tag.is_empty() { "-".to_string() } else { tag };
            format!(
                "{}  {:<9} {:<14} {}  ({})\n",
                text(event, "time"),
                text(event, "kind"),
                tag,
                text(event, "text"),
                text(event, "who")
            )
        })
        .collect()
}

fn called_wrongly(why: &str) -> ExitCode {
    say::aside(&format!("headwater: {why}\n"));
    ExitCode::from(2)
}

/// Who is logged in, also behind `sudo`.
fn user() -> String {
    let name = ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "unknown".into())
}

fn now() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() as i64
}
