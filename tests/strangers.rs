//! Bounds on those who prove nothing, and none on those who do.

use headwater_testkit::{Client, FASTLY, Headwater, Origin, answer, get, request};
use std::time::Duration;

/// A proxy that believes this machine about who connects, so that a test can come from anywhere. Networks of 192.0.2.0/24 are
/// a provider's.
fn start(limits: &str) -> (Origin, Headwater) {
    let origin = Origin::answering(answer("200 OK", &[], "ok"));
    let provider = FASTLY.replace("127.0.0.0/8", "192.0.2.0/24");
    let config = format!("{}{provider}[limits]\n{limits}", origin.config());
    let headwater = Headwater::start_with(&config, &["--set", "listen.proxy_protocol_from=[\"127.0.0.1/32\"]"], &[]);
    (origin, headwater)
}

fn connect(headwater: &Headwater, from: &str) -> Client {
    let mut client = Client::connect(headwater.http);
    client.send(format!("PROXY TCP4 {from} 198.51.100.1 4711 80\r\n"));
    client
}

/// Pulls so often over one connection; the statuses.
fn pulls(client: &mut Client, count: usize, headers: &[(&str, &str)]) -> Vec<u16> {
    let one = |client: &mut Client| {
        client.send(request("GET", "/", headers));
        let got = client.read_response();
        assert_eq!(got.header("Retry-After").is_some(), got.status == 429, "{}", got.head);
        got.status
    };
    (0..count).map(|_| one(client)).collect()
}

fn served(statuses: &[u16]) -> usize {
    assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
    statuses.iter().filter(|status| **status == 200).count()
}

#[test]
fn a_strangers_network_has_so_many_pulls_a_second() {
    let (origin, headwater) = start("stranger_rate = 5\n");
    let mut stranger = connect(&headwater, "203.0.113.1");
    let first = served(&pulls(&mut stranger, 30, &[]));
    assert!((5..15).contains(&first), "{first}");
    let mut neighbour = connect(&headwater, "203.0.113.200");
    assert!(served(&pulls(&mut neighbour, 5, &[])) < 5, "the network counts, not the address");
    let unproven = served(&pulls(&mut connect(&headwater, "203.0.113.2"), 5, &[("X-CDN-Provider", "fastly")]));
    assert!(unproven < 5, "a claim is no proof");
    assert_eq!(
        served(&pulls(&mut connect(&headwater, "198.51.100.7"), 5, &[])),
        5,
        "another network has its own count"
    );
    let proven = pulls(&mut connect(&headwater, "192.0.2.1"), 100, &[("X-CDN-Provider", "fastly")]);
    assert_eq!(served(&proven), 100, "who proves who it is has no bound");
    assert!(headwater.metrics().value("headwater_strangers_refused_total", &[("reason", "rate")]) >= 15.0);
    let asked = origin.requests().len();
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(served(&pulls(&mut stranger, 1, &[])), 1, "the connection was kept, and the next second is another");
    assert_eq!(origin.requests().len(), asked + 1, "what is refused does not reach the origin");
}

#[test]
fn a_strangers_network_has_so_many_connections() {
    let (_origin, headwater) = start("stranger_connections = 3\nheader_timeout = \"700ms\"\n");
    let mut strangers: Vec<Client> = (0..3).map(|n| connect(&headwater, &format!("203.0.113.{n}"))).collect();
    for client in &mut strangers {
        assert_eq!(pulls(client, 1, &[]), [200]);
    }
    let mut fourth = connect(&headwater, "203.0.113.9");
    assert_eq!(pulls(&mut fourth, 1, &[]), [429]);
    assert!(fourth.is_closed());
    assert!(connect(&headwater, "203.0.113.9").is_closed(), "one that says nothing makes room before others would");
    assert_eq!(pulls(&mut connect(&headwater, "198.51.100.7"), 1, &[]), [200]);
    for client in &mut strangers {
        assert_eq!(pulls(client, 1, &[]), [200], "those who were there before go on");
    }
    let tag = [("X-CDN-Provider", "fastly")];
    let mut provider: Vec<Client> = (0..6).map(|n| connect(&headwater, &format!("192.0.2.{n}"))).collect();
    for client in &mut provider {
        assert_eq!(pulls(client, 3, &tag), [200, 200, 200], "a proven provider has as many as it likes");
    }
    drop(strangers);
    headwater.wait_metric("headwater_downstream_connections", &[], 6.0);
    assert_eq!(pulls(&mut connect(&headwater, "203.0.113.9"), 1, &[]), [200], "there is room again");
}

#[test]
fn nobody_in_the_house_is_a_stranger() {
    let origin = Origin::answering(answer("200 OK", &[], "ok"));
    let headwater = Headwater::before_with(&origin, "[limits]\nstranger_rate = 1\nstranger_connections = 1\n");
    let mut clients: Vec<Client> = (0..4).map(|_| Client::connect(headwater.http)).collect();
    for client in &mut clients {
        assert_eq!(pulls(client, 5, &[]), [200; 5]);
    }
    assert_eq!(get(headwater.http, "/", &[]).status, 200);
}
