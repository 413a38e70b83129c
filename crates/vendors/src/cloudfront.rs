//! CloudFront's figures, which Amazon gives through CloudWatch: `GetMetricData` in us-east-1, whatever a distribution's
//! edges are (Amazon CloudFront Developer Guide, "Monitoring CloudFront metrics with Amazon CloudWatch").
//!
//! It tells requests and bytes, and which share of the requests was answered with 4xx and with 5xx. What it does not tell
//! stays unknown: there is no count of requests to the origin, and the metric `CacheHitRate` is a share of cacheable
//! requests alone, whose number is nowhere told, so that no count of hits can be had from it.

use crate::answer::{self, count, question, read};
use crate::edge::{Bucket, Pace, Seconds, Window};
use crate::error::words;
use crate::sigv4::{AccessKey, Scope};
use crate::{Client, VendorError};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;
use time::OffsetDateTime;

/// Where the vendor has it.
pub const URL: &str = "https://monitoring.us-east-1.amazonaws.com";
const SCOPE: Scope<'_> = Scope { region: "us-east-1", service: "monitoring" };
/// The figure, and the statistic that is right for it.
const METRICS: [(&str, &str); 4] =
    [("Requests", "Sum"), ("BytesDownloaded", "Sum"), ("4xxErrorRate", "Average"), ("5xxErrorRate", "Average")];
/// A question has at most 500 metrics.
const DISTRIBUTIONS: usize = 500 / METRICS.len();
/// A question of this size and [`PACE`]'s window fits into one page; CloudWatch may make more of it, yet not endlessly many.
const PAGES: usize = 50;
const PACE: Pace = Pace {
    grain: Duration::from_secs(60),
    // Amazon gives no figure. What is asked for again costs again.
    settles: Duration::from_secs(600),
    keeps: Duration::from_secs(15 * 86_400),
    // 180 minutes of 500 metrics are less than the 100,800 points that one question gives.
    window: Duration::from_secs(3 * 3600),
    spacing: Duration::from_secs(2),
};
/// Errors that say "not you", which CloudWatch gives with a status of 400 as often as with 403.
const REFUSALS: [&str; 11] = [
    "AccessDenied",
    "ExpiredToken",
    "IncompleteSignature",
    "InvalidClientTokenId",
    "InvalidSignature",
    "MissingAuthentication",
    "NotAuthorized",
    "RequestExpired",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "UnrecognizedClient",
];

/// Asks CloudWatch about distributions.
#[derive(Clone, Debug)]
pub struct CloudFront {
    url: String,
    host: String,
    key: AccessKey,
    distributions: Vec<String>,
}

/// One minute of one distribution, by [`METRICS`].
type Minute = [Option<f64>; METRICS.len()];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    metric_data_results: Vec<Series>,
    next_token: Option<String>,
    #[serde(default)]
    messages: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Series {
    id: String,
    timestamps: Vec<f64>,
    values: Vec<f64>,
    status_code: Option<String>,
    #[serde(default)]
    messages: Vec<Value>,
}

impl CloudFront {
    /// `url`: [`URL`], or where a test has it. The policy of the access key allows `cloudwatch:GetMetricData`; the token
    /// of a session is for keys that expire. `distributions`: their ids.
    pub fn new(
        url: &str,
        access_key: &str,
        secret_key: &str,
        session_token: Option<&str>,
        distributions: Vec<String>,
    ) -> Self {
        let session_token = session_token.map(Into::into);
        let key = AccessKey { id: access_key.into(), secret: secret_key.into(), session_token };
        Self { url: url.into(), host: answer::host(url), key, distributions }
    }

    /// How CloudFront's figures come.
    pub fn pace(&self) -> Pace {
        PACE
    }

    /// What the distributions served in a window. A minute without traffic has no bucket: CloudWatch tells nothing of it.
    ///
    /// # Errors
    /// Anything that is not a whole and credible answer.
    pub async fn buckets(&self, client: &Client, window: Window) -> Result<Vec<Bucket>, VendorError> {
        let mut buckets = Vec::new();
        for distributions in self.distributions.chunks(DISTRIBUTIONS) {
            for ((distribution, start), minute) in self.minutes(client, window, distributions).await? {
                if let Some(bucket) = self.bucket(distribution, start, minute)? {
                    buckets.push(bucket.check(&self.host, window, &PACE)?);
                }
            }
        }
        Ok(buckets)
    }

