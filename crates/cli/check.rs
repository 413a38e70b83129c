//! `headwater check`: every mistake in a configuration, where it stands and what to write instead.

use crate::say;
use anyhow::Result;
use headwater_config::{Mistake, Override, Severity};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

/// Check configuration files: exit 0 if Headwater can run with each, 1 if not.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  headwater check /etc/headwater/headwater.toml")]
pub struct Check {
    /// The files.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Override a key, as `serve` would.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Print the mistakes as JSON.
    #[arg(long)]
    json: bool,
}

impl Check {
    /// Runs the verb.
    pub fn run(self) -> Result<ExitCode> {
        let overrides = match overrides_or_code(&self.settings) {
            Ok(overrides) => overrides,
            Err(code) => return Ok(code),
        };
        let mut usable = true;
        let mut found = Vec::new();
        for file in &self.files {
            let (policy, mistakes) = headwater_config::from_file(file, &overrides);
            usable &= policy.is_some();
            if !self.json {
                for mistake in &mistakes {
                    print_mistake(mistake);
                }
                let verdict = match (&policy, mistakes.len()) {
                    (Some(_), 0) => "good".into(),
                    (Some(_), count) => format!("usable, with {count} {}", plural(count, "warning")),
                    (None, _) => {
                        let errors = mistakes.iter().filter(|mistake| mistake.severity == Severity::Error).count();
                        format!("{errors} {}", plural(errors, "mistake"))
                    }
                };
                say::out(&format!("{}: {verdict}\n", file.display()))?;
            }
            found.extend(mistakes);
        }
        if self.json {
            let found: Vec<_> = found.iter().map(Mistake::to_json).collect();
            say::out(&format!("{:#}\n", serde_json::json!({ "usable": usable, "mistakes": found })))?;
        }
        Ok(if usable { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// What lies over the file: the environment, then the command line.
pub fn overrides(settings: &[String]) -> Result<Vec<Override>, Mistake> {
    // What is no Unicode is no setting either.
    let variables =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let mut overrides = Override::from_environment(variables);
    for setting in settings {
        overrides.push(Override::from_argument(setting)?);
    }
    Ok(overrides)
}

/// As [`overrides`]; what is no setting is said, and the code is that of a wrong call.
pub fn overrides_or_code(settings: &[String]) -> Result<Vec<Override>, ExitCode> {
    overrides(settings).map_err(|mistake| {
        say::aside(&format!("{mistake}\n"));
        ExitCode::from(2)
    })
}

/// Shows a mistake on standard error; on a terminal its first word has a colour.
pub fn print_mistake(mistake: &Mistake) {
    let text = mistake.to_string();
    let (word, colour) = match mistake.severity {
        Severity::Error => ("error", "\x1b[1;31m"),
        Severity::Warning => ("warning", "\x1b[1;33m"),
    };
    if std::io::stderr().is_terminal() {
        say::aside(&format!("{}\n\n", text.replacen(word, &format!("{colour}{word}\x1b[0m"), 1)));
    } else {
        say::aside(&format!("{text}\n\n"));
    }
}

fn plural(count: usize, word: &str) -> String {
    if count == 1 { word.into() } else { format!("{word}s") }
}
