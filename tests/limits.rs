//! Deadlines and caps: who is slow is cut, who is merely far away is not.

use headwater_testkit::{Client, Headwater, Origin, Then, get, request, wait_until};
use std::time::{Duration, Instant};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn a_head_has_a_deadline_however_busily_it_drips() {
    let origin = Origin::answering(OK);
    let proxy = Headwater::start(&format!("{}[limits]\nheader_timeout = \"500ms\"\n", origin.config()));
    let mut client = Client::connect(proxy.http);
    let started = Instant::now();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n");
    let mut writer = client.stream().try_clone().unwrap();
    std::thread::spawn(move || {
        while std::io::Write::write_all(&mut writer, b"A: b\r\n").is_ok() && started.elapsed() < Duration::from_secs(5)
        {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let answer = client.read_response();
    assert_eq!(answer.status, 408);
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    assert_eq!(get(proxy.http, "/", &[]).text(), "ok");
}

#[test]
fn a_connection_that_says_nothing_is_closed_in_silence() {
    let origin = Origin::answering(OK);
    let proxy = Headwater::start(&format!("{}[limits]\nidle_timeout = \"300ms\"\n", origin.config()));
    let mut client = Client::connect(proxy.http);
    assert!(client.is_closed());
    let mut client = Client::connect(proxy.http);
    client.send(request("GET", "/", &[]));
    client.read_response();
    assert!(client.is_closed());
}

#[test]
fn a_slow_upload_that_lives_is_spared_and_a_silent_one_is_not() {
    let origin = Origin::with(|request, stream| {
        let _ = stream
            .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{:02}", request.body.len()).as_bytes());
        Then::Keep
    });
    let proxy = Headwater::start(&format!("{}[limits]\nbody_idle_timeout = \"500ms\"\n", origin.config()));
    let mut client = Client::connect(proxy.http);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 15\r\n\r\n");
    for _ in 0..15 {
        std::thread::sleep(Duration::from_millis(150));
        client.send("x");
    }
    assert_eq!(client.read_response().text(), "15");
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 15\r\n\r\nx");
    let started = Instant::now();
    assert_eq!(client.read_response().status, 408);
    assert!(client.is_closed() && started.elapsed() < Duration::from_secs(4));
}

#[test]
fn a_client_that_never_reads_is_cut() {
    let origin = Origin::with(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
        while stream.write_all(&[0; 65536]).is_ok() {}
        Then::Close
    });
    let proxy = Headwater::start(&format!("{}[limits]\nbody_idle_timeout = \"400ms\"\n", origin.config()));
    let mut client = Client::connect(proxy.http);
    client.send(request("GET", "/", &[]));
    proxy.wait_for_log(|line| line.contains("end=timeout"));
    wait_until("the origin's connection is free", || origin.open() == 0);
}

#[test]
fn past_the_cap_on_pulls_users_get_a_page_and_a_time_to_come_back() {
    let origin = Origin::with(|request, stream| {
        if request.target == "/slow" {
            std::thread::sleep(Duration::from_millis(800));
        }
        let _ = stream.write_all(OK.as_bytes());
        Then::Keep
    });
    let proxy = Headwater::start(&format!("{}[limits]\nmax_in_flight = 1\n", origin.config()));
    let mut slow = Client::connect(proxy.http);
    slow.send(request("GET", "/slow", &[]));
    wait_until("the slow pull is in flight", || origin.requests().len() == 1);
    let answer = get(proxy.http, "/", &[("Accept", "text/html")]);
    assert_eq!((answer.status, answer.header("Retry-After")), (503, Some("1")));
    assert!(answer.text().contains("<html"));
    assert_eq!(
        get(proxy.http, "/status/images/beacon.gif?source=x", &[]).status,
        200,
        "beacons pass when all else is full"
    );
    assert_eq!(slow.read_response().text(), "ok");
    proxy.wait_metric("headwater_pulls_in_flight", &[], 0.0);
    assert_eq!(get(proxy.http, "/", &[]).status, 200);
    assert_eq!(proxy.metrics().value("headwater_whoopsie_total", &[("reason", "overload")]), 1.0);
}

#[test]
fn past_the_cap_on_origin_connections_pulls_wait_their_turn_and_not_for_ever() {
    let origin = Origin::with(|_, stream| {
        std::thread::sleep(Duration::from_millis(400));
        let _ = stream.write_all(OK.as_bytes());
        Then::Keep
    });
    let config = origin.config();
    let proxy = Headwater::start(&format!("{config}max_connections = 1\nwait_timeout = \"600ms\"\n"));
    let mut clients: Vec<Client> = (0..4).map(|_| Client::connect(proxy.http)).collect();
    clients.iter_mut().for_each(|client| client.send(request("GET", "/", &[])));
    let mut statuses: Vec<u16> = clients.iter_mut().map(|client| client.read_response().status).collect();
    statuses.sort_unstable();
    assert_eq!((statuses[0], statuses[1], statuses[3]), (200, 200, 503));
    let failed = statuses.iter().filter(|status| **status == 503).count() as f64;
    assert_eq!(proxy.metrics().value("headwater_upstream_errors_total", &[("reason", "no_connection")]), failed);
}

#[test]
fn connections_past_the_cap_are_turned_away_and_the_others_served() {
    let origin = Origin::answering(OK);
    let proxy = Headwater::start(&format!("{}[limits]\nmax_connections = 2\n", origin.config()));
    let mut kept: Vec<Client> = (0..2).map(|_| Client::connect(proxy.http)).collect();
    for client in &mut kept {
        client.send(request("GET", "/", &[]));
        assert_eq!(client.read_response().status, 200);
    }
    assert!(Client::connect(proxy.http).is_closed());
    kept[0].send(request("GET", "/", &[]));
    assert_eq!(kept[0].read_response().status, 200);
}
