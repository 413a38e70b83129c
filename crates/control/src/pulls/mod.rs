//! What the proxies count: read from their admin endpoints, and kept by minute together with the last readings, so that an
//! end at any moment neither loses a pull nor counts one twice.

mod fleet;
mod follow;
mod increment;
mod reading;
mod series;

use crate::offload::join::{self, PROXIES};
use crate::store::Batch;
use crate::{Context, ControlError, service};
use bytes::Bytes;
pub(crate) use follow::follow;
use headwater_config::Policy;
use http::Request;
use http_body_util::Full;
use increment::Increment;
use reading::Reading;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Between two readings. They come at whole multiples of it, so that one falls on each minute's end.
const BEAT: Duration = Duration::from_secs(10);
/// For a whole answer, and less than a beat.
const DEADLINE: Duration = Duration::from_secs(8);
/// The figures of 20,000 series.
const LIMIT: usize = 8 << 20;

/// Reads for as long as it is polled.
pub(crate) async fn watch(context: Arc<Context>) {
    let proxies = proxies(&context.policy);
    let client = context.vendors.in_the_clear().bounded(DEADLINE, LIMIT);
    let mut watch = loop {
        match Watch::begin(&context, &proxies).await {
            Ok(watch) => break watch,
            Err(error) => tracing::error!(%error, "cannot read where the proxies' counters stood"),
        }
        beat().await;
    };
    loop {
        beat().await;
        let readings = proxies.iter().map(|proxy| read(&client, proxy));
        let readings = futures_util::future::join_all(readings).await;
        if let Err(error) = watch.keep(&context, proxies.iter().zip(readings)).await {
            // The last readings stay as they are, so what is not written now is written then.
            tracing::error!(%error, "cannot keep the proxies' figures");
        }
    }
}

/// Whose figures are read, as `host:port`.
fn proxies(policy: &Policy) -> Vec<String> {
    if !policy.control.proxies.is_empty() {
        let mut proxies = policy.control.proxies.clone();
        proxies.sort();
        proxies.dedup();
        return proxies;
    }
    let mut admin = policy.listen.admin;
    if admin.ip().is_unspecified() {
        admin.set_ip(match admin.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    vec![admin.to_string()]
}

async fn beat() {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let into = now.as_nanos() % BEAT.as_nanos();
    tokio::time::sleep(BEAT - Duration::from_nanos(into as u64)).await;
}

async fn read(client: &headwater_vendors::Client, proxy: &str) -> Result<Reading, String> {
    let request = Request::get(format!("http://{proxy}/metrics")).body(Full::<Bytes>::default());
    let answer = client.ask(request.map_err(|error| error.to_string())?).await.map_err(|error| error.to_string())?;
    let text = std::str::from_utf8(answer.body()).map_err(|_| "the answer is no text".to_string())?;
    Reading::parse(text, service::now())
}

/// Where each proxy's counters stand, as it was last kept.
struct Watch {
    last: BTreeMap<String, Reading>,
    /// Those that could not be read, and why.
    away: BTreeMap<String, String>,
}

impl Watch {
    async fn begin(context: &Context, proxies: &[String]) -> Result<Self, ControlError> {
        let names = proxies.to_vec();
        let now = service::now();
        let (last, since, before) = context
            .store
            .read(move |reader| {
                let mut last = BTreeMap::new();
                for proxy in &names {
                    let text = reader.checkpoint(&checkpoint(proxy))?;
                    if let Some(reading) = text.and_then(|text| serde_json::from_str(&text).ok()) {
                        last.insert(proxy.clone(), reading);
                    }
                }
                let before = join::in_force(reader)?;
                let since = names.iter().map(|proxy| (proxy.clone(), *before.get(proxy).unwrap_or(&now)));
                Ok((last, since.collect::<BTreeMap<_, _>>(), before))
            })
            .await?;
        let mut batch = Batch::default();
        for gone in before.keys().filter(|proxy| !since.contains_key(*proxy)) {
            batch.checkpoint(checkpoint(gone), None);
        }
        batch.checkpoint(PROXIES, Some(serde_json::json!(since).to_string()));
        context.store.write(batch).await?;
        Ok(Self { last, away: BTreeMap::new() })
    }

    async fn keep(
        &mut self,
        context: &Context,
        readings: impl Iterator<Item = (&String, Result<Reading, String>)>,
    ) -> Result<(), ControlError> {
        let mut batch = Batch::default();
        let mut read = Vec::new();
        for (proxy, reading) in readings {
            match reading {
                Ok(reading) => {
                    if self.away.remove(proxy).is_some() {
                        tracing::info!(proxy, "the proxy's figures can be read again");
                    }
                    let increment = Increment::between(self.last.get(proxy), &reading);
                    let lost = increment.map_or(0, |increment| increment.write(&mut batch, proxy));
                    if lost > 0 {
                        tracing::warn!(proxy, pulls = lost, "a gap of more than a week is not written");
                    }
                    batch.checkpoint(checkpoint(proxy), Some(serde_json::json!(reading).to_string()));
                    read.push((proxy.clone(), reading));
                }
                Err(error) => {
                    if self.away.insert(proxy.clone(), error.clone()).is_none() {
                        tracing::warn!(proxy, error, "the proxy's figures cannot be read");
                    }
                }
            }
        }
        context.store.write(batch).await?;
        self.last.extend(read);
        Ok(())
    }
}

fn checkpoint(proxy: &str) -> String {
    format!("pulls/{proxy}")
}
