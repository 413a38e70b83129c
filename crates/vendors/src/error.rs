//! What a vendor can do wrong.

use std::time::Duration;
use thiserror::Error;

/// How much of a vendor's own words an error quotes, in bytes.
const QUOTED: usize = 300;

/// Why there is no figure.
#[derive(Debug, Error)]
pub enum VendorError {
    /// No answer at all: a name that does not resolve, a refused connection, a certificate that is not trusted.
    #[error("{host} cannot be reached: {why}")]
    Unreachable {
        /// The API's host.
        host: String,
        /// What the network or TLS said.
        why: String,
    },
    /// No whole answer within the deadline.
    #[error("{host} did not answer within {} s", after.as_secs())]
    TooSlow {
        /// The API's host.
        host: String,
        /// The deadline.
        after: Duration,
    },
    /// The answer is longer than any answer of its kind should be.
    #[error("the answer of {host} is longer than {limit} bytes")]
    TooLarge {
        /// The API's host.
        host: String,
        /// The bound, in bytes.
        limit: usize,
    },
    /// The vendor asks us to wait (429, or 503 with `Retry-After`).
    #[error("{host} asks for patience ({status}): {words}")]
    Busy {
        /// The API's host.
        host: String,
        /// The status code.
        status: u16,
        /// How long to wait, where the vendor says so.
        retry_after: Option<Duration>,
        /// The vendor's own words.
        words: String,
    },
    /// The credentials were not taken (401, 403).
    #[error("{host} refuses the credentials ({status}): {words}; look at the token, and at what it may read")]
    Refused {
        /// The API's host.
        host: String,
        /// The status code.
        status: u16,
        /// The vendor's own words.
        words: String,
    },
    /// Any other answer that is no success, also an error in the body of a 200.
    #[error("{host} answers {status}: {words}")]
    Failed {
        /// The API's host.
        host: String,
        /// The status code.
        status: u16,
        /// The vendor's own words.
        words: String,
    },
    /// The answer does not have the documented shape.
    #[error("the answer of {host} is not what its documentation says: {why}; it began with: {words}")]
    Malformed {
        /// The API's host.
        host: String,
        /// What is wrong with it.
        why: String,
        /// The beginning of the answer.
        words: String,
    },
    /// The answer has the documented shape and cannot be true: more hits than requests, a minute nobody asked for.
    #[error("the answer of {host} cannot be true: {why}")]
    Lying {
        /// The API's host.
        host: String,
        /// What contradicts what.
        why: String,
    },
}

impl VendorError {
    /// How long the vendor wants to be left alone, where it says so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether asking again with the same words can help. Refused credentials and rubbish want somebody to look.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::TooSlow { .. } | Self::Busy { .. } => true,
            Self::Failed { status, .. } => *status >= 500,
            _ => false,
        }
    }
}

/// The beginning of what a vendor said, fit for a log: printable, on one line, of bounded length.
pub fn words(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(&said[..said.len().min(QUOTED * 2)]);
    let mut words = String::new();
    for word in text.split_whitespace() {
        if words.len() + word.len() > QUOTED {
            words.extend(word.chars().take(QUOTED.saturating_sub(words.len())));
            words.push('…');
            break;
        }
        if !words.is_empty() {
            words.push(' ');
        }
        words.extend(word.chars().filter(|c| !c.is_control()));
    }
    if words.is_empty() { "nothing".into() } else { words }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vendors_words_are_one_line_of_bounded_length() {
        assert_eq!(words(b"{\n  \"msg\": \"bad\x1b[31m token\"\n}"), "{ \"msg\": \"bad[31m token\" }");
        assert_eq!(words(b""), "nothing");
        assert!(words(&[b'x'; 10_000]).chars().count() <= QUOTED + 1);
        assert!(words("ü ".repeat(5000).as_bytes()).len() <= QUOTED + 8);
    }
}
