//! Is it us, or is it one of them? A sentence made from figures.

use super::normal::{DEPARTS, Normal};
use super::tracks::Measure;
use crate::anomaly::{Departure, measures};

/// Who is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// Nothing departs from normal.
    Nobody,
    /// All providers suffer alike: the origin.
    Us,
    /// One of them, or some.
    Them,
    /// There is one provider alone, and its pulls fail: from here nobody can tell.
    Unclear,
    /// Nothing is known.
    NoData,
}

impl Blame {
    /// As the API has it.
    pub const fn name(self) -> &'static str {
        match self {
            Blame::Nobody => "nobody",
            Blame::Us => "us",
            Blame::Them => "them",
            Blame::Unclear => "unclear",
            Blame::NoData => "no_data",
        }
    }
}

/// A value beside what is normal for it.
#[derive(Clone, Copy, Debug)]
pub struct Finding {
    /// What was measured.
    pub measure: Measure,
    /// Now.
    pub value: f64,
    /// Earlier; `None` where there is no history.
    pub normal: Option<Normal>,
}

/// What is known of a provider.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name.
    pub cdn: String,
    /// What was measured of it.
    pub findings: Vec<Finding>,
    /// What departs of it minute by minute, in words, the surest first.
    pub departs: Vec<String>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Who.
    pub blame: Blame,
    /// In words, with figures.
    pub text: String,
    /// The providers that depart.
    pub providers: Vec<String>,
}

/// Where there is no history, a share of errors from here on is none that anybody calls normal.
const ERRORS: f64 = 0.05;
/// Three of four providers, and two at least, make "all".
const ALL_OF: (usize, usize) = (3, 4);

/// What departs at the origin's side: a provider's pulls fail, or wait.
fn fails_at_origin(finding: &Finding) -> bool {
    let by = finding.normal.map(|normal| normal.departure(finding.value));
    match finding.measure {
        Measure::Errors => by.map_or(finding.value >= ERRORS, |by| by >= DEPARTS && finding.value >= 0.005),
        Measure::OriginP95 => by.is_some_and(|by| by >= DEPARTS),
        _ => false,
    }
}

/// What departs at the provider's side.
fn fails_at_edge(finding: &Finding) -> bool {
    let by = finding.normal.map(|normal| normal.departure(finding.value));
    match finding.measure {
        Measure::EdgeErrors => by.map_or(finding.value >= ERRORS, |by| by >= DEPARTS && finding.value >= 0.005),
        Measure::Beacons | Measure::UserP95 => by.is_some_and(|by| by >= DEPARTS),
        Measure::Offload => by.is_some_and(|by| by <= -DEPARTS),
        Measure::Pulls | Measure::EdgeRequests => by.is_some_and(|by| by <= -DEPARTS) && is_halved(finding),
        _ => false,
    }
}

fn is_halved(finding: &Finding) -> bool {
    finding.normal.is_some_and(|normal| finding.value <= 0.5 * normal.value)
}

/// A departure in words, without whose it is.
pub fn tell(departure: &Departure) -> String {
    let Some(measure) = measures::named(departure.figure) else { return departure.reason.clone() };
    format!("{} {} against {}", measure.title, measure.text(departure.now), measure.text(departure.expected))
}

