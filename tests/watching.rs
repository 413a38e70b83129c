//! The control plane's events and checks, as those who deploy and those who are on call run them.

use headwater_testkit::{Headwater, Origin, Then, binary, get, wait_until};
use serde_json::Value;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const TOKEN: &str = "a-token-of-the-test";

/// A control plane with its file, started and stopped at will.
struct Plane {
    folder: tempfile::TempDir,
    listen: SocketAddr,
    child: Option<Child>,
}

impl Plane {
    fn new(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let store = folder.path().join("history.db");
        let config = format!(
            "[listen]\nadmin = \"127.0.0.1:2\"\n[origin]\nservers = [\"127.0.0.1:1\"]\n\
             [[cdn]]\nname = \"fastly\"\nkind = \"fastly\"\nnetworks = [\"127.0.0.0/8\"]\n\
             [control]\nlisten = \"{listen}\"\nstore = \"{}\"\ntoken = \"{TOKEN}\"\n{more}",
            store.display()
        );
        std::fs::write(folder.path().join("headwater.toml"), config).unwrap();
        Self { folder, listen, child: None }
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("headwater.toml")
    }

    fn start(&mut self) {
        let mut command = Command::new(binary());
        command.arg("control").arg("-c").arg(self.config()).stdin(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().unwrap());
        wait_until("the control plane listens", || std::net::TcpStream::connect(self.listen).is_ok());
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(binary()).args(arguments).arg("-c").arg(self.config()).stdin(Stdio::null()).output().unwrap()
    }

    /// As `run`, with another configuration.
    fn run_with(&self, config: &str, arguments: &[&str]) -> Output {
        let path = self.folder.path().join("other.toml");
        std::fs::write(&path, config).unwrap();
        Command::new(binary()).args(arguments).arg("-c").arg(path).stdin(Stdio::null()).output().unwrap()
    }

