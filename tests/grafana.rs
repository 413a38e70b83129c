//! The dashboard for Grafana that we hand out: every expression of it is asked of a real Prometheus that reads a proxy and a
//! control plane, and draws something.

use headwater_control::figures::{EDGE_5XX, EDGE_HITS, EDGE_MISSES, EDGE_ORIGIN_REQUESTS, EDGE_REQUESTS, PULLS};
use headwater_control::store::{Batch, Key, Store};
use headwater_testkit::{FASTLY, Headwater, Origin, Then, get, needs, wait_until};
use serde_json::Value;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

/// A process that ends with the test.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An hour of what a vendor tells of its edge, settled.
fn fill(store: &Path) {
    let keep = headwater_config::Keep {
        minutes: Duration::from_secs(40 * 86_400),
        hours: Duration::from_secs(400 * 86_400),
        days: Duration::from_secs(3650 * 86_400),
    };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64;
    let settled = now.div_euclid(60) * 60 - 600;
    let mut batch = Batch::default();
    for at in (settled - 3600..settled).step_by(60) {
        for (figure, count) in [
            (EDGE_REQUESTS, 1000.0),
            (EDGE_HITS, 900.0),
            (EDGE_MISSES, 100.0),
            (EDGE_5XX, 1.0),
            (EDGE_ORIGIN_REQUESTS, 60.0),
        ] {
            batch.set(Key::new(figure, "fastly", "www"), at, count);
        }
        batch.set(Key::new(PULLS, "fastly", ""), at, 50.0);
    }
    batch.checkpoint("edge_settled/fastly", Some(settled.to_string()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = Store::open(store, keep).unwrap();
    runtime.block_on(store.write(batch)).unwrap();
}

fn ask(prometheus: std::net::SocketAddr, expression: &str) -> Value {
    let query: String = expression.bytes().map(|b| format!("%{b:02X}")).collect();
    let answer = get(prometheus, &format!("/api/v1/query?query={query}"), &[]);
    serde_json::from_slice(&answer.body).unwrap_or_default()
}

#[test]
fn every_panel_draws_something_from_a_real_prometheus() {
    needs("/usr/bin/prometheus", "prometheus");
    let origin = Origin::with(|request, stream| {
        let text = "x".repeat(2000);
        let answer = match request.target.as_str() {
            "/bad" => "nonsense\r\n\r\n".to_string(),
            _ => format!("HTTP/1.1 200 OK\r\nContent-Type: text/css\r\nContent-Length: 2000\r\n\r\n{text}"),
        };
        let _ = stream.write_all(answer.as_bytes());
        Then::Keep
    });
    let proxy = Headwater::start(&format!("{}{FASTLY}", origin.config()));
    let folder = proxy.folder();
    let store = folder.join("history.db");
    fill(&store);
    let control_port = free();
    let prometheus_port = free();
    let control = Command::new(headwater_testkit::binary())
        .args(["control", "-c", proxy.config_path().to_str().unwrap()])
        .args(["--set", &format!("control.store=\"{}\"", store.display())])
        .args(["--set", &format!("control.listen=\"{control_port}\"")])
        .args(["--set", &format!("control.proxies=[\"{}\"]", proxy.admin)])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let _control = Ends(control.unwrap());
    let jobs = format!(
        "global: {{ scrape_interval: 1s }}\nscrape_configs:\n\
         - {{ job_name: headwater, static_configs: [{{ targets: [\"{}\"] }}] }}\n\
         - {{ job_name: headwater-control, static_configs: [{{ targets: [\"{control_port}\"] }}] }}\n",
        proxy.admin
    );
    std::fs::write(folder.join("prometheus.yml"), jobs).unwrap();
    let prometheus = Command::new("/usr/bin/prometheus")
        .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("prometheus").display()))
        .arg(format!("--web.listen-address={prometheus_port}"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let _prometheus = Ends(prometheus.unwrap());
    wait_until("Prometheus listens", || std::net::TcpStream::connect(prometheus_port).is_ok());

    let dashboard = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/grafana.json");
    let dashboard: Value = serde_json::from_slice(&std::fs::read(dashboard).unwrap()).unwrap();
    let targets = dashboard["panels"].as_array().unwrap().iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let mut waiting: Vec<String> = targets.map(|target| target["expr"].as_str().unwrap().to_string()).collect();
    assert!(waiting.len() >= 18, "only {} expressions", waiting.len());
    let mut refused = Vec::new();
    let fastly = ("X-CDN-Provider", "fastly");
    let deadline = std::time::Instant::now() + Duration::from_secs(90);
    while !waiting.is_empty() && std::time::Instant::now() < deadline {
        get(proxy.http, "/a.css", &[fastly, ("Accept-Encoding", "gzip")]);
        get(proxy.http, "/bad", &[fastly]);
        get(proxy.http, "/status/images/beacon.gif?source=fastly_503", &[]);
        waiting.retain(|expression| {
            // As Grafana fills them in.
            let asked = expression.replace("$__rate_interval", "1m").replace("$cdn", ".*");
            let answer = ask(prometheus_port, &asked);
            if answer["status"] == "error" {
                refused.push(format!("{expression}: {}", answer["error"]));
            }
            let found = answer["data"]["result"].as_array().is_some_and(|found| {
                found.iter().any(|series| series["value"][1].as_str().is_some_and(|value| value != "NaN"))
            });
            !found
        });
        assert!(refused.is_empty(), "{refused:#?}");
        std::thread::sleep(Duration::from_millis(500));
    }
    assert!(waiting.is_empty(), "these draw nothing: {waiting:#?}");
}

fn free() -> std::net::SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
