//! New policies without a failed pull, and an end without a broken one.

use headwater_testkit::{Client, Headwater, Origin, Then, exchange, get, request, wait_until};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn with_age(origin: &Origin, age: u32) -> String {
    format!("{}[[rule]]\nname = \"r\"\npath = '.'\ncache_control = \"max-age={age}\"\n", origin.config())
}

fn age(proxy: &Headwater) -> String {
    get(proxy.http, "/", &[]).header("Cache-Control").unwrap_or("none").to_string()
}

fn post_reload(proxy: &Headwater, headers: &[(&str, &str)]) -> headwater_testkit::Response {
    exchange(proxy.admin, request("POST", "/reload", headers))
}

#[test]
fn the_next_request_has_the_new_policy() {
    let origin = Origin::answering(OK);
    let proxy = Headwater::start(&with_age(&origin, 1));
    assert_eq!(age(&proxy), "max-age=1");
    proxy.rewrite(&with_age(&origin, 2));
    assert_eq!(age(&proxy), "max-age=1", "not before it is told");
    assert_eq!(post_reload(&proxy, &[]).status, 200);
    assert_eq!(age(&proxy), "max-age=2");
    proxy.rewrite(&with_age(&origin, 3));
    proxy.signal("HUP");
    wait_until("the signal is obeyed", || age(&proxy) == "max-age=3");
}

#[test]
fn a_broken_file_keeps_the_old_policy_and_is_told_of() {
    let origin = Origin::answering(OK);
    let proxy = Headwater::start(&with_age(&origin, 1));
    proxy.rewrite("[origin]\nservrs = []\n");
    let answer = post_reload(&proxy, &[]);
    assert_eq!(answer.status, 422);
    assert!(
        answer.text().contains("headwater.toml:6:1") && answer.text().contains("did you mean `servers`?"),
        "{}",
        answer.text()
    );
    proxy.wait_for_stderr("the old policy stays in force");
    proxy.wait_metric("headwater_policy_reload_failed", &[], 1.0);
    assert!(get(proxy.admin, "/status", &[]).text().contains("\"reload_failed\": true"));
    assert_eq!(age(&proxy), "max-age=1");
    proxy.rewrite(&with_age(&origin, 2));
    assert_eq!(post_reload(&proxy, &[]).status, 200);
    assert_eq!(proxy.metrics().value("headwater_policy_reload_failed", &[]), 0.0);
    std::fs::remove_file(proxy.config_path()).unwrap();
    proxy.signal("HUP");
    proxy.wait_metric("headwater_policy_reload_failed", &[], 1.0);
    assert_eq!(age(&proxy), "max-age=2");
}

#[test]
fn what_waits_for_a_restart_is_named_until_the_file_says_what_is_listened_on() {
    let origin = Origin::answering(OK);
    let listen = |http: &str, more: &str| {
        format!("[listen]\nhttp = [{http}]\nadmin = \"127.0.0.1:0\"\n{more}{}", with_age(&origin, 1))
    };
    let proxy = Headwater::start(&listen("\"127.0.0.1:0\"", "workers = 1\n"));
    let said = |waiting: &[&str]| {
        let answer = exchange(proxy.admin, request("POST", "/reload", &[("Accept", "application/json")]));
        assert_eq!((answer.status, answer.header("Content-Type")), (200, Some("application/json")));
        let answer: serde_json::Value = serde_json::from_str(&answer.text()).unwrap();
        let status: serde_json::Value = serde_json::from_str(&get(proxy.admin, "/status", &[]).text()).unwrap();
        let expected = serde_json::json!(waiting);
        assert_eq!((&answer["reloaded"], &answer["waits_for_restart"]), (&true.into(), &expected));
        assert_eq!(status["policy"]["waits_for_restart"], expected);
        assert_eq!(status["policy"]["reload_failed"], false);
        assert_eq!(
            proxy.metrics().value("headwater_policy_reload_failed", &[]),
            f64::from(u8::from(!waiting.is_empty()))
        );
    };
    assert_eq!(post_reload(&proxy, &[]).text(), "reloaded\n");
    said(&[]);
    proxy.rewrite(&listen("\"127.0.0.1:0\", \"127.0.0.1:0\"", "workers = 2\n"));
    assert_eq!(
        post_reload(&proxy, &[]).text(),
        "reloaded, but for what waits for an upgrade or a restart: listen.http, listen.workers\n"
    );
    said(&["listen.http", "listen.workers"]);
    proxy.wait_for_stderr("listen.http, listen.workers: that takes an upgrade");
    // What the process listens on, written out.
    proxy.rewrite(&listen(&format!("\"{}\"", proxy.http), "workers = 1\n"));
    said(&[]);
    // As at the start, and with what is in force at once.
    proxy.rewrite(&listen("\"127.0.0.1:0\"", "workers = 1\nhttp2 = \"all\"\nadmin_token = \"\"\n"));
    assert_eq!(post_reload(&proxy, &[]).text(), "reloaded\n");
    said(&[]);
    proxy.rewrite("[origin]\n");
    let answer = exchange(proxy.admin, request("POST", "/reload", &[("Accept", "application/json")]));
    let refused: serde_json::Value = serde_json::from_str(&answer.text()).unwrap();
    assert_eq!((answer.status, &refused["reloaded"]), (422, &false.into()));
    assert!(refused["mistakes"][0]["what"].as_str().unwrap().contains("there is no origin"), "{refused}");
}

