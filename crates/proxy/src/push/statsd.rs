//! StatsD: over UDP, what counters gained since the last push that nobody refused.

use super::{Presence, Sample, beat, samples};
use crate::server::Control;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UdpSocket;

/// What fits an Ethernet frame, so that a datagram is not cut.
const DATAGRAM: usize = 1400;

/// Sends what counters gained as `|c` and gauges as `|g`. What could not be sent is in the next difference.
pub(crate) async fn to_statsd(control: Arc<Control>) {
    let mut presence = {
        let dropped = control.shared.figures.pushes_dropped.with_label_values(&["statsd"]);
        Presence::new("statsd", dropped, control.sinks.clone())
    };
    let mut ledger = Ledger::default();
    let mut socket: Option<(String, UdpSocket)> = None;
    let mut last = Duration::ZERO;
    loop {
        let metrics = control.shared.live.load().policy.metrics.clone();
        last = beat(metrics.interval, last).await;
        let Some(sink) = &metrics.statsd else {
            socket = None;
            presence.is_forgotten();
            continue;
        };
        // A host that has nobody on the port says so after the datagram came: only now is known what became of the last push.
        let refused = socket.as_ref().and_then(|(_, udp)| udp.take_error().unwrap_or_else(Some));
        match refused {
            Some(error) => {
                socket = None;
                presence.fails(sink, &error);
                presence.drops(ledger.strike());
            }
            None => {
                if let Some(counters) = ledger.settle() {
                    presence.answers(sink, counters);
                }
            }
        }
        let datagrams = ledger.enter(&samples(&control.gather(), &metrics.prefix));
        if let Err(error) = send(&mut socket, sink, &datagrams).await {
            socket = None;
            presence.fails(sink, &error);
            presence.drops(ledger.strike());
        }
    }
}

async fn send(socket: &mut Option<(String, UdpSocket)>, sink: &str, datagrams: &[String]) -> io::Result<()> {
    if socket.as_ref().is_none_or(|(to, _)| to != sink) {
        *socket = Some((sink.to_string(), connect(sink).await?));
    }
    let Some((_, udp)) = socket else { return Ok(()) };
    for datagram in datagrams {
        udp.send(datagram.as_bytes()).await?;
    }
    Ok(())
}

async fn connect(sink: &str) -> io::Result<UdpSocket> {
    let address = tokio::net::lookup_host(sink).await?.next().ok_or(io::ErrorKind::NotFound)?;
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(address).await?;
    Ok(socket)
}

/// What the sink has of every counter, and the push of which that is not known yet.
#[derive(Default)]
struct Ledger {
    delivered: HashMap<String, f64>,
    in_doubt: Option<Entry>,
}

struct Entry {
    counters: HashMap<String, f64>,
    gained: u64,
    gauges: u64,
}

impl Ledger {
    /// Makes a push of what was added since the last settled one. It stays in doubt until it is settled or struck.
    fn enter(&mut self, samples: &[Sample]) -> Vec<String> {
        let mut entry = Entry { counters: HashMap::new(), gained: 0, gauges: 0 };
        let mut datagrams: Vec<String> = Vec::new();
        for sample in samples {
            let line = if sample.counts {
                entry.counters.insert(sample.name.clone(), sample.value);
                let before = self.delivered.get(&sample.name).copied().unwrap_or(0.0);
                // A series that a reload took away and another brought back begins anew.
                let gained = if sample.value < before { sample.value } else { sample.value - before };
                if gained == 0.0 {
                    continue;
                }
                entry.gained += 1;
                format!("{}:{gained}|c", sample.name)
            } else {
                entry.gauges += 1;
                format!("{}:{}|g", sample.name, sample.value)
            };
            match datagrams.last_mut() {
                Some(datagram) if datagram.len() + 1 + line.len() <= DATAGRAM => {
                    datagram.push('\n');
                    datagram.push_str(&line);
                }
                _ => datagrams.push(line),
            }
        }
        self.in_doubt = Some(entry);
        datagrams
    }

    /// The last push was not refused. Says how many counters it moved; `None`: there was no push.
    fn settle(&mut self) -> Option<u64> {
        let entry = self.in_doubt.take()?;
        self.delivered = entry.counters;
        Some(entry.gained)
    }

    /// The last push came to nothing. What its counters gained is in the next; says how many gauges are lost.
    fn strike(&mut self) -> u64 {
        self.in_doubt.take().map_or(0, |entry| entry.gauges)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(pulls: f64) -> [Sample; 2] {
        [
            Sample { name: "pulls".into(), value: pulls, counts: true },
            Sample { name: "open".into(), value: 7.0, counts: false },
        ]
    }

    #[test]
    fn what_was_refused_is_sent_again_and_what_was_not_is_not() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.enter(&samples(5.0)), ["pulls:5|c\nopen:7|g"]);
        assert_eq!(ledger.strike(), 1, "a gauge's reading is lost");
        assert_eq!(ledger.enter(&samples(8.0)), ["pulls:8|c\nopen:7|g"]);
        assert_eq!(ledger.settle(), Some(1));
        assert_eq!(ledger.enter(&samples(9.0)), ["pulls:1|c\nopen:7|g"]);
        assert_eq!(ledger.settle(), Some(1));
        assert_eq!(ledger.enter(&samples(9.0)), ["open:7|g"]);
        assert_eq!(ledger.settle(), Some(0));
        assert_eq!(ledger.enter(&samples(2.0)), ["pulls:2|c\nopen:7|g"], "a counter that began anew");
        assert_eq!((ledger.settle(), ledger.settle()), (Some(1), None));
    }

    #[test]
    fn no_datagram_is_longer_than_a_frame_holds() {
        let many: Vec<Sample> =
            (0..500).map(|n| Sample { name: format!("figure.{n}"), value: 1.0, counts: true }).collect();
        let datagrams = Ledger::default().enter(&many);
        assert!(datagrams.len() > 1 && datagrams.iter().all(|datagram| datagram.len() <= DATAGRAM));
        assert_eq!(datagrams.iter().map(|datagram| datagram.lines().count()).sum::<usize>(), 500);
    }
}
