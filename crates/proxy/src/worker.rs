//! A worker: one thread, one runtime, its own pool of connections to the origin, and the connections it was given.

use crate::access_log::{Batch, Clock, LINGER, Line, Sink};
use crate::caller::{Caller, Door};
use crate::cap::Cap;
use crate::complaints::Complaints;
use crate::downstream::{Downstream, http1, http2};
use crate::figures::Figures;
use crate::live::{Held, Live};
use crate::pull;
use crate::strangers::Strangers;
use crate::trace;
use crate::upstream::{Budget, Pool};
use arc_swap::ArcSwap;
use headwater_config::LogFormat;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Acquire, Ordering::Relaxed, fence};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::sleep;

/// How often idle connections to the origin are looked through.
const SWEEP: Duration = Duration::from_millis(500);

/// What all workers share.
pub(crate) struct Shared {
    pub live: ArcSwap<Live>,
    pub figures: Arc<Figures>,
    pub cap: Arc<Cap>,
    /// For retries.
    pub budget: Arc<Budget>,
    /// Those who prove nothing.
    pub strangers: Arc<Strangers>,
    /// Pulls that were admitted.
    pub admission: Arc<Cap>,
    /// Bodies that are compressed as they come.
    pub compressing: Arc<Cap>,
    /// Spans on their way to the collector.
    pub spans: trace::Queue,
    /// What the log was told of the origin.
    pub complaints: Complaints,
    /// Pulls being answered.
    pub in_flight: AtomicUsize,
    /// Open connections from downstream, by worker.
    pub open: Vec<AtomicUsize>,
    /// Held by every task that accepts connections: what one of them accepts is counted before it lets go.
    pub accepting: Arc<()>,
    /// How often each worker has looked after its house.
    pub beats: Vec<AtomicU64>,
    /// No answer keeps its connection any more.
    pub draining: AtomicBool,
    /// Nor does a connection wait for another pull.
    pub stopping: AtomicBool,
    /// Rings for who makes the checks, when a policy has come into force.
    pub reloaded: Notify,
}

impl Shared {
    /// Open connections from downstream.
    pub fn downstream(&self) -> usize {
        self.open.iter().map(|open| open.load(Relaxed)).sum()
    }

    /// Whether nothing is accepted any more and all that was accepted is gone.
    pub fn is_idle(&self) -> bool {
        let accepting = Arc::strong_count(&self.accepting) > 1;
        fence(Acquire);
        !accepting && self.downstream() == 0
    }
}

/// A connection that was accepted, for the worker that has the fewest.
pub(crate) struct Accepted {
    pub stream: std::net::TcpStream,
    pub peer: SocketAddr,
    pub door: Door,
}

/// A connection as the worker keeps it in mind: whether it rests, and how to end it.
struct Guest {
    rests: Rc<Cell<bool>>,
    task: AbortHandle,
}

/// One of the threads that serve pulls.
pub(crate) struct Worker {
    pub index: usize,
    pub shared: Arc<Shared>,
    pub pool: Pool,
    pub clock: RefCell<Clock>,
    live: RefCell<Held>,
    batch: Batch,
    guests: RefCell<Vec<Option<Guest>>>,
    free: RefCell<Vec<usize>>,
    /// Rings when the worker begins to drain.
    drain: Notify,
}

impl Worker {
    pub fn new(index: usize, shared: Arc<Shared>, sink: Sink) -> Rc<Self> {
        let live = RefCell::new(Rc::new(shared.live.load_full()));
        Rc::new(Self {
            index,
            pool: Pool::new(shared.cap.clone(), shared.budget.clone(), shared.figures.upstream_errors.clone()),
            clock: RefCell::new(Clock::new()),
            live,
            batch: Batch::new(sink),
            guests: RefCell::default(),
            free: RefCell::default(),
            drain: Notify::new(),
            shared,
        })
    }

    /// The policy in force.
    pub fn live(&self) -> Held {
        let current = self.shared.live.load();
        let mut mine = self.live.borrow_mut();
        if !Arc::ptr_eq(&current, &mine) {
            *mine = Rc::new(Arc::clone(&current));
        }
        mine.clone()
    }

