//! One provider's collector.

use super::rhythm::{Progress, Question, Rhythm, patience};
use super::state::State;
use super::{checkpoint, keep};
use crate::ControlError;
use crate::store::{Batch, Store};
use headwater_config::{EdgeApi, Keep};
use headwater_vendors::edge::Bucket;
use headwater_vendors::{Client, Edge, VendorError};
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::mem::{Discriminant, discriminant};
use std::time::Duration;

/// The store is asked again after it.
const STORE_PATIENCE: Duration = Duration::from_secs(30);
/// The same kind of failure is logged again after it, in seconds.
const SAID_AGAIN: i64 = 900;
/// Buckets that are remembered so that what did not change is not written again.
const REMEMBERED: usize = 50_000;
const DAY: Duration = Duration::from_secs(86_400);

/// Asks one vendor, turn by turn.
pub(super) struct Collector {
    cdn: String,
    edge: Edge,
    properties: Vec<String>,
    backfill: Duration,
    secrets: Vec<Vec<u8>>,
    rhythm: Rhythm,
    progress: Progress,
    state: State,
    /// What the store has of buckets that are not settled.
    written: HashMap<(String, i64), Bucket>,
    /// What was last logged, and when.
    said: Option<(Discriminant<VendorError>, i64)>,
}

impl Collector {
    pub fn new(cdn: &str, edge: Edge, api: &EdgeApi, keep: &Keep) -> Self {
        let rhythm = Rhythm::new(&edge.pace(), api.settles, keep.minutes.saturating_sub(DAY));
        Self {
            cdn: cdn.into(),
            edge,
            properties: api.properties.clone(),
            backfill: api.backfill,
            secrets: api.secrets().into_iter().map(|secret| secret.expose().to_vec()).collect(),
            rhythm,
            progress: Progress::default(),
            state: State { settles: rhythm.settles, ..State::default() },
            written: HashMap::new(),
            said: None,
        }
    }

    pub fn cdn(&self) -> &str {
        &self.cdn
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    /// Goes on where the store says.
    pub async fn resume(&mut self, store: &Store, now: i64) -> Result<(), ControlError> {
        let name = checkpoint(&self.cdn);
        let held = store.read(move |reader| reader.checkpoint(&name)).await?;
        let held = held.and_then(|held| held.parse().ok());
        self.progress = self.rhythm.begin(held, self.backfill, now);
        self.state.settled_until = self.progress.settled;
        if let Some(held) = held.filter(|held| *held < self.progress.settled) {
            let seconds = self.progress.settled - held;
            tracing::warn!(cdn = self.cdn, seconds, "the vendor has forgotten what was not collected");
        }
        Ok(())
    }

    /// Asks once, if there is something to ask, and keeps the answer. Returns how long to wait before the next turn.
    pub async fn turn(&mut self, store: &Store, client: &Client, now: i64) -> Duration {
        let Some(question) = self.rhythm.next(&mut self.progress, now) else {
            // A vendor's own work begins at the minute too, and so does everybody else's.
            return self.rhythm.until_next(now) + Duration::from_secs(2).mul_f64(1.0 + chance());
        };
        let spacing = self.edge.pace().spacing;
        match self.edge.buckets(client, question.window).await {
            Ok(buckets) => match self.keep(store, question, &buckets, now).await {
                Ok(()) => spacing,
                Err(error) => {
                    tracing::error!(cdn = self.cdn, %error, "cannot keep what the vendor told; it is asked again");
                    STORE_PATIENCE.max(spacing)
                }
            },
            Err(error) => {
                self.state.failures = self.state.failures.saturating_add(1);
                self.progress.failed(&error);
                let wait = patience(&error, self.state.failures, spacing, chance());
                self.complain(&error, now, wait);
                wait
            }
        }
    }

    /// One transaction: the figures, and up to where they are settled.
    async fn keep(
        &mut self,
        store: &Store,
        question: Question,
        buckets: &[Bucket],
        now: i64,
    ) -> Result<(), ControlError> {
        let newest = buckets.iter().map(|bucket| bucket.start).max();
        let settled = self.rhythm.answered(&self.progress, question, newest, now);
        let grain = self.rhythm.grain;
        let mut batch = Batch::default();
        let known = |bucket: &Bucket| self.written.get(&(bucket.property.clone(), bucket.start)) == Some(bucket);
        for bucket in buckets.iter().filter(|bucket| !known(bucket)) {
            keep::bucket(&mut batch, &self.cdn, grain, bucket);
        }
        if self.edge.omits_quiet_buckets() {
            keep::quiet(&mut batch, &self.cdn, grain, (&self.properties, settled), buckets);
        }
        if settled.until > settled.from {
            batch.checkpoint(checkpoint(&self.cdn), Some(settled.until.to_string()));
        }
        if !batch.is_empty() {
            store.write(batch).await?;
        }
        let swept = self.rhythm.written(&mut self.progress, question, settled.until, now);
        self.remember(buckets);
        self.state.settled_until = self.progress.settled;
        self.state.last_success = Some(now);
        self.state.failures = 0;
        if swept && self.said.take().is_some() {
            tracing::info!(cdn = self.cdn, settled_until = self.progress.settled, "the vendor answers again");
        }
        Ok(())
    }

    fn remember(&mut self, buckets: &[Bucket]) {
        let settled = self.progress.settled;
        self.written.retain(|(_, start), _| *start >= settled);
        for bucket in buckets.iter().filter(|bucket| bucket.start >= settled) {
            if self.written.len() < REMEMBERED {
                self.written.insert((bucket.property.clone(), bucket.start), bucket.clone());
            }
        }
    }

    fn complain(&mut self, error: &VendorError, now: i64, wait: Duration) {
        let text = without(&error.to_string(), &self.secrets);
        let kind = discriminant(error);
        let is_news = self.said.is_none_or(|(said, at)| said != kind || now - at >= SAID_AGAIN);
        if is_news {
            let seconds = wait.as_secs();
            tracing::warn!(cdn = self.cdn, error = text, again_in = seconds, "the vendor tells no figures");
            self.said = Some((kind, now));
        }
        self.state.last_error = Some((now, text));
    }
}

/// A text without the secrets that somebody repeats in it, also where the quotation ends in the middle of one.
fn without(text: &str, secrets: &[Vec<u8>]) -> String {
    /// What is shorter tells nothing, and would make holes in ordinary words.
    const LEAST: usize = 4;
    let mut text = text.to_owned();
    for secret in secrets.iter().filter_map(|secret| std::str::from_utf8(secret).ok()) {
        if secret.len() >= LEAST {
            text = text.replace(secret, "***");
            let said = text.trim_end_matches('…');
            let cut = (LEAST..secret.len())
                .rev()
                .find(|end| secret.is_char_boundary(*end) && said.ends_with(&secret[..*end]));
            if let Some(cut) = cut {
                text = format!("{}***", &said[..said.len() - cut]);
            }
        }
    }
    text
}

/// From 0 to 1.
fn chance() -> f64 {
    (RandomState::new().build_hasher().finish() >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod secrets {
    use super::*;

    #[test]
    fn a_secret_that_a_vendor_repeats_is_not_repeated() {
        let secrets = [b"s3same0pen".to_vec(), b"ab".to_vec()];
        assert_eq!(without("no token s3same0pen here", &secrets), "no token *** here");
        assert_eq!(without("no token s3sam…", &secrets), "no token ***");
        assert_eq!(without("absolutely", &secrets), "absolutely");
    }
}
