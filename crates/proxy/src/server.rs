//! The running proxy: listeners, workers, the admin endpoint, and how they start, reload and stop.

use crate::access_log::Sink;
use crate::admin;
use crate::bound::{self, Bound};
use crate::caller::Door;
use crate::cap::Cap;
use crate::complaints::Complaints;
use crate::figures::Figures;
use crate::live::Live;
use crate::push;
use crate::reload::Reloads;
use crate::sockets::{Inherited, Sockets};
use crate::trace::{self, Span};
use crate::upstream;
use crate::worker::{Accepted, Shared, Worker};
use arc_swap::ArcSwap;
use headwater_config::{Mistake, Policy, Severity};
use serde_json::json;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, mpsc, watch};

/// Why the proxy cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Something else listens there, or the address is not this machine's.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// A socket that the process was started with is of no use.
    #[error("{0}")]
    Inherited(String),
    /// A thread or a runtime could not be made.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
    /// The figures could not be registered.
    #[error("cannot register figures: {0}")]
    Figures(#[from] prometheus::Error),
}

/// Reads the configuration anew, as `SIGHUP` and `POST /reload` ask for it.
pub type Loader = Box<dyn Fn() -> (Option<Policy>, Vec<Mistake>) + Send + Sync>;

/// What the admin endpoint and the signals work on.
pub(crate) struct Control {
    pub shared: Arc<Shared>,
    pub sink: Sink,
    pub started: Instant,
    pub sinks: Arc<push::Sinks>,
    /// Where pulls and the admin endpoint's requests are taken.
    pub listeners: serde_json::Value,
    loader: Option<Loader>,
    bound: Bound,
    /// Whether the last reload was refused.
    pub refused: AtomicBool,
    /// One reload at a time.
    reloading: Mutex<()>,
    pub reloads: Reloads,
    pub ready: AtomicBool,
    /// Held by the admin endpoint while it accepts, and by each of its connections.
    pub asking: Arc<()>,
}

impl Control {
    /// Reads the configuration anew. What is wrong with it comes back, and the old policy stays.
    pub fn reload(&self) -> Result<Vec<Mistake>, Vec<Mistake>> {
        let _one_at_a_time = self.reloading.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let Some(loader) = &self.loader else { return Err(Vec::new()) };
        let (policy, mistakes) = loader();
        self.reloads.note(&mistakes);
        for mistake in &mistakes {
            match mistake.severity {
                Severity::Error => tracing::error!("{mistake}"),
                Severity::Warning => tracing::warn!("{mistake}"),
            }
        }
        let Some(policy) = policy else {
            self.refused.store(true, Relaxed);
            self.shared.figures.reload_failed.set(1);
            tracing::error!("the configuration cannot be used: the old policy stays in force");
            return Err(mistakes);
        };
        let before = self.shared.live.load_full();
        let waiting = self.bound.waiting(&policy.listen);
        if !waiting.is_empty() {
            let keys = waiting.join(", ");
            tracing::warn!("{keys}: that takes an upgrade (SIGUSR2) or a restart; all else is in force");
        }
        self.sink.open(policy.log.clone());
        let hash = policy.hash.clone();
        self.shared.live.store(Arc::new(Live::new(policy, &self.shared.figures, Some(&before))));
        self.shared.reloaded.notify_one();
        self.refused.store(false, Relaxed);
        self.shared.figures.reload_failed.set(i64::from(!waiting.is_empty()));
        tracing::info!(policy = hash, "reloaded");
        Ok(mistakes)
    }

    /// The keys of the policy that wait for another process.
    pub fn waits_for_restart(&self) -> Vec<&'static str> {
        self.bound.waiting(&self.shared.live.load().policy.listen)
    }

    /// Brings the gauges up to date and gives the figures out.
    pub fn gather(&self) -> Vec<prometheus::proto::MetricFamily> {
        let shared = &self.shared;
        let waiting = shared.admission.waiting();
        shared.figures.refresh(&shared.cap, shared.downstream(), shared.in_flight.load(Relaxed), waiting);
        let mut families = shared.figures.registry.gather();
        families.extend(upstream::families(&shared.live.load().servers, &shared.budget));
        families
    }
}

