//! The demo: measured figures that add up.

use headwater_testkit::{binary, get, run};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[test]
fn its_figures_add_up() {
    let output = run(&[
        "demo",
        "--for",
        "5s",
        "--json",
        "--http",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
        "--control",
        "127.0.0.1:0",
    ]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let cdns = json["table"]["cdns"].as_array().unwrap();
    assert_eq!(cdns.len(), 3);
    for cdn in cdns {
        let number = |key: &str| cdn[key].as_f64().unwrap_or_else(|| panic!("{key} in {cdn}"));
        assert!(number("edge_requests") > 50.0, "{cdn}");
        assert_eq!(number("edge_requests") - number("edge_hits"), number("pulls"), "{cdn}");
        assert!((number("offload") - (1.0 - number("pulls") / number("edge_requests"))).abs() < 1e-6, "{cdn}");
        assert_eq!(number("errors_5xx"), number("whoopsies"), "{cdn}");
        assert_eq!(number("whoopsies"), number("beacons"), "{cdn}");
        assert!(number("p50_seconds") <= number("p99_seconds"), "{cdn}");
    }
}

#[test]
fn ctrl_c_ends_it_cleanly() {
    let mut child = Command::new(binary())
        .args(["demo", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--control", "127.0.0.1:0"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_secs(2));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let mut code = None;
    headwater_testkit::wait_until("the demo ends", || {
        code = child.try_wait().unwrap();
        code.is_some()
    });
    assert_eq!(code.unwrap().code(), Some(0));
}

#[test]
fn each_cdn_tells_its_edge_by_its_vendors_api() {
    let args = ["demo", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--control", "127.0.0.1:0"];
    let mut child = Command::new(binary()).args(args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    let control = line.split_whitespace().find_map(|word| word.strip_prefix("control=")).unwrap().parse().unwrap();
    // The first minute has to end, and to be asked for.
    let mut missing = vec!["fastly", "cloudflare", "cloudfront"];
    let end = Instant::now() + Duration::from_secs(180);
    while !missing.is_empty() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(500));
        let metrics = get(control, "/metrics", &[]).text();
        missing.retain(|cdn| !metrics.contains(&format!("headwater_edge_requests_total{{cdn=\"{cdn}\"}}")));
    }
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(child.wait().unwrap().success());
    assert!(missing.is_empty(), "nothing came of {missing:?}");
}
