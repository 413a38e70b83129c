//! Connections to the origin: a worker's idle ones, newest first, or a new one under the cap.

use super::budget::Budget;
use super::health::{Candidate, Pass, choose};
use super::server::{InHand, OwnPlace, Server, now};
use super::way::NoWay;
use crate::cap::{Cap, Place};
use crate::failure::Failure;
use crate::wire::{Reader, Writer};
use headwater_config::Origin;
use prometheus::IntCounterVec;
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// An open connection.
pub(crate) struct Connection {
    pub reader: Reader,
    pub writer: Writer,
    pub server: Arc<Server>,
    /// Whether it has served a pull before: then the origin may have closed it just as this one was sent.
    pub reused: bool,
    // This one first: the other rings for those who wait for either.
    _own: OwnPlace,
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
    budget: Arc<Budget>,
    /// Failures of the origin, by reason.
    errors: IntCounterVec,
    /// Pulls that the budget has not been told of.
    asked: Cell<u32>,
}

impl Pool {
    pub fn new(cap: Arc<Cap>, budget: Arc<Budget>, errors: IntCounterVec) -> Self {
        Self {
            idle: RefCell::default(),
            cap,
            waiting: Cell::new(0),
            rested: Notify::new(),
            turn: Cell::new(0),
            budget,
            errors,
            asked: Cell::new(0),
        }
    }

    /// A connection to the server that is to have the next pull; one that is `fresh` has served none before. For a pull that is
    /// sent `once` the kernel is asked whether a connection still stands, as nobody may send it again.
    pub async fn acquire(
        &self,
        servers: &[Arc<Server>],
        origin: &Origin,
        fresh: bool,
        once: bool,
    ) -> Result<(Connection, InHand), Failure> {
        if !fresh {
            self.asked.set(self.asked.get() + 1);
            self.turn.set(self.turn.get().wrapping_add(1));
        }
        let deadline = Instant::now() + origin.wait_timeout;
        let mut waiting = None;
        // Not to be chosen again: servers that took no connection, and, until somebody leaves, those that have all they may.
        let (mut failed, mut full) = (Vec::new(), Vec::new());
        loop {
            if let Some((index, pass)) = self.choose(servers, origin, &failed, &full) {
                let server = &servers[index];
                if !fresh
                    && pass != Pass::Trial
                    && let Some(connection) = self.check_out(server, once)
                    && let Some(hand) = server.enter(pass)
                {
                    return Ok((connection, hand));
                }
                let Some(own) = server.take_place(origin.server_max_connections) else {
                    full.push(index);
                    continue;
                };
                if let Some(place) = self.cap.take(origin.max_connections) {
                    drop(waiting.take());
                    // Another pull may just have taken the trial: then there is none any more.
                    let Some(hand) = server.enter(pass) else { continue };
                    match connect(hand, origin, own, place, servers).await {
                        Ok(connected) => return Ok(connected),
                        Err(failure) => {
                            failed.push(index);
                            if failed.len() == servers.len() || !self.may_retry(origin) {
                                return Err(failure);
                            }
                            // The pull goes on, so nobody else counts it.
                            self.errors.with_label_values(&[failure.reason()]).inc();
                        }
                    }
                    continue;
                }
            }
            // At the cap any server's idle connection is better than none, of those that are up.
            let of_any = || {
                servers.iter().filter(|server| server.standing().is_up()).find_map(|server| {
                    let connection = self.check_out(server, once)?;
                    Some((connection, server.enter(Pass::Offered)?))
                })
            };
            if let Some(found) = (!fresh).then(of_any).flatten() {
                return Ok(found);
            }
            if fresh || full.is_empty() {
                self.evict_one();
            }
            full.clear();
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

    /// The server that is to have the next pull. `None`: those that are up have all the connections they may have.
    fn choose(
        &self,
        servers: &[Arc<Server>],
        origin: &Origin,
        failed: &[usize],
        full: &[usize],
    ) -> Option<(usize, Pass)> {
        let first = self.turn.get();
        let candidates = (0..servers.len())
            .map(|turn| first.wrapping_add(turn) % servers.len())
            .filter(|index| !failed.contains(index) && !full.contains(index))
            .map(|index| (index, Candidate { standing: servers[index].standing(), load: servers[index].load() }));
        let chosen = choose(candidates, origin.slow_start.as_millis() as u64, now, fastrand::f64)?;
        // Those that are up come free before others come back.
        let waits = chosen.1 == Pass::Desperate && full.iter().any(|index| servers[*index].standing().is_up());
        (!waits).then_some(chosen)
    }

    /// Whether one pull more may be made than was asked for.
    pub fn may_retry(&self, origin: &Origin) -> bool {
        self.settle();
        self.budget.take(origin.retry_budget, now() / 1000)
    }

    /// Tells the budget of the pulls since it was last told.
    fn settle(&self) {
        let asked = self.asked.take();
        if asked > 0 {
            self.budget.add(asked, now() / 1000);
        }
    }

    /// The newest idle connection that still stands.
    fn check_out(&self, server: &Arc<Server>, once: bool) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        let now = Instant::now();
        while let Some(at) = idle.iter().rposition(|idle| Arc::ptr_eq(&idle.connection.server, server)) {
            let mut found = idle.remove(at);
            self.cap.rest(false);
            let reader = &mut found.connection.reader;
            if found.until > now && if once { reader.surely_rests() } else { reader.rests() } {
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
    pub fn sweep(&self, servers: &[Arc<Server>], slow_start: Duration) {
        self.settle();
        servers.iter().for_each(|server| server.settle(slow_start));
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

async fn connect(
    mut hand: InHand,
    origin: &Origin,
    own: OwnPlace,
    place: Place,
    servers: &[Arc<Server>],
) -> Result<(Connection, InHand), Failure> {
    match hand.server.way.connect(origin.connect_timeout).await {
        Ok(stream) => {
            let (reader, writer) = stream.split();
            let server = hand.server.clone();
            Ok((Connection { reader, writer, server, reused: false, _own: own, _place: place }, hand))
        }
        Err(NoWay { failure, detail }) => {
            hand.failed(failure.reason(), &detail, servers);
            Err(failure)
        }
    }
}
