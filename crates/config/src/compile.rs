//! Turns what was written into a policy, or into all its mistakes.

use crate::contradictions;
use crate::control;
use crate::edge_api::EdgeApi;
use crate::listen;
use crate::log;
use crate::metrics;
use crate::names;
use crate::origin;
use crate::pages;
use crate::policy::{Answer, Beacon, Http2, Identify, Limits, Policy, Verdict, Whoopsie};
use crate::providers;
use crate::reader::{Mistakes, Table};
use crate::rules::{self, Gzip, Inherited};
use crate::rum;
use crate::source::{Mistake, Severity};
use crate::support;
use crate::tls;
use crate::trace;
use crate::tree::Node;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const ANY: std::ops::RangeInclusive<u64> = 0..=u64::MAX;
/// `text/javascript` is what RFC 9239 and today's servers call what the older two names mean.
const GZIP_TYPES: [&str; 8] = [
    "text/html",
    "text/plain",
    "text/css",
    "text/javascript",
    "application/javascript",
    "application/x-javascript",
    "application/json",
    "image/svg+xml",
];

/// Compiles the tree. The policy is there if no mistake is an error.
pub(crate) fn compile(root: &Node, mistakes: Vec<Mistake>) -> (Option<Policy>, Vec<Mistake>) {
    let mistakes = Mistakes::new(mistakes);
    // A table that is not written reads like an empty one.
    let empty = Node { value: crate::tree::Value::Table(Vec::new()), place: root.place.clone() };
    let top = Table::new(root, "", &mistakes);
    let section = |name: &'static str| top.table(name).unwrap_or_else(|| Table::new(&empty, name, &mistakes));

    let listen = section("listen");
    let protocols = [("tls", Http2::Tls), ("off", Http2::Off), ("all", Http2::All)];
    let http2 = listen.one_of("http2", &protocols).unwrap_or(Http2::Tls);
    let tls = tls::read(section("tls"), http2);
    let listen = listen::read(listen, http2, tls.is_some() || top.has("tls"));
    let origin = origin::read(section("origin"), top.has("origin"));
    let (limits, max_body) = read_limits(section("limits"));
    let identify = read_identify(section("identify"));
    let providers = {
        let asks_for_certificates = tls.as_ref().is_some_and(|tls| tls.verifies_clients) && !listen.https.is_empty();
        providers::read(top.tables("cdn").unwrap_or_default(), &identify.header, asks_for_certificates)
    };
    let (log, log_sample) = log::read(section("log"));
    let inherited = Inherited { gzip: read_gzip(section("gzip")), max_body, log_sample };
    let rules = match top.tables("rule") {
        Some(tables) => rules::read(tables, &providers, &inherited),
        None => rules::built_in(&inherited),
    };
    let beacon = read_beacon(section("beacon"));
    let whoopsie = read_whoopsie(section("whoopsie"));
    let geo = read_geo(section("geo"));
    let metrics = metrics::read(section("metrics"));
    let trace = trace::read(section("trace"));
    let control = control::read(section("control"), control::For::Itself);
    let rum = rum::read(section("rum"));
    let support = support::read(section("support"));
    top.done();

    let mut policy = Policy {
        listen,
        tls,
        origin,
        limits,
        providers,
        identify,
        rules,
        beacon,
        whoopsie,
        geo,
        log,
        metrics,
        trace,
        control,
        rum,
        support,
        hash: String::new(),
    };
    policy.hash = hash(&policy);
    mistakes.borrow_mut().extend(contradictions::find(&policy, root));
    let mistakes = mistakes.into_inner();
    let usable = mistakes.iter().all(|mistake| mistake.severity != Severity::Error);
    (usable.then_some(policy), mistakes)
}

/// Compiles `[control]` and nothing else. It is there if no mistake is an error.
pub(crate) fn control(root: &Node, mistakes: Vec<Mistake>) -> (Option<control::Control>, Vec<Mistake>) {
    let mistakes = Mistakes::new(mistakes);
    let empty = Node { value: crate::tree::Value::Table(Vec::new()), place: root.place.clone() };
    let top = Table::new(root, "", &mistakes);
    let table = top.table("control").unwrap_or_else(|| Table::new(&empty, "control", &mistakes));
    let control = control::read(table, control::For::Others);
    let mistakes = mistakes.into_inner();
    let usable = mistakes.iter().all(|mistake| mistake.severity != Severity::Error);
    (usable.then_some(control), mistakes)
}

