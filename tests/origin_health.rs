//! Servers that fail and come back: who gets pulls meanwhile, what is tried again, and what is said of it.

use headwater_testkit::{Client, Headwater, Origin, Recorded, Then, Wire, answer, exchange, get, request, wait_until};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// A server that is well as long as a test says so. When it is not, it closes without an answer.
pub(crate) struct Patient {
    origin: Origin,
    well: Arc<AtomicBool>,
}

impl Patient {
    pub(crate) fn new() -> Self {
        Self::with(|_, _| Then::Close)
    }

    /// With a way to be unwell of its own.
    fn with(unwell: impl Fn(&Recorded, &mut dyn Wire) -> Then + Send + Sync + 'static) -> Self {
        let well = Arc::new(AtomicBool::new(true));
        let is_well = well.clone();
        let origin = Origin::with(move |request, stream| {
            if !is_well.load(SeqCst) {
                return unwell(request, stream);
            }
            let _ = stream.write_all(&answer("200 OK", &[], "well"));
            Then::Keep
        });
        Self { origin, well }
    }

    pub(crate) fn be(&self, well: bool) {
        self.well.store(well, SeqCst);
    }

    pub(crate) fn name(&self) -> String {
        self.origin.address.to_string()
    }

    /// Pulls it got, without the checks.
    fn pulls(&self) -> usize {
        self.origin.requests().iter().filter(|request| request.target != "/healthz").count()
    }
}

pub(crate) fn config(servers: &[String], more: &str) -> String {
    format!("[origin]\nservers = {servers:?}\n{more}")
}

/// A proxy before some servers.
fn before(patients: &[&Patient], more: &str) -> Headwater {
    let names: Vec<String> = patients.iter().map(|patient| patient.name()).collect();
    Headwater::start(&config(&names, more))
}

pub(crate) fn pull(headwater: &Headwater) -> u16 {
    get(headwater.http, "/", &[]).status
}

/// How many of so many pulls are answered with 200.
pub(crate) fn good_pulls(headwater: &Headwater, count: usize) -> usize {
    (0..count).filter(|_| pull(headwater) == 200).count()
}

pub(crate) fn reload(headwater: &Headwater) {
    assert_eq!(exchange(headwater.admin, request("POST", "/reload", &[])).status, 200);
}

pub(crate) fn transitions(headwater: &Headwater, server: &str, to: &str) -> f64 {
    headwater.metrics().value("headwater_upstream_transitions_total", &[("server", server), ("to", to)])
}

pub(crate) fn is_up(headwater: &Headwater, server: &str) -> bool {
    headwater.metrics().value("headwater_upstream_up", &[("server", server)]) == 1.0
}

pub(crate) fn state(headwater: &Headwater, server: &str) -> serde_json::Value {
    let status: serde_json::Value = serde_json::from_str(&get(headwater.admin, "/status", &[]).text()).unwrap();
    let servers = status["upstream"]["servers"].as_array().unwrap();
    servers.iter().find(|one| one["server"] == server).expect("it is there").clone()
}

/// An address where nobody listens. No test takes ports of this address for anything else.
pub(crate) fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.77:0").unwrap().local_addr().unwrap()
}

#[test]
fn pulls_that_fail_in_a_row_eject_a_server() {
    let (bad, good) = (Patient::new(), Patient::new());
    bad.be(false);
    let headwater = before(&[&bad, &good], "fails = 3\neject = \"60s\"\n");
    assert_eq!(good_pulls(&headwater, 40), 37, "three pulls fail, and then no more");
    assert_eq!(bad.pulls(), 3);
    assert!(!is_up(&headwater, &bad.name()) && is_up(&headwater, &good.name()));
    assert_eq!(transitions(&headwater, &bad.name(), "ejected"), 1.0);
    headwater.wait_for_stderr("is ejected");
    let said = headwater.stderr();
    let lines: Vec<_> = said.lines().filter(|line| line.contains("is ejected")).collect();
    assert_eq!(lines.len(), 1, "{said}");
    for word in ["WARN", &bad.name(), "closed_before_head", "seconds=60"] {
        assert!(lines[0].contains(word), "{word} is not in {}", lines[0]);
    }
    let seen = state(&headwater, &bad.name());
    assert_eq!(
        (seen["state"].as_str(), seen["last_failure"]["reason"].as_str()),
        (Some("ejected"), Some("closed_before_head"))
    );
    assert!(seen["since_seconds"].as_f64().unwrap() < 10.0 && seen["pulls_in_hand"] == 0, "{seen}");
    assert_eq!(state(&headwater, &good.name())["state"], "up");
}

#[test]
fn the_apps_own_errors_eject_only_where_that_is_wanted() {
    for (more, ejects) in [("fails = 3\n", false), ("fails = 3\nfails_5xx = true\n", true)] {
        let failing = Patient::with(|_, stream| {
            let _ = stream.write_all(&answer("503 Service Unavailable", &[], "no"));
            Then::Keep
        });
        let good = Patient::new();
        failing.be(false);
        let headwater = before(&[&failing, &good], more);
        good_pulls(&headwater, 30);
        assert_eq!(!is_up(&headwater, &failing.name()), ejects, "{more}");
    }
}

