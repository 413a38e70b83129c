//! Pulls beside the edge requests of the same buckets, for lines and for what is normal; a window's own offload is
//! [`crate::offload`]'s.

use crate::ControlError;
use crate::figures::{self, Figure};
use crate::offload::settled;
use crate::store::{Reader, Stretch};
use std::collections::HashMap;

/// Bucket, pulled, served to users.
type Pairs = HashMap<String, Vec<(i64, f64, f64)>>;

/// What was pulled and what the edge served, where both are known.
pub struct Offloads {
    requests: Pairs,
    bytes: Pairs,
}

impl Offloads {
    /// Reads both sides.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn of(reader: &Reader<'_>, cdn: Option<&str>, over: Stretch) -> Result<Self, ControlError> {
        Ok(Self {
            requests: pairs(reader, (figures::PULLS, figures::EDGE_REQUESTS), cdn, over)?,
            bytes: pairs(reader, (figures::PULL_BYTES, figures::EDGE_BYTES), cdn, over)?,
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
    let within = pairs.iter().filter(|(at, ..)| (from..until).contains(at));
    let (pulled, served) = within.fold((0.0, 0.0), |(a, b), (_, pulled, served)| (a + pulled, b + served));
    (served > 0.0).then(|| 1.0 - pulled / served)
}

fn pairs(
    reader: &Reader<'_>,
    (pulled, served): (&Figure, &Figure),
    cdn: Option<&str>,
    over: Stretch,
) -> Result<Pairs, ControlError> {
    let mut pulls: HashMap<String, Vec<(i64, f64)>> =
        reader.sums(pulled, cdn, over)?.into_iter().map(|series| (series.cdn, series.points)).collect();
    let mut pairs = Pairs::new();
    for edge in super::tracks::summed(reader, served, cdn, over)? {
        let (Some(pulls), Some(settled)) = (pulls.remove(&edge.cdn), settled(reader, &edge.cdn)?) else { continue };
        let grain = i64::from(edge.grain).max(over.width);
        let mut found = Vec::with_capacity(edge.points.len());
        for (at, served) in edge.points.into_iter().take_while(|(at, _)| at + grain <= settled) {
            let first = pulls.partition_point(|(pulled, _)| *pulled < at);
            let last = pulls.partition_point(|(pulled, _)| *pulled < at + grain);
            // A bucket of the edge that we have not seen whole would look like offload.
            if (last - first) as i64 == grain / over.width {
                found.push((at, pulls[first..last].iter().map(|(_, pulled)| pulled).sum(), served));
            }
        }
        pairs.insert(edge.cdn, found);
    }
    Ok(pairs)
}
