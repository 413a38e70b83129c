//! The dashboard's own files, embedded. No page loads anything else.

use super::answer::{self, Answer};
use headwater_config::Policy;
use http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use std::hash::{DefaultHasher, Hash, Hasher};

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// A file, and whether strangers are given it.
struct Asset {
    path: &'static str,
    kind: &'static str,
    body: &'static [u8],
    public: bool,
}

macro_rules! assets {
    ($($path:literal $file:literal $kind:ident $public:literal;)*) => {
        const ASSETS: &[Asset] = &[$(Asset {
            path: $path,
            kind: $kind,
            body: include_bytes!(concat!("../../assets/", $file)),
            public: $public,
        }),*];
    };
}

const JSON: &str = "application/json";
const IMAGE: &str = "image/svg+xml";

assets! {
    "/" "dashboard.html" HTML false;
    "/provider" "dashboard.html" HTML false;
    "/beacons" "dashboard.html" HTML false;
    "/events" "dashboard.html" HTML false;
    "/staff" "staff.html" HTML false;
    "/support" "support.html" HTML true;
    "/assets/icon.svg" "icon.svg" IMAGE true;
    "/assets/style.css" "style.css" STYLE true;
    "/assets/theme.js" "theme.js" SCRIPT true;
    "/assets/page.js" "page.js" SCRIPT true;
    "/assets/block.js" "block.js" SCRIPT true;
    "/assets/support.js" "support.js" SCRIPT true;
    "/assets/staff.js" "staff.js" SCRIPT false;
    "/assets/main.js" "main.js" SCRIPT false;
    "/assets/state.js" "state.js" SCRIPT false;
    "/assets/api.js" "api.js" SCRIPT false;
    "/assets/figures.js" "figures.js" SCRIPT false;
    "/assets/line.js" "line.js" SCRIPT false;
    "/assets/graph.js" "graph.js" SCRIPT false;
    "/assets/overview.js" "overview.js" SCRIPT false;
    "/assets/provider.js" "provider.js" SCRIPT false;
    "/assets/beacons.js" "beacons.js" SCRIPT false;
    "/assets/events.js" "events.js" SCRIPT false;
    "/assets/keys.js" "keys.js" SCRIPT false;
    "/assets/live.js" "live.js" SCRIPT false;
    "/assets/world.json" "world.json" JSON false;
    "/assets/uplot.js" "uplot.js" SCRIPT false;
    "/assets/uplot.css" "uplot.css" STYLE false;
}

/// The file at that path, for those who may have it. The browser asks again each time and is told 304 where it has it.
pub(crate) fn find(policy: &Policy, path: &str, is_operator: bool, headers: &HeaderMap) -> Option<Answer> {
    let asset = ASSETS.iter().find(|asset| asset.path == path && (is_operator || asset.public))?;
    let mut hasher = DefaultHasher::new();
    asset.body.hash(&mut hasher);
    let tag = HeaderValue::from_str(&format!("\"{:016x}\"", hasher.finish())).ok()?;
    let mut answer = if headers.get(IF_NONE_MATCH) == Some(&tag) {
        answer::of(StatusCode::NOT_MODIFIED, asset.kind, "")
    } else {
        answer::of(StatusCode::OK, asset.kind, asset.body)
    };
    let answered = answer.headers_mut();
    answered.insert(ETAG, tag);
    answered.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("x-frame-options", "DENY"),
    ] {
        answered.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let content = HeaderValue::from_str(&content_policy(policy, path)).ok()?;
    answered.insert(HeaderName::from_static("content-security-policy"), content);
    Some(answer)
}

/// Our own files and nothing inline; the support page may ask the probes, too.
fn content_policy(policy: &Policy, path: &str) -> String {
    let mut hosts = String::new();
    if path == "/support" {
        for origin in policy.support.origins() {
            hosts.push(' ');
            hosts.push_str(&origin);
        }
    }
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'{hosts}; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_page_holds_a_script_or_a_style_of_its_own() {
        for asset in ASSETS.iter().filter(|asset| asset.kind == HTML) {
            let text = std::str::from_utf8(asset.body).unwrap();
            for part in text.split("<script").skip(1) {
                assert!(part.contains(" src=\"/assets/") && part.contains("></script>"), "{}", asset.path);
            }
            assert!(
                !text.contains("<style") && !text.contains(" style=") && !text.contains(" onclick"),
                "{}",
                asset.path
            );
            assert!(!text.contains("http://") && !text.contains("https://"), "{}: it works offline", asset.path);
        }
    }

    #[test]
    fn no_script_writes_html() {
        for asset in ASSETS.iter().filter(|asset| asset.kind == SCRIPT && asset.path != "/assets/uplot.js") {
            let text = std::str::from_utf8(asset.body).unwrap();
            for word in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
                assert!(!text.contains(word), "{}: {word}", asset.path);
            }
        }
    }

    #[test]
    fn strangers_are_given_the_support_page_alone() {
        let (policy, _) = headwater_config::from_text("t", "[origin]\nservers = [\"127.0.0.1:8000\"]\n");
        let policy = policy.unwrap();
        let has = |path: &str, operator| find(&policy, path, operator, &HeaderMap::new()).is_some();
        assert!(has("/support", false) && has("/assets/support.js", false));
        assert!(!has("/", false) && !has("/staff", false) && !has("/assets/main.js", false));
        assert!(has("/", true) && has("/staff", true) && !has("/assets/", true));
    }
}
