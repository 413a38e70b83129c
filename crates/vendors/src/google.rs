//! Cloud CDN's figures, which Google gives through Cloud Monitoring: `projects.timeSeries.list` of the metrics of the
//! external Application Load Balancer, which Cloud CDN is a part of.
//!
//! `backend_response_bytes_count` holds what came from caches too, so that there is no count of bytes from the origin.

use crate::answer::{self, encode, question, read};
use crate::edge::{self, Bucket, Pace, Seconds, Window};
use crate::error::words;
use crate::google_token::ServiceAccount;
use crate::{Client, VendorError, minutes};
use http::{HeaderValue, Request, header};
use http_body_util::Full;
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

pub use crate::google_token::KeyError;

/// Where the vendor has it.
pub const URL: &str = "https://monitoring.googleapis.com";
const URL_MAP: &str = "resource.label.url_map_name";
/// Of the figure's own labels, those that tell something here.
const LABELS: [&str; 2] = ["metric.label.cache_result", "metric.label.response_code_class"];
/// Points on a page: some four megabytes.
const PAGE: usize = 20_000;
const PAGES: usize = 50;
const PACE: Pace = Pace {
    grain: Duration::from_secs(60),
    // What is sampled each minute is visible within 210 s.
    settles: Duration::from_secs(300),
    // After six weeks Google keeps coarser points.
    keeps: Duration::from_secs(42 * 86_400),
    window: Duration::from_secs(6 * 3600),
    spacing: Duration::from_secs(2),
};

/// Asks Cloud Monitoring about URL maps, which is what Google calls its load balancers.
#[derive(Debug)]
pub struct Google {
    url: String,
    host: String,
    account: ServiceAccount,
    project: String,
    url_maps: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Page {
    time_series: Vec<Series>,
    next_page_token: Option<String>,
    execution_errors: Vec<Value>,
}

#[derive(Deserialize)]
struct Series {
    #[serde(default)]
    metric: Labels,
    #[serde(default)]
    resource: Labels,
    #[serde(default)]
    points: Vec<Point>,
}

#[derive(Default, Deserialize)]
struct Labels {
    #[serde(default)]
    labels: HashMap<String, String>,
}

#[derive(Deserialize)]
struct Point {
    interval: Interval,
    value: Count,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Interval {
    end_time: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Count {
    /// 64 bits do not fit into a number of JSON: it is text.
    int64_value: String,
}

/// One minute of one URL map.
#[derive(Default)]
struct Minute {
    requests: Option<u64>,
    hits: Option<u64>,
    misses: Option<u64>,
    classes: Option<[u64; 5]>,
    bytes: Option<u64>,
    origin_requests: Option<u64>,
}

type Minutes = BTreeMap<(String, Seconds), Minute>;

impl Google {
    /// `url`: [`URL`], or where a test has it. The service account, whose JSON key file this is, has the role Monitoring
    /// Viewer in the project. `url_maps`: their names.
    ///
    /// # Errors
    /// Where the key file is none.
    pub fn new(url: &str, key_file: &[u8], project: &str, url_maps: Vec<String>) -> Result<Self, KeyError> {
        let account = ServiceAccount::new(key_file)?;
        Ok(Self { url: url.into(), host: answer::host(url), account, project: project.into(), url_maps })
    }

    /// How Google's figures come.
    pub fn pace(&self) -> Pace {
        PACE
    }

    /// What the load balancers served in a window.
    ///
    /// # Errors
    /// Anything that is not a whole and believable answer.
    pub async fn buckets(&self, client: &Client, window: Window) -> Result<Vec<Bucket>, VendorError> {
        let mut minutes = Minutes::new();
        self.figure(client, window, "request_count", &LABELS, &mut minutes, requests).await?;
        self.figure(client, window, "response_bytes_count", &[], &mut minutes, |minute, _, count| {
            add(&mut minute.bytes, count);
        })
        .await?;
        self.figure(client, window, "backend_request_count", &[], &mut minutes, |minute, _, count| {
            add(&mut minute.origin_requests, count);
        })
        .await?;
        let buckets = minutes.into_iter().filter_map(|((property, start), minute)| minute.bucket(property, start));
        edge::check_all(buckets.collect(), &self.host, window, &PACE)
    }

    async fn figure(
        &self,
        client: &Client,
        window: Window,
        figure: &str,
        labels: &[&str],
        minutes: &mut Minutes,
        put: fn(&mut Minute, &HashMap<String, String>, u64),
    ) -> Result<(), VendorError> {
        let question = self.question(window, figure, labels);
        let mut tokens = HashSet::new();
        let mut seen = HashSet::new();
        let mut token = String::new();
        for _ in 0..PAGES {
            let page = self.page(client, &format!("{question}{token}")).await?;
            for series in page.time_series {
                let url_map = series.resource.labels.get("url_map_name").cloned().unwrap_or_default();
                if !self.url_maps.contains(&url_map) {
                    let told = words(url_map.as_bytes());
                    return Err(self.lying(format!("it tells of the URL map \"{told}\", which was not asked for")));
                }
                let labels = series.metric.labels;
                let mut series_labels =
                    labels.iter().map(|(name, value)| format!("{name}={value};")).collect::<Vec<_>>();
                series_labels.sort_unstable();
                let series_labels = series_labels.concat();
                for point in series.points {
                    let (start, count) = self.point(&point)?;
                    if !seen.insert((url_map.clone(), series_labels.clone(), start)) {
                        return Err(self.lying(format!("{url_map} has two values of {figure} at {start}")));
                    }
                    put(minutes.entry((url_map.clone(), start)).or_default(), &labels, count);
                }
            }
            match page.next_page_token.filter(|token| !token.is_empty()) {
                None => return Ok(()),
                Some(next) => {
                    token = format!("&pageToken={}", encode(&next));
                    if !tokens.insert(next) {
                        return Err(self.lying("its pages go round in a circle".into()));
                    }
                }
            }
        }
        Err(self.lying(format!("it has more than {PAGES} pages for one question")))
    }

    /// The question's target. A point is of the minute up to its end, so that the window's first point ends a minute
    /// after its beginning; the interval's own beginning does not belong to it.
    fn question(&self, window: Window, figure: &str, labels: &[&str]) -> String {
        let quoted = |name: &String| format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""));
        let url_maps = self.url_maps.iter().map(quoted).collect::<Vec<_>>().join(",");
        let filter = format!(
            "metric.type=\"loadbalancing.googleapis.com/https/{figure}\" AND resource.type=\"https_lb_rule\" AND \
             {URL_MAP}=one_of({url_maps})"
        );
        let mut question = format!(
            "{}/v3/projects/{}/timeSeries?filter={}&interval.startTime={}&interval.endTime={}\
             &aggregation.alignmentPeriod={}s&aggregation.perSeriesAligner=ALIGN_DELTA\
             &aggregation.crossSeriesReducer=REDUCE_SUM&pageSize={PAGE}",
            self.url,
            encode(&self.project),
            encode(&filter),
            encode(&minutes::write(window.from)),
            encode(&minutes::write(window.until)),
            PACE.grain.as_secs(),
        );
        for field in [URL_MAP].iter().chain(labels) {
            question += &format!("&aggregation.groupByFields={}", encode(field));
        }
        question
    }

