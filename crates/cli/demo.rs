//! `headwater demo`: an origin, Headwater, three simulated CDNs and their users, in one process on loopback.

mod cache;
mod cdn;
mod figures;
mod http;
mod latency;
mod ledger;
mod origin;
mod pictures;
mod screen;
mod shop;
mod table;
mod users;
mod vendor;

use anyhow::{Context, Result};
use cdn::Cdn;
use headwater_config::{Kind, Policy};
use headwater_control::Service;
use headwater_proxy::Server;
use http::Client;
use ledger::Ledger;
use screen::{Places, Screen};
use serde_json::json;
use shop::Shop;
use std::fmt::Write;
use std::fs::Permissions;
use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use table::{Edge, Table};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use users::{Audience, Crowd};
use vendor::VENDORS;

const HTTP: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9180);
const CONTROL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9280);
/// When the vendor that falls ill does so, and is well again.
const ILLNESS: std::ops::Range<u64> = 60..180;
/// The vendor that does.
const ILL: Kind = Kind::Cloudflare;
/// Longer than the origin's slow page takes.
const DRAIN: Duration = Duration::from_secs(5);

/// Try Headwater on this machine: a small site behind it, three simulated CDNs before it, and users
///
/// All of it runs in this one process and on loopback. The table shows what Headwater's figures say of each CDN, and
/// what its users noticed; every number is measured. Ctrl-C ends it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headwater demo                     with a table that is redrawn every second
  headwater demo --for 30s --json    half a minute, then the table for a script")]
pub struct Demo {
    /// Requests of users a second, over all CDNs
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=5000))]
    rate: u32,
    /// End after this time, for example 30s or 2m
    #[arg(long = "for", value_name = "TIME", value_parser = headwater_config::units::duration)]
    duration: Option<Duration>,
    /// Print the final table as JSON, and nothing else to standard output
    #[arg(long)]
    json: bool,
    /// Where Headwater takes pulls [default: 127.0.0.1:8080, or any free port where that is taken]
    #[arg(long, value_name = "ADDR", value_parser = loopback)]
    http: Option<SocketAddr>,
    /// Where Headwater shows its figures [default: 127.0.0.1:9180, or any free port where that is taken]
    #[arg(long, value_name = "ADDR", value_parser = loopback)]
    admin: Option<SocketAddr>,
    /// Where the dashboard is [default: 127.0.0.1:9280, or any free port where that is taken]
    #[arg(long, value_name = "ADDR", value_parser = loopback)]
    control: Option<SocketAddr>,
}

impl Demo {
    /// Runs until it is told to end, and prints the final table.
    ///
    /// # Errors
    /// Where it cannot listen, or cannot read Headwater's figures.
    pub fn run(self) -> Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.play())?;
        Ok(ExitCode::SUCCESS)
    }

    async fn play(self) -> Result<()> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let shop = Arc::new(Shop::new());
        let popular = shop.popular().to_vec();
        let (origin, _) = listen(move |request, _| {
            let shop = shop.clone();
            async move { origin::answer(&shop, request).await }
        })
        .await?;
        let secrets: Vec<String> = VENDORS.iter().map(|_| secret()).collect();
        let server = self.start_headwater(origin, &secrets)?;
        let headwater = *server.http().first().context("Headwater listens nowhere")?;

        let folder = Folder::new()?;
        let ledgers: Vec<Arc<Ledger>> = VENDORS.iter().map(|_| Arc::default()).collect();
        let apis = start_apis(&ledgers).await?;
        let service = self.open_control(&folder, server.admin(), origin, &secrets, &apis)?;
        let control = service.addresses()?.0;
        let (end_control, ended) = tokio::sync::oneshot::channel::<()>();
        let controlling = tokio::spawn(service.run(async { drop(ended.await) }));

        let cdns = start_cdns(headwater, secrets, ledgers).await?;
        let audiences = cdns.iter().map(|running| Audience::new(running.address, running.cdn.vendor.share)).collect();
        let crowd = Arc::new(Crowd::new(audiences, popular));
        let places = Places {
            headwater,
            admin: server.admin(),
            control,
            origin,
            cdns: cdns.iter().map(|running| (running.cdn.vendor, running.address)).collect(),
        };
        let mut show =
            Show { cdns, crowd: crowd.clone(), admin: Client::new(places.admin), places, table: Table::default() };
        let mut screen = Screen::new(self.json);
        screen.open(&show.places, self.rate)?;

        let start = Instant::now();
        let coming = tokio::spawn(crowd.clone().come(f64::from(self.rate)));
        let end = async {
            match self.duration {
                Some(duration) => tokio::time::sleep(duration).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(end);
        let mut second = tokio::time::interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = second.tick() => {
                    let ails = ILLNESS.contains(&start.elapsed().as_secs());
                    show.cdns.iter().filter(|cdn| cdn.cdn.vendor.kind == ILL).for_each(|cdn| cdn.cdn.ails.store(ails, Relaxed));
                    // A reading that fails leaves the last one on the screen; the final one may not fail.
                    let patience = Duration::from_secs(1);
                    if matches!(tokio::time::timeout(patience, show.read()).await, Ok(Ok(())))
                        && screen.is_live()
                        && !screen.draw(&show.lines(start.elapsed()))?
                    {
                        break;
                    }
                }
                () = &mut end => break,
                _ = interrupt.recv() => break,
                _ = terminate.recv() => break,
            }
        }
        coming.abort();
        let ran = start.elapsed();
        crowd.leave().await;
        // No more requests at the edge, so that what the CDNs and Headwater counted is of the same ones.
        show.cdns.iter().for_each(|running| running.listening.abort());
        show.settle().await?;
        if self.json {
            screen.print(&show.json(ran, self.rate).to_string())?;
        } else {
            screen.draw(&show.lines(ran))?;
        }
        drop(end_control);
        controlling.await??;
        tokio::task::spawn_blocking(move || server.stop(DRAIN)).await?;
        Ok(())
    }

    /// The control plane, which asks each simulated vendor's API.
    fn open_control(
        &self,
        folder: &Folder,
        admin: SocketAddr,
        origin: SocketAddr,
        secrets: &[String],
        apis: &[SocketAddr],
    ) -> Result<Service> {
        let listen = self.control.unwrap_or_else(|| free(CONTROL));
        let mut text = config(HTTP, admin, origin, secrets, Some((&folder.token(), apis)));
        let store = folder.store();
        let _ = write!(text, "\n[control]\nlisten = \"{listen}\"\nstore = \"{}\"\n", store.display());
        Ok(Service::open(compiled(&text)?)?)
    }

    fn start_headwater(&self, origin: SocketAddr, secrets: &[String]) -> Result<Server> {
        let (http, admin) = (self.http.unwrap_or_else(|| free(HTTP)), self.admin.unwrap_or_else(|| free(ADMIN)));
        Server::start(compiled(&config(http, admin, origin, secrets, None))?).context("Headwater does not start")
    }
}

