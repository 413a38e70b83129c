//! A number of places that all workers share: connections to the origin, pulls at one time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// Counts the places that are taken, and those who wait for one.
#[derive(Debug, Default)]
pub(crate) struct Cap {
    open: AtomicUsize,
    idle: AtomicUsize,
    waiting: AtomicUsize,
    /// Rings when a place or an idle connection may be had.
    pub freed: Notify,
    /// Rings at every worker when somebody waits while connections rest, which may rest with another worker.
    pub wanted: Notify,
}

impl Cap {
    /// Takes a place, if there is one among `most`.
    pub fn take(self: &Arc<Self>, most: usize) -> Option<Place> {
        let taken = self.open.try_update(SeqCst, SeqCst, |open| (open < most).then_some(open + 1));
        taken.is_ok().then(|| Place(self.clone()))
    }

    /// A place among `most`, as soon as there is one. `None`: there was none until the deadline.
    pub async fn take_until(self: &Arc<Self>, most: usize, deadline: Instant) -> Option<Place> {
        if let Some(place) = self.take(most) {
            return Some(place);
        }
        let _waiting = self.wait();
        loop {
            // Looked at again after we are seen to wait: what came free before rang for nobody.
            if let Some(place) = self.take(most) {
                return Some(place);
            }
            timeout_at(deadline, self.freed.notified()).await.ok()?;
        }
    }

    /// Counts one who waits until the guard is dropped. Look for a place once more after that, and then wait.
    pub fn wait(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, SeqCst);
        if self.idle.load(Relaxed) > 0 {
            self.wanted.notify_waiters();
        }
        Waiting(self)
    }

    /// Open, idle and waiting.
    pub fn counts(&self) -> [(&'static str, usize); 3] {
        [("open", self.open.load(Relaxed)), ("idle", self.idle.load(Relaxed)), ("waiting", self.waiting.load(Relaxed))]
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    /// Whether anybody waits.
    pub fn is_wanted(&self) -> bool {
        self.waiting.load(SeqCst) > 0
    }

    /// A connection went to rest, or came back from it.
    pub fn rest(&self, came: bool) {
        if came {
            self.idle.fetch_add(1, Relaxed);
        } else {
            self.idle.fetch_sub(1, Relaxed);
        }
    }
}

/// The place of an open connection.
#[derive(Debug)]
pub(crate) struct Place(Arc<Cap>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, SeqCst);
        if self.0.is_wanted() {
            self.0.freed.notify_one();
        }
    }
}

/// Somebody who waits.
pub(crate) struct Waiting<'c>(&'c Cap);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
    }
}
