//! A successor on the same sockets: no pull fails, what is in hand is finished, and a successor that is of no use changes
//! nothing.

use headwater_testkit::{
    Client, Headwater, Origin, PATIENCE, Recorded, Then, Wire, answer, binary, get, is_alive, request, wait_until,
};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn upgrades(proxy: &Headwater, result: &str) -> f64 {
    proxy.metrics().value("headwater_upgrades_total", &[("result", result)])
}

fn waits_until_it_has_left(pid: u32) {
    wait_until("the old process has left", || !is_alive(pid));
}

/// Pulls at a steady rate until it is told to stop. A pull without its whole answer is a panic.
fn pulls_steadily(address: SocketAddr, body: usize, kept: bool, stop: &AtomicBool, count: &AtomicU64) {
    let mut client = None;
    while !stop.load(SeqCst) {
        let mut connection = client.take().unwrap_or_else(|| Client::connect(address));
        connection.send(request("GET", "/", if kept { &[] } else { &[("Connection", "close")] }));
        let got = connection.try_read_response_to("GET").expect("every pull is answered");
        assert_eq!((got.status, got.body.len(), got.complete), (200, body, true));
        count.fetch_add(1, SeqCst);
        if kept && !got.has_member("Connection", "close") {
            client = Some(connection);
        }
        std::thread::sleep(Duration::from_millis(3));
    }
}

#[test]
fn no_pull_fails_while_one_successor_follows_another() {
    const BODY: usize = 40_000;
    let origin = Origin::answering(answer("200 OK", &[], "x".repeat(BODY)));
    let mut proxy = Headwater::before(&origin);
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let clients: Vec<_> = [true, false, true, false, true, false]
        .into_iter()
        .map(|kept| {
            let (address, stop, count) = (proxy.http, stop.clone(), count.clone());
            std::thread::spawn(move || pulls_steadily(address, BODY, kept, &stop, &count))
        })
        .collect();
    let mut old = Vec::new();
    for _ in 0..4 {
        let so_far = count.load(SeqCst);
        wait_until("pulls pass", || count.load(SeqCst) > so_far + 200);
        old.push(proxy.upgrade());
    }
    let so_far = count.load(SeqCst);
    wait_until("pulls pass", || count.load(SeqCst) > so_far + 200);
    // Nothing is left in their hands, although every client went on.
    old.into_iter().for_each(waits_until_it_has_left);
    stop.store(true, SeqCst);
    for client in clients {
        client.join().expect("no pull failed");
    }
    assert_eq!((upgrades(&proxy, "ok"), upgrades(&proxy, "failed")), (4.0, 0.0), "it counts on");
}

#[test]
fn a_process_that_had_nothing_to_do_takes_no_connection_with_it() {
    let origin = Origin::answering(OK);
    let mut proxy = Headwater::before(&origin);
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    // One client alone, one connection after the other: the old process is at rest most of the time, and leaves at once.
    let client = std::thread::spawn({
        let (address, stop, count) = (proxy.http, stop.clone(), count.clone());
        move || {
            while !stop.load(SeqCst) {
                assert_eq!(get(address, "/", &[("Connection", "close")]).text(), "ok");
                count.fetch_add(1, SeqCst);
            }
        }
    });
    for _ in 0..25 {
        let so_far = count.load(SeqCst);
        let old = proxy.upgrade();
        waits_until_it_has_left(old);
        wait_until("pulls pass", || count.load(SeqCst) > so_far + 10 || client.is_finished());
    }
    stop.store(true, SeqCst);
    client.join().expect("no pull failed");
}

#[test]
fn a_connection_that_rests_gets_one_more_answer() {
    let origin = Origin::answering(OK);
    let mut proxy = Headwater::before(&origin);
    let mut client = Client::connect(proxy.http);
    client.send(request("GET", "/", &[]));
    assert!(!client.read_response().has_member("Connection", "close"));
    let old = proxy.upgrade();
    proxy.wait_for_stderr("the successor serves");
    std::thread::sleep(Duration::from_millis(300));
    assert!(is_alive(old), "it waits for the client");
    client.send(request("GET", "/", &[]));
    let got = client.read_response();
    assert_eq!(got.status, 200);
    assert!(got.has_member("Connection", "close"), "{}", got.head);
    assert!(client.is_closed());
    waits_until_it_has_left(old);
    assert_eq!(proxy.wait_exit(PATIENCE), Some(0));
}

/// Answers with half a body, and with the rest when it hears of it over another connection.
fn halved(request: &Recorded, stream: &mut dyn Wire, go_on: &AtomicBool) -> Then {
    if request.target != "/long" {
        let _ = stream.write_all(OK.as_bytes());
        return Then::Keep;
    }
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst");
    let deadline = Instant::now() + PATIENCE;
    while !go_on.load(SeqCst) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = stream.write_all(b"later");
    Then::Keep
}

