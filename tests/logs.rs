//! The access log: its lines to the letter, and pulls that never wait for it.

use headwater_testkit::{Headwater, Origin, Then, exchange, get, needs, request};
use std::process::Command;
use std::time::Instant;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn matches(expression: &str, line: &str) -> bool {
    let script = "import re, sys\nsys.exit(0 if re.fullmatch(sys.argv[1], sys.argv[2]) else 1)";
    Command::new("python3").args(["-c", script, expression, line]).status().expect("python3 is there").success()
}

#[test]
fn a_combined_line_is_what_it_is_documented_to_be() {
    let origin = Origin::answering(OK);
    let proxy = Headwater::start(&origin.config());
    get(proxy.http, "/a?b", &[("User-Agent", "Moz \"x\" \\"), ("Referer", "http://a/")]);
    let line = proxy.wait_for_log(|line| line.contains("/a?b"));
    let expected = r#"shop\.example:\d+ 127\.0\.0\.1 - - \[\d\d/[A-Z][a-z]{2}/20\d\d:\d\d:\d\d:\d\d \+0000\] "GET /a\?b HTTP/1\.1" 200 2 "http://a/" "Moz \\"x\\" \\\\" cdn=untagged rule=default id=[0-9a-f]{32} total=0\.\d{6} first_byte=0\.\d{6} upstream=127\.0\.0\.1:\d+ end=complete reason=-"#;
    assert!(matches(expected, &line), "{line}");
}

