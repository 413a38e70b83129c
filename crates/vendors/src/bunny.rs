//! Bunny's statistics: `GET /statistics?hourly=true`, by hour at the finest (the shapes of Bunny's published clients).

use crate::edge::{self, Bucket, Pace, Seconds, Window};
use crate::secret::Secret;
use crate::{Client, VendorError, answer, minutes};
use http::Request;
use http_body_util::Full;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// Where the vendor has it.
pub const URL: &str = "https://api.bunny.net";
const DAY: Seconds = 86_400;

/// What a Bunny account tells of its pull zones.
#[derive(Debug)]
pub struct Bunny {
    url: String,
    key: Secret,
    zones: Vec<String>,
}

/// Values by moment. `CacheHitRateChart` is not read: published answers have 0 in it beside a total rate of 100, so that
/// nobody knows what it is a rate of.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Statistics {
    requests_served_chart: BTreeMap<String, f64>,
    bandwidth_used_chart: Option<BTreeMap<String, f64>>,
    pull_requests_pulled_chart: Option<BTreeMap<String, f64>>,
    origin_traffic_chart: Option<BTreeMap<String, f64>>,
    error3xx_chart: Option<BTreeMap<String, f64>>,
    error4xx_chart: Option<BTreeMap<String, f64>>,
    error5xx_chart: Option<BTreeMap<String, f64>>,
}

impl Bunny {
    /// `url`: [`URL`], or where a test has it. `zones`: the ids of pull zones.
    pub fn new(url: &str, key: &str, zones: Vec<String>) -> Self {
        Self { url: url.into(), key: key.into(), zones }
    }

    /// Nothing is published of delay, retention or limits, so all of it is chosen with care.
    pub fn pace(&self) -> Pace {
        Pace {
            grain: Duration::from_secs(3600),
            settles: Duration::from_secs(3600),
            keeps: Duration::from_secs(30 * 86_400),
            window: Duration::from_secs(7 * 86_400),
            spacing: Duration::from_secs(5) * self.zones.len().max(1) as u32,
        }
    }

    /// What its edge served.
    ///
    /// # Errors
    /// Where one of the pull zones has no believable answer.
    pub async fn buckets(&self, client: &Client, window: Window) -> Result<Vec<Bucket>, VendorError> {
        let host = answer::host(&self.url);
        let mut buckets = Vec::new();
        for zone in &self.zones {
            let request = Request::get(format!(
                "{}/statistics?dateFrom={}&dateTo={}&pullZone={zone}&serverZoneId=-1&hourly=true&loadErrors=true",
                self.url,
                minutes::write(window.from),
                minutes::write(window.until)
            ))
            .header("accesskey", self.key.reveal())
            .header("accept", "application/json");
            let said = client.ask(answer::question(&host, request, Full::default())?).await?;
            let statistics: Statistics = answer::read(&host, said.body())?;
            buckets.extend(statistics.buckets(&host, zone, window)?);
        }
        edge::check_all(buckets, &host, window, &self.pace())
    }
}

impl Statistics {
    fn buckets(&self, host: &str, zone: &str, window: Window) -> Result<Vec<Bucket>, VendorError> {
        let mut buckets = Vec::new();
        for text in self.requests_served_chart.keys() {
            let start = minutes::read(text).ok_or_else(|| VendorError::Malformed {
                host: host.into(),
                why: "a chart has a key that is no moment".into(),
                words: crate::error::words(text.as_bytes()),
            })?;
            // Dates may be taken for whole days: what is of the window's days and not of the window was not asked for.
            let days = window.from.div_euclid(DAY) * DAY..(window.until.div_euclid(DAY) + 1) * DAY;
            if days.contains(&start) && !(window.from..window.until).contains(&start) {
                continue;
            }
            let value = |chart: Option<&BTreeMap<String, f64>>, what: &str| {
                let value = chart.and_then(|chart| chart.get(text));
                value.map(|value| answer::count(host, &format!("{what} of {text}"), *value)).transpose()
            };
            let requests = value(Some(&self.requests_served_chart), "RequestsServedChart")?.unwrap_or_default();
            let errors = [
                value(self.error3xx_chart.as_ref(), "Error3xxChart")?,
                value(self.error4xx_chart.as_ref(), "Error4xxChart")?,
                value(self.error5xx_chart.as_ref(), "Error5xxChart")?,
            ];
            let classes = match errors {
                [Some(third), Some(fourth), Some(fifth)] => {
                    // What is in none of the three charts was answered with 2xx.
                    let rest = requests.checked_sub(third.saturating_add(fourth).saturating_add(fifth));
                    let rest = rest.ok_or_else(|| VendorError::Lying {
                        host: host.into(),
                        why: format!("{zone} has more answers of 3xx to 5xx than requests at {text}"),
                    })?;
                    [None, Some(rest), Some(third), Some(fourth), Some(fifth)]
                }
                [third, fourth, fifth] => [None, None, third, fourth, fifth],
            };
            buckets.push(Bucket {
                property: zone.into(),
                start,
                requests,
                bytes: value(self.bandwidth_used_chart.as_ref(), "BandwidthUsedChart")?,
                classes,
                origin_requests: value(self.pull_requests_pulled_chart.as_ref(), "PullRequestsPulledChart")?,
                origin_bytes: value(self.origin_traffic_chart.as_ref(), "OriginTrafficChart")?,
                ..Bucket::default()
            });
        }
        Ok(buckets)
    }
}

#[cfg(test)]
mod tests;