/// Judges. A provider of which nothing is known is not counted. `together` is what departs of all, minute by minute.
///
/// The stretch speaks: it is what is looked at. What departs minute by minute is seen before the stretch shows it, and
/// counts as if it did, so that nobody reads "as always" above a departure.
pub fn judge(cases: &[Case], together: &[String]) -> Verdict {
    let is_known = |case: &&Case| !case.findings.is_empty() || !case.departs.is_empty();
    let known: Vec<&Case> = cases.iter().filter(is_known).collect();
    if known.is_empty() {
        return verdict(Blame::NoData, "No data: nothing was read from the proxies or the vendors in this time.", &[]);
    }
    let failing = |fails: fn(&Finding) -> bool| -> Vec<&Case> {
        known.iter().copied().filter(|case| case.findings.iter().any(fails)).collect()
    };
    let judged = known.iter().filter(|case| has_origin_side(case)).count();
    let at_origin = failing(fails_at_origin);
    if judged > 1 && at_origin.len() > 1 && at_origin.len() * ALL_OF.1 >= judged * ALL_OF.0 {
        let worst = reason(&at_origin, fails_at_origin);
        let of = if at_origin.len() == judged { "all".to_string() } else { format!("{} of", at_origin.len()) };
        return verdict(
            Blame::Us,
            &format!("It is us: {worst}, and {of} {judged} providers suffer together."),
            &at_origin,
        );
    }
    if let Some(first) = together.first() {
        return verdict(Blame::Us, &format!("It is us: {first}, of all providers together."), &known);
    }
    let fails = |finding: &Finding| fails_at_origin(finding) || fails_at_edge(finding);
    let departs = |case: &&Case| case.findings.iter().any(fails) || !case.departs.is_empty();
    let departing: Vec<&Case> = known.iter().copied().filter(departs).collect();
    if departing.is_empty() {
        let judged = known.iter().filter(|case| case.findings.iter().any(|finding| finding.normal.is_some())).count();
        return match (judged, known.len()) {
            (0, count) => verdict(
                Blame::Nobody,
                &format!("No failures stand out at {}; there is no history yet to compare with.", providers(count)),
                &[],
            ),
            (_, count) => verdict(Blame::Nobody, &format!("It is nobody: {} as always.", be(count)), &[]),
        };
    }
    let mut why = reason(&departing, fails);
    for case in departing.iter().filter(|case| !case.findings.iter().any(fails)) {
        let at = if departing.len() > 1 { format!(" at {}", case.cdn) } else { String::new() };
        let before = if why.is_empty() { "" } else { ", " };
        why = format!("{why}{before}{}{at}", case.departs[0]);
    }
    if known.len() == 1 && !at_origin.is_empty() {
        return verdict(Blame::Unclear, &format!("{why}; with one provider alone it may be us or them."), &departing);
    }
    let names: Vec<&str> = departing.iter().map(|case| case.cdn.as_str()).collect();
    let rest = match known.len() - departing.len() {
        0 => String::new(),
        1 => "; the other is as always".into(),
        rest => format!("; the other {rest} are as always"),
    };
    verdict(Blame::Them, &format!("It is {}: {why}{rest}.", names.join(" and ")), &departing)
}

fn has_origin_side(case: &Case) -> bool {
    case.findings.iter().any(|finding| matches!(finding.measure, Measure::Errors | Measure::OriginP95))
}

fn verdict(blame: Blame, text: &str, cases: &[&Case]) -> Verdict {
    Verdict { blame, text: text.into(), providers: cases.iter().map(|case| case.cdn.clone()).collect() }
}

fn providers(count: usize) -> String {
    if count == 1 { "the one provider".into() } else { format!("{count} providers") }
}

fn be(count: usize) -> String {
    if count == 1 { "the one provider is".into() } else { format!("all {count} providers are") }
}

/// The two findings that depart furthest, in words. What was never there before departs the most.
fn reason(cases: &[&Case], fails: impl Fn(&Finding) -> bool) -> String {
    let departure =
        |finding: &Finding| finding.normal.map_or(f64::INFINITY, |normal| normal.departure(finding.value).abs());
    let mut found: Vec<(&str, &Finding)> = Vec::new();
    for case in cases {
        found.extend(case.findings.iter().filter(|finding| fails(finding)).map(|finding| (case.cdn.as_str(), finding)));
    }
    found.sort_by(|a, b| departure(b.1).total_cmp(&departure(a.1)));
    let mut said: Vec<(Measure, String)> = Vec::new();
    for (cdn, finding) in found {
        if said.len() < 2 && said.iter().all(|(measure, _)| *measure != finding.measure) {
            let at = if cases.len() > 1 { format!(" at {cdn}") } else { String::new() };
            said.push((finding.measure, in_words(finding) + &at));
        }
    }
    said.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(", ")
}

fn in_words(finding: &Finding) -> String {
    let measure = finding.measure;
    let against = finding.normal.map_or_else(String::new, |normal| format!(" against {}", say(measure, normal.value)));
    let what = match measure {
        Measure::Errors => "pulls answered with 5xx are",
        Measure::EdgeErrors => "users' requests answered with 5xx are",
        Measure::OriginP95 => "the origin's slowest twentieth waits",
        Measure::UserP95 => "users' slowest twentieth waits",
        Measure::Beacons => "failure beacons a minute are",
        Measure::Offload => "offload is",
        Measure::Pulls => "pulls a minute are",
        Measure::EdgeRequests => "users' requests a minute are",
        _ => "a figure is",
    };
    format!("{what} {}{against}", say(measure, finding.value))
}

