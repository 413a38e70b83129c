//! What those who prove nothing may ask of us: so many pulls a second, and so many connections, for each network they come from.
//!
//! A fixed table of counters, found by a keyed hash of the network: it never grows, and nobody can choose whom he shares a
//! counter with. Two networks that share one are counted as one.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Counters; a million strangers' networks would share each with fifteen others.
const CELLS: usize = 1 << 16;
/// What may come at once is what may come in this time.
const BURST: u64 = Duration::from_secs(1).as_nanos() as u64;

#[derive(Default)]
struct Cell {
    /// When all that was let through would have come at the allowed rate, in nanoseconds since the start: the generic cell
    /// rate algorithm, which needs one number a network.
    due: AtomicU64,
    connections: AtomicU32,
}

/// The counters of all networks.
pub(crate) struct Strangers {
    cells: Box<[Cell]>,
    key: RandomState,
    start: Instant,
}

impl Default for Strangers {
    fn default() -> Self {
        let cells = std::iter::repeat_with(Cell::default).take(CELLS).collect();
        Self { cells, key: RandomState::new(), start: Instant::now() }
    }
}

impl Strangers {
    fn cell(&self, address: IpAddr) -> Option<usize> {
        Some(self.key.hash_one(network(address)?) as usize % CELLS)
    }

    /// Counts a pull; whether it is within `rate` a second. A rate of 0 has no bound.
    pub fn pull(&self, address: IpAddr, rate: u32) -> bool {
        let (Some(cell), Some(apart)) = (self.cell(address), BURST.checked_div(u64::from(rate))) else { return true };
        let now = self.start.elapsed().as_nanos() as u64;
        let next = |due: u64| {
            let due = due.max(now);
            (due - now < BURST).then_some(due + apart)
        };
        self.cells[cell].due.try_update(Relaxed, Relaxed, next).is_ok()
    }

    /// Counts a connection until the guard is dropped.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Presence {
        let cell = self.cell(address);
        let others = cell.map_or(0, |cell| self.cells[cell].connections.fetch_add(1, Relaxed));
        Presence { strangers: self.clone(), cell, others }
    }
}

/// A connection that is counted.
pub(crate) struct Presence {
    strangers: Arc<Strangers>,
    cell: Option<usize>,
    /// Connections from the same network when this one came.
    others: u32,
}

impl Presence {
    /// Whether there were `most` before it. With a `most` of 0 there is no bound.
    pub fn is_crowded(&self, most: u32) -> bool {
        most > 0 && self.others >= most
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        if let Some(cell) = self.cell {
            self.strangers.cells[cell].connections.fetch_sub(1, Relaxed);
        }
    }
}

/// The network that an address is counted under: what one customer of a provider is given, about. `None`: the address is of
/// our own house, and nobody there is a stranger.
fn network(address: IpAddr) -> Option<u128> {
    match address.to_canonical() {
        IpAddr::V4(address) if address.is_loopback() || address.is_private() || address.is_link_local() => None,
        IpAddr::V4(address) => Some(u128::from(address.to_bits() >> 8)),
        IpAddr::V6(address)
            if address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local() =>
        {
            None
        }
        IpAddr::V6(address) => Some(address.to_bits() >> 72),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn neighbours_count_as_one_and_the_house_not_at_all() {
        assert_eq!(network(address("192.0.2.1")), network(address("192.0.2.254")));
        assert_eq!(network(address("192.0.2.1")), network(address("::ffff:192.0.2.9")));
        assert_ne!(network(address("192.0.2.1")), network(address("192.0.3.1")));
        assert_eq!(network(address("2001:db8:0:1::1")), network(address("2001:db8:0:ff::1")));
        assert_ne!(network(address("2001:db8:0:100::1")), network(address("2001:db8:0:ff::1")));
        for house in ["127.0.0.1", "10.1.2.3", "192.168.1.1", "172.16.0.1", "169.254.0.1", "::1", "fd00::1", "fe80::1"]
        {
            assert_eq!(network(address(house)), None, "{house}");
        }
    }

    #[test]
    fn a_second_of_pulls_may_come_at_once_and_no_more() {
        let strangers = Strangers::default();
        let let_through = (0..1000).filter(|_| strangers.pull(address("192.0.2.1"), 100)).count();
        assert!((100..=110).contains(&let_through), "{let_through}");
        assert!(strangers.pull(address("198.51.100.1"), 100), "another network has its own count");
        assert!((0..1000).all(|_| strangers.pull(address("192.0.2.1"), 0)), "0 is no bound");
        assert!((0..1000).all(|_| strangers.pull(address("10.0.0.1"), 1)), "nobody here is a stranger");
    }
}
