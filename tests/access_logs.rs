//! `headwater logs`: counts from what real servers write, every line once, whatever happens to the process, the log or Graphite.

use headwater_testkit::{Apache, Nginx, binary, get};
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

const PATIENCE: Duration = Duration::from_secs(20);

/// A configuration with a store of its own, and a log.
struct Site {
    folder: tempfile::TempDir,
}

impl Site {
    fn new(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("history.db");
        let config = format!(
            "[origin]\nservers = [\"127.0.0.1:1\"]\n[control]\nstore = \"{}\"\n[[cdn]]\nname = \"fastly\"\nkind = \"fastly\"\nnetworks = [\"198.51.100.0/24\"]\n{more}",
            store.display()
        );
        fs::write(folder.path().join("headwater.toml"), config).unwrap();
        Self { folder }
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("access.log")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.arg("logs").arg("-c").arg(self.folder.path().join("headwater.toml")).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    fn once(&self, log: &Path, arguments: &[&str]) -> Output {
        let mut command = self.command(arguments);
        command.arg("--once").arg(log).stderr(Stdio::piped()).output().unwrap()
    }

    /// Starts it, and waits until it listens.
    fn follow(&self, log: &Path, arguments: &[&str]) -> Following {
        let mut command = self.command(arguments);
        let child = command.args(["--listen", "127.0.0.1:0"]).arg(log).stderr(Stdio::piped()).spawn().unwrap();
        let mut following = Following { child, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        let mut said = BufReader::new(following.child.stderr.take().unwrap());
        let mut all = String::new();
        let address = loop {
            let mut line = String::new();
            assert!(said.read_line(&mut line).unwrap() > 0, "it did not start:\n{all}");
            all.push_str(&line);
            if let Some(address) = line.trim().strip_prefix("headwater: ready listen=") {
                break address.parse().unwrap();
            }
        };
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        following.address = address;
        following
    }

    fn write(&self, lines: u32) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.log()).unwrap();
        file.write_all(line(0).repeat(lines as usize).as_bytes()).unwrap();
    }

    /// Pulls by provider, code and rule, as the store has them.
    fn pulls(&self) -> BTreeMap<String, f64> {
        let following = self.follow(&self.log(), &[]);
        following.pulls()
    }
}

struct Following {
    child: Child,
    address: SocketAddr,
}

impl Following {
    fn pulls(&self) -> BTreeMap<String, f64> {
        let text = get(self.address, "/metrics", &[]).text();
        let series = text.lines().filter_map(|line| line.strip_prefix("headwater_pulls_total")?.rsplit_once(' '));
        series.map(|(labels, value)| (labels.to_string(), value.parse().unwrap())).collect()
    }

