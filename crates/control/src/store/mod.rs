//! What is kept: one SQLite file. A write is one transaction, and once it has returned no `kill -9` undoes it; minutes roll
//! up into hours and days in the same transaction that changes them, so that they never disagree.

mod batch;
mod read;
mod retention;
mod schema;
mod sums;
#[cfg(test)]
mod tests;
mod write;

use crate::ControlError;
use headwater_config::Keep;
use rusqlite::{Connection, OpenFlags};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use tokio::sync::oneshot;

pub use batch::{Batch, Event, Key};
pub use read::{Reader, Series, Step};
pub use sums::{Change, Stretch};

/// Connections that readers leave open for the next one.
const SPARE: usize = 4;
/// How long a writer of another process, such as `headwater events add`, is waited for.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

type Job = Box<dyn FnOnce(&mut write::Writer) + Send>;

/// A handle on the store; clones share it.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    jobs: mpsc::Sender<Job>,
}

struct Shared {
    path: PathBuf,
    spare: Mutex<Vec<Connection>>,
}

impl Store {
    /// Opens the file, or makes it, and starts the thread that writes.
    ///
    /// # Errors
    /// Where it cannot be opened, or was made by a newer Headwater.
    pub fn open(path: &Path, keep: Keep) -> Result<Self, ControlError> {
        let open = |why: String| ControlError::Open { path: path.into(), why };
        let mut connection = Connection::open(path).map_err(|error| open(error.to_string()))?;
        connection.busy_timeout(PATIENCE)?;
        schema::prepare(&mut connection).map_err(|error| open(error.to_string()))?;
        let mut writer = write::Writer::new(connection, keep)?;
        let (jobs, queue) = mpsc::channel::<Job>();
        std::thread::Builder::new()
            .name("store".into())
            .spawn(move || queue.into_iter().for_each(|job| job(&mut writer)))
            .map_err(|error| open(error.to_string()))?;
        Ok(Self { shared: Arc::new(Shared { path: path.into(), spare: Mutex::default() }), jobs })
    }

    /// Writes all of the batch or, where that fails, nothing of it. What is returned is durable.
    ///
    /// # Errors
    /// Where the disk is full or the file is gone.
    pub async fn write(&self, batch: Batch) -> Result<(), ControlError> {
        self.job(move |writer| writer.write(&batch)).await
    }

    /// Forgets what is older than `now` less what the configuration says is kept. Returns how many rows went.
    ///
    /// # Errors
    /// As for [`Store::write`].
    pub async fn forget(&self, now: i64) -> Result<usize, ControlError> {
        self.job(move |writer| writer.forget(now)).await
    }

    async fn job<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut write::Writer) -> Result<T, ControlError> + Send + 'static,
    ) -> Result<T, ControlError> {
        let (tell, told) = oneshot::channel();
        let job: Job = Box::new(move |writer| drop(tell.send(work(writer))));
        self.jobs.send(job).map_err(|_| ControlError::Closed)?;
        told.await.map_err(|_| ControlError::Closed)?
    }

    /// Reads, on a thread of its own, from one state of the store.
    ///
    /// # Errors
    /// What the question returns, or where the file cannot be read.
    pub async fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Reader<'_>) -> Result<T, ControlError> + Send + 'static,
    ) -> Result<T, ControlError> {
        let shared = self.shared.clone();
        tokio::task::spawn_blocking(move || {
            let spare = shared.spare().pop();
            let mut connection = spare.map_or_else(|| shared.connect(), Ok)?;
            let transaction = connection.transaction()?;
            let answer = question(&Reader::new(&transaction))?;
            drop(transaction);
            let mut spare = shared.spare();
            if spare.len() < SPARE {
                spare.push(connection);
            }
            Ok(answer)
        })
        .await
        .map_err(|_| ControlError::Closed)?
    }
}

/// Asks a store that another process writes, and changes nothing in it.
///
/// # Errors
/// Where there is no such file, or it cannot be read, or what the question returns.
pub fn read_only<T>(
    path: &Path,
    question: impl FnOnce(&Reader<'_>) -> Result<T, ControlError>,
) -> Result<T, ControlError> {
    let open = |why: String| ControlError::Open { path: path.into(), why };
    let mut connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(|error| open(error.to_string()))?;
    connection.busy_timeout(PATIENCE)?;
    schema::look(&connection).map_err(|error| open(error.to_string()))?;
    let transaction = connection.transaction()?;
    question(&Reader::new(&transaction))
}

impl Shared {
    fn spare(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connect(&self) -> Result<Connection, ControlError> {
        let connection = Connection::open_with_flags(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.busy_timeout(PATIENCE)?;
        Ok(connection)
    }
}