#[test]
fn a_success_between_failures_keeps_a_server() {
    let turn = Arc::new(AtomicUsize::new(0));
    let fickle = Patient::with(move |_, stream| {
        if turn.fetch_add(1, SeqCst) % 3 < 2 {
            return Then::Close;
        }
        let _ = stream.write_all(&answer("200 OK", &[], "well"));
        Then::Close
    });
    fickle.be(false);
    let good = Patient::new();
    let headwater = before(&[&fickle, &good], "fails = 3\n");
    good_pulls(&headwater, 60);
    assert!(is_up(&headwater, &fickle.name()));
    assert!(fickle.pulls() > 20, "{}", fickle.pulls());
}

#[test]
fn an_ejected_server_is_tried_with_one_pull_and_comes_back() {
    let (bad, good) = (Patient::new(), Patient::new());
    bad.be(false);
    let headwater = before(&[&bad, &good], "fails = 2\neject = \"300ms\"\nslow_start = \"0s\"\n");
    wait_until("it is ejected", || {
        pull(&headwater);
        transitions(&headwater, &bad.name(), "ejected") == 1.0
    });
    let before_trials = bad.pulls();
    wait_until("a trial fails", || {
        pull(&headwater);
        transitions(&headwater, &bad.name(), "ejected") == 2.0
    });
    assert_eq!(bad.pulls() - before_trials, 1, "one pull tries it");
    bad.be(true);
    wait_until("a trial succeeds", || {
        assert_eq!(pull(&headwater), 200);
        is_up(&headwater, &bad.name())
    });
    assert!(transitions(&headwater, &bad.name(), "trial") >= 2.0);
    let at_its_return = bad.pulls();
    assert_eq!(good_pulls(&headwater, 20), 20);
    assert!(bad.pulls() >= at_its_return + 6, "it takes its share again");
    for text in ["is tried with one pull", "is up again"] {
        headwater.wait_for_stderr(text);
    }
}

#[test]
fn while_one_pull_tries_a_server_no_other_goes_there() {
    let hangs = Patient::with(|_, stream| {
        // Ends when the proxy gives up.
        let _ = stream.read(&mut [0]);
        Then::Close
    });
    let good = Patient::new();
    hangs.be(false);
    let headwater = before(&[&hangs, &good], "fails = 1\neject = \"100ms\"\nresponse_timeout = \"1500ms\"\n");
    wait_until("it is ejected", || {
        pull(&headwater);
        transitions(&headwater, &hangs.name(), "ejected") == 1.0
    });
    let asked = hangs.pulls();
    let mut clients: Vec<Client> = Vec::new();
    wait_until("it is tried", || {
        let mut client = Client::connect(headwater.http);
        client.send(request("GET", "/", &[]));
        clients.push(client);
        hangs.pulls() > asked
    });
    let begun = Instant::now();
    assert_eq!(good_pulls(&headwater, 30), 30);
    assert!(begun.elapsed() < Duration::from_millis(1400), "{:?}: the trial may have ended", begun.elapsed());
    assert_eq!(hangs.pulls(), asked + 1);
    assert_eq!(state(&headwater, &hangs.name())["state"], "trial");
    // Who tried it and left told nothing: the next one may try.
    drop(clients);
    wait_until("another tries it", || {
        let mut client = Client::connect(headwater.http);
        client.send(request("GET", "/", &[]));
        hangs.pulls() > asked + 1
    });
}

#[test]
fn the_last_server_is_never_ejected() {
    let only = Patient::new();
    only.be(false);
    let headwater = before(&[&only], "fails = 3\n");
    assert_eq!(good_pulls(&headwater, 10), 0);
    assert_eq!(only.pulls(), 10, "each of them was tried");
    assert!(is_up(&headwater, &only.name()));
    only.be(true);
    assert_eq!(pull(&headwater), 200);
    headwater.wait_for_stderr("that was kept answers again");
    assert_eq!(headwater.stderr().matches("is kept as no other is up").count(), 1, "{}", headwater.stderr());

    let (one, other) = (Patient::new(), Patient::new());
    one.be(false);
    other.be(false);
    let headwater = before(&[&one, &other], "fails = 3\neject = \"60s\"\n");
    good_pulls(&headwater, 30);
    assert_eq!(one.pulls() + other.pulls(), 30);
    assert!(is_up(&headwater, &one.name()) != is_up(&headwater, &other.name()), "one of them is kept");
}

#[test]
fn an_origin_that_comes_back_after_a_while_needs_nobodys_help() {
    let address = nobody();
    let headwater = Headwater::start(&config(&[address.to_string()], ""));
    assert_eq!(good_pulls(&headwater, 30), 0);
    let origin = Origin::at(address, |_, stream| {
        let _ = stream.write_all(&answer("200 OK", &[], "back"));
        Then::Keep
    });
    assert_eq!(good_pulls(&headwater, 10), 10, "from the first pull on");
    drop(origin);
}