    fn wait_for(&self, labels: &str, value: f64) {
        let deadline = Instant::now() + PATIENCE;
        while self.pulls().get(labels) != Some(&value) {
            assert!(Instant::now() < deadline, "no {value} of {labels} in {:?}", self.pulls());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const FASTLY: &str = "{cdn=\"fastly\",code=\"2xx\",rule=\"static\"}";
const UNTAGGED: &str = "{cdn=\"untagged\",code=\"4xx\",rule=\"default\"}";
const OTHER: &str = "{cdn=\"other\",code=\"2xx\",rule=\"static\"}";

/// A line of so many seconds ago.
fn line(ago: u64) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let mut date = Command::new("date");
    date.args(["-u", "-d", &format!("@{}", now - ago), "+%d/%b/%Y:%H:%M:%S +0000"]).env("LC_ALL", "C");
    let time = String::from_utf8(date.output().expect("date is there").stdout).unwrap();
    format!("192.0.2.7 - - [{}] \"GET /a.css HTTP/2.0\" 200 100 \"\" \"-\" \"fastly\" 1500\n", time.trim())
}

#[test]
fn what_apache_writes_is_counted() {
    for format in [
        r#"%h %l %u %t \"%r\" %>s %b \"%{Referer}i\" \"%{User-Agent}i\" \"%{X-CDN-Provider}i\""#,
        r#"%v:%p %h %l %u %t \"%r\" %>s %O \"%{Referer}i\" \"%{User-Agent}i\" \"%{X-CDN-Provider}i\" %D"#,
        r#"%{msec}t|%{us}T|\"%{X-CDN-Provider}i\"|%m|\"%U%q\"|%H|%>s|%B|%{c}a"#,
    ] {
        let site = Site::new("");
        site.write(0);
        let log_config = format!("LogFormat \"{format}\" cdn");
        // Debian's Apache has the modules that log built in.
        let apache =
            Apache::start(&format!("{log_config}\nCustomLog {} cdn", site.log().display()), &[("site.css", b"a {}")]);
        let following = site.follow(&site.log(), &["--format", &log_config, "--from-start"]);
        ask(apache.address());
        following.wait_for(FASTLY, 3.0);
        following.wait_for(UNTAGGED, 1.0);
        following.wait_for(OTHER, 1.0);
    }
}

#[test]
fn what_nginx_writes_is_counted() {
    for (escape, format) in [
        (
            "",
            r#"'$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent" "$http_x_cdn_provider"'"#,
        ),
        (
            "escape=json",
            r#"'{"t":"$time_iso8601","m":"$request_method","u":"$request_uri",' '"s":$status,"b":$body_bytes_sent,"agent":"$http_user_agent","cdn":"$http_x_cdn_provider","d":$request_time}'"#,
        ),
    ] {
        let site = Site::new("");
        site.write(0);
        let log_format = format!("log_format cdn {escape} {format};");
        let access_log = format!("access_log {} cdn;", site.log().display());
        let nginx = Nginx::start_with(&log_format, &access_log, &[("site.css", b"a {}")]);
        let following = site.follow(&site.log(), &["--format", &log_format, "--from-start"]);
        ask(nginx.address());
        following.wait_for(FASTLY, 3.0);
        following.wait_for(UNTAGGED, 1.0);
        following.wait_for(OTHER, 1.0);
    }
}

/// Three pulls of one CDN, one of another, one of none, with what tries to look like the end of a field.
fn ask(address: SocketAddr) {
    for agent in ["Moz \"x\" \\", "\" 500 1 \"", "ü"] {
        assert_eq!(get(address, "/site.css?a=%22", &[("X-CDN-Provider", "Fastly"), ("User-Agent", agent)]).status, 200);
    }
    get(address, "/site.css", &[("X-CDN-Provider", "no\"body")]);
    get(address, "/none", &[]);
}

#[test]
fn killed_at_any_moment_it_counts_every_line_once() {
    let site = Site::new("");
    let text: String = line(0).repeat(500);
    fs::write(site.log(), "").unwrap();
    // The first run begins at the end of what is there: nothing.
    assert!(site.once(&site.log(), &[]).status.success());
    let writer = {
        let log = site.log();
        std::thread::spawn(move || {
            for round in 0..120 {
                let mut file = OpenOptions::new().create(true).append(true).open(&log).unwrap();
                let text = text.replace("/a.css", &format!("/a{round}.css"));
                // In pieces that end within lines.
                for piece in text.as_bytes().chunks(7001) {
                    file.write_all(piece).unwrap();
                }
                if round % 25 == 24 {
                    for former in (1..5).rev() {
                        let name = |number| log.with_file_name(format!("access.log.{number}"));
                        let _ = fs::rename(name(former), name(former + 1));
                    }
                    fs::rename(&log, log.with_file_name("access.log.1")).unwrap();
                    fs::write(&log, "").unwrap();
                }
                std::thread::sleep(Duration::from_millis(25));
            }
        })
    };
    let mut kills = 0;
    let seed = std::process::id() as u64;
    while !writer.is_finished() {
        let mut child = site.command(&[]).arg(site.log()).stderr(Stdio::null()).spawn().unwrap();
        // Anywhere between its start and some rounds later.
        std::thread::sleep(Duration::from_millis(10 + (seed + kills * 7919) % 400));
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
    }
    writer.join().unwrap();
    assert!(kills > 4, "{kills}");
    assert!(site.once(&site.log(), &[]).status.success());
    assert!(site.once(&site.log(), &[]).status.success());
    assert_eq!(site.pulls().get(FASTLY), Some(&60_000.0), "after {kills} kills");
}

#[test]
fn two_runs_at_once_do_not_double_and_a_lock_outlives_nobody() {
    let site = Site::new("");
    site.write(3);
    let following = site.follow(&site.log(), &["--from-start"]);
    following.wait_for(FASTLY, 3.0);
    let second = site.once(&site.log(), &[]);
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("another `headwater logs` is counting into"), "{said}");
    // Killed, and at once another.
    drop(following);
    site.write(2);
    for _ in 0..2 {
        assert!(site.once(&site.log(), &[]).status.success());
    }
    assert_eq!(site.pulls().get(FASTLY), Some(&5.0));
}

/// A Graphite that keeps what it hears, and ends a connection after the other side has.
fn graphite(listener: TcpListener) -> Arc<Mutex<Vec<String>>> {
    let heard = Arc::<Mutex<Vec<String>>>::default();
    let kept = heard.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut text = String::new();
            if stream.and_then(|mut stream| stream.read_to_string(&mut text)).is_ok() {
                kept.lock().unwrap().extend(text.lines().map(String::from));
            }
        }
    });
    heard
}

