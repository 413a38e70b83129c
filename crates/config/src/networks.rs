//! Sets of networks: written out, from a file, or a vendor's published list by name.

mod import;

pub use import::import;

use crate::reader::{At, closest};
use crate::source::{Mistake, Place, Source};
use ipnet::{IpNet, Ipv6Net};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

/// The lists that are built in, with the vendor's name for each. Source and date stand in the files.
pub const BUILT_IN: [(&str, &str); 5] = [
    ("fastly", include_str!("../networks/fastly.txt")),
    ("cloudflare", include_str!("../networks/cloudflare.txt")),
    ("cloudfront", include_str!("../networks/cloudfront.txt")),
    ("bunny", include_str!("../networks/bunny.txt")),
    ("google", include_str!("../networks/google.txt")),
];

/// A set of addresses, asked in `O(log n)`. IPv4 is held as its IPv6-mapped form, so that `::ffff:192.0.2.1`
/// and `192.0.2.1` are one address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    /// First and last address of each range; sorted, and none touches another.
    ranges: Vec<(u128, u128)>,
}

impl Networks {
    /// The union of networks.
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> Self {
        let mut ranges: Vec<(u128, u128)> =
            networks.into_iter().map(|net| (number(net.network()), number(net.broadcast()))).collect();
        ranges.sort_unstable();
        let mut merged: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some(previous) if first <= previous.1.saturating_add(1) => previous.1 = previous.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Self { ranges: merged }
    }

    /// Whether the address lies in one of the networks.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = number(address);
        let after = self.ranges.partition_point(|(first, _)| *first <= address);
        after > 0 && address <= self.ranges[after - 1].1
    }

    /// Whether there is no network.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Reads the entries of a `networks` key.
pub(crate) fn read(entries: &[At<String>], mistakes: &mut Vec<Mistake>) -> Networks {
    let mut networks = Vec::new();
    for entry in entries {
        let text = entry.value.as_str();
        if let Some((_, list)) = BUILT_IN.iter().find(|(name, _)| *name == text) {
            let source = Source { name: format!("built-in list {text}"), text: (*list).into() };
            read_list(&Arc::new(source), &mut networks, mistakes);
        } else if let Some(path) = text.strip_prefix("file:") {
            match std::fs::read_to_string(path) {
                Ok(list) => {
                    let source = Source { name: path.into(), text: list };
                    read_list(&Arc::new(source), &mut networks, mistakes);
                }
                Err(error) => mistakes.push(Mistake::at(
                    &entry.place,
                    format!("cannot read the list of networks: {error}"),
                    "name a text file with one network a line after \"file:\"",
                )),
            }
        } else {
            match parse(text) {
                Some(network) => {
                    mistakes.extend(doubt(&network, text, &entry.place));
                    networks.push(network);
                }
                None => {
                    let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
                    let remedy = match closest(text, &names) {
                        Some(near) => format!("did you mean \"{near}\"?"),
                        None => format!(
                            "write a network such as \"192.0.2.0/24\", one of the lists {}, or \"file:PATH\"",
                            names.join(", ")
                        ),
                    };
                    mistakes.push(Mistake::at(&entry.place, format!("\"{text}\" is no network"), remedy));
                }
            }
        }
    }
    Networks::new(networks)
}

/// The built-in list of a vendor; empty where there is none.
pub fn built_in(vendor: &str) -> Networks {
    let list = BUILT_IN.iter().find(|(name, _)| *name == vendor).map_or("", |(_, list)| list);
    let lines = list.lines().map(|line| line.split('#').next().unwrap_or("").trim());
    Networks::new(lines.filter_map(parse))
}

