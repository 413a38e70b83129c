//! `headwater logs`: the proxy's figures from access logs.

use crate::check::{overrides_or_code, print_mistake};
use crate::say;
use crate::serve::start_log;
use anyhow::Result;
use headwater_control::logs::{self, LogsError, Options};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// Count what each CDN pulls from the access logs of Apache or nginx, without the proxy.
///
/// It follows the logs through rotation, truncation and restarts, and counts every line once, in the minute of the line's
/// own time. The counts go to the store of `[control]`, to Graphite if `[metrics]` names one, and to --listen. The rules,
/// the `[[cdn]]` names and the beacon's path are those of the configuration.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  headwater logs -c /etc/headwater/headwater.toml --from-start /var/log/apache2/access.log\n  \
                        headwater logs -c headwater.toml --format '%h %t \"%r\" %>s %b %{X-CDN-Provider}i %D' access.log"
)]
pub struct Logs {
    /// The logs; what rotation made of each is found by itself.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The configuration.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Override a key; stands above the file and the environment.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// How lines look, in the notation of Apache's LogFormat or nginx's log_format. Without it: combined, with or without
    /// the provider's header after it and the virtual host before it.
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Read a log that was never read before from its beginning, not from its end.
    #[arg(long)]
    from_start: bool,
    /// End when all that is there has been read: for cron.
    #[arg(long)]
    once: bool,
    /// Show the counts as Prometheus text, under /metrics.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "once")]
    listen: Option<SocketAddr>,
}

impl Logs {
    /// Runs the verb.
    pub fn run(self) -> Result<ExitCode> {
        start_log();
        let overrides = match overrides_or_code(&self.settings) {
            Ok(overrides) => overrides,
            Err(code) => return Ok(code),
        };
        let (policy, mistakes) = headwater_config::from_file(&self.config, &overrides);
        mistakes.iter().for_each(print_mistake);
        let Some(policy) = policy else { return Ok(ExitCode::FAILURE) };
        let Self { files, format, from_start, once, listen, .. } = self;
        let options = Options { files, format, from_start, once, listen };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let result = runtime.block_on(async {
            let mut terminate = signal(SignalKind::terminate())?;
            let mut interrupt = signal(SignalKind::interrupt())?;
            let end = async {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            };
            let ready = |shown: Option<SocketAddr>| {
                let shown = shown.map_or_else(String::new, |address| format!(" listen={address}"));
                say::aside(&format!("headwater: ready{shown}\n"));
            };
            anyhow::Ok(logs::run(policy, options, ready, end).await)
        })?;
        match result {
            Ok(()) => Ok(ExitCode::SUCCESS),
            Err(error @ LogsError::Format(_)) => {
                say::aside(&format!("headwater: {error}\n"));
                Ok(ExitCode::from(2))
            }
            Err(error) => Err(error.into()),
        }
    }
}
