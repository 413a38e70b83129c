//! Which field of a vendor's line says what.

use super::{Cache, Format, Line, Outcome, time};
use std::borrow::Cow;

/// What a field says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// When the request was.
    Time,
    /// The host that was asked for.
    Host,
    /// The status.
    Status,
    /// Bytes to the user.
    Bytes,
    /// What the cache did.
    Cache,
    /// True, or any number but 0, where the line is no user's request.
    Shield,
    /// What tells the request from every other.
    Id,
    /// False, or 0, where the line is no user's request.
    Edge,
    /// Whose request it was, in Cloudflare's words.
    Source,
    /// The day, where the time is of the day alone.
    Date,
    /// 0 where the cache was not asked at all.
    Cacheable,
}

const ROLES: usize = 11;

impl Role {
    /// Those that can be configured, by name.
    pub const NAMED: [(&'static str, Role); 7] = [
        ("time", Role::Time),
        ("host", Role::Host),
        ("status", Role::Status),
        ("bytes", Role::Bytes),
        ("cache", Role::Cache),
        ("shield", Role::Shield),
        ("id", Role::Id),
    ];
}

/// Names by role; of two fields of one line with the same role, the one that stands first here is taken.
type Known = &'static [(Role, &'static str)];

/// The format that docs/edge-logs.md recommends, then the names in Fastly's own example of a JSON log format
/// (fastly.com/documentation/guides/integrations/logging-endpoints/log-streaming-s3, "Example format strings").
const FASTLY: Known = &[
    (Role::Time, "time"),
    (Role::Time, "timestamp"),
    (Role::Time, "time_start"),
    (Role::Host, "host"),
    (Role::Status, "status"),
    (Role::Status, "response_status"),
    (Role::Bytes, "bytes"),
    (Role::Bytes, "response_body_size"),
    (Role::Cache, "cache"),
    (Role::Cache, "response_state"),
    (Role::Cache, "cache_status"),
    (Role::Shield, "shield"),
    (Role::Shield, "visits_this_service"),
    (Role::Edge, "fastly_is_edge"),
    (Role::Id, "id"),
    (Role::Id, "request_id"),
];

/// developers.cloudflare.com/logs/logpush/logpush-job/datasets/zone/http_requests, and for the source
/// developers.cloudflare.com/logs/reference/clientrequestsource.
const CLOUDFLARE: Known = &[
    (Role::Time, "EdgeStartTimestamp"),
    (Role::Time, "EdgeEndTimestamp"),
    (Role::Host, "ClientRequestHost"),
    (Role::Status, "EdgeResponseStatus"),
    (Role::Bytes, "EdgeResponseBytes"),
    (Role::Bytes, "EdgeResponseBodyBytes"),
    (Role::Cache, "CacheCacheStatus"),
    (Role::Source, "ClientRequestSource"),
    (Role::Shield, "WorkerSubrequest"),
    (Role::Id, "RayID"),
];

/// techdocs.akamai.com/datastream2/docs/data-set-parameters: `isMidgress` is 0 for what a user asked.
const DATASTREAM2: Known = &[
    (Role::Time, "reqTimeSec"),
    (Role::Host, "reqHost"),
    (Role::Status, "statusCode"),
    (Role::Bytes, "totalBytes"),
    (Role::Bytes, "bytes"),
    (Role::Cache, "cacheStatus"),
    (Role::Cacheable, "cacheable"),
    (Role::Shield, "isMidgress"),
    (Role::Id, "reqId"),
];

/// docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/standard-logs-reference. The type of the response is taken
/// as it was before its last byte, since afterwards a user who left makes an `Error` of a `Hit`.
const CLOUDFRONT: Known = &[
    (Role::Time, "timestamp"),
    (Role::Time, "timestamp(ms)"),
    (Role::Time, "time"),
    (Role::Date, "date"),
    (Role::Host, "x-host-header"),
    (Role::Host, "cs(Host)"),
    (Role::Host, "cs-host"),
    (Role::Status, "sc-status"),
    (Role::Bytes, "sc-bytes"),
    (Role::Cache, "x-edge-response-result-type"),
    (Role::Cache, "x-edge-result-type"),
    (Role::Id, "x-edge-request-id"),
];

const NDJSON: Known = &[
    (Role::Time, "time"),
    (Role::Host, "host"),
    (Role::Status, "status"),
    (Role::Bytes, "bytes"),
    (Role::Cache, "cache"),
    (Role::Shield, "shield"),
    (Role::Id, "id"),
];

/// The names that are looked for in a line.
#[derive(Clone, Debug)]
pub(super) struct Names(Vec<(Box<str>, Role, u8)>);

impl Names {
    pub fn new(format: Format, configured: &[(Option<Role>, String)]) -> Self {
        let known = match format {
            Format::Fastly => FASTLY,
            Format::Cloudflare => CLOUDFLARE,
            Format::DataStream2 => DATASTREAM2,
            Format::CloudFront => CLOUDFRONT,
            Format::Ndjson => NDJSON,
        };
        let is_ours = |role: Role| configured.iter().any(|(named, _)| *named == Some(role));
        let ours = configured.iter().filter_map(|(role, name)| Some((name.as_str(), (*role)?)));
        let theirs = known.iter().filter(|(role, _)| !is_ours(*role)).map(|(role, name)| (*name, *role));
        Self(ours.chain(theirs).zip(0..=u8::MAX).map(|((name, role), rank)| (name.into(), role, rank)).collect())
    }

