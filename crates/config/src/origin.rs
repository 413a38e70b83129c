//! `[origin]`: the app servers, how they are reached, and when one of them counts as down.

use crate::reader::{At, Table};
use crate::rules::Statuses;
use crate::source::{Mistake, Place};
use crate::tls;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// `[origin]`
#[derive(Clone, Debug)]
pub struct Origin {
    /// In the order of the config. Never two of one name.
    pub servers: Vec<OriginServer>,
    /// There if a server is reached over TLS.
    pub tls: Option<OriginTls>,
    /// To an open connection, its TLS handshake included.
    pub connect_timeout: Duration,
    /// From the request's last byte to the answer's first.
    pub response_timeout: Duration,
    /// Longest rest of a kept connection.
    pub idle_timeout: Duration,
    /// Longest wait for one of `max_connections`.
    pub wait_timeout: Duration,
    /// Open at one time, over all servers and workers.
    pub max_connections: usize,
    /// Open at one time to each server, over all workers.
    pub server_max_connections: usize,
    /// Whether the app sees the `Host` that was asked for, or the server's own.
    pub preserve_host: bool,
    /// When pulls that fail take a server out.
    pub ejection: Ejection,
    /// How long a server that came back gets less than its share.
    pub slow_start: Duration,
    /// Retries for each pull, over the whole proxy; 0: none at all.
    pub retry_budget: f64,
    /// Checks beside the pulls; `None`: none are made.
    pub checks: Option<Checks>,
}

/// One of `origin.servers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginServer {
    /// As it was written: a metric's label.
    pub name: String,
    /// How it is reached.
    pub way: Way,
    /// What it sees as `Host` where that is not the pull's.
    pub host: String,
}

/// How a server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// `host:port`
    Tcp(String),
    /// The path of a socket.
    Unix(PathBuf),
    /// `host:port`, and the name that its certificate has to be for.
    Tls(String, ServerName<'static>),
}

/// `[origin] tls`
#[derive(Clone)]
pub struct OriginTls {
    /// Authorities, our certificate, protocols.
    pub client: Arc<ClientConfig>,
    /// Hash of all that was read from files: connections made under another are of no use.
    pub fingerprint: u64,
}

impl fmt::Debug for OriginTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OriginTls").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

/// When pulls that fail take a server out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// Failures in a row; 0: never.
    pub fails: u32,
    /// Whether the app's own 500, 502, 503 and 504 are failures.
    pub fails_5xx: bool,
    /// For how long, the first time. It doubles with each time that follows soon.
    pub time: Duration,
    /// For how long at most.
    pub longest: Duration,
}

/// `[origin] health`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checks {
    /// What is asked for.
    pub path: String,
    /// `Host`; `None`: the server's own.
    pub host: Option<String>,
    /// Between two checks of one server.
    pub interval: Duration,
    /// For a whole check.
    pub timeout: Duration,
    /// Bad checks in a row that take a server out.
    pub fall: u32,
    /// Good checks in a row that bring it back.
    pub rise: u32,
    /// Statuses of a good answer.
    pub expect: Statuses,
}

/// Reads `[origin]`; `written` is whether it stands in the file.
pub(crate) fn read(table: Table<'_>, written: bool) -> Origin {
    let tls_table = table.table("tls");
    let server_name = tls_table.as_ref().and_then(read_server_name);
    let texts = table.strings("servers", "[\"127.0.0.1:8000\"]").unwrap_or_default();
    let servers = read_servers(&table, &texts, server_name.as_ref());
    if texts.is_empty() {
        let place = if written { table.place_of("servers") } else { table.place.clone() };
        table.mistake(Mistake::at(
            &place,
            "there is no origin to forward to",
            "add [origin] with servers = [\"127.0.0.1:8000\"]: the one key that has no default",
        ));
    }
    let over_tls = texts.iter().find(|text| text.value.starts_with("https://")).map(|text| &text.place);
    let tls = read_tls(&table, tls_table, over_tls, server_name.as_ref());
    let eject = table.duration("eject").unwrap_or(10 * SECOND);
    let origin = Origin {
        servers,
        tls,
        connect_timeout: table.duration("connect_timeout").unwrap_or(2 * SECOND),
        response_timeout: table.duration("response_timeout").unwrap_or(30 * SECOND),
        idle_timeout: table.duration("idle_timeout").unwrap_or(4 * SECOND),
        wait_timeout: table.duration("wait_timeout").unwrap_or(2 * SECOND),
        max_connections: table.integer("max_connections", 1..=1_000_000).unwrap_or(512) as usize,
        server_max_connections: match table.integer("server_max_connections", 0..=1_000_000).unwrap_or(0) {
            0 => usize::MAX,
            most => most as usize,
        },
        preserve_host: table.boolean("preserve_host").unwrap_or(true),
        ejection: Ejection {
            fails: table.integer("fails", 0..=1_000_000).unwrap_or(5) as u32,
            fails_5xx: table.boolean("fails_5xx").unwrap_or(false),
            time: eject,
            longest: table.duration("max_eject").unwrap_or(300 * SECOND).max(eject),
        },
        slow_start: table.duration_from_zero("slow_start").unwrap_or(10 * SECOND),
        retry_budget: table.share("retry_budget").unwrap_or(0.2),
        checks: table.table("health").and_then(read_checks),
    };
    table.done();
    origin
}

