//! What browsers send, read by what it holds, and counted over loopback.

use super::beacon::{Beacon, read};
use super::{Timing, percentiles, shares};
use crate::Service;
use crate::figures;
use crate::service::now;
use crate::store::{Step, Store};
use headwater_config::Keep;
use proptest::prelude::*;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);
const KEEP: Keep =
    Keep { minutes: DAY.saturating_mul(40), hours: DAY.saturating_mul(400), days: DAY.saturating_mul(3650) };

fn one(query: &str, body: &str) -> Beacon {
    let mut all = read(query, body.as_bytes()).unwrap_or_else(|why| panic!("{query} {body}: {why}"));
    assert_eq!(all.len(), 1, "{body}");
    all.remove(0)
}

fn page(cdn: Option<&str>, values: &[(Timing, f64)]) -> Beacon {
    Beacon { cdn: cdn.map(str::to_string), page: true, values: values.to_vec(), ..Beacon::default() }
}

#[test]
fn a_page_of_boomerang_is_read_from_a_query_and_from_a_form() {
    // The parameters of a page load as boomerang's documentation lists them.
    let told = "v=1.815.1&rt.start=navigation&rt.tstart=1795413600000&rt.end=1795413602345&t_resp=145&t_page=2200&t_done=2345\
                &t_other=boomerang%7C5%2Cboomr_fb%7C300&nt_nav_st=1795413600000&nt_res_st=1795413600145&nt_load_end=1795413602300\
                &pt.fp=500&pt.fcp=512&pt.lcp=1800&u=https%3A%2F%2Fwww.example.com%2F%3Ft_done%3D1&cdn=fastly&pid=x1y2";
    let values = [(Timing::Ttfb, 0.145), (Timing::Load, 2.345), (Timing::Fcp, 0.512), (Timing::Lcp, 1.8)];
    assert_eq!(one(told, ""), page(Some("fastly"), &values));
    assert_eq!(one("", &format!("{told}&sb=1")), page(Some("fastly"), &values));
    let navigation_timing = "nt_nav_st=1795413600000&nt_res_st=1795413600145&nt_load_end=1795413602300&v=1";
    assert_eq!(one(navigation_timing, ""), page(None, &[(Timing::Ttfb, 0.145), (Timing::Load, 2.3)]));
}

#[test]
fn what_is_no_page_load_is_no_page_load_of_boomerang() {
    for (told, expected) in [
        ("http.initiator=xhr&t_done=90&v=1", Beacon::default()),
        ("http.initiator=bfcache&t_done=9&t_resp=0&pt.fcp=9&v=1", Beacon::default()),
        ("http.initiator=xhr&http.errno=503&t_done=90&v=1", Beacon { error: true, ..Beacon::default() }),
        ("http.errno=-998&v=1", Beacon { error: true, ..Beacon::default() }),
        ("early=1&t_done=500&v=1", Beacon::default()),
        ("rt.quit&rt.quit=&rt.abld=1&t_done=90000&v=1", Beacon { page: true, ..Beacon::default() }),
        (
            "rt.quit=&et.inp=200&c.cls=0.05&t_done=90000&v=1",
            Beacon { values: vec![(Timing::Inp, 0.2), (Timing::Cls, 0.05)], ..Beacon::default() },
        ),
        ("t_done=-5&t_resp=soon&v=1", Beacon { page: true, absurd: 2, ..Beacon::default() }),
    ] {
        assert_eq!(one(told, ""), expected, "{told}");
    }
}

