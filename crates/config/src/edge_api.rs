//! `api` of a `[[cdn]]`: how the control plane asks the vendor what its edge served.

use crate::providers::Kind;
use crate::reader::{At, Table};
use crate::secret::{self, Secret};
use crate::source::Mistake;
use std::net::IpAddr;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);
/// More than anybody has, and a bound on the number of time series.
const MOST: usize = 64;

/// `api` of a `[[cdn]]`
#[derive(Clone, Debug)]
pub struct EdgeApi {
    /// Who asks.
    pub credentials: Credentials,
    /// What is asked about, by the vendor's names: services, zones, pull zones, distributions, CP codes, URL maps.
    pub properties: Vec<String>,
    /// Where the API is, if not where the vendor has it. Without a slash at its end.
    pub url: Option<String>,
    /// How long after a bucket's end its figures still change, if not as long as is known of the vendor.
    pub settles: Option<Duration>,
    /// How far back the first start asks; the vendor may keep less.
    pub backfill: Duration,
}

/// What each vendor wants to be shown.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// Fastly
    Fastly {
        /// An API token.
        token: Secret,
    },
    /// Cloudflare
    Cloudflare {
        /// An API token.
        token: Secret,
        /// The hosts whose requests are counted; empty: all of the zone.
        hosts: Vec<String>,
    },
    /// Bunny
    Bunny {
        /// The account's API key.
        token: Secret,
    },
    /// Amazon CloudFront, through CloudWatch
    CloudFront {
        /// An access key's id.
        access_key: Secret,
        /// Its secret.
        secret_key: Secret,
        /// Comes with temporary keys.
        session_token: Option<Secret>,
    },
    /// Akamai (EdgeGrid)
    Akamai {
        /// The API client's own host.
        host: String,
        /// As `.edgerc` has it.
        client_token: Secret,
        /// As `.edgerc` has it.
        client_secret: Secret,
        /// As `.edgerc` has it.
        access_token: Secret,
        /// Whose account, for those who look after several.
        account_switch_key: Option<Secret>,
    },
    /// Google Cloud
    Google {
        /// A service account's key, as JSON.
        credentials: Secret,
        /// The project's id.
        project: String,
    },
}

impl EdgeApi {
    /// All that is secret here.
    pub fn secrets(&self) -> Vec<&Secret> {
        match &self.credentials {
            Credentials::Fastly { token } | Credentials::Cloudflare { token, .. } | Credentials::Bunny { token } => {
                vec![token]
            }
            Credentials::CloudFront { access_key, secret_key, session_token } => {
                [access_key, secret_key].into_iter().chain(session_token).collect()
            }
            Credentials::Akamai { client_token, client_secret, access_token, account_switch_key, .. } => {
                [client_token, client_secret, access_token].into_iter().chain(account_switch_key).collect()
            }
            Credentials::Google { credentials, .. } => vec![credentials],
        }
    }
}

/// Reads `api`; `kind` is the vendor's, where that could be read.
pub(crate) fn read(table: Table<'_>, kind: Option<Kind>) -> Option<EdgeApi> {
    if kind == Some(Kind::Generic) {
        table.mistake(Mistake::at(
            &table.place,
            "nothing is known of a generic provider's API",
            "write the kind of its vendor, or leave `api` out",
        ));
        return None;
    }
    let credentials = read_credentials(&table, kind?);
    let properties = read_properties(&table, kind?);
    let url = table.string("url", "\"http://127.0.0.1:9301\"").filter(|url| !url.value.is_empty());
    if let Some(url) = url.as_ref().filter(|url| !is_base(&url.value)) {
        table.mistake(Mistake::at(
            &url.place,
            "this cannot be the base URL of an API",
            "write https://HOST, with neither query nor slash at its end; http:// is for this machine's own addresses",
        ));
    }
    let settles = table.duration("settles");
    if settles.is_some_and(|settles| settles > 7 * DAY) {
        table.mistake(Mistake::at(
            &table.place_of("settles"),
            "figures that settle later than within a week are of no use",
            "write at most \"7d\", or leave it out: each vendor's own time is known",
        ));
    }
    let backfill = table.duration("backfill").unwrap_or(DAY);
    table.done();
    Some(EdgeApi { credentials: credentials?, properties, url: url.map(|url| url.value), settles, backfill })
}

