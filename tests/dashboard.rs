//! The dashboard in a browser: what is drawn, beside what is kept.

use crate::browser::Browser;
use headwater_control::figures::{self, Figure};
use headwater_control::sketch::Sketch;
use headwater_control::store::{Batch, Event, Key, Store};
use headwater_testkit::{Origin, Then, binary, get, wait_until};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, SystemTime};

const CONFIG: &str = "[origin]\nservers = [\"127.0.0.1:1\"]\n
    [[cdn]]\nname = \"akamai\"\nkind = \"akamai\"\nnetworks = [\"192.0.2.1/32\"]
    [[cdn]]\nname = \"fastly\"\nkind = \"fastly\"\nnetworks = [\"192.0.2.2/32\"]
    [[cdn]]\nname = \"bunny\"\nkind = \"bunny\"\nnetworks = [\"192.0.2.3/32\"]\n";
const PROVIDERS: [&str; 3] = ["akamai", "fastly", "bunny"];
const HOUR: i64 = 3600;
const EVIL: &str = "<img src=x onerror=window.hit=1><script>window.hit=1</script>";

fn now() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64 / 60 * 60
}

/// A running control plane over a store of its own.
struct Control {
    child: Child,
    address: SocketAddr,
    public: SocketAddr,
    folder: tempfile::TempDir,
}

impl Control {
    fn start(batch: Batch, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("headwater.toml");
        let store = folder.path().join("history.db");
        let control = format!(
            "\n[control]\nlisten = \"127.0.0.1:0\"\npublic = \"127.0.0.1:0\"\nstore = \"{}\"\nproxies = [\"127.0.0.1:1\"]\n",
            store.display()
        );
        std::fs::write(&path, format!("{CONFIG}{control}{more}")).unwrap();
        write(&folder, batch);
        let mut child =
            Command::new(binary()).arg("control").arg("-c").arg(&path).stderr(Stdio::piped()).spawn().unwrap();
        let (tell, told) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
        let mut said = Vec::new();
        let ready = loop {
            let line =
                told.recv_timeout(Duration::from_secs(30)).unwrap_or_else(|_| panic!("no control plane: {said:?}"));
            if line.contains("headwater: ready ") {
                break line;
            }
            said.push(line);
        };
        let address = |key: &str| {
            ready.split_whitespace().find_map(|word| word.strip_prefix(key)).unwrap().parse::<SocketAddr>().unwrap()
        };
        Self { address: address("control="), public: address("public="), child, folder }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes into the store, as another process beside the control plane.
fn write(folder: &tempfile::TempDir, batch: Batch) {
    let day = Duration::from_secs(86_400);
    let keep = headwater_config::Keep { minutes: 40 * day, hours: 400 * day, days: 3650 * day };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Store::open(&folder.path().join("history.db"), keep).unwrap();
        store.write(batch).await.unwrap();
    });
}

/// A bucket of everything that a healthy provider has: of each minute 1,000 users' requests, of which 100 come to us.
fn bucket(batch: &mut Batch, cdn: &str, at: i64, minutes: f64) {
    let mut set = |figure: &'static Figure, label: &str, value: f64| {
        batch.set(Key::new(figure, cdn, label), at, value * minutes);
    };
    set(figures::EDGE_REQUESTS, "www", 1000.0);
    set(figures::EDGE_BYTES, "www", 50_000.0);
    set(figures::EDGE_HITS, "www", 920.0);
    set(figures::EDGE_MISSES, "www", 80.0);
    set(figures::EDGE_5XX, "www", 1.0);
    set(figures::PULLS, "", 100.0);
    set(figures::PULL_BYTES, "", 10_000.0);
    set(figures::WHOOPSIES, "timeout", 1.0);
    set(figures::BEACONS, "503_page", 2.0);
}

/// The times of a bucket's pulls, which do not depend on how many there are.
fn times(batch: &mut Batch, cdn: &str, at: i64) {
    let mut sketch = Sketch::default();
    sketch.add(0.08, 60);
    sketch.add(0.3, 40);
    batch.merge(Key::new(figures::ORIGIN_SECONDS, cdn, ""), at, sketch);
}

