//! Deliveries over real sockets, as vendors make them and as nobody should.

use super::*;
use crate::Service;
use crate::figures::{EDGE_2XX, EDGE_5XX, EDGE_BYTES, EDGE_HITS, EDGE_MISSES, EDGE_REQUESTS, EDGE_SAMPLING, Figure};
use crate::store::Step;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn config(folder: &Path) -> String {
    let mut text = format!(
        "[origin]\nservers = [\"127.0.0.1:1\"]\n[control]\nlisten = \"127.0.0.1:0\"\nstore = \"{}\"\n",
        folder.join("history.db").display()
    );
    for (name, kind, more) in [
        ("fastly", "fastly", "services = [\"SU1Z0isxPaozGVKXdv0eY\"]"),
        ("cf", "cloudflare", ""),
        ("akamai", "akamai", "fields = [\"reqId\", \"reqTimeSec\", \"statusCode\", \"totalBytes\", \"cacheStatus\"]"),
        (
            "front",
            "cloudfront",
            "fields = [\"timestamp\", \"sc-status\", \"sc-bytes\", \"x-edge-result-type\", \"x-edge-request-id\"]",
        ),
        ("own", "generic", "fields = [\"time=ts\"]"),
        ("some", "generic", "sampled = 0.1"),
        ("small", "generic", "max_body = \"1 KiB\"\nmax_text = \"64 KiB\""),
    ] {
        text += &format!(
            "[[cdn]]\nname = \"{name}\"\nkind = \"{kind}\"\nnetworks = [\"192.0.2.0/24\"]\n[cdn.logs]\ntoken = \"{TOKEN}\"\n{more}\n"
        );
    }
    text + "[[cdn]]\nname = \"bare\"\nkind = \"generic\"\nnetworks = [\"192.0.2.0/24\"]\n"
}

/// A control plane that serves.
struct Control {
    address: SocketAddr,
    store: Store,
    end: oneshot::Sender<()>,
    running: tokio::task::JoinHandle<()>,
}

impl Control {
    fn start(folder: &Path) -> Self {
        let (policy, mistakes) = headwater_config::from_text("t", &config(folder));
        let service = Service::open(policy.unwrap_or_else(|| panic!("{}", mistakes[0]))).unwrap();
        let address = service.addresses().unwrap().0;
        let store = service.store();
        let (end, ended) = oneshot::channel();
        let running = tokio::spawn(async move { service.run(async { drop(ended.await) }).await.unwrap() });
        Self { address, store, end, running }
    }

    async fn stop(self) {
        drop(self.end);
        self.running.await.unwrap();
    }

    async fn post(&self, path: &str, headers: &str, body: &[u8]) -> (u16, String) {
        exchange(self.address, "POST", path, headers, body).await.unwrap()
    }

    async fn push(&self, cdn: &str, body: &[u8]) -> (u16, String) {
        self.post(&format!("/ingest/{cdn}"), &format!("Authorization: Bearer {TOKEN}\r\n"), body).await
    }

    /// The sum of a figure over all minutes; `None` where there is none.
    async fn sum(&self, figure: &'static Figure, cdn: &'static str) -> Option<f64> {
        let series =
            self.store.read(move |reader| reader.points(figure, Some(cdn), (0, i64::MAX), Step::Minute)).await.unwrap();
        assert!(series.iter().all(|series| series.label == "stream"));
        series.first().map(|series| series.points.iter().map(|(_, value)| value).sum())
    }

    async fn status(&self) -> serde_json::Value {
        let (_, body) = exchange(self.address, "GET", "/status", "", b"").await.unwrap();
        serde_json::from_str::<serde_json::Value>(&body).unwrap()["log_streams"].clone()
    }
}

