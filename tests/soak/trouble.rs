//! What goes wrong around the proxy: another configuration every second, a log disk that is full or stalls, sinks that come
//! and go.

use super::clients::SECRET;
use headwater_testkit::{Headwater, wait_until};
use std::fs::OpenOptions;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

pub struct Trouble {
    folder: tempfile::TempDir,
    graphite: SocketAddr,
    statsd: SocketAddr,
}

/// As Linux has it.
const O_NONBLOCK: i32 = 0o4000;
/// A state of the world, one of so many. 0: all is well.
const STATES: u64 = 8;

/// A configuration for a state.
pub fn config(origin: SocketAddr, trouble: &Trouble, state: u64) -> String {
    let log = match state {
        2 | 5 => "/dev/full".into(),
        3 => trouble.fifo().display().to_string(),
        6 => "/nowhere/at/all.log".into(),
        _ => trouble.log().display().to_string(),
    };
    let level = state % 9 + 1;
    format!(
        "[origin]\nservers = [\"{origin}\"]\nidle_timeout = \"1s\"\n[gzip]\nlevel = {level}\n[log]\naccess = \"{log}\"\n\
         [metrics]\ngraphite = \"{}\"\nstatsd = \"{}\"\ninterval = \"1s\"\n\
         [[cdn]]\nname = \"fastly\"\nkind = \"fastly\"\nsecret = {{ header = \"X-CDN-Secret\", values = [\"{SECRET}\"] }}\n",
        trouble.graphite, trouble.statsd
    )
}

impl Trouble {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let made = Command::new("mkfifo").arg(folder.path().join("stalled")).status().unwrap();
        assert!(made.success());
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let also_free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Self { folder, graphite: free, statsd: also_free }
    }

    /// A log on a disk that is well.
    pub fn log(&self) -> PathBuf {
        self.folder.path().join("access.log")
    }

    /// A log that takes nothing until somebody reads it.
    fn fifo(&self) -> PathBuf {
        self.folder.path().join("stalled")
    }

    /// Makes trouble until a moment; how often the configuration was read anew.
    pub fn make(&self, headwater: &Headwater, origin: SocketAddr, until: Instant) -> u64 {
        let mut sinks = None;
        let mut turn = 0;
        while Instant::now() + Duration::from_secs(1) < until {
            turn += 1;
            // Every third second they are away.
            sinks = match turn % 3 {
                0 => None,
                _ => sinks.or_else(|| Sinks::open(self.graphite, self.statsd)),
            };
            headwater.rewrite(&config(origin, self, turn % STATES));
            headwater.signal("HUP");
            let next = Instant::now() + Duration::from_secs(1);
            while Instant::now() < next {
                sinks.iter_mut().for_each(Sinks::read);
                std::thread::sleep(Duration::from_millis(20));
            }
            if turn % STATES == 3 {
                self.unstall();
            }
        }
        turn
    }

    /// Reads what a stalled log held back, so that its writer goes on.
    fn unstall(&self) {
        // Opened for both, it neither waits for a writer nor ends with the last one.
        let mut fifo = OpenOptions::new().read(true).write(true).custom_flags(O_NONBLOCK).open(self.fifo()).unwrap();
        let mut bytes = vec![0; 64 << 10];
        let until = Instant::now() + Duration::from_millis(300);
        while Instant::now() < until {
            if fifo.read(&mut bytes).is_err() {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }

    /// Makes all well again.
    pub fn rest(&self, headwater: &Headwater, origin: SocketAddr) {
        headwater.rewrite(&config(origin, self, 0));
        headwater.signal("HUP");
        let mut last = 0;
        wait_until("the log is written again", || {
            self.unstall();
            // Somebody has to pull, or there is nothing to write; the admin endpoint is not logged.
            headwater_testkit::get(headwater.http, "/status/images/beacon.gif?source=other", &[]);
            let length = std::fs::metadata(self.log()).map_or(0, |metadata| metadata.len());
            let grows = last > 0 && length > last;
            last = length;
            grows
        });
        // The last of its lines come within a tenth of a second.
        let mut before = u64::MAX;
        wait_until("the log has come to rest", || {
            std::thread::sleep(Duration::from_millis(250));
            let length = std::fs::metadata(self.log()).map_or(0, |metadata| metadata.len());
            std::mem::replace(&mut before, length) == length
        });
    }
}

/// Graphite and StatsD while they are there.
struct Sinks {
    graphite: TcpListener,
    connections: Vec<std::net::TcpStream>,
    statsd: UdpSocket,
}

impl Sinks {
    fn open(graphite: SocketAddr, statsd: SocketAddr) -> Option<Self> {
        let graphite = TcpListener::bind(graphite).ok()?;
        let statsd = UdpSocket::bind(statsd).ok()?;
        graphite.set_nonblocking(true).ok()?;
        statsd.set_nonblocking(true).ok()?;
        Some(Self { graphite, connections: Vec::new(), statsd })
    }

    fn read(&mut self) {
        let mut bytes = vec![0; 64 << 10];
        while let Ok((stream, _)) = self.graphite.accept() {
            let _ = stream.set_nonblocking(true);
            self.connections.push(stream);
        }
        for stream in &mut self.connections {
            while stream.read(&mut bytes).is_ok_and(|count| count > 0) {}
        }
        while self.statsd.recv(&mut bytes).is_ok() {}
    }
}