fn read_servers(table: &Table<'_>, texts: &[At<String>], name: Option<&At<ServerName<'static>>>) -> Vec<OriginServer> {
    let mut servers: Vec<OriginServer> = Vec::new();
    for text in texts {
        match parse_server(&text.value, name.map(|name| &name.value)) {
            Some(server) if servers.iter().any(|other| other.way == server.way) => table.mistake(Mistake::at(
                &text.place,
                format!("\"{}\" stands here twice", text.value),
                "name each server once: all of them get the same share",
            )),
            Some(server) => servers.push(server),
            None => table.mistake(Mistake::at(
                &text.place,
                format!("\"{}\" is no server", text.value),
                "write host:port, for example \"127.0.0.1:8000\" or \"[::1]:8000\", \"https://host:port\", or \"unix:/path\"",
            )),
        }
    }
    servers
}

fn parse_server(text: &str, server_name: Option<&ServerName<'static>>) -> Option<OriginServer> {
    let entry = |way, host: &str| Some(OriginServer { name: text.into(), way, host: host.into() });
    if let Some(path) = text.strip_prefix("unix:") {
        return path.starts_with('/').then(|| entry(Way::Unix(path.into()), "localhost"))?;
    }
    let Some(authority) = text.strip_prefix("https://") else {
        host_of(text)?;
        return entry(Way::Tcp(text.into()), text);
    };
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    let address = if has_port { authority.to_string() } else { format!("{authority}:443") };
    let host = host_of(&address)?;
    let name = match server_name {
        Some(name) => name.clone(),
        None => ServerName::try_from(host.trim_matches(['[', ']']).to_string()).ok()?,
    };
    // The certificate's name is the one that the server knows itself by.
    let port = address.strip_prefix(host).unwrap_or_default();
    let own = match server_name.map(ServerName::to_str) {
        Some(own) => own.to_string(),
        None => host.to_string(),
    };
    entry(Way::Tls(address.clone(), name), &if port == ":443" { own } else { own + port })
}

/// The host of `host:port`, if both are good; an IPv6 address in its brackets.
fn host_of(address: &str) -> Option<&str> {
    let (host, port) = address.rsplit_once(':')?;
    let good = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)),
    };
    (good && port.parse::<u16>().is_ok_and(|port| port > 0)).then_some(host)
}

fn written(table: &Table<'_>, key: &'static str, example: &str) -> Option<At<String>> {
    table.string(key, example).filter(|text| !text.value.is_empty())
}

fn read_server_name(table: &Table<'_>) -> Option<At<ServerName<'static>>> {
    let text = written(table, "server_name", "\"app.internal\"")?;
    match ServerName::try_from(text.value.clone()) {
        Ok(value) => Some(At { value, place: text.place }),
        Err(_) => {
            table.mistake(Mistake::at(
                &text.place,
                format!("\"{}\" cannot stand in a certificate", text.value),
                "write a host's name or an IP address, without a port",
            ));
            None
        }
    }
}

/// `over_tls` is where a server is written that needs it.
fn read_tls(
    origin: &Table<'_>,
    table: Option<Table<'_>>,
    over_tls: Option<&Place>,
    server_name: Option<&At<ServerName<'static>>>,
) -> Option<OriginTls> {
    let ca = table.as_ref().and_then(|table| written(table, "ca", "\"origin-ca.pem\""));
    let roots = ca.as_ref().zip(table.as_ref()).map(|(ca, table)| tls::read_roots(table, ca));
    let pair = table.as_ref().and_then(read_pair);
    if let Some(table) = table {
        if over_tls.is_none() && (ca.is_some() || server_name.is_some() || pair.is_some()) {
            table.mistake(Mistake::warning(
                &table.place,
                "no server is reached over TLS, so this changes nothing",
                "write https://host:port in origin.servers, or leave `tls` out",
            ));
        }
        table.done();
    }
    let place = over_tls?;
    let roots = match roots {
        Some(roots) => roots?,
        None => system_roots(origin, place)?,
    };
    let mut fingerprint = DefaultHasher::new();
    roots.roots.iter().for_each(|root| root.subject_public_key_info.hash(&mut fingerprint));
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .ok()?
        .with_root_certificates(roots);
    let mut client = match pair {
        Some(pair) => {
            pair.cert.hash(&mut fingerprint);
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair)))
        }
        None => builder.with_no_client_auth(),
    };
    client.alpn_protocols = vec![b"http/1.1".to_vec()];
    Some(OriginTls { client: Arc::new(client), fingerprint: fingerprint.finish() })
}

