//! The whole: logs are read, counted, written, delivered and shown.

use super::count::{Fate, Tally};
use super::expose::{self, Lines};
use super::follow::{Follower, Found};
use super::format::{Format, FormatError};
use super::graphite::Graphite;
use crate::service::now;
use crate::store::{Batch, Step, Store};
use crate::{ControlError, figures};
use headwater_config::Policy;
use std::collections::HashSet;
use std::fs::{File, TryLockError};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use thiserror::Error;

/// Between two looks at logs that were read to their end.
const POLL: Duration = Duration::from_millis(250);
/// What is read of a log before another has its turn.
const TURN: u64 = 4 << 20;
/// What was counted is written at least so often.
const LONGEST_ROUND: Duration = Duration::from_millis(500);
/// Between two words of the same trouble.
const QUIET: Duration = Duration::from_secs(60);
const DELIVERY: Duration = Duration::from_secs(5);
const FORGETTING: Duration = Duration::from_secs(3600);

/// What is to be read, and how.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The logs.
    pub files: Vec<PathBuf>,
    /// Apache's or nginx's notation; `None`: the usual ones are tried.
    pub format: Option<String>,
    /// Logs that were never read are read from their beginning.
    pub from_start: bool,
    /// Ends when all that is there has been read.
    pub once: bool,
    /// Shows the counts as Prometheus text.
    pub listen: Option<SocketAddr>,
}

/// Why logs cannot be read.
#[derive(Debug, Error)]
pub enum LogsError {
    /// The format is none.
    #[error("--format: {0}")]
    Format(#[from] FormatError),
    /// A log cannot be opened.
    #[error("cannot read {}: {error}{}", path.display(), remedy(error))]
    File {
        /// The log.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Somebody else counts into the same store.
    #[error(
        "another `headwater logs` is counting into {}; give all logs to one run, or another store to this one",
        store.display()
    )]
    Locked {
        /// The store.
        store: PathBuf,
    },
    /// The lock's file cannot be made.
    #[error("cannot lock {}: {error}", path.display())]
    Lock {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Nobody can listen there.
    #[error("cannot listen on {address}: {error}; another process may hold the port")]
    Listen {
        /// From `--listen`.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] ControlError),
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "; the user who runs this has to be able to read it and to list its folder: on Debian, be in the group adm"
        }
        io::ErrorKind::NotFound => "; is the path right?",
        _ => "",
    }
}

/// Reads and counts until `end`, or with `once` until all is read. `ready` is told where it listens.
///
/// # Errors
/// Where it cannot begin. Trouble with a log or the store later on is said in the log, and tried again.
pub async fn run(
    policy: Policy,
    options: Options,
    ready: impl FnOnce(Option<SocketAddr>),
    end: impl Future<Output = ()>,
) -> Result<(), LogsError> {
    let policy = Arc::new(policy);
    let header = &policy.identify.header;
    let formats = match &options.format {
        Some(text) => vec![Format::parse(text, header)?],
        None => Format::usual(header),
    };
    if options.format.is_some() && !formats.iter().any(Format::has_provider) {
        tracing::warn!(header, "the format has no field for this header: all lines count as untagged");
    }
    let _lock = lock(&policy)?;
    let store = Store::open(&policy.control.store, policy.control.keep)?;
    let sources = known_sources(&store, &policy).await?;
    let lines = Arc::<Lines>::default();
    let mut worker = Worker {
        followers: open(&store, &options).await?,
        tally: Tally::new(policy.clone(), formats, sources),
        lines: lines.clone(),
        troubles: Troubles::default(),
    };
    // So that a log's end is where it was now, and not where it is at the first line.
    write(&store, worker.batch()).await;
    let mut shown = None;
    if let Some(address) = options.listen {
        let listen = |error| LogsError::Listen { address, error };
        let listener = tokio::net::TcpListener::bind(address).await.map_err(listen)?;
        shown = Some(listener.local_addr().map_err(listen)?);
        tokio::spawn(expose::serve(listener, store.clone(), lines.clone()));
    }
    let graphite = policy.metrics.graphite.clone().map(|to| Graphite {
        to,
        prefix: policy.metrics.prefix.clone(),
        is_away: false,
    });
    let read_at = Arc::new(AtomicU64::new(0));
    if options.once {
        loop {
            let round;
            (worker, round) = worker.round().await?;
            write(&store, round.batch).await;
            if let Some((path, error)) = round.failed {
                return Err(LogsError::File { path, error });
            }
            if round.has_ended {
                if let Some(mut graphite) = graphite {
                    graphite.deliver(&store, round.began).await?;
                }
                forget_daily(&store).await?;
                tracing::info!("{}", lines.summary());
                return Ok(());
            }
        }
    }
    ready(shown);
    let mut parts = tokio::task::JoinSet::new();
    if let Some(graphite) = graphite {
        parts.spawn(deliver(graphite, store.clone(), read_at.clone()));
    }
    parts.spawn(forget(store.clone()));
    let mut end = pin!(end);
    loop {
        let round;
        (worker, round) = worker.round().await?;
        write(&store, round.batch).await;
        let mut pause = Duration::ZERO;
        if round.has_ended {
            read_at.store(round.began as u64, Ordering::Relaxed);
            pause = POLL;
        }
        tokio::select! {
            biased;
            () = &mut end => break,
            () = tokio::time::sleep(pause) => {}
        }
    }
    parts.shutdown().await;
    tracing::info!("{}", lines.summary());
    Ok(())
}

