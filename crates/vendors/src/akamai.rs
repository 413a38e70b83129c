//! Akamai's Reporting API v2: the report `delivery/traffic/current`, by five minutes at the finest. (Version 1 of these
//! reports was switched off in February 2026.)
//!
//! Akamai tells requests, bytes and classes of status at its edge, and its own count of requests to the origin. It tells no
//! hits: its "offload" is made from the two counts, as ours is.

use crate::answer::{self, encode, question, read};
use crate::edge::{self, Bucket, Pace, Seconds, Window};
use crate::edgegrid::ApiClient;
use crate::error::words;
use crate::secret::Secret;
use crate::{Client, VendorError, minutes};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;
use time::OffsetDateTime;

const REPORT: &str = "/reporting-api/v2/reports/delivery/traffic/current/data";
const DIMENSIONS: [&str; 3] = ["time5minutes", "cpcode", "responseClass"];
const METRICS: [&str; 4] = ["edgeHitsSum", "edgeResponseBytesSum", "originHitsSum", "originResponseBytesSum"];
/// So many figures the report gives at most; whether it says so when there are more is not documented.
const FIGURES: usize = 50_000;
/// 24 CP codes, each with 72 buckets of seven classes, have [`FIGURES`] at the most.
const CP_CODES: usize = 24;
const PACE: Pace = Pace {
    grain: Duration::from_secs(300),
    // The report's own default is a window that ends nine minutes ago. Nothing is said of when figures are final.
    settles: Duration::from_secs(1800),
    keeps: Duration::from_secs(90 * 86_400),
    window: Duration::from_secs(6 * 3600),
    // Akamai's reporting APIs differ in their limits; 20 a minute is the least of them.
    spacing: Duration::from_secs(6),
};

/// Asks Akamai about CP codes.
#[derive(Clone, Debug)]
pub struct Akamai {
    url: String,
    host: String,
    client: ApiClient,
    account_switch_key: Option<Secret>,
    cp_codes: Vec<String>,
}

#[derive(Deserialize)]
struct Report {
    data: Vec<Map<String, Value>>,
}

/// The rows of one bucket, one for each class of status.
#[derive(Default)]
struct Rows {
    seen: HashSet<String>,
    sums: [Option<u64>; METRICS.len()],
    classes: [Option<u64>; 5],
}

impl Akamai {
    /// `url`: `https://` and the host of the `.edgerc`, or where a test has it; the tokens stand there too. The account
    /// switch key is for those who look after several accounts. `cp_codes`: their numbers.
    pub fn new(
        url: &str,
        client_token: &str,
        client_secret: &str,
        access_token: &str,
        account_switch_key: Option<&str>,
        cp_codes: Vec<String>,
    ) -> Self {
        let client = ApiClient {
            client_token: client_token.into(),
            client_secret: client_secret.into(),
            access_token: access_token.into(),
        };
        let account_switch_key = account_switch_key.map(Into::into);
        Self { url: url.into(), host: answer::host(url), client, account_switch_key, cp_codes }
    }

    /// How Akamai's figures come.
    pub fn pace(&self) -> Pace {
        PACE
    }

    /// What the CP codes served in a window.
    ///
    /// # Errors
    /// Anything that is not a whole and believable answer.
    pub async fn buckets(&self, client: &Client, window: Window) -> Result<Vec<Bucket>, VendorError> {
        let mut buckets = Vec::new();
        for cp_codes in self.cp_codes.chunks(CP_CODES) {
            let report = self.report(client, window, cp_codes).await?;
            buckets.extend(self.read(report, cp_codes)?);
        }
        edge::check_all(buckets, &self.host, window, &PACE)
    }

    async fn report(&self, client: &Client, window: Window, cp_codes: &[String]) -> Result<Report, VendorError> {
        let (start, end) = (encode(&minutes::write(window.from)), encode(&minutes::write(window.until)));
        let mut uri = format!("{}{REPORT}?start={start}&end={end}", self.url);
        if let Some(key) = &self.account_switch_key {
            uri += &format!("&accountSwitchKey={}", encode(key.reveal()));
        }
        let body = json!({
            "dimensions": DIMENSIONS,
            "metrics": METRICS,
            "filters": [{ "dimensionName": "cpcode", "operator": "IN_LIST", "expressions": cp_codes }],
            "sortBys": [{ "name": "time5minutes", "sortOrder": "ASCENDING" }],
        });
        let request =
            Request::post(uri).header("content-type", "application/json").header("accept", "application/json");
        let mut request = question(&self.host, request, body.to_string())?;
        self.client.sign(&mut request, OffsetDateTime::now_utc());
        let answer = client.ask(request.map(|body| Full::new(Bytes::from(body)))).await?;
        let report: Report = read(&self.host, answer.body())?;
        if report.data.len() * METRICS.len() >= FIGURES {
            return Err(
                self.lying(format!("it has as many figures as it may ({FIGURES}), so that some may be missing"))
            );
        }
        Ok(report)
    }

