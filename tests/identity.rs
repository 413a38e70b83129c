//! Who asks: claims that are proven, claims that are not, and whose word on an address counts.

use headwater_testkit::{Headwater, Origin, Recorded, Response, get};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const OLD: &str = "old-0123456789abcdef0123";
const NEW: &str = "new-0123456789abcdef0123";

fn cdn(name: &str, kind: &str, proof: &str) -> String {
    format!("[[cdn]]\nname = \"{name}\"\nkind = \"{kind}\"\n{proof}\n")
}

fn secret() -> String {
    format!("secret = {{ header = \"X-CDN-Secret\", values = [\"{OLD}\", \"{NEW}\"] }}")
}

const HERE: &str = "networks = [\"127.0.0.0/8\"]";
const ELSEWHERE: &str = "networks = [\"192.0.2.0/24\"]";

struct Case {
    origin: Origin,
    proxy: Headwater,
}

fn case(config: &str) -> Case {
    let origin = Origin::answering(OK);
    let proxy = Headwater::start(&format!("{}{config}", origin.config()));
    Case { origin, proxy }
}

impl Case {
    fn pull(&self, headers: &[(&str, &str)]) -> (Response, Option<Recorded>) {
        let before = self.origin.requests().len();
        let answer = get(self.proxy.http, "/", headers);
        let asked = self.origin.requests();
        (answer, (asked.len() > before).then(|| asked.last().unwrap().clone()))
    }

    /// The `cdn` label that one more pull was counted under.
    fn label(&self, headers: &[(&str, &str)]) -> String {
        let count = |case: &Case| case.proxy.metrics().series("headwater_pulls_total", &[]);
        let before = count(self);
        self.pull(headers);
        // A pull is counted at its end, which its client may outrun.
        let mut changed = None;
        headwater_testkit::wait_until("the pull is counted", || {
            changed = count(self).into_iter().find(|series| !before.contains(series));
            changed.is_some()
        });
        changed.unwrap().0.split("cdn=\"").nth(1).unwrap().split('"').next().unwrap().to_string()
    }
}

#[test]
fn a_secret_proves_and_two_may_live_at_once() {
    let case = case(&cdn("fastly", "fastly", &secret()));
    for value in [OLD, NEW] {
        assert_eq!(case.label(&[("X-CDN-Provider", "fastly"), ("X-CDN-Secret", value)]), "fastly");
    }
    for headers in [
        vec![("X-CDN-Provider", "fastly")],
        vec![("X-CDN-Provider", "fastly"), ("X-CDN-Secret", "wrong")],
        vec![("X-CDN-Provider", "fastly"), ("X-CDN-Secret", OLD), ("X-CDN-Secret", OLD)],
        vec![("X-CDN-Provider", "fastly"), ("X_CDN_Secret", OLD)],
        vec![("X-CDN-Provider", "fastly"), ("X-CDN-Provider", "akamai"), ("X-CDN-Secret", OLD)],
    ] {
        assert_eq!(case.label(&headers), "unproven", "{headers:?}");
    }
    assert_eq!(case.proxy.metrics().value("headwater_identity_mismatch_total", &[("claimed", "fastly")]), 5.0);
}

#[test]
fn networks_prove_and_where_both_are_asked_for_both_must_hold() {
    let tag = ("X-CDN-Provider", "Fastly");
    assert_eq!(case(&cdn("fastly", "fastly", HERE)).label(&[tag]), "fastly");
    assert_eq!(case(&cdn("fastly", "fastly", ELSEWHERE)).label(&[tag]), "unproven");
    let both = |networks| case(&cdn("fastly", "fastly", &format!("{networks}\n{}", secret())));
    assert_eq!(both(HERE).label(&[tag, ("X-CDN-Secret", OLD)]), "fastly");
    assert_eq!(both(HERE).label(&[tag]), "unproven");
    assert_eq!(both(ELSEWHERE).label(&[tag, ("X-CDN-Secret", OLD)]), "unproven");
    let list = std::env::temp_dir().join(format!("headwater-networks-{}", std::process::id()));
    std::fs::write(&list, "# ours\n127.0.0.0/8 # loopback\n").unwrap();
    let from_file = case(&cdn("fastly", "fastly", &format!("networks = [\"file:{}\"]", list.display())));
    assert_eq!(from_file.label(&[tag]), "fastly");
    std::fs::remove_file(list).unwrap();
}

