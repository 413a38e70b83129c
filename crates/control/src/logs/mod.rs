//! Access logs instead of the proxy: what Apache or nginx have written becomes the same counts.
//!
//! Lines are counted in memory and written to the store with the places that they end at, in one transaction: whenever the
//! process is killed, a line is in the store and behind such a place, or neither.

mod clock;
mod count;
mod expose;
mod follow;
mod format;
mod graphite;
mod line;
mod place;
mod run;
#[cfg(test)]
mod tests;
mod totals;

pub use format::FormatError;
pub use run::{LogsError, Options, run};