#[test]
fn a_server_that_takes_no_connection_is_no_loss_as_long_as_the_budget_lasts() {
    let (good, gone) = (Patient::new(), nobody().to_string());
    let servers = [gone, good.name()];
    let headwater = Headwater::start(&config(&servers, "fails = 0\n"));
    // No more than may be retried in a second at any rate, wherever each of them begins.
    assert_eq!(good_pulls(&headwater, 10), 10);
    let retries =
        |headwater: &Headwater, result| headwater.metrics().value("headwater_retries_total", &[("result", result)]);
    let (made, denied) = (retries(&headwater, "made"), retries(&headwater, "denied"));
    assert!((1.0..=10.0).contains(&made) && denied == 0.0, "{made} made, {denied} denied");

    // What goes beyond the budget fails, and does not come down on the servers that are left.
    let begun = Instant::now();
    let answered = good_pulls(&headwater, 400) + 10;
    let (made, denied) = (retries(&headwater, "made"), retries(&headwater, "denied"));
    assert!((150.0..=410.0).contains(&(made + denied)), "{made} made, {denied} denied");
    assert_eq!(answered as f64, 410.0 - denied);
    let most = 0.2 * 410.0 + 10.0 * (begun.elapsed().as_secs_f64() + 2.0);
    assert!(made <= most && (denied > 0.0 || most > 150.0), "{made} made, {denied} denied, {most} at most");

    let headwater = Headwater::start(&config(&servers, "fails = 0\nretry_budget = 0\n"));
    let failed = 10 - good_pulls(&headwater, 10);
    assert!((1..=10).contains(&failed), "{failed}");
    assert_eq!((retries(&headwater, "made"), retries(&headwater, "denied")), (0.0, failed as f64));
}

#[test]
fn a_reload_keeps_what_is_known_of_servers_and_forgets_those_that_are_gone() {
    let (bad, good) = (Patient::new(), Patient::new());
    bad.be(false);
    let servers = [bad.name(), good.name()];
    let more = "fails = 3\neject = \"60s\"\n";
    let headwater = Headwater::start(&config(&servers, more));
    good_pulls(&headwater, 20);
    assert!(!is_up(&headwater, &bad.name()));
    headwater.rewrite(&config(&servers, &format!("{more}response_timeout = \"7s\"\n")));
    reload(&headwater);
    assert_eq!(state(&headwater, &bad.name())["state"], "ejected");
    assert_eq!((good_pulls(&headwater, 20), bad.pulls()), (20, 3));
    assert_eq!(transitions(&headwater, &bad.name(), "ejected"), 1.0);

    headwater.rewrite(&config(&servers[1..], more));
    reload(&headwater);
    let metrics = headwater.metrics();
    assert!(!metrics.0.contains(&format!("server=\"{}\"", bad.name())), "{}", metrics.0);
    assert!(is_up(&headwater, &good.name()));

    // The one that is left alone is asked, whatever was known of it.
    headwater.rewrite(&config(&servers[..1], more));
    reload(&headwater);
    bad.be(true);
    assert_eq!(good_pulls(&headwater, 5), 5);
}

#[test]
fn a_cap_of_its_own_keeps_each_server_from_more_than_it_can_bear() {
    let slow = |most: &Arc<AtomicUsize>| {
        let (most, now) = (most.clone(), AtomicUsize::new(0));
        Origin::with(move |_, stream| {
            most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
            std::thread::sleep(Duration::from_millis(100));
            now.fetch_sub(1, SeqCst);
            let _ = stream.write_all(&answer("200 OK", &[], "ok"));
            Then::Keep
        })
    };
    let most = [Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0))];
    let origins = [slow(&most[0]), slow(&most[1])];
    let servers = [origins[0].address.to_string(), origins[1].address.to_string()];
    let headwater = Headwater::start(&config(&servers, "server_max_connections = 2\nwait_timeout = \"9s\"\n"));
    let clients: Vec<Client> = (0..20)
        .map(|_| {
            let mut client = Client::connect(headwater.http);
            client.send(request("GET", "/", &[]));
            client
        })
        .collect();
    for mut client in clients {
        assert_eq!(client.read_response().status, 200);
    }
    for (most, origin) in most.iter().zip(&origins) {
        assert!((1..=2).contains(&most.load(SeqCst)), "{} at a time", most.load(SeqCst));
        assert!(origin.open() <= 2, "{} connections", origin.open());
    }
    let short = Headwater::start(&config(&servers[..1], "server_max_connections = 1\nwait_timeout = \"100ms\"\n"));
    let mut first = Client::connect(short.http);
    let asked = origins[0].requests().len();
    first.send(request("GET", "/", &[]));
    wait_until("it is asked", || origins[0].requests().len() > asked);
    // Ten at once, of which the last would wait for a second.
    let mut statuses: Vec<u16> = Vec::new();
    let rest: Vec<Client> = (0..10)
        .map(|_| {
            let mut client = Client::connect(short.http);
            client.send(request("GET", "/", &[]));
            client
        })
        .collect();
    statuses.extend(rest.into_iter().map(|mut client| client.read_response().status));
    assert!(statuses.contains(&503), "{statuses:?}");
    assert_eq!(first.read_response().status, 200);
}
