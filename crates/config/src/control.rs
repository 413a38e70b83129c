//! `[control]`: the control plane, which watches what the CDNs do, keeps it, shows it and steers.

use crate::reader::{At, Table};
use crate::secret::{self, Secret};
use crate::source::Mistake;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

/// `[control]`
#[derive(Clone, Debug)]
pub struct Control {
    /// The dashboard and the API.
    pub listen: SocketAddr,
    /// For strangers: what browsers and CDNs send us, and the support page. `None`: these come to `listen` too, and to it alone.
    pub public: Option<SocketAddr>,
    /// What changes something needs it.
    pub token: Option<Secret>,
    /// The file of the store.
    pub store: PathBuf,
    /// How long what is kept.
    pub keep: Keep,
    /// The admin endpoints of the proxies whose figures are read, as `host:port`. Empty: the one of `[listen] admin`.
    pub proxies: Vec<String>,
    /// Where events become annotations.
    pub grafana: Option<Grafana>,
    /// A Prometheus-compatible server that scrapes the proxies. Where it is given, their figures come from it.
    pub prometheus: Option<String>,
    /// Where the edges' settled totals go by Prometheus' remote write.
    pub remote_write: Option<String>,
    /// By what share a vendor's count of pulls may differ from ours.
    pub disagreement: f64,
}

/// A Grafana that hears of events.
#[derive(Clone, Debug)]
pub struct Grafana {
    /// Its address, without a slash at the end.
    pub url: String,
    /// Of a service account that may write annotations.
    pub token: Secret,
}

/// For how long points are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Of a minute.
    pub minutes: Duration,
    /// Of an hour.
    pub hours: Duration,
    /// Of a day; also events and the audit log.
    pub days: Duration,
}

fn address(table: &Table<'_>, text: &At<String>) -> Option<SocketAddr> {
    let address = text.value.parse();
    if address.is_err() {
        table.mistake(Mistake::at(
            &text.place,
            format!("\"{}\" is no IP address with a port", text.value),
            "write for example \"127.0.0.1:9280\" or \"[::1]:9280\"",
        ));
    }
    address.ok()
}

/// Who reads `[control]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum For {
    /// The control plane, which needs every secret in it.
    Itself,
    /// Who talks to it, and has no more than its token.
    Others,
}

/// `http://HOST[:PORT][/PATH]`, or the same with https, without credentials.
fn is_url(url: &str) -> bool {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    rest.is_some_and(|rest| {
        let host = rest.split(['/', '?']).next().unwrap_or_default();
        let port = if host.rsplit(']').next().unwrap_or_default().contains(':') { "" } else { ":80" };
        crate::metrics::is_host_and_port(&format!("{host}{port}")) && rest.bytes().all(|b| b.is_ascii_graphic())
    })
}

