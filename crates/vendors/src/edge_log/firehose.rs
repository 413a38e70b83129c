//! The envelope of Amazon Data Firehose's HTTP endpoint delivery
//! (docs.aws.amazon.com/firehose/latest/dev/httpdeliveryrequestresponse.html).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::borrow::Cow;

/// A delivery.
#[derive(Debug, Deserialize)]
pub struct Delivery<'a> {
    /// The same at each attempt.
    #[serde(rename = "requestId", borrow)]
    pub request_id: Cow<'a, str>,
    #[serde(borrow)]
    records: Vec<Record<'a>>,
}

#[derive(Debug, Deserialize)]
struct Record<'a> {
    #[serde(borrow)]
    data: Cow<'a, str>,
}

impl<'a> Delivery<'a> {
    /// Opens an envelope.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn open(body: &'a [u8]) -> Result<Self, String> {
        serde_json::from_slice(body).map_err(|error| format!("this is no delivery of Firehose's: {error}"))
    }

    /// What lies in it, record by record: a line, or several; `None` where one is no base64.
    pub fn records(&self) -> impl Iterator<Item = Option<Vec<u8>>> {
        self.records.iter().map(|record| STANDARD.decode(record.data.as_bytes()).ok())
    }
}

/// The answer that Firehose takes for one. A `mistake` is shown to the operator in the vendor's error log.
pub fn answer(request_id: &str, milliseconds: u64, mistake: Option<&str>) -> serde_json::Value {
    let mut answer = serde_json::json!({ "requestId": request_id, "timestamp": milliseconds });
    if let Some(mistake) = mistake {
        answer["errorMessage"] = mistake.into();
    }
    answer
}