fn read_credentials(table: &Table<'_>, kind: Kind) -> Option<Credentials> {
    let wanted = |key: &'static str| {
        let text = table.string(key, "\"env:NAME\"");
        if text.is_none() && !table.has(key) {
            table.mistake(Mistake::at(
                &table.place,
                format!("the API of {} needs `{key}`", kind.name()),
                format!("add {key} = \"env:NAME\" or \"file:PATH\""),
            ));
        }
        text.filter(|text| is_named(table, key, text))
    };
    let what = |key: &str| format!("`{key}` of an API");
    let secret = |key: &'static str| secret::resolve(&wanted(key)?, &what(key), table.mistakes());
    let optional = |key: &'static str| {
        let text = table.string(key, "\"env:NAME\"").filter(|text| is_named(table, key, text))?;
        secret::resolve(&text, &what(key), table.mistakes())
    };
    Some(match kind {
        Kind::Fastly => Credentials::Fastly { token: secret("token")? },
        Kind::Bunny => Credentials::Bunny { token: secret("token")? },
        Kind::Cloudflare => {
            let hosts = table.strings("hosts", "[\"www.example.com\"]").unwrap_or_default();
            for host in hosts.iter().filter(|host| !is_host(&host.value)) {
                table.mistake(Mistake::at(
                    &host.place,
                    format!("\"{}\" is no host", host.value),
                    "write a name such as \"www.example.com\"",
                ));
            }
            let hosts = hosts.into_iter().map(|host| host.value).collect();
            Credentials::Cloudflare { token: secret("token")?, hosts }
        }
        Kind::CloudFront => {
            let (access_key, secret_key) = (secret("access_key"), secret("secret_key"));
            let session_token = optional("session_token");
            Credentials::CloudFront { access_key: access_key?, secret_key: secret_key?, session_token }
        }
        Kind::Akamai => {
            let host = table.string("host", "\"akab-xxxx.luna.akamaiapis.net\"");
            if host.as_ref().is_none_or(|host| !is_host(&host.value)) {
                table.mistake(Mistake::at(
                    &table.place_of("host"),
                    "the API of akamai needs the host of its client",
                    "write host = \"akab-xxxx.luna.akamaiapis.net\", as .edgerc has it, without https://",
                ));
            }
            let secrets = (secret("client_token"), secret("client_secret"), secret("access_token"));
            let account_switch_key = optional("account_switch_key");
            Credentials::Akamai {
                host: host?.value,
                client_token: secrets.0?,
                client_secret: secrets.1?,
                access_token: secrets.2?,
                account_switch_key,
            }
        }
        Kind::Google => {
            let project = table.string("project", "\"shop-production\"").filter(|project| is_word(&project.value));
            if project.is_none() {
                table.mistake(Mistake::at(
                    &table.place_of("project"),
                    "the API of google needs the id of a project",
                    "write for example project = \"shop-production\"",
                ));
            }
            let credentials = wanted("credentials").and_then(|text| key_file(table, &text));
            Credentials::Google { credentials: credentials?, project: project?.value }
        }
        Kind::Generic => return None,
    })
}

/// A credential stands elsewhere and is named here: the configuration is read by more people than the figures are.
fn is_named(table: &Table<'_>, key: &str, text: &At<String>) -> bool {
    let named = text.value.starts_with("env:") || text.value.starts_with("file:");
    if !named {
        table.mistake(Mistake::at(
            &text.place,
            format!("`{key}` opens the vendor's API, and stands here for everybody to read"),
            format!("write {key} = \"env:NAME\" or \"file:PATH\", and change the credential itself"),
        ));
    }
    named
}

