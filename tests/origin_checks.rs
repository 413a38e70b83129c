//! Checks of the origin's health beside the pulls, and servers that come back by them.

use crate::origin_health::{Patient, config, good_pulls, is_up, nobody, pull, reload, state, transitions};
use headwater_testkit::{Authority, Headwater, Origin, Recorded, Then, Wire, answer, wait_until};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

const CHECKS: &str = "[origin.health]\npath = \"/healthz\"\ninterval = \"50ms\"\nfall = 3\nrise = 2\n";

/// Answers pulls, and checks as it is told.
fn with_health(well: &Arc<AtomicBool>) -> impl Fn(&Recorded, &mut dyn Wire) -> Then + Send + Sync + 'static {
    let well = well.clone();
    move |request, stream| {
        let status = if request.target != "/healthz" || well.load(SeqCst) { "200 OK" } else { "500 Oh" };
        let _ = stream.write_all(&answer(status, &[], "words"));
        Then::Keep
    }
}

#[test]
fn checks_take_a_server_out_and_bring_it_back() {
    let well = Arc::new(AtomicBool::new(true));
    let checked = Origin::with(with_health(&well));
    let other = Patient::new();
    let name = checked.address.to_string();
    let servers = [name.clone(), other.name()];
    let headwater = Headwater::start(&config(&servers, &format!("slow_start = \"0s\"\n{CHECKS}")));
    let checks = |result| {
        headwater.metrics().value("headwater_upstream_checks_total", &[("server", name.as_str()), ("result", result)])
    };
    wait_until("it is checked", || checks("good") >= 3.0);
    let check = checked.last();
    assert_eq!(
        (check.method.as_str(), check.target.as_str(), check.header("Host")),
        ("GET", "/healthz", Some(name.as_str()))
    );
    assert!(check.header("User-Agent").unwrap().starts_with("Headwater/"), "{}", check.head);
    well.store(false, SeqCst);
    wait_until("it is down", || !is_up(&headwater, &name));
    assert!(checks("status") >= 3.0);
    let pulls = || checked.requests().iter().filter(|request| request.target == "/").count();
    let asked = pulls();
    assert_eq!(good_pulls(&headwater, 20), 20);
    assert_eq!(pulls(), asked, "no pull goes there");
    assert_eq!(state(&headwater, &name)["last_failure"]["detail"], "it answered 500");
    headwater.wait_for_stderr("is down: checks fail");
    well.store(true, SeqCst);
    wait_until("it is up", || is_up(&headwater, &name));
    assert_eq!((transitions(&headwater, &name, "down"), transitions(&headwater, &name, "up")), (1.0, 1.0));
    assert_eq!(good_pulls(&headwater, 20), 20);
    assert!(pulls() >= asked + 6);
    wait_until("connections of checks are closed", || checked.open() <= 2);
}

#[test]
fn where_checks_find_no_server_up_all_are_tried() {
    let well = Arc::new(AtomicBool::new(false));
    let (one, other) = (Origin::with(with_health(&well)), Origin::with(with_health(&well)));
    let servers = [one.address.to_string(), other.address.to_string()];
    let headwater = Headwater::start(&config(&servers, CHECKS));
    wait_until("both are down", || servers.iter().all(|server| !is_up(&headwater, server)));
    assert_eq!(good_pulls(&headwater, 20), 20);
    let pulls = |origin: &Origin| origin.requests().iter().filter(|request| request.target == "/").count();
    assert!(pulls(&one) >= 7 && pulls(&other) >= 7, "{} and {}", pulls(&one), pulls(&other));
}

#[test]
fn with_checks_an_ejected_server_comes_back_by_them_and_no_pull_tries() {
    let pulls_fail = Arc::new(AtomicBool::new(true));
    let fails = pulls_fail.clone();
    let bad = Origin::with(move |request, stream| {
        if request.target == "/" && fails.load(SeqCst) {
            return Then::Close;
        }
        let _ = stream.write_all(&answer("200 OK", &[], "well"));
        Then::Keep
    });
    let name = bad.address.to_string();
    let good = Patient::new();
    let more = format!("fails = 2\neject = \"500ms\"\n{CHECKS}");
    let headwater = Headwater::start(&config(&[name.clone(), good.name()], &more));
    wait_until("it is ejected", || {
        pull(&headwater);
        transitions(&headwater, &name, "ejected") == 1.0
    });
    pulls_fail.store(false, SeqCst);
    wait_until("it is up", || {
        assert_eq!(pull(&headwater), 200);
        is_up(&headwater, &name)
    });
    assert_eq!(transitions(&headwater, &name, "trial"), 0.0);
}