    /// Runs something beside the pulls, in this thread.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        tokio::task::spawn_local(task);
    }

    /// Adds a line to the log; the first of a batch sees to it that it leaves soon.
    pub fn log(self: &Rc<Self>, line: &Line<'_>, format: LogFormat) {
        self.clock.borrow_mut().tick();
        if self.batch.add(line, format, &self.clock.borrow()) {
            let worker = self.clone();
            self.spawn(async move {
                sleep(LINGER).await;
                worker.batch.hand_over();
            });
        }
    }

    /// Takes a connection that another worker accepted.
    pub fn take_over(self: &Rc<Self>, accepted: Accepted) {
        match TcpStream::from_std(accepted.stream) {
            Ok(stream) => self.welcome(stream, accepted.peer, accepted.door),
            Err(_) => self.leave(),
        }
    }

    /// Takes a connection that this worker's count already holds.
    pub fn welcome(self: &Rc<Self>, stream: TcpStream, peer: SocketAddr, door: Door) {
        let rests = Rc::new(Cell::new(true));
        let place = self.free.borrow_mut().pop().unwrap_or_else(|| {
            self.guests.borrow_mut().push(None);
            self.guests.borrow().len() - 1
        });
        let seat = Seat { worker: self.clone(), place };
        let worker = self.clone();
        let at_rest = rests.clone();
        let task = tokio::task::spawn_local(async move {
            let _seat = seat;
            converse(&worker, stream, peer, door, &at_rest).await;
        });
        self.guests.borrow_mut()[place] = Some(Guest { rests, task: task.abort_handle() });
    }

    fn leave(&self) {
        self.shared.open[self.index].fetch_sub(1, Relaxed);
    }

    /// Ready when the worker accepts no more and finishes what it has.
    pub async fn drained(&self) {
        let rings = self.drain.notified();
        if !self.shared.draining.load(Relaxed) {
            rings.await;
        }
    }

    /// Tells those who hold connections of HTTP/2 to ask for nothing more; others hear it with their next answer.
    pub fn say_goodbye(&self) {
        self.drain.notify_waiters();
    }

    /// Ends what rests; with `all`, everything.
    pub fn dismiss(&self, all: bool) {
        self.say_goodbye();
        for guest in self.guests.borrow().iter().flatten() {
            if all || guest.rests.get() {
                guest.task.abort();
            }
        }
    }

    /// Looks after the pool for as long as the worker runs.
    pub async fn keep_house(self: Rc<Self>) {
        loop {
            tokio::select! {
                () = sleep(SWEEP) => {}
                () = self.pool.wanted() => {}
            }
            self.shared.beats[self.index].fetch_add(1, Relaxed);
            self.pool.yield_one();
            let live = self.live();
            self.pool.sweep(&live.servers, live.policy.origin.slow_start);
        }
    }

    /// Hands over what is left.
    pub fn close(&self) {
        self.batch.hand_over();
        self.pool.clear();
    }
}

/// A guest's place, given up at the end of its task however it ends.
struct Seat {
    worker: Rc<Worker>,
    place: usize,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.worker.guests.borrow_mut()[self.place] = None;
        self.worker.free.borrow_mut().push(self.place);
        self.worker.leave();
    }
}

/// Pull after pull over one connection.
async fn converse(worker: &Rc<Worker>, stream: TcpStream, peer: SocketAddr, door: Door, rests: &Cell<bool>) {
    let shared = &worker.shared;
    let begun = Box::pin(Caller::greet(stream, peer, door, &worker.live(), &shared.figures, &shared.strangers)).await;
    let Some((stream, caller)) = begun else { return };
    let takes_http2 = caller.takes_http2(&stream, &worker.live().policy.listen);
    let mut down = http1::Connection::new(stream);
    if takes_http2 {
        let limits = worker.live().policy.limits.clone();
        match Box::pin(down.begins_http2(&limits)).await {
            Some(true) => {
                rests.set(false);
                return Box::pin(http2::converse(worker, down, &caller)).await;
            }
            // Who agreed to HTTP/2 in the handshake and speaks another protocol is not to be believed.
            Some(false) if !caller.door.tls => {}
            Some(false) | None => return,
        }
    }
    loop {
        rests.set(true);
        if worker.shared.stopping.load(Relaxed) {
            return;
        }
        let live = worker.live();
        let limits = &live.policy.limits;
        // Where a network has taken more than its share, who says nothing makes room sooner.
        let rest = if caller.crowded { limits.header_timeout.min(limits.idle_timeout) } else { limits.idle_timeout };
        let next = down.read_head(limits, rest, rests).await;
        drop(live);
        rests.set(false);
        match next {
            Ok(Some((request, begun))) => {
                let _in_flight = InFlight::enter(&worker.shared);
                // On the heap, so that a connection that rests does not hold the room of one that works.
                let mut this = Downstream::One(&mut down);
                let served = Box::pin(pull::serve(worker, &mut this, &caller, &request, begun)).await;
                if !served {
                    return Box::pin(down.close()).await;
                }
                down.be_prompt();
            }
            Ok(None) => return,
            Err(unread) => {
                Box::pin(pull::refuse(worker, &mut Downstream::One(&mut down), &caller, &unread)).await;
                return Box::pin(down.linger()).await;
            }
        }
    }
}

/// A pull that counts as being answered, to the end of its body.
pub(crate) struct InFlight<'s>(&'s Shared);

impl<'s> InFlight<'s> {
    pub fn enter(shared: &'s Shared) -> Self {
        shared.in_flight.fetch_add(1, Relaxed);
        Self(shared)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}
