//! Pulls that go to the origin over TLS: whom Headwater trusts, what it says of itself, and what a cut connection means.

use headwater_testkit::{
    Apache, Authority, Client, Headwater, Origin, Pair, Recorded, Then, Wire, answer, exchange, get, needs, request,
    run, wait_until,
};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Where certificates of a test lie, with the authority that issued them.
struct Place {
    folder: tempfile::TempDir,
    authority: Authority,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), authority: Authority::new("Origins") }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn ca(&self) -> String {
        self.authority.write(self.path(), "authority").display().to_string()
    }

    fn issue(&self, names: &[&str]) -> Pair {
        self.authority.issue(self.path(), "origin", names)
    }
}

fn config(servers: &[String], more: &str) -> String {
    format!("[origin]\nservers = {servers:?}\n{more}")
}

fn https(address: SocketAddr) -> String {
    format!("https://{address}")
}

/// A config with one server, trusted by the place's authority. `tls` stands beside `ca`.
fn trusting(place: &Place, server: String, tls: &str) -> String {
    config(&[server], &format!("tls = {{ ca = \"{}\"{tls} }}\n", place.ca()))
}

fn hello(_: &Recorded, stream: &mut dyn Wire) -> Then {
    let _ = stream.write_all(&answer("200 OK", &[], "over TLS"));
    Then::Keep
}

fn fails_with(headwater: &Headwater, status: u16, reason: &str) {
    let got = get(headwater.http, "/", &[("Accept", "text/html")]);
    assert_eq!((got.status, got.header("Cache-Control")), (status, Some("no-store")), "{}", got.head);
    assert!(got.text().contains("<html"), "{}", got.text());
    let metrics = headwater.metrics();
    assert_eq!(metrics.value("headwater_upstream_errors_total", &[("reason", reason)]), 1.0, "{}", metrics.0);
    assert_eq!(metrics.value("headwater_whoopsie_total", &[("reason", reason)]), 1.0, "{}", metrics.0);
}

#[test]
fn a_server_whose_certificate_is_trusted_is_asked_over_http_1() {
    let place = Place::new();
    let origin = Origin::over_tls(&place.issue(&["127.0.0.1"]), None, hello);
    let headwater = Headwater::start(&trusting(&place, https(origin.address), ""));
    let mut client = Client::connect(headwater.http);
    for _ in 0..5 {
        client.send(request("GET", "/", &[]));
        assert_eq!(client.read_response().text(), "over TLS");
    }
    assert_eq!(origin.connections(), 1, "the connection is kept");
    let greeting = origin.last().tls.unwrap();
    assert_eq!(greeting.protocol.as_deref(), Some("http/1.1"));
    assert_eq!(greeting.server_name, None, "an address is not sent as a name");
    assert!(!greeting.has_certificate);
    let body = "x".repeat(3_000_000);
    client.send(request("POST", "/", &[("Content-Length", "3000000")]) + &body);
    assert_eq!(client.read_response().status, 200);
    assert!(origin.last().body == body.as_bytes() && origin.last().complete);
}

#[test]
fn the_name_that_is_asked_for_is_the_hosts_or_the_configured_one() {
    let place = Place::new();
    let origin = Origin::over_tls(&place.issue(&["localhost", "app.internal"]), None, hello);
    let port = origin.address.port();
    let asked = |server: String, tls: &str, more: &str| {
        let headwater = Headwater::start(&trusting(&place, server, tls).replace("tls =", &format!("{more}tls =")));
        assert_eq!(get(headwater.http, "/", &[]).status, 200);
        let last = origin.last();
        (
            last.tls.unwrap().server_name.unwrap(),
            last.headers.iter().find(|(name, _)| name == "Host").unwrap().1.clone(),
        )
    };
    let localhost = format!("https://localhost:{port}");
    let address = format!("https://127.0.0.1:{port}");
    let own = "preserve_host = false\n";
    assert_eq!(asked(localhost.clone(), "", ""), ("localhost".into(), "shop.example".into()));
    assert_eq!(asked(localhost, "", own), ("localhost".into(), format!("localhost:{port}")));
    let named = ", server_name = \"app.internal\"";
    assert_eq!(asked(address.clone(), named, ""), ("app.internal".into(), "shop.example".into()));
    assert_eq!(asked(address, named, own), ("app.internal".into(), format!("app.internal:{port}")));
}

