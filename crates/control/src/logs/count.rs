//! Lines become counts: the same that the proxy has, by the minute of the line's own time.

use super::clock;
use super::format::{Clock, Format};
use super::line::{self, Line};
use crate::figures::{self, Figure};
use crate::sketch::Sketch;
use crate::store::{Batch, Key};
use headwater_config::{Kind, Policy};
use percent_encoding::percent_decode;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

pub(crate) const CODES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
const BY_CODE: [&Figure; 5] =
    [figures::PULLS_1XX, figures::PULLS_2XX, figures::PULLS_3XX, figures::PULLS_4XX, figures::PULLS_5XX];
/// Beacon sources that get a label when none are configured, as in the proxy.
const MOST_SOURCES: usize = 64;
/// A line's time may be so far ahead of ours, in seconds.
const AHEAD: i64 = 86_400;
/// Counts that are held before they are written.
const MOST_HELD: usize = 20_000;

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Counted,
    /// It is of no known format.
    Unmatched,
    /// It is of one, and its time or status is none.
    Senseless,
    /// What is that old is not kept.
    TooOld,
}

/// What is counted and not written yet.
pub(crate) struct Tally {
    policy: Arc<Policy>,
    formats: Vec<Format>,
    /// The format of the line before.
    last: usize,
    /// The time of the line before, and what it means.
    stamp: (Vec<u8>, i64),
    horizon: i64,
    latest: i64,
    pulls: HashMap<(i64, u32, u32, u8), (u64, u64)>,
    seconds: HashMap<(i64, u32), Sketch>,
    first_bytes: HashMap<(i64, u32), Sketch>,
    beacons: HashMap<(i64, u32, String), u64>,
    countries: HashMap<(i64, String), u64>,
    /// Sources of strangers that have a label.
    sources: HashSet<String>,
}

impl Tally {
    /// `sources`: those that have a label since earlier runs.
    pub fn new(policy: Arc<Policy>, formats: Vec<Format>, sources: HashSet<String>) -> Self {
        Self {
            policy,
            formats,
            last: 0,
            stamp: (Vec::new(), 0),
            horizon: i64::MIN,
            latest: i64::MAX,
            pulls: HashMap::new(),
            seconds: HashMap::new(),
            first_bytes: HashMap::new(),
            beacons: HashMap::new(),
            countries: HashMap::new(),
            sources,
        }
    }

    /// What time it is: lines far ahead of it make no sense, and those too far behind are not kept.
    pub fn set_now(&mut self, now: i64) {
        let keep = self.policy.control.keep.minutes.as_secs() as i64;
        // As the store has it: whole days.
        self.horizon = (now - keep).div_euclid(86_400) * 86_400;
        self.latest = now + AHEAD;
    }

    /// Whether it should be written before more is counted.
    pub fn is_full(&self) -> bool {
        self.pulls.len() + self.seconds.len() + self.beacons.len() + self.countries.len() > MOST_HELD
    }

    /// Counts a line, without its end.
    pub fn count(&mut self, text: &[u8]) -> Fate {
        let Some((format, line)) = self.matching(text) else { return Fate::Unmatched };
        self.last = format;
        let Some(at) = line.clock.and_then(|clock| self.time(clock, line.time)) else { return Fate::Senseless };
        let (Some(status), Some(bytes)) = (line.status(), line.bytes()) else { return Fate::Senseless };
        if at > self.latest {
            return Fate::Senseless;
        }
        if at < self.horizon {
            return Fate::TooOld;
        }
        let minute = at.div_euclid(60) * 60;
        let asked = line.asked();
        let rule = match &asked {
            Some([_, path, _]) => self.policy.rules.matching(&Cow::from(percent_decode(path))),
            None => self.policy.rules.all().len() - 1,
        };
        let provider = self.provider(line.provider);
        let class = (status / 100).clamp(1, 5) as u8 - 1;
        let held = self.pulls.entry((minute, provider as u32, rule as u32, class)).or_default();
        held.0 += 1;
        held.1 += bytes;
        if let Some(seconds) = line.seconds() {
            self.seconds.entry((minute, provider as u32)).or_default().add(seconds, 1);
        }
        if let Some(seconds) = line.first_byte_seconds() {
            self.first_bytes.entry((minute, provider as u32)).or_default().add(seconds, 1);
        }
        if let Some([method, path, query]) = &asked
            && **path == *self.policy.beacon.path.as_bytes()
            && matches!(&**method, b"GET" | b"HEAD" | b"POST")
        {
            let label = self.source_label(&source(query).unwrap_or_default());
            *self.beacons.entry((minute, provider as u32, label)).or_default() += 1;
            let country = self.country(user(&line, provider, &self.policy));
            *self.countries.entry((minute, country)).or_default() += 1;
        }
        Fate::Counted
    }