#[test]
fn a_json_line_has_every_field() {
    let origin = Origin::answering(OK);
    let proxy = Headwater::start(&format!("{}[log]\nformat = \"json\"\n", origin.config()));
    exchange(proxy.http, request("GET", "/\"\\x?y=%00", &[("User-Agent", "ü\u{1f600}")]));
    let line = proxy.wait_for_log(|line| line.contains("shop.example"));
    let json: serde_json::Value = serde_json::from_str(&line).unwrap();
    for (key, value) in [
        ("host", "shop.example"),
        ("client", "127.0.0.1"),
        ("country", "unknown"),
        ("method", "GET"),
        ("target", "/\"\\x?y=%00"),
        ("protocol", "HTTP/1.1"),
        ("referer", ""),
        ("user_agent", "ü\u{1f600}"),
        ("cdn", "untagged"),
        ("rule", "default"),
        ("end", "complete"),
        ("reason", "-"),
    ] {
        assert_eq!(json[key], value, "{line}");
    }
    assert_eq!((&json["status"], &json["bytes"]), (&200.into(), &2.into()));
    assert!(json["total"].as_f64().is_some() && json["first_byte"].as_f64().is_some());
    assert!(matches(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", json["time"].as_str().unwrap()), "{line}");
}

#[test]
fn what_strangers_send_cannot_break_a_line() {
    let origin = Origin::answering(OK);
    let proxy = Headwater::start(&origin.config());
    exchange(proxy.http, b"GET /\xc3\xbc HTTP/1.1\r\nHost: a\r\nUser-Agent: \xff\"\t\\\r\n\r\n");
    let line = proxy.wait_for_log(|line| line.contains("GET /"));
    assert!(line.contains(r#""GET /\xc3\xbc HTTP/1.1""#) && line.contains(r#""\xff\"\x09\\""#), "{line}");
    exchange(proxy.http, b"G\0T /\" HTTP/1.1\r\nHost: a\r\n\r\n");
    let refused = proxy.wait_for_log(|line| line.contains(" 400 "));
    assert!(refused.contains(r#""G\x00T /\" HTTP/1.1" 400"#) && refused.contains("reason=malformed"), "{refused}");
    get(proxy.http, "/long", &[("User-Agent", &"x".repeat(20_000))]);
    assert!(proxy.wait_for_log(|line| line.contains("/long")).len() < 4096);
}

#[test]
fn a_line_tells_why_there_is_no_answer_of_the_apps() {
    let origin = Origin::with(|_, _| headwater_testkit::Then::Close);
    let proxy = Headwater::before_with(&origin, "[limits]\nheader_timeout = \"400ms\"\n");
    get(proxy.http, "/gone", &[]);
    let line = proxy.wait_for_log(|line| line.contains("/gone"));
    assert!(line.contains(" 502 ") && line.ends_with("end=complete reason=closed_before_head"), "{line}");
    proxy.wait_for_stderr("the origin failed a pull");
    exchange(proxy.http, b"GET /slow HTTP/1.1\r\nHost: a\r\nX:");
    let slow = proxy.wait_for_log(|line| line.contains("\"GET /slow HTTP/1.1\" 408 "));
    assert!(slow.contains("reason=head_too_slow") && slow.contains("total=0.4"), "{slow}");
}

#[test]
fn goaccess_reads_it() {
    needs("/usr/bin/goaccess", "goaccess");
    let origin = Origin::answering(OK);
    let folder = std::env::temp_dir().join(format!("headwater-goaccess-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let log = folder.join("access.log");
    let proxy = Headwater::start(&format!("{}[log]\naccess = \"{}\"\n", origin.config(), log.display()));
    for n in 0..10 {
        get(
            proxy.http,
            &format!("/{n}"),
            &[("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) Firefox/130.0"), ("Referer", "http://a/")],
        );
    }
    // Longer than the 4,096 bytes that it reads a line into.
    let long = "y".repeat(6000);
    get(proxy.http, &format!("/{long}"), &[("User-Agent", &long), ("Referer", &format!("http://a/{long}"))]);
    headwater_testkit::wait_until("eleven lines are written", || {
        std::fs::read_to_string(&log).is_ok_and(|all| all.lines().count() == 11)
    });
    let report = folder.join("report.json");
    let output = Command::new("goaccess")
        .args(["--log-format=VCOMBINED", "--no-global-config", "-f"])
        .arg(&log)
        .arg("-o")
        .arg(&report)
        .output()
        .unwrap();
    let json: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&report).unwrap_or_else(|_| panic!("{output:?}"))).unwrap();
    assert_eq!(
        (&json["general"]["valid_requests"], &json["general"]["failed_requests"]),
        (&11.into(), &0.into()),
        "{}",
        json["general"]
    );
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_log_that_nobody_takes_delays_no_pull_and_what_is_lost_is_counted() {
    let origin = Origin::answering(OK);
    let fifo = std::env::temp_dir().join(format!("headwater-fifo-{}", std::process::id()));
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let mut proxy = Headwater::start(&format!("{}[log]\naccess = \"{}\"\n", origin.config(), fifo.display()));
    let mut client = headwater_testkit::Client::connect(proxy.http);
    let (target, agent) = ("x".repeat(2000), "x".repeat(500));
    let started = Instant::now();
    for n in 0..1500 {
        client.send(request("GET", &format!("/{n}/{target}"), &[("User-Agent", &agent), ("Referer", &agent)]));
        assert_eq!(client.read_response().status, 200);
    }
    assert!(started.elapsed().as_secs() < 8, "{:?}", started.elapsed());
    headwater_testkit::wait_until("drops are counted", || {
        proxy.metrics().value("headwater_log_lines_dropped_total", &[]) > 100.0
    });
    assert_eq!(proxy.stop(), Some(0), "nor does it keep the process from ending");
    std::fs::remove_file(fifo).unwrap();
}

/// An origin that answers by path, and the number of lines about each.
fn sampled(rules: &str, format: &str) -> (Origin, Headwater) {
    let origin = Origin::with(|asked, stream| {
        let answer = match asked.target.as_str() {
            "/missing" => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
            "/error" => "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n",
            "/cut" => "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
            _ => OK,
        };
        let _ = stream.write_all(answer.as_bytes());
        if asked.target == "/cut" { Then::Close } else { Then::Keep }
    });
    let config = format!("{}{rules}", origin.config());
    let proxy = Headwater::start(&format!("{config}\n[log]\nsample = 0\nformat = \"{format}\"\n"));
    (origin, proxy)
}

#[test]
fn what_went_wrong_has_a_line_whatever_is_sampled() {
    let (_origin, proxy) = sampled("", "combined");
    for _ in 0..20 {
        get(proxy.http, "/fine", &[]);
        get(proxy.http, "/missing", &[]);
    }
    for target in ["/error", "/cut", "/status/images/beacon.gif?source=x"] {
        get(proxy.http, target, &[]);
    }
    exchange(proxy.http, request("GET", "/expects", &[("Expect", "wonders")]));
    exchange(proxy.http, b"G\0T /unreadable HTTP/1.1\r\n\r\n");
    for (target, sign) in [
        ("/error ", " 500 "),
        ("/cut ", "end=upstream"),
        ("/beacon.gif", "source=x"),
        ("/expects ", "reason=expectation"),
        ("/unreadable", "reason=malformed"),
    ] {
        let line = proxy.wait_for_log(|line| line.contains(target));
        assert!(line.contains(sign) && !line.contains("sample="), "it stands for itself alone: {line}");
    }
    proxy.wait_metric("headwater_log_lines_sampled_out_total", &[], 40.0);
    assert_eq!(proxy.stdout().lines().count(), 5, "{}", proxy.stdout());
    assert_eq!(proxy.metrics().value("headwater_pulls_total", &[]), 45.0, "every pull is counted");
}

#[test]
fn a_line_that_stands_for_others_says_for_how_many() {
    let rules = "[[rule]]\nname = \"half\"\npath = '^/half'\nlog_sample = 0.5\n[[rule]]\nname = \"all\"\npath = '^/all'\nlog_sample = 1\n";
    let (_origin, proxy) = sampled(rules, "json");
    let mut client = headwater_testkit::Client::connect(proxy.http);
    for n in 0..400 {
        client.send(request("GET", &format!("/half/{n}"), &[]));
        assert_eq!(client.read_response().status, 200);
    }
    get(proxy.http, "/all", &[]);
    let last: serde_json::Value = serde_json::from_str(&proxy.wait_for_log(|line| line.contains("\"/all\""))).unwrap();
    assert!(last.get("sample").is_none(), "{last}");
    let left_out = || proxy.metrics().value("headwater_log_lines_sampled_out_total", &[]) as usize;
    let lines =
        || proxy.stdout().lines().filter(|line| line.contains("\"/half/")).map(str::to_string).collect::<Vec<_>>();
    headwater_testkit::wait_until("every pull has a line or is left out", || lines().len() + left_out() == 400);
    // Twelve standard deviations of a fair coin.
    assert!((80..=320).contains(&lines().len()), "{}", lines().len());
    let weighed: f64 = lines()
        .iter()
        .map(|line| 1.0 / serde_json::from_str::<serde_json::Value>(line).unwrap()["sample"].as_f64().unwrap())
        .sum();
    assert_eq!(weighed, 2.0 * lines().len() as f64);
    let alternates = lines().windows(2).all(|pair| {
        let number =
            |line: &str| line.split("/half/").nth(1).unwrap().split('"').next().unwrap().parse::<u32>().unwrap();
        number(&pair[1]) - number(&pair[0]) == 2
    });
    assert!(!alternates, "chosen by chance, not by turn");
}

#[test]
fn a_combined_line_tells_its_share_at_its_end() {
    let (_origin, proxy) = sampled("[[rule]]\nname = \"most\"\npath = '^/'\nlog_sample = 0.999999999\n", "combined");
    get(proxy.http, "/fine", &[]);
    let line = proxy.wait_for_log(|line| line.contains("/fine"));
    assert!(line.ends_with("end=complete reason=- sample=0.999999999"), "{line}");
}
