use super::*;
use crate::store::Key;
use std::sync::Mutex;
use tokio::net::TcpListener;

fn context(folder: &tempfile::TempDir) -> Context {
    let store = folder.path().join("history.db");
    let text = format!(
        "[origin]\nservers = [\"127.0.0.1:8000\"]\n[control]\nstore = \"{}\"\n\
         [[cdn]]\nname = \"fastly\"\nkind = \"fastly\"\nnetworks = [\"192.0.2.0/24\"]\n",
        store.display()
    );
    Context::open(headwater_config::from_text("test", &text).0.unwrap()).unwrap()
}

/// A receiver that keeps what it read to the end.
async fn receiver(address: &str) -> (String, Arc<Mutex<Vec<String>>>, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let all: Arc<Mutex<Vec<String>>> = Arc::default();
    let task = tokio::spawn({
        let all = all.clone();
        async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut text = String::new();
                stream.read_to_string(&mut text).await.unwrap();
                all.lock().unwrap().extend(text.lines().map(String::from));
            }
        }
    });
    (address, all, task)
}

async fn everything(context: &Context, sink: &str) -> Result<usize, String> {
    let mut points = 0;
    while let Some(more) = one(context, sink).await? {
        points += more;
    }
    Ok(points)
}

#[tokio::test]
async fn what_settled_is_delivered_once_with_its_own_time_over_an_outage() {
    let folder = tempfile::tempdir().unwrap();
    let context = context(&folder);
    let hour = (service::now() / 3600 - 2) * 3600;
    let mut batch = Batch::default();
    for minute in [hour, hour + 60, hour + 120] {
        batch.set(Key::new(figures::EDGE_REQUESTS, "fastly", "www.shop"), minute, 100.0);
        batch.set(Key::new(figures::PULLS, "fastly", ""), minute, 25.0);
    }
    let mut sketch = crate::sketch::Sketch::default();
    sketch.add(1.0, 5);
    batch.merge(Key::new(figures::PULL_SECONDS, "fastly", ""), hour, sketch);
    batch.checkpoint("edge_settled/fastly", Some((hour + 120).to_string()));
    context.store.write(batch).await.unwrap();

    let (sink, all, task) = receiver("127.0.0.1:0").await;
    assert_eq!(everything(&context, &sink).await, Ok(2 + 2 + 3 + 3), "requests, offload, pulls, percentiles");
    let lines = std::mem::take(&mut *all.lock().unwrap());
    for line in [
        format!("headwater.edge.requests.fastly.www_shop 100 {hour}"),
        format!("headwater.offload.fastly 0.75 {}", hour + 60),
        format!("headwater.pulls.fastly 25 {}", hour + 120),
    ] {
        assert_eq!(lines.iter().filter(|other| **other == line).count(), 1, "{line} in {lines:?}");
    }
    assert!(lines.iter().any(|line| line.starts_with("headwater.pull_seconds.fastly.p95 ")), "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains(&format!("requests.fastly.www_shop 100 {}", hour + 120))));

    task.abort();
    let _ = task.await;
    let mut batch = Batch::default();
    batch.checkpoint("edge_settled/fastly", Some((hour + 180).to_string()));
    context.store.write(batch).await.unwrap();
    assert!(everything(&context, &sink).await.is_err());
    let (_, all, _task) = receiver(&sink).await;
    assert_eq!(everything(&context, &sink).await, Ok(2));
    assert_eq!(everything(&context, &sink).await, Ok(0));
    let lines = all.lock().unwrap().clone();
    assert_eq!(lines[0], format!("headwater.edge.requests.fastly.www_shop 100 {}", hour + 120));
}
