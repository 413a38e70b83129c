//! `headwater control`: the control plane, until a signal ends it.

use crate::check::{overrides, print_mistake};
use crate::say;
use crate::serve::start_log;
use anyhow::{Context, Result};
use headwater_control::Service;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// Watch what the CDNs do, keep it and show it: the control plane.
///
/// It reads the same file as the proxy, reads the proxies' figures and asks the vendors for theirs. The proxy runs on
/// when it is gone. SIGTERM and SIGINT stop it.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  headwater control -c /etc/headwater/headwater.toml")]
pub struct Control {
    /// The configuration.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Override a key; stands above the file and the environment.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
}

impl Control {
    /// Runs the verb.
    pub fn run(self) -> Result<ExitCode> {
        start_log();
        let overrides = match overrides(&self.settings) {
            Ok(overrides) => overrides,
            Err(mistake) => {
                say::aside(&format!("{mistake}\n"));
                return Ok(ExitCode::from(2));
            }
        };
        let (policy, mistakes) = headwater_config::from_file(&self.config, &overrides);
        mistakes.iter().for_each(print_mistake);
        let Some(policy) = policy else { return Ok(ExitCode::FAILURE) };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(async {
            let mut terminate = signal(SignalKind::terminate())?;
            let mut interrupt = signal(SignalKind::interrupt())?;
            let service = Service::open(policy)?;
            let (listen, public) = service.addresses()?;
            let public = public.map_or_else(String::new, |public| format!(" public={public}"));
            say::aside(&format!("headwater: ready control={listen}{public}\n"));
            let end = async {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            };
            service.run(end).await.context("the control plane ended")
        })?;
        Ok(ExitCode::SUCCESS)
    }
}
