//! Providers: what a `[[cdn]]` entry says, and what is known of each vendor.

use crate::edge_api::{self, EdgeApi};
use crate::edge_logs::{self, EdgeLogs};
use crate::names::{has_a_meaning, is_header_name};
use crate::networks::{self, Networks};
use crate::proofs;
use crate::reader::{Mistakes, Table};
use crate::secret::{self, Secret};
use crate::source::{Mistake, Place};

/// The vendor behind a provider. It decides which headers are read and which are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Fastly
    Fastly,
    /// Cloudflare
    Cloudflare,
    /// Amazon CloudFront
    CloudFront,
    /// Akamai
    Akamai,
    /// Bunny
    Bunny,
    /// Google Cloud CDN and Media CDN
    Google,
    /// Any other
    Generic,
}

const KINDS: [(&str, Kind); 7] = [
    ("fastly", Kind::Fastly),
    ("cloudflare", Kind::Cloudflare),
    ("cloudfront", Kind::CloudFront),
    ("akamai", Kind::Akamai),
    ("bunny", Kind::Bunny),
    ("google", Kind::Google),
    ("generic", Kind::Generic),
];

/// A header that carries a lifetime for one kind of cache alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Targeted {
    /// `Surrogate-Control`: Fastly's strongest. Cloudflare ignores `Cache-Control` when it sees one, so it never may.
    SurrogateControl,
    /// `CDN-Cache-Control` (RFC 9213): Cloudflare's second. Fastly ignores it.
    CdnCacheControl,
    /// `Cloudflare-CDN-Cache-Control`: Cloudflare's strongest.
    CloudflareCdnCacheControl,
    /// `Edge-Control`: Akamai.
    EdgeControl,
}

impl Targeted {
    /// All of them, with the config's key for each.
    pub const ALL: [(&'static str, Targeted); 4] = [
        ("surrogate_control", Targeted::SurrogateControl),
        ("cdn_cache_control", Targeted::CdnCacheControl),
        ("cloudflare_cdn_cache_control", Targeted::CloudflareCdnCacheControl),
        ("edge_control", Targeted::EdgeControl),
    ];

    /// The header's name.
    pub const fn header(self) -> &'static str {
        match self {
            Targeted::SurrogateControl => "Surrogate-Control",
            Targeted::CdnCacheControl => "CDN-Cache-Control",
            Targeted::CloudflareCdnCacheControl => "Cloudflare-CDN-Cache-Control",
            Targeted::EdgeControl => "Edge-Control",
        }
    }
}

/// Headers that mean something to some vendors' caches alone: lifetimes, and tags that name what a purge takes. Each goes to
/// the providers of these kinds and to nobody else.
pub const ADDRESSED: [(&str, &[Kind]); 12] = [
    ("Surrogate-Control", &[Kind::Fastly, Kind::Generic]),
    ("CDN-Cache-Control", &[Kind::Cloudflare, Kind::Generic]),
    ("Cloudflare-CDN-Cache-Control", &[Kind::Cloudflare]),
    ("Edge-Control", &[Kind::Akamai]),
    ("Akamai-Cache-Control", &[Kind::Akamai]),
    ("Netlify-CDN-Cache-Control", &[]),
    ("Vercel-CDN-Cache-Control", &[]),
    ("X-Accel-Expires", &[Kind::Generic]),
    ("Surrogate-Key", &[Kind::Fastly, Kind::Generic]),
    ("Edge-Cache-Tag", &[Kind::Akamai]),
    ("Cache-Tag", &[Kind::Cloudflare, Kind::Google, Kind::Generic]),
    ("CDN-Tag", &[Kind::Bunny]),
];