#[test]
fn a_pull_in_hand_is_finished_by_the_process_that_began_it() {
    let go_on = Arc::new(AtomicBool::new(false));
    let origin = Origin::with({
        let go_on = go_on.clone();
        move |request, stream| halved(request, stream, &go_on)
    });
    let mut proxy = Headwater::before(&origin);
    let mut client = Client::connect(proxy.http);
    client.send(request("GET", "/long", &[]));
    assert_eq!(client.read_head().status, 200);
    assert_eq!(client.read_bytes(5), b"first");
    let old = proxy.upgrade();
    assert_eq!(get(proxy.http, "/short", &[]).text(), "ok");
    assert!(is_alive(old));
    go_on.store(true, SeqCst);
    assert_eq!(client.read_bytes(5), b"later");
    // The head was sent before the upgrade and kept the connection; so there is one more answer.
    client.send(request("GET", "/short", &[]));
    assert_eq!(client.read_response().text(), "ok");
    waits_until_it_has_left(old);
    proxy.wait_for_log(|line| line.contains("/long") && line.contains("end=complete"));
}

fn tunnel(proxy: &Headwater) -> Client {
    let mut client = Client::connect(proxy.http);
    client.send(request("GET", "/chat", &[("Connection", "Upgrade"), ("Upgrade", "websocket")]));
    assert_eq!(client.read_response().status, 101);
    client
}

fn echo(_: &Recorded, stream: &mut dyn Wire) -> Then {
    let _ = stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    let mut bytes = [0; 64];
    while let Ok(count @ 1..) = stream.read(&mut bytes) {
        let _ = stream.write_all(&bytes[..count]);
    }
    Then::Close
}

fn says(client: &mut Client, bytes: &[u8]) {
    client.send(bytes);
    assert_eq!(client.read_bytes(bytes.len()), bytes);
}

