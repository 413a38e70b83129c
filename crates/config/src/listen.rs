//! `[listen]`: where pulls and the operator come in.

use crate::networks;
use crate::policy::{Http2, Listen};
use crate::reader::{At, Table};
use crate::secret;
use crate::source::{Mistake, Place};
use std::net::{IpAddr, SocketAddr};

/// An address, and where it stands; `None`: it is built in.
type Written = (SocketAddr, Option<Place>);

/// Reads `[listen]`; `has_tls` is whether there are certificates to listen with, or a mistake about them is told already.
pub(crate) fn read(table: Table<'_>, http2: Http2, has_tls: bool) -> Listen {
    let read = |list: Vec<At<String>>| -> Vec<Written> {
        list.into_iter().filter_map(|text| Some((address(&table, &text)?, Some(text.place)))).collect()
    };
    let https = table.strings("https", "[\"0.0.0.0:8443\"]").map(read).unwrap_or_default();
    if !https.is_empty() && !has_tls {
        table.mistake(Mistake::at(
            &table.place_of("https"),
            "there is no certificate to listen with",
            "add [tls] with certificate = \"PATH\" and key = \"PATH\"",
        ));
    }
    let http = match table.strings("http", "[\"0.0.0.0:8080\"]") {
        Some(list) => {
            if list.is_empty() && https.is_empty() {
                table.mistake(Mistake::at(
                    &table.place_of("http"),
                    "there is nowhere to listen",
                    "write for example http = [\"0.0.0.0:8080\"]",
                ));
            }
            read(list)
        }
        None => vec![(SocketAddr::from(([0, 0, 0, 0], 8080)), None)],
    };
    let admin = table
        .string("admin", "\"127.0.0.1:9180\"")
        .and_then(|text| Some((address(&table, &text)?, Some(text.place))))
        .unwrap_or((SocketAddr::from(([127, 0, 0, 1], 9180)), None));
    check_overlaps(&table, http.iter().chain(&https).chain([&admin]));
    let admin = admin.0;
    let admin_token = table
        .string("admin_token", "\"env:HEADWATER_TOKEN\"")
        .filter(|text| !text.value.is_empty())
        .and_then(|text| secret::resolve(&text, "the admin token", table.mistakes()));
    if admin_token.is_none() && !admin.ip().is_loopback() {
        table.mistake(Mistake::at(
            &table.place_of("admin"),
            format!("anybody who reaches {admin} could change things"),
            "add admin_token = \"env:NAME\", or let admin listen on 127.0.0.1",
        ));
    }
    let workers = table.integer("workers", 0..=1024).unwrap_or(0) as usize;
    let proxy_protocol_from = table
        .strings("proxy_protocol_from", "[\"10.0.0.0/8\"]")
        .map(|list| networks::read(&list, &mut table.mistakes().borrow_mut()))
        .unwrap_or_default();
    table.done();
    let addresses = |all: Vec<Written>| all.into_iter().map(|(address, _)| address).collect();
    Listen { http: addresses(http), https: addresses(https), http2, proxy_protocol_from, admin, admin_token, workers }
}

fn address(table: &Table<'_>, text: &At<String>) -> Option<SocketAddr> {
    let parsed = text.value.parse().ok();
    if parsed.is_none() {
        table.mistake(Mistake::at(
            &text.place,
            format!("\"{}\" is no address to listen on", text.value),
            "write an IP address and a port, for example \"0.0.0.0:8080\" or \"[::]:8080\"",
        ));
    }
    parsed
}

/// Finds addresses that cannot both be listened on: the second one would keep Headwater from starting.
fn check_overlaps<'a>(table: &Table<'_>, all: impl Iterator<Item = &'a Written>) {
    let mut earlier: Vec<&Written> = Vec::new();
    for written @ (address, place) in all {
        if let Some((taken, other_place)) = earlier.iter().find(|(taken, _)| overlap(taken, address)) {
            let what = if taken == address {
                format!("{address} is listened on twice in [listen]")
            } else {
                format!("{address} cannot be listened on beside {taken}, which takes the same connections")
            };
            let place = place.as_ref().or(other_place.as_ref()).unwrap_or(&table.place);
            table.mistake(Mistake::at(place, what, "give one of the two another port, or leave it out"));
        }
        earlier.push(written);
    }
}

/// Whether the two take the same connections. `[::]` takes those of IPv4 too. Port 0 is a free one, which nobody else has.
pub(crate) fn overlap(one: &SocketAddr, other: &SocketAddr) -> bool {
    let covers = |wide: IpAddr, narrow: IpAddr| match wide {
        IpAddr::V4(_) => wide.is_unspecified() && narrow.is_ipv4(),
        IpAddr::V6(_) => wide.is_unspecified(),
    };
    let (a, b) = (one.ip().to_canonical(), other.ip().to_canonical());
    one.port() == other.port() && one.port() != 0 && (a == b || covers(a, b) || covers(b, a))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_addresses_overlap_where_the_system_gives_out_only_one() {
        for (one, other, expected) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "[::]:80", true),
            ("0.0.0.0:80", "[::]:80", true),
            ("0.0.0.0:80", "[::1]:80", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("127.0.0.1:80", "127.0.0.1:81", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
        ] {
            assert_eq!(overlap(&one.parse().unwrap(), &other.parse().unwrap()), expected, "{one} {other}");
        }
    }
}
