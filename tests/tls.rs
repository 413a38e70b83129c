//! Pulls over TLS: certificates by name, proof by client certificate, sessions, and reloads that drop nobody.

use headwater_testkit::{
    Authority, Client, Headwater, Origin, Pair, Recorded, Then, Wire, answer, get, needs, run, wait_until,
};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const HTTPS: [&str; 2] = ["--set", "listen.https=[\"127.0.0.1:0\"]"];

/// Where certificates of a test lie, with the authority that issued them.
pub struct Place {
    folder: tempfile::TempDir,
    pub authority: Authority,
}

impl Place {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), authority: Authority::new("Tests") }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn issue(&self, file: &str, names: &[&str]) -> Pair {
        self.authority.issue(self.path(), file, names)
    }
}

pub fn tls(pair: &Pair) -> String {
    format!("[tls]\ncertificate = \"{}\"\nkey = \"{}\"\n", pair.certificate.display(), pair.key.display())
}

pub fn start(origin: &Origin, more: &str) -> (Headwater, SocketAddr) {
    let headwater = Headwater::start_with(&format!("{}{more}", origin.config()), &HTTPS, &[]);
    let https = headwater.https.expect("it listens for TLS");
    (headwater, https)
}

/// Pulls with curl, which trusts the authority alone and is told where a name lives.
pub fn curl(place: &Place, https: SocketAddr, host: &str, arguments: &[&str]) -> Output {
    needs("/usr/bin/curl", "curl");
    let authority = place.authority.write(place.path(), "authority");
    Command::new("/usr/bin/curl")
        .args(["-sS", "-i", "--max-time", "20", "--cacert"])
        .arg(authority)
        .arg("--resolve")
        .arg(format!("{host}:{}:127.0.0.1", https.port()))
        .args(arguments)
        .arg(format!("https://{host}:{}/page", https.port()))
        .output()
        .unwrap()
}

pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn tls_1_2_and_1_3_carry_pulls_and_the_app_is_told_of_https() {
    let place = Place::new();
    let origin = Origin::answering(answer("200 OK", &[], "over TLS"));
    let (headwater, https) = start(&origin, &tls(&place.issue("shop", &["shop.example"])));
    for version in [["--tlsv1.2", "--tls-max", "1.2"], ["--tlsv1.3", "--tls-max", "1.3"]] {
        let output = curl(&place, https, "shop.example", &version);
        assert!(output.status.success() && said(&output).ends_with("over TLS"), "{}", said(&output));
        assert_eq!(origin.last().header("X-Forwarded-Proto"), Some("https"));
        assert!(origin.last().header("Forwarded").unwrap().ends_with("proto=https"), "{}", origin.last().head);
    }
    headwater.wait_metric("headwater_tls_handshakes_total", &[("result", "full")], 2.0);
    get(headwater.http, "/", &[]);
    assert_eq!(origin.last().header("X-Forwarded-Proto"), Some("http"));
}

#[test]
fn older_versions_are_refused_and_newer_ones_may_be_asked_for() {
    let place = Place::new();
    let origin = Origin::answering(answer("200 OK", &[], "ok"));
    let pair = place.issue("shop", &["shop.example"]);
    let (headwater, https) = start(&origin, &format!("{}min_version = \"1.3\"\n", tls(&pair)));
    assert!(!curl(&place, https, "shop.example", &["--tls-max", "1.2"]).status.success());
    assert!(curl(&place, https, "shop.example", &[]).status.success());
    headwater.wait_metric("headwater_tls_handshakes_total", &[("result", "failed")], 1.0);
}