/// Eight days, of which the last seven hours by the minute, and a deploy half an hour ago.
fn history() -> Batch {
    let mut batch = Batch::default();
    let (now, minutes_from) = (now(), (now() / HOUR - 7) * HOUR);
    for cdn in PROVIDERS {
        for hour in (minutes_from - 8 * 24 * HOUR..minutes_from).step_by(HOUR as usize) {
            times(&mut batch, cdn, hour);
            // What is normal now is told by the minutes about this time on earlier days; an hour in one minute would be none.
            let ago = (now - hour).rem_euclid(24 * HOUR);
            match ago <= 10 * HOUR || ago >= 21 * HOUR {
                true => (hour..hour + HOUR).step_by(60).for_each(|at| bucket(&mut batch, cdn, at, 1.0)),
                false => bucket(&mut batch, cdn, hour, 60.0),
            }
        }
        for at in (minutes_from..now).step_by(60) {
            bucket(&mut batch, cdn, at, 1.0);
            times(&mut batch, cdn, at);
        }
        batch.checkpoint(format!("edge_settled/{cdn}"), Some(now.to_string()));
    }
    for at in (now - HOUR..now).step_by(60) {
        for (country, count) in [("DE", 4.0), ("BR", 2.0)] {
            batch.set(Key::new(figures::BEACON_COUNTRIES, "", country), at, count);
        }
    }
    let (kind, who) = ("note".to_string(), "ann".to_string());
    batch.event(Event { at: now - 1800, kind, tag: "deploy".into(), text: "deploy 3f2a".into(), who });
    batch
}

/// The same, and the edge of akamai has answered one of twenty with 5xx for an hour.
fn ill() -> Batch {
    let mut batch = history();
    for at in (now() - HOUR..now()).step_by(60) {
        batch.set(Key::new(figures::EDGE_5XX, "akamai", "www"), at, 50.0);
    }
    batch
}

#[test]
fn the_overview_says_who_it_is_and_shows_what_the_store_holds() {
    let control = Control::start(ill(), "");
    wait_until("the departure is seen", || get(control.address, "/api/anomalies", &[]).text().contains("akamai"));
    let mut browser = Browser::start(1400, 900);
    browser.open_drawn(&control.url("/"));
    let verdict = browser.evaluate("document.getElementById('verdict').innerText");
    let verdict = verdict.as_str().unwrap();
    assert!(verdict.starts_with("It is akamai: ") && verdict.contains("5.0 % against 0.1 %"), "{verdict}");
    assert!(verdict.contains("the other 2 are as always"), "{verdict}");
    assert_eq!(browser.evaluate("document.querySelectorAll('#providers tbody tr').length"), 3);
    assert_eq!(browser.evaluate("document.querySelectorAll('tr.blamed').length"), 1);
    let mut cell = |cdn: &str, column: &str| {
        let row = format!(
            "[...document.querySelectorAll('#providers tbody tr')].find((row) => row.cells[0].innerText === '{cdn}')"
        );
        let text = format!("{row}.querySelector('[data-label=\"{column}\"] .value').innerText");
        browser.evaluate(&text).as_str().unwrap().to_string()
    };
    for cdn in PROVIDERS {
        assert_eq!(cell(cdn, "Pulls"), "33.3 %");
        assert_eq!(cell(cdn, "Edge requests"), "33.3 %");
        assert_eq!(cell(cdn, "Users"), "no data", "what is unknown is never 0");
        assert_eq!(cell(cdn, "Offload"), "90 %");
        assert_eq!(cell(cdn, "5xx of pulls"), "0 %");
        assert_eq!(cell(cdn, "Whoopsies"), "1/min");
        assert_eq!(cell(cdn, "Beacons"), "2/min");
        assert!(cell(cdn, "Origin p50 / p95").starts_with("80 ms / "), "{}", cell(cdn, "Origin p50 / p95"));
    }
    assert_eq!((cell("akamai", "5xx at the edge"), cell("bunny", "5xx at the edge")), ("5 %".into(), "0.1 %".into()));
    assert_eq!(browser.evaluate("document.querySelectorAll('td.departs').length"), 1);
    let departures = browser.evaluate("document.getElementById('departures').innerText");
    let departures = departures.as_str().unwrap();
    assert!(departures.contains("akamai") && departures.contains("5xx of users’ requests"), "{departures}");
    assert!(departures.contains("5 %") && !departures.contains("bunny"), "{departures}");
    // Small lines have a length, and the deploy stands in each, and the departure.
    let drawn =
        "[...document.querySelectorAll('svg.line')].every((line) => line.querySelector('.value').getTotalLength() > 30
        && line.querySelectorAll('.event').length >= 2 && line.getBoundingClientRect().width > 50)";
    assert_eq!(browser.evaluate(drawn), true);
    assert_eq!(browser.complaints, Vec::<String>::new());
}

