//! `[trace]`: which pulls are traced, and the OpenTelemetry collector that hears of it.

use crate::reader::{At, Table};
use crate::source::Mistake;

/// The path of OTLP over HTTP below a collector's address.
const TRACES: &str = "/v1/traces";

/// `[trace]`, where a collector is named.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// Who hears of it.
    pub collector: Collector,
    /// The share of pulls without a believed context that begin a recorded trace.
    pub sample: f64,
    /// Whose `traceparent` is believed.
    pub parent: Parent,
    /// `service.name`
    pub service: String,
    /// Whether spans tell the user's address.
    pub client_address: bool,
}

/// Where spans are posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    /// `host:port`
    pub address: String,
    /// The path, `/v1/traces` at its end.
    pub path: String,
}

/// Whose trace context is continued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parent {
    /// That of proven providers.
    Proven,
    /// Everybody's.
    All,
    /// Nobody's.
    Nobody,
}

/// Reads `[trace]`. `None` where no collector is named.
pub(crate) fn read(table: Table<'_>) -> Option<Trace> {
    let endpoint = table.string("endpoint", "\"http://127.0.0.1:4318\"").filter(|text| !text.value.is_empty());
    let collector = endpoint.as_ref().and_then(|text| {
        collector(&text.value)
            .map_err(|remedy| table.mistake(Mistake::at(&text.place, "this is no address of a collector", remedy)))
            .ok()
    });
    if let Some(endpoint) = endpoint.filter(|_| !cfg!(feature = "otlp")) {
        table.mistake(Mistake::at(
            &endpoint.place,
            "this program was built without traces",
            "build it with the feature \"otlp\", or leave endpoint empty",
        ));
    }
    let sample = table.share("sample").unwrap_or(0.01);
    let parents = [("proven", Parent::Proven), ("all", Parent::All), ("nobody", Parent::Nobody)];
    let parent = table.one_of("parent", &parents).unwrap_or(Parent::Proven);
    let service = table.string("service", "\"headwater\"");
    if let Some(service) = service.as_ref().filter(|service| !is_name(service)) {
        table.mistake(Mistake::at(
            &service.place,
            "this is no name for a service",
            "write 1 to 100 characters, for example \"headwater\"",
        ));
    }
    let service = service.map_or_else(|| "headwater".into(), |service| service.value);
    let client_address = table.boolean("client_address").unwrap_or(false);
    table.done();
    Some(Trace { collector: collector?, sample, parent, service, client_address })
}

fn is_name(service: &At<String>) -> bool {
    let text = service.value.as_str();
    (1..=100).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

/// Reads a collector's URL, or says what to write instead.
fn collector(url: &str) -> Result<Collector, &'static str> {
    let Some(rest) = url.strip_prefix("http://") else {
        return Err(if url.starts_with("https://") {
            "name a collector that is reached over plain HTTP, such as one on this machine that passes spans on"
        } else {
            "write for example \"http://127.0.0.1:4318\": OTLP over HTTP"
        });
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let path = path.trim_end_matches('/');
    if path.ends_with(TRACES) {
        return Err("leave /v1/traces off: it is added");
    }
    let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "4318"));
    let plain = |b: u8| b.is_ascii_graphic() && !b"?#@\"\\<>".contains(&b);
    if host.is_empty() || port.parse::<u16>().is_err() || !rest.bytes().all(plain) {
        return Err("write a host and a port, for example \"http://127.0.0.1:4318\"");
    }
    Ok(Collector { address: format!("{host}:{port}"), path: format!("{path}{TRACES}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_base_as_everywhere_in_opentelemetry() {
        let read = |url| collector(url).map(|found| (found.address, found.path));
        let good = |address: &str, path: &str| Ok((address.to_string(), path.to_string()));
        assert_eq!(read("http://127.0.0.1:4318"), good("127.0.0.1:4318", "/v1/traces"));
        assert_eq!(read("http://otel/"), good("otel:4318", "/v1/traces"));
        assert_eq!(read("http://[::1]:4318/a/b"), good("[::1]:4318", "/a/b/v1/traces"));
        for wrong in [
            "https://otel:4318",
            "otel:4318",
            "http://",
            "http://:4318",
            "http://otel:99999",
            "http://otel:4318/v1/traces",
            "http://user@otel:4318",
            "http://otel:4318/?x",
            "http://o tel:4318",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
