//! What a simulated CDN writes down by the minute, and tells in the shape of its vendor's API: Fastly's historical stats,
//! Cloudflare's GraphQL, CloudWatch's GetMetricData.

use super::http::{self, Answer, text};
use super::locked;
use super::vendor::{Outcome, Vendor};
use headwater_config::Kind;
use headwater_control::moment;
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::SystemTime;

/// Minutes that are kept.
const KEPT: usize = 24 * 60;

/// One CDN's minutes.
#[derive(Default)]
pub struct Ledger {
    minutes: Mutex<BTreeMap<i64, Minute>>,
}

#[derive(Clone, Copy, Default)]
struct Minute {
    requests: u64,
    hits: u64,
    misses: u64,
    pulls: u64,
    bytes: u64,
    /// 1xx to 5xx.
    classes: [u64; 5],
}

fn now() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() as i64
}

impl Ledger {
    /// Writes down a request that was answered.
    pub fn answered(&self, status: StatusCode, bytes: u64) {
        self.now(|minute| {
            minute.requests += 1;
            minute.bytes += bytes;
            minute.classes[usize::from(status.as_u16() / 100).clamp(1, 5) - 1] += 1;
        });
    }

    /// Writes down what the cache had to do with it.
    pub fn looked(&self, outcome: Outcome) {
        self.now(|minute| match outcome {
            Outcome::Hit | Outcome::Stale => minute.hits += 1,
            Outcome::Revalidated => {
                minute.hits += 1;
                minute.pulls += 1;
            }
            Outcome::Miss => {
                minute.misses += 1;
                minute.pulls += 1;
            }
            Outcome::Pass => minute.pulls += 1,
        });
    }

    fn now(&self, write: impl FnOnce(&mut Minute)) {
        let mut minutes = locked(&self.minutes);
        write(minutes.entry(now().div_euclid(60) * 60).or_default());
        while minutes.len() > KEPT {
            minutes.pop_first();
        }
    }

    /// Minutes that have ended, of a stretch.
    fn told(&self, from: i64, until: i64) -> Vec<(i64, Minute)> {
        let until = until.min(now().div_euclid(60) * 60);
        if from >= until {
            return Vec::new();
        }
        locked(&self.minutes).range(from..until).map(|(at, minute)| (*at, *minute)).collect()
    }

    /// Answers as the vendor's API does.
    pub async fn answer(&self, vendor: &Vendor, request: Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        let Ok(body) = http::collect(body).await else { return refused("the question is too long") };
        let said = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let answer = match (vendor.kind, &head.method) {
            (Kind::Fastly, &Method::GET) => self.fastly(head.uri.path(), head.uri.query().unwrap_or_default()),
            (Kind::Cloudflare, &Method::POST) => self.cloudflare(&said),
            (Kind::CloudFront, &Method::POST) => self.cloudfront(&said),
            _ => None,
        };
        match answer {
            Some(answer) => text(StatusCode::OK, "application/json", answer.to_string()),
            None => refused("this is no question of that vendor's API"),
        }
    }

    fn fastly(&self, path: &str, query: &str) -> Option<Value> {
        let service = path.strip_prefix("/stats/service/")?;
        let number = |key: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.into_iter().find(|(found, _)| *found == key)?.1.parse().ok()
        };
        let rows = self.told(number("from")?, number("to")?).into_iter().map(|(at, minute)| {
            let [c1, c2, c3, c4, c5] = minute.classes;
            json!({
                "service_id": service, "start_time": at, "requests": minute.requests, "edge_requests": minute.requests,
                "edge_hit_requests": minute.hits, "edge_miss_requests": minute.misses,
                "edge_resp_body_bytes": minute.bytes, "edge_resp_header_bytes": 0, "origin_fetches": minute.pulls,
                "status_1xx": c1, "status_2xx": c2, "status_3xx": c3, "status_4xx": c4, "status_5xx": c5,
            })
        });
        Some(json!({ "data": rows.collect::<Vec<_>>(), "status": "success", "msg": null }))
    }

    fn cloudflare(&self, said: &Value) -> Option<Value> {
        let variables = &said["variables"];
        let at = |key: &str| moment::read(variables["f"][key].as_str()?, now()).ok();
        let minutes = self.told(at("datetime_geq")?, at("datetime_lt")?);
        let (mut caches, mut statuses) = (Vec::new(), Vec::new());
        for (start, minute) in minutes {
            let start = moment::write(start);
            let other = minute.requests.saturating_sub(minute.hits + minute.misses);
            for (status, count) in [("hit", minute.hits), ("miss", minute.misses), ("dynamic", other)] {
                let bytes = (minute.bytes * count).checked_div(minute.requests).unwrap_or(0);
                caches.push(json!({
                    "count": count, "sum": { "edgeResponseBytes": bytes }, "avg": { "sampleInterval": 1 },
                    "dimensions": { "datetimeMinute": start, "cacheStatus": status },
                }));
            }
            for (class, count) in (1..).zip(minute.classes).filter(|(_, count)| *count > 0) {
                let dimensions = json!({ "datetimeMinute": start, "edgeResponseStatus": class * 100 });
                statuses.push(json!({ "count": count, "dimensions": dimensions }));
            }
        }
        let zone = variables["zones"].get(0)?;
        let zone = json!({ "zoneTag": zone, "caches": caches, "statuses": statuses });
        Some(json!({ "data": { "viewer": { "zones": [zone] } }, "errors": null }))
    }

    fn cloudfront(&self, said: &Value) -> Option<Value> {
        let minutes = self.told(said["StartTime"].as_i64()?, said["EndTime"].as_i64()?);
        let series = said["MetricDataQueries"].as_array()?.iter().map(|query| {
            let metric = query["MetricStat"]["Metric"]["MetricName"].as_str().unwrap_or_default();
            let value = |minute: &Minute| {
                let percent = |class: usize| 100.0 * minute.classes[class] as f64 / minute.requests.max(1) as f64;
                match metric {
                    "Requests" => minute.requests as f64,
                    "BytesDownloaded" => minute.bytes as f64,
                    "4xxErrorRate" => percent(3),
                    _ => percent(4),
                }
            };
            // As CloudWatch does: the newest first.
            let (timestamps, values): (Vec<_>, Vec<_>) =
                minutes.iter().rev().map(|(at, minute)| (*at, value(minute))).unzip();
            json!({ "Id": query["Id"], "Label": metric, "Timestamps": timestamps, "Values": values, "StatusCode": "Complete" })
        });
        Some(json!({ "MetricDataResults": series.collect::<Vec<_>>() }))
    }
}

fn refused(why: &str) -> Answer {
    text(StatusCode::BAD_REQUEST, "text/plain", format!("{why}\n"))
}
