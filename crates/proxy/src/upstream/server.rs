//! The app servers: how many pulls each has in hand, and what those pulls tell of its health.

use super::health::{Condition, Health, Moment, News, Pass, Standing, Terms};
use super::way::Way;
use headwater_config::{Origin, OriginServer};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// When the clock of health began.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Held while a server is ejected, so that two of them do not each take the other for the last one.
static EJECTING: Mutex<()> = Mutex::new(());

/// Milliseconds since the process began.
pub(crate) fn now() -> Moment {
    EPOCH.elapsed().as_millis() as Moment
}

/// One server. It outlives a reload that still names it, unless it is reached in another way then.
pub(crate) struct Server {
    /// As the config has it.
    pub name: String,
    /// What the app sees as `Host` when the one that was asked for is not kept.
    pub host: String,
    pub way: Way,
    state: Arc<State>,
}

/// What stays the same server's when it is reached in another way.
struct State {
    /// Pulls that wait for it or read from it, over all workers.
    in_flight: AtomicUsize,
    /// Connections to it, over all workers.
    open: AtomicUsize,
    /// A [`Standing`], packed: all that most pulls read of its health.
    standing: AtomicU64,
    /// Whether a success would change anything.
    troubled: AtomicBool,
    health: Mutex<Health>,
    last_failure: Mutex<Option<LastFailure>>,
    /// By [`Condition::index`].
    transitions: [AtomicU64; Condition::NAMES.len()],
    /// By the place in [`CHECKS`].
    checks: [AtomicU64; CHECKS.len()],
}

/// What a check may come to; the first is good.
pub(crate) const CHECKS: [&str; 7] = ["good", "status", "connect", "tls", "timeout", "closed", "bad_head"];

/// The last that went wrong with a server.
#[derive(Clone, Debug)]
pub(crate) struct LastFailure {
    pub reason: &'static str,
    /// What the system said, if it said anything.
    pub detail: String,
    pub at: Moment,
}

/// A server as figures and `/status` show it.
pub(crate) struct Snapshot {
    pub condition: Condition,
    pub since: Moment,
    pub last_failure: Option<LastFailure>,
    pub connections: usize,
    pub transitions: [u64; Condition::NAMES.len()],
    pub checks: [u64; CHECKS.len()],
}

/// A lock whose holder cannot leave half a change behind: every change is one assignment of plain numbers.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl State {
    fn new(terms: Terms) -> Self {
        Self {
            in_flight: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            standing: AtomicU64::new(Standing::Full.pack()),
            troubled: AtomicBool::new(false),
            health: Mutex::new(Health::new(terms, now())),
            last_failure: Mutex::default(),
            transitions: Default::default(),
            checks: Default::default(),
        }
    }

    /// Changes the health and shows it to pulls.
    fn change<T>(&self, change: impl FnOnce(&mut Health) -> T) -> T {
        let mut health = lock(&self.health);
        let result = change(&mut health);
        self.standing.store(health.standing().pack(), Relaxed);
        self.troubled.store(health.is_troubled(), Relaxed);
        result
    }
}

impl Server {
    /// What a pull has to know of its health.
    pub fn standing(&self) -> Standing {
        Standing::unpack(self.state.standing.load(Relaxed))
    }

    /// It has had its full share long enough: no pull has to look at the clock for it any more.
    pub fn settle(&self, slow_start: Duration) {
        if let Standing::Rising { since } = self.standing()
            && now().saturating_sub(since) >= slow_start.as_millis() as u64
        {
            self.state.change(|health| health.settle(since));
        }
    }

    /// Counts a pull until the guard is dropped. `None`: it was to try the server, and another does.
    pub fn enter(self: &Arc<Self>, pass: Pass) -> Option<InHand> {
        if pass == Pass::Trial {
            let news = self.state.change(|health| health.claim(now()))?;
            self.tell(news, "");
        }
        self.state.in_flight.fetch_add(1, Relaxed);
        Some(InHand { server: self.clone(), pass })
    }

    /// Pulls in hand.
    pub fn load(&self) -> usize {
        self.state.in_flight.load(Relaxed)
    }

    /// Takes the place of a connection, if there is one among `most`.
    pub fn take_place(self: &Arc<Self>, most: usize) -> Option<OwnPlace> {
        let taken = self.state.open.try_update(Relaxed, Relaxed, |open| (open < most).then_some(open + 1));
        taken.is_ok().then(|| OwnPlace(self.clone()))
    }

