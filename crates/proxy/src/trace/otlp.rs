//! Spans in OTLP's JSON (OpenTelemetry Protocol 1, "JSON Protobuf Encoding"): ids as hex digits, 64-bit numbers as strings.

use super::span::{Kind, Span, Value};
use serde_json::{Value as Json, json};
use std::time::Duration;

/// Flags of a span: recorded, and that it is known whether its parent is another process's.
const RECORDED: u32 = 1;
const PARENT_IS_KNOWN: u32 = 0x100;
const PARENT_IS_REMOTE: u32 = 0x200;

/// The body of a request to a collector.
pub(super) fn body(service: &str, spans: &[Span]) -> Vec<u8> {
    let resource = [
        ("service.name", Value::Text(service.to_string().into())),
        ("service.version", Value::Text(env!("CARGO_PKG_VERSION").into())),
    ];
    let scope = json!({ "name": "headwater", "version": env!("CARGO_PKG_VERSION") });
    json!({ "resourceSpans": [{
        "resource": { "attributes": attributes(&resource) },
        "scopeSpans": [{ "scope": scope, "spans": spans.iter().map(span).collect::<Vec<_>>() }],
    }] })
    .to_string()
    .into_bytes()
}

fn span(span: &Span) -> Json {
    let kind = match span.kind {
        Kind::Server => 2,
        Kind::Client => 3,
    };
    let remote = if span.is_entry && span.parent.is_some() { PARENT_IS_REMOTE } else { 0 };
    let events: Vec<Json> =
        span.first_byte.iter().map(|at| json!({ "timeUnixNano": time(*at), "name": "headwater.first_byte" })).collect();
    let mut out = json!({
        "traceId": format!("{:032x}", span.trace),
        "spanId": format!("{:016x}", span.id),
        "parentSpanId": span.parent.map_or(String::new(), |parent| format!("{parent:016x}")),
        "flags": RECORDED | PARENT_IS_KNOWN | remote,
        "name": span.name,
        "kind": kind,
        "startTimeUnixNano": time(span.begun),
        "endTimeUnixNano": time(span.ended),
        "attributes": attributes(&span.attributes),
        "events": events,
        "status": if span.failed { json!({ "code": 2 }) } else { json!({}) },
    });
    if !span.state.is_empty() {
        out["traceState"] = span.state.as_str().into();
    }
    out
}

fn attributes(attributes: &[(&'static str, Value)]) -> Vec<Json> {
    let one = |(key, value): &(&'static str, Value)| match value {
        Value::Text(text) => json!({ "key": key, "value": { "stringValue": text } }),
        Value::Number(number) => json!({ "key": key, "value": { "intValue": number.to_string() } }),
    };
    attributes.iter().map(one).collect()
}

fn time(since: Duration) -> String {
    since.as_nanos().to_string()
}

/// How many spans a collector that took a batch says it did not take.
pub(super) fn rejected(answer: &[u8]) -> u64 {
    let answer: Json = serde_json::from_slice(answer).unwrap_or_default();
    let count = &answer["partialSuccess"]["rejectedSpans"];
    count.as_u64().or_else(|| count.as_str()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collectors_word_on_what_it_left_is_heard_in_both_of_its_forms() {
        assert_eq!(rejected(br#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"x"}}"#), 3);
        assert_eq!(rejected(br#"{"partialSuccess":{"rejectedSpans":3}}"#), 3);
        for none in [&b"{}"[..], b"", b"nonsense", br#"{"partialSuccess":null}"#] {
            assert_eq!(rejected(none), 0);
        }
    }
}
