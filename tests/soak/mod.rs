//! A run with everything that goes wrong at once: origin faults, reloads every second, successors, a log disk that is full or
//! stalls, sinks that come and go, and all the while pulls at a steady rate. Twenty seconds of it, or as long as
//! `SOAK` says; `make soak` takes ten minutes.

mod clients;
mod origin;
mod report;
mod trouble;

use clients::{Crowd, Tally};
use headwater_testkit::{Headwater, is_alive, wait_until};
use report::Report;
use std::fs::{read_dir, read_to_string};
use std::time::{Duration, Instant};
use trouble::{Trouble, config};

/// Between two successors.
const ROUND: Duration = Duration::from_secs(60);
/// What memory may grow by from the end of the first round to the end of the last: figures that wait for Graphite, mostly.
const GROWTH_KIB: u64 = 16 << 10;
/// Descriptors that may stand open more than at rest: those to Graphite and StatsD.
const SINKS: usize = 2;

fn length() -> Duration {
    let Ok(text) = std::env::var("SOAK") else { return Duration::from_secs(20) };
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 = number.parse().expect("SOAK is a number of s or m");
    Duration::from_secs(match unit {
        "s" => number,
        "m" => number * 60,
        _ => panic!("SOAK={text}: write for example 90s or 10m"),
    })
}

fn descriptors(pid: u32) -> usize {
    read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

#[test]
fn nothing_is_lost_while_everything_goes_wrong() {
    let length = length();
    let end = Instant::now() + length;
    let origin = origin::start();
    let trouble = Trouble::new();
    let mut headwater = Headwater::start_with(&config(origin.address, &trouble, 0), &["--drain", "10s"], &[]);
    let at_rest = descriptors(headwater.pid());
    let mut report = Report::new(length);
    while Instant::now() < end {
        // Two thirds of a round with every trouble but a successor: what the clients saw is what the process counted.
        let rest = end.saturating_duration_since(Instant::now()).min(ROUND);
        let before = headwater.metrics();
        let saw = with_pulls(&headwater, rest * 2 / 3, |until| {
            report.reloads += trouble.make(&headwater, origin.address, until);
        });
        trouble.rest(&headwater, origin.address);
        wait_until("nothing is in hand", || headwater.metrics().value("headwater_pulls_in_flight", &[]) == 0.0);
        report.compare(&saw, &before, &headwater.metrics());
        report.weigh(headwater.memory_kib("VmRSS"));
        wait_until("connections to the origin that rest are closed", || {
            descriptors(headwater.pid()) <= at_rest + SINKS
        });

        // The last third with a successor and a log that is well: it has a line for each pull, whoever served it.
        let log = trouble.log();
        let lines_before = read_to_string(&log).unwrap_or_default().len();
        let begun = Instant::now();
        let mut old = 0;
        let address = headwater.http;
        let saw = pulls(address, |crowd| {
            std::thread::sleep(rest / 9);
            old = headwater.upgrade();
            while begun.elapsed() < rest / 3 {
                std::thread::sleep(Duration::from_millis(50));
            }
            crowd.stop();
        });
        report.upgrades += 1;
        wait_until("the old process has left", || !is_alive(old));
        wait_until("each pull has a line", || {
            let text = read_to_string(&log).unwrap_or_default();
            text[lines_before..].lines().count() as u64 >= saw.pulls()
        });
        report.compare_log(&saw, &read_to_string(&log).unwrap()[lines_before..]);
    }
    let pid = headwater.pid();
    wait_until("connections to the origin that rest are closed", || descriptors(pid) <= at_rest + SINKS);
    report.weigh(headwater.memory_kib("VmRSS"));
    report.conclude(GROWTH_KIB);
}

/// Pulls for some time, beside something that runs as long.
fn with_pulls(headwater: &Headwater, time: Duration, beside: impl FnOnce(Instant)) -> Tally {
    pulls(headwater.http, |crowd| {
        beside(Instant::now() + time);
        crowd.stop();
    })
}

fn pulls(address: std::net::SocketAddr, beside: impl FnOnce(&Crowd)) -> Tally {
    let crowd = Crowd::start(address);
    beside(&crowd);
    crowd.leave()
}