fn read_pair(table: &Table<'_>) -> Option<CertifiedKey> {
    let certificate = written(table, "client_certificate", "\"headwater.pem\"");
    let key = written(table, "client_key", "\"headwater.key\"");
    match (certificate, key) {
        (Some(certificate), Some(key)) => tls::read_key(table, &certificate, &key),
        (None, None) => None,
        (Some(alone), None) => tls::lacks(table, &alone, "client_certificate", "client_key"),
        (None, Some(alone)) => tls::lacks(table, &alone, "client_key", "client_certificate"),
    }
}

/// Whom this machine trusts: what its administrator adds or takes away holds for Headwater too.
fn system_roots(table: &Table<'_>, place: &Place) -> Option<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map_or_else(String::new, |error| format!(": {error}"));
        table.mistake(Mistake::at(
            place,
            format!("this system knows no authority to trust{why}"),
            "install ca-certificates, or add tls = { ca = \"PATH\" } with who issued the server's certificate, in PEM",
        ));
        return None;
    }
    Some(roots)
}

fn read_checks(table: Table<'_>) -> Option<Checks> {
    let path = table.string("path", "\"/healthz\"");
    match &path {
        None if !table.has("path") => table.mistake(Mistake::at(
            &table.place,
            "`health` needs a path",
            "add path = \"/healthz\", or whatever the app answers when it is well",
        )),
        Some(path) if !path.value.is_empty() && !is_target(&path.value) => table.mistake(Mistake::at(
            &path.place,
            format!("\"{}\" cannot be asked for", path.value),
            "write a path with its query, percent-encoded, for example \"/healthz\"",
        )),
        _ => {}
    }
    let host = written(&table, "host", "\"www.example.com\"");
    if let Some(host) =
        host.as_ref().filter(|host| host_of(&host.value).or(host_of(&format!("{}:80", host.value))).is_none())
    {
        table.mistake(Mistake::at(
            &host.place,
            format!("\"{}\" is no host", host.value),
            "write for example \"www.example.com\"",
        ));
    }
    let expect = table.strings("expect", "[\"2xx\", \"3xx\"]").map(|patterns| read_expected(&table, &patterns));
    let checks = Checks {
        path: path.map(|path| path.value).unwrap_or_default(),
        host: host.map(|host| host.value),
        interval: table.duration("interval").unwrap_or(5 * SECOND),
        timeout: table.duration("timeout").unwrap_or(2 * SECOND),
        fall: table.integer("fall", 1..=1000).unwrap_or(3) as u32,
        rise: table.integer("rise", 1..=1000).unwrap_or(2) as u32,
        expect: expect.unwrap_or_else(|| Statuses::new(vec![(200, 299), (300, 399)])),
    };
    table.done();
    Some(checks).filter(|checks| !checks.path.is_empty())
}

fn is_target(path: &str) -> bool {
    path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic() && b != b'#')
}

fn read_expected(table: &Table<'_>, patterns: &[At<String>]) -> Statuses {
    let mut ranges = Vec::new();
    for pattern in patterns {
        match Statuses::range(&pattern.value) {
            Some(range) => ranges.push(range),
            None => table.mistake(Mistake::at(
                &pattern.place,
                format!("\"{}\" is no status", pattern.value),
                "write a class such as \"2xx\" or a code such as \"204\"",
            )),
        }
    }
    if patterns.is_empty() {
        table.mistake(Mistake::at(&table.place_of("expect"), "no check could be good", "write for example [\"2xx\"]"));
    }
    Statuses::new(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_host_and_a_port_with_or_without_tls_or_a_socket() {
        let own = ServerName::try_from("app.internal").unwrap();
        for (text, way, host) in [
            ("a:1", Way::Tcp("a:1".into()), "a:1"),
            ("[::1]:80", Way::Tcp("[::1]:80".into()), "[::1]:80"),
            ("unix:/run/a.sock", Way::Unix("/run/a.sock".into()), "localhost"),
            ("https://app:8443", Way::Tls("app:8443".into(), "app".try_into().unwrap()), "app:8443"),
            ("https://app", Way::Tls("app:443".into(), "app".try_into().unwrap()), "app"),
            ("https://[::1]:443", Way::Tls("[::1]:443".into(), "::1".try_into().unwrap()), "[::1]"),
        ] {
            let server = parse_server(text, None).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((server.way, server.host.as_str()), (way, host), "{text}");
        }
        let named = parse_server("https://10.0.0.1:8443", Some(&own)).unwrap();
        assert_eq!((named.way, named.host.as_str()), (Way::Tls("10.0.0.1:8443".into(), own), "app.internal:8443"));
        for text in [
            "",
            "a",
            ":1",
            "a:0",
            "a:99999",
            "a:b",
            "http://a:1",
            "https://",
            "https://a:1/",
            "https://a/path",
            "https://user@a",
            "unix:a",
            "[::1]",
            "[nope]:1",
            "a b:1",
            "https://a_b:1:2",
            "ftp://a:1",
            "https://-:x",
        ] {
            assert!(parse_server(text, None).is_none(), "{text}");
        }
    }
}
