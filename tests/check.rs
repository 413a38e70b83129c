//! The command line: what it says of a configuration, and how it exits.

use headwater_testkit::{Authority, Headwater, Origin, get, request, run, wait_until};
use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

fn file(name: &str, text: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("headwater-check-{name}-{}.toml", std::process::id()));
    std::fs::write(&path, text).unwrap();
    path
}

fn check(name: &str, text: &str) -> (Option<i32>, String, String) {
    let path = file(name, text);
    let output = run(&["check", path.to_str().unwrap()]);
    std::fs::remove_file(path).unwrap();
    said(&output)
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn man_pages_and_completions_know_every_verb() {
    let folder = std::env::temp_dir().join(format!("headwater-man-{}", std::process::id()));
    assert_eq!(said(&run(&["man", "--out", folder.to_str().unwrap()])).0, Some(0));
    for verb in ["serve", "check", "demo", "whoopsie", "whoopsie-export", "networks", "networks-import"] {
        let page = std::fs::read_to_string(folder.join(format!("headwater-{verb}.1"))).unwrap();
        assert!(page.contains(".TH") && page.contains("SYNOPSIS"), "{verb}");
    }
    assert!(std::fs::read_to_string(folder.join("headwater.1")).unwrap().contains("headwater\\-serve(1)"));
    std::fs::remove_dir_all(folder).unwrap();
    let (code, script, _) = said(&run(&["completions", "bash"]));
    assert!(code == Some(0) && script.contains("--drain") && script.contains("whoopsie"));
    let status = std::process::Command::new("bash").args(["-n", "-c", &script]).status().unwrap();
    assert!(status.success(), "bash can read it");
    assert_eq!(said(&run(&["completions", "tcsh"])).0, Some(2));
}

#[test]
fn the_shipped_files_are_good() {
    for name in ["config/minimal.toml", "config/headwater.toml"] {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/").to_string() + name;
        let (code, out, err) = said(&run(&["check", &path]));
        assert_eq!((code, err.as_str()), (Some(0), ""), "{name}");
        assert!(out.trim_end().ends_with(": good"), "{out}");
    }
}

#[test]
fn every_mistake_is_shown_with_its_line_and_its_remedy() {
    let text = "[origin]\nservers = [\"nowhere\"]\n[limits]\nmax_haed = \"1 KiB\"\nidle_timeout = 5\n[[rule]]\nname = \"x\"\npath = '('\n";
    let (code, out, err) = check("all", text);
    assert_eq!(code, Some(1));
    for expected in [
        ".toml:2:12\n",
        "\"nowhere\" is no server",
        ".toml:4:1\n",
        "did you mean `max_head`?",
        ".toml:5:16\n",
        "wants a string",
        ".toml:8:8\n",
        "no regular expression",
        "4 | max_haed = \"1 KiB\"\n  | ^^^^^^^^\n",
    ] {
        assert!(err.contains(expected), "{expected:?} is not in\n{err}");
    }
    assert!(out.contains("4 mistakes"), "{out}");
}

#[test]
fn a_rule_that_no_path_reaches_is_warned_of() {
    let text = "[origin]\nservers = [\"a:1\"]\n[[rule]]\nname = \"all\"\npath = '^/'\n[[rule]]\nname = \"css\"\npath = '\\.css$'\n";
    let (code, out, err) = check("shadow", text);
    assert_eq!(code, Some(0));
    assert!(err.contains("warning: no path can reach this rule") && err.contains(":8:8"), "{err}");
    assert!(out.contains("usable, with 1 warning"), "{out}");
}

#[test]
fn a_log_that_cannot_be_written_is_warned_of_and_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let allow = |path: &Path, mode| std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    allow(folder.path(), 0o755);
    // Root may write everything, so that nobody is asked in its place.
    let nobody = (std::fs::metadata(folder.path()).unwrap().uid() == 0).then_some(65_534);
    let binary = folder.path().join("headwater");
    std::fs::copy(headwater_testkit::binary(), &binary).unwrap();
    let log = folder.path().join("access.log");
    std::fs::write(&log, "a line\n").unwrap();
    allow(&log, 0o444);
    let sealed = folder.path().join("sealed");
    std::fs::create_dir(&sealed).unwrap();
    allow(&sealed, 0o555);
    let config = folder.path().join("headwater.toml");
    for (path, expected) in
        [(log.clone(), "cannot be opened for appending"), (sealed.join("access.log"), "cannot be made")]
    {
        let text = format!("[origin]\nservers = [\"a:1\"]\n[log]\naccess = \"{}\"\n", path.display());
        std::fs::write(&config, text).unwrap();
        allow(&config, 0o644);
        let mut check = Command::new(&binary);
        check.arg("check").arg(&config);
        if let Some(nobody) = nobody {
            check.uid(nobody).gid(nobody);
        }
        let mut output = None;
        // A copy that was just written is busy while a child that another test starts holds its descriptor.
        wait_until("the copy is not busy", || {
            output = check.output().ok();
            output.is_some()
        });
        let (code, out, err) = said(&output.unwrap());
        assert_eq!(code, Some(0), "{err}");
        assert!(err.contains(expected) && err.contains(":4:10"), "{err}");
        assert!(out.contains("usable, with 1 warning"), "{out}");
    }
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "a line\n");
    assert!(!sealed.join("access.log").exists());
}