#[test]
fn a_certificate_that_cannot_be_trusted_is_502_and_nothing_is_sent() {
    let place = Place::new();
    let stranger = Authority::new("Somebody").issue(place.path(), "stranger", &["127.0.0.1"]);
    let another_name = place.authority.issue(place.path(), "another", &["app.internal"]);
    for pair in [stranger, another_name] {
        let origin = Origin::over_tls(&pair, None, hello);
        let headwater = Headwater::start(&trusting(&place, https(origin.address), ""));
        fails_with(&headwater, 502, "tls");
        assert!(origin.requests().is_empty());
    }
    // A server that speaks plain HTTP takes the greeting for a bad request.
    let plain = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = plain.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = plain.accept().unwrap();
        stream.read_exact(&mut [0; 100]).unwrap();
        stream.write_all(&answer("400 Bad Request", &[], "no TLS")).unwrap();
    });
    fails_with(&Headwater::start(&trusting(&place, https(address), "")), 502, "tls");
}

#[test]
fn a_server_that_cannot_be_trusted_is_passed_over_for_the_next() {
    let place = Place::new();
    let stranger = Authority::new("Somebody").issue(place.path(), "stranger", &["127.0.0.1"]);
    let bad = Origin::over_tls(&stranger, None, hello);
    let good = Origin::over_tls(&place.issue(&["127.0.0.1"]), None, hello);
    let servers = [https(bad.address), https(good.address)];
    let headwater = Headwater::start(&config(&servers, &format!("tls = {{ ca = \"{}\" }}\n", place.ca())));
    for _ in 0..6 {
        assert_eq!(get(headwater.http, "/", &[]).text(), "over TLS");
    }
    assert!(bad.connections() > 0 && bad.requests().is_empty());
}

#[test]
fn without_an_authority_of_ones_own_the_systems_are_trusted() {
    let place = Place::new();
    let origin = Origin::over_tls(&place.issue(&["127.0.0.1"]), None, hello);
    let alone = config(&[https(origin.address)], "");
    let of_the_system = [("SSL_CERT_FILE", place.ca())];
    let variables: Vec<(&str, &str)> = of_the_system.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let headwater = Headwater::start_with(&alone, &[], &variables);
    assert_eq!(get(headwater.http, "/", &[]).text(), "over TLS");
    let another = Authority::new("Somebody").write(place.path(), "somebody").display().to_string();
    fails_with(&Headwater::start_with(&alone, &[], &[("SSL_CERT_FILE", &another)]), 502, "tls");
}

#[test]
fn a_certificate_that_a_server_issued_itself_is_trusted_where_it_is_named() {
    needs("/usr/bin/openssl", "openssl");
    let place = Place::new();
    let pair = Pair { certificate: place.path().join("app.pem"), key: place.path().join("app.key") };
    let made = Command::new("/usr/bin/openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj"])
        .args([
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ])
        .arg("-keyout")
        .arg(&pair.key)
        .arg("-out")
        .arg(&pair.certificate)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let origin = Origin::over_tls(&pair, None, hello);
    let trust = format!("tls = {{ ca = \"{}\" }}\n", pair.certificate.display());
    let headwater = Headwater::start(&config(&[format!("https://localhost:{}", origin.address.port())], &trust));
    assert_eq!(get(headwater.http, "/", &[]).text(), "over TLS");
}

#[test]
fn a_server_that_asks_who_comes_is_shown_our_certificate() {
    let place = Place::new();
    let ours = place.authority.issue(place.path(), "ours", &["headwater.internal"]);
    let origin = Origin::over_tls(&place.issue(&["127.0.0.1"]), Some(Path::new(&place.ca())), hello);
    let keys =
        format!(", client_certificate = \"{}\", client_key = \"{}\"", ours.certificate.display(), ours.key.display());
    let headwater = Headwater::start(&trusting(&place, https(origin.address), &keys));
    assert_eq!(get(headwater.http, "/", &[]).text(), "over TLS");
    assert!(origin.last().tls.unwrap().has_certificate);
    let without = Headwater::start(&trusting(&place, https(origin.address), ""));
    assert_eq!(get(without.http, "/", &[]).status, 502);
}

