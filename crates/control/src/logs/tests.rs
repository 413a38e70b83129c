use super::count::{Fate, Tally};
use super::follow::{Follower, Found};
use super::format::{Format, FormatError};
use super::line;
use proptest::prelude::*;
use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const HEADER: &str = "X-CDN-Provider";

/// A folder with a log, and one who reads it.
struct Site {
    folder: tempfile::TempDir,
    follower: Option<Follower>,
    state: Option<String>,
    seen: Vec<String>,
    written: u64,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder, follower: None, state: None, seen: Vec::new(), written: 0 }
    }

    fn log(&self) -> PathBuf {
        self.former("")
    }

    fn former(&self, end: &str) -> PathBuf {
        self.folder.path().join(format!("access.log{end}"))
    }

    /// Writes so many lines to the log, which is made if it is not there.
    fn write(&mut self, lines: u64) {
        self.write_to(&self.log(), lines);
    }

    fn write_to(&mut self, path: &Path, lines: u64) {
        let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        for _ in 0..lines {
            writeln!(file, "192.0.2.7 line number {}", self.written).unwrap();
            self.written += 1;
        }
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.former(from), self.former(to)).unwrap();
    }

    fn compress(&self, end: &str) {
        let path = self.former(end);
        let status = std::process::Command::new("gzip").arg(&path).status().expect("gzip is there");
        assert!(status.success());
    }

    fn copy_and_truncate(&self, to: &str) {
        fs::copy(self.log(), self.former(to)).unwrap();
        OpenOptions::new().write(true).truncate(true).open(self.log()).unwrap();
    }

    /// The state says this file's inode of another one.
    fn forge_inode(&mut self, list: &str, index: usize, end: &str) {
        let inode = fs::metadata(self.former(end)).unwrap().ino();
        let mut state: serde_json::Value = serde_json::from_str(self.state.as_ref().unwrap()).unwrap();
        assert_eq!(state[list][index]["head"], 0);
        state[list][index]["inode"] = inode.into();
        self.state = Some(state.to_string());
    }

    /// Reads all that is there, as one process that goes on.
    fn read(&mut self) {
        self.try_to_read().unwrap();
    }

    /// Where it fails, what was given before counts, and it goes on from there.
    fn try_to_read(&mut self) -> std::io::Result<()> {
        let mut follower = match self.follower.take() {
            Some(follower) => follower,
            None => Follower::open(&self.log(), self.state.as_deref(), true, now())?.0,
        };
        let seen = &mut self.seen;
        let result = loop {
            let result = follower.read(now(), 1 << 20, |line| {
                seen.push(line.map_or("too long".into(), |line| String::from_utf8_lossy(line).into_owned()));
            });
            match result {
                Ok(false) => {}
                Ok(true) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        if let Some(state) = follower.checkpoint() {
            self.state = Some(state);
        }
        self.follower = Some(follower);
        result
    }

    /// The process is killed: only what was written with the counts is known afterwards.
    fn kill(&mut self) {
        self.follower = None;
    }

    fn assert_all_once(&mut self) {
        let mut seen = std::mem::take(&mut self.seen);
        seen.sort_by_key(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap_or(u64::MAX));
        let expected: Vec<String> = (0..self.written).map(|n| format!("192.0.2.7 line number {n}")).collect();
        assert_eq!(seen, expected);
        self.seen = seen;
    }
}

fn now() -> i64 {
    crate::service::now()
}

#[test]
fn a_log_is_followed_through_rename_and_creation() {
    let mut site = Site::new();
    site.write(3);
    site.read();
    site.write(2);
    site.rename("", ".1");
    site.read();
    // An old worker still writes to it, and a new one to the new file.
    site.write_to(&site.former(".1"), 2);
    site.write(4);
    site.write_to(&site.former(".1"), 1);
    site.read();
    site.assert_all_once();
}

#[test]
fn two_rotations_between_two_looks_lose_nothing() {
    for restarts in [false, true] {
        let mut site = Site::new();
        site.write(3);
        site.read();
        if restarts {
            site.kill();
        }
        site.write(2);
        site.rename("", ".1");
        site.write(5);
        site.rename(".1", ".2");
        site.rename("", ".1");
        site.write(1);
        site.read();
        site.assert_all_once();
    }
}

#[test]
fn what_was_rotated_and_compressed_while_it_was_down_is_read() {
    let mut site = Site::new();
    site.write(30);
    site.read();
    site.kill();
    site.write(7);
    site.rename("", ".3");
    site.compress(".3");
    site.write(5);
    site.rename("", ".2");
    site.compress(".2");
    site.write(5);
    site.rename("", ".1");
    site.write(2);
    site.read();
    site.assert_all_once();
    site.kill();
    site.read();
    site.write(2);
    site.read();
    site.assert_all_once();
}

#[test]
fn a_dated_rotation_is_read_in_its_order() {
    let mut site = Site::new();
    site.write(3);
    site.read();
    site.kill();
    site.write(2);
    site.rename("", "-20261123");
    site.compress("-20261123");
    site.write(2);
    site.rename("", "-20261124");
    site.write(2);
    site.read();
    site.kill();
    site.read();
    site.assert_all_once();
}

#[test]
fn copytruncate_loses_nothing_that_is_in_the_copy() {
    for restarts in [false, true] {
        for (before, after) in [(3, 2), (1, 50), (40, 0)] {
            let mut site = Site::new();
            site.write(before);
            site.read();
            if restarts {
                site.kill();
            }
            site.write(4);
            site.copy_and_truncate(".1");
            site.write(after);
            site.read();
            site.kill();
            site.read();
            site.assert_all_once();
        }
    }
}

#[test]
fn a_log_that_was_empty_may_be_filled_copied_and_cut_between_two_looks() {
    let mut site = Site::new();
    site.write(0);
    site.read();
    site.write(3);
    site.copy_and_truncate(".1");
    site.write(2);
    site.read();
    site.read();
    site.assert_all_once();
}

#[test]
fn a_log_that_is_written_anew_under_its_name_is_read_on() {
    let mut site = Site::new();
    site.write(30);
    site.read();
    fs::copy(site.log(), site.former("x")).unwrap();
    fs::rename(site.former("x"), site.log()).unwrap();
    site.write(2);
    site.read();
    site.assert_all_once();
}

#[test]
fn two_copies_of_a_log_that_was_empty_are_read() {
    let mut site = Site::new();
    site.write(3);
    site.read();
    site.copy_and_truncate(".1");
    site.read();
    site.kill();
    site.write(2);
    site.rename(".1", ".2");
    site.copy_and_truncate(".1");
    site.write(2);
    site.read();
    site.assert_all_once();
}

#[test]
fn a_hole_before_the_next_line_is_passed_over() {
    let mut site = Site::new();
    site.write(3);
    site.read();
    // A server that does not append goes on at its own place.
    fs::write(site.log(), [&vec![0; 300_000][..], b"192.0.2.7 line number 3\n"].concat()).unwrap();
    site.written += 1;
    site.read();
    site.assert_all_once();
}

#[test]
fn a_line_is_read_once_it_has_ended() {
    let mut site = Site::new();
    let mut file = OpenOptions::new().create(true).append(true).open(site.log()).unwrap();
    file.write_all(b"192.0.2.7 line num").unwrap();
    site.read();
    assert_eq!(site.seen.len(), 0);
    site.kill();
    file.write_all(b"ber 0\n192.").unwrap();
    site.written = 1;
    site.read();
    site.assert_all_once();
}

#[test]
fn a_line_without_end_takes_no_memory_and_no_other_line_with_it() {
    let mut site = Site::new();
    let mut file = OpenOptions::new().create(true).append(true).open(site.log()).unwrap();
    for _ in 0..30 {
        file.write_all(&vec![b'x'; 100_000]).unwrap();
        site.read();
        site.kill();
    }
    file.write_all(b"\n").unwrap();
    drop(file);
    site.write(2);
    site.read();
    assert_eq!(site.seen[0], "too long");
    site.seen.remove(0);
    site.assert_all_once();
}

#[test]
fn a_log_that_is_not_there_yet_is_read_from_its_beginning() {
    let mut site = Site::new();
    site.read();
    site.kill();
    site.write(0);
    site.read();
    fs::remove_file(site.log()).unwrap();
    site.read();
    site.write(3);
    site.read();
    site.assert_all_once();
}

#[test]
fn a_log_is_first_read_from_its_end_unless_asked_otherwise() {
    let mut site = Site::new();
    site.write(3);
    let mut file = OpenOptions::new().append(true).open(site.log()).unwrap();
    file.write_all(b"192.0.2.7 line ").unwrap();
    let (follower, found) = Follower::open(&site.log(), None, false, now()).unwrap();
    assert_eq!(found, Found::New);
    site.follower = Some(follower);
    site.read();
    assert_eq!(site.seen.len(), 0);
    file.write_all(b"number 0\n").unwrap();
    site.written = 1;
    site.read();
    site.assert_all_once();
}

#[test]
fn a_file_with_the_inode_of_a_deleted_one_is_another() {
    let mut site = Site::new();
    site.write(3);
    site.read();
    site.kill();
    // Written over in place: the same inode, and more than was read.
    let other: String = (3..20).map(|n| format!("192.0.2.7 line number {n}\n")).collect();
    fs::write(site.log(), other).unwrap();
    site.written = 20;
    site.read();
    site.assert_all_once();
}

#[test]
fn names_that_move_while_they_are_looked_at_lose_and_double_nothing() {
    const ROTATIONS: u64 = 60;
    let mut site = Site::new();
    site.write(1);
    site.read();
    let folder = site.folder.path().to_path_buf();
    let writer = std::thread::spawn(move || {
        let name = |number: u64| folder.join(format!("access.log.{number}"));
        let log = folder.join("access.log");
        for rotation in 0..ROTATIONS {
            let mut file = OpenOptions::new().create(true).append(true).open(&log).unwrap();
            for line in 1 + 3 * rotation..4 + 3 * rotation {
                file.write_all(format!("192.0.2.7 line number {line}\n").as_bytes()).unwrap();
            }
            for former in (1..=rotation).rev() {
                fs::rename(name(former), name(former + 1)).unwrap();
            }
            fs::rename(&log, name(1)).unwrap();
            fs::write(&log, "").unwrap();
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    });
    let mut looks = 0;
    while !writer.is_finished() {
        // Names may move faster than anybody can look at them: then it is told, and tried again.
        if site.try_to_read().is_ok() {
            site.kill();
            looks += 1;
        }
    }
    writer.join().unwrap();
    assert!(looks > 0, "nothing was read meanwhile");
    site.written = 1 + 3 * ROTATIONS;
    site.read();
    site.assert_all_once();
}

/// What becomes of a log between two looks.
#[derive(Clone, Debug)]
enum Step {
    Write(u8),
    Look,
    Kill,
    Rename,
    Copy,
    Compress,
}

/// A log of one line that was read, the steps, and a last look.
fn after(steps: Vec<Step>) -> Site {
    let mut site = Site::new();
    site.write(1);
    site.read();
    let mut former = 0;
    for step in steps {
        let shift = |site: &Site| {
            for n in (1..=former).rev() {
                for end in ["", ".gz"] {
                    let _ = fs::rename(site.former(&format!(".{n}{end}")), site.former(&format!(".{}{end}", n + 1)));
                }
            }
        };
        match step {
            Step::Write(lines) => site.write(u64::from(lines)),
            Step::Look => site.read(),
            Step::Kill => site.kill(),
            Step::Rename => {
                shift(&site);
                site.rename("", ".1");
                former += 1;
                site.write(1);
            }
            Step::Copy => {
                shift(&site);
                site.copy_and_truncate(".1");
                former += 1;
            }
            Step::Compress => {
                if let Some(n) = (1..=former).rev().find(|n| site.former(&format!(".{n}")).exists()) {
                    site.compress(&format!(".{n}"));
                }
            }
        }
    }
    site.read();
    site
}

proptest! {
    #[test]
    fn whatever_rotation_does_every_line_is_read_once(steps in prop::collection::vec(prop_oneof![
        4 => (1u8..40).prop_map(Step::Write), 3 => Just(Step::Look), 1 => Just(Step::Kill), 1 => Just(Step::Rename),
        1 => Just(Step::Copy), 1 => Just(Step::Compress),
    ], 1..40)) {
        after(steps).assert_all_once();
    }
}

/// Compressing an empty file frees its inode, and the next copy gets it.
#[test]
fn a_copy_with_the_inode_of_an_empty_file_that_was_compressed_is_not_read_again() {
    use Step::{Compress, Copy, Kill, Look, Rename, Write};
    after(vec![Copy, Rename, Write(1), Compress, Look, Compress, Kill, Copy]).assert_all_once();
}

/// The same where the file system does not give an inode again at once.
#[test]
fn a_copy_that_the_state_knows_as_an_empty_file_is_not_read_again() {
    let mut site = Site::new();
    site.write(0);
    site.read();
    site.rename("", ".1");
    site.write(3);
    site.read();
    site.kill();
    site.rename(".1", ".2");
    site.copy_and_truncate(".1");
    site.forge_inode("positions", 0, ".1");
    site.write(2);
    site.read();
    site.assert_all_once();
}

/// The newest file has the inode of an empty one that was compressed; the one before it was never read.
#[test]
fn what_lies_before_a_new_file_with_the_inode_of_an_empty_one_is_read() {
    use Step::{Compress, Copy, Kill, Look, Rename, Write};
    after(vec![Copy, Look, Rename, Look, Kill, Compress, Rename, Compress, Write(1), Rename]).assert_all_once();
}

#[test]
fn a_log_that_was_empty_may_be_filled_rotated_and_compressed_between_two_looks() {
    use Step::{Compress, Copy, Look, Rename, Write};
    after(vec![Copy, Look, Write(1), Rename, Compress, Compress, Write(1)]).assert_all_once();
}

#[test]
fn a_new_file_with_the_inode_of_an_empty_one_that_was_let_go_is_read() {
    let mut site = Site::new();
    site.write(0);
    site.read();
    site.rename("", ".1");
    site.write(3);
    site.compress(".1");
    site.read();
    site.read();
    site.kill();
    site.rename(".1.gz", ".3.gz");
    site.rename("", ".2");
    site.write(2);
    site.rename("", ".1");
    site.write(2);
    site.forge_inode("done", 0, ".1");
    site.read();
    site.assert_all_once();
}

const COMBINED: &str = r#"%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i""#;

fn read<'l>(format: &str, text: &'l str) -> Option<line::Line<'l>> {
    line::read(&Format::parse(format, HEADER).unwrap(), text.as_bytes())
}