#[test]
fn without_a_figure_the_overview_says_so() {
    let control = Control::start(Batch::default(), "");
    let mut browser = Browser::start(1400, 900);
    browser.open_drawn(&control.url("/"));
    assert_eq!(browser.evaluate("document.getElementById('verdict').className"), "no_data");
    let all = "[...document.querySelectorAll('#providers .value')].every((cell) => cell.innerText === 'no data')";
    assert_eq!(browser.evaluate(all), true);
    assert_eq!(browser.evaluate("document.querySelectorAll('svg.line').length"), 0);
    let departures = browser.evaluate("document.getElementById('departures').innerText");
    assert!(departures.as_str().unwrap().contains("Nothing was judged"), "{departures}");
}

#[test]
fn where_nobody_departs_the_sentence_and_the_table_agree() {
    let control = Control::start(history(), "");
    wait_until("it is judged", || !get(control.address, "/api/anomalies", &[]).text().contains("\"judged\":null"));
    let mut browser = Browser::start(1400, 900);
    browser.open_drawn(&control.url("/"));
    assert_eq!(
        browser.evaluate("document.getElementById('verdict').innerText"),
        "It is nobody: all 3 providers are as always."
    );
    let departures = browser.evaluate("document.getElementById('departures').innerText");
    assert!(departures.as_str().unwrap().contains("Nothing departs from normal"), "{departures}");
}

/// How many pixels of a graph have the colour of that name, about.
fn pixels(browser: &mut Browser, title: &str, colour: &str) -> i64 {
    let script = format!(
        "(() => {{
            const canvas = document.querySelector('[data-title=\"{title}\"] canvas');
            if (!canvas) return -1;
            const probe = document.createElement('canvas').getContext('2d', {{ willReadFrequently: true }});
            probe.fillStyle = getComputedStyle(document.documentElement).getPropertyValue('{colour}').trim();
            probe.fillRect(0, 0, 1, 1);
            const [r, g, b] = probe.getImageData(0, 0, 1, 1).data;
            const all = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
            let found = 0;
            for (let i = 0; i < all.length; i += 4) {{
                if (Math.abs(all[i] - r) + Math.abs(all[i + 1] - g) + Math.abs(all[i + 2] - b) < 60 && all[i + 3] > 100) found++;
            }}
            return found;
        }})()"
    );
    browser.evaluate(&script).as_i64().unwrap()
}

#[test]
fn a_provider_page_draws_lines_events_and_last_week() {
    let control = Control::start(ill(), "");
    let mut browser = Browser::start(1400, 1000);
    browser.open_drawn(&control.url("/provider?cdn=akamai"));
    browser.wait_for("document.querySelectorAll('.graph canvas').length >= 7");
    for title in
        ["Pulls a minute", "Edge requests a minute", "Beacons a minute", "Whoopsies a minute", "Origin: first byte"]
    {
        assert!(pixels(&mut browser, title, "--a") > 200, "{title} has no line");
        assert!(pixels(&mut browser, title, "--event") > 40, "{title} has no deploy");
    }
    assert_eq!(pixels(&mut browser, "Users: first byte", "--a"), -1, "nothing is drawn where nothing is known");
    let before = pixels(&mut browser, "Origin: first byte", "--b");
    browser.press("c");
    browser.wait_for("location.search.includes('compare=week') && document.body.innerText.includes('week before')");
    browser.wait_drawn();
    assert!(before > 100 && browser.evaluate("document.querySelectorAll('.graph canvas').length").as_i64() >= Some(7));
    assert_eq!(browser.complaints, Vec::<String>::new());
}

