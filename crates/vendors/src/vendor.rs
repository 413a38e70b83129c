//! For tests: a vendor that says what a test has it say.

use crate::Client;
use headwater_testkit::{Origin, Recorded, Then};
use std::time::Duration;

/// Answers every question with a status, further lines of a head, and a body.
pub fn vendor(answer: impl Fn(&Recorded) -> (u16, &'static str, String) + Send + Sync + 'static) -> Origin {
    Origin::with(move |asked, stream| {
        let (status, head, body) = answer(asked);
        let length = body.len();
        let _ = write!(stream, "HTTP/1.1 {status} Said\r\n{head}content-length: {length}\r\n\r\n{body}");
        Then::Keep
    })
}

/// A vendor that takes the question and says nothing, until whoever asks goes away.
pub fn silent() -> Origin {
    Origin::with(|_, _| Then::Keep)
}

/// One with a short patience.
pub fn client() -> Client {
    Client::new().unwrap().bounded(Duration::from_millis(500), 64 << 10)
}

/// Runs what a test asks.
pub fn run<T>(question: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(question)
}
