//! What one beacon says. It is read by what it holds and not by its type: `sendBeacon` calls a string `text/plain`, whatever
//! stands in it.

use super::timing::Timing;
use super::{boomerang, json};

/// What one beacon says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Beacon {
    /// Who is said to have served the page.
    pub cdn: Option<String>,
    /// Whether a page was loaded that no other beacon tells of.
    pub page: bool,
    /// Whether something failed.
    pub error: bool,
    /// Seconds, or a score.
    pub values: Vec<(Timing, f64)>,
    /// How many values could not be true, and were left out.
    pub absurd: u64,
}

impl Beacon {
    /// Adds what was told of a timing, in milliseconds or as a score.
    pub fn tell(&mut self, timing: Timing, told: f64) {
        match timing.kept(told) {
            Some(value) => self.values.push((timing, value)),
            None => self.absurd += 1,
        }
    }
}

/// Reads a beacon: its body, or its query where it has none. A `cdn` in the query stands for all of the body that names none.
///
/// # Errors
/// Where nothing in it is known, with what would be.
pub(crate) fn read(query: &str, body: &[u8]) -> Result<Vec<Beacon>, &'static str> {
    let body = body.trim_ascii();
    let mut beacons = match body.first() {
        None => vec![boomerang::read(query)?],
        Some(b'{' | b'[') => json::read(body)?,
        Some(_) => vec![boomerang::read(std::str::from_utf8(body).map_err(|_| "this is no text")?)?],
    };
    if let Some(cdn) = boomerang::cdn(query) {
        beacons.iter_mut().for_each(|beacon| {
            beacon.cdn.get_or_insert_with(|| cdn.to_string());
        });
    }
    Ok(beacons)
}
