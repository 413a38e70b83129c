//! Edge totals: asks each CDN's vendor what its edge served, until the figures are settled, and keeps it.
//!
//! A provider's figures are settled up to one second, which is kept in the same transaction as they are
//! ([`checkpoint`]): what lies before it never changes any more, and a restart goes on from there.

mod collector;
mod keep;
mod rhythm;
mod state;
#[cfg(test)]
mod tests;
mod vendor;

use crate::{Context, service};
use collector::Collector;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

pub use state::{Collectors, State};

/// The store's checkpoint of a provider: the second (since the epoch) up to which all of its buckets are settled.
pub fn checkpoint(cdn: &str) -> String {
    format!("edge_settled/{cdn}")
}

/// Collects for as long as it is polled: one task for each provider, so that none waits for another's vendor.
pub(crate) async fn run(context: Arc<Context>) {
    let mut tasks = JoinSet::new();
    for provider in context.policy.providers.iter() {
        let Some(api) = &provider.api else { continue };
        let edge = match vendor::edge(api) {
            Ok(edge) => edge,
            Err(error) => {
                tracing::error!(cdn = provider.name, %error, "the vendor is not asked for figures");
                continue;
            }
        };
        let collector = Collector::new(&provider.name, edge, api, &context.policy.control.keep);
        tasks.spawn(collect(context.clone(), collector));
    }
    while tasks.join_next().await.is_some() {}
}

async fn collect(context: Arc<Context>, mut collector: Collector) {
    while let Err(error) = collector.resume(&context.store, service::now()).await {
        tracing::error!(cdn = collector.cdn(), %error, "cannot read how far the figures of the edge were collected");
        tokio::time::sleep(Duration::from_secs(30)).await;
    }
    loop {
        let wait = collector.turn(&context.store, &context.vendors, service::now()).await;
        context.collectors.tell(collector.cdn(), collector.state());
        tokio::time::sleep(wait).await;
    }
}
