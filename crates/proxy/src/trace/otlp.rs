//! Spans in OTLP's JSON (OpenTelemetry Protocol 1, "JSON Protobuf Encoding"): ids as hex digits, 64-bit numbers as strings.

use super::span::{Kind, Span, Value};
use serde_json::Value as Json;
use std::io::Write;
use std::time::Duration;

/// Flags of a span: recorded, and that it is known whether its parent is another process's.
const RECORDED: u32 = 1;
const PARENT_IS_KNOWN: u32 = 0x100;
const PARENT_IS_REMOTE: u32 = 0x200;
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The body of a request to a collector.
// Written out, as a tree of values would cost ten times as much, in the thread that answers at the admin endpoint too.
pub(super) fn body(service: &str, spans: &[Span]) -> Vec<u8> {
    let mut out = Vec::with_capacity(2048 * spans.len());
    out.extend_from_slice(b"{\"resourceSpans\":[{\"resource\":{\"attributes\":");
    let service = Value::Text(service.to_string().into());
    attributes(&mut out, &[("service.name", service), ("service.version", VERSION.into())]);
    let _ =
        write!(out, "}},\"scopeSpans\":[{{\"scope\":{{\"name\":\"headwater\",\"version\":\"{VERSION}\"}},\"spans\":");
    list(&mut out, spans, span);
    out.extend_from_slice(b"}]}]}");
    out
}

fn list<T>(out: &mut Vec<u8>, items: &[T], write: impl Fn(&mut Vec<u8>, &T)) {
    out.push(b'[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(b']');
}

fn span(out: &mut Vec<u8>, span: &Span) {
    let kind = match span.kind {
        Kind::Server => 2,
        Kind::Client => 3,
    };
    let remote = if span.is_entry && span.parent.is_some() { PARENT_IS_REMOTE } else { 0 };
    let _ = write!(
        out,
        "{{\"traceId\":\"{:032x}\",\"spanId\":\"{:016x}\",\"flags\":{},\"name\":\"{}\",\"kind\":{kind},\
         \"startTimeUnixNano\":\"{}\",\"endTimeUnixNano\":\"{}\"",
        span.trace,
        span.id,
        RECORDED | PARENT_IS_KNOWN | remote,
        span.name,
        nanoseconds(span.begun),
        nanoseconds(span.ended),
    );
    if let Some(parent) = span.parent {
        let _ = write!(out, ",\"parentSpanId\":\"{parent:016x}\"");
    }
    if !span.state.is_empty() {
        out.extend_from_slice(b",\"traceState\":");
        text(out, &span.state);
    }
    out.extend_from_slice(b",\"attributes\":");
    attributes(out, &span.attributes);
    if let Some(at) = span.first_byte {
        let at = nanoseconds(at);
        let _ = write!(out, ",\"events\":[{{\"timeUnixNano\":\"{at}\",\"name\":\"headwater.first_byte\"}}]");
    }
    out.extend_from_slice(if span.failed { b",\"status\":{\"code\":2}}" } else { b",\"status\":{}}" });
}

fn attributes(out: &mut Vec<u8>, attributes: &[(&'static str, Value)]) {
    list(out, attributes, |out, (key, value)| {
        let _ = write!(out, "{{\"key\":\"{key}\",\"value\":");
        match value {
            Value::Text(value) => {
                out.extend_from_slice(b"{\"stringValue\":");
                text(out, value);
            }
            Value::Number(number) => {
                let _ = write!(out, "{{\"intValue\":\"{number}\"");
            }
        }
        out.extend_from_slice(b"}}");
    });
}

fn text(out: &mut Vec<u8>, text: &str) {
    let _ = serde_json::to_writer(out, text);
}

/// As a number of 64 bits, which holds them until the year 2554.
fn nanoseconds(since: Duration) -> u64 {
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
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
