//! `headwater alert`: checks for Nagios and its kin.

use crate::api::{Api, block_on};
use crate::say;
use anyhow::{Result, anyhow, bail};
use headwater_control::alert::limit::{self, Limits, State};
use headwater_control::alert::{self, Checked, Measured};
use headwater_control::store::read_only;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

/// Checks for Nagios and its kin.
#[derive(clap::Args)]
pub struct Alert {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    Check(Check),
}

/// Check a figure: exit 0 (OK), 1 (WARNING), 2 (CRITICAL) or 3 (UNKNOWN).
///
/// What is not known is UNKNOWN, never OK: no data, data that is too old, a control plane that does not answer, a call that
/// is wrong.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  headwater alert check beacons --warn 5/m --crit 20/m --cdn fastly\n  headwater alert check offload --under --warn 90% --crit 80% --cdn akamai"
)]
struct Check {
    /// beacons, pulls, whoopsies, 5xx, edge-5xx, offload, hit-ratio, p95, disagreement, anomalies or collectors
    #[arg(value_parser = |name: &str| Checked::named(name).ok_or("there is no such figure"))]
    figure: Checked,
    /// From here on it is a warning: 5/m of a rate, 2% of a share, 500ms of a time.
    #[arg(long, allow_hyphen_values = true)]
    warn: String,
    /// From here on it is critical.
    #[arg(long, allow_hyphen_values = true)]
    crit: String,
    /// Too little is what is wrong, not too much.
    #[arg(long)]
    under: bool,
    /// Of this provider; of all together unless given.
    #[arg(long, value_name = "NAME")]
    cdn: Option<String>,
    /// Over so long: 5m, and 15m of what vendors tell, unless given.
    #[arg(long, value_name = "DURATION")]
    over: Option<String>,
    /// The newest minute may be so old: 5m, and 1h of what vendors tell, unless given.
    #[arg(long, value_name = "DURATION")]
    late: Option<String>,
    /// Read this store, and ask no control plane.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["config", "settings", "url"])]
    store: Option<PathBuf>,
    /// Print the answer as JSON; the codes stay.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    api: Api,
}

impl Alert {
    /// Runs the verb.
    pub fn run(self) -> ExitCode {
        let Verb::Check(check) = self.verb;
        match check.run() {
            Ok(code) => code,
            Err(why) if check.json => {
                let why = format!("{why:#}");
                let _ =
                    say::out(&format!("{:#}\n", serde_json::json!({ "state": State::Unknown.word(), "unknown": why })));
                ExitCode::from(State::Unknown as u8)
            }
            Err(why) => unknown(&format!("{} - {why:#}", check.figure.name())),
        }
    }
}

/// Says that it is not known, and why.
pub fn unknown(why: &str) -> ExitCode {
    let _ = say::out(&format!("UNKNOWN - {}\n", limit::clean(why)));
    ExitCode::from(State::Unknown as u8)
}

impl Check {
    fn run(&self) -> Result<ExitCode> {
        let read = |text: &str| limit::read(text, self.figure.unit()).map_err(|why| anyhow!(why));
        let limits = Limits { warn: read(&self.warn)?, crit: read(&self.crit)?, under: self.under };
        if !limits.are_in_order() {
            bail!("--crit is not beyond --warn");
        }
        let seconds = |text: &Option<String>, usual: i64| match text {
            Some(text) => headwater_config::units::duration(text)
                .map(|length| length.as_secs() as i64)
                .map_err(|why| anyhow!(why)),
            None => Ok(usual),
        };
        let over = seconds(&self.over, self.figure.usual_window())?;
        let late = seconds(&self.late, self.figure.usual_lateness())?;
        let measured = match &self.store {
            Some(store) => self.read_store(store, over)?,
            None => self.ask(over)?,
        };
        let now = now();
        // Of collectors lateness is the figure itself.
        let age = now - measured.window.1;
        if age > late && self.figure != Checked::Collectors {
            bail!("the newest that is known is {age} s old, and may be {late} s");
        }
        let state = limits.judge(measured.value);
        let said = if self.json {
            let mut answer = measured.to_json();
            answer["state"] = state.word().into();
            format!("{answer:#}\n")
        } else {
            limit::line(self.figure, self.cdn.as_deref(), &limits, &measured, now) + "\n"
        };
        say::out(&said)?;
        Ok(ExitCode::from(state as u8))
    }

    fn ask(&self, over: i64) -> Result<Measured> {
        let cdn = self.cdn.as_ref().map_or_else(String::new, |cdn| format!("&cdn={}", crate::api::in_a_query(cdn)));
        let found = self.api.find()?;
        let path = format!("/api/check?figure={}&over={over}{cdn}", self.figure.name());
        let answer = block_on(async { Ok(found.remote.get(&path).await?) })?;
        if let Some(why) = answer["unknown"].as_str() {
            bail!("{why}");
        }
        Measured::from_json(&answer)
            .ok_or_else(|| anyhow!("the control plane says neither a value nor why there is none"))
    }

    fn read_store(&self, store: &std::path::Path, over: i64) -> Result<Measured> {
        if self.figure == Checked::Anomalies {
            bail!("the control plane alone judges anomalies; ask it");
        }
        let found = read_only(store, |reader| {
            let providers = reader.providers()?;
            if let Some(unknown) = self.cdn.as_ref().filter(|cdn| !providers.contains(cdn)) {
                return Ok(Err(format!("the store knows nothing of {unknown}")));
            }
            alert::measure(reader, self.figure, &providers, self.cdn.as_deref(), over, now())
        });
        found?.map_err(|why| anyhow!(why))
    }
}

fn now() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() as i64
}