#[test]
fn a_variable_that_sets_nothing_is_warned_of() {
    let path = file("stray", "[origin]\nservers = [\"a:1\"]\n");
    let check = |name: &str| {
        let mut check = Command::new(headwater_testkit::binary());
        said(&check.arg("check").arg(&path).env_remove("HEADWATER_BIN").env(name, "1").output().unwrap())
    };
    let (code, _, err) = check("HEADWATER_NONSENSE");
    assert!(code == Some(0) && err.contains("warning: the variable HEADWATER_NONSENSE sets nothing"), "{err}");
    assert_eq!(check("HEADWATER_BIN").2, "");
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_certificate_that_is_not_valid_now_or_a_key_that_everybody_reads_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("Tests");
    for (first, last, mode, expected) in [
        ((2020, 1, 2), (2020, 3, 4), 0o600, &["for CN=pull.example.com expired on 2020-03-04"][..]),
        ((2120, 1, 2), (2120, 3, 4), 0o600, &["for CN=pull.example.com is not valid before 2120-01-02"]),
        ((2020, 1, 2), (2120, 3, 4), 0o644, &["everybody on this machine can read"]),
        ((2020, 1, 2), (2020, 3, 4), 0o604, &["expired on 2020-03-04", "everybody on this machine can read"]),
        ((2020, 1, 2), (2120, 3, 4), 0o640, &[]),
    ] {
        let pair = authority.issue_between(folder.path(), "pull", "pull.example.com", first, last);
        std::fs::set_permissions(&pair.key, Permissions::from_mode(mode)).unwrap();
        let (code, out, err) = check(
            "certificate",
            &format!(
                "[listen]\nhttps = [\"127.0.0.1:8443\"]\n[tls]\ncertificate = \"{}\"\nkey = \"{}\"\n[origin]\nservers = [\"a:1\"]\n",
                pair.certificate.display(),
                pair.key.display()
            ),
        );
        assert_eq!(code, Some(0), "{err}");
        assert_eq!(err.matches("warning:").count(), expected.len(), "{err}");
        assert!(expected.iter().all(|expected| err.contains(expected)), "{expected:?} {err}{out}");
    }
}

#[test]
fn several_files_are_checked_at_once_and_scripts_get_json() {
    let (good, bad) = (file("good", "[origin]\nservers = [\"a:1\"]\n"), file("bad", "[origin]\nservers = []\n"));
    let (code, out, _) = said(&run(&["check", good.to_str().unwrap(), bad.to_str().unwrap()]));
    assert_eq!(code, Some(1));
    assert!(out.contains("good.") || out.contains(": good"), "{out}");
    let (code, out, _) = said(&run(&["check", "--json", bad.to_str().unwrap()]));
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &json["usable"], &json["mistakes"][0]["place"]["line"]), (Some(1), &false.into(), &2.into()));
    for path in [good, bad] {
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn called_wrongly_it_exits_with_2() {
    for arguments in
        [&["check"][..], &["serve"], &["nonsense"], &["check", "--set", "novalue", "x.toml"], &["demo", "--for", "5"]]
    {
        assert_eq!(run(arguments).status.code(), Some(2), "{arguments:?}");
    }
    let (code, _, err) = said(&run(&["check", "/no/such/file.toml"]));
    assert!(code == Some(1) && err.contains("cannot read /no/such/file.toml"), "{err}");
    for verb in ["serve", "check", "demo", "networks", "whoopsie"] {
        let (code, out, _) = said(&run(&[verb, "--help"]));
        assert_eq!(code, Some(0));
        assert!(verb == "networks" || verb == "whoopsie" || out.contains("Example"), "{out}");
    }
}

#[test]
fn the_command_line_stands_above_the_environment_and_that_above_the_file() {
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let config = format!("{}[identify]\nuntagged = \"serve\"\n", origin.config());
    let deny = [("HEADWATER_IDENTIFY__UNTAGGED", "deny")];
    let proxy = Headwater::start_with(&config, &[], &deny);
    assert_eq!(get(proxy.http, "/", &[]).status, 403);
    let proxy = Headwater::start_with(&config, &["--set", "identify.untagged=serve"], &deny);
    assert_eq!(get(proxy.http, "/", &[]).status, 200);
}

#[test]
fn what_cannot_start_says_why() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let config = file(
        "taken",
        &format!("[listen]\nhttp = [\"{address}\"]\nadmin = \"127.0.0.1:0\"\n[origin]\nservers = [\"a:1\"]\n"),
    );
    let (code, _, err) = said(&run(&["serve", "-c", config.to_str().unwrap()]));
    assert!(code == Some(1) && err.contains(&format!("cannot listen on {address}")), "{err}");
    std::fs::remove_file(config).unwrap();
}