/// The key of a service account, whole.
fn key_file(table: &Table<'_>, text: &At<String>) -> Option<Secret> {
    let key = secret::document(text, "the key of a service account", table.mistakes())?;
    let json: Option<serde_json::Value> = serde_json::from_slice(key.expose()).ok();
    let has = |field: &str| json.as_ref().is_some_and(|json| json[field].is_string());
    if has("client_email") && has("private_key") {
        return Some(key);
    }
    table.mistake(Mistake::at(
        &text.place,
        "this is no key of a service account: client_email or private_key is missing",
        "name the JSON file that Google gives out when a key is added to a service account",
    ));
    None
}

fn read_properties(table: &Table<'_>, kind: Kind) -> Vec<String> {
    let properties = table.strings("properties", "[\"SU1Z0isxPaozGVKXdv0eY\"]").unwrap_or_default();
    if properties.is_empty() || properties.len() > MOST {
        table.mistake(Mistake::at(
            &table.place_of("properties"),
            format!("an API is asked about 1 to {MOST} properties"),
            format!("write properties = [..] with {}", asked_about(kind)),
        ));
    }
    for (index, property) in properties.iter().enumerate() {
        let numbers = matches!(kind, Kind::Akamai | Kind::Bunny);
        if !is_word(&property.value) || (numbers && !property.value.bytes().all(|b| b.is_ascii_digit())) {
            table.mistake(Mistake::at(
                &property.place,
                format!("\"{}\" names nothing at {}", property.value, kind.name()),
                format!("write {}", asked_about(kind)),
            ));
        } else if properties[..index].iter().any(|other| other.value == property.value) {
            table.mistake(Mistake::at(
                &property.place,
                format!("\"{}\" stands here twice, and would count twice", property.value),
                "leave one out",
            ));
        }
    }
    properties.into_iter().map(|property| property.value).collect()
}

fn asked_about(kind: Kind) -> &'static str {
    match kind {
        Kind::Fastly => "the ids of services",
        Kind::Cloudflare => "the ids of zones (zone tags)",
        Kind::Bunny => "the ids of pull zones, which are numbers",
        Kind::CloudFront => "the ids of distributions",
        Kind::Akamai => "CP codes, which are numbers",
        Kind::Google => "the names of URL maps",
        Kind::Generic => "the vendor's names",
    }
}

fn is_word(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
    (1..=64).contains(&text.len()) && text.bytes().all(plain)
}

fn is_host(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-.".contains(&b);
    (1..=253).contains(&text.len()) && text.bytes().all(plain)
}

