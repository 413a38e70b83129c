//! Cloudflare's GraphQL analytics, data set `httpRequestsAdaptiveGroups` (Cloudflare's documentation, "GraphQL Analytics
//! API"). Its figures are estimates from a sample where there is much traffic; a sample's interval comes with them.

use crate::edge::{self, Bucket, Pace, Seconds, Window};
use crate::error::words;
use crate::secret::Secret;
use crate::{Client, VendorError, answer, minutes};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// Where the vendor has it.
pub const URL: &str = "https://api.cloudflare.com/client/v4";
/// The vendor answers for so many zones at once.
const ZONES: usize = 10;
/// Rows of a page. A full one may be a part, and is asked for again in halves.
const PAGE: usize = 5000;
/// How long a spent budget takes to come back: limits are by five minutes.
const BUDGET: Duration = Duration::from_secs(300);

/// `eyeball` leaves out what Workers ask for themselves.
const QUERY: &str = "query($zones:[String!],$f:filter){viewer{zones(filter:{zoneTag_in:$zones}){zoneTag \
caches:httpRequestsAdaptiveGroups(limit:5000,filter:$f,orderBy:[datetimeMinute_ASC]){\
count sum{edgeResponseBytes} avg{sampleInterval} dimensions{datetimeMinute cacheStatus}} \
statuses:httpRequestsAdaptiveGroups(limit:5000,filter:$f,orderBy:[datetimeMinute_ASC]){\
count dimensions{datetimeMinute edgeResponseStatus}}}}}";

/// What a Cloudflare account tells of its zones.
#[derive(Debug)]
pub struct Cloudflare {
    url: String,
    token: Secret,
    zones: Vec<String>,
    hosts: Vec<String>,
}

#[derive(Deserialize)]
struct Said {
    data: Option<Data>,
    errors: Option<Vec<serde_json::Value>>,
}

#[derive(Deserialize)]
struct Data {
    viewer: Viewer,
}

