//! `headwater serve`: the proxy, until a signal ends it.

use crate::check::{overrides, print_mistake};
use crate::descriptors::raise_limit;
use anyhow::{Context, Result};
use headwater_config::units;
use headwater_proxy::Server;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Serve pulls, in front of the origin.
///
/// SIGTERM and SIGINT stop it within `--drain`, SIGHUP reloads the file, SIGUSR1 reopens the access log.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  headwater serve -c /etc/headwater/headwater.toml --set listen.workers=4")]
pub struct Serve {
    /// The configuration.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Override a key; stands above the file and the environment.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Longest wait for what is in hand when it is told to stop.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    drain: Duration,
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    units::duration(text)
}

impl Serve {
    /// Runs the verb.
    pub fn run(self) -> Result<ExitCode> {
        start_log();
        let overrides = match overrides(&self.settings) {
            Ok(overrides) => overrides,
            Err(mistake) => {
                eprintln!("{mistake}");
                return Ok(ExitCode::from(2));
            }
        };
        let file = self.config.clone();
        let load = move || headwater_config::from_file(&file, &overrides);
        let (policy, mistakes) = load();
        mistakes.iter().for_each(print_mistake);
        let Some(policy) = policy else { return Ok(ExitCode::FAILURE) };
        raise_limit(&policy);
        // The handlers stand before anything listens: a signal that comes early is not lost, and ends nothing.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut signals = runtime.block_on(async { Signals::new() })?;
        let server = Server::start_with(policy, Some(Box::new(load)))?;
        let list = |all: &[std::net::SocketAddr]| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let mut ready = String::from("headwater: ready");
        for (name, addresses) in [("http", server.http()), ("https", server.https()), ("admin", &[server.admin()])] {
            if !addresses.is_empty() {
                ready += &format!(" {name}={}", list(addresses));
            }
        }
        eprintln!("{ready}");
        runtime.block_on(signals.obey(&server))?;
        tracing::info!("stopping: no new connections, waiting for what is in hand");
        if !server.stop(self.drain) {
            tracing::warn!("some pulls were cut off: they took longer than the drain allows");
        }
        Ok(ExitCode::SUCCESS)
    }
}

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
    user1: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let handle = |kind| signal(kind).context("cannot handle signals");
        Ok(Self {
            terminate: handle(SignalKind::terminate())?,
            interrupt: handle(SignalKind::interrupt())?,
            hangup: handle(SignalKind::hangup())?,
            user1: handle(SignalKind::user_defined1())?,
        })
    }

    /// Does what signals ask for until one asks for the end.
    async fn obey(&mut self, server: &Server) -> Result<()> {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return Ok(()),
                _ = self.interrupt.recv() => return Ok(()),
                _ = self.hangup.recv() => server.reload(),
                _ = self.user1.recv() => server.reopen_log(),
            }
        }
    }
}

/// Everything but the access log goes to standard error; `RUST_LOG` chooses how much.
fn start_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(false)
        .init();
}
