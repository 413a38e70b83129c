//! The page that users see instead of an error.

use headwater_testkit::{Client, Headwater, Origin, Response, get, request, run};

const HTML: (&str, &str) = ("Accept", "text/html,application/xhtml+xml,*/*;q=0.8");
const ERROR: &str = "HTTP/1.1 503 Busy\r\nContent-Type: text/html\r\nRetry-After: 30\r\nX-App: 7\r\nETag: \"e\"\r\nLast-Modified: x\r\n\
                     Content-Security-Policy: default-src 'none'\r\nSet-Cookie: a=b\r\nContent-Length: 8\r\n\r\napp says";

fn before(answer: &'static str, config: &str) -> (Origin, Headwater) {
    let origin = Origin::answering(answer);
    let proxy = Headwater::start(&format!("{}{config}", origin.config()));
    (origin, proxy)
}

fn page(headers: &[(&str, &str)]) -> Response {
    let (_origin, proxy) = before(ERROR, "");
    get(proxy.http, "/", headers)
}

#[test]
fn the_status_stays_and_so_does_what_is_still_true() {
    let answer = page(&[HTML]);
    assert!(answer.status == 503 && answer.status_line.starts_with("HTTP/1.1 503"));
    assert_eq!(
        (answer.header("Retry-After"), answer.header("X-App"), answer.header("Set-Cookie")),
        (Some("30"), Some("7"), Some("a=b"))
    );
    assert_eq!(answer.header("Content-Type"), Some("text/html; charset=utf-8"));
    assert_eq!(answer.header("Cache-Control"), Some("no-store"));
    for gone in ["ETag", "Last-Modified", "Content-Security-Policy", "Expires"] {
        assert!(answer.header(gone).is_none(), "{gone}");
    }
    for member in ["Accept", "Accept-Language", "Accept-Encoding"] {
        assert!(answer.has_member("Vary", member), "{member}");
    }
    assert!(!answer.text().contains("app says"));
}

#[test]
fn it_speaks_the_users_language() {
    let (_origin, proxy) = before(ERROR, "");
    for (accept, language) in [
        ("en", "en"),
        ("de-CH, en;q=0.5", "de"),
        ("fr-FR", "fr"),
        ("es-419", "es"),
        ("pt-BR", "pt"),
        ("it", "it"),
        ("nl-BE", "nl"),
        ("pl", "pl"),
        ("ru", "ru"),
        ("ja-JP", "ja"),
        ("zh-CN", "zh-Hans"),
        ("fi, ja;q=0.1, de;q=0.9", "de"),
        ("fi", "en"),
        ("*", "en"),
        (";;;q=", "en"),
    ] {
        let answer = get(proxy.http, "/", &[HTML, ("Accept-Language", accept)]);
        assert_eq!(answer.header("Content-Language"), Some(language), "{accept}");
        assert!(answer.text().contains(&format!("<html lang=\"{language}\"")), "{accept}");
    }
    assert_eq!(
        proxy
            .metrics()
            .value("headwater_whoopsie_total", &[("language", "de"), ("reason", "origin_5xx"), ("cdn", "untagged")]),
        2.0
    );
}

#[test]
fn a_user_can_tell_support_the_number_that_stands_in_the_log() {
    let (_origin, proxy) = before(ERROR, "[whoopsie]\nstatus_url = \"https://status.example.com/?a=1&b=2\"\n");
    let text = get(proxy.http, "/", &[HTML]).text();
    let line = proxy.wait_for_log(|line| line.contains(" 503 "));
    let id = line.split(" id=").nth(1).unwrap().split(' ').next().unwrap();
    assert!(id.len() == 32 && text.contains(id), "{line}");
    assert!(text.contains("href=\"https://status.example.com/?a=1&amp;b=2\""));
    assert!(text.contains(&format!("src=\"/status/images/beacon.gif?source=untagged_503&amp;id={id}\"")));
    assert!(!text.contains("{{") && !text.contains("<script"));
}

#[test]
fn it_comes_compressed_and_without_a_body_where_that_is_asked_for() {
    let (_origin, proxy) = before(ERROR, "");
    let answer = get(proxy.http, "/", &[HTML, ("Accept-Encoding", "gzip")]);
    assert_eq!(answer.header("Content-Encoding"), Some("gzip"));
    assert!(String::from_utf8(answer.gunzip()).unwrap().contains("<html"));
    let mut client = Client::connect(proxy.http);
    client.send(request("HEAD", "/", &[HTML]));
    let head = client.read_response_to("HEAD");
    assert_eq!(head.status, 503);
    client.send(request("GET", "/", &[HTML]));
    assert_eq!(client.read_response().status, 503, "HEAD has no body, so the connection goes on");
}