/// One run counts into a store. The lock is the kernel's: it ends with its process, however that ends.
fn lock(policy: &Policy) -> Result<File, LogsError> {
    let mut path = policy.control.store.clone().into_os_string();
    path.push(".logs-lock");
    let path = PathBuf::from(path);
    let failed = |error| LogsError::Lock { path: path.clone(), error };
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LogsError::Locked { store: policy.control.store.clone() }),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Strangers' sources that have a label since earlier runs.
async fn known_sources(store: &Store, policy: &Policy) -> Result<HashSet<String>, ControlError> {
    let known = store.read(|reader| reader.points(figures::BEACONS, None, (0, i64::MAX), Step::Day)).await?;
    let labels = known.into_iter().map(|series| series.label);
    Ok(labels.filter(|label| label != "other" && !super::count::is_own_source(label, policy)).collect())
}

async fn open(store: &Store, options: &Options) -> Result<Vec<Follower>, LogsError> {
    let mut followers: Vec<Follower> = Vec::new();
    for path in &options.files {
        let failed = |error| LogsError::File { path: path.clone(), error };
        let absolute = std::path::absolute(path).map_err(failed)?;
        if followers.iter().any(|follower| follower.path() == absolute) {
            continue;
        }
        let name = format!("logs:{}", absolute.display());
        let state = store.read(move |reader| reader.checkpoint(&name)).await?;
        let (follower, found) =
            Follower::open(&absolute, state.as_deref(), options.from_start, now()).map_err(failed)?;
        let log = absolute.display();
        match found {
            Found::Known => tracing::info!(%log, "read on from where it was left"),
            Found::New if options.from_start => tracing::info!(%log, "read for the first time, from its beginning"),
            Found::New => {
                tracing::info!(%log, "read for the first time, from its end: what is in it now is not counted (--from-start)");
            }
            Found::Missing if options.once => {
                return Err(LogsError::File { path: path.clone(), error: io::ErrorKind::NotFound.into() });
            }
            Found::Missing => tracing::warn!(%log, "there is no such file yet"),
        }
        followers.push(follower);
    }
    Ok(followers)
}

/// Writes, however long it takes: what is not written is not read further either.
async fn write(store: &Store, batch: Batch) {
    if batch.is_empty() {
        return;
    }
    let mut wait = Duration::from_millis(100);
    while let Err(error) = store.write(batch.clone()).await {
        tracing::error!(%error, "cannot write what was counted; trying again");
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(30));
    }
}

async fn deliver(mut graphite: Graphite, store: Store, read_at: Arc<AtomicU64>) {
    loop {
        if let read @ 1.. = read_at.load(Ordering::Relaxed)
            && let Err(error) = graphite.deliver(&store, read as i64).await
        {
            tracing::error!(%error, "cannot read what is to be delivered");
        }
        tokio::time::sleep(DELIVERY).await;
    }
}

