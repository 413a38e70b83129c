//! `[tls]`: certificates and keys, read and checked with the rest of the configuration, so that a reload with a key that does
//! not fit changes nothing.

use crate::policy::Http2;
use crate::reader::{At, Table};
use crate::secret;
use crate::source::Mistake;
use crate::validity;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::{Arc, LazyLock};
use webpki::{EndEntityCert, KeyUsage};

/// Encrypts session tickets. One for the whole process, so that a session outlives a reload.
static TICKETER: LazyLock<Option<Arc<dyn rustls::server::ProducesTickets>>> =
    LazyLock::new(|| aws_lc_rs::Ticketer::new().ok());

/// What TLS connections begin with.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Certificates, protocols and sessions.
    pub server: Arc<ServerConfig>,
    /// What `server` shows, in the order of the config.
    pub certificates: Vec<Certificate>,
    /// Whether clients are asked for a certificate.
    pub verifies_clients: bool,
    /// Hash of all that was read from files, as a new certificate under an old name is a new policy.
    pub(crate) fingerprint: u64,
}

/// A certificate that is shown to clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The names it is for.
    pub names: Vec<String>,
    /// Its last second, since 1970.
    pub expires: Option<u64>,
}

/// Whether a client certificate must come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ClientAuth {
    Offered,
    Demanded,
}

/// Certificates, with the names they are for. The first is for clients that name no host, or one that none is for.
#[derive(Debug)]
struct Certificates(Vec<(Vec<String>, Arc<CertifiedKey>)>);

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asked = hello.server_name().unwrap_or_default();
        let exact = self.0.iter().find(|(names, _)| names.iter().any(|name| name.eq_ignore_ascii_case(asked)));
        let wild = || self.0.iter().find(|(names, _)| names.iter().any(|name| is_under(name, asked)));
        exact.or_else(wild).or_else(|| self.0.first()).map(|(_, key)| key.clone())
    }
}

/// `*.example.com` is for one label in place of the asterisk (RFC 9525, section 6.3).
fn is_under(wildcard: &str, asked: &str) -> bool {
    match (wildcard.strip_prefix("*."), asked.split_once('.')) {
        (Some(domain), Some((label, rest))) => !label.is_empty() && rest.eq_ignore_ascii_case(domain),
        _ => false,
    }
}

/// The names of a certificate: DNS names and URIs of its subject alternative names, as proofs are configured by.
pub fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    EndEntityCert::try_from(certificate).map_or_else(
        |_| Vec::new(),
        |parsed| parsed.valid_dns_names().chain(parsed.valid_uri_names()).map(str::to_string).collect(),
    )
}

/// The last second of a certificate, since 1970. `None`: it cannot be read.
fn expiry(certificate: &CertificateDer<'_>) -> Option<u64> {
    let parsed = EndEntityCert::try_from(certificate).ok()?;
    // Nothing is valid at the end of all time, and the verifier tells until when it was: it looks at the dates before all else.
    let end_of_time = UnixTime::since_unix_epoch(std::time::Duration::MAX);
    let judged = parsed.verify_for_usage(&[], &[], &[], end_of_time, KeyUsage::server_auth(), None, None);
    match judged {
        Err(webpki::Error::CertExpired { not_after, .. }) => Some(not_after.as_secs()),
        _ => None,
    }
}

/// Reads `[tls]`. `None` where nothing of it is written, or where it cannot be used.
pub(crate) fn read(table: Table<'_>, http2: Http2) -> Option<Tls> {
    let mut certificates = Vec::new();
    let written = table.has("certificate") || table.has("key") || table.has("more");
    certificates.extend(read_pair(&table, &table));
    for more in table.tables("more").unwrap_or_default() {
        certificates.extend(read_pair(&more, &table));
        more.done();
    }
    let versions = [("1.2", rustls::ALL_VERSIONS), ("1.3", &[&rustls::version::TLS13][..])];
    let versions = table.one_of("min_version", &versions).unwrap_or(rustls::ALL_VERSIONS);
    let auth = table.one_of("client_auth", &[("offered", ClientAuth::Offered), ("demanded", ClientAuth::Demanded)]);
    let roots = table
        .string("client_ca", "\"cdn-ca.pem\"")
        .filter(|text| !text.value.is_empty())
        .and_then(|path| read_roots(&table, &path));
    table.done();
    if !written || certificates.is_empty() {
        return None;
    }

    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions).ok()?;
    let mut fingerprint = DefaultHasher::new();
    for (_, key) in &certificates {
        (&key.cert, &key.ocsp).hash(&mut fingerprint);
    }
    let verifies_clients = roots.is_some();
    let builder = match roots {
        Some(roots) => {
            roots.roots.iter().for_each(|root| root.subject_public_key_info.hash(&mut fingerprint));
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = match auth {
                Some(ClientAuth::Demanded) => verifier,
                _ => verifier.allow_unauthenticated(),
            };
            builder.with_client_cert_verifier(verifier.build().ok()?)
        }
        None => builder.with_no_client_auth(),
    };
    let shown = |(names, key): &(Vec<String>, Arc<CertifiedKey>)| Certificate {
        names: names.clone(),
        expires: key.cert.first().and_then(expiry),
    };
    let shown = certificates.iter().map(shown).collect();
    let mut server = builder.with_cert_resolver(Arc::new(Certificates(certificates)));
    let spoken: &[&[u8]] = &[b"h2", b"http/1.1", b"http/1.0"];
    let spoken = if http2 == Http2::Off { &spoken[1..] } else { spoken };
    server.alpn_protocols = spoken.iter().map(|protocol| protocol.to_vec()).collect();
    if let Some(ticketer) = &*TICKETER {
        server.ticketer = ticketer.clone();
    }
    (auth == Some(ClientAuth::Demanded), versions.len()).hash(&mut fingerprint);
    Some(Tls { server: Arc::new(server), certificates: shown, verifies_clients, fingerprint: fingerprint.finish() })
}