#[test]
fn the_usual_formats_are_told_apart() {
    let usual = Format::usual(HEADER);
    let line = r#"[24/Nov/2026:02:14:56 +0000] "GET /a.css HTTP/2.0" 200 17 "" "Moz \"x\" \\""#;
    for (before, after, provider) in [
        ("192.0.2.7 - -", "", ""),
        ("2001:db8::1 - frank smith", "", ""),
        ("www.example.com:443 192.0.2.7 - -", "", ""),
        ("www.example.com:80 2001:db8::7 - -", " \"fastly\"", "fastly"),
        ("192.0.2.7 - -", " \"fastly\"", "fastly"),
        ("192.0.2.7 - -", " \"-\"", "-"),
        ("192.0.2.7 - -", " akamai", "akamai"),
        ("192.0.2.7 - -", " \"akamai\" 1234", "akamai"),
        ("192.0.2.7 - -", " akamai 1234", "akamai"),
        ("192.0.2.7 - -", " 1234", ""),
    ] {
        let text = format!("{before} {line}{after}");
        let found = usual.iter().find_map(|format| line::read(format, text.as_bytes())).expect(&text);
        assert_eq!(String::from_utf8_lossy(found.provider), provider, "{text}");
        assert_eq!((found.status(), found.bytes()), (Some(200), Some(17)), "{text}");
        assert_eq!(found.asked().unwrap()[1], &b"/a.css"[..], "{text}");
        assert_eq!(found.seconds(), after.ends_with("1234").then_some(0.001234), "{text}");
        assert!(found.client == b"192.0.2.7" || found.client.starts_with(b"2001:db8"), "{text}");
    }
}