#[test]
fn sessions_are_resumed() {
    let place = Place::new();
    let behave = |_: &Recorded, stream: &mut dyn Wire| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
        Then::Close
    };
    let origin = Origin::over_tls(&place.issue(&["127.0.0.1"]), None, behave);
    let headwater = Headwater::start(&trusting(&place, https(origin.address), ""));
    for _ in 0..4 {
        assert_eq!(get(headwater.http, "/", &[]).status, 200);
    }
    let resumed: Vec<bool> = origin.requests().into_iter().map(|request| request.tls.unwrap().resumed).collect();
    assert_eq!(resumed, [false, true, true, true]);
}

#[test]
fn a_handshake_that_nobody_answers_is_504_in_time() {
    let place = Place::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let config = trusting(&place, https(listener.local_addr().unwrap()), "");
    let headwater = Headwater::start(&config.replace("tls =", "connect_timeout = \"500ms\"\ntls ="));
    let begun = Instant::now();
    fails_with(&headwater, 504, "connect_timeout");
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

/// What ends with the connection, after some of it; `then` says how it ends.
fn until_the_end(place: &Place, then: Then) -> Origin {
    Origin::over_tls(&place.issue(&["127.0.0.1"]), None, move |_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n");
        let _ = stream.write_all("a line of the account\n".repeat(1000).as_bytes());
        then
    })
}

#[test]
fn a_body_that_ends_with_the_connection_is_whole_only_if_the_origin_says_so() {
    let place = Place::new();
    let whole = until_the_end(&place, Then::Close);
    let headwater = Headwater::start(&trusting(&place, https(whole.address), ""));
    for accepted in ["identity", "gzip"] {
        let got = get(headwater.http, "/", &[("Accept-Encoding", accepted)]);
        assert!(got.complete, "{}", got.head);
        let body = if accepted == "gzip" { got.gunzip() } else { got.body };
        assert_eq!(body.len(), 22_000);
    }
    assert_eq!(headwater.metrics().value("headwater_upstream_errors_total", &[]), 0.0);

    // Whoever sits on the line can end a connection, but cannot say so in the origin's name.
    let cut = until_the_end(&place, Then::Cut);
    let headwater = Headwater::start(&trusting(&place, https(cut.address), ""));
    for accepted in ["identity", "gzip"] {
        let got = get(headwater.http, "/cut", &[("Accept-Encoding", accepted)]);
        assert!(got.status == 200 && !got.complete, "{accepted}: {}", got.head);
        let old = format!("GET /cut HTTP/1.0\r\nHost: a\r\nAccept-Encoding: {accepted}\r\n\r\n");
        assert!(!exchange(headwater.http, old).complete, "HTTP/1.0 {accepted}");
    }
    headwater.wait_metric("headwater_upstream_errors_total", &[("reason", "body_broken")], 4.0);
    assert!(headwater.wait_for_log(|line| line.contains("/cut")).contains("end=upstream"));
}

#[test]
fn a_tunnel_goes_through_tls() {
    let place = Place::new();
    let origin = Origin::over_tls(&place.issue(&["127.0.0.1"]), None, |_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
        let mut byte = [0];
        while matches!(stream.read(&mut byte), Ok(1)) && stream.write_all(&byte).is_ok() {}
        Then::Close
    });
    let headwater = Headwater::start(&trusting(&place, https(origin.address), ""));
    let mut client = Client::connect(headwater.http);
    client.send(request("GET", "/", &[("Connection", "Upgrade"), ("Upgrade", "echo")]));
    assert_eq!(client.read_response().status, 101);
    client.send("there and back");
    assert_eq!(client.read_bytes(14), b"there and back");
}

