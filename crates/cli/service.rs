//! What the service manager hears (sd_notify(3)). Where there is none, nothing is said.

use sd_notify::NotifyState::{MainPid, MonotonicUsec, Ready, Reloading, Status, Stopping, Watchdog};
use sd_notify::{NotifyState, notify};
use std::time::Duration;
use tokio::time::{Interval, MissedTickBehavior, interval};

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = notify(states) {
        tracing::warn!(%error, "cannot tell the service manager: {}", states[0]);
    }
}

/// It serves. A successor is not the process that the manager started: it names itself, and feeds the watchdog, for which
/// it is one service with its predecessor.
pub fn serves(status: &str) {
    tell(&[MainPid(std::process::id()), Ready, Watchdog, Status(status)]);
}

/// It reads its configuration anew, and will say when it has.
pub fn reloads() {
    match NotifyState::monotonic_usec_now() {
        Ok(now @ MonotonicUsec(_)) => tell(&[Reloading, now]),
        _ => tell(&[Reloading]),
    }
}

/// It has read its configuration.
pub fn reloaded(status: &str) {
    tell(&[Ready, Status(status)]);
}

/// It goes on as before, with something to be known.
pub fn goes_on(status: &str) {
    tell(&[Status(status)]);
}

/// It was told to stop.
pub fn stops() {
    tell(&[Stopping, Status("finishing what is in hand")]);
}

/// Feeds the manager's watchdog for as long as every worker looks after its house.
pub struct Fed {
    interval: Interval,
    seen: Vec<u64>,
}

impl Fed {
    /// `None` where no watchdog watches this process.
    pub fn start(beats: Vec<u64>) -> Option<Self> {
        let limit = sd_notify::watchdog_enabled()?;
        let mut interval = interval((limit / 2).max(Duration::from_millis(1)));
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick comes at once; the manager counts from READY.
        interval.reset();
        Some(Self { interval, seen: beats })
    }

    /// Waits for the next time to feed it.
    pub async fn hungry(this: &mut Option<Self>) {
        match this {
            Some(fed) => {
                fed.interval.tick().await;
            }
            None => std::future::pending().await,
        }
    }

    /// Feeds it if all have moved since the last time.
    pub fn feed(&mut self, beats: Vec<u64>) {
        let stuck: Vec<usize> = (0..beats.len()).filter(|&worker| beats[worker] == self.seen[worker]).collect();
        if stuck.is_empty() {
            tell(&[Watchdog]);
        } else {
            tracing::error!(workers = ?stuck, "workers are stuck: the watchdog is not fed");
        }
        self.seen = beats;
    }
}
