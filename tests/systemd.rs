//! What a service manager gives and hears: sockets it listens on, notices of readiness, a watchdog, and units it accepts.

use headwater_testkit::{Headwater, Origin, PATIENCE, binary, get, is_alive, needs, wait_until};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const ACTIVATE: &str = "/usr/bin/systemd-socket-activate";

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// `systemd-socket-activate` on two addresses, before `headwater serve`. It waits for the first connection.
fn activate(sockets: &[SocketAddr], names: Option<&str>, config: &Path) -> Command {
    needs(ACTIVATE, "systemd");
    let mut command = Command::new(ACTIVATE);
    for socket in sockets {
        command.arg("-l").arg(socket.to_string());
    }
    command.args(names.map(|names| format!("--fdname={names}")));
    command.arg(binary()).arg("serve").arg("-c").arg(config);
    command
}

/// Connects until somebody listens, and holds the connection for a while: that starts what is to be started.
fn knock(address: SocketAddr) {
    std::thread::spawn(move || {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Ok(stream) = TcpStream::connect(address) {
                std::thread::sleep(Duration::from_secs(1));
                drop(stream);
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    });
}

fn config(origin: &Origin, http: &str, admin: &str) -> String {
    format!("[listen]\nhttp = [\"{http}\"]\nadmin = \"{admin}\"\nworkers = 2\n{}", origin.config())
}

fn activated(names: Option<&str>) {
    let origin = Origin::answering(OK);
    let (http, admin) = (free_port(), free_port());
    knock(http);
    let text = match names {
        // A name alone says what the socket is for, where the config leaves the port open.
        Some(_) => config(&origin, "127.0.0.1:0", "127.0.0.1:0"),
        None => config(&origin, &http.to_string(), &admin.to_string()),
    };
    let mut proxy = Headwater::launch(&text, |path| activate(&[http, admin], names, path));
    assert_eq!((proxy.http, proxy.admin), (http, admin));
    assert_eq!(get(http, "/", &[]).text(), "ok");
    let old = proxy.upgrade();
    assert_eq!(get(http, "/", &[]).text(), "ok", "the successor has them too");
    wait_until("the old process has left", || !is_alive(old));
    assert_eq!(get(admin, "/readyz", &[]).status, 200);
}

#[test]
fn sockets_of_the_service_manager_are_known_by_their_names() {
    activated(Some("http:admin"));
}

#[test]
fn sockets_without_a_name_are_known_by_their_addresses() {
    activated(None);
}

/// What it says when it does not start with these sockets.
fn refusal(socket: &str, name: &str, text: &str) -> String {
    needs(ACTIVATE, "systemd");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("headwater.toml");
    std::fs::write(&path, text).unwrap();
    let mut command = Command::new(ACTIVATE);
    command.arg("-l").arg(socket).arg(format!("--fdname={name}")).arg(binary()).arg("serve").arg("-c").arg(&path);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    if let Ok(address) = socket.parse() {
        knock(address);
    } else {
        let socket = PathBuf::from(socket);
        wait_until("somebody listens", || std::os::unix::net::UnixStream::connect(&socket).is_ok());
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_socket_that_the_config_does_not_know_is_refused() {
    let origin = Origin::answering(OK);
    let text = config(&origin, "127.0.0.1:0", "127.0.0.1:0");
    let address = free_port();
    let said = refusal(&address.to_string(), "https", &text);
    assert!(said.contains(&format!("the service manager listens on {address} (https), and [listen]")), "{said}");
    let folder = tempfile::tempdir().unwrap();
    let said = refusal(folder.path().join("socket").to_str().unwrap(), "http", &text);
    assert!(said.contains("descriptor 3 (named \"http\")"), "{said}");
}

/// A service manager's ear.
struct Ear {
    socket: UnixDatagram,
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Ear {
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        Self { socket, path, _folder: folder }
    }

    fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// The next message, as lines; `None` when none comes in that time.
    fn hears_within(&self, patience: Duration) -> Option<Vec<String>> {
        self.socket.set_read_timeout(Some(patience)).unwrap();
        let mut bytes = [0; 4096];
        let count = self.socket.recv(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes[..count]).lines().map(str::to_string).collect())
    }

    fn hears(&self) -> Vec<String> {
        self.hears_within(PATIENCE).expect("a message comes")
    }
}

fn status(lines: &[String]) -> &str {
    lines.iter().find_map(|line| line.strip_prefix("STATUS=")).expect("a status")
}

#[test]
fn the_service_manager_hears_how_things_stand() {
    let origin = Origin::answering(OK);
    let ear = Ear::open();
    let mut proxy = Headwater::start_with(&origin.config(), &[], &[("NOTIFY_SOCKET", ear.path())]);
    let ready = ear.hears();
    assert_eq!(ready[..2], [format!("MAINPID={}", proxy.pid()), "READY=1".into()]);
    assert!(status(&ready).starts_with(&format!("serving http={}", proxy.http)), "{ready:?}");

    proxy.signal("HUP");
    let reloads = ear.hears();
    assert_eq!(reloads[0], "RELOADING=1");
    let uptime: f64 = std::fs::read_to_string("/proc/uptime").unwrap().split(' ').next().unwrap().parse().unwrap();
    let microseconds: f64 = reloads[1].strip_prefix("MONOTONIC_USEC=").unwrap().parse().unwrap();
    assert!((uptime - microseconds / 1e6).abs() < 30.0, "{reloads:?} at {uptime} s");
    let reloaded = ear.hears();
    assert_eq!((reloaded[0].as_str(), status(&reloaded)), ("READY=1", status(&ready)));

    proxy.rewrite("[origin]\nservrs = []\n");
    proxy.signal("HUP");
    assert_eq!(ear.hears()[0], "RELOADING=1");
    let reloaded = ear.hears();
    assert!(reloaded[0] == "READY=1" && status(&reloaded).contains("has mistakes"), "{reloaded:?}");

    proxy.signal("TERM");
    assert_eq!(ear.hears()[0], "STOPPING=1");
    assert_eq!(proxy.wait_exit(PATIENCE), Some(0));
}

#[test]
fn the_service_manager_follows_the_successor() {
    let origin = Origin::answering(OK);
    let ear = Ear::open();
    let mut proxy = Headwater::start_with(&origin.config(), &[], &[("NOTIFY_SOCKET", ear.path())]);
    ear.hears();
    let good = std::fs::read_to_string(proxy.config_path()).unwrap();
    proxy.rewrite("[origin]\nservrs = []\n");
    proxy.signal("USR2");
    assert!(status(&ear.hears()).starts_with("starting a successor; serving http="));
    assert!(status(&ear.hears()).starts_with("an upgrade failed, see the log; serving http="));
    proxy.rewrite(&good);
    let old = proxy.upgrade();
    assert!(status(&ear.hears()).starts_with("starting a successor; serving http="));
    assert_eq!(ear.hears()[..2], [format!("MAINPID={}", proxy.pid()), "READY=1".into()]);
    wait_until("the old process has left", || !is_alive(old));
    assert_eq!(ear.hears_within(Duration::from_millis(300)), None, "nothing more is said of the old one");
    proxy.signal("TERM");
    assert_eq!(ear.hears()[0], "STOPPING=1");
}

/// Stops one thread of a process, as a debugger would, until the guard is dropped.
struct Held(std::process::Child);

impl Held {
    fn thread(pid: u32, name: &str) -> Self {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().map(|task| task.unwrap().path());
        let named = |task: &PathBuf| std::fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == name);
        let thread = tasks.into_iter().find(named).expect("there is such a thread");
        let script = "import ctypes, os, sys\n\
                      ptrace = ctypes.CDLL(None, use_errno=True).ptrace\n\
                      ptrace.argtypes = [ctypes.c_long] * 4\n\
                      thread = int(sys.argv[1])\n\
                      assert ptrace(16, thread, 0, 0) == 0, os.strerror(ctypes.get_errno())\n\
                      os.waitpid(thread, 0x40000000)\n\
                      print('held', flush=True)\n\
                      sys.stdin.read()\n";
        let mut child = Command::new("python3")
            .args(["-c", script, thread.file_name().unwrap().to_str().unwrap()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut said).unwrap();
        assert_eq!(said, "held\n", "a process may be traced by its like (root, or kernel.yama.ptrace_scope = 0)");
        Self(child)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // The end of its input ends it, and the kernel lets go what it held.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

#[test]
fn the_watchdog_is_fed_while_every_worker_is_alive_and_no_longer() {
    let origin = Origin::answering(OK);
    let ear = Ear::open();
    let variables = [("NOTIFY_SOCKET", ear.path()), ("WATCHDOG_USEC", "3000000")];
    let mut proxy = Headwater::start_with(&origin.config(), &[], &variables);
    ear.hears();
    let begun = Instant::now();
    for _ in 0..2 {
        assert_eq!(ear.hears(), ["WATCHDOG=1"]);
    }
    assert!(begun.elapsed() > Duration::from_millis(2900), "at half its time, not sooner: {:?}", begun.elapsed());
    // The watchdog that watched the old process watches its successor.
    proxy.upgrade();
    let ready = loop {
        let heard = ear.hears();
        if heard.contains(&"READY=1".into()) {
            break heard;
        }
    };
    assert!(ready.contains(&"WATCHDOG=1".into()), "one successor after the other must not starve it: {ready:?}");
    assert_eq!(ear.hears(), ["WATCHDOG=1"]);

    let held = Held::thread(proxy.pid(), "worker-1");
    proxy.wait_for_stderr("workers are stuck: the watchdog is not fed workers=[1]");
    // A message may have been on its way.
    let mut heard = 0;
    while ear.hears_within(Duration::from_secs(4)).is_some() {
        heard += 1;
        assert!(heard < 2, "it is fed although a worker stands still");
    }
    drop(held);
    assert_eq!(ear.hears(), ["WATCHDOG=1"]);
}

#[test]
fn systemd_accepts_the_units() {
    needs("/usr/bin/systemd-analyze", "systemd");
    let folder = tempfile::tempdir().unwrap();
    let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging");
    let service = std::fs::read_to_string(packaging.join("headwater.service")).unwrap();
    let here = service.replace("/usr/bin/headwater ", &format!("{} ", binary().display()));
    assert_ne!(service, here);
    std::fs::write(folder.path().join("headwater.service"), here).unwrap();
    std::fs::copy(packaging.join("examples/headwater.socket"), folder.path().join("headwater.socket")).unwrap();
    let analyze = |arguments: &[&str]| {
        let output = Command::new("systemd-analyze").args(arguments).current_dir(&folder).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    for unit in ["headwater.service", "headwater.socket"] {
        let (good, said) = analyze(&["verify", "--man=no", &format!("./{unit}")]);
        assert!(good && said.is_empty(), "{unit}: {said}");
    }
    // 0 is closed, 10 is open. What is left open is the network, and one's own user.
    let (good, said) = analyze(&["security", "--offline=true", "--threshold=20", "./headwater.service"]);
    assert!(good, "{said}");
}