/// Reads `[control]`.
pub(crate) fn read(table: Table<'_>, reader: For) -> Control {
    let listen = table.string("listen", "\"127.0.0.1:9280\"").and_then(|text| address(&table, &text));
    let public = table.string("public", "\"0.0.0.0:9281\"").filter(|text| !text.value.is_empty());
    let public = public.and_then(|text| address(&table, &text));
    let address = listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 9280)));
    let token = table
        .string("token", "\"env:HEADWATER_TOKEN\"")
        .filter(|text| !text.value.is_empty())
        .and_then(|text| secret::resolve(&text, "the token of the control plane", table.mistakes()));
    if token.is_none() && !table.has("token") && !address.ip().is_loopback() {
        table.mistake(Mistake::at(
            &table.place_of("listen"),
            format!("anybody who reaches {address} could change things"),
            "add token = \"env:NAME\", or let listen be on 127.0.0.1",
        ));
    }
    let store = table.string("store", "\"/var/lib/headwater/history.db\"");
    let keep = Keep {
        minutes: table.duration("keep_minutes").unwrap_or(40 * DAY),
        hours: table.duration("keep_hours").unwrap_or(400 * DAY),
        days: table.duration("keep_days").unwrap_or(3650 * DAY),
    };
    for (key, finer, coarser) in [("keep_hours", keep.minutes, keep.hours), ("keep_days", keep.hours, keep.days)] {
        if finer > coarser {
            table.mistake(Mistake::at(
                &table.place_of(key),
                "a roll-up is kept for less time than what it is made from",
                "let keep_minutes <= keep_hours <= keep_days",
            ));
        }
    }
    if keep.minutes < 2 * DAY {
        table.mistake(Mistake::at(
            &table.place_of("keep_minutes"),
            "vendors' figures of a minute may come a day late",
            "write at least \"2d\"",
        ));
    }
    let proxies = table.strings("proxies", "[\"10.0.0.7:9180\"]").unwrap_or_default();
    for proxy in &proxies {
        if !crate::metrics::is_host_and_port(&proxy.value) {
            table.mistake(Mistake::at(
                &proxy.place,
                format!("\"{}\" is no host and port", proxy.value),
                "write what listen.admin of that proxy says, for example \"10.0.0.7:9180\"",
            ));
        }
    }
    let grafana = table.table("grafana").filter(|_| reader == For::Itself).and_then(grafana);
    let url = |key: &'static str, example: &str| {
        let url = table.string(key, &format!("\"{example}\"")).filter(|url| !url.value.is_empty())?;
        if !is_url(&url.value) {
            table.mistake(Mistake::at(
                &url.place,
                format!("\"{}\" is no http or https URL", url.value),
                format!("write for example \"{example}\", or leave it empty"),
            ));
        }
        Some(url)
    };
    let prometheus = url("prometheus", "http://127.0.0.1:9090");
    let remote_write = url("remote_write", "http://127.0.0.1:9090/api/v1/write");
    if let (Some(prometheus), Some(proxy)) = (&prometheus, proxies.first()) {
        table.mistake(Mistake::at(
            &proxy.place,
            format!("the proxies' figures come from {} already", prometheus.value),
            "leave out proxies, or prometheus",
        ));
    }
    let control = Control {
        listen: address,
        public,
        token,
        store: store.map_or_else(|| "/var/lib/headwater/history.db".into(), |path| path.value).into(),
        keep,
        proxies: proxies.into_iter().map(|proxy| proxy.value).collect(),
        grafana,
        prometheus: prometheus.map(|url| url.value),
        remote_write: remote_write.map(|url| url.value),
        disagreement: table.share("disagreement").unwrap_or(0.05),
    };
    table.done();
    control
}

/// `[control] grafana = { url, token }`
fn grafana(table: Table<'_>) -> Option<Grafana> {
    let url = table.string("url", "\"https://grafana.example.com\"");
    let token = table.string("token", "\"env:GRAFANA_TOKEN\"");
    let place = table.place_of("url");
    let mistakes = table.mistakes();
    let (Some(url), Some(token)) = (url, token) else {
        table.mistake(Mistake::at(
            &place,
            "a Grafana needs its url and a token",
            "write grafana = { url = \"https://grafana.example.com\", token = \"env:GRAFANA_TOKEN\" }",
        ));
        table.done();
        return None;
    };
    if !is_safe_url(&url.value) {
        table.mistake(Mistake::at(
            &url.place,
            format!("the token is not sent to \"{}\"", url.value),
            "write a URL with https, or with http on this machine: \"https://grafana.example.com\", \"http://127.0.0.1:3000\"",
        ));
    }
    let token = secret::resolve(&token, "the token for Grafana", mistakes);
    table.done();
    Some(Grafana { url: url.value.trim_end_matches('/').into(), token: token? })
}

/// Whether a token may go there: over TLS, or within this machine.
fn is_safe_url(url: &str) -> bool {
    let (rest, is_local_only) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => (rest, false),
        (None, Some(rest)) => (rest, true),
        (None, None) => return false,
    };
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let is_local = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let plain = |b: u8| b.is_ascii_graphic() && !b"?#@\"\\<>".contains(&b);
    !host.is_empty() && rest.bytes().all(plain) && (is_local || !is_local_only)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_over_tls_or_stays_on_this_machine() {
        for good in
            ["https://g.example", "https://g.example:3000/grafana/", "http://127.0.0.1:3000", "http://[::1]:3000/"]
        {
            assert!(is_safe_url(good), "{good}");
        }
        for bad in ["http://g.example", "g.example", "https://", "https://u@g.example", "http://127.0.0.1.example", ""]
        {
            assert!(!is_safe_url(bad), "{bad}");
        }
    }

    #[test]
    fn a_url_has_a_host_and_no_credentials() {
        for good in ["http://127.0.0.1:9090/api/v1/write", "https://mimir.example.com/push?a=b", "http://[::1]:9090/"] {
            assert!(is_url(good), "{good}");
        }
        for bad in ["", "prom:9090", "ftp://a/", "http://", "http:///x", "http://u:p@a/", "http://a:x/", "http://a/ b"]
        {
            assert!(!is_url(bad), "{bad}");
        }
    }
}
