//! Connections: kept, reused, retried, spread over servers, and pipelined.

use headwater_testkit::{Client, Headwater, Origin, Then, answer, exchange, get, request, wait_until};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

fn ok() -> Vec<u8> {
    answer("200 OK", &[], "ok")
}

fn status(client: &mut Client, method: &str) -> u16 {
    client.send(request(method, "/", if method == "POST" { &[("Content-Length", "0")] } else { &[] }));
    client.read_response_to(method).status
}

/// An address where nobody listens.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn pulls_share_the_origins_connection() {
    let origin = Origin::answering(ok());
    let headwater = Headwater::before(&origin);
    let mut client = Client::connect(headwater.http);
    for _ in 0..20 {
        assert_eq!(status(&mut client, "GET"), 200);
    }
    assert_eq!((origin.requests().len(), origin.connections()), (20, 1));
}

#[test]
fn a_unix_socket_is_an_origin_too() {
    let folder = std::env::temp_dir().join(format!("headwater-unix-{}", std::process::id()));
    let _ = std::fs::remove_file(&folder);
    let origin = Origin::on_unix(&folder, |request, stream| {
        let _ = stream.write_all(&answer("200 OK", &[], &request.body));
        Then::Keep
    });
    let headwater = Headwater::start(&format!("[origin]\nservers = [\"unix:{}\"]\n", folder.display()));
    let mut client = Client::connect(headwater.http);
    for body in ["one", "two"] {
        client.send(request("POST", "/u", &[("Content-Length", "3")]) + body);
        assert_eq!(client.read_response().text(), body);
    }
    assert_eq!((origin.connections(), origin.last().header("Host")), (1, Some("shop.example")));
    std::fs::remove_file(&folder).unwrap();
    client.send(request("POST", "/u", &[("Content-Length", "3")]) + "six");
    assert_eq!(client.read_response().text(), "six", "the open connection is still good");
}

#[test]
fn a_server_that_refuses_is_passed_over() {
    let origin = Origin::answering(ok());
    let servers = format!("[origin]\nservers = [\"{}\", \"{}\", \"{}\"]\n", nobody(), origin.address, nobody());
    let headwater = Headwater::start(&servers);
    for _ in 0..12 {
        assert_eq!(get(headwater.http, "/", &[]).status, 200);
        assert_eq!(exchange(headwater.http, request("POST", "/", &[("Content-Length", "2")]) + "hi").status, 200);
    }
    assert_eq!(origin.requests().len(), 24);
    assert_eq!(origin.last().body, b"hi", "nothing of the body was lost on the way");
    let refused = headwater.metrics().value("headwater_upstream_errors_total", &[("reason", "connect")]);
    assert!(refused > 0.0, "what nobody noticed is counted all the same");
}

#[test]
fn an_origin_that_comes_back_is_asked_again_at_once() {
    let address = nobody();
    let headwater = Headwater::start(&format!("[origin]\nservers = [\"{address}\"]\n"));
    for _ in 0..3 {
        assert_eq!(get(headwater.http, "/", &[]).status, 502);
    }
    let _origin = Origin::at(address, |_, stream| {
        let _ = stream.write_all(&ok());
        Then::Keep
    });
    assert_eq!(get(headwater.http, "/", &[]).status, 200);
}

#[test]
fn a_pull_goes_to_the_server_with_the_fewest_in_hand() {
    let start = || {
        Origin::with(|request, stream| {
            if request.target == "/slow" {
                std::thread::sleep(Duration::from_secs(2));
            }
            let _ = stream.write_all(&ok());
            Then::Keep
        })
    };
    let (one, two) = (start(), start());
    let headwater = Headwater::start(&format!("[origin]\nservers = [\"{}\", \"{}\"]\n", one.address, two.address));
    let mut slow = Client::connect(headwater.http);
    slow.send(request("GET", "/slow", &[]));
    headwater_testkit::wait_until("the slow pull has arrived", || one.requests().len() + two.requests().len() == 1);
    let (busy, free) = if one.requests().len() == 1 { (&one, &two) } else { (&two, &one) };
    for _ in 0..10 {
        assert_eq!(get(headwater.http, "/quick", &[]).status, 200);
        // An answer is read a moment before its pull is over, and the next may come to another worker.
        headwater.wait_metric("headwater_pulls_in_flight", &[], 1.0);
    }
    assert_eq!((busy.requests().len(), free.requests().len()), (1, 10));
    assert_eq!(slow.read_response().status, 200);
}

#[test]
fn idle_servers_take_turns() {
    let (one, two) = (Origin::answering(ok()), Origin::answering(ok()));
    let headwater = Headwater::start(&format!("[origin]\nservers = [\"{}\", \"{}\"]\n", one.address, two.address));
    let mut client = Client::connect(headwater.http);
    for _ in 0..20 {
        assert_eq!(status(&mut client, "GET"), 200);
    }
    assert!(
        one.requests().len() >= 5 && two.requests().len() >= 5,
        "{} and {}",
        one.requests().len(),
        two.requests().len()
    );
}