    fn matching<'l>(&self, text: &'l [u8]) -> Option<(usize, Line<'l>)> {
        let by = |index: usize| line::read(&self.formats[index], text).map(|line| (index, line));
        by(self.last).or_else(|| (0..self.formats.len()).filter(|index| *index != self.last).find_map(by))
    }

    /// Lines of one second follow each other.
    fn time(&mut self, clock: Clock, text: &[u8]) -> Option<i64> {
        if self.stamp.0 != text {
            let at = clock::read(clock, text)?;
            self.stamp.0.clear();
            self.stamp.0.extend_from_slice(text);
            self.stamp.1 = at;
        }
        Some(self.stamp.1)
    }

    /// The index of the label: the providers, then `untagged`, `unproven`, `other`, as in the proxy. A log has no proof, so
    /// that a claim counts as it stands.
    fn provider(&self, tag: &[u8]) -> usize {
        let providers = &self.policy.providers;
        if matches!(tag, b"" | b"-") {
            return providers.len();
        }
        let tag = line::unescaped(tag);
        let tag = tag.trim_ascii();
        let named = providers.iter().position(|provider| tag.eq_ignore_ascii_case(provider.name.as_bytes()));
        named.unwrap_or(providers.len() + 2)
    }

    fn label(&self, provider: u32) -> &str {
        let providers = &self.policy.providers;
        let provider = provider as usize;
        providers.get(provider).map_or_else(
            || ["untagged", "unproven", "other"][(provider - providers.len()).min(2)],
            |provider| provider.name.as_str(),
        )
    }

    /// The label for a beacon's source, as the proxy gives it: one of our own pages', a configured one, where none is
    /// configured one of the first that came, or `other`.
    fn source_label(&mut self, source: &str) -> String {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
        let configured = &self.policy.beacon.sources;
        let known = if is_own_source(source, &self.policy) {
            true
        } else if !configured.is_empty() {
            configured.iter().any(|name| name == source)
        } else if source.is_empty() || source.len() > 64 || !source.bytes().all(plain) {
            false
        } else {
            self.sources.contains(source)
                || (self.sources.len() < MOST_SOURCES && self.sources.insert(source.to_string()))
        };
        if known { source.into() } else { "other".into() }
    }

    /// The ISO 3166 code of the address's country, or `unknown`.
    fn country(&self, address: Option<IpAddr>) -> String {
        let lookup = || {
            let path = [maxminddb::PathElement::Key("country"), maxminddb::PathElement::Key("iso_code")];
            let found = self.policy.geo.as_ref()?.lookup(address?).ok()?;
            found.decode_path::<&str>(&path).ok()?
        };
        lookup()
            .filter(|code| code.len() == 2 && code.bytes().all(|b| b.is_ascii_uppercase()))
            .map_or_else(|| "unknown".into(), str::to_string)
    }

    /// Adds all that is held to a batch, and holds nothing.
    pub fn drain_into(&mut self, batch: &mut Batch) {
        let mut totals: HashMap<(i64, u32), (u64, u64, [u64; 5])> = HashMap::new();
        let mut by_rule: HashMap<(i64, u32, u32), u64> = HashMap::new();
        for ((minute, provider, rule, class), (pulls, bytes)) in std::mem::take(&mut self.pulls) {
            let total = totals.entry((minute, provider)).or_default();
            total.0 += pulls;
            total.1 += bytes;
            total.2[usize::from(class)] += pulls;
            *by_rule.entry((minute, provider, rule)).or_default() += bytes;
            let label = format!("{}/{}", self.rule(rule), CODES[usize::from(class)]);
            batch.add(Key::new(figures::RULE_PULLS, self.label(provider), label), minute, pulls as f64);
        }
        for ((minute, provider, rule), bytes) in by_rule {
            batch.add(Key::new(figures::RULE_BYTES, self.label(provider), self.rule(rule)), minute, bytes as f64);
        }
        for ((minute, provider), (pulls, bytes, classes)) in totals {
            let key = |figure| Key::new(figure, self.label(provider), "");
            batch.add(key(figures::PULLS), minute, pulls as f64);
            batch.add(key(figures::PULL_BYTES), minute, bytes as f64);
            for (figure, pulls) in BY_CODE.into_iter().zip(classes).filter(|(_, pulls)| *pulls > 0) {
                batch.add(key(figure), minute, pulls as f64);
            }
        }
        for ((minute, provider), sketch) in std::mem::take(&mut self.seconds) {
            batch.merge(Key::new(figures::PULL_SECONDS, self.label(provider), ""), minute, sketch);
        }
        for ((minute, provider), sketch) in std::mem::take(&mut self.first_bytes) {
            batch.merge(Key::new(figures::ORIGIN_SECONDS, self.label(provider), ""), minute, sketch);
        }
        for ((minute, provider, source), beacons) in std::mem::take(&mut self.beacons) {
            batch.add(Key::new(figures::BEACONS, self.label(provider), source), minute, beacons as f64);
        }
        for ((minute, country), beacons) in std::mem::take(&mut self.countries) {
            batch.add(Key::new(figures::BEACON_COUNTRIES, "", country), minute, beacons as f64);
        }
    }

    fn rule(&self, index: u32) -> &str {
        &self.policy.rules.all()[index as usize].name
    }
}

