//! Lifetimes by rule, and each vendor's own header for that vendor alone.

use headwater_testkit::{Headwater, Origin, Response, get};

const CDNS: &str = "
[[cdn]]
name = \"fastly\"
kind = \"fastly\"
networks = [\"127.0.0.1\"]
[[cdn]]
name = \"cloudflare\"
kind = \"cloudflare\"
networks = [\"127.0.0.1\"]
[[cdn]]
name = \"akamai\"
kind = \"akamai\"
networks = [\"127.0.0.1\"]
[[cdn]]
name = \"bunny\"
kind = \"bunny\"
networks = [\"127.0.0.1\"]
[[cdn]]
name = \"stranger\"
kind = \"fastly\"
networks = [\"192.0.2.1\"]
";

fn proxy(origin_says: &str, rules: &str) -> (Origin, Headwater) {
    let origin = Origin::answering(format!("HTTP/1.1 200 OK\r\n{origin_says}Content-Length: 2\r\n\r\nok"));
    let proxy = Headwater::start(&format!("{}{CDNS}{rules}", origin.config()));
    (origin, proxy)
}

const TARGETED: [&str; 4] = ["Surrogate-Control", "CDN-Cache-Control", "Cloudflare-CDN-Cache-Control", "Edge-Control"];

fn targeted(answer: &Response) -> Vec<&'static str> {
    TARGETED.into_iter().filter(|name| answer.header(name).is_some()).collect()
}

#[test]
fn the_built_in_list_is_the_talks_own_rule() {
    let (_origin, proxy) = proxy("Expires: 0\r\n", "");
    let lifetime = |path: &str| get(proxy.http, path, &[]).header("Cache-Control").map(str::to_string);
    for path in ["/a.gif", "/a.jpg", "/a.jpeg", "/a.png", "/a.css", "/x/y.js", "/a.js?v=1", "/a%2ecss", "/%61.c%73s"] {
        assert_eq!(lifetime(path).as_deref(), Some("max-age=94670800"), "{path}");
    }
    for path in ["/", "/a.html", "/a.css/", "/a?b.css", "/a.CSS", "/acss"] {
        assert_eq!(lifetime(path), None, "{path}");
    }
    assert_eq!(proxy.metrics().value("headwater_pulls_total", &[("rule", "static")]), 9.0);
}

#[test]
fn rules_of_ones_own_replace_the_list_and_the_first_match_wins() {
    let rules = "[[rule]]\nname = \"a\"\npath = '^/a'\ncache_control = \"max-age=1\"\n\
                 [[rule]]\nname = \"css\"\npath = '\\.css$'\ncache_control = \"max-age=2\"\n";
    let (_origin, proxy) = proxy("", rules);
    let lifetime = |path: &str| get(proxy.http, path, &[]).header("Cache-Control").map(str::to_string);
    assert_eq!(lifetime("/a.css").as_deref(), Some("max-age=1"));
    assert_eq!(lifetime("/b.css").as_deref(), Some("max-age=2"));
    assert_eq!(lifetime("/b.js"), None);
}

#[test]
fn each_mode_does_what_it_says_and_no_more() {
    for (mode, origin_says, expected) in [
        ("set", "", "max-age=100"),
        ("set", "Cache-Control: private\r\nExpires: 0\r\nPragma: no-cache\r\n", "max-age=100"),
        ("default", "", "max-age=100"),
        ("default", "Cache-Control: max-age=5\r\n", "max-age=5"),
        ("default", "Cache-Control: no-cache\r\n", "no-cache"),
        ("cap", "", "max-age=100"),
        ("cap", "Cache-Control: max-age=5\r\n", "max-age=5"),
        ("cap", "Cache-Control: public, max-age=500\r\n", "public, max-age=100"),
        ("cap", "Cache-Control: max-age=500, s-maxage=600\r\n", "max-age=100, s-maxage=100"),
        ("cap", "Cache-Control: max-age=500\r\nCache-Control: max-age=50\r\n", "max-age=50"),
        ("cap", "Cache-Control: no-store, max-age=500\r\n", "no-store, max-age=500"),
        ("cap", "Cache-Control: max-age=oops\r\n", "max-age=0"),
        ("cap", "Expires: Thu, 01 Jan 2099 00:00:00 GMT\r\n", "max-age=100"),
        ("cap", "Expires: 0\r\n", "max-age=0"),
    ] {
        let rule = format!("[[rule]]\nname = \"r\"\npath = '.'\nmode = \"{mode}\"\ncache_control = \"max-age=100\"\n");
        let (_origin, proxy) = proxy(origin_says, &rule);
        let answer = get(proxy.http, "/", &[]);
        assert_eq!(answer.header("Cache-Control"), Some(expected), "{mode} over {origin_says:?}");
        assert!(answer.header("Expires").is_none() && answer.header("Pragma").is_none(), "{mode} over {origin_says:?}");
    }
}

#[test]
fn a_lifetime_is_for_the_statuses_it_names() {
    for (status, key, expected) in [
        ("200 OK", "", Some("max-age=100")),
        ("404 Not Found", "", None),
        ("302 Found", "", None),
        ("404 Not Found", "status = [\"2xx\", \"404\"]\n", Some("max-age=100")),
        ("200 OK", "status = [\"404\"]\n", None),
        ("503 Busy", "status = [\"2xx\"]\n", Some("no-store")),
    ] {
        let origin = Origin::answering(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"));
        let rule = format!("[[rule]]\nname = \"r\"\npath = '.'\ncache_control = \"max-age=100\"\n{key}");
        let proxy = Headwater::start(&format!("{}{rule}", origin.config()));
        assert_eq!(get(proxy.http, "/", &[]).header("Cache-Control"), expected, "{status} {key}");
    }
}

const RULE: &str = "
[[rule]]
name = \"r\"
path = '.'
cache_control = \"max-age=1\"
[rule.cdn]
fastly = { surrogate_control = \"max-age=2\" }
cloudflare = { cloudflare_cdn_cache_control = \"max-age=3\" }
akamai = { edge_control = \"max-age=4\" }
stranger = { surrogate_control = \"max-age=5\" }
";

#[test]
fn each_vendors_header_goes_to_that_vendor_alone() {
    let (_origin, proxy) = proxy("", RULE);
    for (cdn, expected) in [
        ("fastly", vec!["Surrogate-Control"]),
        ("cloudflare", vec!["Cloudflare-CDN-Cache-Control"]),
        ("akamai", vec!["Edge-Control"]),
        ("bunny", vec![]),
        ("stranger", vec![]),
        ("nobody", vec![]),
    ] {
        let answer = get(proxy.http, "/", &[("X-CDN-Provider", cdn)]);
        assert_eq!(targeted(&answer), expected, "{cdn}");
        assert_eq!(answer.header("Cache-Control"), Some("max-age=1"));
    }
    assert_eq!(get(proxy.http, "/", &[("X-CDN-Provider", "fastly")]).header("Surrogate-Control"), Some("max-age=2"));
}

#[test]
fn the_origins_own_targeted_headers_reach_only_those_they_are_meant_for() {
    let all: String = TARGETED.iter().map(|name| format!("{name}: max-age=9\r\n")).collect();
    let (_origin, proxy) = proxy(&all, "");
    for (cdn, expected) in [
        ("fastly", vec!["Surrogate-Control"]),
        ("cloudflare", vec!["CDN-Cache-Control", "Cloudflare-CDN-Cache-Control"]),
        ("akamai", vec!["Edge-Control"]),
        ("bunny", vec![]),
        ("nobody", vec![]),
    ] {
        assert_eq!(targeted(&get(proxy.http, "/", &[("X-CDN-Provider", cdn)])), expected, "{cdn}");
    }
}

#[test]
fn a_targeted_header_publishes_nothing_that_the_origin_keeps_private() {
    for (mode, expected) in [("default", vec![]), ("cap", vec![]), ("set", vec!["Surrogate-Control"])] {
        let rule = RULE.replacen("cache_control", &format!("mode = \"{mode}\"\ncache_control"), 1);
        let (_origin, proxy) = proxy("Cache-Control: private\r\n", &rule);
        assert_eq!(targeted(&get(proxy.http, "/", &[("X-CDN-Provider", "fastly")])), expected, "{mode}");
    }
}