/// Answers the first request of its first connection and ends it at the second, unanswered; later connections are sound.
fn stale_once() -> Origin {
    let first = AtomicUsize::new(0);
    Origin::with(move |request, stream| {
        if request.connection == 0 && first.fetch_add(1, SeqCst) > 0 {
            return Then::Close;
        }
        let _ = stream.write_all(&ok());
        Then::Keep
    })
}

#[test]
fn a_get_is_retried_once_when_a_reused_connection_was_dead() {
    for method in ["GET", "HEAD"] {
        let origin = stale_once();
        let headwater = Headwater::before(&origin);
        let mut client = Client::connect(headwater.http);
        assert_eq!(status(&mut client, "GET"), 200);
        assert_eq!(status(&mut client, method), 200, "{method}");
        assert_eq!((origin.requests().len(), origin.connections()), (3, 2));
        assert_eq!(headwater.metrics().value("headwater_upstream_errors_total", &[]), 0.0);
    }
}

#[test]
fn a_post_is_never_sent_twice() {
    for body in ["", "order=1"] {
        let origin = stale_once();
        let headwater = Headwater::before(&origin);
        let mut client = Client::connect(headwater.http);
        assert_eq!(status(&mut client, "GET"), 200);
        client.send(request("POST", "/", &[("Content-Length", &body.len().to_string())]) + body);
        assert_eq!(client.read_response().status, 502);
        let posts = origin.requests().iter().filter(|request| request.method == "POST").count();
        assert_eq!(posts, 1);
    }
}

#[test]
fn a_put_with_a_body_is_not_sent_twice() {
    let origin = stale_once();
    let headwater = Headwater::before(&origin);
    let mut client = Client::connect(headwater.http);
    assert_eq!(status(&mut client, "GET"), 200);
    client.send(request("PUT", "/", &[("Content-Length", "3")]) + "new");
    assert_eq!(client.read_response().status, 502);
    assert_eq!(origin.requests().len(), 2);
}

#[test]
fn there_is_no_second_retry() {
    let answered = AtomicUsize::new(0);
    let origin = Origin::with(move |_, stream| {
        if answered.fetch_add(1, SeqCst) > 0 {
            return Then::Close;
        }
        let _ = stream.write_all(&ok());
        Then::Keep
    });
    let headwater = Headwater::before(&origin);
    let mut client = Client::connect(headwater.http);
    assert_eq!(status(&mut client, "GET"), 200);
    client.send(request("GET", "/", &[]));
    assert_eq!(client.read_response().status, 502);
    assert_eq!(origin.requests().len(), 3, "one that was answered, one that was not, and its retry");
}