#[test]
fn the_app_hears_of_a_provider_only_when_it_is_proven() {
    let case = case(&cdn("fastly", "fastly", &secret()));
    let (_, seen) = case.pull(&[("X-CDN-Provider", "FASTLY"), ("X-CDN-Secret", NEW), ("X_CDN_Provider", "akamai")]);
    assert_eq!(seen.as_ref().unwrap().headers("X-CDN-Provider"), ["fastly"]);
    for tag in ["fastly", "akamai"] {
        let (_, seen) = case.pull(&[("X-CDN-Provider", tag), ("X_CDN_Provider", tag)]);
        assert!(!seen.unwrap().head.to_ascii_lowercase().contains("provider"));
    }
}

#[test]
fn a_secret_goes_nowhere() {
    let case = case(&format!("{}[log]\nformat = \"json\"\n", cdn("fastly", "fastly", &secret())));
    for value in [OLD, NEW] {
        for name in ["X-CDN-Secret", "X_CDN_Secret", "x-cdn_secret"] {
            let (_, seen) = case.pull(&[("X-CDN-Provider", "fastly"), (name, value)]);
            assert!(!seen.unwrap().head.contains("0123456789abcdef"), "{name}");
        }
    }
    case.proxy.wait_for_log(|line| line.contains("fastly"));
    let status = get(case.proxy.admin, "/status", &[]).text();
    for text in [case.proxy.stdout(), case.proxy.stderr(), case.proxy.metrics().0, status] {
        assert!(!text.contains("0123456789abcdef"), "{text}");
    }
}

#[test]
fn strangers_may_be_turned_away() {
    let deny = |key: &str| case(&format!("{}[identify]\n{key} = \"deny\"\n", cdn("fastly", "fastly", &secret())));
    let proof = [("X-CDN-Provider", "fastly"), ("X-CDN-Secret", OLD)];
    let unproven = deny("unproven");
    assert_eq!(unproven.pull(&[("X-CDN-Provider", "fastly")]).0.status, 403);
    assert_eq!(unproven.pull(&[("X-CDN-Provider", "nobody")]).0.status, 403);
    assert_eq!(unproven.pull(&[]).0.status, 200);
    assert_eq!(unproven.pull(&proof).0.status, 200);
    let untagged = deny("untagged");
    let (answer, asked) = untagged.pull(&[]);
    assert!(answer.status == 403 && asked.is_none() && answer.header("Cache-Control") == Some("no-store"));
    assert_eq!(untagged.pull(&proof).0.status, 200);
    assert_eq!(
        get(untagged.proxy.http, "/status/images/beacon.gif?source=x", &[]).status,
        200,
        "users' beacons carry no proof"
    );
}

#[test]
fn headers_of_another_vendor_contradict_the_tag() {
    let case = case(&(cdn("akamai", "akamai", HERE) + &cdn("fastly", "fastly", HERE)));
    let mismatches = || case.proxy.metrics().value("headwater_identity_mismatch_total", &[("claimed", "akamai")]);
    assert_eq!(case.label(&[("X-CDN-Provider", "akamai"), ("Fastly-FF", "x!LHR!cache")]), "akamai");
    assert_eq!(mismatches(), 1.0);
    case.pull(&[("X-CDN-Provider", "akamai"), ("Akamai-Origin-Hop", "1")]);
    case.pull(&[("X-CDN-Provider", "fastly"), ("Fastly-FF", "x!LHR!cache")]);
    assert_eq!(mismatches(), 1.0);
}

