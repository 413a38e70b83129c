//! Reading what a vendor answered.

use crate::VendorError;
use crate::error::words;
use http::{Request, request};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;

/// JSON has one kind of number, and a count beyond this loses its last digits in it.
const LARGEST: f64 = 9_007_199_254_740_992.0;

/// RFC 3986, section 2.3.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Reads JSON of the documented shape.
///
/// # Errors
/// [`VendorError::Malformed`].
pub fn read<T: DeserializeOwned>(host: &str, body: &[u8]) -> Result<T, VendorError> {
    serde_json::from_slice(body).map_err(|error| VendorError::Malformed {
        host: host.into(),
        why: error.to_string(),
        words: words(body),
    })
}

/// A count that came as a number: whole, not negative, and not beyond what such a number holds.
///
/// # Errors
/// [`VendorError::Lying`].
pub fn count(host: &str, what: &str, value: f64) -> Result<u64, VendorError> {
    if (0.0..=LARGEST).contains(&value) && value.fract() == 0.0 {
        return Ok(value as u64);
    }
    Err(VendorError::Lying { host: host.into(), why: format!("{what} is {value}, which counts nothing") })
}

/// A question that could be written down: it could not where a configured address is none.
///
/// # Errors
/// [`VendorError::Unreachable`].
pub fn question<B>(host: &str, request: request::Builder, body: B) -> Result<Request<B>, VendorError> {
    let unreachable = |error: http::Error| VendorError::Unreachable { host: host.into(), why: error.to_string() };
    request.body(body).map_err(unreachable)
}

/// Text for one part of a question's target.
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// The host of an endpoint, for messages.
pub fn host(endpoint: &str) -> String {
    let authority = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    authority.split('/').next().unwrap_or_default().to_owned()
}
