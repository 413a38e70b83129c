//! The alert rules that we hand out: Prometheus reads them, and they ring when they should and for whom.

use headwater_testkit::needs;
use std::path::Path;
use std::process::Command;

fn promtool(arguments: &[&str]) {
    needs("/usr/bin/promtool", "prometheus");
    let output = Command::new("/usr/bin/promtool")
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .args(arguments)
        .output()
        .unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "promtool {arguments:?}:\n{}{}", said(&output.stdout), said(&output.stderr));
}

#[test]
fn prometheus_takes_the_rules() {
    promtool(&["check", "rules", "docs/alerts.yml"]);
}

#[test]
fn each_rule_rings_for_the_one_who_fails() {
    promtool(&["test", "rules", "tests/data/alerts_test.yml"]);
    let rules = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/alerts.yml")).unwrap();
    let tests =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/alerts_test.yml")).unwrap();
    for name in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(tests.contains(&format!("alertname: {name}\n")), "{name} has no test in tests/data/alerts_test.yml");
    }
}