#[test]
fn checks_go_the_way_pulls_go() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("Origins");
    let pair = authority.issue(folder.path(), "origin", &["localhost"]);
    let ca = authority.write(folder.path(), "authority");
    let well = Arc::new(AtomicBool::new(true));
    let over_tls = Origin::over_tls(&pair, None, with_health(&well));
    let socket = folder.path().join("app.sock");
    let on_unix = Origin::on_unix(&socket, with_health(&well));
    let servers = [format!("https://localhost:{}", over_tls.address.port()), format!("unix:{}", socket.display())];
    let more = format!("tls = {{ ca = \"{}\" }}\n{CHECKS}host = \"www.example.com\"\n", ca.display());
    let headwater = Headwater::start(&config(&servers, &more));
    for (server, origin) in servers.iter().zip([&over_tls, &on_unix]) {
        let labels = [("server", server.as_str()), ("result", "good")];
        wait_until("it is checked", || headwater.metrics().value("headwater_upstream_checks_total", &labels) >= 2.0);
        assert_eq!(origin.last().header("Host"), Some("www.example.com"));
    }
    well.store(false, SeqCst);
    wait_until("both are down", || servers.iter().all(|server| !is_up(&headwater, server)));
}

#[test]
fn a_check_that_comes_to_nothing_says_how() {
    let deaf = Origin::with(|_, stream| {
        let _ = stream.read(&mut [0]);
        Then::Close
    });
    let closes = Patient::new();
    closes.be(false);
    let garbled = Origin::answering("SSH-2.0-OpenSSH_9.2\r\n\r\n");
    let gone = nobody();
    let servers = [deaf.address.to_string(), closes.name(), garbled.address.to_string(), gone.to_string()];
    let more = CHECKS.replace("fall = 3", "timeout = \"200ms\"\nfall = 1");
    let headwater = Headwater::start(&config(&servers, &more));
    for (server, result) in servers.iter().zip(["timeout", "closed", "bad_head", "connect"]) {
        let labels = [("server", server.as_str()), ("result", result)];
        wait_until("it is checked", || headwater.metrics().value("headwater_upstream_checks_total", &labels) >= 1.0);
        wait_until("it is down", || !is_up(&headwater, server));
    }
}

#[test]
fn a_server_that_came_back_gets_a_small_share_at_first() {
    let well = Arc::new(AtomicBool::new(false));
    let returning = Origin::with(with_health(&well));
    let other = Patient::new();
    let name = returning.address.to_string();
    let more = format!("slow_start = \"10m\"\n{CHECKS}");
    let headwater = Headwater::start(&config(&[name.clone(), other.name()], &more));
    wait_until("it is down", || !is_up(&headwater, &name));
    well.store(true, SeqCst);
    wait_until("it is up", || is_up(&headwater, &name));
    let pulls = || returning.requests().iter().filter(|request| request.target == "/").count();
    let asked = pulls();
    assert_eq!(good_pulls(&headwater, 400), 400);
    let share = pulls() - asked;
    // A tenth of its half would be 20.
    assert!((1..70).contains(&share), "{share} of 400");
}

#[test]
fn checks_come_and_go_with_reloads() {
    let well = Arc::new(AtomicBool::new(false));
    let origin = Origin::with(with_health(&well));
    let name = origin.address.to_string();
    let other = Patient::new();
    let servers = [name.clone(), other.name()];
    let headwater = Headwater::start(&config(&servers, ""));
    assert_eq!(good_pulls(&headwater, 4), 4);
    headwater.rewrite(&config(&servers, CHECKS));
    reload(&headwater);
    wait_until("it is down", || !is_up(&headwater, &name));
    headwater.rewrite(&config(&servers, ""));
    reload(&headwater);
    // Without checks a pull finds out.
    assert_eq!(good_pulls(&headwater, 2), 2);
    assert!(is_up(&headwater, &name));
    let checked = origin.requests().len();
    std::thread::sleep(Duration::from_millis(300));
    assert!(origin.requests().len() <= checked + 1, "no checks are made any more");
}