impl Kind {
    /// The targeted headers that this vendor honours; it is sent no other.
    pub const fn honours(self) -> &'static [Targeted] {
        match self {
            Kind::Fastly => &[Targeted::SurrogateControl],
            Kind::Cloudflare => &[Targeted::CloudflareCdnCacheControl, Targeted::CdnCacheControl],
            Kind::Akamai => &[Targeted::EdgeControl],
            Kind::Generic => &[Targeted::SurrogateControl, Targeted::CdnCacheControl],
            Kind::CloudFront | Kind::Bunny | Kind::Google => &[],
        }
    }

    /// The header in which the vendor names the user's address, if it has one of its own.
    /// Google's and a generic provider's is found in `X-Forwarded-For`.
    pub const fn client_address_header(self) -> Option<&'static str> {
        match self {
            Kind::Fastly => Some("Fastly-Client-IP"),
            Kind::Cloudflare => Some("CF-Connecting-IP"),
            Kind::CloudFront => Some("CloudFront-Viewer-Address"),
            Kind::Akamai => Some("True-Client-IP"),
            Kind::Bunny => Some("X-Real-IP"),
            Kind::Google | Kind::Generic => None,
        }
    }

    /// Headers that only this vendor's servers put on a pull. They can be forged, so they prove nothing;
    /// but one that contradicts the tag means a wrong tag, a chain of CDNs, or a forger.
    pub const fn own_headers(self) -> &'static [&'static str] {
        match self {
            Kind::Fastly => &["Fastly-FF"],
            Kind::Cloudflare => &["CF-Ray"],
            Kind::CloudFront => &["X-Amz-Cf-Id"],
            Kind::Akamai => &["Akamai-Origin-Hop"],
            Kind::Bunny => &["CDN-PullZoneId"],
            Kind::Google | Kind::Generic => &[],
        }
    }

    /// The name that the config has for it.
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|(_, kind)| *kind == self).map_or("generic", |(name, _)| name)
    }

    /// Every kind.
    pub fn all() -> impl Iterator<Item = Kind> {
        KINDS.iter().map(|(_, kind)| *kind)
    }
}

/// The header and values that prove a pull.
#[derive(Clone, Debug)]
pub struct SecretHeader {
    /// The header's name.
    pub header: String,
    /// Any of these is good: while a secret is changed, the old and the new one are.
    pub values: Vec<Secret>,
}

/// One CDN.
#[derive(Clone, Debug)]
pub struct Provider {
    /// What `X-CDN-Provider` says.
    pub name: String,
    /// The vendor.
    pub kind: Kind,
    /// A proof by header.
    pub secret: Option<SecretHeader>,
    /// A proof by certificate: a subject alternative name of the client's.
    pub certificate: Option<String>,
    /// A proof by address; empty where none is asked for.
    pub networks: Networks,
    /// How the vendor is asked what its edge served.
    pub api: Option<EdgeApi>,
    /// The log stream that it pushes to the control plane.
    pub logs: Option<EdgeLogs>,
}

/// Names that are labels already.
const TAKEN: [&str; 3] = ["untagged", "unproven", "other"];
/// More than anybody has, and a bound on the number of time series.
const MOST: usize = 32;

/// Reads every `[[cdn]]`.
/// `asks_for_certificates`: whether a client certificate can come at all.
pub(crate) fn read(tables: Vec<Table<'_>>, tag_header: &str, asks_for_certificates: bool) -> Vec<Provider> {
    let mut providers: Vec<Provider> = Vec::new();
    for (index, table) in tables.into_iter().enumerate() {
        if index == MOST {
            table.mistake(Mistake::at(&table.place, format!("more than {MOST} providers"), "leave some out"));
        }
        if let Some(provider) = read_one(table, tag_header, asks_for_certificates, &providers) {
            providers.push(provider);
        }
    }
    providers
}