#[test]
fn a_reload_with_another_authority_ends_the_trust_in_connections_that_rest() {
    let place = Place::new();
    let origin = Origin::over_tls(&place.issue(&["127.0.0.1"]), None, hello);
    let headwater = Headwater::start(&trusting(&place, https(origin.address), ""));
    assert_eq!(get(headwater.http, "/", &[]).status, 200);
    let hash = || get(headwater.admin, "/status", &[]).text().split("\"hash\": ").nth(1).unwrap()[..18].to_string();
    let before = hash();
    Authority::new("Somebody").write(place.path(), "authority");
    assert_eq!(exchange(headwater.admin, request("POST", "/reload", &[])).status, 200);
    assert_ne!(hash(), before, "another authority under the same name is another policy");
    assert_eq!(get(headwater.http, "/", &[]).status, 502);
    place.ca();
    assert_eq!(exchange(headwater.admin, request("POST", "/reload", &[])).status, 200);
    assert_eq!(get(headwater.http, "/", &[]).status, 200);
    wait_until("what rested is closed", || origin.open() <= 1);
}

#[test]
fn a_real_apache_is_asked_over_tls() {
    let place = Place::new();
    let pair = place.issue(&["localhost"]);
    let css = "p { margin: 0 }\n".repeat(500);
    let extra = format!(
        "LoadModule ssl_module /usr/lib/apache2/modules/mod_ssl.so\nSSLEngine on\nSSLCertificateFile {}\nSSLCertificateKeyFile {}\n\
         KeepAliveTimeout 5\n",
        pair.certificate.display(),
        pair.key.display()
    );
    let apache = Apache::start(&extra, &[("site.css", css.as_bytes())]);
    let server = format!("https://localhost:{}", apache.address().port());
    let headwater = Headwater::start(&trusting(&place, server, ""));
    let mut client = Client::connect(headwater.http);
    for _ in 0..20 {
        client.send(request("GET", "/site.css", &[("Host", "localhost")]));
        let got = client.read_response();
        assert_eq!((got.status, got.text()), (200, css.clone()), "{}", got.head);
    }
    let open = headwater.metrics().value("headwater_upstream_connections", &[("state", "open")]);
    assert_eq!(open, 1.0, "twenty pulls over one connection");
    let gzipped = get(headwater.http, "/site.css", &[("Accept-Encoding", "gzip")]);
    assert_eq!(gzipped.gunzip(), css.as_bytes());
    // From a resting connection that Apache has closed no pull fails.
    assert_eq!(get(headwater.http, "/none", &[]).status, 404);
}

#[test]
fn what_is_wrong_with_the_origins_tls_is_told_where_it_stands() {
    let place = Place::new();
    let ours = place.authority.issue(place.path(), "ours", &["a.example"]);
    let theirs = place.authority.issue(place.path(), "theirs", &["b.example"]);
    let garbled = place.path().join("garbled.pem");
    std::fs::write(&garbled, "-----BEGIN CERTIFICATE-----\nnothing\n").unwrap();
    let file = place.path().join("headwater.toml");
    let check = |server: &str, tls: String| {
        std::fs::write(&file, config(&[server.into()], &format!("tls = {{ {tls} }}\n"))).unwrap();
        let output = run(&["check", file.to_str().unwrap()]);
        (
            output.status.code(),
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)),
        )
    };
    let (certificate, key) = (ours.certificate.display(), theirs.key.display());
    for (tls, what) in [
        ("ca = \"/no/such/file.pem\"".to_string(), "cannot read a certificate from /no/such/file.pem"),
        (format!("ca = \"{}\"", garbled.display()), "cannot read a certificate from"),
        (format!("client_certificate = \"{certificate}\", client_key = \"{key}\""), "does not fit the certificate"),
        (format!("client_certificate = \"{certificate}\""), "there is a client_certificate and no client_key"),
        (format!("client_key = \"{key}\""), "there is a client_key and no client_certificate"),
        ("server_name = \"not a name\"".into(), "cannot stand in a certificate"),
        ("insecure = true".into(), "there is no key `insecure`"),
    ] {
        let (code, said) = check("https://app.internal:8443", tls.clone());
        assert_eq!(code, Some(1), "{tls}: {said}");
        assert!(said.contains(what) && said.contains("headwater.toml:3:"), "{tls}: {said}");
    }
    let (code, said) = check("app.internal:8000", format!("ca = \"{}\"", place.ca()));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("no server is reached over TLS"), "{said}");
    let (code, said) = check("https://app.internal/path", String::new());
    assert!(code == Some(1) && said.contains("is no server"), "{said}");
}