#[test]
fn lists_of_networks_are_shown_and_imported() {
    let (code, out, _) = said(&run(&["networks", "show", "fastly"]));
    assert!(code == Some(0) && out.contains("151.101.0.0/16") && out.contains("# as of: 20"), "{out}");
    assert_eq!(run(&["networks", "show", "nobody"]).status.code(), Some(1));
}

/// Runs a verb whose standard output, or standard error too, nobody reads any more.
fn run_unread(arguments: &[&str], errors_too: bool) -> (Option<i32>, String) {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(headwater_testkit::binary());
    command.args(arguments).stdin(Stdio::null());
    if errors_too {
        command.stderr(writer.try_clone().unwrap());
    } else {
        command.stderr(Stdio::piped());
    }
    let (code, _, err) = said(&command.stdout(writer).spawn().unwrap().wait_with_output().unwrap());
    (code, err)
}

#[test]
fn a_reader_who_leaves_early_changes_nothing() {
    let good = file(
        "unread-good",
        "[origin]\nservers = [\"a:1\"]\n[[cdn]]\nname = \"f\"\nkind = \"fastly\"\nnetworks = [\"fastly\"]\n[beacon]\nurl = \"https://b.example/b.gif\"\n",
    );
    let bad = file("unread-bad", "[origin]\nservers = []\n");
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().to_str().unwrap();
    let (good_path, bad_path) = (good.to_str().unwrap(), bad.to_str().unwrap());
    for errors_too in [false, true] {
        for (arguments, code) in [
            (&["check", good_path][..], 0),
            (&["check", bad_path], 1),
            (&["check", "--json", good_path], 0),
            (&["check", "--json", bad_path], 1),
            (&["check", "--set", "novalue", good_path], 2),
            (&["serve", "-c", bad_path], 1),
            (&["networks", "show", "bunny"], 0),
            (&["networks", "show", "nobody"], 1),
            (&["completions", "bash"], 0),
            (&["whoopsie", "export", "-c", good_path, "--cdn", "f", "--out", pages], 0),
            (&["demo", "--for", "1s", "--json"], 0),
            (&["--help"], 0),
            (&["--version"], 0),
        ] {
            let (found, err) = run_unread(arguments, errors_too);
            assert_eq!(found, Some(code), "{arguments:?} {err}");
            assert!(!err.contains("panicked") && !err.contains("Broken pipe"), "{arguments:?} {err}");
        }
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 11, "the pages are written, heard of or not");
    std::fs::remove_file(good).unwrap();
    std::fs::remove_file(bad).unwrap();
}

/// A process that ends with its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_proxy_serves_on_when_nobody_reads_what_it_says() {
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let (reader, writer) = std::io::pipe().unwrap();
    let config =
        file("deaf", &format!("[listen]\nhttp = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\n{}", origin.config()));
    let child = Command::new(headwater_testkit::binary())
        .args(["serve", "-c", config.to_str().unwrap()])
        .stdin(Stdio::null())
        .stdout(writer.try_clone().unwrap())
        .stderr(writer)
        .spawn()
        .unwrap();
    let mut proxy = Running(child);
    let mut lines = BufReader::new(reader).lines();
    let ready = lines.by_ref().map(Result::unwrap).find(|line| line.contains("headwater: ready")).unwrap();
    let address = |key: &str| -> SocketAddr {
        ready.split_whitespace().find_map(|word| word.strip_prefix(key)).unwrap().parse().unwrap()
    };
    let (http, admin) = (address("http="), address("admin="));
    drop(lines);
    for _ in 0..3 {
        assert_eq!(headwater_testkit::exchange(admin, request("POST", "/reload", &[])).status, 200);
        assert_eq!(get(http, "/", &[]).text(), "ok");
    }
    wait_until("the lines that nobody reads are counted", || {
        get(admin, "/metrics", &[]).text().lines().any(|line| line == "headwater_log_lines_dropped_total 3")
    });
    let sent = Command::new("kill").args(["-TERM", &proxy.0.id().to_string()]).status().unwrap();
    assert!(sent.success());
    assert_eq!(proxy.0.wait().unwrap().code(), Some(0));
    std::fs::remove_file(config).unwrap();
}