#[test]
fn not_one_pull_fails_while_policies_come_and_go() {
    let origin = Origin::answering(OK);
    let proxy = Headwater::start(&with_age(&origin, 1));
    let (running, pulls) = (AtomicBool::new(true), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut client = Client::connect(proxy.http);
                while running.load(SeqCst) {
                    client.send(request("GET", "/", &[]));
                    let answer = client.read_response();
                    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
                    let age = answer.header("Cache-Control").unwrap();
                    assert!(age == "max-age=1" || age == "max-age=2");
                    pulls.fetch_add(1, SeqCst);
                }
            });
        }
        for turn in 0..20 {
            proxy.rewrite(&with_age(&origin, 1 + turn % 2));
            assert_eq!(post_reload(&proxy, &[]).status, 200);
            std::thread::sleep(Duration::from_millis(50));
        }
        running.store(false, SeqCst);
    });
    assert!(pulls.load(SeqCst) > 100);
    proxy.wait_metric("headwater_pulls_total", &[("code", "2xx")], pulls.load(SeqCst) as f64);
}

#[test]
fn only_who_has_the_token_may_reload_where_there_is_one() {
    let origin = Origin::answering(OK);
    let listen = "[listen]\nhttp = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\nadmin_token = \"0123456789abcdef\"\n";
    let proxy = Headwater::start(&format!("{listen}{}", origin.config()));
    assert_eq!(post_reload(&proxy, &[]).status, 401);
    assert_eq!(post_reload(&proxy, &[("Authorization", "Bearer wrong")]).status, 401);
    assert_eq!(post_reload(&proxy, &[("Authorization", "Bearer 0123456789abcdef")]).status, 200);
    assert_eq!(get(proxy.admin, "/reload", &[]).status, 405);
    assert_eq!(get(proxy.admin, "/metrics", &[]).status, 200);
    let open = Headwater::start(&origin.config());
    assert_eq!(
        post_reload(&open, &[("Origin", "https://evil.example")]).status,
        403,
        "a page in a browser is no operator"
    );
}

fn slow_origin() -> Origin {
    Origin::with(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nfirs");
        std::thread::sleep(Duration::from_millis(1200));
        let _ = stream.write_all(b"tlas");
        Then::Keep
    })
}

#[test]
fn a_stop_finishes_what_is_in_hand() {
    let origin = slow_origin();
    let mut proxy = Headwater::start(&origin.config());
    let mut idle = Client::connect(proxy.http);
    idle.send(request("GET", "/status/images/beacon.gif?source=x", &[]));
    idle.read_response();
    let mut busy = Client::connect(proxy.http);
    busy.send(request("GET", "/", &[]));
    wait_until("the origin is asked", || origin.requests().len() == 1);
    proxy.signal("TERM");
    assert!(idle.is_closed(), "a connection at rest is closed at once");
    wait_until("nobody listens", || std::net::TcpStream::connect(proxy.http).is_err());
    assert_eq!(get(proxy.admin, "/readyz", &[]).status, 503);
    let answer = busy.read_response();
    assert!(answer.complete && answer.text() == "firstlas");
    assert!(busy.is_closed());
    assert_eq!(proxy.wait_exit(Duration::from_secs(5)), Some(0));
    assert!(proxy.stdout().contains("end=complete"), "the last lines of the log are written");
}

#[test]
fn a_stop_waits_no_longer_than_it_is_told() {
    let origin = Origin::with(|_, _| {
        std::thread::sleep(Duration::from_secs(8));
        Then::Close
    });
    let mut proxy = Headwater::start_with(&origin.config(), &["--drain", "500ms"], &[]);
    let mut busy = Client::connect(proxy.http);
    busy.send(request("GET", "/", &[]));
    wait_until("the origin is asked", || origin.requests().len() == 1);
    let started = Instant::now();
    proxy.signal("INT");
    assert_eq!(proxy.wait_exit(Duration::from_secs(5)), Some(0));
    assert!((400..3000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
}

#[test]
fn the_log_is_reopened_after_a_rotation() {
    let origin = Origin::answering(OK);
    let folder = tempfile("rotation");
    let log = folder.join("access.log");
    let proxy = Headwater::start(&format!("{}[log]\naccess = \"{}\"\n", origin.config(), log.display()));
    let has = |path: &std::path::Path, text: &str| std::fs::read_to_string(path).is_ok_and(|all| all.contains(text));
    get(proxy.http, "/one", &[]);
    wait_until("the line is written", || has(&log, "/one"));
    let old = folder.join("access.log.1");
    std::fs::rename(&log, &old).unwrap();
    get(proxy.http, "/two", &[]);
    wait_until("the line is written", || has(&old, "/two"));
    proxy.signal("USR1");
    wait_until("there is a new file", || log.exists());
    get(proxy.http, "/three", &[]);
    wait_until("the line is written", || has(&log, "/three"));
    assert!(!has(&old, "/three"));
    std::fs::remove_dir_all(folder).unwrap();
}

fn tempfile(name: &str) -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("headwater-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