#[test]
fn both_notations_are_understood_as_they_stand_in_a_configuration() {
    let line = r#"192.0.2.7 - - [24/Nov/2026:02:14:56 +0000] "GET /a?b HTTP/1.1" 503 - "-" "-" "fastly" 0.250"#;
    for format in [
        r#"log_format cdn '$remote_addr - $remote_user [$time_local] "$request" '
           '$status $body_bytes_sent "$http_referer" '
           '"$http_user_agent" "$http_x_cdn_provider" $request_time';"#,
        r#"$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent" "$http_x_cdn_provider" ${request_time}"#,
        r#"LogFormat "%h %l %u %t \"%r\" %>s %b \"%{Referer}i\" \"%{User-Agent}i\" \"%{x-cdn-provider}i\" %{s}T" cdn"#,
    ] {
        let found = read(format, line).expect(format);
        assert_eq!((found.provider, found.status(), found.bytes()), (&b"fastly"[..], Some(503), Some(0)));
        assert_eq!(found.seconds(), Some(0.25));
    }
    let json = r#"log_format j escape=json '{"t":"$time_iso8601","cdn":"$http_x_cdn_provider","m":"$request_method","u":"$request_uri","s":$status,"b":$body_bytes_sent,"d":$request_time,"h":"$upstream_header_time"}';"#;
    let line = r#"{"t":"2026-11-24T02:14:56+00:00","cdn":"","m":"GET","u":"/\u0022x?source=a","s":200,"b":5,"d":0.001,"h":"0.100, 0.003"}"#;
    let found = read(json, line).unwrap();
    assert_eq!(found.asked().unwrap()[1], &b"/\"x"[..]);
    assert_eq!(found.asked().unwrap()[2], &b"source=a"[..]);
    assert_eq!(found.first_byte_seconds(), Some(0.003));
}

