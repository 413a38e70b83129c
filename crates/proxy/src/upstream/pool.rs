//! Connections to the origin: a worker's idle ones, newest first, or a new one under the cap.

use super::server::Server;
use crate::cap::{Cap, Place};
use crate::failure::Failure;
use crate::wire::{Reader, Writer};
use headwater_config::Origin;
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// An open connection.
pub(crate) struct Connection {
    pub reader: Reader,
    pub writer: Writer,
    pub server: Arc<Server>,
    /// Whether it has served a pull before: then the origin may have closed it just as this one was sent.
    pub reused: bool,
    _place: Place,
}

/// A connection that rests, and until when it may.
struct Idle {
    connection: Connection,
    until: Instant,
}

/// A worker's idle connections.
pub(crate) struct Pool {
    idle: RefCell<Vec<Idle>>,
    cap: Arc<Cap>,
    /// Pulls of this worker that wait, and the bell for them.
    waiting: Cell<usize>,
    rested: Notify,
    /// Where the search among equally loaded servers begins.
    turn: Cell<usize>,
}

impl Pool {
    pub fn new(cap: Arc<Cap>) -> Self {
        Self { idle: RefCell::default(), cap, waiting: Cell::new(0), rested: Notify::new(), turn: Cell::new(0) }
    }

    /// A connection to the server with the fewest pulls in hand; one that is `fresh` has served none before.
    pub async fn acquire(&self, servers: &[Arc<Server>], origin: &Origin, fresh: bool) -> Result<Connection, Failure> {
        let deadline = Instant::now() + origin.wait_timeout;
        let mut waiting = None;
        let order = self.order(servers);
        let mut tried = 0;
        loop {
            let server = match order.get(tried) {
                Some(index) => &servers[*index],
                None => &servers[0],
            };
            if !fresh && let Some(connection) = self.check_out(server) {
                return Ok(connection);
            }
            if let Some(place) = self.cap.take(origin.max_connections) {
                drop(waiting.take());
                match self.connect(server, origin, place).await {
                    Ok(connection) => return Ok(connection),
                    Err(_) if tried + 1 < servers.len() => tried += 1,
                    Err(failure) => return Err(failure),
                }
                continue;
            }
            // At the cap any server's idle connection is better than none.
            if fresh {
                self.evict_one();
            } else if let Some(connection) = servers.iter().find_map(|server| self.check_out(server)) {
                return Ok(connection);
            }
            if waiting.is_none() {
                waiting = Some((self.cap.wait(), WaitingHere::new(&self.waiting)));
                // What came free before we were seen to wait rang for nobody.
                continue;
            }
            let freed = async {
                tokio::select! {
                    () = self.rested.notified() => {}
                    () = self.cap.freed.notified() => {}
                }
            };
            if timeout_at(deadline, freed).await.is_err() {
                return Err(Failure::NoConnection);
            }
        }
    }

    /// The servers, those with the fewest pulls in hand first; nothing where there is no choice.
    fn order(&self, servers: &[Arc<Server>]) -> Vec<usize> {
        if servers.len() < 2 {
            return Vec::new();
        }
        let first = self.turn.get();
        self.turn.set(first.wrapping_add(1));
        let mut order: Vec<usize> = (0..servers.len()).map(|i| first.wrapping_add(i) % servers.len()).collect();
        order.sort_by_key(|&index| servers[index].load());
        order
    }

    async fn connect(&self, server: &Arc<Server>, origin: &Origin, place: Place) -> Result<Connection, Failure> {
        let (reader, writer) = server.connect(origin.connect_timeout).await?.split();
        Ok(Connection { reader, writer, server: server.clone(), reused: false, _place: place })
    }

    /// The newest idle connection that still stands.
    fn check_out(&self, server: &Arc<Server>) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        let now = Instant::now();
        while let Some(at) = idle.iter().rposition(|idle| Arc::ptr_eq(&idle.connection.server, server)) {
            let mut found = idle.remove(at);
            self.cap.rest(false);
            if found.until > now && found.connection.reader.rests() {
                return Some(found.connection);
            }
        }
        None
    }

    /// Puts a connection to rest until a moment, or gives its place to somebody who waits.
    pub fn check_in(&self, mut connection: Connection, until: Instant) {
        connection.reused = true;
        self.cap.rest(true);
        self.idle.borrow_mut().push(Idle { connection, until });
        if self.waiting.get() > 0 {
            self.rested.notify_one();
        } else if self.cap.is_wanted() {
            // Who waits sits at another worker, which cannot use a connection of this one: it gets the place.
            self.evict_one();
        }
    }

    /// Gives up a resting connection if a pull of another worker waits for its place.
    pub fn yield_one(&self) {
        if self.cap.is_wanted() && self.waiting.get() == 0 {
            self.evict_one();
        }
    }

    /// Rings when this worker should look whether it can [`Pool::yield_one`].
    pub async fn wanted(&self) {
        self.cap.wanted.notified().await;
    }

    fn evict_one(&self) {
        let mut idle = self.idle.borrow_mut();
        if !idle.is_empty() {
            drop(idle.remove(0));
            self.cap.rest(false);
        }
    }

    /// Closes what has rested too long or has been closed by the origin. Called now and then.
    pub fn sweep(&self, servers: &[Arc<Server>]) {
        let now = Instant::now();
        let mut idle = self.idle.borrow_mut();
        let before = idle.len();
        idle.retain_mut(|idle| {
            let known = servers.iter().any(|server| Arc::ptr_eq(server, &idle.connection.server));
            known && idle.until > now && idle.connection.reader.rests()
        });
        for _ in idle.len()..before {
            self.cap.rest(false);
        }
        if idle.is_empty() {
            idle.shrink_to_fit();
        }
    }

    /// Closes all.
    pub fn clear(&self) {
        for _ in self.idle.borrow_mut().drain(..) {
            self.cap.rest(false);
        }
    }
}

/// A pull of this worker that waits.
struct WaitingHere<'p>(&'p Cell<usize>);

impl<'p> WaitingHere<'p> {
    fn new(count: &'p Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for WaitingHere<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