#[test]
fn web_vitals_are_read_one_by_one_and_together_and_each_counts_once() {
    let vital = |name: &str, value: f64, delta: f64, kind: &str| {
        format!(
            r#"{{"name":"{name}","value":{value},"delta":{delta},"id":"v5-1","rating":"good","navigationType":"{kind}","cdn":"akamai"}}"#
        )
    };
    let (ttfb, lcp, cls) = (
        vital("TTFB", 80.5, 80.5, "navigate"),
        vital("LCP", 2500.0, 2500.0, "navigate"),
        vital("CLS", 0.0, 0.0, "reload"),
    );
    assert_eq!(one("", &ttfb), page(Some("akamai"), &[(Timing::Ttfb, 0.0805)]));
    let all = read("", format!("[{ttfb},{lcp},{cls}]").as_bytes()).unwrap();
    assert_eq!(all.iter().filter(|beacon| beacon.page).count(), 1);
    assert_eq!(all[1].values, [(Timing::Lcp, 2.5)]);
    assert_eq!(all[2].values, [(Timing::Cls, 0.0)]);
    for uncounted in [
        vital("CLS", 0.3, 0.1, "navigate"),
        vital("TTFB", 0.0, 0.0, "back-forward-cache"),
        vital("FID", 3.0, 3.0, "navigate"),
    ] {
        let found = one("", &uncounted);
        assert!(found.values.is_empty() && !found.page, "{uncounted}");
    }
    assert_eq!(one("cdn=fastly", r#"{"name":"INP","value":96}"#).cdn.as_deref(), Some("fastly"));
}

#[test]
fn our_own_pages_say_all_at_once() {
    let told = r#" {"cdn":"fastly","ttfb":120.5,"fcp":300,"lcp":900.5,"inp":null,"load":1500,"cls":0.02} "#;
    let values = [0.1205, 0.3, 0.9005, 1.5, 0.02];
    let timings = [Timing::Ttfb, Timing::Fcp, Timing::Lcp, Timing::Load, Timing::Cls];
    assert_eq!(one("", told), page(Some("fastly"), &timings.into_iter().zip(values).collect::<Vec<_>>()));
    assert_eq!(one("", r#"{"cdn":"","error":true}"#), Beacon { error: true, ..Beacon::default() });
    assert!(!one("", r#"{"inp":80,"page":false}"#).page);
    assert_eq!(one("", r#"{"lcp":"fast","cls":-1,"ttfb":700000}"#).absurd, 3);
}

#[test]
fn junk_is_told_from_timings() {
    let many = format!("[{}]", vec![r#"{"lcp":1}"#; 51].join(","));
    let deep = "[".repeat(60_000);
    for junk in ["{", "[]", "[1]", "{}", "[[]]", "x", "a=b&c=d", "\u{1}\u{2}", "{\"a\":1}", &many, &deep, "=&=&&"] {
        assert!(read("", junk.as_bytes()).is_err(), "{junk:.20}");
    }
    assert!(read("", b"v=1&\xff\xfe").is_err() && read("", b"").is_err());
}

proptest! {
    #[test]
    fn no_text_makes_it_fail_and_none_makes_an_absurd_value(query in "\\PC{0,80}", body in prop::collection::vec(any::<u8>(), 0..200)) {
        for beacon in read(&query, &body).unwrap_or_default() {
            prop_assert!(beacon.values.iter().all(|(_, value)| (0.0..=600.0).contains(value)));
        }
    }

    #[test]
    fn a_time_is_kept_as_it_was_told_or_refused(told in prop::num::f64::ANY, form: bool) {
        let beacon = match form {
            true => one("", &format!("v=1&t_done={told}")),
            false => one("", &format!("{{\"load\":{}}}", serde_json::json!(told).to_string().replace("null", "\"x\""))),
        };
        if (0.0..=600_000.0).contains(&told) {
            let (timing, kept) = beacon.values[0];
            // JSON's numbers are read to the last bit but a few.
            prop_assert!(timing == Timing::Load && (kept - told / 1000.0).abs() <= kept * 1e-9 + f64::MIN_POSITIVE, "{} {}", told, kept);
        } else {
            prop_assert_eq!((beacon.values.len(), beacon.absurd), (0, 1));
        }
    }

    #[test]
    fn shapes_near_to_those_that_are_known_are_read_or_refused(
        keys in prop::collection::vec("name|value|delta|cdn|ttfb|lcp|cls|page|error|navigationType", 0..6),
        values in prop::collection::vec("null|true|-?[0-9]{1,9}|\"(LCP|TTFB|a)?\"|\\[\\]|\\{\\}", 6),
    ) {
        let members: Vec<String> = keys.iter().zip(&values).map(|(key, value)| format!("\"{key}\":{value}")).collect();
        let _ = read("cdn=x", format!("{{{}}}", members.join(",")).as_bytes());
    }
}

/// A control plane that runs until it is dropped or ended.
struct Running {
    address: SocketAddr,
    end: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
    store: std::path::PathBuf,
    folder: tempfile::TempDir,
}

const PROVIDERS: &str = "[origin]\nservers = [\"a:1\"]\n\
    [[cdn]]\nname = \"fastly\"\nkind = \"fastly\"\nnetworks = [\"fastly\"]\n\
    [[cdn]]\nname = \"akamai\"\nkind = \"akamai\"\nnetworks = [\"192.0.2.0/24\"]\n\
    [listen]\nadmin = \"127.0.0.1:9180\"\n";

impl Running {
    fn start(rum: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("history.db");
        let data = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/countries.mmdb");
        let text = format!(
            "{PROVIDERS}[control]\nlisten = \"127.0.0.1:0\"\nstore = \"{}\"\n[geo]\ndatabase = \"{data}\"\n[rum]\npath = \"/rum\"\n{rum}\n",
            store.display()
        );
        let (policy, mistakes) = headwater_config::from_text("t", &text);
        let policy = policy.unwrap_or_else(|| panic!("{}", mistakes[0]));
        let service = Service::open(policy).unwrap();
        let address = service.addresses().unwrap().0;
        let (end, ended) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            runtime.block_on(service.run(async move { drop(ended.await) })).unwrap();
        });
        Self { address, end: Some(end), thread: Some(thread), store, folder }
    }

    /// One exchange; the answer's head and body.
    fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: rum.example\r\nConnection: close\r\n");
        headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
        if method == "POST" {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        // A refusal may come before all of the body is sent.
        let _ = stream.write_all(&[format!("{head}\r\n").as_bytes(), body].concat());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn post(&self, headers: &[(&str, &str)], body: &str) -> String {
        self.ask("POST", "/rum", headers, body.as_bytes())
    }

    /// Ends it, and opens what it has written.
    fn end(mut self) -> (Store, tempfile::TempDir) {
        drop(self.end.take());
        self.thread.take().unwrap().join().unwrap();
        (Store::open(&self.store, KEEP).unwrap(), self.folder)
    }
}

fn asked<T: Send + 'static>(
    store: &Store,
    question: impl FnOnce(&crate::store::Reader<'_>) -> Result<T, crate::ControlError> + Send + 'static,
) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(store.read(question)).unwrap()
}

fn window() -> (i64, i64) {
    (now() - 600, now() + 60)
}

fn refused(store: &Store) -> Vec<(String, f64)> {
    let found = asked(store, |reader| reader.points(figures::USER_REFUSED, None, window(), Step::Minute));
    found.into_iter().map(|series| (series.label, series.points.iter().map(|(_, n)| n).sum())).collect()
}

#[test]
fn what_browsers_tell_is_found_by_provider_and_by_country() {
    let running = Running::start("trusted_from = [\"127.0.0.0/8\"]");
    for (user, cdn, lcp, times) in
        [("192.0.2.1", "fastly", 1000, 30), ("198.51.100.1", "FASTLY", 3000, 10), ("192.0.2.2", "akamai", 500, 10)]
    {
        for _ in 0..times {
            let body = format!(r#"{{"cdn":"{cdn}","lcp":{lcp}}}"#);
            assert!(running.post(&[("X-Forwarded-For", user)], &body).starts_with("HTTP/1.1 204"));
        }
    }
    assert!(running.post(&[], r#"{"cdn":"nobody","lcp":1}"#).starts_with("HTTP/1.1 204"));
    let gif = running.ask("GET", "/rum?t_done=2000&v=1", &[], b"");
    assert!(gif.starts_with("HTTP/1.1 200") && gif.contains("image/gif") && gif.contains("GIF89a"), "{gif}");
    assert!(gif.contains("cache-control: no-store"), "{gif}");
    // The last ten seconds are written at the end.
    let (store, _folder) = running.end();
    let lcp = |cdn: &'static str, country: Option<&'static str>| {
        asked(&store, move |reader| percentiles(reader, Timing::Lcp, Some(cdn), country, window()))
    };
    let near = |found: f64, exact: f64| (found / exact - 1.0).abs() < 0.011;
    let all = lcp("fastly", None).unwrap();
    assert!(all.n == 40 && near(all.p50, 1.0) && near(all.p95, 3.0), "{all:?}");
    let japan = lcp("fastly", Some("JP")).unwrap();
    assert!(japan.n == 10 && near(japan.p50, 3.0), "{japan:?}");
    assert_eq!(lcp("akamai", Some("JP")), None, "what is unknown is absent");
    let all = asked(&store, |reader| shares(reader, None, window()));
    let all: Vec<_> = all.iter().map(|share| (share.cdn.as_str(), share.pages)).collect();
    assert_eq!(all, [("akamai", 10.0), ("fastly", 40.0), ("other", 1.0), ("untagged", 1.0)]);
    let germany = asked(&store, |reader| shares(reader, Some("DE"), window()));
    assert_eq!(germany.iter().map(|share| share.share).collect::<Vec<_>>(), [0.25, 0.75]);
}

#[test]
fn the_api_tells_what_was_written() {
    let running = Running::start("");
    running.post(&[], r#"{"cdn":"fastly","ttfb":100}"#);
    let deadline = std::time::Instant::now() + Duration::from_secs(40);
    loop {
        let told = running.ask("GET", "/api/users?window=10m", &[], b"");
        let body = told.split("\r\n\r\n").nth(1).unwrap_or_default();
        let value: serde_json::Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{told}"));
        if value["cdn"]["fastly"]["ttfb"]["n"] == 1 {
            assert_eq!(value["cdn"]["fastly"]["share"], 1.0);
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{told}");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(running.ask("GET", "/api/users?window=x", &[], b"").starts_with("HTTP/1.1 400"));
}

#[test]
fn a_page_of_another_site_is_refused_and_ones_own_may_ask_first() {
    let running = Running::start("hosts = [\"www.example.com\"]");
    let own = [("Origin", "https://www.example.com")];
    let asks = [own[0], ("Access-Control-Request-Method", "POST"), ("Access-Control-Request-Headers", "content-type")];
    let preflight = running.ask("OPTIONS", "/rum", &asks, b"");
    for line in [
        "HTTP/1.1 204",
        "access-control-allow-origin: https://www.example.com",
        "access-control-allow-credentials: true",
        "access-control-allow-headers: content-type",
        "access-control-allow-methods: POST",
        "cache-control: no-store",
        "vary: Origin",
    ] {
        assert!(preflight.contains(line), "{line}: {preflight}");
    }
    let foreign = [("Origin", "https://evil.example")];
    assert!(!running.ask("OPTIONS", "/rum", &foreign, b"").contains("access-control-allow"));
    assert!(running.post(&foreign, r#"{"lcp":1}"#).starts_with("HTTP/1.1 403"));
    assert!(running.post(&own, r#"{"lcp":1}"#).contains("access-control-allow-origin: https://www.example.com"));
    assert!(running.ask("DELETE", "/rum", &own, b"").starts_with("HTTP/1.1 405"));
    let (store, _folder) = running.end();
    assert_eq!(refused(&store), [("origin".to_string(), 1.0)]);
}

#[test]
fn junk_and_huge_bodies_and_floods_are_refused_and_counted() {
    let running = Running::start("trusted_from = [\"127.0.0.0/8\"]\nnetwork_rate = 20\n");
    assert!(running.post(&[], "what is this").starts_with("HTTP/1.1 400"));
    assert!(running.post(&[], &format!("{{\"x\":\"{}\"}}", "x".repeat(70_000))).starts_with("HTTP/1.1 413"));
    assert!(running.post(&[], r#"{"lcp":-5,"ttfb":20}"#).starts_with("HTTP/1.1 204"));
    let flood = (0..200).map(|_| running.post(&[("X-Forwarded-For", "192.0.2.1")], r#"{"lcp":900}"#));
    let refusals = flood.filter(|answer| answer.starts_with("HTTP/1.1 429")).count();
    assert!(refusals > 0, "200 of one network within seconds, and 20 a second may come");
    let neighbour = running.post(&[("X-Forwarded-For", "198.51.100.1")], r#"{"lcp":900}"#);
    assert!(neighbour.starts_with("HTTP/1.1 204"), "{neighbour}");
    let (store, _folder) = running.end();
    let counted = refused(&store);
    for (reason, times) in [("absurd", 1.0), ("large", 1.0), ("malformed", 1.0), ("rate", refusals as f64)] {
        assert!(counted.contains(&(reason.to_string(), times)), "{reason} {times}: {counted:?}");
    }
}

#[test]
fn a_sample_stands_for_all_pages() {
    let running = Running::start("sample = 0.25");
    for _ in 0..400 {
        running.post(&[], r#"{"cdn":"fastly","lcp":900}"#);
    }
    let (store, _folder) = running.end();
    let pages = asked(&store, |reader| shares(reader, None, window()))[0].pages;
    let lcp = asked(&store, |reader| percentiles(reader, Timing::Lcp, None, None, window())).unwrap();
    // Ten standard deviations of the binomial distribution to either side.
    assert!((13..=187).contains(&lcp.n) && pages == lcp.n as f64 * 4.0, "{pages} pages, {} values", lcp.n);
}