/// A certificate with its key, and the staple where one is given.
fn read_pair(table: &Table<'_>, all: &Table<'_>) -> Option<(Vec<String>, Arc<CertifiedKey>)> {
    let certificate = table.string("certificate", "\"pull.pem\"").filter(|text| !text.value.is_empty());
    let key = table.string("key", "\"pull.key\"").filter(|text| !text.value.is_empty());
    let ocsp = table.string("ocsp", "\"pull.ocsp\"").filter(|text| !text.value.is_empty());
    let (certificate, key) = match (certificate, key) {
        (Some(certificate), Some(key)) => (certificate, key),
        (None, None) => return None,
        (Some(alone), None) => return lacks(all, &alone, "certificate", "key"),
        (None, Some(alone)) => return lacks(all, &alone, "key", "certificate"),
    };
    let mut pair = read_key(all, &certificate, &key)?;
    let names = pair.cert.first().map(names).unwrap_or_default();
    if let Some(ocsp) = ocsp {
        match std::fs::read(&ocsp.value) {
            Ok(staple) => pair.ocsp = Some(staple),
            Err(error) => unreadable(all, &ocsp, "an OCSP response in DER", &error),
        }
    }
    Some((names, Arc::new(pair)))
}

/// A certificate with those between it and its authority, and the key it was issued for.
pub(crate) fn read_key(table: &Table<'_>, certificate: &At<String>, key: &At<String>) -> Option<CertifiedKey> {
    let chain = read_certificates(table, certificate)?;
    table.mistakes().borrow_mut().extend(secret::exposed(Path::new(&key.value), &key.place));
    let secret = PrivateKeyDer::from_pem_file(&key.value)
        .map_err(|error| unreadable(table, key, "a private key", &error))
        .ok()?;
    let provider: CryptoProvider = aws_lc_rs::default_provider();
    CertifiedKey::from_der(chain, secret, &provider)
        .map_err(|error| {
            table.mistake(Mistake::at(
                &key.place,
                format!("this key does not fit the certificate: {error}"),
                format!("name the key that {} was issued for", certificate.value),
            ));
        })
        .ok()
}

pub(crate) fn lacks<T>(all: &Table<'_>, alone: &At<String>, one: &str, other: &str) -> Option<T> {
    all.mistake(Mistake::at(
        &alone.place,
        format!("there is a {one} and no {other}"),
        format!("add {other} = \"PATH\", in PEM"),
    ));
    None
}

fn read_certificates(table: &Table<'_>, path: &At<String>) -> Option<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(Path::new(&path.value)).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(chain) if !chain.is_empty() => {
            let doubts = validity::doubt(&chain, Path::new(&path.value), &path.place);
            table.mistakes().borrow_mut().extend(doubts);
            Some(chain)
        }
        Ok(_) => {
            unreadable(table, path, "a certificate", &"there is none in it");
            None
        }
        Err(error) => {
            unreadable(table, path, "a certificate", &error);
            None
        }
    }
}

pub(crate) fn read_roots(table: &Table<'_>, path: &At<String>) -> Option<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(table, path)? {
        if let Err(error) = roots.add(certificate) {
            unreadable(table, path, "an authority's certificate", &error);
            return None;
        }
    }
    Some(roots)
}

fn unreadable(table: &Table<'_>, path: &At<String>, what: &str, error: &dyn std::fmt::Display) {
    table.mistake(Mistake::at(
        &path.place,
        format!("cannot read {what} from {}: {error}", path.value),
        "name a file in PEM that the user Headwater runs as may read",
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_never_expires() {
        assert_eq!(expiry(&CertificateDer::from(&b"nothing"[..])), None);
    }

    #[test]
    fn an_asterisk_stands_for_one_label() {
        for (name, asked, expected) in [
            ("*.example.com", "www.example.com", true),
            ("*.example.com", "WWW.EXAMPLE.COM", true),
            ("*.example.com", "a.b.example.com", false),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("www.example.com", "www.example.com", false),
        ] {
            assert_eq!(is_under(name, asked), expected, "{name} {asked}");
        }
    }
}