    fn events(&self) -> Vec<Value> {
        let answer = get(self.listen, "/api/events", &[]);
        serde_json::from_slice::<Value>(&answer.body).unwrap()["events"].as_array().unwrap().clone()
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.stop();
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_deploy_does_not_fail_for_a_control_plane_that_is_down() {
    let mut plane = Plane::new("");
    let config = std::fs::read_to_string(plane.config()).unwrap();
    // Who deploys has not the other secrets, and needs none of them.
    let secrets = "grafana = { url = \"https://grafana.example\", token = \"env:NOBODY_SETS_IT\" }\n";
    let early = plane.run_with(&(config + secrets), &["events", "add", "deploy 0"]);
    assert_eq!(early.status.code(), Some(1), "there is no store to write to: {}", said(&early));
    assert!(!plane.folder.path().join("history.db").exists(), "a file that it made would be its own");
    plane.start();
    let up = plane.run(&["events", "add", "deploy 1", "--tag", "deploy", "--who", "ann"]);
    assert!(up.status.success() && !said(&up).contains("store"), "{}", said(&up));
    plane.stop();
    let config = std::fs::read_to_string(plane.config()).unwrap() + secrets;
    let down = plane.run_with(&config, &["events", "add", "deploy 2", "--tag", "deploy", "--who", "ann", "--json"]);
    assert!(down.status.success(), "{}", said(&down));
    let event: Value = serde_json::from_slice(&down.stdout).unwrap();
    assert_eq!((&event["written_to"], &event["text"]), (&"store".into(), &"deploy 2".into()));
    plane.start();
    let list = plane.run(&["events", "list", "--tag", "deploy", "--json"]);
    let list: Value = serde_json::from_slice(&list.stdout).unwrap();
    let texts: Vec<_> = list.as_array().unwrap().iter().map(|event| event["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["deploy 1", "deploy 2"]);
}

#[test]
fn who_has_no_token_writes_no_event_and_who_writes_nonsense_hears_what_is_wrong() {
    let mut plane = Plane::new("");
    plane.start();
    let url = format!("http://{}", plane.listen);
    let add = |token: &str, text: &str| {
        let mut command = Command::new(binary());
        command.args(["events", "add", text, "--url", &url]).env("HEADWATER_TOKEN", token).stdin(Stdio::null());
        command.output().unwrap()
    };
    let refused = add("another", "x");
    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).contains("401"), "{}", said(&refused));
    assert_eq!(add(TOKEN, "two\nlines").status.code(), Some(2));
    assert_eq!(add(TOKEN, &"x".repeat(501)).status.code(), Some(2));
    assert!(plane.events().is_empty());
    assert_eq!(add(TOKEN, "x").status.code(), Some(0));
    assert_eq!(plane.events().len(), 1);
}

#[test]
fn grafana_hears_of_each_event_once_also_of_those_while_it_was_down() {
    let down = Arc::new(AtomicBool::new(true));
    let is_down = down.clone();
    // It has the first already, as if only its answer had been lost.
    let grafana = Origin::with(move |request, stream| {
        let answer = if is_down.load(Ordering::SeqCst) {
            "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n".to_string()
        } else if request.method == "GET" {
            let body = if request.target.contains("headwater%3A1&") { "[{\"id\": 1}]" } else { "[]" };
            format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        } else {
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}".to_string()
        };
        let _ = stream.write_all(answer.as_bytes());
        Then::Keep
    });
    let mut plane = Plane::new(&format!("grafana = {{ url = \"http://{}\", token = \"g-token\" }}\n", grafana.address));
    plane.start();
    // What the watermark is when it starts is the past.
    wait_until("the watermark is kept", || checkpoint(&plane).is_some());
    for text in ["first", "second"] {
        assert!(plane.run(&["events", "add", text, "--tag", "deploy"]).status.success());
    }
    wait_until("Grafana was asked", || !grafana.requests().is_empty());
    down.store(false, Ordering::SeqCst);
    // Starting anew, as a wait of minutes is none for a test.
    plane.stop();
    plane.start();
    let posted = || {
        let all = grafana.requests().into_iter().filter(|request| request.method == "POST");
        all.filter_map(|request| serde_json::from_slice::<Value>(&request.body).ok()).collect::<Vec<_>>()
    };
    wait_until("the second is told", || {
        posted().iter().any(|event| event["text"].as_str().unwrap().starts_with("second"))
    });
    let last = posted().pop().unwrap();
    assert_eq!(last["tags"], serde_json::json!(["headwater", "note", "deploy", "headwater:2"]));
    assert_eq!(grafana.last().header("authorization"), Some("Bearer g-token"));
    plane.stop();
    plane.start();
    assert!(plane.run(&["events", "add", "third"]).status.success());
    wait_until("the third is told", || {
        posted().iter().any(|event| event["text"].as_str().unwrap().starts_with("third"))
    });
    let count = posted().iter().filter(|event| event["text"].as_str().unwrap().starts_with("second")).count();
    assert_eq!(count, 1, "what was told is not told again");
    let first = posted().iter().any(|event| event["text"].as_str().unwrap().starts_with("first"));
    assert!(!first, "it is there already");
}

fn checkpoint(plane: &Plane) -> Option<String> {
    let store = plane.folder.path().join("history.db");
    headwater_control::store::read_only(&store, |reader| reader.checkpoint("grafana")).ok().flatten()
}

#[test]
fn reloads_and_origin_servers_write_themselves_down() {
    let well = Arc::new(AtomicBool::new(true));
    let is_well = well.clone();
    let origin = Origin::with(move |_, stream| {
        let status = if is_well.load(Ordering::SeqCst) { "200 OK" } else { "503 Busy" };
        let _ = stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes());
        Then::Keep
    });
    let config = format!(
        "[origin]\nservers = [\"{}\"]\nhealth = {{ path = \"/h\", interval = \"1s\", fall = 2 }}\n",
        origin.address
    );
    let proxy = Headwater::start(&config);
    let mut plane = Plane::new(&format!("proxies = [\"{}\"]\n", proxy.admin));
    plane.start();
    wait_until("it was looked at", || kept(&plane, &format!("status {}", proxy.admin)));
    let has = |kind: &str, tag: &str| plane.events().iter().any(|event| event["kind"] == kind && event["tag"] == tag);
    // A look every five seconds: with the checks that is more than a test usually waits.
    let wait = |what: &str, kind: &str, tag: &str| {
        let deadline = Instant::now() + 3 * headwater_testkit::PATIENCE;
        while !has(kind, tag) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(100));
        }
        assert!(has(kind, tag), "{what}: {:#?}", plane.events());
    };
    proxy.rewrite(&config.replace("fall = 2", "fall = 3"));
    proxy.signal("HUP");
    wait("the reload", "reload", "reload");
    well.store(false, Ordering::SeqCst);
    wait("the server that left", "origin", "down");
    assert!(!has("origin", "up"));
}

