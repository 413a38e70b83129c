//! Who asks: the tag's claim, its proof, and the user's address.

use crate::caller::Caller;
use crate::fields::Fields;
use headwater_config::{Kind, Policy, Provider};
use std::net::{IpAddr, SocketAddr};
use subtle::ConstantTimeEq;

/// Who a pull is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// The provider of that index, proven.
    Proven(usize),
    /// It names that provider and cannot prove it.
    Unproven(usize),
    /// It names a provider that is not configured.
    Other,
    /// It names none.
    Untagged,
}

impl Asker {
    /// Judges the tag.
    pub fn of(fields: &Fields, caller: &Caller, policy: &Policy) -> Self {
        let mut tags = fields.all(&policy.identify.header);
        let Some(tag) = tags.next() else { return Asker::Untagged };
        let named = policy.providers.iter().position(|provider| tag.eq_ignore_ascii_case(provider.name.as_bytes()));
        let Some(named) = named else { return Asker::Other };
        // A CDN that adds the tag behind one that a client sent leaves two: then neither is its word.
        let alone = tags.all(|other| other.eq_ignore_ascii_case(tag));
        if alone && is_proven(&policy.providers[named], fields, caller) {
            Asker::Proven(named)
        } else {
            Asker::Unproven(named)
        }
    }

    /// The index of its label: the providers, then `untagged`, `unproven`, `other`.
    pub fn label(self, providers: usize) -> usize {
        match self {
            Asker::Proven(index) => index,
            Asker::Untagged => providers,
            Asker::Unproven(_) => providers + 1,
            Asker::Other => providers + 2,
        }
    }

    /// The provider, if proven.
    pub fn proven(self, policy: &Policy) -> Option<&Provider> {
        match self {
            Asker::Proven(index) => Some(&policy.providers[index]),
            _ => None,
        }
    }

    /// The provider whose name was used without proof, or against what the pull's other headers say; `other` where a name
    /// was used that no provider has.
    pub fn mismatch<'p>(self, fields: &Fields, policy: &'p Policy) -> Option<&'p str> {
        let name = |index: usize| policy.providers[index].name.as_str();
        match self {
            Asker::Unproven(claimed) => Some(name(claimed)),
            Asker::Proven(claimed) => {
                let kind = policy.providers[claimed].kind;
                let contradicts =
                    |other: Kind| other != kind && other.own_headers().iter().any(|name| fields.has(name));
                // A generic provider may be any vendor under another name.
                (kind != Kind::Generic && Kind::all().any(contradicts)).then(|| name(claimed))
            }
            Asker::Other => Some("other"),
            Asker::Untagged => None,
        }
    }
}

/// Every proof that is configured must hold: a vendor's networks carry the pulls of all its customers.
fn is_proven(provider: &Provider, fields: &Fields, caller: &Caller) -> bool {
    let by_address = provider.networks.is_empty() || provider.networks.contains(caller.ip());
    let by_certificate = provider.certificate.as_ref().is_none_or(|name| caller.certificate.contains(name));
    let by_secret = provider.secret.as_ref().is_none_or(|secret| {
        let mut sent = fields.all(&secret.header);
        match (sent.next(), sent.next()) {
            (Some(sent), None) => {
                // Every value is compared, so that the time does not tell which one was near.
                secret.values.iter().fold(false, |good, value| good | bool::from(value.expose().ct_eq(sent)))
            }
            _ => false,
        }
    });
    by_address && by_certificate && by_secret
}

/// The user's address: from the vendor's own header of a proven provider, else from its `X-Forwarded-For` read from the
/// right, else the peer's.
pub(crate) fn client_address(fields: &Fields, peer: IpAddr, provider: Option<&Provider>) -> IpAddr {
    let Some(provider) = provider else { return peer };
    let named = provider.kind.client_address_header().and_then(|header| fields.get(header)).and_then(address);
    named.or_else(|| forwarded_for(fields, provider)).unwrap_or(peer)
}

