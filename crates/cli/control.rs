//! `headwater control`: the control plane, until a signal ends it; and the same beside the proxy.

use crate::check::{overrides_or_code, print_mistake};
use crate::say;
use crate::serve::start_log;
use anyhow::{Context, Result};
use headwater_config::{Override, Policy};
use headwater_control::{ControlError, Service};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// Between two attempts to begin beside a proxy, which runs whether that works or not.
const AGAIN: Duration = Duration::from_secs(5);

/// Watch what the CDNs do, keep it and show it: the control plane.
///
/// It reads the same file as the proxy, reads the proxies' figures and asks the vendors for theirs. The proxy runs on
/// when it is gone. SIGTERM and SIGINT stop it, SIGHUP reloads the file.
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
        let overrides = match overrides_or_code(&self.settings) {
            Ok(overrides) => overrides,
            Err(code) => return Ok(code),
        };
        let Some(policy) = load(&self.config, &overrides) else { return Ok(ExitCode::FAILURE) };
        runtime()?.block_on(async {
            let mut terminate = signal(SignalKind::terminate())?;
            let mut interrupt = signal(SignalKind::interrupt())?;
            let mut end = std::pin::pin!(async {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            });
            work(&self.config, &overrides, policy, &mut end).await
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

/// A control plane beside the proxy; it ends when this is dropped.
pub struct Beside {
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Beside {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Runs the control plane in threads of its own. Where it cannot begin, it says so and tries again: the proxy does without.
pub fn beside(file: PathBuf, overrides: Vec<Override>) -> Result<Beside> {
    let runtime = runtime()?;
    let (end, ended) = oneshot::channel::<()>();
    let thread = std::thread::Builder::new().name("control".into()).spawn(move || {
        runtime.block_on(async {
            let mut ended = std::pin::pin!(async { drop(ended.await) });
            loop {
                let result = match load(&file, &overrides) {
                    Some(policy) => work(&file, &overrides, policy, &mut ended).await,
                    None => Err(anyhow::anyhow!("its configuration has mistakes")),
                };
                let Err(error) = result else { return };
                tracing::error!("there is no control plane, and another attempt in {} s: {error:#}", AGAIN.as_secs());
                tokio::select! {
                    () = &mut ended => return,
                    () = tokio::time::sleep(AGAIN) => {}
                }
            }
        });
    })?;
    Ok(Beside { end: Some(end), thread: Some(thread) })
}

fn runtime() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_name("control").enable_all().build()?)
}

fn load(file: &Path, overrides: &[Override]) -> Option<Policy> {
    let (policy, mistakes) = headwater_config::from_file(file, overrides);
    mistakes.iter().for_each(print_mistake);
    policy
}

/// Works until `end`. SIGHUP reads the file anew; a file with mistakes leaves all as it was.
async fn work(
    file: &Path,
    overrides: &[Override],
    mut policy: Policy,
    end: &mut (impl Future<Output = ()> + Unpin),
) -> Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        let service = open(policy).await?;
        let (listen, public) = service.addresses()?;
        let public = public.map_or_else(String::new, |public| format!(" public={public}"));
        say::aside(&format!("headwater: ready control={listen}{public}\n"));
        let mut next = None;
        let until = async {
            tokio::select! {
                () = &mut *end => {}
                reloaded = reloaded(&mut hangup, file, overrides) => next = Some(reloaded),
            }
        };
        service.run(until).await.context("the control plane ended")?;
        match next {
            Some(reloaded) => policy = reloaded,
            None => return Ok(()),
        }
    }
}

/// The next configuration that is asked for and has no mistakes.
async fn reloaded(hangup: &mut tokio::signal::unix::Signal, file: &Path, overrides: &[Override]) -> Policy {
    loop {
        hangup.recv().await;
        match load(file, overrides) {
            Some(policy) => return policy,
            None => tracing::error!("the configuration on disk has mistakes, the old one is in force"),
        }
    }
}

/// Opens the service; an address that is still held by who leaves just now is waited for.
async fn open(policy: Policy) -> Result<Service, ControlError> {
    for _ in 0..20 {
        match Service::open(policy.clone()) {
            Err(ControlError::Listen { error, .. }) if error.kind() == std::io::ErrorKind::AddrInUse => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            opened => return opened,
        }
    }
    Service::open(policy)
}