    /// A check came to something, by the place in [`CHECKS`].
    pub fn checked(&self, outcome: usize, detail: &str) {
        self.state.checks[outcome].fetch_add(1, Relaxed);
        if outcome > 0 {
            self.note(CHECKS[outcome], detail);
        }
        if let Some(news) = self.state.change(|health| health.checked(outcome == 0, now())) {
            self.tell(news, "checks");
        }
    }

    pub fn snapshot(&self) -> Snapshot {
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        let (condition, since) = {
            let health = lock(&self.state.health);
            (health.condition(), health.since())
        };
        Snapshot {
            condition,
            since,
            last_failure: lock(&self.state.last_failure).clone(),
            connections: self.state.open.load(Relaxed),
            transitions: self.state.transitions.each_ref().map(read),
            checks: self.state.checks.each_ref().map(read),
        }
    }

    fn note(&self, reason: &'static str, detail: &str) {
        *lock(&self.state.last_failure) = Some(LastFailure { reason, detail: detail.into(), at: now() });
    }

    /// Counts a change of condition and says it in the log. `of` is what told: pulls, or checks.
    fn tell(&self, news: News, of: &str) {
        let server = self.name.as_str();
        let last = lock(&self.state.last_failure).clone();
        let (reason, detail) = last.as_ref().map_or(("", ""), |last| (last.reason, last.detail.as_str()));
        if let News::Became(condition) = news {
            self.state.transitions[condition.index()].fetch_add(1, Relaxed);
        }
        match news {
            News::Became(Condition::Up) => tracing::info!(server, "an origin server is up again"),
            News::Became(Condition::Down) => {
                tracing::warn!(server, reason, detail, "an origin server is down: {of} fail")
            }
            News::Became(Condition::Ejected { until }) => {
                let seconds = until.saturating_sub(now()).div_ceil(1000);
                tracing::warn!(server, reason, detail, seconds, "an origin server is ejected: {of} fail");
            }
            News::Became(Condition::Trial) => tracing::info!(server, "an origin server is tried with one pull"),
            News::LastOneFails => {
                tracing::warn!(server, reason, detail, "an origin server fails, and is kept as no other is up");
            }
            News::LastOneAnswers => tracing::info!(server, "an origin server that was kept answers again"),
        }
    }
}

/// A pull that a server has in hand.
pub(crate) struct InHand {
    pub server: Arc<Server>,
    pass: Pass,
}

impl InHand {
    /// The server failed. `fleet` is all servers.
    pub fn failed(&mut self, reason: &'static str, detail: &str, fleet: &[Arc<Server>]) {
        let server = &self.server;
        let _one_at_a_time = lock(&EJECTING);
        let is_another = |other: &&Arc<Server>| !Arc::ptr_eq(&other.state, &server.state);
        let another = fleet.iter().filter(is_another).any(|other| other.standing().is_up());
        server.note(reason, detail);
        if let Some(news) = server.state.change(|health| health.failed(self.pass, now(), another)) {
            server.tell(news, "pulls");
        }
        self.pass = Pass::Offered;
    }

    /// The server answered.
    pub fn succeeded(&mut self) {
        if self.pass == Pass::Offered && !self.server.state.troubled.load(Relaxed) {
            return;
        }
        if let Some(news) = self.server.state.change(|health| health.succeeded(self.pass, now())) {
            self.server.tell(news, "pulls");
        }
        self.pass = Pass::Offered;
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        self.server.state.in_flight.fetch_sub(1, Relaxed);
        if self.pass == Pass::Trial {
            self.server.state.change(|health| health.release(now()));
        }
    }
}

/// The place of an open connection to a server.
pub(crate) struct OwnPlace(Arc<Server>);

impl Drop for OwnPlace {
    fn drop(&mut self) {
        self.0.state.open.fetch_sub(1, Relaxed);
    }
}

/// The servers of a config. Those that were there before are kept, or at least what is known of them.
pub(crate) fn servers(origin: &Origin, before: &[Arc<Server>]) -> Vec<Arc<Server>> {
    let terms = Terms::new(origin);
    let server = |entry: &OriginServer| {
        let known = before.iter().find(|server| server.name == entry.name);
        if let Some(known) = known {
            known.state.change(|health| health.judge_by(terms.clone(), now()));
        }
        match known {
            Some(kept) if kept.way.is(&entry.way, origin.tls.as_ref()) && kept.host == entry.host => kept.clone(),
            other => Arc::new(Server {
                name: entry.name.clone(),
                host: entry.host.clone(),
                way: Way::new(&entry.way, origin.tls.as_ref()),
                state: other.map_or_else(|| Arc::new(State::new(terms.clone())), |known| known.state.clone()),
            }),
        }
    };
    origin.servers.iter().map(server).collect()
}
