//! The cap on connections to the origin, and the wait for one.

use headwater_testkit::{Client, Headwater, Origin, Then, answer, get, request, wait_until};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// An origin that takes its time for `/slow`, and keeps count of what it has in hand at most.
fn origin(slow: Duration) -> (Origin, Arc<AtomicUsize>) {
    let most = Arc::new(AtomicUsize::new(0));
    let (kept, now) = (most.clone(), AtomicUsize::new(0));
    let origin = Origin::with(move |request, stream| {
        kept.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
        if request.target == "/slow" {
            std::thread::sleep(slow);
        }
        now.fetch_sub(1, SeqCst);
        let _ = stream.write_all(&answer("200 OK", &[], "ok"));
        Then::Keep
    });
    (origin, most)
}

fn slow_pulls(headwater: &Headwater, count: usize) -> Vec<Client> {
    let clients = (0..count).map(|_| {
        let mut client = Client::connect(headwater.http);
        client.send(request("GET", "/slow", &[]));
        client
    });
    clients.collect()
}

#[test]
fn who_waits_too_long_for_a_connection_is_told_to_come_back() {
    let (origin, _) = origin(Duration::from_secs(2));
    let headwater = Headwater::before_with(&origin, "max_connections = 1\nwait_timeout = \"500ms\"\n");
    let mut slow = slow_pulls(&headwater, 1);
    wait_until("the slow pull has arrived", || origin.requests().len() == 1);
    let begun = Instant::now();
    let got = get(headwater.http, "/", &[]);
    assert_eq!((got.status, got.header("Cache-Control")), (503, Some("no-store")), "{}", got.head);
    assert!(got.header("Retry-After").is_some(), "{}", got.head);
    assert!(
        begun.elapsed() > Duration::from_millis(400) && begun.elapsed() < Duration::from_millis(1800),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(headwater.metrics().value("headwater_upstream_errors_total", &[("reason", "no_connection")]), 1.0);
    assert_eq!(slow[0].read_response().status, 200);
}

#[test]
fn who_waits_gets_the_connection_that_comes_free() {
    let (origin, most) = origin(Duration::from_millis(200));
    let headwater = Headwater::before_with(&origin, "max_connections = 2\nwait_timeout = \"9s\"\n");
    for mut client in slow_pulls(&headwater, 12) {
        assert_eq!(client.read_response().status, 200);
    }
    assert_eq!(origin.requests().len(), 12);
    assert!(most.load(SeqCst) <= 2, "{} at a time", most.load(SeqCst));
}

#[test]
fn those_who_wait_are_seen_in_the_figures() {
    let (origin, _) = origin(Duration::from_secs(2));
    let headwater = Headwater::before_with(&origin, "max_connections = 1\nwait_timeout = \"9s\"\n");
    let mut clients = slow_pulls(&headwater, 3);
    headwater.wait_metric("headwater_upstream_connections", &[("state", "open")], 1.0);
    headwater.wait_metric("headwater_upstream_connections", &[("state", "waiting")], 2.0);
    assert_eq!(clients[0].read_response().status, 200);
}

#[test]
fn an_idle_connection_of_one_worker_is_no_loss_for_the_other() {
    let (origin, _) = origin(Duration::ZERO);
    let headwater = Headwater::before_with(&origin, "max_connections = 1\nwait_timeout = \"1s\"\n");
    // New connections are spread over the workers, so both ask for the only place in turn.
    let mut clients: Vec<_> = (0..6).map(|_| Client::connect(headwater.http)).collect();
    for _ in 0..5 {
        for client in &mut clients {
            client.send(request("GET", "/", &[]));
            assert_eq!(client.read_response().status, 200);
        }
    }
}

#[test]
fn a_waiting_client_that_leaves_gives_up_its_place_in_the_queue() {
    let (origin, _) = origin(Duration::from_secs(1));
    let headwater = Headwater::before_with(&origin, "max_connections = 1\nwait_timeout = \"9s\"\n");
    let mut first = slow_pulls(&headwater, 1);
    wait_until("the slow pull has arrived", || origin.requests().len() == 1);
    let leaving = slow_pulls(&headwater, 4);
    headwater.wait_metric("headwater_upstream_connections", &[("state", "waiting")], 4.0);
    drop(leaving);
    assert_eq!(first[0].read_response().status, 200);
    let begun = Instant::now();
    assert_eq!(get(headwater.http, "/", &[]).status, 200);
    assert!(
        begun.elapsed() < Duration::from_millis(2500),
        "the pulls of those who left were served first: {:?}",
        begun.elapsed()
    );
}
