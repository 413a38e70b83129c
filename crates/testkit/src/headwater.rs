//! The built binary, and what it says of itself.

use crate::{Origin, PATIENCE, get, wait_until};
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The binary under test: `HEADWATER_BIN`, or the one beside the test itself.
pub fn binary() -> PathBuf {
    let path = std::env::var_os("HEADWATER_BIN").map_or_else(
        || {
            let test = std::env::current_exe().expect("a test has a path");
            test.parent().and_then(Path::parent).expect("a test lies in target").join("headwater")
        },
        PathBuf::from,
    );
    assert!(path.exists(), "{} is not built: run `cargo build`", path.display());
    path
}

/// Runs a verb to its end.
pub fn run(arguments: &[&str]) -> Output {
    Command::new(binary()).args(arguments).stdin(Stdio::null()).output().expect("the binary runs")
}

/// A running proxy.
pub struct Headwater {
    /// Where it takes pulls: the first of its listeners.
    pub http: SocketAddr,
    /// All of its listeners.
    pub all_http: Vec<SocketAddr>,
    /// Its first listener for TLS, if it has one.
    pub https: Option<SocketAddr>,
    /// Its admin endpoint.
    pub admin: SocketAddr,
    child: Child,
    /// Processes that took its place, the newest last.
    successors: Vec<u32>,
    stdout: Arc<Mutex<String>>,
    stderr: Arc<Mutex<String>>,
    folder: tempfile::TempDir,
}

impl Headwater {
    /// Starts it with a config. `[listen]` is added unless the text has one.
    pub fn start(config: &str) -> Self {
        Self::start_with(config, &[], &[])
    }

    /// Starts it before an origin, with nothing else configured.
    pub fn before(origin: &Origin) -> Self {
        Self::start(&origin.config())
    }

    /// Starts it before an origin. `more` follows the line `servers` of `[origin]`.
    pub fn before_with(origin: &Origin, more: &str) -> Self {
        Self::start(&(origin.config() + more))
    }

    /// Starts it with further arguments and variables.
    pub fn start_with(config: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::launch(config, |path| {
            let mut command = Command::new(binary());
            command.arg("serve").arg("-c").arg(path).args(arguments).envs(variables.iter().copied());
            command
        })
    }