/// Secrets do not show in `Debug`, so a changed secret shows only by what it is hashed into here.
fn hash(policy: &Policy) -> String {
    let mut hasher = DefaultHasher::new();
    format!("{:?}", (&policy.listen, &policy.origin, &policy.limits, &policy.identify, &policy.rules))
        .hash(&mut hasher);
    format!("{:?}", (&policy.providers, &policy.beacon, &policy.whoopsie, &policy.log, &policy.metrics, &policy.trace))
        .hash(&mut hasher);
    format!("{:?}", policy.control).hash(&mut hasher);
    format!("{:?}", policy.rum).hash(&mut hasher);
    format!("{:?}", policy.support).hash(&mut hasher);
    for secret in policy.providers.iter().filter_map(|provider| provider.secret.as_ref()) {
        for value in &secret.values {
            value.expose().hash(&mut hasher);
        }
    }
    for secret in policy.providers.iter().filter_map(|provider| provider.api.as_ref()).flat_map(EdgeApi::secrets) {
        secret.expose().hash(&mut hasher);
    }
    policy.geo.as_ref().map(|geo| geo.metadata().build_epoch).hash(&mut hasher);
    policy.tls.as_ref().map(|tls| tls.fingerprint).hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

fn read_limits(table: Table<'_>) -> (Limits, u64) {
    let limits = Limits {
        header_timeout: table.duration("header_timeout").unwrap_or(10 * SECOND),
        idle_timeout: table.duration("idle_timeout").unwrap_or(60 * SECOND),
        body_idle_timeout: table.duration("body_idle_timeout").unwrap_or(30 * SECOND),
        tunnel_idle_timeout: table.duration("tunnel_idle_timeout").unwrap_or(600 * SECOND),
        wait_timeout: table.duration("wait_timeout").unwrap_or(SECOND),
        max_head: table.size("max_head", 1024..=1 << 20).unwrap_or(32 << 10) as usize,
        max_fields: table.integer("max_fields", 1..=250).unwrap_or(100) as usize,
        max_in_flight: table.integer("max_in_flight", 1..=1_000_000).unwrap_or(4096) as usize,
        max_gzip_streams: table.integer("max_gzip_streams", 1..=100_000).unwrap_or(512) as usize,
        max_ranges: table.integer("max_ranges", 1..=1000).unwrap_or(16) as usize,
        max_streams: table.integer("max_streams", 1..=10_000).unwrap_or(100) as u32,
        stranger_rate: table.integer("stranger_rate", 0..=1_000_000).unwrap_or(1000) as u32,
        stranger_connections: table.integer("stranger_connections", 0..=1_000_000).unwrap_or(1000) as u32,
        max_connections: table.integer("max_connections", 1..=1_000_000).unwrap_or(20_000) as usize,
    };
    let max_body = table.size("max_body", ANY).unwrap_or(1 << 30);
    table.done();
    (limits, max_body)
}

fn read_identify(table: Table<'_>) -> Identify {
    let verdicts = [("serve", Verdict::Serve), ("deny", Verdict::Deny)];
    let header = table.string("header", "\"X-CDN-Provider\"");
    if let Some(header) = header.as_ref().filter(|header| !names::is_header_name(&header.value)) {
        table.mistake(Mistake::at(
            &header.place,
            format!("\"{}\" cannot be a header's name", header.value),
            "write letters, digits and -, for example \"X-CDN-Provider\"",
        ));
    } else if let Some(header) = header.as_ref().filter(|header| names::has_a_meaning(&header.value)) {
        table.mistake(Mistake::at(
            &header.place,
            format!("the header {} has another meaning already", header.value),
            "use a header of its own for the tag, for example \"X-CDN-Provider\"",
        ));
    }
    let identify = Identify {
        header: header.map_or_else(|| "X-CDN-Provider".into(), |header| header.value),
        unproven: table.one_of("unproven", &verdicts).unwrap_or(Verdict::Serve),
        untagged: table.one_of("untagged", &verdicts).unwrap_or(Verdict::Serve),
    };
    table.done();
    identify
}

fn read_gzip(table: Table<'_>) -> Gzip {
    let types = table.strings("types", "[\"text/html\"]").map(|types| rules::media_types(&table, &types));
    let gzip = Gzip {
        types: types.unwrap_or_else(|| GZIP_TYPES.map(String::from).to_vec()),
        level: table.integer("level", 1..=9).unwrap_or(6) as u32,
        min_length: table.size("min_length", ANY).unwrap_or(860),
    };
    table.done();
    gzip
}

fn read_beacon(table: Table<'_>) -> Beacon {
    let path = |key: &'static str, default: &str| {
        let Some(path) = table.string(key, &format!("\"{default}\"")) else { return default.to_string() };
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"/-._~".contains(&b);
        if !path.value.starts_with('/') || !path.value.bytes().all(plain) {
            table.mistake(Mistake::at(
                &path.place,
                format!("\"{}\" cannot be a path here", path.value),
                format!("write a plain path without query or escapes, for example \"{default}\""),
            ));
        }
        path.value
    };
    let beacon_path = path("path", "/status/images/beacon.gif");
    let reports = path("reports", "/status/reports");
    if beacon_path == reports {
        table.mistake(Mistake::at(&table.place_of("reports"), "beacon and reports have one path", "give each its own"));
    }
    let sources = table.strings("sources", "[\"fastly_503\"]").unwrap_or_default();
    for source in &sources {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
        if source.value.is_empty()
            || source.value.len() > 64
            || !source.value.bytes().all(plain)
            || source.value == "other"
        {
            table.mistake(Mistake::at(
                &source.place,
                format!("\"{}\" cannot be a source", source.value),
                "write 1 to 64 letters, digits, -, . and _, and not \"other\"",
            ));
        }
    }
    if sources.len() > 256 {
        table.mistake(Mistake::at(
            &table.place_of("sources"),
            "more than 256 sources",
            "leave some out: they count as other",
        ));
    }
    let url = table.string("url", "\"https://beacons.example.net/status/images/beacon.gif\"");
    if let Some(url) = url.as_ref().filter(|url| {
        // The page adds a query of its own.
        !url.value.is_empty() && (!is_url(&url.value) || url.value.contains(['?', '#']))
    }) {
        table.mistake(Mistake::at(&url.place, "this is no absolute URL", "write https://HOST/PATH, without a query"));
    }
    let beacon = Beacon {
        path: beacon_path,
        reports,
        sources: sources.into_iter().map(|source| source.value).collect(),
        url: url.map(|url| url.value).unwrap_or_default(),
    };
    table.done();
    beacon
}

fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/')) && text.bytes().all(|b| b.is_ascii_graphic())
}

fn read_whoopsie(table: Table<'_>) -> Whoopsie {
    let status_url = table.string("status_url", "\"https://status.example.com/\"");
    if let Some(url) = status_url.as_ref().filter(|url| !url.value.is_empty() && !is_url(&url.value)) {
        table.mistake(Mistake::at(
            &url.place,
            "this is no absolute URL",
            "write for example \"https://status.example.com/\"",
        ));
    }
    let status_url = status_url.map(|url| url.value).unwrap_or_default();
    let pages = match table.string("pages", "\"config/whoopsie\"").filter(|folder| !folder.value.is_empty()) {
        Some(folder) => {
            pages::read(Path::new(&folder.value), &folder.place, &status_url, &mut table.mistakes().borrow_mut())
        }
        None => pages::built_in(&status_url),
    };
    let answers =
        [("both", Answer::Both), ("proxy", Answer::Proxy), ("upstream", Answer::Upstream), ("off", Answer::Off)];
    let whoopsie = Whoopsie { pages, answer: table.one_of("answer", &answers).unwrap_or(Answer::Both) };
    table.done();
    whoopsie
}

fn read_geo(table: Table<'_>) -> Option<Arc<maxminddb::Reader<Vec<u8>>>> {
    let database = table.string("database", "\"/var/lib/GeoIP/GeoLite2-Country.mmdb\"");
    let reader = database.filter(|path| !path.value.is_empty()).and_then(|path| {
        // Read into memory: a mapped file that somebody cuts short would end the process.
        maxminddb::Reader::open_readfile(&path.value)
            .map_err(|error| {
                table.mistake(Mistake::at(
                    &path.place,
                    format!("cannot use the country database: {error}"),
                    "name a readable .mmdb file, or leave it empty: countries are then \"unknown\"",
                ));
            })
            .ok()
    });
    table.done();
    reader.map(Arc::new)
}