#[test]
fn a_tunnel_lives_on_for_its_time_and_is_then_cut() {
    let origin = Origin::with(echo);
    let mut proxy = Headwater::start_with(&origin.config(), &["--linger", "1500ms"], &[]);
    let mut client = tunnel(&proxy);
    let begun = Instant::now();
    let old = proxy.upgrade();
    let mut theirs = tunnel(&proxy);
    while begun.elapsed() < Duration::from_secs(1) {
        says(&mut client, b"still here");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(client.is_closed(), "its time is over");
    assert!(begun.elapsed() > Duration::from_millis(1400), "{:?}", begun.elapsed());
    waits_until_it_has_left(old);
    proxy.wait_for_stderr("were cut off");
    says(&mut theirs, b"the successor's is open");
}

#[test]
fn a_process_that_lingers_can_be_told_to_hurry() {
    let origin = Origin::with(echo);
    let mut proxy = Headwater::start_with(&origin.config(), &["--drain", "300ms"], &[]);
    let mut client = tunnel(&proxy);
    let old = proxy.upgrade();
    says(&mut client, b"still here");
    assert!(Command::new("kill").arg(old.to_string()).status().unwrap().success());
    assert!(client.is_closed());
    waits_until_it_has_left(old);
    tunnel(&proxy);
}

#[test]
fn the_successor_alone_answers_at_the_admin_endpoint() {
    let origin = Origin::with(echo);
    let mut proxy = Headwater::before(&origin);
    let mut client = tunnel(&proxy);
    let mut kept = Client::connect(proxy.admin);
    kept.send(request("GET", "/livez", &[]));
    assert_eq!(kept.read_response().status, 200);
    let old = proxy.upgrade();
    assert!(kept.is_closed(), "who keeps a connection comes to the successor too");
    // For a moment both accept; from then on it is the successor alone.
    let mut in_a_row = 0;
    wait_until("the successor alone answers", || {
        let status = get(proxy.admin, "/status", &[]).text();
        let by_the_successor = status.contains(&format!("\"pid\": {},", proxy.pid()));
        in_a_row = if by_the_successor && status.contains("\"draining\": false") { in_a_row + 1 } else { 0 };
        in_a_row == 100
    });
    says(&mut client, b"still here");
    assert!(is_alive(old));
}

/// The program under a name of the test's own, so that the test can replace it.
fn start_elsewhere(origin: &Origin) -> (Headwater, PathBuf) {
    let mut place = PathBuf::new();
    let proxy = Headwater::launch(&origin.config(), |config| {
        place = config.with_file_name("program");
        std::os::unix::fs::symlink(binary(), &place).unwrap();
        let mut command = Command::new(&place);
        command.arg("serve").arg("-c").arg(config);
        command
    });
    (proxy, place)
}

/// Puts a script in the program's place, as a package would: a new file under the old name. Another process writes it: what
/// this one has open for writing may live on for a moment in a child of another test, and would then not be executable.
fn replace(program: &Path, script: &str) {
    let write = "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$0.new\" && chmod 755 \"$0.new\" && mv \"$0.new\" \"$0\"";
    assert!(Command::new("sh").arg("-c").arg(write).arg(program).arg(script).status().unwrap().success());
}

#[test]
fn the_program_is_taken_from_where_it_lies_now() {
    let origin = Origin::answering(OK);
    let (mut proxy, program) = start_elsewhere(&origin);
    replace(&program, &format!("echo another version >&2\nexec {} \"$@\"", binary().display()));
    proxy.upgrade();
    proxy.wait_for_stderr("another version");
    assert_eq!(get(proxy.http, "/", &[]).text(), "ok");
}

#[test]
fn a_successor_that_is_of_no_use_changes_nothing() {
    let origin = Origin::answering(OK);
    let (mut proxy, program) = start_elsewhere(&origin);
    let pid = proxy.pid();
    let mut client = Client::connect(proxy.http);
    let mut failed = 0.0;
    let mut try_and_fail = |proxy: &Headwater, why: &str| {
        proxy.signal("USR2");
        failed += 1.0;
        proxy.wait_metric("headwater_upgrades_total", &[("result", "failed")], failed);
        proxy.wait_for_stderr(why);
        assert!(get(proxy.admin, "/status", &[]).text().contains(&format!("\"pid\": {pid},")));
        client.send(request("GET", "/", &[]));
        let got = client.read_response();
        assert_eq!((got.text().as_str(), got.has_member("Connection", "close")), ("ok", false));
        assert_eq!(get(proxy.http, "/", &[]).text(), "ok");
        assert_eq!(get(proxy.admin, "/readyz", &[]).status, 200);
    };
    proxy.rewrite("[origin]\nservrs = []\n");
    try_and_fail(&proxy, "did you mean `servers`?");
    proxy.rewrite(&origin.config());
    replace(&program, "exit 3");
    try_and_fail(&proxy, "it ended before it served (exit status: 3)");
    replace(&program, "kill -SEGV $$");
    try_and_fail(&proxy, "it ended before it served (signal: 11");
    replace(&program, "exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&-; exec sleep 60");
    try_and_fail(&proxy, "it does not say that it serves");
    std::fs::remove_file(&program).unwrap();
    try_and_fail(&proxy, "cannot start");
    std::os::unix::fs::symlink(binary(), &program).unwrap();
    drop(client);
    waits_until_it_has_left(proxy.upgrade());
    assert_eq!((upgrades(&proxy, "ok"), upgrades(&proxy, "failed")), (1.0, 5.0));
}

#[test]
fn two_successors_at_once_are_refused_and_an_end_ends_both() {
    let origin = Origin::answering(OK);
    let (mut proxy, program) = start_elsewhere(&origin);
    let note = proxy.folder().join("pid");
    replace(&program, &format!("echo $$ > {}; exec sleep 60", note.display()));
    proxy.signal("USR2");
    let mut successor = 0;
    wait_until("the first is being started", || {
        successor = std::fs::read_to_string(&note).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        successor != 0
    });
    proxy.signal("USR2");
    proxy.wait_for_stderr("a successor is being started already");
    assert_eq!(get(proxy.http, "/", &[]).text(), "ok");
    assert_eq!(proxy.stop(), Some(0));
    wait_until("what was being started is gone too", || !is_alive(successor));
}

#[test]
fn other_listeners_come_and_go_with_an_upgrade() {
    let origin = Origin::answering(OK);
    let listen = |http: &str, admin: SocketAddr| {
        format!("[listen]\nhttp = [{http}]\nadmin = \"{admin}\"\nworkers = 2\n{}", origin.config())
    };
    let any = "127.0.0.1:0".parse().unwrap();
    let mut proxy = Headwater::start(&listen("\"127.0.0.1:0\", \"127.0.0.2:0\"", any));
    let (stays, goes) = (proxy.all_http[0], proxy.all_http[1]);
    proxy.rewrite(&listen(&format!("\"127.0.0.3:0\", \"{stays}\""), proxy.admin));
    let old = proxy.upgrade();
    waits_until_it_has_left(old);
    assert_eq!(get(stays, "/", &[]).text(), "ok");
    wait_until("nobody listens there", || TcpStream::connect(goes).is_err());
    let ready = proxy.stderr().lines().rfind(|line| line.contains("headwater: ready")).unwrap().to_string();
    let comes = ready.split("http=").nth(1).unwrap().split(',').next().unwrap().parse().unwrap();
    assert_eq!(get(comes, "/", &[]).text(), "ok");
    assert!(proxy.stderr().contains(&format!("{goes} (http) stands no longer in [listen]")), "{}", proxy.stderr());
}

#[test]
fn no_descriptor_is_left_over() {
    let origin = Origin::answering(OK);
    let mut proxy = Headwater::before(&origin);
    let open = |proxy: &Headwater| std::fs::read_dir(format!("/proc/{}/fd", proxy.pid())).unwrap().count();
    let mut last = 0;
    for round in 0..4 {
        let old = proxy.upgrade();
        waits_until_it_has_left(old);
        assert_eq!(get(proxy.http, "/", &[]).text(), "ok");
        // The end of the line to the predecessor, the connections just used: gone in a moment.
        if round == 0 {
            wait_until("it is at rest", || {
                let before = std::mem::replace(&mut last, open(&proxy));
                last == before
            });
        } else {
            wait_until("it holds as many as its predecessor did", || open(&proxy) <= last);
        }
    }
}
