//! Clients of CDN and DNS vendors' APIs. They hold no policy: when to ask, what to keep and what to make of it is for
//! whoever asks.
//!
//! A vendor is not trusted. Each answer has a deadline and a bound on its size, is read in the shape that the vendor
//! documents, and is an [`VendorError`] with the vendor's own words where it is anything else: never a figure.

pub mod akamai;
mod answer;
pub mod bunny;
pub mod client;
pub mod cloudflare;
pub mod cloudfront;
pub mod edge;
pub mod edge_log;
mod edgegrid;
mod error;
pub mod fastly;
pub mod google;
mod google_token;
mod minutes;
mod secret;
mod sigv4;
mod source;
#[cfg(test)]
mod vendor;

pub use client::Client;
pub use error::{VendorError, words};
pub use source::Edge;
