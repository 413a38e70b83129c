//! What of `[listen]` a process holds from its start to its end: a reload cannot change it, and says so.

use headwater_config::Listen;
use std::net::SocketAddr;

/// Where and with what a process really listens.
pub(crate) struct Bound {
    /// As the policy at the start had it: port 0 is still 0.
    written: Listen,
    http: Vec<SocketAddr>,
    https: Vec<SocketAddr>,
    admin: SocketAddr,
    workers: usize,
}

impl Bound {
    /// `written` is the policy at the start; the rest is what came of it.
    pub fn new(
        written: Listen,
        http: Vec<SocketAddr>,
        https: Vec<SocketAddr>,
        admin: SocketAddr,
        workers: usize,
    ) -> Self {
        Self { written, http, https, admin, workers }
    }

    /// The keys of a policy that wait for another process. The others of `[listen]` are in force at once.
    pub fn waiting(&self, listen: &Listen) -> Vec<&'static str> {
        let written = &self.written;
        let keys = [
            ("listen.http", same(&listen.http, &written.http, &self.http)),
            ("listen.https", same(&listen.https, &written.https, &self.https)),
            ("listen.admin", listen.admin == written.admin || listen.admin == self.admin),
            ("listen.workers", workers(listen.workers) == self.workers),
        ];
        keys.into_iter().filter(|(_, in_force)| !in_force).map(|(key, _)| key).collect()
    }
}

/// Whether these are the addresses that were written, or those that came of it, in whatever order.
fn same(new: &[SocketAddr], written: &[SocketAddr], real: &[SocketAddr]) -> bool {
    let sorted = |addresses: &[SocketAddr]| {
        let mut addresses = addresses.to_vec();
        addresses.sort_unstable();
        addresses
    };
    let new = sorted(new);
    new == sorted(written) || new == sorted(real)
}

/// Threads that serve pulls: 0 stands for one per core.
pub(crate) fn workers(written: usize) -> usize {
    match written {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        count => count,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(text: &str) -> Listen {
        let text = format!("[listen]\n{text}\n[origin]\nservers = [\"a:1\"]\n");
        headwater_config::from_text("t", &text).0.unwrap().listen
    }

    #[test]
    fn a_policy_waits_for_what_differs_from_the_sockets_and_from_nothing_else() {
        let start = "http = [\"127.0.0.1:0\", \"127.0.0.2:80\"]\nadmin = \"127.0.0.1:0\"\nworkers = 3";
        let real = |text: &str| text.parse::<SocketAddr>().unwrap();
        let http = vec![real("127.0.0.1:4000"), real("127.0.0.2:80")];
        let bound = Bound::new(listen(start), http, Vec::new(), real("127.0.0.1:4001"), 3);
        for (text, waiting) in [
            (start, &[][..]),
            ("http = [\"127.0.0.2:80\", \"127.0.0.1:4000\"]\nadmin = \"127.0.0.1:4001\"\nworkers = 3", &[]),
            ("http = [\"127.0.0.2:80\", \"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\nworkers = 3\nhttp2 = \"off\"", &[]),
            ("http = [\"127.0.0.2:80\"]\nadmin = \"127.0.0.1:0\"\nworkers = 3", &["listen.http"]),
            (
                "http = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:9\"\nworkers = 4",
                &["listen.http", "listen.admin", "listen.workers"],
            ),
        ] {
            assert_eq!(bound.waiting(&listen(text)), waiting, "{text}");
        }
    }
}