    async fn minutes<'a>(
        &self,
        client: &Client,
        window: Window,
        distributions: &'a [String],
    ) -> Result<BTreeMap<(&'a str, Seconds), Minute>, VendorError> {
        let (queries, ids) = queries(distributions);
        let mut minutes = BTreeMap::<_, Minute>::new();
        let mut partial = HashMap::new();
        let mut token = None;
        let mut tokens = HashSet::new();
        for _ in 0..PAGES {
            let page = self.page(client, window, &queries, token.as_deref()).await?;
            for series in page.metric_data_results {
                let Some(&(distribution, metric)) = ids.get(&series.id) else {
                    return Err(
                        self.lying(format!("it tells of \"{}\", which was not asked for", words(series.id.as_bytes())))
                    );
                };
                match series.status_code.as_deref() {
                    None | Some("Complete") => partial.remove(&(distribution, metric)),
                    Some("PartialData") => partial.insert((distribution, metric), series.messages),
                    Some(code) => return Err(self.failed(code, &series.messages)),
                };
                if series.timestamps.len() != series.values.len() {
                    return Err(self.lying("a series has not as many values as timestamps".into()));
                }
                for (at, value) in series.timestamps.into_iter().zip(series.values) {
                    let start = count(&self.host, "a timestamp", at)? as Seconds;
                    if !(window.from..window.until).contains(&start) {
                        return Err(
                            self.lying(format!("a point is at {start}, asked was {} to {}", window.from, window.until))
                        );
                    }
                    let point = &mut minutes.entry((distribution, start)).or_default()[metric];
                    if point.replace(value).is_some() {
                        return Err(self.lying(format!("{distribution} has two values of one metric at {start}")));
                    }
                }
            }
            match page.next_token {
                Some(next) if !tokens.insert(next.clone()) => {
                    return Err(self.lying("its pages go round in a circle".into()));
                }
                Some(next) => token = Some(next),
                None => match partial.values().next() {
                    Some(messages) => return Err(self.failed("PartialData", messages)),
                    None => return Ok(minutes),
                },
            }
        }
        Err(self.lying(format!("it has more than {PAGES} pages for one question")))
    }

    async fn page(
        &self,
        client: &Client,
        window: Window,
        queries: &Value,
        token: Option<&str>,
    ) -> Result<Page, VendorError> {
        let mut body = json!({ "MetricDataQueries": queries, "StartTime": window.from, "EndTime": window.until });
        if let Some(token) = token {
            body["NextToken"] = token.into();
        }
        let request = Request::post(format!("{}/", self.url))
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-amz-target", "GraniteServiceVersion20100801.GetMetricData");
        let mut request = question(&self.host, request, body.to_string())?;
        self.key.sign(&mut request, SCOPE, OffsetDateTime::now_utc());
        let answer = client.ask(request.map(|body| Full::new(Bytes::from(body)))).await.map_err(sort)?;
        let page: Page = read(&self.host, answer.body())?;
        // "As much of the operation as possible is executed" is less than what was asked for.
        if page.messages.is_empty() { Ok(page) } else { Err(self.failed("a message", &page.messages)) }
    }

    fn bucket(&self, distribution: &str, start: Seconds, minute: Minute) -> Result<Option<Bucket>, VendorError> {
        let [requests, bytes, client_errors, server_errors] = minute;
        // The metrics of a minute do not come at once: without its requests the minute is not there yet.
        let Some(requests) = requests else { return Ok(None) };
        let requests = count(&self.host, "Requests", requests)?;
        let share = |percent: Option<f64>| match percent {
            Some(percent) if !(0.0..=100.0).contains(&percent) => {
                Err(self.lying(format!("a share of {distribution} is {percent} %")))
            }
            percent => Ok(percent.map(|percent| (requests as f64 * percent / 100.0).round() as u64)),
        };
        let (client_errors, server_errors) = (share(client_errors)?, share(server_errors)?);
        // Both may have been rounded up.
        if client_errors.unwrap_or(0) + server_errors.unwrap_or(0) > requests + 1 {
            return Err(self.lying(format!("{distribution} has more errors than requests at {start}")));
        }
        Ok(Some(Bucket {
            property: distribution.into(),
            start,
            requests,
            bytes: bytes.map(|bytes| count(&self.host, "BytesDownloaded", bytes)).transpose()?,
            classes: [None, None, None, client_errors, server_errors],
            ..Bucket::default()
        }))
    }

    fn lying(&self, why: String) -> VendorError {
        VendorError::Lying { host: self.host.clone(), why }
    }

    fn failed(&self, code: &str, messages: &[Value]) -> VendorError {
        let (host, status) = (self.host.clone(), 200);
        let words = words(format!("{code} {}", Value::from(messages.to_vec())).as_bytes());
        match code {
            "PartialData" | "InternalError" => VendorError::Busy { host, status, retry_after: None, words },
            _ => VendorError::Failed { host, status, words },
        }
    }
}

/// The queries of a question, and which distribution and metric each answers for.
fn queries(distributions: &[String]) -> (Value, HashMap<String, (&str, usize)>) {
    let mut queries = Vec::new();
    let mut ids = HashMap::new();
    for (number, distribution) in distributions.iter().enumerate() {
        for (metric, (name, statistic)) in METRICS.iter().enumerate() {
            let id = format!("d{number}m{metric}");
            let dimensions = json!([
                { "Name": "DistributionId", "Value": distribution },
                { "Name": "Region", "Value": "Global" },
            ]);
            let asked = json!({ "Namespace": "AWS/CloudFront", "MetricName": name, "Dimensions": dimensions });
            let seconds = PACE.grain.as_secs();
            queries.push(json!({ "Id": id, "MetricStat": { "Metric": asked, "Period": seconds, "Stat": statistic } }));
            ids.insert(id, (distribution.as_str(), metric));
        }
    }
    (Value::from(queries), ids)
}

/// CloudWatch's errors are 400s with a name in the body; the name says what kind it is.
fn sort(error: VendorError) -> VendorError {
    match error {
        VendorError::Failed { host, status, words } if words.contains("Throttl") || words.contains("LimitExceeded") => {
            VendorError::Busy { host, status, retry_after: None, words }
        }
        VendorError::Failed { host, status, words } if REFUSALS.iter().any(|name| words.contains(name)) => {
            VendorError::Refused { host, status, words }
        }
        error => error,
    }
}

#[cfg(test)]
mod tests;
