//! What figures and `/status` say of the servers. Made from the servers that there are, so that none of a server that a reload
//! took away is left.

use super::budget::Budget;
use super::health::Condition;
use super::server::{CHECKS, Server, now};
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, IntGaugeVec, Opts};
use serde_json::{Value, json};
use std::sync::Arc;

/// The figures of servers and retries.
pub(crate) fn families(servers: &[Arc<Server>], budget: &Budget) -> Vec<MetricFamily> {
    // Names and labels are written here: that they are good is seen at the first look.
    made(servers, budget).unwrap_or_default()
}

fn made(servers: &[Arc<Server>], budget: &Budget) -> Result<Vec<MetricFamily>, prometheus::Error> {
    let up = IntGaugeVec::new(Opts::new("headwater_upstream_up", "1 while a server gets pulls."), &["server"])?;
    let transitions = IntCounterVec::new(
        Opts::new("headwater_upstream_transitions_total", "Changes of a server's condition."),
        &["server", "to"],
    )?;
    let checks = IntCounterVec::new(
        Opts::new("headwater_upstream_checks_total", "Checks of a server's health."),
        &["server", "result"],
    )?;
    let retries = IntCounterVec::new(
        Opts::new("headwater_retries_total", "Pulls that were, or would have been, tried once more."),
        &["result"],
    )?;
    for server in servers {
        let (name, seen) = (server.name.as_str(), server.snapshot());
        up.with_label_values(&[name]).set(i64::from(seen.condition == Condition::Up));
        for (to, count) in Condition::NAMES.into_iter().zip(seen.transitions).filter(|(_, count)| *count > 0) {
            transitions.with_label_values(&[name, to]).inc_by(count);
        }
        for (result, count) in CHECKS.into_iter().zip(seen.checks).filter(|(_, count)| *count > 0) {
            checks.with_label_values(&[name, result]).inc_by(count);
        }
    }
    for (result, count) in budget.counts() {
        retries.with_label_values(&[result]).inc_by(count);
    }
    let collectors: [&dyn Collector; 4] = [&up, &transitions, &checks, &retries];
    Ok(collectors
        .iter()
        .flat_map(|collector| collector.collect())
        .filter(|family| !family.get_metric().is_empty())
        .collect())
}

/// Every server for `/status`.
pub(crate) fn status(servers: &[Arc<Server>]) -> Vec<Value> {
    let ago = |moment: u64| now().saturating_sub(moment) as f64 / 1000.0;
    let one = |server: &Arc<Server>| {
        let seen = server.snapshot();
        let last_failure = seen
            .last_failure
            .map(|last| json!({ "reason": last.reason, "detail": last.detail, "seconds_ago": ago(last.at) }));
        json!({
            "server": server.name,
            "state": seen.condition.name(),
            "since_seconds": ago(seen.since),
            "last_failure": last_failure,
            "pulls_in_hand": server.load(),
            "connections": seen.connections,
        })
    };
    servers.iter().map(one).collect()
}
