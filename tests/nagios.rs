//! The plugin for Nagios that we hand out, run against the binary: it says OK only where it knows.

use headwater_testkit::{Headwater, get, needs};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

fn plugin() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/check_headwater_beacons")
}

/// Runs it as Nagios would; its exit code and its line.
fn check(arguments: &[&str]) -> (i32, String) {
    needs("/usr/bin/curl", "curl");
    let output = Command::new(plugin()).args(arguments).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let code = output.status.code().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
    let word = ["OK: ", "WARNING: ", "CRITICAL: ", "UNKNOWN: "][usize::try_from(code).unwrap()];
    assert!(said.starts_with(word) && said.lines().count() == 1, "{arguments:?}: {code} {said}");
    (code, said)
}

/// A state of a minute ago.
fn a_minute_ago(state: &Path, beacons: u64) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    std::fs::write(state, format!("{} {beacons}\n", now - 60)).unwrap();
}

#[test]
fn nagios_is_told_of_beacons_a_minute() {
    let proxy = Headwater::start("[origin]\nservers = [\"127.0.0.1:1\"]\n");
    let url = format!("http://{}/metrics", proxy.admin);
    let folder = proxy.folder().join("state");
    let folder = folder.to_str().unwrap();
    let look = |warn: &str, crit: &str| check(&["-w", warn, "-c", crit, "-u", &url, "-s", folder]);
    assert_eq!(look("5", "50").0, 3, "the first look");
    let state = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    a_minute_ago(&state, 0);
    assert_eq!(look("5", "50").0, 0, "no beacon");
    for _ in 0..6 {
        get(proxy.http, "/status/images/beacon.gif?source=fastly_503", &[]);
    }
    for (before, warn, crit, code) in
        [(0, "5", "50", 1), (0, "2", "5", 2), (0, "7", "50", 0), (6, "1", "2", 0), (1_000, "5", "50", 1)]
    {
        a_minute_ago(&state, before);
        let (found, said) = look(warn, crit);
        assert_eq!(found, code, "{before} before, {warn} {crit}: {said}");
        assert!(said.contains("| beacons_per_minute="), "{said}");
    }
    for garbage in ["garbage\n", "", "1 2 3\n", "010 08\n", "-5 5\n", "99999999999 1\n"] {
        std::fs::write(&state, garbage).unwrap();
        assert_eq!(look("5", "50").0, 3, "{garbage}");
        assert_eq!(look("5", "50").0, 0, "the look after {garbage} can tell");
    }
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 1, "nothing is left behind");
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(look("5", "50").0, 3, "anybody may have written the state");
}

#[test]
fn nagios_hears_unknown_where_nothing_is_known() {
    let proxy = Headwater::start("[origin]\nservers = [\"127.0.0.1:1\"]\n");
    let folder = proxy.folder().join("state");
    let folder = folder.to_str().unwrap();
    let url = format!("http://{}/metrics", proxy.admin);
    for wrong in [
        &[][..],
        &["-w", "1"],
        &["-c", "1"],
        &["-w", "", "-c", "5"],
        &["-w", "x", "-c", "5"],
        &["-w", "-1", "-c", "5"],
        &["-w", "08", "-c", "9"],
        &["-w", "9", "-c", "5"],
        &["-w", "1", "-c"],
        &["-w", "1", "-c", "5", "more"],
        &["-w", "1", "-c", "5", "-q"],
    ] {
        let arguments = [wrong, &["-u", &url, "-s", folder][..]].concat();
        // What follows a word that is no option is not read: the place and the URL stand last, and are not needed to refuse.
        assert_eq!(check(&arguments).0, 3, "{wrong:?}");
        assert_eq!(check(wrong).0, 3, "{wrong:?}");
    }
    let elsewhere = format!("http://{}/livez", proxy.admin);
    for url in ["http://127.0.0.1:1/metrics", &elsewhere, "nonsense://"] {
        for _ in 0..2 {
            assert_eq!(check(&["-w", "1", "-c", "5", "-u", url, "-s", folder]).0, 3, "{url}");
        }
    }
}

#[test]
fn the_plugin_is_clean_shell() {
    needs("/usr/bin/shellcheck", "shellcheck");
    let output = Command::new("/usr/bin/shellcheck").arg(plugin()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
