//! Pulls beside the users' requests of the same buckets, for lines and for what is normal; a window's own offload is
//! [`crate::offload`]'s.

use crate::ControlError;
use crate::figures::{self, Figure};
use crate::offload::settled;
use crate::overview::tracks::Named;
use crate::store::Reader;
use std::collections::HashMap;

/// Bucket, pulled, served to users.
type Pairs = HashMap<String, Vec<(i64, f64, f64)>>;

/// What was pulled and what the edge served, where both are known.
pub struct Offloads {
    requests: Pairs,
    bytes: Pairs,
}

impl Offloads {
    /// Joins what was counted in buckets of `step` seconds; `grains` are those of the edge.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn of(
        reader: &Reader<'_>,
        counted: &Named<f64>,
        grains: &HashMap<String, i64>,
        step: i64,
    ) -> Result<Self, ControlError> {
        let mut known = HashMap::new();
        for cdn in grains.keys() {
            known.extend(settled(reader, cdn)?.map(|settled| (cdn.as_str(), settled)));
        }
        let pairs = |pulled: &Figure, served: &Figure| {
            let mut pairs = Pairs::new();
            for (cdn, edge) in counted.get(served.name).into_iter().flatten() {
                let pulls = counted.get(pulled.name).and_then(|pulls| pulls.get(cdn));
                if let (Some(pulls), Some(grain), Some(settled)) = (pulls, grains.get(cdn), known.get(cdn.as_str())) {
                    pairs.insert(cdn.clone(), join(pulls, edge, (*grain, step), *settled));
                }
            }
            pairs
        };
        Ok(Self {
            requests: pairs(figures::PULLS, figures::EDGE_REQUESTS),
            bytes: pairs(figures::PULL_BYTES, figures::EDGE_BYTES),
        })
    }

    /// `1 - pulls / edge requests`; may be negative.
    pub fn requests(&self, cdn: &str, range: (i64, i64)) -> Option<f64> {
        offload(self.requests.get(cdn)?, range)
    }

    /// `1 - bytes pulled / bytes served`; may be negative.
    pub fn bytes(&self, cdn: &str, range: (i64, i64)) -> Option<f64> {
        offload(self.bytes.get(cdn)?, range)
    }
}

fn offload(pairs: &[(i64, f64, f64)], (from, until): (i64, i64)) -> Option<f64> {
    let first = pairs.partition_point(|(at, ..)| *at < from);
    let within = pairs[first..].iter().take_while(|(at, ..)| *at < until);
    let (pulled, served) = within.fold((0.0, 0.0), |(a, b), (_, pulled, served)| (a + pulled, b + served));
    (served > 0.0).then(|| 1.0 - pulled / served)
}

/// Of the edge's buckets, of `grain` seconds each, those before `settled` in which every one of ours is there.
fn join(pulls: &[(i64, f64)], edge: &[(i64, f64)], (grain, step): (i64, i64), settled: i64) -> Vec<(i64, f64, f64)> {
    let mut found = Vec::with_capacity(edge.len());
    for &(at, served) in edge.iter().take_while(|(at, _)| at + grain <= settled) {
        let first = pulls.partition_point(|(pulled, _)| *pulled < at);
        let last = pulls.partition_point(|(pulled, _)| *pulled < at + grain);
        // A bucket of the edge that we have not seen whole would look like offload.
        if (last - first) as i64 == grain / step {
            found.push((at, pulls[first..last].iter().map(|(_, pulled)| pulled).sum(), served));
        }
    }
    found
}