#[test]
fn a_stretch_drawn_with_the_mouse_is_in_the_link() {
    let control = Control::start(history(), "");
    let mut browser = Browser::start(1400, 1000);
    browser.open_drawn(&control.url("/provider?cdn=fastly&range=6h"));
    let place = browser.evaluate(
        "(() => { const box = document.querySelector('[data-title=\"Pulls a minute\"] .u-over').getBoundingClientRect();
          return [box.x, box.y, box.width, box.height]; })()",
    );
    let [x, y, width, height] = [0, 1, 2, 3].map(|n| place[n].as_f64().unwrap());
    browser.drag((x + width * 0.5, y + height * 0.5), (x + width * 0.75, y + height * 0.5));
    browser.wait_for("/from=\\d+/.test(location.search)");
    browser.wait_drawn();
    let link = browser.evaluate("location.href").as_str().unwrap().to_string();
    let part =
        |name: &str| link.split(&format!("{name}=")).nth(1).unwrap().split('&').next().unwrap().parse::<i64>().unwrap();
    let length = part("until") - part("from");
    assert!((4500..6500).contains(&length), "a quarter of six hours is 5400 s, and this is {length}: {link}");
    let mut other = Browser::start(1400, 1000);
    other.open_drawn(&link);
    assert_eq!(other.evaluate("document.querySelector('.zoomed').innerText"), "zoomed");
    assert!(pixels(&mut other, "Pulls a minute", "--a") > 200);
}

#[test]
fn what_strangers_name_shows_as_text() {
    let mut batch = history();
    batch.set(Key::new(figures::BEACONS, "<b>cdn</b>", EVIL), now() - 120, 7.0);
    batch.event(Event { at: now() - 300, kind: "note".into(), tag: "x".into(), text: EVIL.into(), who: EVIL.into() });
    let control = Control::start(batch, "");
    let mut browser = Browser::start(1400, 900);
    for page in ["/beacons", "/provider?cdn=%3Cb%3Ecdn%3C/b%3E", "/events", "/"] {
        browser.open_drawn(&control.url(page));
        let shown = browser.evaluate("document.body.innerText");
        let wanted = if page == "/" { "<b>cdn</b>" } else { EVIL };
        assert!(shown.as_str().unwrap().contains(wanted), "{page}: {shown}");
        assert_eq!(browser.evaluate("document.querySelectorAll('main b, main img, main script').length"), 0);
        assert_eq!(browser.evaluate("typeof window.hit"), "undefined");
    }
    // Even a page that made a mistake could not run what is inline.
    let inline =
        "(() => { const s = document.createElement('img'); s.addEventListener('error', () => { window.failed = 1; });
        try { s.setAttribute('onerror', 'window.hit=1'); } catch { /* Trusted Types refuse it already */ }
        s.src = '/none'; document.body.append(s); })()";
    browser.evaluate(inline);
    browser.wait_for("window.failed === 1");
    assert_eq!(browser.evaluate("typeof window.hit"), "undefined");
}

#[test]
fn a_phone_scrolls_no_page_sideways() {
    let control = Control::start(ill(), "");
    let mut browser = Browser::start(390, 844);
    for page in ["/", "/provider?cdn=akamai&compare=week", "/beacons", "/events", "/support", "/staff"] {
        browser.open(&control.url(page));
        if !page.starts_with("/s") {
            browser.wait_drawn();
        }
        browser.wait_for("document.documentElement.scrollWidth <= 390");
    }
    browser.open_drawn(&control.url("/"));
    assert_eq!(browser.evaluate("getComputedStyle(document.querySelector('#providers tbody tr')).display"), "block");
}

#[test]
fn dark_and_light_follow_the_system_until_somebody_chooses() {
    let control = Control::start(history(), "");
    let mut browser = Browser::start(1200, 800);
    let paper = "getComputedStyle(document.body).backgroundColor";
    let scheme = |browser: &mut Browser, value: &str| {
        let features = serde_json::json!({ "features": [{ "name": "prefers-color-scheme", "value": value }] });
        browser.command("Emulation.setEmulatedMedia", features);
    };
    scheme(&mut browser, "light");
    browser.open_drawn(&control.url("/"));
    assert_eq!(browser.evaluate(paper), "rgb(255, 255, 255)");
    scheme(&mut browser, "dark");
    browser.wait_for(&format!("{paper} === 'rgb(15, 20, 26)'"));
    browser.press("t");
    browser.wait_for(&format!("{paper} === 'rgb(255, 255, 255)'"));
    browser.open_drawn(&control.url("/beacons"));
    assert_eq!(browser.evaluate(paper), "rgb(255, 255, 255)", "the choice stays");
}

