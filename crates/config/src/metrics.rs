//! `[metrics]`: where figures are pushed.

use crate::policy::Metrics;
use crate::reader::Table;
use crate::source::Mistake;
use std::net::Ipv6Addr;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// Reads `[metrics]`.
pub(crate) fn read(table: Table<'_>) -> Metrics {
    let sink = |key: &'static str, port: &str| {
        let text = table.string(key, &format!("\"127.0.0.1:{port}\""))?;
        if !text.value.is_empty() && !is_host_and_port(&text.value) {
            table.mistake(Mistake::at(
                &text.place,
                format!("\"{}\" is no host and port", text.value),
                format!("write for example \"127.0.0.1:{port}\" or \"[::1]:{port}\", or leave it empty"),
            ));
        }
        Some(text.value).filter(|value| !value.is_empty())
    };
    let graphite = sink("graphite", "2003");
    let statsd = sink("statsd", "8125");
    let prefix = table.string("prefix", "\"headwater\"");
    if let Some(prefix) = &prefix {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
        if !prefix.value.split('.').all(|part| !part.is_empty() && part.bytes().all(plain)) {
            table.mistake(Mistake::at(
                &prefix.place,
                format!("\"{}\" cannot begin a name", prefix.value),
                "write letters, digits, - and _, in parts with one dot between them",
            ));
        }
    }
    let interval = table.duration("interval").unwrap_or(10 * SECOND);
    if interval < SECOND {
        table.mistake(Mistake::warning(
            &table.place_of("interval"),
            "all figures are pushed more than once a second",
            "write for example \"10s\": Graphite keeps one value for each of its own intervals, and these are longer",
        ));
    }
    let prefix = prefix.map_or_else(|| "headwater".into(), |prefix| prefix.value);
    let metrics = Metrics { graphite, statsd, prefix, interval };
    table.done();
    metrics
}

/// A name or an address, and a port. IPv6 stands in brackets: without them nobody knows where the port begins.
pub(crate) fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let host_is_good = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)),
    };
    host_is_good && port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sink_is_a_host_and_a_port() {
        for good in ["127.0.0.1:2003", "graphite.example.net:2003", "[::1]:8125", "carbon_1:2003"] {
            assert!(is_host_and_port(good), "{good}");
        }
        for bad in
            ["1:2:3", "http://x:2003", "x", "x:", ":1", "x:0", "x:+1", "x:65536", "::1:2003", "[x]:1", "a b:1", "x:1/"]
        {
            assert!(!is_host_and_port(bad), "{bad}");
        }
    }
}
