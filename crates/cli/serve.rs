//! `headwater serve`: the proxy, until a signal ends it.

use crate::check::{overrides_or_code, print_mistake};
use crate::control;
use crate::descriptors::raise_limit;
use crate::say;
use crate::service::{self, Fed};
use crate::successor::{Predecessor, Program, Successor};
use anyhow::{Context, Result};
use headwater_config::units;
use headwater_proxy::{Inherited, Server};
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

/// Serve pulls, in front of the origin.
///
/// SIGTERM and SIGINT stop it within `--drain`, SIGHUP reloads the file, SIGUSR1 reopens the access log. SIGUSR2 starts the
/// program anew, as it then lies on disk, on the same sockets; this process leaves when it has finished what it has in hand.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  headwater serve -c /etc/headwater/headwater.toml --set listen.workers=4")]
pub struct Serve {
    /// The configuration.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Override a key; stands above the file and the environment.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Run the control plane beside the proxy, in this process, as `headwater control` does.
    #[arg(long)]
    with_control: bool,
    /// Longest wait for what is in hand when it is told to stop.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    drain: Duration,
    /// Longest stay after a successor was started (SIGUSR2), for what is in hand: long pulls, WebSockets.
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = parse_duration)]
    linger: Duration,
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    units::duration(text)
}

impl Serve {
    /// Runs the verb.
    pub fn run(self) -> Result<ExitCode> {
        start_log();
        let program = Program::of_this_process()?;
        let inherited = Inherited::take()?;
        let predecessor = inherited.predecessor()?.map(Predecessor::behind);
        let overrides = match overrides_or_code(&self.settings) {
            Ok(overrides) => overrides,
            Err(code) => return Ok(code),
        };
        let file = self.config.clone();
        let control = self.with_control.then(|| (file.clone(), overrides.clone()));
        let load = move || headwater_config::for_proxy(&file, &overrides);
        let (policy, mistakes) = load();
        mistakes.iter().for_each(print_mistake);
        let Some(policy) = policy else { return Ok(ExitCode::FAILURE) };
        raise_limit(&policy);
        // The handlers stand before anything listens: a signal that comes early is not lost, and ends nothing.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let signals = runtime.block_on(async { Signals::new() })?;
        let server = Server::start_with(policy, Some(Box::new(load)), inherited)?;
        let list = |all: &[std::net::SocketAddr]| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let mut addresses = String::new();
        for (name, all) in [("http", server.http()), ("https", server.https()), ("admin", &[server.admin()])] {
            if !all.is_empty() {
                addresses += &format!(" {name}={}", list(all));
            }
        }
        if let Some(predecessor) = &predecessor {
            let [ok, failed] = predecessor.counts();
            server.count_upgrades("ok", ok + 1);
            server.count_upgrades("failed", failed);
        }
        say::aside(&format!("headwater: ready{addresses}\n"));
        service::serves(&format!("serving{addresses}"));
        if let Some(predecessor) = predecessor {
            predecessor.relieve();
        }
        let control = control.map(|(file, overrides)| control::beside(file, overrides)).transpose()?;
        let mut watch = Watch { server, signals, program, addresses };
        let end = runtime.block_on(async { watch.until_the_end().await });
        // A successor has a control plane of its own, on the same address and store.
        drop(control);
        runtime.block_on(async {
            match end {
                End::Stopped => Ok(watch.stop(self.drain)),
                End::Relieved(successor) => Ok(watch.leave(successor, self.linger, self.drain).await),
            }
        })
    }
}

/// How a watch ends.
enum End {
    Stopped,
    /// The successor serves.
    Relieved(Successor),
}

/// A running server, and the signals it obeys.
struct Watch {
    server: Server,
    signals: Signals,
    program: Program,
    /// Where it listens, as words.
    addresses: String,
}

/// A successor that has been started and does not serve yet.
type Starting = Pin<Box<dyn Future<Output = Result<Successor>>>>;

