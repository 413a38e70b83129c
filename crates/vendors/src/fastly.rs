//! Fastly's historical stats: `GET /stats/service/ID?by=minute` (Fastly's API reference, "Historical Stats").

use crate::edge::{self, Bucket, Pace, Seconds, Window};
use crate::secret::Secret;
use crate::{Client, VendorError, answer};
use http::Request;
use http_body_util::Full;
use serde::Deserialize;
use std::time::Duration;

/// Where the vendor has it.
pub const URL: &str = "https://api.fastly.com";

/// What a Fastly account tells of its services.
#[derive(Debug)]
pub struct Fastly {
    url: String,
    token: Secret,
    services: Vec<String>,
}

#[derive(Deserialize)]
struct Stats {
    data: Vec<Minute>,
    status: Option<String>,
    msg: Option<String>,
}

/// Of some hundred fields those that are joined with ours. `bandwidth` is none of them: it holds what the edge sent to
/// the origin too; and `requests` holds what shields asked of shields.
#[derive(Deserialize)]
struct Minute {
    start_time: Seconds,
    service_id: Option<String>,
    requests: Option<u64>,
    edge_requests: u64,
    edge_hit_requests: Option<u64>,
    edge_miss_requests: Option<u64>,
    edge_resp_body_bytes: Option<u64>,
    edge_resp_header_bytes: Option<u64>,
    origin_fetches: Option<u64>,
    origin_fetch_resp_body_bytes: Option<u64>,
    origin_fetch_resp_header_bytes: Option<u64>,
    status_1xx: Option<u64>,
    status_2xx: Option<u64>,
    status_3xx: Option<u64>,
    status_4xx: Option<u64>,
    status_5xx: Option<u64>,
}

impl Fastly {
    /// `url`: [`URL`], or where a test has it. `services`: their ids.
    pub fn new(url: &str, token: &str, services: Vec<String>) -> Self {
        Self { url: url.into(), token: token.into(), services }
    }

    /// Minutes settle within 2 minutes usually and 15 at most, and are kept for 35 days. A thousand questions an hour are
    /// what Fastly's own client takes for the limit; each service is one. A row has some 4 KiB.
    pub fn pace(&self) -> Pace {
        Pace {
            grain: Duration::from_secs(60),
            settles: Duration::from_secs(15 * 60),
            keeps: Duration::from_secs(35 * 86_400),
            window: Duration::from_secs(6 * 3600),
            spacing: Duration::from_secs(4) * self.services.len().max(1) as u32,
        }
    }

    /// What its edge served.
    ///
    /// # Errors
    /// Where one of the services has no believable answer.
    pub async fn buckets(&self, client: &Client, window: Window) -> Result<Vec<Bucket>, VendorError> {
        let mut buckets = Vec::new();
        for service in &self.services {
            buckets.extend(self.buckets_of(client, service, window).await?);
        }
        edge::check_all(buckets, &answer::host(&self.url), window, &self.pace())
    }

    async fn buckets_of(&self, client: &Client, service: &str, window: Window) -> Result<Vec<Bucket>, VendorError> {
        let host = answer::host(&self.url);
        let Window { from, until } = window;
        let request = Request::get(format!("{}/stats/service/{service}?from={from}&to={until}&by=minute", self.url))
            .header("fastly-key", self.token.reveal())
            .header("accept", "application/json");
        let said = client.ask(answer::question(&host, request, Full::default())?).await?;
        let stats: Stats = answer::read(&host, said.body())?;
        if stats.status.as_deref().is_some_and(|status| status != "success") {
            let words = crate::error::words(stats.msg.unwrap_or_default().as_bytes());
            return Err(VendorError::Failed { host, status: said.status().as_u16(), words });
        }
        // Whether the last minute of a window belongs to it, the vendor does not say.
        let asked = stats.data.into_iter().filter(|minute| minute.start_time != until);
        asked.map(|minute| minute.bucket(&host, service)).collect()
    }
}

impl Minute {
    fn bucket(self, host: &str, service: &str) -> Result<Bucket, VendorError> {
        if let Some(other) = self.service_id.filter(|other| other != service) {
            let why = format!("asked was for {service}, and told is of {other}");
            return Err(VendorError::Lying { host: host.into(), why });
        }
        let sum = |one: Option<u64>, other: Option<u64>| one?.checked_add(other?);
        let classes = [self.status_1xx, self.status_2xx, self.status_3xx, self.status_4xx, self.status_5xx];
        // Statuses are counted at shields too, so they are users' only where no shield was asked.
        let unshielded = self.requests == Some(self.edge_requests);
        Ok(Bucket {
            property: service.into(),
            start: self.start_time,
            requests: self.edge_requests,
            hits: self.edge_hit_requests,
            misses: self.edge_miss_requests,
            bytes: sum(self.edge_resp_body_bytes, self.edge_resp_header_bytes),
            classes: classes.map(|class| class.filter(|_| unshielded)),
            origin_requests: self.origin_fetches,
            origin_bytes: sum(self.origin_fetch_resp_body_bytes, self.origin_fetch_resp_header_bytes),
            sampling: None,
        })
    }
}

#[cfg(test)]
mod tests;
