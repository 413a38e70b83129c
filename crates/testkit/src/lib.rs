//! For tests alone: the built binary, an origin that misbehaves on order, a client that says exactly what it is told,
//! and real servers. Everything is on loopback, on ports of its own, bounded in time, and gone when it is dropped.

mod certificates;
mod client;
mod headwater;
pub mod http2;
mod https;
mod message;
mod origin;
mod servers;

pub use certificates::{Authority, Pair};
pub use client::{Client, exchange, get, request};
pub use headwater::{Headwater, Metrics, binary, is_alive, run};
pub use https::Greeting;
pub use message::{Response, answer};
pub use origin::{Deaf, Origin, Recorded, Then, Wire};
pub use servers::{Apache, Haproxy, Nginx, needs};

use std::time::{Duration, Instant};

/// A provider that is proven by this machine's own addresses.
pub const FASTLY: &str = "[[cdn]]\nname = \"fastly\"\nkind = \"fastly\"\nnetworks = [\"127.0.0.0/8\"]\n";

/// No test waits longer for anything.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until something holds, or fails with what was waited for.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Lets this process, and those it starts, open so many descriptors.
pub fn raise_descriptors(count: u64) -> u64 {
    let most = rlimit::increase_nofile_limit(u64::MAX).expect("the system tells");
    assert!(
        most >= count,
        "this test needs {count} descriptors, and the hard limit is {most}: raise it with `ulimit -Hn`"
    );
    most
}
