//! `[rum]`: what users' browsers tell of how long pages took.

use crate::networks::{self, Networks};
use crate::reader::{At, Table};
use crate::source::Mistake;

/// Paths of the control plane's own.
const TAKEN: [&str; 4] = ["/livez", "/readyz", "/status", "/metrics"];

/// `[rum]`
#[derive(Clone, Debug, PartialEq)]
pub struct Rum {
    /// Where browsers send it. `None`: nowhere.
    pub path: Option<String>,
    /// Whose pages may send, in lower case; `*.` stands for all below. Empty: anybody's.
    pub hosts: Vec<String>,
    /// The share of what comes that is counted.
    pub sample: f64,
    /// How many a second in all; 0: no bound.
    pub rate: u32,
    /// How many a second from one network; 0: no bound.
    pub network_rate: u32,
    /// Whether the user's country is looked up.
    pub countries: bool,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_from: Networks,
}

impl Rum {
    /// Whether pages of that host, without a port, may send.
    pub fn takes_from(&self, host: &str) -> bool {
        self.hosts.is_empty() || self.hosts.iter().any(|known| matches(known, host))
    }
}

/// Case does not count in a host's name (RFC 9110, section 4.2.3).
fn matches(known: &str, host: &str) -> bool {
    match known.strip_prefix('*') {
        Some(below) => {
            let at = host.len().checked_sub(below.len());
            at.filter(|at| *at > 0).and_then(|at| host.get(at..)).is_some_and(|end| end.eq_ignore_ascii_case(below))
        }
        None => known.eq_ignore_ascii_case(host),
    }
}

/// Reads `[rum]`.
pub(crate) fn read(table: Table<'_>) -> Rum {
    let path = table.string("path", "\"/rum\"").filter(|path| !path.value.is_empty());
    if let Some(path) = &path {
        check_path(&table, path);
    }
    let hosts = table.strings("hosts", "[\"www.example.com\", \"*.example.com\"]").unwrap_or_default();
    hosts.iter().for_each(|host| check_host(&table, host));
    let sample = table.share("sample").unwrap_or(1.0);
    if sample == 0.0 {
        table.mistake(Mistake::at(
            &table.place_of("sample"),
            "nothing that comes would be counted",
            "write a share above 0, or path = \"\" to take nothing at all",
        ));
    }
    let trusted_from = table
        .strings("trusted_from", "[\"10.0.0.0/8\"]")
        .map(|list| networks::read(&list, &mut table.mistakes().borrow_mut()))
        .unwrap_or_default();
    let rum = Rum {
        path: path.map(|path| path.value),
        hosts: hosts.into_iter().map(|host| host.value.to_ascii_lowercase()).collect(),
        sample,
        rate: table.integer("rate", 0..=1_000_000).unwrap_or(20_000) as u32,
        network_rate: table.integer("network_rate", 0..=1_000_000).unwrap_or(100) as u32,
        countries: table.boolean("countries").unwrap_or(true),
        trusted_from,
    };
    table.done();
    rum
}

fn check_path(table: &Table<'_>, path: &At<String>) {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/-._~".contains(&b);
    let text = path.value.as_str();
    if !text.starts_with('/') || text == "/" || !text.bytes().all(plain) {
        table.mistake(Mistake::at(
            &path.place,
            format!("\"{text}\" cannot be a path here"),
            "write a plain path without query or escapes, for example \"/rum\"",
        ));
    } else if TAKEN.contains(&text) || text.starts_with("/api/") {
        table.mistake(Mistake::at(
            &path.place,
            format!("{text} is a path of the control plane's own"),
            "write another, for example \"/rum\"",
        ));
    }
}

fn check_host(table: &Table<'_>, host: &At<String>) {
    let name = host.value.strip_prefix("*.").unwrap_or(&host.value);
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    if name.is_empty() || name.starts_with('.') || !name.bytes().all(plain) {
        table.mistake(Mistake::at(
            &host.place,
            format!("\"{}\" is no host's name", host.value),
            "write for example \"www.example.com\", or \"*.example.com\" for all below; no scheme and no port",
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rum(text: &str) -> Result<Rum, String> {
        let (policy, mistakes) = crate::from_text("t", &format!("[origin]\nservers = [\"a:1\"]\n[rum]\n{text}\n"));
        policy.map(|policy| policy.rum).ok_or_else(|| mistakes[0].to_string())
    }

    #[test]
    fn a_host_is_taken_by_name_or_by_what_it_lies_below() {
        let rum = rum("hosts = [\"www.example.com\", \"*.Example.net\"]").unwrap();
        for (host, taken) in [
            ("www.example.com", true),
            ("WWW.EXAMPLE.COM", true),
            ("example.com", false),
            ("a.www.example.com", false),
            ("shop.example.net", true),
            ("a.b.example.net", true),
            ("example.net", false),
            (".example.net", false),
            ("evilexample.net", false),
            ("www.example.net.evil.org", false),
            ("xé.example.net", true),
            ("é", false),
        ] {
            assert_eq!(rum.takes_from(host), taken, "{host}");
        }
        assert!(super::tests::rum("").unwrap().takes_from("anybody.example"));
    }

    #[test]
    fn mistakes_are_told() {
        for (text, said) in [
            ("path = \"rum\"", "cannot be a path"),
            ("path = \"/api/users\"", "own"),
            ("path = \"/livez\"", "own"),
            ("hosts = [\"https://www.example.com\"]", "no host"),
            ("hosts = [\"*\"]", "no host"),
            ("sample = 0.0", "nothing"),
            ("sample = 2", "share"),
            ("trusted_from = [\"0.0.0.0/0\"]", "too wide"),
            ("paths = 1", "no key"),
        ] {
            let error = rum(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
        assert_eq!(rum("").unwrap().path, None, "nothing is taken unless somebody says so");
    }
}