    pub fn role(&self, name: &str) -> Option<(Role, u8)> {
        self.0.iter().find(|(known, ..)| **known == *name).map(|(_, role, rank)| (*role, *rank))
    }
}

/// A field's value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Text(Cow<'a, str>),
    Whole(u64),
    Real(f64),
    Flag(bool),
}

impl Value<'_> {
    fn whole(&self) -> Option<u64> {
        match self {
            Value::Whole(number) => Some(*number),
            Value::Real(number) if *number >= 0.0 && *number < 1e15 => Some(*number as u64),
            Value::Text(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    fn is_true(&self) -> bool {
        match self {
            Value::Flag(flag) => *flag,
            Value::Whole(number) => *number != 0,
            Value::Real(number) => *number != 0.0,
            Value::Text(text) => !matches!(text.trim(), "" | "-" | "^" | "0" | "false" | "no"),
        }
    }

    fn seconds(&self) -> Option<i64> {
        match self {
            Value::Whole(number) => time::scaled(*number as f64),
            Value::Real(number) => time::scaled(*number),
            Value::Text(text) => time::parse(text),
            Value::Flag(_) => None,
        }
    }

    fn cache(&self) -> Option<Cache> {
        match self {
            Value::Flag(true) => Some(Cache::Hit),
            Value::Flag(false) | Value::Whole(0) => Some(Cache::Miss),
            Value::Whole(_) | Value::Real(_) => Some(Cache::Hit),
            Value::Text(word) => said(word.trim()),
        }
    }
}

/// What a vendor's word says of the cache. The vocabularies do not contradict one another.
fn said(word: &str) -> Option<Cache> {
    let starts = |prefix: &str| word.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    let is = |other: &str| word.eq_ignore_ascii_case(other);
    Some(match word {
        "" | "-" | "^" => return None,
        "0" => Cache::Miss,
        number if number.bytes().all(|b| b.is_ascii_digit()) => Cache::Hit,
        // Fastly: HITPASS is an object that says to pass, HIT-SYNTH an answer that the edge made up.
        _ if is("HITPASS") || starts("HIT-SYNTH") => Cache::Other,
        // Fastly: HIT, HIT-CLUSTER, HIT-STALE; Cloudflare: hit, and served though no longer fresh.
        _ if is("hit") || starts("HIT-") => Cache::Hit,
        _ if ["stale", "updating", "revalidated", "stream_hit"].iter().any(|word| is(word)) => Cache::Hit,
        // CloudFront.
        _ if is("RefreshHit") || is("OriginShieldHit") => Cache::Hit,
        // Cloudflare: expired is one that was there and had to be fetched again.
        _ if is("miss") || starts("MISS-") || is("expired") => Cache::Miss,
        _ => Cache::Other,
    })
}

/// The fields of one line, by role.
#[derive(Default)]
pub(super) struct Slots<'a>([Option<(u8, Value<'a>)>; ROLES]);

impl<'a> Slots<'a> {
    pub fn put(&mut self, (role, rank): (Role, u8), value: Value<'a>) {
        let slot = &mut self.0[role as usize];
        if slot.as_ref().is_none_or(|(held, _)| rank < *held) {
            *slot = Some((rank, value));
        }
    }

    fn take(&mut self, role: Role) -> Option<Value<'a>> {
        self.0[role as usize].take().map(|(_, value)| value)
    }

    pub fn outcome(mut self) -> Outcome<'a> {
        let time = match (self.take(Role::Date), self.take(Role::Time)) {
            (Some(Value::Text(date)), Some(Value::Text(clock))) if clock.contains(':') => time::of_day(&date, &clock),
            (_, Some(time)) => time.seconds(),
            (_, None) => return Outcome::Malformed("it has no time"),
        };
        let Some(time) = time else { return Outcome::Malformed("its time cannot be read") };
        let status = match self.take(Role::Status) {
            Some(value) => match value.whole() {
                Some(status @ 100..=999) => Some(status as u16),
                Some(_) => None,
                None if matches!(&value, Value::Text(text) if matches!(&**text, "" | "-" | "^")) => None,
                None => return Outcome::Malformed("its status is no number"),
            },
            None => None,
        };
        let asked = self.take(Role::Cacheable).is_none_or(|value| value.is_true());
        let cache = self.take(Role::Cache).and_then(|value| value.cache());
        let cache = cache.map(|cache| if cache == Cache::Miss && !asked { Cache::Other } else { cache });
        let is_shield = self.take(Role::Shield).is_some_and(|value| value.is_true())
            || self.take(Role::Edge).is_some_and(|value| !value.is_true())
            || self.take(Role::Source).is_some_and(|value| !is_eyeball(&value));
        let text = |value: Option<Value<'a>>| match value {
            Some(Value::Text(text)) if !matches!(&*text, "" | "-" | "^") => Some(text),
            Some(Value::Whole(number)) => Some(Cow::Owned(number.to_string())),
            _ => None,
        };
        Outcome::Line(Line {
            time,
            host: text(self.take(Role::Host)),
            status,
            bytes: self.take(Role::Bytes).and_then(|value| value.whole()),
            cache,
            is_shield,
            id: text(self.take(Role::Id)),
        })
    }
}

/// "If you want to count requests made [to] the Cloudflare Edge", says the vendor, this is the one to count.
fn is_eyeball(source: &Value<'_>) -> bool {
    match source {
        Value::Text(text) => matches!(&**text, "eyeball" | "1" | ""),
        Value::Whole(number) => *number == 1,
        _ => false,
    }
}