    /// Starts it by a command of the test's own, which is told where the config lies.
    pub fn launch(config: &str, command: impl FnOnce(&Path) -> Command) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("headwater.toml");
        std::fs::write(&path, with_listen(config)).unwrap();
        let mut command = command(&path);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = spawn(&mut command);
        let stdout = gather(child.stdout.take().unwrap());
        let stderr = gather(child.stderr.take().unwrap());
        let deadline = Instant::now() + PATIENCE;
        let ready = loop {
            let said = stderr.lock().unwrap().clone();
            if let Some(line) = said.lines().find(|line| line.contains("headwater: ready ")) {
                break line.to_string();
            }
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "headwater did not start ({ended:?}):\n{said}");
            std::thread::sleep(Duration::from_millis(5));
        };
        let addresses = |key: &str| -> Vec<SocketAddr> {
            let value = ready.split_whitespace().find_map(|word| word.strip_prefix(key)).unwrap_or_default();
            value.split(',').filter(|text| !text.is_empty()).map(|address| address.parse().unwrap()).collect()
        };
        let (all_http, https, admin) = (addresses("http="), addresses("https="), addresses("admin="));
        Self {
            http: all_http[0],
            all_http,
            https: https.first().copied(),
            admin: admin[0],
            child,
            successors: Vec::new(),
            stdout,
            stderr,
            folder,
        }
    }

    /// The config's file.
    pub fn config_path(&self) -> PathBuf {
        self.folder.path().join("headwater.toml")
    }

    /// A folder for the test's own files, gone with the proxy.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes another config; `[listen]` is added as at the start.
    pub fn rewrite(&self, config: &str) {
        std::fs::write(self.config_path(), with_listen(config)).unwrap();
    }

    /// What it wrote to standard output so far.
    pub fn stdout(&self) -> String {
        self.stdout.lock().unwrap().clone()
    }

    /// What it wrote to standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// Waits for a line on standard output, which is the access log unless the config says otherwise.
    pub fn wait_for_log(&self, wanted: impl Fn(&str) -> bool) -> String {
        let mut found = None;
        wait_until("a log line comes", || {
            found = self.stdout().lines().find(|line| wanted(line)).map(str::to_string);
            found.is_some()
        });
        found.unwrap()
    }

    /// Waits for a text on standard error.
    pub fn wait_for_stderr(&self, wanted: &str) {
        wait_until(&format!("standard error says {wanted:?}"), || self.stderr().contains(wanted));
    }

    /// The id of the process that serves.
    pub fn pid(&self) -> u32 {
        self.successors.last().copied().unwrap_or(self.child.id())
    }

    /// Starts a successor and waits until it answers at the admin endpoint. Returns the id of the process that it follows.
    pub fn upgrade(&mut self) -> u32 {
        let before = self.pid();
        self.signal("USR2");
        let mut now = before;
        wait_until("a successor answers", || {
            let status = get(self.admin, "/status", &[]).text();
            let id =
                status.split("\"pid\": ").nth(1).and_then(|rest| rest.split(',').next()).expect("/status names it");
            now = id.trim().parse().unwrap();
            now != before
        });
        self.successors.push(now);
        before
    }

    /// Sends a signal by its short name.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status().unwrap();
        assert!(sent.success(), "cannot send SIG{name}");
    }

    /// Waits for the end of the first process; the exit code.
    pub fn wait_exit(&mut self, patience: Duration) -> Option<i32> {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        None
    }

    /// Asks it to stop and waits; the exit code.
    pub fn stop(&mut self) -> Option<i32> {
        self.signal("TERM");
        self.wait_exit(PATIENCE)
    }

    /// Its figures.
    pub fn metrics(&self) -> Metrics {
        Metrics(get(self.admin, "/metrics", &[]).text())
    }

    /// Waits until a figure has a value.
    pub fn wait_metric(&self, name: &str, labels: &[(&str, &str)], value: f64) {
        let mut last = 0.0;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            last = self.metrics().value(name, labels);
            if last == value {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{name}{labels:?} is {last} and not {value}\n{}", self.metrics().0);
    }

    /// A field of `/proc/PID/status`, in KiB.
    pub fn memory_kib(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).expect("the kernel tells");
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Headwater {
    fn drop(&mut self) {
        // Those it tells of in its log: a test may have failed before it heard of them.
        let said = self.stderr();
        let told = said.split("successor=").skip(1).filter_map(|rest| rest.split_whitespace().next()?.parse().ok());
        for successor in told.filter(|pid| is_alive(*pid)) {
            let _ = Command::new("kill").arg("-9").arg(successor.to_string()).status();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- headwater's standard error\n{}", self.stderr());
        }
    }
}

/// Whether a process runs still: one that has ended and that nobody has asked for does not.
pub fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Starts it. A binary that a test has just copied is busy while a child that another test starts at that moment holds the
/// copy's descriptor.
fn spawn(command: &mut Command) -> Child {
    let mut child = None;
    wait_until("the binary is not busy", || match command.spawn() {
        Ok(started) => {
            child = Some(started);
            true
        }
        Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => false,
        Err(error) => panic!("the binary does not start: {error}"),
    });
    child.unwrap()
}

fn with_listen(config: &str) -> String {
    if config.contains("[listen]") {
        config.to_string()
    } else {
        format!("[listen]\nhttp = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\nworkers = 2\n{config}")
    }
}

fn gather(from: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    let kept = text.clone();
    std::thread::spawn(move || {
        let mut reader = BufReader::new(from);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            kept.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    });
    text
}

/// Figures, as they were given out.
pub struct Metrics(pub String);

impl Metrics {
    /// The sum of every series of that name that has these labels; 0 where there is none.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.series(name, labels).iter().map(|(_, value)| value).sum()
    }

    /// Every series of that name that has these labels.
    pub fn series(&self, name: &str, labels: &[(&str, &str)]) -> Vec<(String, f64)> {
        self.0
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.rsplit_once(' '))
            .filter(|(series, _)| series.split('{').next() == Some(name))
            .filter(|(series, _)| labels.iter().all(|(key, value)| series.contains(&format!("{key}=\"{value}\""))))
            .map(|(series, value)| (series.to_string(), value.parse().unwrap()))
            .collect()
    }
}