/// Whether that is a source that our own pages name: whose users see which error.
pub(crate) fn is_own_source(source: &str, policy: &Policy) -> bool {
    let Some((cdn, status)) = source.rsplit_once('_') else { return false };
    let is_5xx = matches!(status.as_bytes(), [b'5', a, b] if a.is_ascii_digit() && b.is_ascii_digit());
    let is_cdn = ["untagged", "unproven", "other"].contains(&cdn) || policy.providers.iter().any(|p| p.name == cdn);
    is_5xx && is_cdn
}

/// The source in a query: `source`, or `beacon_source` as old pages have it.
fn source(query: &[u8]) -> Option<String> {
    query.split(|b| *b == b'&').find_map(|pair| {
        let (name, value) = pair.split_at(memchr::memchr(b'=', pair)?);
        matches!(name, b"source" | b"beacon_source")
            .then(|| percent_decode(value[1..].trim_ascii()).decode_utf8_lossy().into_owned())
    })
}

/// The user's address: of a pull through a known CDN the rightmost in `X-Forwarded-For` that is not the CDN's own; else who
/// connected.
fn user(line: &Line<'_>, provider: usize, policy: &Policy) -> Option<IpAddr> {
    let address = |text: &[u8]| std::str::from_utf8(text).ok()?.trim().parse::<IpAddr>().ok();
    let peer = address(line.client);
    let Some(provider) = policy.providers.get(provider) else { return peer };
    let mut list: Vec<&[u8]> = line.forwarded_for.split(|b| *b == b',').collect();
    // Google's load balancer puts the client's address, then its own.
    if provider.kind == Kind::Google {
        list.pop();
    }
    let from_the_right = list.into_iter().rev().map(address).map_while(|address| address);
    from_the_right.into_iter().find(|address| !provider.networks.contains(*address)).or(peer)
}