/// A proxy that runs in threads of its own until it is stopped.
pub struct Server {
    http: Vec<SocketAddr>,
    https: Vec<SocketAddr>,
    admin: SocketAddr,
    /// Kept for a successor. Given up as soon as nothing more is accepted: a port that listens and is not served would
    /// let clients hang.
    sockets: Option<Sockets>,
    control: Arc<Control>,
    stopping: watch::Sender<Stop>,
    workers: Vec<JoinHandle<()>>,
    beside: Option<JoinHandle<()>>,
}

/// Longest stay for spans that a collector does not take at the end.
const LAST_SPANS: Duration = Duration::from_secs(2);

/// What the workers are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Run,
    /// Accept no more, not even at the admin endpoint: a successor does.
    Retire,
    /// Accept no more; finish what is in hand.
    Drain,
    /// End now.
    Now,
}

impl Server {
    /// Starts without a way to reload.
    ///
    /// # Errors
    /// [`StartError`], before anything is served.
    pub fn start(policy: Policy) -> Result<Self, StartError> {
        Self::start_with(policy, None, Inherited::default())
    }

    /// Starts on the sockets that were inherited and opens those that are missing; `loader` is asked for the policy at
    /// every reload.
    ///
    /// # Errors
    /// [`StartError`], before anything is served.
    pub fn start_with(policy: Policy, loader: Option<Loader>, inherited: Inherited) -> Result<Self, StartError> {
        let sockets = Sockets::open(&policy.listen, inherited)?;
        let (listeners, admin_listener) = (sockets.pulls()?, sockets.admin()?);
        let local = |secure: bool| -> io::Result<Vec<SocketAddr>> {
            listeners.iter().filter(|(_, tls)| *tls == secure).map(|(listener, _)| listener.local_addr()).collect()
        };
        let (http, https, admin) = (local(false)?, local(true)?, admin_listener.local_addr()?);
        let count = bound::workers(policy.listen.workers);
        let bound = Bound::new(policy.listen.clone(), http.clone(), https.clone(), admin, count);
        let figures = Arc::new(Figures::new()?);
        let sink = Sink::start(policy.log.clone(), figures.lines_dropped.clone())?;
        let live = Live::new(policy, &figures, None);
        let (spans, recorded) = trace::Queue::new(figures.spans_dropped.clone());
        let shared = Arc::new(Shared {
            live: ArcSwap::from_pointee(live),
            figures,
            cap: Arc::new(Cap::default()),
            budget: Arc::default(),
            strangers: Arc::default(),
            admission: Arc::new(Cap::default()),
            compressing: Arc::default(),
            spans,
            complaints: Complaints::default(),
            in_flight: AtomicUsize::new(0),
            accepting: Arc::default(),
            open: (0..count).map(|_| AtomicUsize::new(0)).collect(),
            beats: (0..count).map(|_| AtomicU64::new(0)).collect(),
            draining: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            reloaded: Notify::new(),
        });
        let control = Arc::new(Control {
            shared: shared.clone(),
            sink: sink.clone(),
            started: Instant::now(),
            sinks: Arc::default(),
            listeners: json!({
                "http": http.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "https": https.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "admin": admin.to_string(),
            }),
            loader,
            bound,
            refused: AtomicBool::new(false),
            reloading: Mutex::default(),
            reloads: Reloads::default(),
            ready: AtomicBool::new(true),
            asking: Arc::default(),
        });
        let (stopping, stop) = watch::channel(Stop::Run);
        let workers = start_workers(&shared, &sink, &listeners, &stop)?;
        let beside = start_beside(control.clone(), admin_listener, recorded, stop)?;
        Ok(Self { http, https, admin, sockets: Some(sockets), control, stopping, workers, beside: Some(beside) })
    }

    /// Where pulls are taken, in the order of the config.
    pub fn http(&self) -> &[SocketAddr] {
        &self.http
    }

    /// Where pulls are taken over TLS, in the order of the config.
    pub fn https(&self) -> &[SocketAddr] {
        &self.https
    }

    /// Where figures are given out.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Reads the configuration anew; says in the log what came of it, and whether it is in force.
    pub fn reload(&self) -> bool {
        self.control.reload().is_ok()
    }

    /// Opens the access log's file anew.
    pub fn reopen_log(&self) {
        self.control.sink.reopen();
    }