/// Credentials go over https; in the clear they go to this machine alone.
fn is_base(url: &str) -> bool {
    let (secure, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (_, Some(rest)) => (false, rest),
        _ => return false,
    };
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => host,
        _ => authority,
    };
    let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    let local = host == "localhost" || address.is_some_and(|address| address.is_loopback());
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/:[]".contains(&b);
    (is_host(host) || address.is_some()) && (secure || local) && rest.bytes().all(plain) && !rest.ends_with('/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{from_text, providers::Provider};

    fn compile(kind: &str, api: &str) -> Result<Provider, String> {
        let text = format!(
            "[origin]\nservers = [\"127.0.0.1:8000\"]\n[[cdn]]\nname = \"p\"\nkind = \"{kind}\"\nnetworks = [\"192.0.2.0/24\"]\napi = {{ {api} }}\n"
        );
        let (policy, mistakes) = from_text("headwater.toml", &text);
        match policy {
            Some(policy) if mistakes.is_empty() => Ok(policy.providers[0].clone()),
            _ => Err(mistakes.iter().map(|mistake| format!("{}: {}\n", mistake.what, mistake.remedy)).collect()),
        }
    }

    /// A file with this text, which goes when the test ends.
    struct Held(std::path::PathBuf);

    impl Held {
        fn new(name: &str, text: &str) -> Self {
            use std::os::unix::fs::PermissionsExt;
            let path = std::env::temp_dir().join(format!("headwater-api-{name}-{}", std::process::id()));
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            Self(path)
        }
    }

    impl Drop for Held {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn every_vendors_credentials_are_read_and_shown_nowhere() {
        let (token, key) = (
            Held::new("token", "s3same0pen\n"),
            Held::new("key", "{\n\"client_email\": \"a@b\", \"private_key\": \"s3same0pen\"}"),
        );
        let (t, k) = (format!("\"file:{}\"", token.0.display()), format!("\"file:{}\"", key.0.display()));
        for (kind, api, secrets) in [
            (
                "fastly",
                format!("token = {t}, properties = [\"a1\"], url = \"http://127.0.0.1:1\", settles = \"1m\""),
                1,
            ),
            ("cloudflare", format!("token = {t}, properties = [\"a1\"], hosts = [\"www.example.com\"]"), 1),
            ("bunny", format!("token = {t}, properties = [\"17\"], backfill = \"3d\""), 1),
            (
                "cloudfront",
                format!("access_key = {t}, secret_key = {t}, session_token = {t}, properties = [\"E1\"]"),
                3,
            ),
            (
                "akamai",
                format!(
                    "host = \"akab-x.luna.akamaiapis.net\", client_token = {t}, client_secret = {t}, access_token = {t}, account_switch_key = {t}, properties = [\"12345\"]"
                ),
                4,
            ),
            ("google", format!("credentials = {k}, project = \"shop\", properties = [\"map\"]"), 1),
        ] {
            let provider = compile(kind, &api).unwrap();
            let api = provider.api.as_ref().unwrap();
            assert_eq!(api.secrets().len(), secrets, "{kind}");
            assert!(api.secrets().iter().all(|secret| String::from_utf8_lossy(secret.expose()).contains("s3same0pen")));
            assert!(!format!("{provider:?}").contains("s3same0pen"), "{kind}");
        }
    }

    #[test]
    fn each_mistake_in_an_api_has_its_remedy() {
        let token = Held::new("mistakes", "s3same0pen");
        let t = format!("token = \"file:{}\"", token.0.display());
        for (kind, api, said) in [
            ("generic", "token = \"env:X\"".into(), "leave `api` out"),
            ("fastly", "properties = [\"a\"]".into(), "add token = \"env:NAME\""),
            ("fastly", "token = \"s3same0pen\", properties = [\"a\"]".into(), "for everybody to read"),
            ("fastly", t.clone(), "1 to 64 properties"),
            ("fastly", format!("{t}, properties = [\"../x\"]"), "ids of services"),
            ("fastly", format!("{t}, properties = [\"a\", \"a\"]"), "twice"),
            ("bunny", format!("{t}, properties = [\"shop\"]"), "numbers"),
            ("fastly", format!("{t}, properties = [\"a\"], url = \"http://api.example\""), "base URL"),
            ("fastly", format!("{t}, properties = [\"a\"], url = \"https://api.example/\""), "base URL"),
            ("fastly", format!("{t}, properties = [\"a\"], settles = \"9d\""), "at most \"7d\""),
            ("fastly", format!("{t}, properties = [\"a\"], hosts = [\"a\"]"), "no key `hosts`"),
            ("akamai", "properties = [\"1\"]".into(), ".edgerc"),
            (
                "google",
                format!("credentials = \"file:{}\", project = \"x\", properties = [\"a\"]", token.0.display()),
                "no key of a service account",
            ),
        ] {
            let mistakes = compile(kind, &api).unwrap_err();
            assert!(mistakes.contains(said), "{api}: {mistakes}");
            assert!(!mistakes.contains("s3same0pen"), "{mistakes}");
        }
    }

    #[test]
    fn credentials_go_in_the_clear_to_this_machine_alone() {
        for good in ["https://api.example", "https://api.example:8443/v1", "http://127.0.0.1:9", "http://[::1]:9"] {
            assert!(is_base(good), "{good}");
        }
        for bad in ["http://10.0.0.1", "https://", "https://a b", "https://a/?x", "https://u:p@a", "ftp://a", "a"] {
            assert!(!is_base(bad), "{bad}");
        }
    }
}
