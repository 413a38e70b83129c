//! Series: those whose labels are known beforehand begin at 0, so that an alert on an increase sees the first burst too; those
//! of names that a reload took away vanish.

use super::{CODES, Figures, SECONDS};
use crate::failure::Failure;
use crate::reports;
use headwater_config::Policy;
use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use std::collections::HashMap;

/// Series that may begin at 0. Sets that would exceed it begin with their first event.
const MOST: usize = 5_000;
/// Failures of the origin behind its head.
const BROKEN: [&str; 2] = ["body_broken", "body_idle"];
/// What Headwater itself answers when something fails.
const OWN_STATUSES: [u16; 4] = [500, 502, 503, 504];

/// The label `cdn` of pulls that no provider made.
const NOBODY: [&str; 3] = ["untagged", "unproven", "other"];

/// Every value of the label `cdn`, by [`crate::identify::Asker::label`].
pub(super) fn cdns(policy: &Policy) -> Vec<String> {
    let names = policy.providers.iter().map(|provider| provider.name.as_str());
    names.chain(NOBODY).map(String::from).collect()
}

/// Every value of the label `rule`, by its index.
pub(super) fn rules(policy: &Policy) -> Vec<String> {
    policy.rules.all().iter().map(|rule| rule.name.clone()).collect()
}

fn texts(list: &[String]) -> Vec<&str> {
    list.iter().map(String::as_str).collect()
}

/// Whether that is a source that our own pages name, with one of these values of `cdn`: whose users see which error.
pub(super) fn is_own_source(source: &str, cdns: &[String]) -> bool {
    let Some((cdn, status)) = source.rsplit_once('_') else { return false };
    let is_5xx =
        matches!(status.as_bytes(), [b'5', rest @ ..] if rest.len() == 2 && rest.iter().all(u8::is_ascii_digit));
    is_5xx && cdns.iter().any(|known| known == cdn)
}

/// Names that a policy brings into labels.
#[derive(Default)]
pub(super) struct Names {
    cdns: Vec<String>,
    rules: Vec<String>,
}

impl Figures {
    /// Begins what a policy's names make known beforehand. What was counted before stays.
    pub fn begin(&self, policy: &Policy) {
        let mut now = self.names.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        *now = Names { cdns: cdns(policy), rules: rules(policy) };
        let (cdns, rules) = (texts(&now.cdns), texts(&now.rules));
        let providers: Vec<&str> = policy.providers.iter().map(|provider| provider.name.as_str()).collect();

        let mut room = Room(MOST);
        let of_origin = Failure::PAGES.iter().filter(|failure| failure.is_upstream()).map(|failure| failure.reason());
        room.begin(&self.upstream_errors, &[of_origin.chain(BROKEN).collect()]);
        room.begin(&self.handshakes, &[vec!["full", "resumed", "failed", "timeout"]]);
        room.begin(&self.proxy_headers, &[vec!["client", "none", "refused", "timeout"]]);
        room.begin(&self.pushes_dropped, &[vec!["graphite", "statsd"]]);
        room.begin(&self.strangers, &[vec!["rate", "connections"]]);
        room.begin(&self.upgrades, &[vec!["ok", "failed"]]);
        room.begin(&self.floods, &[vec!["frames", "resets", "limits"]]);
        room.begin(&self.countries, &[vec!["unknown"]]);
        room.begin(&self.mismatch, std::slice::from_ref(&providers));
        // Our own pages are seen through their CDN, or come from its store with a beacon that nobody carries.
        for cdn in &cdns {
            let sources = OWN_STATUSES.map(|status| format!("{cdn}_{status}"));
            let mut carriers = vec![*cdn, "untagged"];
            carriers.dedup();
            room.begin(&self.beacons, &[texts(&sources), carriers]);
        }
        // A pull ends as 1xx only where it became a tunnel: most sites have none.
        room.begin(&self.pulls, &[cdns.clone(), rules.clone(), CODES[1..].to_vec()]);
        room.begin(&self.bytes, &[cdns.clone(), rules]);
        room.begin(&self.duration, std::slice::from_ref(&cdns));
        room.begin(&self.first_byte, std::slice::from_ref(&cdns));

        let reasons = Failure::PAGES.iter().map(|failure| failure.reason()).chain(["origin_5xx"]).collect();
        let pages = policy.whoopsie.pages.iter().map(|page| page.language.as_str()).chain(["none"]).collect();
        room.begin(&self.whoopsie, &[cdns.clone(), reasons, pages]);

        room.begin(&self.beacons, &[texts(&policy.beacon.sources), cdns]);
        let mut servers = providers;
        servers.push(reports::UNKNOWN);
        for (kind, phase) in reports::known() {
            room.begin(&self.reports, &[vec![kind], vec![phase], servers.clone()]);
        }
    }