    /// How often each worker has looked after its house; one that is stuck stays behind.
    pub fn beats(&self) -> Vec<u64> {
        self.control.shared.beats.iter().map(|beats| beats.load(Relaxed)).collect()
    }

    /// Whether a server that was retired has nothing left to do, not even for who asks for figures.
    pub fn is_idle(&self) -> bool {
        Arc::strong_count(&self.control.asking) == 1 && self.control.shared.is_idle()
    }

    /// The listening sockets and their names, for a successor.
    ///
    /// # Errors
    /// The process is out of descriptors, or has given its sockets up.
    pub fn listeners(&self) -> io::Result<Vec<(&'static str, OwnedFd)>> {
        self.sockets.as_ref().ok_or_else(|| io::Error::other("the sockets are given up"))?.named()
    }

    /// Upgrades so far, by result; a successor counts on from them.
    pub fn upgrades(&self, result: &str) -> u64 {
        self.control.shared.figures.upgrades.with_label_values(&[result]).get()
    }

    /// Counts upgrades.
    pub fn count_upgrades(&self, result: &str, count: u64) {
        self.control.shared.figures.upgrades.with_label_values(&[result]).inc_by(count);
    }

    /// A successor serves on the same sockets: nothing more is accepted here, and every connection ends with its next
    /// answer. None is closed before that: a pull that is on its way over a kept connection is still answered.
    pub fn retire(&mut self) {
        self.control.shared.draining.store(true, Relaxed);
        self.sockets = None;
        let _ = self.stopping.send(Stop::Retire);
    }

    /// Stops accepting, waits for what is in hand for at most `drain`, and ends. Says whether all was finished.
    pub fn stop(mut self, drain: Duration) -> bool {
        self.control.ready.store(false, Relaxed);
        self.control.shared.draining.store(true, Relaxed);
        self.control.shared.stopping.store(true, Relaxed);
        self.sockets = None;
        let _ = self.stopping.send(Stop::Drain);
        let deadline = Instant::now() + drain;
        while !self.control.shared.is_idle() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        let finished = self.control.shared.is_idle();
        let _ = self.stopping.send(Stop::Now);
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
        if let Some(beside) = self.beside.take() {
            let _ = beside.join();
        }
        self.control.sink.flush();
        finished
    }
}

fn start_workers(
    shared: &Arc<Shared>,
    sink: &Sink,
    listeners: &[(TcpListener, bool)],
    stop: &watch::Receiver<Stop>,
) -> Result<Vec<JoinHandle<()>>, StartError> {
    let count = shared.open.len();
    let (doors, rooms): (Vec<_>, Vec<_>) = (0..count).map(|_| mpsc::unbounded_channel::<Accepted>()).unzip();
    let mut threads = Vec::new();
    for (index, room) in rooms.into_iter().enumerate() {
        let (shared, sink, stop, doors) = (shared.clone(), sink.clone(), stop.clone(), doors.clone());
        let listeners = listeners
            .iter()
            .map(|(listener, tls)| Ok((listener.try_clone()?, *tls)))
            .collect::<io::Result<Vec<_>>>()?;
        threads.push(start_thread(format!("worker-{index}"), move || async move {
            work(Worker::new(index, shared, sink), listeners, room, doors, stop).await;
        })?);
    }
    Ok(threads)
}

async fn work(
    worker: std::rc::Rc<Worker>,
    listeners: Vec<(TcpListener, bool)>,
    mut room: mpsc::UnboundedReceiver<Accepted>,
    doors: Vec<mpsc::UnboundedSender<Accepted>>,
    mut stop: watch::Receiver<Stop>,
) {
    let house = tokio::task::spawn_local(worker.clone().keep_house());
    let accepting: Vec<_> = listeners
        .into_iter()
        .map(|(listener, tls)| tokio::task::spawn_local(accept(worker.clone(), listener, tls, doors.clone())))
        .collect();
    // Held to the end: a room whose last door is shut would end the worker while it still has guests.
    let _doors = doors;
    loop {
        tokio::select! {
            Some(accepted) = room.recv() => worker.take_over(accepted),
            changed = stop.changed() => match (*stop.borrow_and_update(), changed) {
                (Stop::Run, Ok(())) => {}
                (stop @ (Stop::Retire | Stop::Drain), Ok(())) => {
                    accepting.iter().for_each(|task| task.abort());
                    if stop == Stop::Retire { worker.say_goodbye() } else { worker.dismiss(false) }
                }
                _ => break,
            },
        }
    }
    house.abort();
    accepting.iter().for_each(|task| task.abort());
    worker.dismiss(true);
    // Tasks that were ended run their last step here, and count themselves out.
    tokio::task::yield_now().await;
    worker.close();
}