fn say(measure: Measure, value: f64) -> String {
    match measure {
        Measure::Errors | Measure::EdgeErrors | Measure::Offload => format!("{:.1} %", value * 100.0),
        Measure::OriginP95 | Measure::UserP95 if value < 1.0 => format!("{:.0} ms", value * 1000.0),
        Measure::OriginP95 | Measure::UserP95 => format!("{value:.1} s"),
        _ if value < 10.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(cdn: &str, findings: &[(Measure, f64, f64)]) -> Case {
        let findings = findings.iter().map(|&(measure, value, usual)| {
            let normal = Some(Normal { value: usual, deviation: measure.least(usual, 60.0) });
            Finding { measure, value, normal }
        });
        Case { cdn: cdn.into(), findings: findings.collect(), departs: Vec::new() }
    }

    const WELL: [(Measure, f64, f64); 3] =
        [(Measure::Errors, 0.001, 0.001), (Measure::OriginP95, 0.2, 0.2), (Measure::Pulls, 400.0, 410.0)];

    #[test]
    fn it_is_us_where_all_suffer_together() {
        let ill = [(Measure::Errors, 0.08, 0.001), (Measure::Pulls, 400.0, 410.0)];
        let verdict = judge(&[case("fastly", &ill), case("akamai", &ill), case("cloudflare", &ill)], &[]);
        assert_eq!(verdict.blame, Blame::Us);
        assert!(
            verdict.text.contains("8.0 % against 0.1 %") && verdict.text.contains("all 3 providers"),
            "{verdict:?}"
        );
        let slow = [(Measure::OriginP95, 2.5, 0.2)];
        assert_eq!(judge(&[case("fastly", &slow), case("akamai", &ill)], &[]).blame, Blame::Us);
    }

    #[test]
    fn it_is_one_of_them_where_one_departs() {
        for ill in [
            (Measure::Errors, 0.2, 0.001),
            (Measure::EdgeErrors, 0.06, 0.001),
            (Measure::Beacons, 30.0, 1.0),
            (Measure::Offload, 0.6, 0.95),
            (Measure::Pulls, 10.0, 410.0),
        ] {
            let verdict = judge(&[case("fastly", &WELL), case("akamai", &[ill]), case("cloudflare", &WELL)], &[]);
            assert_eq!((verdict.blame, verdict.providers), (Blame::Them, vec!["akamai".to_string()]), "{ill:?}");
            assert!(verdict.text.starts_with("It is akamai: ") && verdict.text.contains("other 2"), "{}", verdict.text);
        }
    }

    #[test]
    fn what_departs_minute_by_minute_is_never_as_always() {
        let (pulls, beacons) =
            ("pulls 200 a minute against 600 a minute", "failure beacons 9.0 a minute against 1.0 a minute");
        let mut cases = [case("fastly", &WELL), case("akamai", &WELL), case("cloudflare", &WELL)];
        assert_eq!(judge(&cases, &[]).blame, Blame::Nobody);
        cases[1].departs = vec![pulls.into(), beacons.into()];
        let found = judge(&cases, &[]);
        assert_eq!(found.text, format!("It is akamai: {pulls}; the other 2 are as always."));
        assert_eq!((found.blame, found.providers), (Blame::Them, vec!["akamai".to_string()]));
        cases[2].findings = case("", &[(Measure::EdgeErrors, 0.06, 0.001)]).findings;
        let found = judge(&cases, &[]).text;
        assert!(
            found.contains("6.0 % against 0.1 % at cloudflare, pulls") && found.ends_with("the other is as always.")
        );
        assert!(found.starts_with("It is akamai and cloudflare: "), "{found}");
        let found = judge(&cases, &[beacons.into()]);
        assert_eq!((found.blame, found.text), (Blame::Us, format!("It is us: {beacons}, of all providers together.")));
        assert_eq!(found.providers.len(), 3);
    }

    #[test]
    fn nothing_is_said_of_what_nobody_knows() {
        assert_eq!(judge(&[], &[]).blame, Blame::NoData);
        assert_eq!(judge(&[case("fastly", &[])], &[]).blame, Blame::NoData);
        assert_eq!(judge(&[case("fastly", &WELL), case("akamai", &WELL)], &[]).blame, Blame::Nobody);
        assert_eq!(judge(&[case("fastly", &[(Measure::Errors, 0.2, 0.0)])], &[]).blame, Blame::Unclear);
    }

    #[test]
    fn without_history_errors_speak_for_themselves() {
        let now = |value| Case {
            cdn: "fastly".into(),
            findings: vec![Finding { measure: Measure::EdgeErrors, value, normal: None }],
            departs: Vec::new(),
        };
        assert_eq!(judge(&[now(0.3), case("akamai", &WELL)], &[]).blame, Blame::Them);
        let verdict = judge(&[now(0.01)], &[]);
        assert!(verdict.blame == Blame::Nobody && verdict.text.contains("no history"), "{verdict:?}");
    }
}
