//! Users' timings: a real browser, behind a CDN, tells the control plane who served it and how fast.

use headwater_testkit::{Client, Headwater, Origin, Then, answer, binary, get};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const CHROMIUM: &str = "/usr/bin/chromium";

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `headwater control`, and where it listens.
fn control(config: &Path) -> (Running, SocketAddr) {
    let mut command = Command::new(binary());
    command.arg("control").arg("-c").arg(config).stderr(Stdio::piped()).stdout(Stdio::null());
    let mut child = Running(command.spawn().unwrap());
    let mut said = BufReader::new(child.0.stderr.take().unwrap());
    let mut line = String::new();
    let address = loop {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0, "the control plane ended");
        if let Some(address) = line.split_whitespace().find_map(|word| word.strip_prefix("control=")) {
            break address.parse().unwrap();
        }
    };
    std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
    (child, address)
}

fn config(store: &Path, rum: &str) -> String {
    format!(
        "[control]\nlisten = \"127.0.0.1:0\"\nstore = \"{}\"\n[rum]\npath = \"/rum\"\n{rum}\n\
         [[cdn]]\nname = \"fastly\"\nkind = \"fastly\"\nnetworks = [\"127.0.0.0/8\"]\n\
         [[rule]]\nname = \"pages\"\npath = '.'\nserver_timing = true\n",
        store.display()
    )
}

/// Names itself in every pull, and keeps nothing.
fn cdn(origin: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for user in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || pass(user, origin));
        }
    });
    address
}

fn pass(mut user: TcpStream, origin: SocketAddr) -> std::io::Result<()> {
    let mut head = String::new();
    let mut lines = BufReader::new(user.try_clone()?);
    while lines.read_line(&mut head)? > 2 {}
    let Some((line, fields)) = head.split_once("\r\n") else { return Ok(()) };
    let fields = fields.replace("Connection: keep-alive\r\n", "");
    let mut up = TcpStream::connect(origin)?;
    up.write_all(format!("{line}\r\nX-CDN-Provider: fastly\r\nConnection: close\r\n{fields}").as_bytes())?;
    let mut all = Vec::new();
    up.read_to_end(&mut all)?;
    user.write_all(&all)
}

/// The script that the documentation gives to users.
fn snippet(to: SocketAddr) -> String {
    let guide = include_str!("../docs/rum.md");
    let script = guide.split("```js\n").nth(1).unwrap().split("```").next().unwrap();
    assert!(script.contains("https://rum.example.com/rum"));
    script.replace("https://rum.example.com/rum", &format!("http://{to}/rum"))
}

/// The page is left as soon as it is painted and loaded.
fn page(script: &str) -> String {
    format!(
        "<!doctype html><title>A page</title><h1>Who served this?</h1><script>{script}</script><script>\
         (function wait() {{\
           if (document.readyState === 'complete' && performance.getEntriesByType('paint').length)\
             setTimeout(function () {{ location.href = '/away'; }}, 100);\
           else setTimeout(wait, 50);\
         }})();</script>"
    )
}

#[test]
fn a_browser_behind_a_cdn_tells_who_served_it_and_how_fast() {
    assert!(Path::new(CHROMIUM).exists(), "there is no {CHROMIUM}: run `make test-tools`");
    let folder = tempfile::tempdir().unwrap();
    let settings = config(&folder.path().join("history.db"), "hosts = [\"127.0.0.1\"]");
    let file = folder.path().join("control.toml");
    std::fs::write(&file, format!("[origin]\nservers = [\"127.0.0.1:1\"]\n{settings}")).unwrap();
    let (_control, rum) = control(&file);
    let first = page(&snippet(rum));
    let origin = Origin::with(move |request, wire| {
        let body = if request.target == "/" { first.as_str() } else { "<!doctype html><p>Gone." };
        let fields = [("Content-Type", "text/html"), ("Server-Timing", "db;dur=3")];
        wire.write_all(&answer("200 OK", &fields, body)).unwrap();
        Then::Keep
    });
    let proxy = Headwater::before_with(&origin, &settings);
    let mut browser = Command::new(CHROMIUM);
    browser.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage"]);
    browser.arg(format!("--user-data-dir={}", folder.path().join("browser").display()));
    browser.args(["--remote-debugging-port=0", &format!("http://{}/", cdn(proxy.http))]);
    let _browser = Running(browser.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    // A browser takes its time to start, and the next write is up to ten seconds away.
    let deadline = Instant::now() + Duration::from_secs(60);
    let told = loop {
        let told: serde_json::Value = serde_json::from_str(&get(rum, "/api/users", &[]).text()).unwrap();
        if told["cdn"]["fastly"]["lcp"]["n"] == 1 {
            break told;
        }
        assert!(Instant::now() < deadline, "the browser told nothing: {told}\n{}", proxy.stdout());
        std::thread::sleep(Duration::from_millis(100));
    };
    let fastly = &told["cdn"]["fastly"];
    assert_eq!(fastly["pages"], 1.0, "{told}");
    for timing in ["ttfb", "fcp", "lcp", "load"] {
        let seconds = fastly[timing]["p50"].as_f64().unwrap_or_else(|| panic!("{timing}: {told}"));
        assert!(seconds > 0.0 && seconds < 60.0, "{timing}: {told}");
    }
    assert_eq!(fastly["cls"]["n"], 1, "{told}");
    assert_eq!(told["cdn"].as_object().unwrap().len(), 1, "nobody else served it: {told}");
}

#[test]
fn a_flood_of_strangers_takes_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    let rum = "rate = 0\nnetwork_rate = 0\ntrusted_from = [\"127.0.0.0/8\"]";
    let file = folder.path().join("control.toml");
    let settings = config(&folder.path().join("history.db"), rum);
    std::fs::write(&file, format!("[origin]\nservers = [\"127.0.0.1:1\"]\n{settings}")).unwrap();
    let (control, rum) = control(&file);
    let memory = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", control.0.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap().to_string();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let mut client = Client::connect(rum);
    let mut flood = |times: u32| {
        for n in 0..times {
            let body = match n % 3 {
                0 => format!(r#"{{"cdn":"{n}","lcp":{n},"page":true}}"#),
                1 => format!("v=1&t_done={n}&cdn=x{n}&u={}", "x".repeat(2000)),
                _ => "\u{1}".repeat(3000),
            };
            let user = std::net::Ipv4Addr::from(n.wrapping_mul(2_654_435_761));
            let head = format!(
                "POST /rum?n={n} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {user}\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            client.send(head + &body);
            let status = client.read_response().status;
            assert_eq!(status, if n % 3 == 2 { 400 } else { 204 }, "{n}");
        }
    };
    flood(2000);
    let before = memory();
    flood(20_000);
    let grown = memory().saturating_sub(before);
    assert!(grown < 8 << 10, "{grown} KiB more than {before} KiB");
}
