//! A user's country, from his address.

use crate::policy::Policy;
use maxminddb::PathElement;
use std::net::IpAddr;

/// A country's ISO 3166 code, or `unknown`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Country(Option<[u8; 2]>);

impl Country {
    /// The country of a code; whatever is not two capital letters is unknown.
    pub fn of(code: &str) -> Self {
        let letters = code.as_bytes().try_into().ok();
        Self(letters.filter(|letters: &[u8; 2]| letters.iter().all(u8::is_ascii_uppercase)))
    }

    /// As labels have it.
    pub fn as_str(&self) -> &str {
        self.0.as_ref().and_then(|letters| std::str::from_utf8(letters).ok()).unwrap_or("unknown")
    }
}

impl Policy {
    /// The country of an address, as `geo.database` tells. It is a stranger's too, and is not believed to hold codes alone.
    pub fn country(&self, address: IpAddr) -> Country {
        let lookup = || {
            let found = self.geo.as_ref()?.lookup(address).ok()?;
            found.decode_path::<&str>(&[PathElement::Key("country"), PathElement::Key("iso_code")]).ok()?
        };
        lookup().map_or_else(Country::default, Country::of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_two_capital_letters() {
        assert_eq!(Country::of("DE").as_str(), "DE");
        for odd in ["", "de", "DEU", "D\"", "é", "D"] {
            assert_eq!(Country::of(odd).as_str(), "unknown", "{odd}");
        }
    }
}