fn compiled(text: &str) -> Result<Policy> {
    let (policy, mistakes) = headwater_config::from_text("the demo's config", text);
    policy.with_context(|| {
        let mistakes: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        format!("Headwater refuses the demo's config\n{}", mistakes.join("\n"))
    })
}

/// Where the demo's store lies; it goes with the demo.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        let folder = Self(std::env::temp_dir().join(format!("headwater-demo-{}", secret())));
        std::fs::DirBuilder::new().mode(0o700).create(&folder.0).context("cannot make a folder for the store")?;
        std::fs::write(folder.token(), secret()).context("cannot write the APIs' token")?;
        std::fs::set_permissions(folder.token(), Permissions::from_mode(0o600))?;
        Ok(folder)
    }

    fn token(&self) -> PathBuf {
        self.0.join("token")
    }

    fn store(&self) -> PathBuf {
        self.0.join("history.db")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A CDN that takes requests.
struct Running {
    cdn: Arc<Cdn>,
    address: SocketAddr,
    listening: JoinHandle<()>,
}

/// All that the table is made from.
struct Show {
    cdns: Vec<Running>,
    crowd: Arc<Crowd>,
    admin: Client,
    places: Places,
    table: Table,
}

impl Show {
    /// Takes a reading.
    async fn read(&mut self) -> Result<()> {
        let edges: Vec<Edge> = self
            .cdns
            .iter()
            .zip(self.crowd.audiences())
            .map(|(Running { cdn, address, .. }, audience)| Edge {
                name: cdn.vendor.name(),
                address: address.to_string(),
                requests: cdn.counts.requests.load(Relaxed),
                hits: cdn.counts.hits.load(Relaxed),
                misses: cdn.counts.misses.load(Relaxed),
                errors: cdn.counts.errors.load(Relaxed),
                latency: audience.latency(),
            })
            .collect();
        let figures = figures::read(&self.admin, self.places.admin).await?;
        self.table.read(&edges, &figures);
        Ok(())
    }

    /// The last reading: a pull is counted at the end of its body, which may be a moment after its reader has it.
    async fn settle(&mut self) -> Result<()> {
        tokio::time::sleep(Duration::from_millis(200)).await;
        self.read().await
    }

    fn lines(&self, ran: Duration) -> Vec<String> {
        let mut lines = self.table.lines();
        lines.push(String::new());
        let mut last = format!("after {} s", ran.as_secs());
        for (count, what) in [
            (self.crowd.turned_away(), "users turned away, too many requests under way"),
            (self.crowd.unanswered(), "users without any answer"),
        ] {
            if count > 0 {
                let _ = write!(last, "; {count} {what}");
            }
        }
        lines.push(last);
        lines
    }

    fn json(&self, ran: Duration, rate: u32) -> serde_json::Value {
        json!({
            "seconds": ran.as_secs_f64(),
            "rate": rate,
            "http": self.places.headwater.to_string(),
            "admin": self.places.admin.to_string(),
            "control": self.places.control.to_string(),
            "table": self.table.json(),
            "users": { "turned_away": self.crowd.turned_away(), "unanswered": self.crowd.unanswered() },
        })
    }
}

/// Each vendor's API, on an address of its own.
async fn start_apis(ledgers: &[Arc<Ledger>]) -> Result<Vec<SocketAddr>> {
    let mut apis = Vec::new();
    for (vendor, ledger) in VENDORS.iter().zip(ledgers) {
        let ledger = ledger.clone();
        let (address, _) = listen(move |request, _| {
            let ledger = ledger.clone();
            async move { ledger.answer(vendor, request).await }
        })
        .await?;
        apis.push(address);
    }
    Ok(apis)
}

async fn start_cdns(headwater: SocketAddr, secrets: Vec<String>, ledgers: Vec<Arc<Ledger>>) -> Result<Vec<Running>> {
    let mut cdns = Vec::new();
    for ((vendor, secret), ledger) in VENDORS.iter().zip(secrets).zip(ledgers) {
        let cdn = Arc::new(Cdn::new(vendor, ledger, secret, headwater));
        let answering = cdn.clone();
        let (address, listening) = listen(move |request, peer| {
            let cdn = answering.clone();
            async move { cdn.answer(request, peer).await }
        })
        .await?;
        cdns.push(Running { cdn, address, listening });
    }
    Ok(cdns)
}

/// Serves on a free port of loopback.
async fn listen<H, F>(handle: H) -> Result<(SocketAddr, JoinHandle<()>)>
where
    H: Fn(hyper::Request<hyper::body::Incoming>, SocketAddr) -> F + Clone + Send + 'static,
    F: Future<Output = http::Answer> + Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("cannot listen on loopback")?;
    let address = listener.local_addr()?;
    Ok((address, tokio::spawn(http::serve(listener, handle))))
}