#[test]
fn graphite_gets_what_was_counted_while_it_was_away_once_and_by_its_own_time() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let site = Site::new(&format!("[metrics]\ngraphite = \"{address}\"\nprefix = \"web\"\n"));
    fs::write(site.log(), [line(600), line(600), line(480), line(5)].concat()).unwrap();
    let away = site.once(&site.log(), &["--from-start"]);
    let said = String::from_utf8_lossy(&away.stderr).into_owned();
    assert!(away.status.success() && said.contains("graphite is away"), "{said}");
    let heard = graphite(TcpListener::bind(address).unwrap());
    for _ in 0..2 {
        assert!(site.once(&site.log(), &[]).status.success());
    }
    let heard = heard.lock().unwrap().clone();
    let points: Vec<(u64, u64)> = heard
        .iter()
        .filter_map(|line| line.strip_prefix("web.pulls_total.fastly.2xx.static ")?.split_once(' '))
        .map(|(value, time)| (value.parse().unwrap(), time.parse().unwrap()))
        .collect();
    let first = points[0].1;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    assert!((now - first).abs_diff(570) <= 60, "{first} at {now}: {heard:?}");
    // Each minute once, without a gap, and the last line's minute has not settled yet.
    for (index, (value, time)) in points.iter().enumerate() {
        assert_eq!(*time, first + 60 * index as u64, "{points:?}");
        assert_eq!(*value, if index < 2 { 2 } else { 3 }, "{points:?}");
    }
    assert!((9..=11).contains(&points.len()), "{points:?}");
}

#[test]
fn what_cannot_be_read_is_said_with_what_to_do() {
    let site = Site::new("");
    let gone = site.once(&site.folder.path().join("none.log"), &[]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&gone.stderr).contains("none.log: "), "{gone:?}");
    let wrong = site.once(&site.log(), &["--format", "%h %t \"%r\""]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("add %>s"), "{wrong:?}");
    // Root may read everything, so somebody else is asked.
    let site = Site::new("");
    site.write(1);
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(site.log(), fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(site.folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let copy = site.folder.path().join("headwater");
    fs::copy(binary(), &copy).unwrap();
    let config = site.folder.path().join("headwater.toml");
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&copy).args(["logs", "--once", "-c"]);
    let denied = command.arg(config).arg(site.log()).output().expect("setpriv (util-linux) is there");
    let said = String::from_utf8_lossy(&denied.stderr).into_owned();
    assert_eq!(denied.status.code(), Some(1), "{said}");
    assert!(said.contains("access.log: ") && said.contains("group adm"), "{said}");
}