#[test]
fn a_program_gets_a_problem_in_json() {
    let answer = page(&[("Accept", "application/json")]);
    assert_eq!((answer.status, answer.header("Content-Type")), (503, Some("application/problem+json")));
    assert!(answer.text().contains("\"status\":503") && answer.text().contains("\"title\":\"Service Unavailable\""));
}

#[test]
fn the_apps_own_json_error_is_replaced_for_browsers_alone() {
    const JSON: &str =
        "HTTP/1.1 500 Oops\r\nContent-Type: application/problem+json; charset=utf-8\r\nContent-Length: 2\r\n\r\n{}";
    let (_origin, proxy) = before(JSON, "");
    for accept in ["application/json", "*/*", "application/json, text/html;q=0.5"] {
        assert_eq!(get(proxy.http, "/", &[("Accept", accept)]).text(), "{}", "{accept}");
    }
    assert_eq!(get(proxy.http, "/", &[]).text(), "{}");
    assert!(get(proxy.http, "/", &[HTML]).text().contains("<html"));
}

#[test]
fn whose_errors_are_replaced_is_a_matter_of_configuration() {
    let down = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (answer, ours, theirs) in
        [("both", true, true), ("proxy", true, false), ("upstream", false, true), ("off", false, false)]
    {
        let config = format!("[whoopsie]\nanswer = \"{answer}\"\n");
        let (_origin, proxy) = before(ERROR, &config);
        let got = get(proxy.http, "/", &[HTML]);
        assert_eq!(
            (got.status, got.text().contains("<html"), got.text() == "app says"),
            (503, theirs, !theirs),
            "{answer}"
        );
        assert_eq!(got.header("Cache-Control"), Some("no-store"));
        let proxy = Headwater::start(&format!("[origin]\nservers = [\"{down}\"]\n{config}"));
        let got = get(proxy.http, "/", &[HTML]);
        assert_eq!((got.status, got.text().contains("<html")), (502, ours), "{answer}");
    }
}