    /// Takes out the series of names that were in force and are no more.
    pub(super) fn retire(&self, cdns: &[String], rules: &[String]) {
        let now = self.names.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let went = |before: &[String], now: &[String]| -> Vec<String> {
            before.iter().filter(|name| !now.contains(name)).cloned().collect()
        };
        let (cdns, rules) = (went(cdns, &now.cdns), went(rules, &now.rules));
        if cdns.is_empty() && rules.is_empty() {
            return;
        }
        let is_gone = |label: &str, value: &str| match label {
            "cdn" | "claimed" => cdns.iter().any(|gone| gone == value),
            "rule" => rules.iter().any(|gone| gone == value),
            "source" => is_own_source(value, &cdns),
            _ => false,
        };
        for counters in [&self.pulls, &self.bytes, &self.whoopsie, &self.beacons, &self.reports, &self.mismatch] {
            take_out(counters, is_gone);
        }
        take_out(&self.duration, is_gone);
        take_out(&self.first_byte, is_gone);
    }
}

fn take_out<T: MetricVecBuilder>(series: &MetricVec<T>, is_gone: impl Fn(&str, &str) -> bool) {
    for family in series.collect() {
        for metric in family.get_metric() {
            let labels = metric.get_label();
            if labels.iter().any(|label| is_gone(label.name(), label.value())) {
                let labels: HashMap<&str, &str> = labels.iter().map(|label| (label.name(), label.value())).collect();
                let _ = series.remove(&labels);
            }
        }
    }
}

/// How many series may still begin at 0.
struct Room(usize);

impl Room {
    /// Begins every combination of labels, or none where there is no room for all.
    fn begin<T: MetricVecBuilder>(&mut self, series: &MetricVec<T>, sets: &[Vec<&str>]) {
        let count = sets.iter().map(Vec::len).product::<usize>();
        let is_histogram =
            series.collect().iter().any(|f| f.get_field_type() == prometheus::proto::MetricType::HISTOGRAM);
        // A histogram has a series for each bucket, for what exceeds them, its sum and its count.
        let each = if is_histogram { SECONDS.len() + 3 } else { 1 };
        let Some(left) = self.0.checked_sub(count * each) else { return };
        self.0 = left;
        for mut place in 0..count {
            let labels: Vec<&str> = sets
                .iter()
                .map(|set| {
                    let label = set[place % set.len()];
                    place /= set.len();
                    label
                })
                .collect();
            let _ = series.get_metric_with_label_values(&labels);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(providers: usize, rules: usize) -> Policy {
        let mut text = "[origin]\nservers = [\"a:1\"]\n".to_string();
        for n in 0..providers {
            text += &format!("[[cdn]]\nname = \"p{n}\"\nkind = \"generic\"\nnetworks = [\"192.0.2.{n}\"]\n");
        }
        for n in 0..rules {
            text += &format!("[[rule]]\nname = \"r{n}\"\npath = '^/{n}/'\n");
        }
        headwater_config::from_text("t", &text).0.unwrap()
    }

    fn count(figures: &Figures, name: &str) -> usize {
        let families = figures.registry.gather();
        families.iter().filter(|family| family.name() == name).map(|family| family.get_metric().len()).sum()
    }

    #[test]
    fn what_begins_at_0_has_a_bound() {
        let figures = Figures::new().unwrap();
        figures.begin(&policy(4, 9));
        assert_eq!(count(&figures, "headwater_pulls_total"), (4 + 3) * (9 + 1) * 4);
        assert_eq!(count(&figures, "headwater_pull_duration_seconds"), 4 + 3);
        let figures = Figures::new().unwrap();
        figures.begin(&policy(32, 63));
        assert_eq!(count(&figures, "headwater_pulls_total"), 0);
        assert_eq!(count(&figures, "headwater_upstream_errors_total"), 9);
        let all: usize = figures.registry.gather().iter().map(|family| family.get_metric().len()).sum();
        assert!((2_000..MOST).contains(&all), "{all}");
    }

    #[test]
    fn what_went_is_taken_out_and_what_stays_keeps_its_count() {
        let figures = Figures::new().unwrap();
        let (before, after) = (policy(2, 2), policy(1, 1));
        figures.begin(&before);
        for (cdn, rule) in [("p0", "r0"), ("p0", "r1"), ("p1", "r0"), ("untagged", "default")] {
            figures.pulls.with_label_values(&[cdn, rule, "2xx"]).inc();
        }
        figures.begin(&after);
        figures.retire(&cdns(&before), &rules(&before));
        assert_eq!(count(&figures, "headwater_pulls_total"), (1 + 3) * (1 + 1) * 4);
        assert_eq!(figures.pulls.with_label_values(&["p0", "r0", "2xx"]).get(), 1);
        assert_eq!(figures.pulls.with_label_values(&["untagged", "default", "2xx"]).get(), 1);
        let text = prometheus::TextEncoder::new().encode_to_string(&figures.registry.gather()).unwrap();
        assert!(text.contains("p0_503") && !text.contains("p1"), "{text}");
    }

    #[test]
    fn our_own_sources_are_known_by_their_form() {
        let cdns = cdns(&policy(1, 0));
        for own in ["p0_500", "p0_503", "untagged_599", "other_502"] {
            assert!(is_own_source(own, &cdns), "{own}");
        }
        for other in ["p0", "p0_404", "p0_5", "p0_5000", "p0_50x", "p9_503", "503", "_503", ""] {
            assert!(!is_own_source(other, &cdns), "{other}");
        }
    }
}
