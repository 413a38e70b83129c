use super::collector::Collector;
use super::{checkpoint, vendor};
use crate::Service;
use crate::figures::{EDGE_5XX, EDGE_BYTES, EDGE_HITS, EDGE_REQUESTS, Figure};
use crate::service;
use crate::store::{Step, Store};
use headwater_config::{Keep, Policy, Provider};
use headwater_testkit::{Origin, Then, get};
use headwater_vendors::Client;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const KEEP: Keep = Keep {
    minutes: Duration::from_secs(40 * 86_400),
    hours: Duration::from_secs(400 * 86_400),
    days: Duration::from_secs(1000 * 86_400),
};
const TOKEN: &str = "s3same0pen-and-more";

/// What the vendor does next.
#[derive(Clone)]
enum Mood {
    /// Tells of the minutes that are over at this moment.
    Tells { up_to: i64 },
    /// Answers this instead.
    Says(u16, &'static str, String),
}

/// A Fastly that tells of each minute as many requests as a script says.
struct Vendor {
    origin: Origin,
    mood: Arc<Mutex<Mood>>,
    changes: Arc<Mutex<BTreeMap<i64, Option<u64>>>>,
}

/// What the vendor tells of a minute unless it was changed.
fn requests_at(minute: i64) -> u64 {
    100 + (minute / 60 % 7) as u64
}

impl Vendor {
    fn new() -> Self {
        let mood = Arc::new(Mutex::new(Mood::Says(503, "", "not yet".into())));
        let changes: Arc<Mutex<BTreeMap<i64, Option<u64>>>> = Arc::default();
        let (moods, changed) = (mood.clone(), changes.clone());
        let origin = Origin::with(move |asked, stream| {
            let mood = moods.lock().unwrap().clone();
            let (status, head, body) = match mood {
                Mood::Says(status, head, body) => (status, head, body),
                Mood::Tells { up_to } => (200, "", tell(&asked.target, up_to, &changed.lock().unwrap())),
            };
            let length = body.len();
            let _ = write!(stream, "HTTP/1.1 {status} Said\r\n{head}content-length: {length}\r\n\r\n{body}");
            Then::Keep
        });
        Self { origin, mood, changes }
    }

    fn is(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn tells(&self, up_to: i64) {
        self.is(Mood::Tells { up_to });
    }

    /// Of this minute it tells something else, or nothing.
    fn changes(&self, minute: i64, requests: Option<u64>) {
        self.changes.lock().unwrap().insert(minute, requests);
    }
}

fn tell(target: &str, up_to: i64, changes: &BTreeMap<i64, Option<u64>>) -> String {
    let number = |key: &str| -> i64 {
        target.split(['?', '&']).find_map(|part| part.strip_prefix(key)).unwrap().parse().unwrap()
    };
    let (from, to) = (number("from="), number("to="));
    assert!(from % 60 == 0 && to % 60 == 0 && from < to, "{target}");
    let rows: Vec<String> = (from..to.min(up_to))
        .step_by(60)
        .filter_map(|minute| {
            let requests = changes.get(&minute).copied().unwrap_or(Some(requests_at(minute)))?;
            Some(format!(
                r#"{{"start_time":{minute},"requests":{requests},"edge_requests":{requests},"edge_hit_requests":{},
                "edge_miss_requests":1,"edge_resp_body_bytes":{},"edge_resp_header_bytes":10,"origin_fetches":1,
                "status_1xx":0,"status_2xx":{},"status_3xx":0,"status_4xx":0,"status_5xx":2}}"#,
                requests - 1,
                requests * 1000,
                requests - 2,
            ))
        })
        .collect();
    format!(r#"{{"data":[{}],"meta":{{"by":"minute"}},"status":"success","msg":null}}"#, rows.join(","))
}

/// A store, a vendor, and a collector between the two.
struct Setting {
    folder: tempfile::TempDir,
    vendor: Vendor,
    store: Store,
    client: Client,
    policy: Policy,
    provider: Provider,
    collector: Collector,
}

impl Setting {
    async fn new(backfill: &str, now: i64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let token = folder.path().join("token");
        std::fs::write(&token, TOKEN).unwrap();
        let vendor = Vendor::new();
        let text = format!(
            "[control]\nlisten = \"127.0.0.1:0\"\nstore = \"{}\"\n[origin]\nservers = [\"127.0.0.1:8000\"]\n[[cdn]]\nname = \"fastly\"\nkind = \"fastly\"\nnetworks = [\"fastly\"]\n\
             api = {{ token = \"file:{}\", properties = [\"shop\"], url = \"http://{}\", backfill = \"{backfill}\" }}\n",
            folder.path().join("history.db").display(),
            token.display(),
            vendor.origin.address
        );
        let (policy, mistakes) = headwater_config::from_text("test.toml", &text);
        let policy = policy.unwrap_or_else(|| panic!("{mistakes:?}"));
        let provider = policy.providers[0].clone();
        let store = Store::open(&folder.path().join("history.db"), KEEP).unwrap();
        let client = Client::new().unwrap().bounded(Duration::from_secs(5), 16 << 20);
        let mut collector = collector(&provider);
        collector.resume(&store, now).await.unwrap();
        Self { folder, vendor, store, client, policy, provider, collector }
    }