fn kept(plane: &Plane, name: &str) -> bool {
    let store: &Path = &plane.folder.path().join("history.db");
    headwater_control::store::read_only(store, |reader| reader.checkpoint(name)).is_ok_and(|found| found.is_some())
}

#[test]
fn a_check_says_ok_only_where_it_knows() {
    let mut plane = Plane::new("");
    let check = |plane: &Plane, arguments: &[&str]| {
        let output = plane.run(&[&["alert", "check"], arguments].concat());
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let beacons = ["beacons", "--warn", "5/m", "--crit", "20/m", "--cdn", "fastly"];
    assert_eq!(check(&plane, &beacons).0, 3, "nobody answers");
    plane.start();
    let (code, line) = check(&plane, &beacons);
    assert!(code == 3 && line.starts_with("UNKNOWN - beacons"), "there are no data: {line}");
    for wrong in [
        vec!["nonsense", "--warn", "1", "--crit", "2"],
        vec!["beacons", "--warn", "1"],
        vec!["beacons", "--warn", "x", "--crit", "2"],
        vec!["beacons", "--warn", "5", "--crit", "2"],
        vec!["beacons", "--warn", "5", "--crit", "20", "--cdn", "nobody"],
    ] {
        let (code, line) = check(&plane, &wrong);
        assert!(code == 3 && line.starts_with("UNKNOWN") && line.lines().count() == 1, "{wrong:?}: {line}");
    }
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64;
    fill(&plane, now - 7200);
    assert_eq!(check(&plane, &beacons).0, 3, "what is two hours old says nothing of now");
    fill(&plane, now);
    let (code, line) = check(&plane, &beacons);
    assert!(code == 0 && line.starts_with("OK - beacons of fastly: 3 a minute"), "{line}");
    assert!(line.ends_with("|beacons=3;5;20\n"), "{line}");
    assert_eq!(check(&plane, &["beacons", "--warn", "2/m", "--crit", "20/m", "--cdn", "fastly"]).0, 1);
    assert_eq!(check(&plane, &["beacons", "--warn", "1/m", "--crit", "3/m"]).0, 2);
    assert_eq!(check(&plane, &["pulls", "--under", "--warn", "100/m", "--crit", "50/m"]).0, 1);
    plane.stop();
    let store = plane.folder.path().join("history.db");
    let output = headwater_testkit::run(&[
        "alert",
        "check",
        "beacons",
        "--warn",
        "5/m",
        "--crit",
        "20/m",
        "--cdn",
        "fastly",
        "--store",
        store.to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

/// Ten minutes of pulls and beacons until `end`, written beside the control plane, as its collectors would.
fn fill(plane: &Plane, end: i64) {
    use headwater_control::figures::{BEACONS, PULLS};
    use headwater_control::store::{Batch, Key, Store};
    let (control, _) = headwater_config::control_from_file(&plane.config(), &[]);
    let control = control.unwrap();
    let end = end.div_euclid(60) * 60;
    let mut batch = Batch::default();
    for at in (end - 600..end).step_by(60) {
        batch.set(Key::new(PULLS, "fastly", ""), at, 80.0);
        batch.set(Key::new(BEACONS, "untagged", "fastly_503"), at, 3.0);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(Store::open(&control.store, control.keep).unwrap().write(batch)).unwrap();
}
