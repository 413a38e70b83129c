//! Address, scheme and host as they were asked for, told to the app: a proven provider's word is kept and added to, anybody
//! else's replaced.

use crate::fields::Fields;
use crate::forward::write_line;
use crate::identify::address;
use std::io::Write;
use std::net::IpAddr;

/// What is known of who asked.
pub(crate) struct Origins<'a> {
    pub fields: &'a Fields,
    /// Whether a provider proved itself, so that what its fields say is believed.
    pub proven: bool,
    /// The user, as far as a proven provider tells; else the peer.
    pub client: IpAddr,
    /// Who connected.
    pub peer: IpAddr,
    /// `http` or `https`, as the connection was.
    pub scheme: &'a [u8],
    /// The `Host` that was asked for.
    pub host: Option<&'a [u8]>,
}

impl<'a> Origins<'a> {
    fn said(&self, name: &'static str) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let proven = self.proven;
        self.fields.all(name).filter(move |value| proven && !value.is_empty())
    }

    /// Writes the fields.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        self.write_addresses(out);
        let scheme = self.said("X-Forwarded-Proto").next();
        let scheme = scheme.filter(|scheme| [&b"http"[..], b"https"].contains(scheme)).unwrap_or(self.scheme);
        write_line(out, b"X-Forwarded-Proto", scheme);
        let host = self.said("X-Forwarded-Host").next().or(self.host);
        if let Some(host) = host {
            write_line(out, b"X-Forwarded-Host", host);
        }
        self.write_forwarded(out, scheme, host);
    }

    /// `X-Forwarded-For` ends in the user and the peer, whatever was written before by whom; `X-Real-IP` is the user.
    fn write_addresses(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"X-Forwarded-For: ");
        let mut last: Option<&[u8]> = None;
        for value in self.said("X-Forwarded-For") {
            out.extend_from_slice(value);
            out.extend_from_slice(b", ");
            // Quotes mean nothing here: one that a client sent must not swallow what the provider added.
            last = value.rsplit(|&b| b == b',').find(|member| !member.trim_ascii().is_empty()).or(last);
        }
        let told = last.and_then(address) == Some(self.client);
        if !told && self.client != self.peer {
            let _ = write!(out, "{}, ", self.client);
        }
        let _ = write!(out, "{}\r\nX-Real-IP: {}\r\n", self.peer, self.client);
    }

    fn write_forwarded(&self, out: &mut Vec<u8>, scheme: &[u8], host: Option<&[u8]>) {
        out.extend_from_slice(b"Forwarded: ");
        let mut before = false;
        for value in self.said("Forwarded").filter(|value| is_forwarded(value)) {
            out.extend_from_slice(value);
            out.extend_from_slice(b", ");
            before = true;
        }
        if !before && self.client != self.peer {
            write_node(out, self.client);
            out.extend_from_slice(b", ");
        }
        write_node(out, self.peer);
        if let Some(host) = host.filter(|host| !host.iter().any(|b| b"\"\\".contains(b))) {
            out.extend_from_slice(b";host=\"");
            out.extend_from_slice(host);
            out.push(b'"');
        }
        out.extend_from_slice(b";proto=");
        out.extend_from_slice(scheme);
        out.extend_from_slice(b"\r\n");
    }
}

/// RFC 7239, section 6: IPv6 stands in brackets, and brackets and colons stand in quotes.
fn write_node(out: &mut Vec<u8>, address: IpAddr) {
    let _ = match address {
        IpAddr::V4(address) => write!(out, "for={address}"),
        IpAddr::V6(address) => write!(out, "for=\"[{address}]\""),
    };
}

/// Whether a text is a list as RFC 7239, section 4, has it. Behind one that is not, ours could not be read.
fn is_forwarded(value: &[u8]) -> bool {
    let mut rest = value;
    loop {
        rest = rest.trim_ascii_start();
        let name = token(rest);
        if name == 0 || rest.get(name) != Some(&b'=') {
            return false;
        }
        rest = &rest[name + 1..];
        let length = if rest.first() == Some(&b'"') { quoted(rest) } else { token(rest) };
        if length == 0 {
            return false;
        }
        rest = rest[length..].trim_ascii_start();
        match rest.split_first() {
            None => return true,
            Some((b';' | b',', more)) => rest = more,
            Some(_) => return false,
        }
    }
}

/// Bytes of the token that a text begins with (RFC 9110, section 5.6.2).
fn token(text: &[u8]) -> usize {
    let is_token = |&b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    text.iter().position(|b| !is_token(b)).unwrap_or(text.len())
}

/// Bytes of the quoted string that a text begins with, or 0 where it does not end.
fn quoted(text: &[u8]) -> usize {
    let mut escaped = false;
    for (at, &b) in text.iter().enumerate().skip(1) {
        match b {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(proven: bool, client: &str, lines: &[(&str, &str)]) -> String {
        let mut fields = Fields::default();
        for (name, value) in lines {
            fields.push(name, value.as_bytes());
        }
        let (client, peer) = (client.parse().unwrap(), "151.101.0.1".parse().unwrap());
        let mut out = Vec::new();
        let origins = Origins { fields: &fields, proven, client, peer, scheme: b"https", host: Some(b"shop.example") };
        origins.write_to(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_user_stands_beside_the_peer_whatever_was_forged_before() {
        let all = written(true, "203.0.113.9", &[("X-Forwarded-For", "1.2.3.4")]);
        assert!(all.contains("X-Forwarded-For: 1.2.3.4, 203.0.113.9, 151.101.0.1\r\n"), "{all}");
        assert!(all.contains("X-Real-IP: 203.0.113.9\r\n"), "{all}");
        assert!(
            all.contains("Forwarded: for=203.0.113.9, for=151.101.0.1;host=\"shop.example\";proto=https\r\n"),
            "{all}"
        );
        let once = written(true, "203.0.113.9", &[("X-Forwarded-For", "1.2.3.4, 203.0.113.9")]);
        assert!(once.contains("X-Forwarded-For: 1.2.3.4, 203.0.113.9, 151.101.0.1\r\n"), "{once}");
    }

    #[test]
    fn a_stranger_is_not_believed() {
        let lines = [("X-Forwarded-For", "1.2.3.4"), ("Forwarded", "for=1.2.3.4"), ("X-Forwarded-Host", "evil")];
        let all = written(false, "151.101.0.1", &lines);
        assert!(!all.contains("1.2.3.4") && !all.contains("evil"), "{all}");
        assert!(all.contains("X-Forwarded-For: 151.101.0.1\r\n"), "{all}");
    }

    #[test]
    fn what_is_no_forwarded_list_is_not_passed_on() {
        for good in ["for=1.1.1.1", "for=\"[2001:db8::1]\";proto=https, for=unknown;by=_x", "host=\"a\\\"b\" ; for=x"] {
            assert!(is_forwarded(good.as_bytes()), "{good}");
        }
        for bad in ["", "for", "for=", "for=1.1.1.1;host=evil, garbage\"", "for=\"x", "for=[::1]", ",", "for=a b"] {
            assert!(!is_forwarded(bad.as_bytes()), "{bad}");
        }
        let all = written(true, "203.0.113.9", &[("Forwarded", "for=1.1.1.1;host=evil, garbage\"")]);
        assert!(!all.contains("garbage"), "{all}");
    }
}