    async fn turn(&mut self, now: i64) -> Duration {
        self.collector.turn(&self.store, &self.client, now).await
    }

    /// Turns until there is nothing more to ask at this moment.
    async fn settle(&mut self, now: i64) {
        loop {
            let asked = self.vendor.origin.requests().len();
            self.turn(now).await;
            if self.vendor.origin.requests().len() == asked {
                return;
            }
        }
    }

    async fn points(&self, figure: &'static Figure) -> BTreeMap<i64, f64> {
        let all = self.store.read(move |reader| reader.points(figure, Some("fastly"), (0, i64::MAX), Step::Minute));
        all.await.unwrap().into_iter().flat_map(|series| series.points).collect()
    }

    /// Every minute has what the vendor told, and there is no other.
    async fn assert_exact(&self, from: i64, until: i64) {
        let expected: BTreeMap<i64, f64> =
            (from..until).step_by(60).map(|minute| (minute, requests_at(minute) as f64)).collect();
        assert_eq!(self.points(EDGE_REQUESTS).await, expected);
    }

    async fn settled(&self) -> Option<i64> {
        let held = self.store.read(|reader| reader.checkpoint(&checkpoint("fastly"))).await.unwrap();
        held.map(|held| held.parse().unwrap())
    }
}

fn collector(provider: &Provider) -> Collector {
    let api = provider.api.as_ref().unwrap();
    Collector::new(&provider.name, vendor::edge(api).unwrap(), api, &KEEP)
}

/// Two hours ago, on the minute.
fn then() -> i64 {
    (service::now() / 60 - 120) * 60
}

#[tokio::test]
async fn figures_come_exactly_and_settle_after_the_vendors_delay() {
    let now = then();
    let mut setting = Setting::new("1h", now).await;
    setting.vendor.tells(now);
    setting.settle(now).await;
    setting.assert_exact(now - 3600, now).await;
    assert_eq!(setting.points(EDGE_HITS).await[&(now - 60)], requests_at(now - 60) as f64 - 1.0);
    assert_eq!(setting.points(EDGE_BYTES).await[&(now - 60)], requests_at(now - 60) as f64 * 1000.0 + 10.0);
    assert_eq!(setting.points(EDGE_5XX).await[&(now - 60)], 2.0);
    assert_eq!(setting.settled().await, Some(now - 900));
    assert_eq!(setting.collector.state().settled_until, now - 900);
    assert_eq!(setting.collector.state().last_success, Some(now));
}

#[tokio::test]
async fn an_outage_is_filled_in_afterwards() {
    let now = then();
    let mut setting = Setting::new("1h", now).await;
    setting.vendor.tells(now);
    setting.settle(now).await;
    let mut wait = Duration::ZERO;
    for (minute, mood) in [
        (10, Mood::Says(500, "", "oops".into())),
        (20, Mood::Says(200, "", "<html>We are down</html>".into())),
        (30, Mood::Says(200, "", "{\"data\":[{\"start_time\"".into())),
        (40, Mood::Says(503, "retry-after: 100\r\n", "later".into())),
    ] {
        setting.vendor.is(mood);
        wait = setting.turn(now + minute * 60).await;
    }
    assert!(wait >= Duration::from_secs(100));
    assert_eq!(setting.collector.state().failures, 4);
    setting.assert_exact(now - 3600, now).await;
    let later = now + 7000;
    setting.vendor.tells(later);
    setting.settle(later).await;
    setting.assert_exact(now - 3600, later / 60 * 60).await;
    assert_eq!(setting.settled().await, Some((later - 900) / 60 * 60));
    assert_eq!(setting.collector.state().failures, 0);
}

#[tokio::test]
async fn what_changes_late_is_taken_until_it_is_settled_and_no_longer() {
    let now = then();
    let mut setting = Setting::new("1h", now).await;
    let (unsettled, settled) = (now - 600, now - 1800);
    setting.vendor.tells(now);
    setting.settle(now).await;
    setting.vendor.changes(unsettled, Some(7777));
    setting.vendor.changes(settled, Some(6666));
    setting.vendor.tells(now + 60);
    setting.settle(now + 60).await;
    let points = setting.points(EDGE_REQUESTS).await;
    assert_eq!(points[&unsettled], 7777.0);
    assert_eq!(points[&settled], requests_at(settled) as f64);
}

#[tokio::test]
async fn a_quiet_minute_is_nothing_once_it_is_settled_and_unknown_before() {
    let now = then();
    let mut setting = Setting::new("1h", now).await;
    let (settled, unsettled) = (now - 1800, now - 600);
    setting.vendor.changes(settled, None);
    setting.vendor.changes(unsettled, None);
    setting.vendor.tells(now);
    setting.settle(now).await;
    let points = setting.points(EDGE_REQUESTS).await;
    assert_eq!((points.get(&settled), points.get(&unsettled)), (Some(&0.0), None));
}

#[tokio::test]
async fn a_vendor_that_is_late_is_not_taken_for_one_without_traffic() {
    let now = then();
    let mut setting = Setting::new("1h", now).await;
    // Its newest minute is twenty old; it says that fifteen are the most.
    setting.vendor.tells(now - 1200);
    setting.settle(now).await;
    setting.assert_exact(now - 3600, now - 1200).await;
    assert_eq!(setting.settled().await, Some(now - 1200));
}

#[tokio::test]
async fn a_restart_in_the_middle_of_a_back_fill_leaves_no_gap() {
    let now = then();
    let mut setting = Setting::new("1d", now).await;
    setting.vendor.tells(now);
    // The newest, and the first window of the sweep.
    setting.turn(now).await;
    setting.turn(now).await;
    assert_eq!(setting.settled().await, Some(now - 86_400 + 6 * 3600));
    // What a killed process leaves is what it wrote.
    setting.store = Store::open(&setting.folder.path().join("history.db"), KEEP).unwrap();
    setting.collector = collector(&setting.provider);
    setting.collector.resume(&setting.store, now + 300).await.unwrap();
    setting.vendor.tells(now + 300);
    setting.settle(now + 300).await;
    setting.assert_exact(now - 86_400, now + 300).await;
    let first = setting.vendor.origin.requests().into_iter().map(|asked| asked.target).collect::<Vec<_>>();
    let again = first.iter().filter(|target| target.contains(&format!("from={}&", now - 86_400))).count();
    assert_eq!(again, 1, "what was settled is not asked for again: {first:?}");
}

#[tokio::test]
async fn a_lie_yields_no_figure_and_moves_nothing() {
    let now = then();
    let mut setting = Setting::new("1h", now).await;
    let lie = |start: i64, hits: u64| {
        format!(r#"{{"data":[{{"start_time":{start},"edge_requests":5,"edge_hit_requests":{hits}}}]}}"#)
    };
    for said in [lie(now - 600, 6), lie(now + 600, 1), lie(now - 601, 1)] {
        setting.vendor.is(Mood::Says(200, "", said));
        setting.turn(now).await;
    }
    assert_eq!(setting.points(EDGE_REQUESTS).await, BTreeMap::new());
    assert_eq!(setting.settled().await, None);
    let (_, why) = setting.collector.state().last_error.clone().unwrap();
    assert!(why.contains("cannot be true"), "{why}");
    setting.vendor.tells(now);
    setting.settle(now).await;
    setting.assert_exact(now - 3600, now).await;
}

#[tokio::test]
async fn refused_credentials_are_shown_to_nobody_and_not_insisted_on() {
    let now = then();
    let mut setting = Setting::new("1h", now).await;
    setting.vendor.is(Mood::Says(403, "", format!("the token {TOKEN} may not read stats")));
    let wait = setting.turn(now).await;
    assert!(wait >= Duration::from_secs(600), "{wait:?}");
    let (_, why) = setting.collector.state().last_error.clone().unwrap();
    assert!(why.contains("the token *** may not read stats"), "{why}");
    let padding = "x".repeat(293);
    setting.vendor.is(Mood::Says(500, "", format!("{padding} {TOKEN}")));
    setting.turn(now).await;
    let (_, why) = setting.collector.state().last_error.clone().unwrap();
    assert!(!why.contains("s3sa"), "{why}");
}

#[tokio::test]
async fn the_future_is_never_asked_for_and_a_minute_once_at_most() {
    let now = then() + 30;
    let mut setting = Setting::new("10m", now).await;
    setting.vendor.tells(now - 30);
    setting.settle(now).await;
    setting.settle(now + 20).await;
    let asked = setting.vendor.origin.requests();
    assert_eq!(asked.len(), 1);
    assert!(asked[0].target.contains(&format!("to={}&", now - 30)), "{}", asked[0].target);
    let wait = setting.turn(now + 20).await;
    assert!((Duration::from_secs(10)..Duration::from_secs(16)).contains(&wait), "{wait:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_control_plane_collects_by_itself_and_says_how_it_stands() {
    let setting = Setting::new("1h", then()).await;
    let now = service::now() / 60 * 60;
    setting.vendor.tells(now);
    let service = Service::open(setting.policy.clone()).unwrap();
    let (address, _) = service.addresses().unwrap();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(service.run(async move { drop(ended.await) }));
    let edge = tokio::task::spawn_blocking(move || {
        let mut edge = serde_json::Value::Null;
        headwater_testkit::wait_until("the vendor was asked", || {
            let status = get(address, "/status", &[]);
            edge = serde_json::from_slice::<serde_json::Value>(&status.body).unwrap()["edge"]["fastly"].clone();
            edge["last_success"].is_i64()
        });
        edge
    });
    let edge = edge.await.unwrap();
    assert_eq!(edge["settles_seconds"], 900);
    let settled = edge["settled_until"].as_i64().unwrap();
    assert!((now - 960..=now - 840).contains(&settled), "{edge}");
    assert_eq!(setting.settled().await, Some(settled));
    assert_eq!(setting.points(EDGE_REQUESTS).await[&(settled - 60)], requests_at(settled - 60) as f64);
    drop(end);
    running.await.unwrap().unwrap();
}