#[test]
fn the_certificate_is_chosen_by_name() {
    let place = Place::new();
    let origin = Origin::answering(answer("200 OK", &[], "ok"));
    let (first, second) = (place.issue("first", &["shop.example"]), place.issue("second", &["*.img.example"]));
    let more = format!("[[tls.more]]\n{}", tls(&second).replace("[tls]\n", ""));
    let (_headwater, https) = start(&origin, &format!("{}{more}", tls(&first)));
    for host in ["shop.example", "a.img.example"] {
        let output = curl(&place, https, host, &[]);
        assert!(output.status.success(), "{host}: {}", said(&output));
    }
    let stranger = curl(&place, https, "other.example", &[]);
    assert!(!stranger.status.success(), "the first certificate is served and does not match: {}", said(&stranger));
}

/// A configuration that asks clients for certificates, and believes one name.
fn authenticated(place: &Place, auth: &str) -> String {
    let authority = place.authority.write(place.path(), "cdn-ca");
    format!(
        "{}client_ca = \"{}\"\nclient_auth = \"{auth}\"\n[[cdn]]\nname = \"fastly\"\nkind = \"fastly\"\n\
         client_certificate = \"fastly.pull.example\"\n",
        tls(&place.issue("shop", &["shop.example"])),
        authority.display()
    )
}

#[test]
fn a_client_certificate_proves_the_provider_whose_name_it_bears() {
    let place = Place::new();
    let origin = Origin::answering(answer("200 OK", &[], "ok"));
    let (headwater, https) = start(&origin, &authenticated(&place, "offered"));
    let good = place.issue("good", &["fastly.pull.example"]);
    let other = place.issue("other", &["other.pull.example"]);
    let tag = ["-H", "X-CDN-Provider: fastly"];
    let with = |pair: Option<&Pair>| {
        let files = pair.map(|pair| (pair.certificate.display().to_string(), pair.key.display().to_string()));
        let mut arguments = tag.to_vec();
        if let Some((certificate, key)) = &files {
            arguments.extend(["--cert", certificate, "--key", key]);
        }
        let output = curl(&place, https, "shop.example", &arguments);
        assert!(output.status.success(), "{}", said(&output));
        origin.last().header("X-CDN-Provider").map(str::to_string)
    };
    assert_eq!(with(Some(&good)).as_deref(), Some("fastly"));
    assert_eq!(with(Some(&other)), None, "a certificate of the same authority for somebody else");
    assert_eq!(with(None), None);
    get(headwater.http, "/", &[("X-CDN-Provider", "fastly")]);
    assert_eq!(origin.last().header("X-CDN-Provider"), None, "nor does a plain connection prove anything");
    headwater.wait_metric("headwater_pulls_total", &[("cdn", "unproven")], 3.0);
}

#[test]
fn where_a_client_certificate_is_demanded_nobody_comes_in_without() {
    let place = Place::new();
    let origin = Origin::answering(answer("200 OK", &[], "ok"));
    let (_headwater, https) = start(&origin, &authenticated(&place, "demanded"));
    assert!(!curl(&place, https, "shop.example", &[]).status.success());
    let forger = Authority::new("Tests").issue(place.path(), "forged", &["fastly.pull.example"]);
    let forged = [forger.certificate.to_str().unwrap(), forger.key.to_str().unwrap()];
    assert!(!curl(&place, https, "shop.example", &["--cert", forged[0], "--key", forged[1]]).status.success());
    assert_eq!(origin.requests().len(), 0);
    let good = place.issue("good", &["fastly.pull.example"]);
    let good = [good.certificate.to_str().unwrap(), good.key.to_str().unwrap()];
    assert!(curl(&place, https, "shop.example", &["--cert", good[0], "--key", good[1]]).status.success());
}

