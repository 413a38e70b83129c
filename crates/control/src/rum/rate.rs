//! How much is taken from one network, and in all: the generic cell rate algorithm in a fixed table, found by a keyed hash of
//! the network, so that it never grows and nobody chooses whom he shares a cell with.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Half a MiB of them.
const CELLS: usize = 1 << 16;
/// What may come at once is what may come in this time.
const BURST: u64 = Duration::from_secs(1).as_nanos() as u64;

pub(super) struct Rates {
    /// When all that was let through would have come at the allowed rate, in nanoseconds since the start.
    cells: Box<[AtomicU64]>,
    all: AtomicU64,
    rate: u32,
    network_rate: u32,
    key: RandomState,
    start: Instant,
}

impl Rates {
    /// So many a second in all and from one network; 0: no bound.
    pub fn new(rate: u32, network_rate: u32) -> Self {
        let cells = std::iter::repeat_with(AtomicU64::default).take(CELLS).collect();
        Self { cells, all: AtomicU64::default(), rate, network_rate, key: RandomState::new(), start: Instant::now() }
    }

    /// Counts one; whether it may come in.
    pub fn let_in(&self, address: IpAddr) -> bool {
        self.let_in_at(address, self.start.elapsed())
    }

    /// The network's own bound comes first: who floods uses up nobody else's share.
    fn let_in_at(&self, address: IpAddr, since_start: Duration) -> bool {
        let now = since_start.as_nanos() as u64;
        let cell = network(address).map(|network| &self.cells[self.key.hash_one(network) as usize % CELLS]);
        cell.is_none_or(|cell| take(cell, self.network_rate, now)) && take(&self.all, self.rate, now)
    }
}

fn take(cell: &AtomicU64, rate: u32, now: u64) -> bool {
    let Some(apart) = BURST.checked_div(u64::from(rate)) else { return true };
    let next = |due: u64| {
        let due = due.max(now);
        (due - now < BURST).then_some(due + apart)
    };
    cell.try_update(Relaxed, Relaxed, next).is_ok()
}

/// What one customer of a provider is given, about. `None`: an address of our own house.
fn network(address: IpAddr) -> Option<u128> {
    match address.to_canonical() {
        IpAddr::V4(ip) if ip.is_loopback() || ip.is_private() || ip.is_link_local() => None,
        IpAddr::V4(ip) => Some(u128::from(ip.to_bits() >> 8)),
        IpAddr::V6(ip) if ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local() => None,
        IpAddr::V6(ip) => Some(ip.to_bits() >> 72),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_from_one_network_takes_nothing_from_another() {
        let rates = Rates::new(1000, 100);
        let at = |text: &str, seconds: u64| rates.let_in_at(text.parse().unwrap(), Duration::from_secs(seconds));
        assert_eq!((0..10_000).filter(|_| at("192.0.2.7", 1)).count(), 100);
        assert_eq!((0..10_000).filter(|_| at("192.0.2.8", 1)).count(), 0, "a neighbour of the same network");
        assert_eq!((0..10_000).filter(|_| at("2001:db8::1", 1)).count(), 100);
        assert_eq!((0..10_000).filter(|_| at("10.0.0.1", 1)).count(), 800, "what is left in all");
        assert_eq!((0..10_000).filter(|_| at("192.0.2.7", 2)).count(), 100, "a second later");
    }

    #[test]
    fn zero_is_no_bound() {
        let rates = Rates::new(0, 0);
        assert!((0..10_000).all(|_| rates.let_in("192.0.2.7".parse().unwrap())));
    }
}