/// What a user of Headwater would write, for three CDNs. `apis`: a file with the token that they take, and where they are.
fn config(
    http: SocketAddr,
    admin: SocketAddr,
    origin: SocketAddr,
    secrets: &[String],
    apis: Option<(&Path, &[SocketAddr])>,
) -> String {
    let mut text = format!(
        r#"
[listen]
http = ["{http}"]
admin = "{admin}"

[origin]
servers = ["{origin}"]

[[rule]]
name = "static"
path = '\.(gif|jpg|jpeg|png|css|js)$'
cache_control = "max-age=94670800"
cdn = {{ fastly = {{ surrogate_control = "max-age=94670800, stale-if-error=86400" }} }}

[[rule]]
name = "pages"
path = '^/(listing/[0-9]+)?$'
cache_control = "max-age=120, stale-if-error=600"
mode = "default"

[log]
access = "off"
"#
    );
    for (number, (vendor, secret)) in VENDORS.iter().zip(secrets).enumerate() {
        let (name, header) = (vendor.name(), cdn::SECRET);
        let _ = write!(
            text,
            "\n[[cdn]]\nname = \"{name}\"\nkind = \"{name}\"\nsecret = {{ header = \"{header}\", values = [\"{secret}\"] }}\n"
        );
        if let Some((token, apis)) = apis {
            let token = format!("\"file:{}\"", token.display());
            let credentials = match vendor.kind {
                Kind::CloudFront => format!("access_key = {token}, secret_key = {token}"),
                _ => format!("token = {token}"),
            };
            // A simulated vendor's minutes are settled when they have ended.
            let _ = writeln!(
                text,
                "api = {{ {credentials}, properties = [\"shop\"], url = \"http://{}\", settles = \"5s\", backfill = \"10m\" }}",
                apis[number]
            );
        }
    }
    text
}

/// 128 bits that nobody guesses: the standard library keys its hashes from the system's own randomness.
fn secret() -> String {
    let half = |n: u8| RandomState::new().hash_one(n);
    format!("{:016x}{:016x}", half(0), half(1))
}

/// The address, or any port where it is taken.
fn free(wanted: SocketAddr) -> SocketAddr {
    match std::net::TcpListener::bind(wanted) {
        Ok(_) => wanted,
        Err(_) => SocketAddr::new(wanted.ip(), 0),
    }
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let remedy = "write a loopback address and a port, for example 127.0.0.1:8080";
    text.parse::<SocketAddr>().ok().filter(|address| address.ip().is_loopback()).ok_or_else(|| remedy.into())
}

/// What the mutex guards. Nothing here is left half done by a panic.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8000);

    #[test]
    fn headwater_takes_the_demos_config_without_a_warning() {
        let secrets: Vec<String> = VENDORS.iter().map(|_| secret()).collect();
        let (policy, mistakes) = headwater_config::from_text("demo", &config(HTTP, ADMIN, ORIGIN, &secrets, None));
        let shown: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        assert!(shown.is_empty(), "{shown:#?}");
        assert_eq!(policy.unwrap().providers.len(), 3);
    }

    #[test]
    fn secrets_differ() {
        assert_ne!(secret(), secret());
        assert_eq!(secret().len(), 32);
    }

    #[test]
    fn it_listens_on_loopback_alone() {
        assert!(loopback("127.0.0.1:0").is_ok() && loopback("[::1]:8080").is_ok());
        assert!(loopback("0.0.0.0:8080").is_err() && loopback("8080").is_err());
    }
}