async fn forget(store: Store) {
    let mut hour = tokio::time::interval(FORGETTING);
    loop {
        hour.tick().await;
        if let Err(error) = store.forget(now()).await {
            tracing::error!(%error, "cannot forget what is old");
        }
    }
}

/// The same from cron, where it would cost more than all else.
async fn forget_daily(store: &Store) -> Result<(), ControlError> {
    const CHECKPOINT: &str = "logs:forgot";
    let today = (now() / 86_400).to_string();
    if store.read(|reader| reader.checkpoint(CHECKPOINT)).await?.as_ref() == Some(&today) {
        return Ok(());
    }
    store.forget(now()).await?;
    let mut batch = Batch::default();
    batch.checkpoint(CHECKPOINT, Some(today));
    store.write(batch).await
}

impl Lines {
    fn summary(&self) -> String {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        format!("lines counted={} unmatched={} too_old={}", of(&self.counted), of(&self.unmatched), of(&self.too_old))
    }

    /// Counts a line; says whether it is one to quote.
    fn note(&self, fate: Fate) -> bool {
        match fate {
            Fate::Counted => &self.counted,
            Fate::TooOld => &self.too_old,
            Fate::Unmatched | Fate::Senseless => &self.unmatched,
        }
        .fetch_add(1, Ordering::Relaxed);
        matches!(fate, Fate::Unmatched | Fate::Senseless)
    }
}

/// Who reads and counts, on a thread that may wait for disks.
struct Worker {
    followers: Vec<Follower>,
    tally: Tally,
    lines: Arc<Lines>,
    troubles: Troubles,
}

struct Round {
    began: i64,
    batch: Batch,
    has_ended: bool,
    failed: Option<(PathBuf, io::Error)>,
}

impl Worker {
    async fn round(mut self) -> Result<(Self, Round), ControlError> {
        tokio::task::spawn_blocking(move || {
            let began = now();
            let start = Instant::now();
            let (mut has_ended, mut failed) = (false, None);
            self.tally.set_now(began);
            while !has_ended && !self.tally.is_full() && start.elapsed() < LONGEST_ROUND {
                has_ended = self.turn(began, &mut failed);
            }
            let batch = self.batch();
            (self, Round { began, batch, has_ended, failed })
        })
        .await
        .map_err(|_| ControlError::Closed)
    }

    /// A turn for every log; whether all were read to their end.
    fn turn(&mut self, now: i64, failed: &mut Option<(PathBuf, io::Error)>) -> bool {
        let Self { followers, tally, lines, troubles } = self;
        let mut has_ended = true;
        for follower in followers {
            let log = follower.path().display().to_string();
            let result = follower.read(now, TURN, |line| {
                let fate = line.map_or(Fate::Unmatched, |line| tally.count(line));
                if lines.note(fate)
                    && let Some(more) = troubles.speaks(0)
                {
                    let line = line.unwrap_or(b"(longer than 64 KiB)");
                    let line = line[..line.len().min(300)].escape_ascii();
                    tracing::warn!(log, more, "this line is of no known format: {line}");
                }
            });
            match result {
                Ok(ended) => has_ended &= ended,
                Err(error) => {
                    if let Some(more) = troubles.speaks(1) {
                        tracing::error!(log, more, "cannot be read: {error}{}", remedy(&error));
                    }
                    *failed = Some((follower.path().into(), error));
                }
            }
        }
        has_ended
    }

    /// What was counted, and how far that is.
    fn batch(&mut self) -> Batch {
        let mut batch = Batch::default();
        self.tally.drain_into(&mut batch);
        for follower in &mut self.followers {
            if let Some(checkpoint) = follower.checkpoint() {
                batch.checkpoint(follower.name(), Some(checkpoint));
            }
        }
        batch
    }
}

/// Trouble of each kind is told of once a minute.
#[derive(Default)]
struct Troubles([(Option<Instant>, u64); 2]);

impl Troubles {
    /// How much was not told of since the last word, if it is time for one.
    fn speaks(&mut self, kind: usize) -> Option<u64> {
        let (last, silent) = &mut self.0[kind];
        if last.is_some_and(|last| last.elapsed() < QUIET) {
            *silent += 1;
            return None;
        }
        *last = Some(Instant::now());
        Some(std::mem::take(silent))
    }
}