#[derive(Deserialize)]
struct Viewer {
    zones: Vec<Zone>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Zone {
    zone_tag: String,
    caches: Vec<Cached>,
    statuses: Vec<Status>,
}

#[derive(Deserialize)]
struct Cached {
    count: u64,
    sum: Sum,
    avg: Option<Avg>,
    dimensions: ByCache,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sum {
    edge_response_bytes: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Avg {
    sample_interval: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ByCache {
    datetime_minute: String,
    cache_status: String,
}

#[derive(Deserialize)]
struct Status {
    count: u64,
    dimensions: ByStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ByStatus {
    datetime_minute: String,
    edge_response_status: u16,
}

impl Cloudflare {
    /// `url`: [`URL`], or where a test has it. `zones`: their tags. `hosts`: those that are counted; none: all.
    pub fn new(url: &str, token: &str, zones: Vec<String>, hosts: Vec<String>) -> Self {
        Self { url: url.into(), token: token.into(), zones, hosts }
    }

    /// Nothing is said of how long figures change: an exporter in wide use waits for 5 minutes, and twice that is taken. How
    /// long they are kept depends on the plan; a week is within all of them. 300 questions in 5 minutes are allowed.
    pub fn pace(&self) -> Pace {
        Pace {
            grain: Duration::from_secs(60),
            settles: Duration::from_secs(600),
            keeps: Duration::from_secs(7 * 86_400),
            window: Duration::from_secs(2 * 3600),
            spacing: Duration::from_secs(2) * self.zones.len().div_ceil(ZONES).max(1) as u32,
        }
    }

    /// What its edge served.
    ///
    /// # Errors
    /// Where one of the zones has no believable answer.
    pub async fn buckets(&self, client: &Client, window: Window) -> Result<Vec<Bucket>, VendorError> {
        let host = answer::host(&self.url);
        let mut buckets = Vec::new();
        for zones in self.zones.chunks(ZONES) {
            let mut parts = vec![window];
            while let Some(part) = parts.pop() {
                match self.ask(client, &host, zones, part).await? {
                    Some(more) => buckets.extend(more),
                    None => parts.extend(halves(part).ok_or_else(|| VendorError::Lying {
                        host: host.clone(),
                        why: format!("one minute has {PAGE} groups"),
                    })?),
                }
            }
        }
        edge::check_all(buckets, &host, window, &self.pace())
    }

    /// `None` where there is more than a page.
    async fn ask(
        &self,
        client: &Client,
        host: &str,
        zones: &[String],
        window: Window,
    ) -> Result<Option<Vec<Bucket>>, VendorError> {
        let mut filter = serde_json::json!({
            "datetime_geq": minutes::write(window.from),
            "datetime_lt": minutes::write(window.until),
            "requestSource": "eyeball",
        });
        if !self.hosts.is_empty() {
            filter["clientRequestHTTPHost_in"] = serde_json::json!(self.hosts);
        }
        let body = serde_json::json!({ "query": QUERY, "variables": { "zones": zones, "f": filter } });
        let request = Request::post(format!("{}/graphql", self.url))
            .header("authorization", format!("Bearer {}", self.token.reveal()))
            .header("content-type", "application/json");
        let question = answer::question(host, request, Full::new(Bytes::from(body.to_string())))?;
        let said = client.ask(question).await?;
        let read: Said = answer::read(host, said.body())?;
        if let Some(errors) = read.errors.filter(|errors| !errors.is_empty()) {
            return Err(refusal(host, &errors));
        }
        let malformed =
            |why: &str| VendorError::Malformed { host: host.into(), why: why.into(), words: words(said.body()) };
        let told = read.data.ok_or_else(|| malformed("there is neither data nor an error"))?.viewer.zones;
        if told.iter().any(|zone| zone.caches.len() >= PAGE || zone.statuses.len() >= PAGE) {
            return Ok(None);
        }
        // A zone that the token may not read is left out without a word, and is no zone without requests.
        if let Some(silent) = zones.iter().find(|tag| !told.iter().any(|zone| zone.zone_tag == **tag)) {
            return Err(VendorError::Refused {
                host: host.into(),
                status: said.status().as_u16(),
                words: format!("nothing is told of the zone {silent}"),
            });
        }
        let mut buckets = Vec::new();
        for zone in told {
            if !zones.contains(&zone.zone_tag) {
                let why = format!("nobody asked for the zone {}", words(zone.zone_tag.as_bytes()));
                return Err(VendorError::Lying { host: host.into(), why });
            }
            buckets.extend(
                zone.buckets().map_err(|text| malformed(&format!("\"{}\" is no moment", words(text.as_bytes()))))?,
            );
        }
        Ok(Some(buckets))
    }
}

/// The first half last, so that it is taken first. `None` for a minute.
fn halves(window: Window) -> Option<[Window; 2]> {
    let Window { from, until } = window;
    let middle = from + (until - from) / 120 * 60;
    (middle > from).then_some([Window { from: middle, until }, Window { from, until: middle }])
}

/// Errors come with status 200.
fn refusal(host: &str, errors: &[serde_json::Value]) -> VendorError {
    let messages: Vec<&str> = errors.iter().filter_map(|error| error["message"].as_str()).collect();
    let text = messages.join("; ").to_lowercase();
    let (host, status, words) = (host.to_owned(), 200, words(messages.join("; ").as_bytes()));
    let is_refusal = |error: &serde_json::Value| error["extensions"]["code"] == "authz";
    if text.contains("rate limit") || text.contains("budget") {
        return VendorError::Busy { host, status, retry_after: Some(BUDGET), words };
    }
    if errors.iter().any(is_refusal) || text.contains("not authorized") || text.contains("authentication") {
        return VendorError::Refused { host, status, words };
    }
    VendorError::Failed { host, status, words }
}

/// A minute while its groups are added up: sums, and requests times their sample's interval.
#[derive(Default)]
struct Minute {
    requests: u64,
    hits: u64,
    misses: u64,
    bytes: u64,
    classes: [u64; 5],
    sampled: Option<f64>,
}

/// By all classes together.
fn answered(minute: &Minute) -> u64 {
    minute.classes.iter().fold(0, |sum, class| sum.saturating_add(*class))
}

impl Zone {
    /// Its minutes; the error is a text that is no moment.
    fn buckets(self) -> Result<Vec<Bucket>, String> {
        let mut by_minute: BTreeMap<Seconds, Minute> = BTreeMap::new();
        for group in self.caches {
            let text = group.dimensions.datetime_minute;
            let minute = by_minute.entry(minutes::read(&text).ok_or(text)?).or_default();
            let count = group.count;
            minute.requests = minute.requests.saturating_add(count);
            minute.bytes = minute.bytes.saturating_add(group.sum.edge_response_bytes);
            match group.dimensions.cache_status.as_str() {
                "hit" | "stale" | "updating" | "revalidated" | "stream_hit" => {
                    minute.hits = minute.hits.saturating_add(count);
                }
                "miss" | "expired" | "deferred" => minute.misses = minute.misses.saturating_add(count),
                // Not looked for in a cache: bypass, dynamic, none, ignored, unknown, and what may come.
                _ => {}
            }
            if let Some(avg) = group.avg {
                *minute.sampled.get_or_insert(0.0) += avg.sample_interval * count as f64;
            }
        }
        for group in self.statuses {
            let text = group.dimensions.datetime_minute;
            let Some(minute) = by_minute.get_mut(&minutes::read(&text).ok_or(text)?) else { continue };
            let class = usize::from(group.dimensions.edge_response_status / 100).wrapping_sub(1);
            if let Some(class) = minute.classes.get_mut(class) {
                *class = class.saturating_add(group.count);
            }
        }
        let bucket = |(start, minute): (Seconds, Minute)| Bucket {
            property: self.zone_tag.clone(),
            start,
            requests: minute.requests,
            hits: Some(minute.hits),
            misses: Some(minute.misses),
            bytes: Some(minute.bytes),
            // The two lists are not made at one moment: requests may have come in between.
            classes: minute.classes.map(|class| (answered(&minute) <= minute.requests).then_some(class)),
            // Cloudflare tells of no requests to the origin.
            origin_requests: None,
            origin_bytes: None,
            sampling: minute.sampled.filter(|_| minute.requests > 0).map(|sum| sum / minute.requests as f64),
        };
        Ok(by_minute.into_iter().map(bucket).collect())
    }
}

#[cfg(test)]
mod tests;