async fn exchange(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &[u8],
) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address).await?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: logs\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    );
    // A refusal may come before all of the body was taken.
    let _ = stream.write_all(&[head.as_bytes(), body].concat()).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut answer)).await?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    match status {
        Some(status) => Ok((status, answer.split_once("\r\n\r\n").map(|(_, body)| body.into()).unwrap_or_default())),
        None => Err(read.err().unwrap_or_else(|| std::io::ErrorKind::UnexpectedEof.into())),
    }
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn ray(number: u64, status: u16, cache: &str, source: &str) -> String {
    format!(
        "{{\"EdgeStartTimestamp\":{},\"EdgeResponseStatus\":{status},\"EdgeResponseBytes\":100,\"CacheCacheStatus\":\"{cache}\",\
         \"ClientRequestSource\":\"{source}\",\"RayID\":\"{number:016x}\"}}\n",
        now() - 60
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logpush_is_validated_and_counted_by_the_time_of_its_lines() {
    let folder = tempfile::tempdir().unwrap();
    let control = Control::start(folder.path());
    assert_eq!(control.push("cf", &gzip(b"{\"content\":\"tests\"}")).await.0, 200);
    assert_eq!(control.sum(EDGE_REQUESTS, "cf").await, None, "a trial is no figure");
    let body = [
        ray(1, 200, "hit", "eyeball"),
        ray(2, 200, "miss", "eyeball"),
        ray(3, 503, "dynamic", "eyeball"),
        ray(4, 200, "miss", "edgeWorkerFetch"),
    ]
    .concat();
    let (status, answer) = control.push("cf", &gzip(body.as_bytes())).await;
    assert_eq!((status, answer.trim()), (200, "{\"counted\":3,\"lines\":4}"));
    for (figure, count) in [
        (EDGE_REQUESTS, 3.0),
        (EDGE_HITS, 1.0),
        (EDGE_MISSES, 1.0),
        (EDGE_BYTES, 300.0),
        (EDGE_2XX, 2.0),
        (EDGE_5XX, 1.0),
    ] {
        assert_eq!(control.sum(figure, "cf").await, Some(count), "{}", figure.name);
    }
    let minute = control
        .store
        .read(|reader| reader.points(EDGE_REQUESTS, Some("cf"), (0, i64::MAX), Step::Minute))
        .await
        .unwrap();
    assert!((now() - 180..now() - 59).contains(&minute[0].points[0].0), "the line's minute, not that of its arrival");
    let settled = control.store.read(|reader| reader.checkpoint("edge_settled/cf")).await.unwrap().unwrap();
    assert!((now() - 420..=now() - 300).contains(&settled.parse().unwrap()), "{settled}");
    let status = &control.status().await["cf"];
    assert_eq!((status["counted"].as_u64(), status["shields"].as_u64()), (Some(3), Some(1)));
    control.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn firehose_gets_the_answer_that_it_takes_for_one_and_a_retry_counts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let control = Control::start(folder.path());
    let at = now();
    let record = |id: u32| STANDARD.encode(format!("{at}.123\t200\t50\tHit\tid{id}==\n"));
    let delivery = |attempt: u32| {
        format!(
            "{{\"requestId\":\"ed4acda5\",\"timestamp\":{attempt},\"records\":[{{\"data\":\"{}\"}},{{\"data\":\"{}\"}}]}}",
            record(1),
            record(2)
        )
    };
    let headers = format!("X-Amz-Firehose-Access-Key: {TOKEN}\r\nX-Amz-Firehose-Request-Id: ed4acda5\r\n");
    for attempt in 0..2 {
        let (status, answer) = control.post("/ingest/front", &headers, &gzip(delivery(attempt).as_bytes())).await;
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        assert_eq!((status, &answer["requestId"], answer["errorMessage"].is_null()), (200, &"ed4acda5".into(), true));
        assert!(answer["timestamp"].as_u64().unwrap() > 1_600_000_000_000);
        assert_eq!(control.sum(EDGE_REQUESTS, "front").await, Some(2.0));
    }
    assert_eq!(control.sum(EDGE_HITS, "front").await, Some(2.0));
    let (status, answer) = control.post("/ingest/front", &headers.replace(TOKEN, "wrong"), b"{}").await;
    assert_eq!((status, answer.contains("\"errorMessage\":\"send the token")), (401, true), "{answer}");
    let (status, answer) = control.post("/ingest/front", &headers, b"{\"records\":[]}").await;
    assert_eq!((status, answer.contains("missing field `requestId`")), (400, true), "{answer}");
    assert_eq!(control.status().await["front"]["repeated"], 1);
    control.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_vendors_shape_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let control = Control::start(folder.path());
    let (status, lines) = exchange(control.address, "GET", CHALLENGE, "", b"").await.unwrap();
    let expected = digest::digest(&digest::SHA256, b"SU1Z0isxPaozGVKXdv0eY");
    let hexadecimal: String = expected.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!((status, lines), (200, format!("{hexadecimal}\n")));
    let at = now();
    let line = |id: u32, shield: u32| {
        format!("{{\"time\":{at},\"status\":200,\"bytes\":7,\"cache\":\"HIT\",\"shield\":{shield},\"id\":\"{id}\"}}")
    };
    let fastly = format!("[{},\n{},{}]", line(1, 0), line(1, 1), line(2, 0));
    let headers = format!("authorization: bearer {TOKEN}\r\n");
    let put = exchange(control.address, "PUT", "/ingest/fastly", &headers, fastly.as_bytes());
    assert_eq!(put.await.unwrap().0, 200);
    assert_eq!(control.sum(EDGE_REQUESTS, "fastly").await, Some(2.0));

    let basic = format!("Authorization: Basic {}\r\n", STANDARD.encode(format!("akamai:{TOKEN}")));
    let structured = format!("a1 {at}.5 200 10 1\na2 {at}.6 404 20 0\n");
    assert_eq!(control.post("/ingest/akamai", &basic, &gzip(structured.as_bytes())).await.0, 200);
    assert_eq!(
        (control.sum(EDGE_REQUESTS, "akamai").await, control.sum(EDGE_BYTES, "akamai").await),
        (Some(2.0), Some(30.0))
    );

    let (date, clock) = ("2000-01-01", "00:00:00");
    let file = format!(
        "#Version: 1.0\n#Fields: date time x-edge-result-type sc-status x-edge-request-id\n{date}\t{clock}\tHit\t200\told\n"
    );
    assert_eq!(control.push("front", &gzip(file.as_bytes())).await.0, 200);
    assert_eq!(control.sum(EDGE_REQUESTS, "front").await, None, "it is older than what is kept");
    assert_eq!(control.status().await["front"]["old"], 1);

    let own = format!("{{\"ts\":{at}}}\n{{\"ts\":{}}}\nrubbish\n", at + 3600);
    let path = format!("/ingest/own?token={TOKEN}");
    let query = exchange(control.address, "POST", &path, "", own.as_bytes());
    assert_eq!(query.await.unwrap().0, 200);
    assert_eq!(control.sum(EDGE_REQUESTS, "own").await, Some(1.0));
    assert_eq!(
        (control.sum(EDGE_HITS, "own").await, control.sum(EDGE_2XX, "own").await),
        (None, None),
        "not told is not 0"
    );
    let status = &control.status().await["own"];
    assert_eq!((&status["malformed"], &status["early"]), (&1.into(), &1.into()));

    control.push("some", format!("{{\"time\":{at},\"status\":500}}").as_bytes()).await;
    assert_eq!(
        (control.sum(EDGE_REQUESTS, "some").await, control.sum(EDGE_5XX, "some").await),
        (Some(10.0), Some(10.0))
    );
    assert_eq!(control.sum(EDGE_SAMPLING, "some").await, Some(10.0));
    control.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_has_no_token_and_what_is_no_stream_gets_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let control = Control::start(folder.path());
    let body = ray(1, 200, "hit", "eyeball");
    for (path, headers, status) in [
        ("/ingest/cf", String::new(), 401),
        ("/ingest/cf", "Authorization: Bearer wrong\r\n".into(), 401),
        (&format!("/ingest/cf?token={TOKEN}"), String::new(), 401),
        ("/ingest/bare", format!("Authorization: Bearer {TOKEN}\r\n"), 404),
        ("/ingest/nobody", format!("Authorization: Bearer {TOKEN}\r\n"), 404),
        ("/ingest/", format!("Authorization: Bearer {TOKEN}\r\n"), 404),
        ("/ingest/cf/more", format!("Authorization: Bearer {TOKEN}\r\n"), 404),
    ] {
        assert_eq!(control.post(path, &headers, body.as_bytes()).await.0, status, "{path} {headers}");
    }
    let headers = format!("Authorization: Bearer {TOKEN}\r\n");
    let get = exchange(control.address, "GET", "/ingest/cf", &headers, b"");
    assert_eq!(get.await.unwrap().0, 405);
    assert_eq!(control.sum(EDGE_REQUESTS, "cf").await, None);
    assert_eq!(control.status().await["cf"]["denied"], 3);
    control.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bombs_halves_and_giants_are_refused_whole() {
    let folder = tempfile::tempdir().unwrap();
    let control = Control::start(folder.path());
    let line = format!("{{\"time\":{},\"status\":200}}\n", now());
    // `small` takes 1 KiB as it comes, and 64 KiB without compression.
    let bomb = gzip(&vec![b' '; 70 << 10]);
    assert!(bomb.len() < 1024, "{}", bomb.len());
    let (status, why) = control.push("small", &bomb).await;
    assert_eq!((status, why.contains("without compression")), (413, true), "{why}");
    assert_eq!(control.push("small", line.repeat(100).as_bytes()).await.0, 413);
    let whole = gzip([line.as_str(), &ray(9, 200, "hit", "eyeball").repeat(50)].concat().as_bytes());
    for cut in [11, whole.len() / 2, whole.len() - 1] {
        assert_eq!(control.push("own", &whole[..cut]).await.0, 400, "gzip that ends after {cut} bytes");
    }
    assert_eq!(control.push("own", &[whole.as_slice(), b"\x1f\x8brubbish"].concat()).await.0, 400);
    // Half of what Content-Length says, and then nobody.
    let mut stream = TcpStream::connect(control.address).await.unwrap();
    let head = format!(
        "POST /ingest/cf HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 999999\r\n\r\n"
    );
    stream.write_all([head, ray(1, 200, "hit", "eyeball")].concat().as_bytes()).await.unwrap();
    drop(stream);
    for _ in 0..600 {
        if control.status().await["cf"]["refused"] == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let status = control.status().await;
    assert_eq!(
        (&status["cf"]["refused"], &status["small"]["refused"], &status["own"]["refused"]),
        (&1.into(), &2.into(), &4.into())
    );
    for cdn in ["cf", "small", "own"] {
        assert_eq!(control.sum(EDGE_REQUESTS, cdn).await, None, "{cdn}");
    }
    // Members one after the other are one gzip (RFC 1952, section 2.2).
    let members =
        [gzip(ray(1, 200, "hit", "eyeball").as_bytes()), gzip(ray(2, 200, "hit", "eyeball").as_bytes())].concat();
    assert_eq!(control.push("cf", &members).await.0, 200);
    assert_eq!(control.sum(EDGE_REQUESTS, "cf").await, Some(2.0));
    control.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_and_a_restart_double_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let control = Control::start(folder.path());
    let body = [ray(1, 200, "hit", "eyeball"), ray(2, 200, "hit", "eyeball")].concat();
    // The vendor hangs up as soon as it has sent everything.
    let mut stream = TcpStream::connect(control.address).await.unwrap();
    let head = format!(
        "POST /ingest/cf HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all([head, body.clone()].concat().as_bytes()).await.unwrap();
    drop(stream);
    assert_eq!(control.push("cf", body.as_bytes()).await.0, 200);
    assert_eq!(control.sum(EDGE_REQUESTS, "cf").await, Some(2.0));
    control.stop().await;
    let control = Control::start(folder.path());
    assert_eq!(control.push("cf", &gzip(body.as_bytes())).await.1.trim(), "{\"counted\":0,\"lines\":2}");
    // Other lines around one that was counted: another batch, the same request.
    let mixed = [ray(2, 200, "hit", "eyeball"), ray(3, 200, "hit", "eyeball"), ray(3, 200, "hit", "eyeball")].concat();
    assert_eq!(control.push("cf", mixed.as_bytes()).await.1.trim(), "{\"counted\":1,\"lines\":3}");
    assert_eq!(control.sum(EDGE_REQUESTS, "cf").await, Some(3.0));
    let status = &control.status().await["cf"];
    assert_eq!((&status["repeated"], &status["duplicates"]), (&1.into(), &2.into()));
    control.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_at_one_time_are_each_counted_once() {
    let folder = tempfile::tempdir().unwrap();
    let control = Control::start(folder.path());
    let mut deliveries = tokio::task::JoinSet::new();
    for number in 0..40 {
        // Each comes twice, and overlaps its neighbours.
        let body: String = (number / 2 * 5..number / 2 * 5 + 10).map(|line| ray(line, 200, "hit", "eyeball")).collect();
        let address = control.address;
        deliveries.spawn(async move {
            let headers = format!("Authorization: Bearer {TOKEN}\r\n");
            exchange(address, "POST", "/ingest/cf", &headers, &gzip(body.as_bytes())).await.unwrap().0
        });
    }
    assert!(deliveries.join_all().await.into_iter().all(|status| status == 200));
    assert_eq!(control.sum(EDGE_REQUESTS, "cf").await, Some(105.0));
    control.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_fails_makes_the_vendor_send_again() {
    let folder = tempfile::tempdir().unwrap();
    let control = Control::start(folder.path());
    let body = ray(1, 200, "hit", "eyeball");
    let other = rusqlite::Connection::open(folder.path().join("history.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (status, why) = control.push("cf", body.as_bytes()).await;
    assert_eq!((status, why.trim()), (503, "the store fails; send this again"));
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(control.push("cf", body.as_bytes()).await.1.trim(), "{\"counted\":1,\"lines\":1}");
    assert_eq!(control.sum(EDGE_REQUESTS, "cf").await, Some(1.0));
    assert_eq!(control.status().await["cf"]["failed"], 1);
    control.stop().await;
}

/// The name of the variable that makes a run of the next test a control plane in a process of its own.
const CHILD: &str = "HEADWATER_TEST_INGEST_CHILD";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_moment_neither_loses_nor_doubles_a_line() {
    if let Ok(folder) = std::env::var(CHILD) {
        let control = Control::start(Path::new(&folder));
        let written = Path::new(&folder).join("address.new");
        std::fs::write(&written, control.address.to_string()).unwrap();
        std::fs::rename(written, Path::new(&folder).join("address")).unwrap();
        return std::future::pending().await;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("address");
    let start = || {
        let _ = std::fs::remove_file(&path);
        let name = "ingest::tests::a_kill_at_any_moment_neither_loses_nor_doubles_a_line";
        std::process::Command::new(std::env::current_exe().unwrap())
            .args([name, "--exact", "--nocapture"])
            .env(CHILD, folder.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut child = start();
    let vendor = {
        let path = path.clone();
        tokio::spawn(async move {
            for batch in 0..300_u64 {
                let body: String = (batch * 3..batch * 3 + 3).map(|line| ray(line, 200, "hit", "eyeball")).collect();
                let headers = format!("Authorization: Bearer {TOKEN}\r\n");
                loop {
                    let address = std::fs::read_to_string(&path).ok().and_then(|text| text.parse().ok());
                    let sent = match address {
                        Some(address) => exchange(address, "POST", "/ingest/cf", &headers, body.as_bytes()).await.ok(),
                        None => None,
                    };
                    if sent.is_some_and(|(status, _)| status == 200) {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        })
    };
    let mut kills = 0;
    while !vendor.is_finished() {
        // It serves for a moment, of another length each time.
        tokio::time::sleep(Duration::from_millis(40 + 17 * (kills % 7))).await;
        if path.exists() && kills < 12 {
            child.kill().unwrap();
            child.wait().unwrap();
            child = start();
            kills += 1;
        }
    }
    vendor.await.unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(kills > 0);
    let control = Control::start(folder.path());
    assert_eq!(control.sum(EDGE_REQUESTS, "cf").await, Some(900.0), "after {kills} kills");
    control.stop().await;
}