#[test]
fn a_fresh_connection_that_dies_is_no_reason_to_retry() {
    let origin = Origin::with(|_, _| Then::Close);
    let headwater = Headwater::before(&origin);
    assert_eq!(get(headwater.http, "/", &[]).status, 502);
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn a_connection_that_died_at_rest_is_not_used() {
    let origin = Origin::with(|_, stream| {
        let _ = stream.write_all(&ok());
        Then::Close
    });
    let headwater = Headwater::before(&origin);
    let mut client = Client::connect(headwater.http);
    for _ in 0..4 {
        assert_eq!(status(&mut client, "POST"), 200);
        wait_until("the origin has closed", || origin.open() == 0);
    }
    assert_eq!(origin.requests().len(), 4);
}

/// How many connections two pulls take with a rest between them.
fn connections_for_two(headers: &'static [(&str, &str)], config: &str, rest: Duration) -> usize {
    let origin = Origin::answering(answer("200 OK", headers, "ok"));
    let headwater = Headwater::before_with(&origin, config);
    let mut client = Client::connect(headwater.http);
    assert_eq!(status(&mut client, "GET"), 200);
    std::thread::sleep(rest);
    assert_eq!(status(&mut client, "GET"), 200);
    origin.connections()
}

#[test]
fn the_origins_word_on_how_long_it_keeps_a_connection_is_obeyed() {
    let rest = Duration::from_millis(1100);
    assert_eq!(connections_for_two(&[("Keep-Alive", "timeout=1")], "", rest), 2);
    assert_eq!(connections_for_two(&[("Keep-Alive", "max=100, timeout=1")], "", rest), 2);
    assert_eq!(connections_for_two(&[("Keep-Alive", "timeout=5, max=100")], "", rest), 1);
    assert_eq!(connections_for_two(&[], "", rest), 1);
}

#[test]
fn a_connection_rests_no_longer_than_the_config_says() {
    let rest = Duration::from_millis(900);
    assert_eq!(connections_for_two(&[], "idle_timeout = \"300ms\"\n", rest), 2);
    assert_eq!(connections_for_two(&[("Keep-Alive", "timeout=60")], "idle_timeout = \"300ms\"\n", rest), 2);
}

#[test]
fn an_origin_that_closes_does_not_close_the_client() {
    let origin = Origin::with(|_, stream| {
        let _ = stream.write_all(&answer("200 OK", &[("Connection", "close")], "ok"));
        Then::Close
    });
    let headwater = Headwater::before(&origin);
    let mut client = Client::connect(headwater.http);
    for _ in 0..3 {
        client.send(request("GET", "/", &[]));
        let got = client.read_response();
        assert!(got.status == 200 && !got.has_member("Connection", "close"), "{}", got.head);
    }
    assert_eq!(origin.connections(), 3);
}

#[test]
fn what_an_origin_says_beyond_its_answer_is_heard_by_nobody() {
    let origin = Origin::with(|request, stream| {
        let mut bytes = answer("200 OK", &[], format!("to {}", request.target));
        bytes.extend(answer("200 OK", &[], "for somebody else"));
        let _ = stream.write_all(&bytes);
        Then::Keep
    });
    let headwater = Headwater::before(&origin);
    let mut client = Client::connect(headwater.http);
    for target in ["/1", "/2", "/3"] {
        client.send(request("GET", target, &[]));
        assert_eq!(client.read_response().text(), format!("to {target}"));
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn pipelined_pulls_are_answered_in_order() {
    let origin = Origin::with(|request, stream| {
        if request.target == "/1" {
            std::thread::sleep(Duration::from_millis(200));
        }
        let body = format!("{} {}", request.target, String::from_utf8_lossy(&request.body));
        let _ = stream.write_all(&answer("200 OK", &[], body));
        Then::Keep
    });
    let headwater = Headwater::before(&origin);
    let mut client = Client::connect(headwater.http);
    let mut all = request("GET", "/1", &[]);
    all += &(request("POST", "/2", &[("Content-Length", "5")]) + "hello");
    all += &(request("POST", "/3", &[("Transfer-Encoding", "chunked")]) + "2\r\nhi\r\n0\r\n\r\n");
    all += &request("HEAD", "/4", &[]);
    all += &request("GET", "/5", &[("Connection", "close")]);
    all += &request("GET", "/6", &[]);
    client.send(all);
    assert_eq!(client.read_response().text(), "/1 ");
    assert_eq!(client.read_response().text(), "/2 hello");
    assert_eq!(client.read_response().text(), "/3 hi");
    // The kit's origin sends a HEAD's body too; a proxy must not take it for the next answer.
    assert_eq!(client.read_response_to("HEAD").status, 200);
    assert_eq!(client.read_response().text(), "/5 ");
    assert!(client.is_closed(), "what follows a close is not answered");
    assert!(origin.requests().iter().all(|request| request.target != "/6"));
}

#[test]
fn a_client_that_says_close_is_closed() {
    let origin = Origin::answering(ok());
    let headwater = Headwater::before(&origin);
    for value in ["close", "Close", "keep-alive, close", "X-A, close"] {
        let mut client = Client::connect(headwater.http);
        client.send(request("GET", "/", &[("Connection", value)]));
        let got = client.read_response();
        assert!(got.has_member("Connection", "close"), "{value}\n{}", got.head);
        assert!(client.is_closed(), "{value}");
    }
    assert!(!origin.last().has_member_close(), "our connection to the origin is our own");
}

trait SaysClose {
    fn has_member_close(&self) -> bool;
}

impl SaysClose for headwater_testkit::Recorded {
    fn has_member_close(&self) -> bool {
        self.headers("Connection").iter().any(|value| value.to_lowercase().contains("close"))
    }
}

#[test]
fn a_client_that_rests_too_long_is_closed() {
    let origin = Origin::answering(ok());
    let headwater = Headwater::before_with(&origin, "[limits]\nidle_timeout = \"500ms\"\n");
    let mut client = Client::connect(headwater.http);
    assert_eq!(status(&mut client, "GET"), 200);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(status(&mut client, "GET"), 200);
    assert!(client.is_closed());
    let mut silent = Client::connect(headwater.http);
    assert!(silent.is_closed(), "one that never says anything is closed too, without a word");
}

#[test]
fn an_early_answer_does_not_confuse_the_next_pull() {
    let origin = Origin::with_heads(|_, stream| {
        let _ = stream.write_all(&answer("413 Content Too Large", &[("Connection", "close")], "too much"));
        std::thread::sleep(Duration::from_millis(300));
        Then::Close
    });
    let headwater = Headwater::before(&origin);
    let mut client = Client::connect(headwater.http);
    client.send(request("POST", "/", &[("Content-Length", "200000")]));
    client.send("GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
    let got = client.read_response();
    assert_eq!((got.status, got.text().as_str()), (413, "too much"));
    client.send("x".repeat(50_000));
    assert!(client.try_read_response_to("GET").is_none(), "the body was answered as if it were a request");
    assert_eq!(origin.requests().iter().filter(|request| request.target == "/smuggled").count(), 0);
}
