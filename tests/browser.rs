//! Chromium without a window, by the DevTools protocol over a pipe (`--remote-debugging-pipe`): messages end with a NUL.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// For anything that a page does. A busy machine draws slowly.
const PATIENCE: Duration = Duration::from_secs(60);
const CHROMIUM: &str = "/usr/bin/chromium";

/// A browser with one page.
pub struct Browser {
    child: Child,
    commands: ChildStdin,
    said: Receiver<Value>,
    session: String,
    number: u64,
    /// Exceptions and refusals (CSP) that the page met.
    pub complaints: Vec<String>,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts it, as wide and high as that.
    pub fn start(width: u32, height: u32) -> Self {
        assert!(std::path::Path::new(CHROMIUM).exists(), "there is no {CHROMIUM}: run `make test-tools`");
        let profile = tempfile::tempdir().unwrap();
        // The shell gives the pipes the numbers that Chromium wants them under: 3 to hear, 4 to speak.
        let script = format!("exec {CHROMIUM} \"$@\" 3<&0 4>&1 0</dev/null 1>/dev/null 2>/dev/null");
        let mut child = Command::new("sh")
            .args(["-c", &script, "chromium", "--headless=new", "--remote-debugging-pipe", "--no-sandbox"])
            .args(["--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking"])
            .args(["--disable-component-update", "--disable-extensions", "--force-device-scale-factor=1"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .env("HOME", profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let (tell, said) = channel();
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while stdout.read_until(0, &mut message).is_ok_and(|length| length > 0) {
                message.pop();
                let Ok(value) = serde_json::from_slice(&message) else { break };
                if tell.send(value).is_err() {
                    break;
                }
                message.clear();
            }
        });
        let commands = child.stdin.take().unwrap();
        let mut browser = Self {
            child,
            commands,
            said,
            session: String::new(),
            number: 0,
            complaints: Vec::new(),
            _profile: profile,
        };
        let page = browser.command("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": page["targetId"], "flatten": true });
        browser.session = browser.command("Target.attachToTarget", attach)["sessionId"].as_str().unwrap().into();
        for domain in ["Page", "Runtime", "Log"] {
            browser.command(&format!("{domain}.enable"), json!({}));
        }
        browser.resize(width, height);
        browser
    }

    /// Sends a command and waits for what comes of it.
    pub fn command(&mut self, method: &str, parameters: Value) -> Value {
        self.attempt(method, parameters).unwrap_or_else(|why| panic!("{method}: {why}"))
    }

    /// As [`Browser::command`]; a refusal comes back.
    fn attempt(&mut self, method: &str, parameters: Value) -> Result<Value, String> {
        self.number += 1;
        let mut message = json!({ "id": self.number, "method": method, "params": parameters });
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        self.commands.write_all(format!("{message}\0").as_bytes()).unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let told = self.said.recv_timeout(left).unwrap_or_else(|_| panic!("Chromium does not answer {method}"));
            if told["id"] == self.number {
                let error = &told["error"];
                return if error.is_null() { Ok(told["result"].clone()) } else { Err(error.to_string()) };
            }
            self.hear(&told);
        }
    }

    fn hear(&mut self, told: &Value) {
        match told["method"].as_str() {
            Some("Runtime.exceptionThrown") => self.complaints.push(told["params"]["exceptionDetails"].to_string()),
            Some("Log.entryAdded") if told["params"]["entry"]["level"] == "error" => {
                self.complaints.push(told["params"]["entry"].to_string());
            }
            _ => {}
        }
    }

    /// What an expression is, of the page that is shown; a promise is waited for.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        self.look(expression).unwrap_or_else(|why| panic!("{expression}: {why}"))
    }

    fn look(&mut self, expression: &str) -> Result<Value, String> {
        let parameters = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let told = self.attempt("Runtime.evaluate", parameters)?;
        let exception = &told["exceptionDetails"];
        if exception.is_null() { Ok(told["result"]["value"].clone()) } else { Err(exception.to_string()) }
    }

    /// Waits until an expression is true. On a page that is just being loaded it may fail: there may be no body yet.
    pub fn wait_for(&mut self, expression: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.look(expression);
            if found == Ok(json!(true)) {
                return;
            }
            if Instant::now() > deadline {
                let page = self.look("document.body.innerText");
                panic!("never {expression}: {found:?}\n{:?}\n{page:?}", self.complaints);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Opens a page and waits until it is loaded.
    pub fn open(&mut self, url: &str) {
        self.command("Page.navigate", json!({ "url": url }));
        self.wait_for(&format!("location.href === {} && document.readyState === 'complete'", json!(url)));
    }

    /// Opens a page of the dashboard and waits until it is drawn.
    pub fn open_drawn(&mut self, url: &str) {
        self.open(url);
        self.wait_drawn();
    }

    /// Waits until what was asked for last is drawn.
    pub fn wait_drawn(&mut self) {
        self.wait_for("!!document.getElementById('main').dataset.drawn && !document.getElementById('main').ariaBusy");
    }

    /// Makes the page as wide and high as that.
    pub fn resize(&mut self, width: u32, height: u32) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.command("Emulation.setDeviceMetricsOverride", metrics);
    }

    /// Presses a key that writes a character.
    pub fn press(&mut self, key: &str) {
        let typed = if key.chars().count() == 1 { json!(key) } else { json!("\r") };
        let code = if key == "Enter" { 13 } else { 0 };
        let down = json!({ "type": "keyDown", "key": key, "text": typed, "windowsVirtualKeyCode": code });
        self.command("Input.dispatchKeyEvent", down);
        self.command("Input.dispatchKeyEvent", json!({ "type": "keyUp", "key": key, "windowsVirtualKeyCode": code }));
    }

    /// Draws with the mouse from one place to another.
    pub fn drag(&mut self, from: (f64, f64), to: (f64, f64)) {
        let mut mouse = |kind: &str, (x, y): (f64, f64), buttons: u32| {
            let event = json!({ "type": kind, "x": x, "y": y, "button": if kind == "mouseMoved" && buttons == 0 { "none" } else { "left" },
                "buttons": buttons, "clickCount": 1 });
            self.command("Input.dispatchMouseEvent", event);
        };
        mouse("mouseMoved", from, 0);
        mouse("mousePressed", from, 1);
        mouse("mouseMoved", ((from.0 + to.0) / 2.0, to.1), 1);
        mouse("mouseMoved", to, 1);
        mouse("mouseReleased", to, 0);
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let message = json!({ "id": u32::MAX, "method": "Browser.close" });
        let _ = self.commands.write_all(format!("{message}\0").as_bytes());
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            if Instant::now() > deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