/// Accepts connections and gives each to the worker that has the fewest: CDNs hold few and long ones, so chance would
/// spread them badly.
async fn accept(
    worker: std::rc::Rc<Worker>,
    listener: TcpListener,
    tls: bool,
    doors: Vec<mpsc::UnboundedSender<Accepted>>,
) {
    let _accepting = worker.shared.accepting.clone();
    let door = Door { port: listener.local_addr().map_or(0, |address| address.port()), tls };
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let shared = &worker.shared;
                // A dual-stack listener shows IPv4 peers in their mapped form.
                let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                if shared.downstream() >= shared.live.load().policy.limits.max_connections {
                    shared.figures.turned_away.inc();
                    continue;
                }
                let least = (0..shared.open.len())
                    .min_by_key(|&index| (shared.open[index].load(Relaxed), index != worker.index));
                let chosen = least.unwrap_or(worker.index);
                shared.open[chosen].fetch_add(1, Relaxed);
                if chosen == worker.index {
                    worker.welcome(stream, peer, door);
                } else {
                    let sent = stream.into_std().map(|stream| doors[chosen].send(Accepted { stream, peer, door }));
                    if !matches!(sent, Ok(Ok(()))) {
                        shared.open[chosen].fetch_sub(1, Relaxed);
                    }
                }
            }
            // Out of descriptors, most likely: those who leave make room.
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// What runs beside the pulls, in a thread of its own: the admin endpoint answers when the workers are busy.
fn start_beside(
    control: Arc<Control>,
    listener: TcpListener,
    recorded: mpsc::Receiver<Vec<Span>>,
    mut stop: watch::Receiver<Stop>,
) -> Result<JoinHandle<()>, StartError> {
    start_thread("admin".into(), move || async move {
        let (retire, retired) = watch::channel(false);
        tokio::task::spawn_local(admin::serve(control.clone(), listener, retired));
        // Absolute figures under the same names would come from two processes; StatsD takes changes and adds them up.
        let graphite = tokio::task::spawn_local(push::to_graphite(control.clone()));
        tokio::task::spawn_local(push::to_statsd(control.clone()));
        tokio::task::spawn_local(upstream::watch(control.shared.clone()));
        let exporter = tokio::task::spawn_local(export(control.clone(), recorded, stop.clone()));
        if stop.wait_for(|stop| *stop != Stop::Run).await.is_ok_and(|stop| *stop == Stop::Retire) {
            graphite.abort();
            let _ = retire.send(true);
        }
        let _ = stop.wait_for(|stop| *stop == Stop::Now).await;
        let _ = tokio::time::timeout(LAST_SPANS, exporter).await;
    })
}

/// Sends spans until all is to end, and then those that are left.
#[cfg(feature = "otlp")]
async fn export(control: Arc<Control>, recorded: mpsc::Receiver<Vec<Span>>, mut stop: watch::Receiver<Stop>) {
    let ends = async move {
        let _ = stop.wait_for(|stop| *stop == Stop::Now).await;
    };
    trace::export(control, recorded, ends).await;
}

/// This build records none.
#[cfg(not(feature = "otlp"))]
async fn export(_: Arc<Control>, _: mpsc::Receiver<Vec<Span>>, _: watch::Receiver<Stop>) {}

/// A thread with a runtime of its own, which cannot leave it. Returns when the runtime stands.
fn start_thread<F: Future<Output = ()>>(
    name: String,
    make: impl FnOnce() -> F + Send + 'static,
) -> Result<JoinHandle<()>, StartError> {
    let (stands, started) = std::sync::mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
            Ok(runtime) => {
                let _ = stands.send(Ok(()));
                runtime.block_on(make());
            }
            Err(error) => {
                let _ = stands.send(Err(error));
            }
        }
    })?;
    started.recv().map_err(|_| io::Error::other("a thread ended as it began"))??;
    Ok(thread)
}