/// The rightmost address that is not the provider's own. What stands further left was written by whoever asked.
fn forwarded_for(fields: &Fields, provider: &Provider) -> Option<IpAddr> {
    // Addresses need no quotes: one that a user puts in must not swallow what the provider adds.
    let members = fields.all("X-Forwarded-For").flat_map(|line| line.split(|&b| b == b','));
    let members: Vec<&[u8]> = members.map(<[u8]>::trim_ascii).filter(|member| !member.is_empty()).collect();
    let mut from_the_right = members.into_iter().rev();
    // Google's load balancer puts the client's address, then its own.
    if provider.kind == Kind::Google {
        from_the_right.next();
    }
    for member in from_the_right {
        let address = address(member)?;
        if !provider.networks.contains(address) {
            return Some(address);
        }
    }
    None
}

/// An address, with or without a port, IPv6 with or without brackets.
pub(crate) fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim();
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address.ip().to_canonical());
    }
    if let Some(inner) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        return inner.parse().ok();
    }
    // CloudFront writes IPv6 and port without brackets: 2001:db8::1:443.
    let (address, port) = text.rsplit_once(':')?;
    port.parse::<u16>().ok()?;
    address.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::RefCell;
    use std::collections::HashMap;

    fn provider(kind: &str) -> Provider {
        thread_local!(static MADE: RefCell<HashMap<String, Provider>> = RefCell::default());
        MADE.with_borrow_mut(|made| made.entry(kind.into()).or_insert_with(|| make(kind)).clone())
    }

    fn make(kind: &str) -> Provider {
        let text = format!(
            "[origin]\nservers = [\"a:1\"]\n[[cdn]]\nname = \"p\"\nkind = \"{kind}\"\nnetworks = [\"198.51.100.0/24\", \"2001:db8:cd::/48\"]\n"
        );
        headwater_config::from_text("t", &text).0.unwrap().providers[0].clone()
    }

    const EDGE: &str = "198.51.100.7";

    proptest! {
        #[test]
        fn what_a_user_writes_never_makes_him_another(
            written in prop::collection::vec("[ -~]{0,30}|[0-9.]{7,15}(, 198.51.100.[0-9]){0,2}", 0..3),
            user in any::<[u8; 4]>().prop_map(IpAddr::from).prop_filter("a user", |ip| ip.to_string() != EDGE && !ip.to_string().starts_with("198.51.100.")),
            hops in prop::collection::vec("198\\.51\\.100\\.[1-9]|2001:db8:cd::[1-9]", 0..3),
            own_line: bool,
        ) {
            let added = [&[user.to_string()][..], &hops].concat().join(", ");
            let mut fields = Fields::default();
            let mut lines = written;
            match lines.last_mut() {
                Some(last) if !own_line => *last += &format!(", {added}"),
                _ => lines.push(added),
            }
            lines.iter().for_each(|line| fields.push("X-Forwarded-For", line.as_bytes()));
            let peer: IpAddr = EDGE.parse().unwrap();
            prop_assert_eq!(client_address(&fields, peer, Some(&provider("generic"))), user, "{:?}", lines);
            prop_assert_eq!(client_address(&fields, peer, None), peer, "a stranger is who connects");
        }

        #[test]
        fn no_header_makes_it_fail(value in prop::collection::vec(any::<u8>(), 0..60)) {
            for kind in Kind::all() {
                let mut fields = Fields::default();
                fields.push("X-Forwarded-For", &value);
                fields.push(kind.client_address_header().unwrap_or("X"), &value);
                client_address(&fields, EDGE.parse().unwrap(), Some(&provider(kind.name())));
            }
        }
    }

    #[test]
    fn a_quote_does_not_swallow_what_the_provider_adds() {
        let mut fields = Fields::default();
        fields.push("X-Forwarded-For", b"6.6.6.6, \", 192.0.2.1");
        let found = client_address(&fields, EDGE.parse().unwrap(), Some(&provider("generic")));
        assert_eq!(found, IpAddr::from([192, 0, 2, 1]));
    }

    #[test]
    fn an_address_is_read_with_port_and_brackets_and_without() {
        for (text, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.1:4711", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("2001:db8:0:0:0:0:0:1:443", "2001:db8::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
        ] {
            assert_eq!(address(text.as_bytes()), Some(expected.parse().unwrap()), "{text}");
        }
        for wrong in ["", "unknown", "_hidden", "192.0.2.1:x", "\u{ff}"] {
            assert_eq!(address(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
