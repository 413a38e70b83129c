use super::*;
use crate::figures::{EDGE_BYTES, EDGE_REQUESTS};
use crate::service::now;
use crate::store::Key;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

const PATIENCE: Duration = Duration::from_secs(20);

/// Debian's Prometheus, which takes remote write.
struct Prometheus {
    child: Child,
    address: String,
    folder: tempfile::TempDir,
}

impl Prometheus {
    async fn start() -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("prometheus.yml"), "global: {}\n").unwrap();
        let address = format!("127.0.0.1:{port}");
        let child = Self::run(&folder, &address);
        let prometheus = Self { child, address, folder };
        prometheus.wait().await;
        prometheus
    }

    fn run(folder: &tempfile::TempDir, address: &str) -> Child {
        let program = "/usr/bin/prometheus";
        assert!(std::path::Path::new(program).exists(), "{program} is missing: run tests/tools.sh");
        Command::new(program)
            .current_dir(folder.path())
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--web.enable-remote-write-receiver"])
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    async fn wait(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.get("/-/ready").await.is_err() {
            assert!(Instant::now() < deadline, "Prometheus did not start");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn get(&self, target: &str) -> Result<serde_json::Value, VendorError> {
        let request = Request::get(format!("http://{}{target}", self.address)).body(Full::default()).unwrap();
        let answer = headwater_vendors::Client::new().unwrap().ask(request).await?;
        Ok(serde_json::from_slice(answer.body()).unwrap_or_default())
    }

    /// Every raw sample of a query like `name[1h]`.
    async fn samples(&self, query: &str, at: i64) -> Vec<(i64, f64)> {
        let query = query.replace('{', "%7B").replace('}', "%7D").replace('"', "%22");
        let answer = self.get(&format!("/api/v1/query?query={query}&time={at}")).await.unwrap();
        let values = answer["data"]["result"][0]["values"].as_array().cloned().unwrap_or_default();
        let sample = |value: &serde_json::Value| {
            (value[0].as_f64().unwrap() as i64, value[1].as_str().unwrap().parse().unwrap())
        };
        values.iter().map(sample).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn context(folder: &tempfile::TempDir) -> Context {
    let store = folder.path().join("history.db");
    let text = format!(
        "[origin]\nservers = [\"127.0.0.1:8000\"]\n[control]\nstore = \"{}\"\n\
         [[cdn]]\nname = \"fastly\"\nkind = \"fastly\"\nnetworks = [\"192.0.2.0/24\"]\n",
        store.display()
    );
    Context::open(headwater_config::from_text("test", &text).0.unwrap()).unwrap()
}

/// Minutes `from..until` after `begin` with 100 requests each, all settled.
async fn settle(context: &Context, begin: i64, minutes: std::ops::Range<i64>) {
    let mut batch = Batch::default();
    for minute in minutes.clone() {
        batch.set(Key::new(EDGE_REQUESTS, "fastly", "shop"), begin + minute * 60, 100.0);
        batch.set(Key::new(EDGE_BYTES, "fastly", "shop"), begin + minute * 60, 1e6);
    }
    batch.checkpoint("edge_settled/fastly", Some((begin + minutes.end * 60).to_string()));
    context.store.write(batch).await.unwrap();
}

#[tokio::test]
async fn an_outage_of_prometheus_is_made_up_for_once_and_in_order() {
    let mut prometheus = Prometheus::start().await;
    let folder = tempfile::tempdir().unwrap();
    let context = context(&folder);
    let url = format!("http://{}/api/v1/write", prometheus.address);
    let begin = (now() / 60 - 30) * 60;
    let send = || one(&context, &url, "fastly");

    settle(&context, begin, 0..1).await;
    let mut batch = Batch::default();
    Total { until: begin, ..Total::default() }.write(&mut batch, totals::name("fastly"));
    context.store.write(batch).await.unwrap();
    assert_eq!(send().await, Ok(0), "the mark is set where /metrics stands");
    assert_eq!(send().await, Ok(1));
    settle(&context, begin, 1..5).await;
    assert_eq!(send().await, Ok(4));

    prometheus.child.kill().unwrap();
    prometheus.child.wait().unwrap();
    settle(&context, begin, 5..20).await;
    assert!(send().await.is_err());
    prometheus.child = Prometheus::run(&prometheus.folder, &prometheus.address);
    prometheus.wait().await;
    // The end of this process between the answer and the mark: the same is sent again.
    let old = context.store.read(|reader| reader.checkpoint(&mark("fastly"))).await.unwrap();
    assert_eq!(send().await, Ok(15));
    let mut batch = Batch::default();
    batch.checkpoint(mark("fastly"), old);
    context.store.write(batch).await.unwrap();
    assert_eq!(send().await, Ok(15));
    assert_eq!(send().await, Ok(0));

    let expected: Vec<_> = (1..=20).map(|n| (begin + n * 60, n as f64 * 100.0)).collect();
    let samples = prometheus.samples("headwater_edge_requests_total{cdn=\"fastly\"}[1h]", now()).await;
    assert_eq!(samples, expected);
    let bytes = prometheus.samples("headwater_edge_bytes_total{cdn=\"fastly\"}[1h]", now()).await;
    assert_eq!(bytes.last(), Some(&(begin + 1200, 2e7)));
    assert!(prometheus.samples("headwater_edge_hits_total[1h]", now()).await.is_empty(), "nobody told of hits");
}
