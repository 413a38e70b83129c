//! The main job: one real pull after another through the shipped configuration to a real server and back.

use headwater_testkit::{Apache, Headwater, Nginx, get};
use std::net::SocketAddr;

const MINIMAL: &str = include_str!("../config/minimal.toml");

fn files() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("site.css", "body { margin: 0 }\n".repeat(200).into_bytes()),
        ("app.js", "function f() { return 1 }\n".repeat(200).into_bytes()),
        ("index.html", "<p>hello</p>\n".repeat(200).into_bytes()),
        ("photo.jpg", (0..20_000_u32).map(|n| (n * 7919 / 8) as u8).collect()),
    ]
}

fn does_the_main_job(address: SocketAddr) {
    let settings = [
        format!("origin.servers=[\"{address}\"]"),
        "listen.http=[\"127.0.0.1:0\"]".to_string(),
        "listen.admin=127.0.0.1:0".to_string(),
    ];
    let arguments: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
    // The kit adds [listen] to what lacks it, and the arguments stand above both.
    let proxy = Headwater::start_with(MINIMAL, &arguments, &[]);
    let pull = |path: &str, more: &[(&str, &str)]| {
        get(proxy.http, path, &[&[("X-CDN-Provider", "fastly"), ("Accept-Encoding", "gzip")], more].concat())
    };
    for (name, content) in files() {
        let answer = pull(&format!("/{name}"), &[]);
        assert_eq!(answer.status, 200, "{name}");
        let lifetime = (!name.ends_with("html")).then_some("max-age=94670800");
        assert_eq!(answer.header("Cache-Control"), lifetime, "{name}");
        assert!(answer.header("Last-Modified").is_some());
        if name.ends_with("jpg") {
            assert_eq!((answer.header("Content-Encoding"), &answer.body), (None, &content));
        } else {
            assert_eq!((answer.header("Content-Encoding"), answer.gunzip()), (Some("gzip"), content));
        }
        let tag = pull(&format!("/{name}"), &[]).header("ETag").unwrap().to_string();
        let again = pull(&format!("/{name}"), &[("If-None-Match", &tag)]);
        assert_eq!(
            (again.status, again.header("ETag"), again.header("Cache-Control")),
            (304, Some(tag.as_str()), lifetime)
        );
    }
    let part = pull("/photo.jpg", &[("Range", "bytes=100-199")]);
    assert_eq!((part.status, part.body.as_slice()), (206, &files()[3].1[100..200]));
    assert_eq!(pull("/none.css", &[]).status, 404);
    proxy.wait_metric("headwater_pulls_total", &[], 14.0);
    let metrics = proxy.metrics();
    let count =
        |code, rule| metrics.value("headwater_pulls_total", &[("cdn", "fastly"), ("code", code), ("rule", rule)]);
    assert_eq!((count("2xx", "static"), count("3xx", "static"), count("4xx", "static")), (7.0, 3.0, 1.0));
    assert_eq!(count("2xx", "default"), 2.0);
}

#[test]
fn a_cdns_pulls_pass_before_apache() {
    let files = files();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, content)| (*name, content.as_slice())).collect();
    let apache = Apache::start("", &files);
    does_the_main_job(apache.address());
}

#[test]
fn a_cdns_pulls_pass_before_nginx() {
    let files = files();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, content)| (*name, content.as_slice())).collect();
    let nginx = Nginx::start("", &files);
    does_the_main_job(nginx.address());
}
