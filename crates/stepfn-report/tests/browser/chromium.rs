//! Drives headless Chromium over pipes with the DevTools protocol: JSON messages, each terminated by a zero byte.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// A browser with one page.
pub(crate) struct Browser {
    process: Child,
    to: File,
    from: BufReader<File>,
    session: Option<String>,
    last: u64,
    /// Exceptions, errors and warnings since the page was opened.
    pub(crate) complaints: Vec<String>,
    loaded: bool,
}

impl Browser {
    /// Starts a browser. Without one, prints a line and returns `None`, or panics if `STEPFN_REQUIRE_BROWSER` is set.
    pub(crate) fn start(folder: &Path) -> Option<Self> {
        let Some(binary) = binary() else {
            assert!(env::var_os("STEPFN_REQUIRE_BROWSER").is_none(), "no Chromium, and STEPFN_REQUIRE_BROWSER is set");
            println!("SKIPPED: no Chromium; install it, or set STEPFN_CHROMIUM to its path, to run this test");
            return None;
        };
        let pipes = ["to", "from"].map(|name| folder.join(name));
        for pipe in &pipes {
            drop(fs::remove_file(pipe));
            assert!(Command::new("mkfifo").arg(pipe).status().unwrap().success(), "mkfifo {}", pipe.display());
        }
        // The browser reads file descriptor 3 and writes 4. The timeout ends a hanging browser after five minutes.
        let process = Command::new("sh")
            .args(["-c", r#"exec timeout 300 "$@" 3<"$0/to" 4>"$0/from""#])
            .arg(folder)
            .arg(binary)
            .args(["--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--no-first-run"])
            .args(["--disable-dev-shm-usage", "--disable-background-networking", "--hide-scrollbars"])
            .arg(format!("--user-data-dir={}", folder.join("profile").display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let to = OpenOptions::new().write(true).open(&pipes[0]).unwrap();
        let from = BufReader::new(File::open(&pipes[1]).unwrap());
        let mut browser = Self { process, to, from, session: None, last: 0, complaints: Vec::new(), loaded: false };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}))["targetId"].clone();
        let attached = browser.call("Target.attachToTarget", json!({"targetId": target, "flatten": true}));
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        Some(browser)
    }

    /// Opens a page and waits until it is loaded.
    pub(crate) fn open(&mut self, url: &str) {
        // Otherwise a URL that differs only in its fragment would not be loaded again.
        self.navigate("about:blank");
        self.complaints.clear();
        self.navigate(url);
    }

    fn navigate(&mut self, url: &str) {
        self.loaded = false;
        self.call("Page.navigate", json!({"url": url}));
        while !self.loaded {
            self.receive();
        }
    }

    /// The value of an expression on the page; waits for a promise.
    pub(crate) fn evaluate(&mut self, expression: &str) -> Value {
        let answer = self
            .call("Runtime.evaluate", json!({"expression": expression, "returnByValue": true, "awaitPromise": true}));
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Clicks the middle of the first element that matches a selector.
    pub(crate) fn click(&mut self, selector: &str) {
        let place = self.place(selector);
        for kind in ["mouseMoved", "mousePressed", "mouseReleased"] {
            let button = if kind == "mouseMoved" { "none" } else { "left" };
            let event = json!({"type": kind, "x": place[0], "y": place[1], "button": button, "clickCount": 1});
            self.call("Input.dispatchMouseEvent", event);
        }
    }

    /// Moves the mouse over the first element that matches a selector.
    pub(crate) fn hover(&mut self, selector: &str) {
        let place = self.place(selector);
        self.call("Input.dispatchMouseEvent", json!({"type": "mouseMoved", "x": place[0], "y": place[1]}));
    }

    fn place(&mut self, selector: &str) -> Value {
        let selector = Value::from(selector);
        self.evaluate(&format!(
            "(() => {{ const e = document.querySelector({selector}); e.scrollIntoView({{block: 'center'}}); \
             const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; }})()"
        ))
    }

    /// Presses a non-character key such as `ArrowRight`.
    pub(crate) fn press(&mut self, key: &str) {
        for kind in ["keyDown", "keyUp"] {
            self.call("Input.dispatchKeyEvent", json!({"type": kind, "key": key, "code": key}));
        }
    }

    /// Sets the window size and the system's colour scheme.
    pub(crate) fn look(&mut self, width: u32, height: u32, scheme: &str) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.call("Emulation.setDeviceMetricsOverride", size);
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", json!({"features": features}));
    }

    /// Saves a full-page screenshot in the folder `STEPFN_SCREENSHOTS`, if that is set.
    pub(crate) fn screenshot(&mut self, name: &str) {
        let Some(folder) = env::var_os("STEPFN_SCREENSHOTS").map(PathBuf::from) else { return };
        let image = self.call("Page.captureScreenshot", json!({"captureBeyondViewport": true}));
        let image = STANDARD.decode(image["data"].as_str().unwrap()).unwrap();
        fs::write(folder.join(name), image).unwrap();
    }

    /// Shows the page as on `screen` or on paper (`print`).
    pub(crate) fn media(&mut self, media: &str) {
        self.call("Emulation.setEmulatedMedia", json!({"media": media}));
    }

    /// Prints the page into a file in the folder `STEPFN_SCREENSHOTS`, if that is set.
    pub(crate) fn save_pdf(&mut self, name: &str) {
        let Some(folder) = env::var_os("STEPFN_SCREENSHOTS").map(PathBuf::from) else { return };
        let printed = self.call("Page.printToPDF", json!({"printBackground": false}));
        fs::write(folder.join(name), STANDARD.decode(printed["data"].as_str().unwrap()).unwrap()).unwrap();
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let mut message = json!({"id": self.last, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        self.to.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let answer = self.receive();
            if answer["id"] == self.last {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }

    /// Returns the next message; events are recorded.
    fn receive(&mut self) -> Value {
        let mut message = Vec::new();
        self.from.read_until(0, &mut message).unwrap();
        assert_eq!(message.pop(), Some(0), "the browser is gone");
        let message: Value = serde_json::from_slice(&message).unwrap();
        let params = &message["params"];
        match message["method"].as_str() {
            Some("Page.loadEventFired") => self.loaded = true,
            Some("Runtime.exceptionThrown") => self.complaints.push(params["exceptionDetails"].to_string()),
            Some("Log.entryAdded") => self.complaints.push(params["entry"].to_string()),
            Some("Runtime.consoleAPICalled") => self.complaints.push(params.to_string()),
            Some("Page.javascriptDialogOpening") => self.complaints.push(format!("a dialog: {params}")),
            _ => {}
        }
        message
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // `timeout` forwards the signal to the browser, which would otherwise outlive it.
        drop(Command::new("kill").arg(self.process.id().to_string()).status());
        drop(self.process.wait());
    }
}

fn binary() -> Option<PathBuf> {
    if let Some(named) = env::var_os("STEPFN_CHROMIUM") {
        return Some(named.into());
    }
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let folders: Vec<PathBuf> = env::split_paths(&env::var_os("PATH")?).collect();
    names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name))).find(|path| path.is_file())
}