/// A TLS connection that stays open, by OpenSSL.
struct Session {
    child: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Session {
    fn open(https: SocketAddr, arguments: &[&str]) -> Self {
        needs("/usr/bin/openssl", "openssl");
        let mut child = Command::new("/usr/bin/openssl")
            .args(["s_client", "-quiet", "-connect", &https.to_string(), "-servername", "shop.example"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self { child, answers }
    }

    /// Pulls once; the status line.
    fn pull(&mut self) -> String {
        let request = b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n";
        self.child.stdin.as_mut().unwrap().write_all(request).unwrap();
        let (mut status, mut line) = (String::new(), String::new());
        self.answers.read_line(&mut status).unwrap();
        while self.answers.read_line(&mut line).unwrap() > 2 {
            line.clear();
        }
        self.answers.read_exact(&mut [0; 2]).unwrap();
        status.trim().to_string()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn certificates_are_reloaded_and_no_connection_is_dropped() {
    let place = Place::new();
    let origin = Origin::answering(answer("200 OK", &[], "ok"));
    let pair = place.issue("shop", &["old.example"]);
    let (headwater, https) = start(&origin, &tls(&pair));
    let mut open = Session::open(https, &[]);
    assert_eq!(open.pull(), "HTTP/1.1 200 OK");
    assert!(!curl(&place, https, "new.example", &[]).status.success());

    place.issue("shop", &["new.example"]);
    headwater.signal("HUP");
    wait_until("the new certificate is served", || curl(&place, https, "new.example", &[]).status.success());
    assert_eq!(open.pull(), "HTTP/1.1 200 OK", "the open connection goes on");

    // A key that does not fit changes nothing.
    std::fs::write(&pair.key, std::fs::read(place.issue("stray", &["x.example"]).key).unwrap()).unwrap();
    headwater.signal("HUP");
    headwater.wait_for_stderr("this key does not fit the certificate");
    headwater.wait_metric("headwater_policy_reload_failed", &[], 1.0);
    assert!(curl(&place, https, "new.example", &[]).status.success());
}

#[test]
fn sessions_are_resumed_also_after_a_reload() {
    needs("/usr/bin/openssl", "openssl");
    let place = Place::new();
    let origin = Origin::answering(answer("200 OK", &[], "ok"));
    let (headwater, https) = start(&origin, &tls(&place.issue("shop", &["shop.example"])));
    let ticket = place.path().join("session");
    let ask = |option: &str, version: &str| {
        let mut child = Command::new("/usr/bin/openssl")
            .args(["s_client", "-connect", &https.to_string(), "-servername", "shop.example", version, option])
            .arg(&ticket)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let _ = stdin.write_all(b"GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n");
        // It ends when we close: then it has read the tickets that come behind the handshake.
        let output = child.wait_with_output().unwrap();
        drop(stdin);
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    for (round, version) in ["-tls1_2", "-tls1_3"].into_iter().enumerate() {
        let first = ask("-sess_out", version);
        assert!(first.contains("New, TLSv"), "{version}\n{first}");
        headwater.signal("HUP");
        wait_until("it is reloaded", || headwater.stderr().matches("reloaded").count() == round + 1);
        let again = ask("-sess_in", version);
        assert!(again.contains("Reused, TLSv"), "{version}\n{again}");
    }
    headwater.wait_metric("headwater_tls_handshakes_total", &[("result", "resumed")], 2.0);
}

#[test]
fn what_is_no_handshake_or_never_ends_is_cut() {
    let place = Place::new();
    let origin = Origin::answering(answer("200 OK", &[], "ok"));
    let limits = "[limits]\nheader_timeout = \"500ms\"\n";
    let (headwater, https) = start(&origin, &format!("{}{limits}", tls(&place.issue("shop", &["shop.example"]))));
    let mut plain = TcpStream::connect(https).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut heard = Vec::new();
    let _ = plain.read_to_end(&mut heard);
    assert!(heard.len() < 10 && heard.first() == Some(&21), "an alert and an end: {heard:?}");
    let begun = Instant::now();
    let mut silent = Client::connect(https);
    assert!(silent.is_closed());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    headwater.wait_metric("headwater_tls_handshakes_total", &[("result", "failed")], 1.0);
    headwater.wait_metric("headwater_tls_handshakes_total", &[("result", "timeout")], 1.0);
    headwater.wait_metric("headwater_downstream_connections", &[], 0.0);
}

#[test]
fn large_bodies_come_whole_and_broken_ones_never_look_so() {
    let place = Place::new();
    let body: Vec<u8> = (0..20_000_000_u32).map(|n| (n.wrapping_mul(7919) / 13) as u8).collect();
    let whole = body.clone();
    let origin = Origin::with(move |request: &Recorded, stream: &mut dyn Wire| {
        let length = if request.header("X-Break").is_some() { whole.len() + 1 } else { whole.len() };
        // To HTTP/1.0 an end of unknown length is the end of the connection.
        let head = match request.header("X-Chunked") {
            Some(_) => "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_string(),
            None => format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"),
        };
        let _ = stream.write_all(head.as_bytes());
        let _ = stream.write_all(&whole);
        Then::Close
    });
    let (_headwater, https) = start(&origin, &tls(&place.issue("shop", &["shop.example"])));
    let received = |arguments: &[&str]| {
        let output = curl(&place, https, "shop.example", arguments);
        let end = output.stdout.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("{arguments:?}: {}", said(&output))) + 4;
        (output.status.success(), output.stdout[end..] == body)
    };
    assert_eq!(received(&[]), (true, true));
    assert_eq!(received(&["--http1.0", "-H", "X-Chunked: 1"]), (true, true), "TLS says goodbye");
    assert!(!received(&["-H", "X-Break: 1"]).0, "a byte is missing");
}

#[test]
fn uploads_pass_too() {
    let place = Place::new();
    let origin = Origin::with(|request, stream| {
        let _ = stream.write_all(&answer("200 OK", &[], request.body.len().to_string()));
        Then::Keep
    });
    let (_headwater, https) = start(&origin, &tls(&place.issue("shop", &["shop.example"])));
    let file = place.path().join("upload");
    std::fs::write(&file, vec![7; 3_000_000]).unwrap();
    let output = curl(&place, https, "shop.example", &["--data-binary", &format!("@{}", file.display())]);
    assert!(said(&output).ends_with("3000000"), "{}", said(&output));
}

#[test]
fn mistakes_in_tls_are_shown_where_they_are() {
    let place = Place::new();
    let (a, b) = (place.issue("a", &["a.example"]), place.issue("b", &["b.example"]));
    let file = place.path().join("headwater.toml");
    let check = |text: String| {
        std::fs::write(&file, format!("{text}\n[origin]\nservers = [\"127.0.0.1:8000\"]\n")).unwrap();
        let output = run(&["check", file.to_str().unwrap()]);
        (output.status.code(), said(&output))
    };
    let https = "[listen]\nhttps = [\"127.0.0.1:8443\"]\n";
    assert_eq!(check(format!("{https}{}", tls(&a))).0, Some(0));
    let mixed = format!("[tls]\ncertificate = \"{}\"\nkey = \"{}\"\n", a.certificate.display(), b.key.display());
    for (text, expected) in [
        (https.to_string(), "there is no certificate to listen with"),
        (format!("{https}{mixed}"), "this key does not fit the certificate"),
        (
            format!("{https}[tls]\ncertificate = \"/none\"\nkey = \"{}\"\n", a.key.display()),
            "cannot read a certificate from /none",
        ),
        (format!("{https}[tls]\ncertificate = \"{0}\"\nkey = \"{0}\"\n", a.key.display()), "cannot read a certificate"),
        (format!("{https}[tls]\ncertificate = \"{}\"\n", a.certificate.display()), "there is a certificate and no key"),
        (
            format!("{https}{}[[cdn]]\nname = \"a\"\nkind = \"akamai\"\nclient_certificate = \"a\"\n", tls(&a)),
            "no client is asked for a certificate",
        ),
    ] {
        let (code, said) = check(text);
        assert!(code == Some(1) && said.contains(expected), "{expected:?} is not in\n{said}");
    }
}