#[test]
fn the_users_address_comes_from_the_vendors_own_header() {
    for (kind, headers, expected) in [
        ("fastly", vec![("Fastly-Client-IP", "192.0.2.7")], "192.0.2.7"),
        ("cloudflare", vec![("CF-Connecting-IP", "2001:db8::7")], "2001:db8::7"),
        ("akamai", vec![("True-Client-IP", "192.0.2.7")], "192.0.2.7"),
        ("cloudfront", vec![("CloudFront-Viewer-Address", "192.0.2.7:4711")], "192.0.2.7"),
        ("cloudfront", vec![("CloudFront-Viewer-Address", "2001:db8:0:0:0:0:0:7:4711")], "2001:db8::7"),
        ("bunny", vec![("X-Real-IP", "192.0.2.7")], "192.0.2.7"),
        ("google", vec![("X-Forwarded-For", "6.6.6.6, 192.0.2.7, 35.191.0.1")], "192.0.2.7"),
        ("generic", vec![("X-Forwarded-For", "6.6.6.6, 192.0.2.7, 127.0.0.9")], "192.0.2.7"),
        ("generic", vec![("X-Forwarded-For", "6.6.6.6, garbage")], "127.0.0.1"),
        ("generic", vec![("Fastly-Client-IP", "6.6.6.6")], "127.0.0.1"),
        ("fastly", vec![("Fastly-Client-IP", "garbage")], "127.0.0.1"),
    ] {
        let case = case(&cdn("it", kind, HERE));
        let mut all = vec![("X-CDN-Provider", "it")];
        all.extend(headers.clone());
        let seen = case.pull(&all).1.unwrap();
        assert_eq!(seen.header("X-Real-IP"), Some(expected), "{kind} {headers:?}");
        case.proxy.wait_for_log(|line| line.contains(&format!(" {expected} - - [")));
        // The same from a stranger is nobody's address, and does not reach the app.
        let seen = case.pull(&headers).1.unwrap();
        assert_eq!(seen.header("X-Real-IP"), Some("127.0.0.1"), "{kind} {headers:?}");
        assert!(!seen.head.contains("192.0.2.7") && !seen.head.contains("6.6.6.6"), "{}", seen.head);
    }
}

#[test]
fn a_proven_providers_word_is_kept_and_added_to() {
    let case = case(&cdn("fastly", "fastly", HERE));
    let said = [
        ("X-Forwarded-For", "192.0.2.7"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "www.example"),
        ("Forwarded", "for=192.0.2.7"),
        ("X-Request-Id", "abc-123"),
    ];
    let seen = case.pull(&[&[("X-CDN-Provider", "fastly")][..], &said].concat()).1.unwrap();
    assert_eq!(seen.headers("X-Forwarded-For"), ["192.0.2.7, 127.0.0.1"]);
    assert_eq!(seen.headers("X-Forwarded-Proto"), ["https"]);
    assert_eq!(seen.headers("X-Forwarded-Host"), ["www.example"]);
    assert_eq!(seen.headers("Forwarded"), ["for=192.0.2.7, for=127.0.0.1;host=\"www.example\";proto=https"]);
    assert_eq!(seen.headers("X-Request-Id"), ["abc-123"]);
    let stranger = case.pull(&said).1.unwrap();
    assert_eq!(stranger.headers("X-Forwarded-Proto"), ["http"]);
    assert_ne!(stranger.header("X-Request-Id"), Some("abc-123"));
}

#[test]
fn strangers_make_no_labels() {
    let case = case(&cdn("fastly", "fastly", HERE));
    assert_eq!(case.label(&[("X-CDN-Provider", "nobody")]), "other");
    assert_eq!(case.label(&[]), "untagged");
    let series = |case: &Case| case.proxy.metrics().0.lines().count();
    let before = series(&case);
    let mut client = headwater_testkit::Client::connect(case.proxy.http);
    for n in 0..500 {
        client.send(headwater_testkit::request("GET", &format!("/{n}"), &[("X-CDN-Provider", &format!("x{n}"))]));
        client.read_response();
    }
    assert_eq!(series(&case), before);
}