#[test]
fn pages_of_ones_own_are_read_from_a_folder() {
    let folder = std::env::temp_dir().join(format!("headwater-pages-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(
        folder.join("en.html"),
        "<p>{{status}} {{request_id}} <img src=\"{{beacon}}\">{{#status_url}}[{{status_url}}]{{/status_url}}",
    )
    .unwrap();
    std::fs::write(folder.join("de.html"), "<p>Hoppla {{beacon}}").unwrap();
    let config = format!("[whoopsie]\npages = \"{}\"\n", folder.display());
    let (_origin, proxy) = before(ERROR, &config);
    let text = get(proxy.http, "/", &[HTML]).text();
    assert!(text.starts_with("<p>503 ") && !text.contains('['), "{text}");
    let german = get(proxy.http, "/", &[HTML, ("Accept-Language", "de"), ("Accept-Encoding", "gzip")]);
    assert!(german.gunzip().starts_with(b"<p>Hoppla /status/images/"));
    std::fs::write(folder.join("fr.html"), "{{oops}}").unwrap();
    let output = run(&["check", proxy.config_path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("fr.html:1:1") && said.contains("nothing to put into {{oops}}"), "{said}");
    std::fs::remove_dir_all(folder).unwrap();
}

/// What `whoopsie export` says and writes for a CDN.
struct Export {
    folder: tempfile::TempDir,
}

impl Export {
    const CDN: &str = "[origin]\nservers = [\"127.0.0.1:1\"]\n[beacon]\nurl = \"https://b.example.net/b.gif\"\n";

    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// Runs it for a CDN that is named as its kind; the code, and standard error.
    fn run(&self, config: &str, kind: &str, more: &[&str]) -> (Option<i32>, String) {
        let path = self.folder.path().join("headwater.toml");
        let cdn = format!("[[cdn]]\nname = \"{kind}\"\nkind = \"{kind}\"\nnetworks = [\"192.0.2.0/24\"]\n");
        std::fs::write(&path, config.to_string() + &cdn).unwrap();
        let out = self.folder.path().join("out");
        let _ = std::fs::remove_dir_all(&out);
        let arguments =
            ["whoopsie", "export", "-c", path.to_str().unwrap(), "--cdn", kind, "--out", out.to_str().unwrap()];
        let output = run(&[&arguments[..], more].concat());
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn written(&self) -> Vec<(String, String)> {
        let files = std::fs::read_dir(self.folder.path().join("out")).unwrap().flatten();
        let mut files: Vec<_> = files
            .map(|file| (file.file_name().into_string().unwrap(), std::fs::read_to_string(file.path()).unwrap()))
            .collect();
        files.sort();
        files
    }
}

#[test]
fn pages_are_exported_for_a_cdn_with_a_beacon_that_does_not_depend_on_it() {
    let export = Export::new();
    let (code, said) = export.run("[origin]\nservers = [\"127.0.0.1:1\"]\n", "fastly", &[]);
    assert!(code == Some(1) && said.contains("beacon.url is empty"), "{said}");
    let config = export.folder.path().join("headwater.toml");
    let output = run(&["whoopsie", "export", "-c", config.to_str().unwrap(), "--cdn", "nobody", "--out", "unused"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("there is no [[cdn]] \"nobody\""), "{said}");
    for kind in ["fastly", "cloudfront", "akamai", "bunny", "google", "generic", "cloudflare"] {
        assert_eq!(export.run(Export::CDN, kind, &[]), (Some(0), String::new()));
        let pages = export.written();
        assert_eq!(pages.len(), 11);
        for (name, html) in pages {
            let beacon = format!("src=\"https://b.example.net/b.gif?source={kind}_503\"");
            assert!(html.contains(&beacon) && !html.contains("{{"), "{name}");
            // A reference that is the same for everybody helps nobody.
            assert!(!html.contains(&format!(">{kind}<")), "{name}");
            let reference = html.contains("<code translate=\"no\">::RAY_ID::</code>");
            assert_eq!(
                (reference, html.contains("<code")),
                (kind == "cloudflare", kind == "cloudflare"),
                "{kind} {name}"
            );
        }
    }
}

#[test]
fn a_page_of_ones_own_may_show_a_reference_only_where_there_is_one() {
    let export = Export::new();
    let pages = export.folder.path().join("pages");
    std::fs::create_dir(&pages).unwrap();
    let config = format!("{}[whoopsie]\npages = \"{}\"\n", Export::CDN, pages.display());
    std::fs::write(pages.join("en.html"), "{{beacon}}{{#request_id}}[{{request_id}}]{{/request_id}}").unwrap();
    assert_eq!(export.run(&config, "akamai", &[]), (Some(0), String::new()));
    assert_eq!(export.written()[0].1, "https://b.example.net/b.gif?source=akamai_503");
    std::fs::write(pages.join("en.html"), "{{beacon}}[{{request_id}}]").unwrap();
    let (code, said) = export.run(&config, "akamai", &[]);
    assert!(
        code == Some(0) && said.contains("the page en shows {{request_id}}, and akamai has nothing to put there"),
        "{said}"
    );
    std::fs::write(pages.join("en.html"), "{{beacon}}{{#request_id}}").unwrap();
    let (code, said) = export.run(&config, "akamai", &[]);
    assert!(code == Some(1) && said.contains("{{#request_id}} has no end") && said.contains("en.html:1:11"), "{said}");
}

#[test]
fn fastly_puts_its_server_and_the_requests_id_into_the_page() {
    let export = Export::new();
    let (code, said) = export.run(Export::CDN, "akamai", &["--format", "vcl"]);
    assert!(code == Some(1) && said.contains("\"akamai\" is of kind akamai, which runs no VCL"), "{said}");
    assert_eq!(export.run(Export::CDN, "fastly", &["--format", "vcl", "--status", "502"]), (Some(0), String::new()));
    let written = export.written();
    let [(name, vcl)] = &written[..] else { panic!("{written:?}") };
    assert_eq!(name, "whoopsie.vcl");
    assert!(vcl.contains("if (obj.status == 502) {\n") && vcl.contains("HTTP 502\n"), "{vcl}");
    let beacon = "src=\"https://b.example.net/b.gif?source=fastly_502&amp;server_identity=\"page} server.identity \
                  {page\"&amp;id=\"page} var.headwater_reference {page\"\" width=";
    assert_eq!(vcl.matches(beacon).count(), 11);
    assert_eq!(vcl.matches("<code translate=\"no\">\"page} var.headwater_reference {page\"</code>").count(), 11);
    assert_eq!(vcl.matches("synthetic {page\"<!DOCTYPE html>").count(), 11);
    assert!(vcl.len() < 1 << 20, "a snippet is 1 MB at most, and this one is {}", vcl.len());
}
