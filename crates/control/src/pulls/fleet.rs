//! The same counters for a whole fleet, from a Prometheus-compatible server that scrapes it.
//!
//! What is asked for is the samples themselves and no `increase()`: that extrapolates to the ends of its window, yields
//! fractions, and misses what a new series begins with. All samples of one scrape have one time, so each scrape is put
//! together again as the reading that it was, and is judged as our own readings are.

use super::reading::Reading;
use super::series::Counter;
use bytes::Bytes;
use headwater_vendors::Client;
use http::Request;
use http_body_util::Full;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};

/// Series that are taken.
const QUERY: &str = "{__name__=~\"headwater_pulls_total|headwater_pull_bytes_total|headwater_whoopsie_total|\
                     headwater_beacons_total|headwater_beacon_countries_total|headwater_pull_duration_seconds_bucket|\
                     headwater_upstream_first_byte_seconds_bucket|process_start_time_seconds\"}";
/// Processes of a fleet.
const MOST_INSTANCES: usize = 1000;

#[derive(Deserialize)]
struct Reply {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<Samples>,
}

#[derive(Deserialize)]
struct Samples {
    metric: HashMap<String, String>,
    values: Vec<(f64, String)>,
}

/// Every scrape in the `length` seconds up to `until`, by instance and in order.
///
/// # Errors
/// What the server or the network says, or what is wrong with the answer.
pub(super) async fn scrapes(
    client: &Client,
    server: &str,
    until: i64,
    length: i64,
) -> Result<BTreeMap<String, Vec<Reading>>, String> {
    let query: String = format!("{QUERY}[{length}s]").bytes().map(|byte| format!("%{byte:02X}")).collect();
    let url = format!("{}/api/v1/query?time={until}&query={query}", server.trim_end_matches('/'));
    let request = Request::get(url).body(Full::<Bytes>::default()).map_err(|error| error.to_string())?;
    let answer = client.ask(request).await.map_err(|error| error.to_string())?;
    let reply: Reply = serde_json::from_slice(answer.body())
        .map_err(|error| format!("{error}; it began with: {}", headwater_vendors::words(answer.body())))?;
    put_together(reply.data.result)
}

fn put_together(all: Vec<Samples>) -> Result<BTreeMap<String, Vec<Reading>>, String> {
    let mut scrapes: BTreeMap<String, BTreeMap<i64, Reading>> = BTreeMap::new();
    for Samples { metric, values } in all {
        let label = |name: &str| metric.get(name).cloned();
        let (Some(name), Some(instance)) = (label("__name__"), label("instance")) else { continue };
        let counter = Counter::of(&name, label);
        if counter.is_none() && name != "process_start_time_seconds" {
            continue;
        }
        // What the server added says where the sample is from, and that is known.
        let mut labels: Vec<_> =
            metric.iter().filter(|(name, _)| !["__name__", "instance", "job"].contains(&name.as_str())).collect();
        labels.sort();
        let labels: Vec<_> = labels
            .iter()
            .map(|(name, value)| format!("{name}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")))
            .collect();
        let series = format!("{name}{{{}}}", labels.join(","));
        let of_instance = scrapes.entry(instance).or_default();
        for (at, value) in values {
            let value: f64 = value.parse().map_err(|_| format!("{series} has the value {value}"))?;
            let milliseconds = (at * 1000.0).round() as i64;
            let reading = of_instance.entry(milliseconds).or_default();
            reading.at = milliseconds.div_euclid(1000);
            match &counter {
                Some(counter) => reading.take(&series, counter, value)?,
                None => reading.began = Some((value * 1000.0).round() as i64),
            }
        }
        if scrapes.len() > MOST_INSTANCES * 10 {
            return Err(format!("there are more than {MOST_INSTANCES} instances"));
        }
    }
    let readings = scrapes.into_iter().map(|(instance, scrapes)| {
        // Other exporters tell when they began, too.
        let own: Vec<_> = scrapes.into_values().filter(|reading| !reading.cdns.is_empty()).collect();
        (instance, own)
    });
    let readings: BTreeMap<_, _> = readings.filter(|(_, readings)| !readings.is_empty()).collect();
    if readings.len() > MOST_INSTANCES {
        return Err(format!("there are more than {MOST_INSTANCES} instances"));
    }
    Ok(readings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_one_scrape_are_one_reading() {
        let text = r#"{"status":"success","data":{"resultType":"matrix","result":[
            {"metric":{"__name__":"headwater_pulls_total","cdn":"fastly","code":"2xx","rule":"default","instance":"a:1","job":"h"},
             "values":[[1732400000.123,"5"],[1732400010.123,"7"]]},
            {"metric":{"__name__":"process_start_time_seconds","instance":"a:1","job":"h"},
             "values":[[1732400000.123,"1732300000.5"],[1732400010.123,"1732300000.5"]]},
            {"metric":{"__name__":"process_start_time_seconds","instance":"node:9100","job":"node"},
             "values":[[1732400000.001,"1732300000.5"]]}]}}"#;
        let reply: Reply = serde_json::from_str(text).unwrap();
        let scrapes = put_together(reply.data.result).unwrap();
        assert_eq!(scrapes.keys().collect::<Vec<_>>(), ["a:1"]);
        let readings = &scrapes["a:1"];
        assert_eq!(readings.iter().map(|reading| reading.at).collect::<Vec<_>>(), [1_732_400_000, 1_732_400_010]);
        assert_eq!(readings[1].began, Some(1_732_300_000_500));
        let own = r#"headwater_pulls_total{cdn="fastly",code="2xx",rule="default"}"#;
        assert_eq!(readings[1].counters.get(own), Some(&7.0));
    }
}