    async fn page(&self, client: &Client, target: &str) -> Result<Page, VendorError> {
        let token = self.account.token(client).await?;
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", token.reveal()))
            .map_err(|_| self.lying("its token cannot stand in a header".into()))?;
        bearer.set_sensitive(true);
        let request = Request::get(target).header(header::AUTHORIZATION, bearer);
        let answer = client.ask(question(&self.host, request, Full::default())?).await;
        if let Err(VendorError::Refused { status: 401, .. }) = answer {
            self.account.forget().await;
        }
        let page: Page = read(&self.host, answer?.body())?;
        if let Some(error) = page.execution_errors.first() {
            // Some of what was asked for is missing.
            let words = words(error.to_string().as_bytes());
            return Err(VendorError::Failed { host: self.host.clone(), status: 200, words });
        }
        Ok(page)
    }

    fn point(&self, point: &Point) -> Result<(Seconds, u64), VendorError> {
        let malformed = |why: &str, said: &str| VendorError::Malformed {
            host: self.host.clone(),
            why: why.into(),
            words: words(said.as_bytes()),
        };
        let text = &point.interval.end_time;
        let end = minutes::read(text).ok_or_else(|| malformed("an endTime is no moment", text))?;
        let text = &point.value.int64_value;
        let count = text.parse().map_err(|_| malformed("an int64Value is no count", text))?;
        Ok((end - PACE.grain.as_secs() as Seconds, count))
    }

    fn lying(&self, why: String) -> VendorError {
        VendorError::Lying { host: self.host.clone(), why }
    }
}

/// Adds requests with what their labels say of them.
fn requests(minute: &mut Minute, labels: &HashMap<String, String>, count: u64) {
    add(&mut minute.requests, count);
    if let Some(result) = labels.get("cache_result") {
        // DISABLED was not looked for in a cache, and PARTIAL_HIT was found in part: neither is a hit or a miss.
        add(&mut minute.hits, if result == "HIT" { count } else { 0 });
        add(&mut minute.misses, if result == "MISS" { count } else { 0 });
    }
    if let Some(class) = labels.get("response_code_class") {
        let classes = minute.classes.get_or_insert_default();
        let class = class.parse::<usize>().ok().and_then(|class| (class / 100).checked_sub(1));
        // 0: there was no answer.
        if let Some(sum) = class.and_then(|class| classes.get_mut(class)) {
            *sum = sum.saturating_add(count);
        }
    }
}

fn add(sum: &mut Option<u64>, count: u64) {
    *sum = Some(sum.unwrap_or_default().saturating_add(count));
}

impl Minute {
    /// Without a count of requests there is no bucket yet.
    fn bucket(self, property: String, start: Seconds) -> Option<Bucket> {
        Some(Bucket {
            property,
            start,
            requests: self.requests?,
            hits: self.hits,
            misses: self.misses,
            bytes: self.bytes,
            classes: self.classes.map_or([None; 5], |classes| classes.map(Some)),
            origin_requests: self.origin_requests,
            ..Bucket::default()
        })
    }
}

#[cfg(test)]
mod tests;