fn read_one(table: Table<'_>, tag_header: &str, asks_for_certificates: bool, others: &[Provider]) -> Option<Provider> {
    let name = table.string("name", "\"fastly\"");
    if name.is_none() && !table.has("name") {
        table.mistake(Mistake::at(
            &table.place,
            "a [[cdn]] needs a name",
            "write name = \"fastly\", as its pulls carry it",
        ));
    }
    let kind = table.one_of("kind", &KINDS);
    if kind.is_none() && !table.has("kind") {
        table.mistake(Mistake::at(
            &table.place,
            "a [[cdn]] needs a kind",
            "write kind = \"fastly\", cloudflare, cloudfront, akamai, bunny, google or generic",
        ));
    }
    if let Some(name) = &name {
        let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        if name.value.is_empty() || name.value.len() > 32 || !name.value.bytes().all(word) {
            table.mistake(Mistake::at(
                &name.place,
                format!("\"{}\" cannot be a provider's name", name.value),
                "write 1 to 32 of a-z, 0-9, - and _: it becomes a header's value and a metric's label",
            ));
        } else if TAKEN.contains(&name.value.as_str()) {
            table.mistake(Mistake::at(
                &name.place,
                format!("\"{}\" is the label of pulls that no provider made", name.value),
                "give the provider another name",
            ));
        } else if others.iter().any(|other| other.name == name.value) {
            table.mistake(Mistake::at(
                &name.place,
                format!("there are two providers \"{}\"", name.value),
                "give one of them another name, or merge their networks and secrets into one entry",
            ));
        }
    }
    let secret = table.table("secret").and_then(|secret| read_secret(secret, kind, tag_header, others));
    let logs = table.table("logs").and_then(|logs| edge_logs::read(logs, kind));
    let networks = table.strings("networks", "[\"192.0.2.0/24\"]");
    let certificate = table.string("client_certificate", "\"fastly.pull.example.com\"");
    if let Some(certificate) = certificate.as_ref().filter(|_| !asks_for_certificates) {
        table.mistake(Mistake::at(
            &certificate.place,
            "no client is asked for a certificate, so this provider could never prove itself",
            "add https to [listen], and client_ca = \"PATH\" to [tls]",
        ));
    }
    let proof_wanted = table.has("secret") || table.has("networks") || table.has("client_certificate");
    if !proof_wanted
        || networks.as_ref().is_some_and(|list| list.is_empty() && !table.has("secret") && certificate.is_none())
    {
        table.mistake(Mistake::at(
            &table.place,
            "this provider has no proof: anybody could claim to be it",
            "add secret = { header = \"X-CDN-Secret\", values = [\"env:NAME\"] } or networks = [..]",
        ));
    }
    if let (Some(kind), Some(list)) = (kind, &networks) {
        table.mistakes().borrow_mut().extend(proofs::doubt_lists(kind, list));
    }
    if let (Some(kind), Some(name)) = (kind, &name) {
        table.mistakes().borrow_mut().extend(proofs::doubt_name(kind, name));
    }
    let networks = networks.map(|list| networks::read(&list, &mut table.mistakes().borrow_mut())).unwrap_or_default();
    let api = table.table("api").and_then(|api| edge_api::read(api, kind));
    table.done();
    let certificate = certificate.map(|name| name.value);
    Some(Provider { name: name?.value, kind: kind?, secret, certificate, networks, api, logs })
}

fn read_secret(table: Table<'_>, kind: Option<Kind>, tag_header: &str, others: &[Provider]) -> Option<SecretHeader> {
    let header = table.string("header", "\"X-CDN-Secret\"");
    let values = table.strings("values", "[\"env:FASTLY_PULL_SECRET\"]");
    if header.is_none() && !table.has("header") {
        table.mistake(Mistake::at(&table.place, "the secret has no header", "add header = \"X-CDN-Secret\""));
    }
    if let Some(header) = &header {
        check_secret_header(&header.value, kind, tag_header, &header.place, table.mistakes());
    }
    match &values {
        Some(values) if values.is_empty() || values.len() > 4 => table.mistake(Mistake::at(
            &table.place_of("values"),
            "the secret has no value, or more than four",
            "write one value, or two while you change it",
        )),
        None if !table.has("values") => {
            table.mistake(Mistake::at(&table.place, "the secret has no values", "add values = [\"env:NAME\"]"));
        }
        _ => {}
    }
    let mut secrets = Vec::new();
    for value in values.unwrap_or_default() {
        if let Some(secret) = secret::resolve(&value, "a provider's secret", table.mistakes()) {
            table.mistakes().borrow_mut().extend(proofs::doubt_secret(&secret, &value.place, &secrets, others));
            secrets.push(secret);
        }
    }
    table.done();
    Some(SecretHeader { header: header?.value, values: secrets })
}

fn check_secret_header(name: &str, kind: Option<Kind>, tag_header: &str, place: &Place, mistakes: &Mistakes) {
    let starts = |prefix: &str| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    if !is_header_name(name) {
        mistakes.borrow_mut().push(Mistake::at(
            place,
            format!("\"{name}\" cannot be a header's name"),
            "write letters, digits and -, for example \"X-CDN-Secret\"",
        ));
    } else if has_a_meaning(name) || name.eq_ignore_ascii_case(tag_header) {
        mistakes.borrow_mut().push(Mistake::at(
            place,
            format!("the header {name} has another meaning already, and the app would never see it again"),
            "use a header of its own for the secret, for example \"X-CDN-Secret\"",
        ));
    } else if kind == Some(Kind::CloudFront) && (starts("X-Amz-") || starts("X-Edge-")) {
        mistakes.borrow_mut().push(Mistake::warning(
            place,
            format!("CloudFront adds no header that is named like {name}"),
            "use a name that begins with neither X-Amz- nor X-Edge-, for example \"X-CDN-Secret\"",
        ));
    }
}