impl Watch {
    /// Does what signals ask for until one asks for the end, or until a successor serves.
    async fn until_the_end(&mut self) -> End {
        let mut fed = Fed::start(self.server.beats());
        let mut starting: Option<Starting> = None;
        loop {
            let signals = &mut self.signals;
            tokio::select! {
                _ = signals.terminate.recv() => return End::Stopped,
                _ = signals.interrupt.recv() => return End::Stopped,
                _ = signals.hangup.recv() => self.reload(),
                _ = signals.user1.recv() => self.server.reopen_log(),
                _ = signals.user2.recv() => match starting {
                    Some(_) => tracing::warn!("SIGUSR2: a successor is being started already"),
                    None => starting = self.start_successor(),
                },
                Some(successor) = async { Some(starting.as_mut()?.await) } => match successor {
                    Ok(successor) => return End::Relieved(successor),
                    Err(error) => {
                        starting = None;
                        self.stay(&error);
                    }
                },
                () = Fed::hungry(&mut fed) => fed.iter_mut().for_each(|fed| fed.feed(self.server.beats())),
            }
        }
    }

    fn reload(&self) {
        service::reloads();
        let addresses = &self.addresses;
        service::reloaded(&match self.server.reload() {
            true => format!("serving{addresses}"),
            false => format!("the configuration on disk has mistakes, the old one is in force; serving{addresses}"),
        });
    }

    fn start_successor(&self) -> Option<Starting> {
        tracing::info!(program = %self.program.path().display(), "starting a successor");
        service::goes_on(&format!("starting a successor; serving{}", self.addresses));
        let started = self.server.listeners().map_err(Into::into).and_then(|listeners| {
            self.program.start(listeners, [self.server.upgrades("ok"), self.server.upgrades("failed")])
        });
        match started {
            Ok(successor) => Some(Box::pin(successor.serves())),
            Err(error) => {
                self.stay(&error);
                None
            }
        }
    }

    /// The successor does not serve: nothing has changed here.
    fn stay(&self, error: &anyhow::Error) {
        self.server.count_upgrades("failed", 1);
        tracing::error!("the successor is of no use: {error:#}. This process goes on serving");
        service::goes_on(&format!("an upgrade failed, see the log; serving{}", self.addresses));
    }

    fn stop(self, drain: Duration) -> ExitCode {
        tracing::info!("stopping: no new connections, waiting for what is in hand");
        service::stops();
        self.finish(drain)
    }

    /// Accepts nothing more and finishes what is in hand, while the successor serves. The service manager hears of the
    /// successor alone.
    async fn leave(mut self, mut successor: Successor, linger: Duration, drain: Duration) -> ExitCode {
        self.server.retire();
        tracing::info!(successor = successor.id(), "the successor serves: finishing what is in hand");
        let deadline = Instant::now() + linger;
        while !self.server.is_idle() && Instant::now() < deadline {
            let signals = &mut self.signals;
            tokio::select! {
                _ = signals.terminate.recv() => return self.finish(drain),
                _ = signals.interrupt.recv() => return self.finish(drain),
                _ = signals.hangup.recv() => {}
                _ = signals.user1.recv() => self.server.reopen_log(),
                _ = signals.user2.recv() => tracing::warn!("SIGUSR2: this process has a successor already"),
                () = sleep(Duration::from_millis(20)) => {}
            }
            if successor.has_ended() {
                tracing::error!("the successor has ended");
                self.finish(drain);
                return ExitCode::FAILURE;
            }
        }
        self.finish(Duration::ZERO)
    }

    fn finish(self, drain: Duration) -> ExitCode {
        if !self.server.stop(drain) {
            tracing::warn!("some pulls were cut off: they took longer than they may");
        }
        ExitCode::SUCCESS
    }
}

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
    user1: tokio::signal::unix::Signal,
    user2: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let handle = |kind| signal(kind).context("cannot handle signals");
        Ok(Self {
            terminate: handle(SignalKind::terminate())?,
            interrupt: handle(SignalKind::interrupt())?,
            hangup: handle(SignalKind::hangup())?,
            user1: handle(SignalKind::user_defined1())?,
            user2: handle(SignalKind::user_defined2())?,
        })
    }
}

/// Everything but the access log goes to standard error; `RUST_LOG` chooses how much.
pub fn start_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Would be told on standard error with a panic where that is closed, and a proxy goes on without its log.
        .log_internal_errors(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(false)
        .init();
}