#[test]
fn keys_lead_through_the_pages() {
    let control = Control::start(history(), "");
    let mut browser = Browser::start(1200, 800);
    browser.open_drawn(&control.url("/"));
    browser.press("?");
    browser.wait_for("document.getElementById('help').open");
    assert!(
        browser
            .evaluate("document.getElementById('help').innerText")
            .as_str()
            .unwrap()
            .contains("compare with last week")
    );
    browser.press("?");
    browser.wait_for("!document.getElementById('help').open");
    browser.press("j");
    browser.press("j");
    browser.wait_for("document.activeElement.innerText === 'fastly'");
    browser.press("Enter");
    browser.wait_for("location.pathname === '/provider' && location.search.includes('cdn=fastly')");
    browser.wait_drawn();
    browser.press("-");
    browser.wait_for("location.search.includes('range=6h')");
    browser.press("[");
    browser.wait_for("/from=\\d+&until=\\d+/.test(location.search)");
    browser.press("o");
    browser.wait_for("location.pathname === '/' && !!document.getElementById('providers')");
}

#[test]
fn beacons_stand_on_the_map_and_in_tables() {
    let control = Control::start(history(), "");
    let mut browser = Browser::start(1200, 900);
    browser.open_drawn(&control.url("/beacons"));
    let class = |code: &str| format!("document.querySelector('[data-country={code}]').getAttribute('class')");
    assert_eq!(browser.evaluate(&class("DE")), "shade9");
    assert_eq!(browser.evaluate(&class("FR")), "shade0");
    assert_ne!(browser.evaluate(&class("BR")), "shade0");
    let fill = |code: &str| format!("getComputedStyle(document.querySelector('[data-country={code}]')).fill");
    assert_ne!(browser.evaluate(&fill("DE")), browser.evaluate(&fill("FR")));
    let shown = browser.evaluate("document.querySelector('.tables').innerText");
    assert!(shown.as_str().unwrap().contains("Germany\t240"), "{shown}");
    // All three have as many, so that the last lies over the others.
    assert!(pixels(&mut browser, "Beacons a minute", "--c") > 100);
}

#[test]
fn a_new_minute_comes_by_itself() {
    let control = Control::start(history(), "");
    let mut browser = Browser::start(1200, 800);
    browser.open_drawn(&control.url("/"));
    browser.wait_for("document.getElementById('live').innerText.startsWith('live, ')");
    let mut batch = Batch::default();
    // The minute that runs; pulls of it are not yet in the hour that the page shows, but the line says that it came.
    let at = now();
    batch.set(Key::new(figures::PULLS, "akamai", ""), at, 100.0);
    write(&control.folder, batch);
    let script = format!(
        "document.getElementById('live').innerText.endsWith(new Date({at}000).toLocaleString('sv').slice(11, 16))"
    );
    browser.wait_for(&script);
}

/// Sends a request as written and returns the answer's head.
fn raw(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line
}

#[test]
fn an_event_needs_the_token_and_a_page_of_ours_and_is_written_down() {
    let control = Control::start(history(), "token = \"sesame-sesame-sesame\"\n");
    let post = |headers: &str| {
        let body = "{\"text\":\"sneaked in\"}";
        let length = body.len();
        let request = format!(
            "POST /api/events HTTP/1.1\r\nHost: {}\r\n{headers}Content-Length: {length}\r\n\r\n{body}",
            control.address
        );
        raw(control.address, &request)
    };
    assert!(post("").contains(" 401 "));
    assert!(post("Authorization: Bearer wrong\r\n").contains(" 401 "));
    assert!(post("Authorization: Bearer sesame-sesame-sesame\r\nOrigin: https://evil.example\r\n").contains(" 403 "));
    let mut browser = Browser::start(1200, 800);
    browser.open_drawn(&control.url("/events"));
    let add = |token: &str| {
        format!("(() => {{ document.getElementById('text').value = 'deploy 9c1'; document.getElementById('tag').value = 'deploy';
            document.getElementById('token').value = '{token}'; document.querySelector('#add button').click(); }})()")
    };
    browser.evaluate(&add("wrong"));
    browser.wait_for("document.getElementById('said').innerText.includes('Bearer')");
    browser.evaluate(&add("sesame-sesame-sesame"));
    browser.wait_for("document.body.innerText.includes('deploy 9c1')");
    let shown = browser.evaluate("document.body.innerText").as_str().unwrap().to_string();
    assert!(shown.matches("deploy 9c1").count() >= 2, "as an event and in the audit log: {shown}");
    assert!(!shown.contains("sneaked in"));
    assert_eq!(browser.evaluate("document.getElementById('token').value"), "sesame-sesame-sesame", "kept for this tab");
}