    fn read(&self, report: Report, cp_codes: &[String]) -> Result<Vec<Bucket>, VendorError> {
        let mut buckets = BTreeMap::<(String, Seconds), Rows>::new();
        for row in report.data {
            let row = flat(row);
            let cp_code = text(row.get("cpcode")).unwrap_or_default();
            if !cp_codes.contains(&cp_code) {
                let asked = words(cp_code.as_bytes());
                return Err(self.lying(format!("it tells of the CP code \"{asked}\", which was not asked for")));
            }
            let start = text(row.get("time5minutes")).and_then(|text| text.parse().ok());
            let start: Seconds = start.ok_or_else(|| self.malformed("a row without its time5minutes", &row))?;
            let rows = buckets.entry((cp_code, start)).or_default();
            let class = text(row.get("responseClass")).unwrap_or_default();
            let counts = METRICS.map(|metric| match row.get(metric) {
                None | Some(Value::Null) => Ok(None),
                Some(count) => count.as_u64().map(Some).ok_or_else(|| self.malformed("a sum is no count", &row)),
            });
            let [requests, bytes, origin_requests, origin_bytes] = counts;
            let counts = [requests?, bytes?, origin_requests?, origin_bytes?];
            let requests = counts[0].ok_or_else(|| self.malformed("a row without its edgeHitsSum", &row))?;
            if !rows.add(&class, requests, counts) {
                return Err(self.lying(format!("it has two rows of class \"{}\" at {start}", words(class.as_bytes()))));
            }
        }
        Ok(buckets.into_iter().map(|((property, start), rows)| rows.bucket(property, start)).collect())
    }

    fn lying(&self, why: String) -> VendorError {
        VendorError::Lying { host: self.host.clone(), why }
    }

    fn malformed(&self, why: &str, row: &Map<String, Value>) -> VendorError {
        let said = Value::from(row.clone()).to_string();
        VendorError::Malformed { host: self.host.clone(), why: why.into(), words: words(said.as_bytes()) }
    }
}

impl Rows {
    /// Adds a row; `false`: this class was there already.
    fn add(&mut self, class: &str, requests: u64, counts: [Option<u64>; METRICS.len()]) -> bool {
        let first = self.seen.is_empty();
        if !self.seen.insert(class.to_owned()) {
            return false;
        }
        for (sum, count) in self.sums.iter_mut().zip(counts) {
            // A sum of which a part is unknown is unknown.
            *sum = if first { count } else { sum.zip(count).map(|(sum, count)| sum.saturating_add(count)) };
        }
        let class = ["1xx", "2xx", "3xx", "4xx", "5xx"].iter().position(|known| *known == class);
        if let Some(class) = class {
            self.classes[class] = Some(requests);
        }
        true
    }

    fn bucket(self, property: String, start: Seconds) -> Bucket {
        let [requests, bytes, origin_requests, origin_bytes] = self.sums;
        // Where rows have classes, a class without a row had no requests; rows without classes tell nothing of them.
        let classed = !self.seen.contains("");
        let classes = self.classes.map(|count| if classed { count.or(Some(0)) } else { None });
        let requests = requests.unwrap_or_default();
        Bucket { property, start, requests, bytes, classes, origin_requests, origin_bytes, ..Bucket::default() }
    }
}

/// A row as it is mostly seen, from `{"dimensions": {..}, "metrics": {..}}` too.
fn flat(mut row: Map<String, Value>) -> Map<String, Value> {
    for part in ["dimensions", "metrics"] {
        if let Some(Value::Object(fields)) = row.remove(part) {
            row.extend(fields);
        }
    }
    row
}

/// A dimension's value: numbers and text are both seen.
fn text(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