#[test]
fn a_format_that_cannot_be_counted_by_says_what_is_missing() {
    let wrong = |text| Format::parse(text, HEADER).unwrap_err();
    assert_eq!(wrong(r#"%h "%r" %>s"#), FormatError::NoTime);
    assert_eq!(wrong(r#"%t "%r""#), FormatError::NoStatus);
    assert_eq!(wrong("%t %>s"), FormatError::NoRequest);
    assert_eq!(wrong("nothing"), FormatError::NoFields("nothing".into()));
    assert!(Format::parse(r#"%t "%m %U%q" %s"#, HEADER).is_ok());
    assert_eq!(wrong(r#"%t "%r" %>s%b"#), FormatError::Touching("\"".into()));
    assert!(matches!(wrong("%t %{Referer"), FormatError::Unfinished(_)));
}

/// As Apache escapes what stands in quotes (`ap_escape_logitem`).
fn escaped(text: &[u8]) -> String {
    let one = |byte: &u8| match byte {
        b'"' => "\\\"".into(),
        b'\\' => "\\\\".into(),
        b'\n' => "\\n".into(),
        b'\t' => "\\t".into(),
        32..=126 => char::from(*byte).to_string(),
        byte => format!("\\x{byte:02x}"),
    };
    text.iter().map(one).collect()
}

proptest! {
    #[test]
    fn what_a_format_writes_is_read_back(
        path in prop::collection::vec(any::<u8>().prop_filter("a target has no space and no query", |b| !b" ?".contains(b)), 0..40),
        agent in prop::collection::vec(any::<u8>(), 0..40),
        provider in prop::collection::vec(any::<u8>(), 1..20),
        (status, bytes, took) in (100u16..600, any::<u32>(), any::<u32>()),
        client in any::<std::net::IpAddr>(),
        order in any::<bool>(),
    ) {
        let target = [b"/", &path[..]].concat();
        let (format, line) = if order {
            (format!("{COMBINED} \"%{{{HEADER}}}i\" %D"), format!(
                "{client} - - [24/Nov/2026:02:14:56 +0000] \"GET {} HTTP/1.1\" {status} {bytes} \"\" \"{}\" \"{}\" {took}",
                escaped(&target), escaped(&agent), escaped(&provider)
            ))
        } else {
            (format!("%D \"%{{{HEADER}}}i\" \"%{{User-Agent}}i\" \"%m\" \"%U\" %{{sec}}t %s;%B;%a"), format!(
                "{took} \"{}\" \"{}\" \"GET\" \"{}\" 1795486496 {status};{bytes};{client}",
                escaped(&provider), escaped(&agent), escaped(&target)
            ))
        };
        let found = read(&format, &line).expect("it matches");
        prop_assert_eq!(line::unescaped(found.provider).into_owned(), provider);
        prop_assert_eq!(found.asked().unwrap()[1].to_vec(), target);
        prop_assert_eq!((found.status(), found.bytes()), (Some(status), Some(u64::from(bytes))));
        prop_assert_eq!(String::from_utf8_lossy(found.client), client.to_string());
        prop_assert!((found.seconds().unwrap() * 1e6 - f64::from(took)).abs() < 1e-3 * f64::from(took).max(1.0));
    }

    #[test]
    fn no_line_makes_it_fail(line in prop::collection::vec(any::<u8>(), 0..200), cut in 0usize..140) {
        let policy = policy("");
        let mut tally = Tally::new(policy, Format::usual(HEADER), HashSet::new());
        tally.set_now(now());
        tally.count(&line);
        let good = br#"192.0.2.7 - - [24/Nov/2026:02:14:56 +0000] "GET /a HTTP/1.1" 200 17 "" "\x41\"" "fastly" 12"#;
        tally.count(&[&good[..cut.min(good.len())], &line].concat());
    }
}

fn policy(more: &str) -> Arc<headwater_config::Policy> {
    let text = format!(
        "[origin]\nservers = [\"a:1\"]\n[[cdn]]\nname = \"fastly\"\nkind = \"fastly\"\nnetworks = [\"198.51.100.0/24\"]\n{more}"
    );
    let (policy, mistakes) = headwater_config::from_text("t", &text);
    Arc::new(policy.unwrap_or_else(|| panic!("{}", mistakes[0])))
}

#[tokio::test]
async fn lines_count_in_their_own_minute_under_the_proxys_names() {
    let folder = tempfile::tempdir().unwrap();
    let policy = policy("");
    let store = crate::store::Store::open(&folder.path().join("h.db"), policy.control.keep).unwrap();
    let mut tally = Tally::new(policy.clone(), Format::usual(HEADER), HashSet::new());
    let now = now();
    tally.set_now(now);
    let minute = (now / 60 - 10) * 60;
    let time = |at: i64| {
        let text = httpdate_like(at + 2 * 3600);
        format!("[{text} +0200]")
    };
    let mut count = |at, rest: &str| tally.count(format!("192.0.2.7 - - {} {rest}", time(at)).as_bytes());
    for at in [minute, minute + 59] {
        assert_eq!(count(at, r#""GET /a%2Ecss HTTP/2.0" 200 100 "" "-" "FASTLY" 2500"#), Fate::Counted);
    }
    assert_eq!(count(minute + 60, r#""GET / HTTP/1.1" 502 - "-" "-" "nobody" 2500"#), Fate::Counted);
    let beacon =
        r#""GET /status/images/beacon.gif?beacon_source=fastly_503&server_identity=x HTTP/2.0" 200 43 "" "-" "-" 1"#;
    assert_eq!(count(minute, beacon), Fate::Counted);
    assert_eq!(count(minute, r#""-" 408 - "-" "-" "-" 1"#), Fate::Counted);
    assert_eq!(count(now + 100_000, r#""GET / HTTP/1.1" 200 - "-" "-" "-" 1"#), Fate::Senseless);
    assert_eq!(count(now - 50 * 86_400, r#""GET / HTTP/1.1" 200 - "-" "-" "-" 1"#), Fate::TooOld);
    assert_eq!(count(minute, r#""GET / HTTP/1.1" 2000 -"#), Fate::Unmatched);
    let mut batch = crate::store::Batch::default();
    tally.drain_into(&mut batch);
    store.write(batch).await.unwrap();
    let lines =
        store.read(move |reader| super::totals::graphite(reader, "web.hw", (minute, minute + 120))).await.unwrap();
    let end = minute + 60;
    for wanted in [
        format!("web.hw.pulls_total.fastly.2xx.static 2 {end}"),
        format!("web.hw.pull_bytes_total.fastly.static 200 {end}"),
        format!("web.hw.beacons_total.untagged.fastly_503 1 {end}"),
        format!("web.hw.beacon_countries_total.unknown 1 {end}"),
        format!("web.hw.pulls_total.other.5xx.default 1 {}", end + 60),
        format!("web.hw.pulls_total.fastly.2xx.static 2 {}", end + 60),
        format!("web.hw.pulls_total.untagged.4xx.default 1 {end}"),
        format!("web.hw.pull_duration_seconds.fastly.count 2 {end}"),
    ] {
        assert!(lines.lines().any(|line| line == wanted), "{wanted} is not in\n{lines}");
    }
    assert!(!lines.contains(&format!("other.5xx.default 1 {end}\n")), "{lines}");
    // Later minutes stand on earlier ones, wherever the stretch begins.
    let later =
        store.read(move |reader| super::totals::graphite(reader, "web.hw", (minute + 60, minute + 120))).await.unwrap();
    assert!(later.contains(&format!("web.hw.pulls_total.fastly.2xx.static 2 {}", end + 60)), "{later}");
    let text = store.read(super::totals::prometheus).await.unwrap();
    for wanted in [
        "headwater_pulls_total{cdn=\"fastly\",code=\"2xx\",rule=\"static\"} 2\n",
        "headwater_pull_bytes_total{cdn=\"fastly\",rule=\"static\"} 200\n",
        "headwater_beacons_total{cdn=\"untagged\",source=\"fastly_503\"} 1\n",
        "headwater_pull_duration_seconds_bucket{cdn=\"fastly\",le=\"0.005\"} 2\n",
        "headwater_pull_duration_seconds_bucket{cdn=\"fastly\",le=\"0.001\"} 0\n",
    ] {
        assert!(text.contains(wanted), "{wanted} is not in\n{text}");
    }
}

#[test]
fn strangers_sources_are_bounded_and_remembered() {
    let before: HashSet<String> = (0..60).map(|n| format!("known{n}")).collect();
    let mut tally = Tally::new(policy(""), Format::usual(HEADER), before);
    tally.set_now(now());
    let time = httpdate_like(now());
    for n in 0..500 {
        let line = format!(
            "192.0.2.7 - - [{time} +0000] \"GET /status/images/beacon.gif?source=s{n} HTTP/1.1\" 200 1 \"-\" \"-\""
        );
        assert_eq!(tally.count(line.as_bytes()), Fate::Counted);
    }
    let mut batch = crate::store::Batch::default();
    tally.drain_into(&mut batch);
    let text = format!("{batch:?}");
    assert!(text.contains("\"s3\"") && text.contains("\"other\"") && !text.contains("\"s4\""), "{text}");
}

/// `24/Nov/2026:02:14:56` of a time.
fn httpdate_like(at: i64) -> String {
    let date = std::process::Command::new("date")
        .args(["-u", "-d", &format!("@{at}"), "+%d/%b/%Y:%H:%M:%S"])
        .env("LC_ALL", "C")
        .output()
        .expect("date is there");
    String::from_utf8(date.stdout).unwrap().trim().to_string()
}