#[test]
fn the_support_page_tells_what_staff_can_read() {
    let probe = Origin::with(|_, stream| {
        let _ = stream.write_all(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nAccess-Control-Allow-Origin: *\r\nTiming-Allow-Origin: *\r\n\
              Access-Control-Expose-Headers: *\r\nX-Served-By: cache-fra-eddf8230020-FRA\r\nX-Cache: HIT\r\n\
              X-Request-Id: r-17\r\nServer-Timing: cdn;desc=fastly, origin;dur=12\r\n\r\nok",
        );
        Then::Keep
    });
    let hidden = Origin::with(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        Then::Keep
    });
    let support = format!(
        "[support]\nprobes = [{{ class = \"images\", url = \"http://{}/p.gif\" }}, {{ class = \"html\", url = \"http://{}/\" }}]\n",
        probe.address, hidden.address
    );
    let control = Control::start(Batch::default(), &support);
    assert_eq!(get(control.public, "/", &[]).status, 404, "strangers see the support page alone");
    assert_eq!(get(control.public, "/api/overview", &[]).status, 404);
    assert_eq!(get(control.public, "/staff", &[]).status, 404);
    let mut browser = Browser::start(1000, 800);
    browser.open(&format!("http://{}/support", control.public));
    browser.wait_for("!!document.getElementById('block')");
    let block = browser.evaluate("document.getElementById('block').innerText").as_str().unwrap().to_string();
    for wanted in [
        "client: 127.0.0.1\n",
        "resolver: unknown\n",
        "class=images | status=200 | provider=fastly | pop=cache-fra-eddf8230020-FRA | cache=HIT | id=r-17",
        "class=html | status=reached, but it tells pages nothing (CORS)",
        "code: ",
    ] {
        assert!(block.contains(wanted), "{wanted} is not in\n{block}");
    }
    browser.evaluate("document.getElementById('copy').click()");
    browser.wait_for("document.getElementById('copied').innerText !== ''");

    let mut paste = |text: &str| {
        browser.open(&control.url("/staff"));
        let script = format!(
            "(() => {{ const block = document.getElementById('block'); block.value = {};
            block.dispatchEvent(new Event('input')); return document.getElementById('read').innerText; }})()",
            serde_json::json!(text)
        );
        browser.evaluate(&script).as_str().unwrap().to_string()
    };
    let read = paste(&format!("Hello,\n> {}\nBye", block.replace('\n', "\n> ")));
    assert!(read.contains("fits") && read.contains("fastly") && read.contains("served"), "{read}");
    let read = paste(&block.replace("cache=HIT", "cache=MISS"));
    assert!(read.contains("does not fit"), "{read}");
    assert!(paste("hello").contains("no whole block"));
    let read = paste(&block.replace("class=images", "class=<img src=x onerror=window.hit=1>"));
    assert!(read.contains("<img src=x"), "{read}");
}

#[test]
fn listeners_are_bounded_and_end_with_the_control_plane() {
    let mut control = Control::start(history(), "");
    let request = format!("GET /api/live HTTP/1.1\r\nHost: {}\r\n\r\n", control.address);
    let mut listeners: Vec<TcpStream> = Vec::new();
    for _ in 0..100 {
        let mut stream = TcpStream::connect(control.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut line = String::new();
        BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains(" 200 "), "{line}");
        listeners.push(stream);
    }
    assert!(raw(control.address, &request).contains(" 503 "));
    listeners.truncate(50);
    wait_until("places are free again", || raw(control.address, &request).contains(" 200 "));
    let stopped = Command::new("kill").arg(control.child.id().to_string()).status().unwrap();
    assert!(stopped.success());
    wait_until("it ends", || control.child.try_wait().unwrap().is_some());
}
