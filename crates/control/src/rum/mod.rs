//! What users' browsers tell of how long pages took, by the CDN that served them and the country they are in.
//!
//! A beacon passes the door, is read by what it holds, and is counted in memory; every ten seconds
//! the counts go to the store. Neither addresses nor URLs are kept.

mod api;
mod beacon;
mod boomerang;
mod door;
mod json;
mod percentiles;
mod rate;
mod tally;
#[cfg(test)]
mod tests;
mod timing;

use crate::{Context, ControlError};
use beacon::Beacon;
use headwater_config::{Country, Policy};
use rate::Rates;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tally::{Refusal, Tally};

pub(crate) use api::users;
pub(crate) use door::answer;
pub use percentiles::{Percentiles, Share, percentiles, shares};
pub use timing::Timing;

/// Between two writes.
const WRITING: Duration = Duration::from_secs(10);

/// What was told and is not written yet, and how much came from whom.
pub(crate) struct Rum {
    tally: Mutex<Tally>,
    rates: Rates,
    /// Whether there is a country to be told.
    countries: bool,
    /// The share that is counted.
    sample: f64,
}

impl Rum {
    /// With nothing told.
    pub fn new(policy: &Policy) -> Self {
        let Policy { rum, geo, .. } = policy;
        let rates = Rates::new(rum.rate, rum.network_rate);
        Self { tally: Mutex::default(), rates, countries: rum.countries && geo.is_some(), sample: rum.sample }
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one of these is among those that are counted.
    fn is_sampled(&self) -> bool {
        self.sample >= 1.0 || fastrand::f64() < self.sample
    }

    fn refuse(&self, now: i64, refusal: Refusal, times: u64) {
        self.tally().refuse(now, refusal, times);
    }

    /// Counts what was told, each for as many as the sample leaves out.
    fn count(&self, policy: &Policy, now: i64, client: IpAddr, beacons: &[Beacon]) {
        let country = if self.countries { policy.country(client) } else { Country::default() };
        let mut tally = self.tally();
        for beacon in beacons {
            tally.count(now, provider(policy, beacon.cdn.as_deref()), country, beacon, 1.0 / self.sample);
        }
    }
}

/// The index of the provider of that name: of those that are configured, then `untagged`, then `other`.
fn provider(policy: &Policy, named: Option<&str>) -> u16 {
    let providers = &policy.providers;
    let found = match named {
        None | Some("") => providers.len(),
        Some(name) => {
            let known = providers.iter().position(|provider| provider.name.eq_ignore_ascii_case(name));
            known.unwrap_or(providers.len() + 1)
        }
    };
    found as u16
}

/// The label of such an index.
fn label(policy: &Policy, index: u16) -> &str {
    let providers = &policy.providers;
    match providers.get(index as usize) {
        Some(provider) => &provider.name,
        None if index as usize == providers.len() => "untagged",
        None => "other",
    }
}

/// Writes every ten seconds what was told.
pub(crate) async fn keep(context: std::sync::Arc<Context>) {
    let mut turn = tokio::time::interval(WRITING);
    loop {
        turn.tick().await;
        if !context.rum.tally().is_empty()
            && let Err(error) = write(&context).await
        {
            tracing::error!(%error, "cannot write users' timings; they are held and written later");
        }
    }
}

/// Writes what was told. Returns when all that was ever written is durable: it is also the last thing that is done.
///
/// # Errors
/// Where the store fails. What was told is then held for the next time.
pub(crate) async fn write(context: &Context) -> Result<(), ControlError> {
    // Once this is taken, nothing may be awaited before the store has it.
    let taken = context.rum.tally().take();
    let batch = taken.batch(|index| label(&context.policy, index), context.rum.countries);
    let written = context.store.write(batch).await;
    if written.is_err() {
        context.rum.tally().give_back(taken);
    }
    written
}