fn read_list(source: &Arc<Source>, networks: &mut Vec<IpNet>, mistakes: &mut Vec<Mistake>) {
    let mut start = 0;
    for line in source.text.split_inclusive('\n') {
        let text = line.split('#').next().unwrap_or("").trim();
        if !text.is_empty() {
            let place = Place { source: source.clone(), span: start..start + line.trim_end().len() };
            match parse(text) {
                Some(network) => {
                    mistakes.extend(doubt(&network, text, &place));
                    networks.push(network);
                }
                None => mistakes.push(Mistake::at(
                    &place,
                    format!("\"{text}\" is no network"),
                    "write one network a line, for example 192.0.2.0/24; a comment begins with #",
                )),
            }
        }
        start += line.len();
    }
}

/// A network, or an address as the network of itself.
pub(crate) fn parse(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// Whether a network holds so much of the internet that lying in it proves nothing. Nobody who runs a CDN has an IPv4 `/7` or
/// an IPv6 `/15`; private addresses (RFC 4193) are no part of the internet.
pub(crate) fn is_too_wide(network: &IpNet) -> bool {
    const MAPPED: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96);
    const PRIVATE: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7);
    match network {
        IpNet::V4(network) => network.prefix_len() < 8,
        IpNet::V6(network) if MAPPED.contains(network) => network.prefix_len() < 96 + 8,
        IpNet::V6(network) if network.contains(&MAPPED) => true,
        IpNet::V6(network) => network.prefix_len() < 16 && !PRIVATE.contains(network),
    }
}

/// What is to be said of a network that can be read.
fn doubt(network: &IpNet, text: &str, place: &Place) -> Option<Mistake> {
    if is_too_wide(network) {
        return Some(Mistake::at(
            place,
            format!("{text} is too wide to prove anything"),
            "name the networks that the connections come from, for example \"192.0.2.0/24\"",
        ));
    }
    (network.addr() != network.network()).then(|| {
        Mistake::warning(
            place,
            format!("{text} is an address within a network, and stands for all of {}", network.trunc()),
            format!("write {} for the network, or {} for the address alone", network.trunc(), network.addr()),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(texts: &[&str]) -> Networks {
        Networks::new(texts.iter().map(|text| parse(text).unwrap()))
    }

    #[test]
    fn an_address_is_found_in_either_family_and_in_its_mapped_form() {
        let networks = set(&["192.0.2.0/25", "192.0.2.128/25", "2001:db8::/32", "198.51.100.7"]);
        for inside in ["192.0.2.0", "192.0.2.255", "::ffff:192.0.2.3", "2001:db8:ffff::1", "198.51.100.7"] {
            assert!(networks.contains(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["192.0.1.255", "192.0.3.0", "2001:db9::", "198.51.100.8", "::"] {
            assert!(!networks.contains(outside.parse().unwrap()), "{outside}");
        }
    }

    #[test]
    fn what_is_too_wide_proves_nothing() {
        for (text, expected) in [
            ("0.0.0.0/0", true),
            ("128.0.0.0/1", true),
            ("192.0.0.0/7", true),
            ("10.0.0.0/8", false),
            ("::/0", true),
            ("2000::/3", true),
            ("2a00::/12", true),
            ("2001:db8::/32", false),
            ("fc00::/7", false),
            ("fd00::/8", false),
            ("f000::/4", true),
            ("::ffff:0:0/96", true),
            ("::ffff:0:0/90", true),
            ("::ffff:10.0.0.0/104", false),
        ] {
            assert_eq!(is_too_wide(&parse(text).unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn every_built_in_list_is_whole_and_dated() {
        for (name, list) in BUILT_IN {
            let mut mistakes = Vec::new();
            let mut networks = Vec::new();
            read_list(&Arc::new(Source { name: name.into(), text: list.into() }), &mut networks, &mut mistakes);
            assert!(mistakes.is_empty(), "{name}: {}", mistakes[0]);
            assert!(!networks.is_empty(), "{name} is empty");
            assert_eq!(built_in(name), Networks::new(networks), "{name}");
            assert!(list.contains("# source: ") && list.contains("# as of: 20"), "{name} has no source and date");
        }
    }
}
