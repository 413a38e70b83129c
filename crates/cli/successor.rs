//! A process and its successor: the program as it now lies on disk, started on the same sockets.
//!
//! Between them lies one line. The predecessor sends `ok=N failed=N`, its counts of upgrades; the successor, once it serves,
//! sends `ready`. Two versions speak here: words may be added, and those that are not known are passed over.

use anyhow::{Context, Result, bail};
use command_fds::{CommandFdExt, FdMapping};
use headwater_proxy::PREDECESSOR;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::time::{sleep, timeout};

/// Longest wait for a successor to serve.
const PATIENCE: Duration = Duration::from_secs(30);
/// The first descriptor after standard input, output and error.
const FIRST: i32 = 3;

/// How this process was started.
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// To be called at the start: a package may replace the file later, and what the kernel then says of it is of no use.
    pub fn of_this_process() -> Result<Self> {
        let mut arguments = std::env::args_os();
        let name = PathBuf::from(arguments.next().unwrap_or_default());
        let path = if name.components().count() > 1 {
            std::path::absolute(&name).ok()
        } else {
            let folders = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&folders).map(|folder| folder.join(&name)).find(|path| path.is_file())
        };
        let path = match path.filter(|path| path.is_file()) {
            Some(path) => path,
            None => std::env::current_exe().context("cannot tell where this program lies")?,
        };
        Ok(Self { path, arguments: arguments.collect() })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Starts it anew, with the listeners by their names.
    pub fn start(&self, listeners: Vec<(&'static str, OwnedFd)>, [ok, failed]: [u64; 2]) -> Result<Successor> {
        let (mut line, theirs) = UnixStream::pair()?;
        // A socket holds so few bytes: this does not wait.
        writeln!(line, "ok={ok} failed={failed}")?;
        line.set_nonblocking(true)?;
        let all: Vec<(&str, OwnedFd)> = listeners.into_iter().chain([(PREDECESSOR, theirs.into())]).collect();
        let names = all.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(":");
        let mapped = all.into_iter().zip(FIRST..);
        let mapped: Vec<_> = mapped.map(|((_, parent_fd), child_fd)| FdMapping { parent_fd, child_fd }).collect();
        let mut command = Command::new(&self.path);
        command
            .args(&self.arguments)
            .env("LISTEN_FDS", mapped.len().to_string())
            .env("LISTEN_FDNAMES", names)
            // Both name this process. Without them the descriptors and the watchdog are the successor's.
            .env_remove("LISTEN_PID")
            .env_remove("WATCHDOG_PID");
        command.fd_mappings(mapped)?;
        let child = command.spawn().with_context(|| format!("cannot start {}", self.path.display()))?;
        Ok(Successor { child, line: tokio::net::UnixStream::from_std(line)?, serves: false })
    }
}

/// A successor; ended where it is dropped before it serves.
pub struct Successor {
    child: Child,
    line: tokio::net::UnixStream,
    serves: bool,
}

impl Successor {
    /// Waits until it serves.
    pub async fn serves(mut self) -> Result<Self> {
        let mut word = [0; READY.len()];
        match timeout(PATIENCE, self.line.read_exact(&mut word)).await {
            Ok(Ok(_)) if word == *READY => {
                self.serves = true;
                Ok(self)
            }
            Ok(_) => {
                // Its end of the line is closed a moment before it ends.
                for _ in 0..100 {
                    if let Some(status) = self.child.try_wait()? {
                        bail!("it ended before it served ({status})");
                    }
                    sleep(Duration::from_millis(10)).await;
                }
                bail!("it does not say that it serves");
            }
            Err(_) => bail!("it does not serve within {} s", PATIENCE.as_secs()),
        }
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        if !self.serves {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

const READY: &[u8; 6] = b"ready\n";

/// The process whose place this one takes.
pub struct Predecessor(UnixStream);

impl Predecessor {
    /// At the other end of the line that was inherited.
    pub fn behind(line: UnixStream) -> Self {
        Self(line)
    }

    /// Its counts of upgrades. What it does not say is 0.
    pub fn counts(&self) -> [u64; 2] {
        let mut text = String::new();
        let _ = self.0.set_read_timeout(Some(Duration::from_secs(1)));
        let _ = BufReader::new(&self.0).read_line(&mut text);
        ["ok=", "failed="].map(|key| {
            text.split_whitespace().find_map(|word| word.strip_prefix(key)?.parse().ok()).unwrap_or_default()
        })
    }

    /// Tells it that this process serves; from then on it takes nothing more.
    pub fn relieve(mut self) {
        if let Err(error) = self.0.write_all(READY) {
            tracing::warn!(%error, "the process that started this one is gone; this one serves in its place");
        }
    }
}
