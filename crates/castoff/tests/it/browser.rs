//! A headless Chromium that tests look at pages with. They speak its DevTools protocol over two pipes, so that no port
//! and no waiting for a time is needed: what is asked for is answered when it is done.

use std::fs;
use std::io::{BufRead as _, BufReader, PipeReader, PipeWriter, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A browser with one page.
pub struct Browser {
    child: Child,
    to: Option<PipeWriter>,
    from: BufReader<PipeReader>,
    session: String,
    asked: u64,
    /// What was written to the console, thrown, or refused by the policy of the page.
    pub complaints: Vec<String>,
    _home: TempDir,
}

/// A picture of a page.
pub struct Picture {
    width: usize,
    pixels: Vec<[u8; 4]>,
}

impl Browser {
    /// Starts one. Its home is its own and goes with it.
    pub fn start() -> Browser {
        let home = tempfile::tempdir().unwrap();
        let (child_reads, to) = std::io::pipe().unwrap();
        let (from, child_writes) = std::io::pipe().unwrap();
        let profile = format!("--user-data-dir={}", home.path().join("profile").display());
        // The protocol is spoken on the descriptors 3 and 4.
        let child = Command::new("/bin/sh")
            .args(["-c", "exec 3<&0 4>&1 </dev/null >/dev/null; exec chromium \"$@\"", "sh"])
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
            ])
            .args(["--disable-background-networking", "--disable-component-update", "--hide-scrollbars"])
            .args(["--remote-debugging-pipe", &profile, "about:blank"])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", home.path())
            .stdin(child_reads)
            .stdout(child_writes)
            .stderr(Stdio::null())
            .spawn()
            .expect("there is a shell");
        let mut browser = Browser {
            child,
            to: Some(to),
            from: BufReader::new(from),
            session: String::new(),
            asked: 0,
            complaints: Vec::new(),
            _home: home,
        };
        let target = browser.ask("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        browser.session =
            browser.ask("Target.attachToTarget", attach)["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.ask(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Asks and waits for the answer.
    pub fn ask(&mut self, method: &str, parameters: Value) -> Value {
        self.asked += 1;
        let mut message = json!({ "id": self.asked, "method": method, "params": parameters });
        if !self.session.is_empty() {
            message["sessionId"] = self.session.as_str().into();
        }
        let to = self.to.as_mut().expect("it is open until the end");
        to.write_all(format!("{message}\0").as_bytes())
            .expect("chromium is installed (`cargo xtask setup`) and runs");
        loop {
            let told = self.listen();
            if told["id"] == self.asked {
                assert!(told["error"].is_null(), "{method}: {told}");
                return told["result"].clone();
            }
        }
    }

    /// Waits for the next thing that the browser says.
    fn listen(&mut self) -> Value {
        let mut text = Vec::new();
        self.from.read_until(0, &mut text).unwrap();
        assert_eq!(text.pop(), Some(0), "chromium is installed (`cargo xtask setup`) and runs");
        let told: Value = serde_json::from_slice(&text).unwrap();
        let what = &told["params"];
        match told["method"].as_str() {
            Some("Runtime.exceptionThrown") => self.complaints.push(what["exceptionDetails"].to_string()),
            Some("Runtime.consoleAPICalled") => self.complaints.push(what["args"].to_string()),
            Some("Log.entryAdded") => self.complaints.push(what["entry"]["text"].to_string()),
            Some("Page.javascriptDialogOpening") => self.complaints.push(format!("a dialog: {what}")),
            Some("Network.requestWillBeSent") => {
                let url = what["request"]["url"].as_str().unwrap();
                if !url.starts_with("file:///") && !url.starts_with("blob:") {
                    self.complaints.push(format!("asks for {url}"));
                }
            }
            _ => {}
        }
        told
    }

    /// Opens a page of `castoff report` and waits until it is drawn.
    pub fn open(&mut self, page: &Path) {
        self.ask("Page.navigate", json!({ "url": format!("file://{}", page.display()) }));
        let drawn = "new Promise(done => { const look = () => document.documentElement?.hasAttribute('data-drawn') \
            && document.readyState === 'complete' ? done(true) : setTimeout(look, 20); look(); })";
        // The page from before may answer yet.
        let here = json!(page.display().to_string());
        while self.eval("decodeURIComponent(location.pathname)") != here {}
        assert_eq!(self.eval(drawn), true);
    }

    /// Returns what an expression is on the page.
    pub fn eval(&mut self, expression: &str) -> Value {
        let ask = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let told = self.ask("Runtime.evaluate", ask);
        assert!(told["exceptionDetails"].is_null(), "{expression}: {told}");
        told["result"]["value"].clone()
    }

    /// Presses a key.
    pub fn press(&mut self, key: &str) {
        let code = match key {
            "Enter" => 13,
            "Escape" => 27,
            "ArrowRight" => 39,
            "Tab" => 9,
            other => panic!("no code for {other}"),
        };
        let text = if key == "Enter" { "\r" } else { "" };
        for kind in ["keyDown", "keyUp"] {
            let event =
                json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text });
            self.ask("Input.dispatchKeyEvent", event);
        }
    }

    /// Shows the page to somebody who likes it light or dark, in a window of some size.
    pub fn look(&mut self, scheme: &str, width: u32, height: u32) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.ask("Emulation.setEmulatedMedia", json!({ "features": features }));
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.ask("Emulation.setDeviceMetricsOverride", size);
    }

    /// Takes a picture of what is in the window.
    pub fn picture(&mut self) -> Picture {
        let told = self.ask("Page.captureScreenshot", json!({ "format": "png" }));
        let bytes = STANDARD.decode(told["data"].as_str().unwrap()).unwrap();
        if let Some(directory) = std::env::var_os("CASTOFF_TEST_PICTURES") {
            let name = format!("{}-{}.png", std::process::id(), self.asked);
            fs::write(Path::new(&directory).join(name), &bytes).unwrap();
        }
        Picture::read(&bytes)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // With the end of the pipe, the browser ends with all its processes.
        drop(self.to.take());
        let _over = self.from.read_to_end(&mut Vec::new());
        let _ended = self.child.wait();
    }
}

impl Picture {
    /// Reads a PNG with eight bits for each of three or four colours, not interlaced, as browsers write them.
    fn read(bytes: &[u8]) -> Picture {
        let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        let (width, height) = (number(16), number(20));
        let channels = match bytes[25] {
            2 => 3,
            6 => 4,
            other => panic!("colours of type {other}"),
        };
        assert_eq!((bytes[24], bytes[28]), (8, 0));
        let (mut at, mut data) = (8, Vec::new());
        while at < bytes.len() {
            if &bytes[at + 4..at + 8] == b"IDAT" {
                data.extend_from_slice(&bytes[at + 8..at + 8 + number(at)]);
            }
            at += 12 + number(at);
        }
        let mut raw = Vec::new();
        flate2::read::ZlibDecoder::new(&data[..]).read_to_end(&mut raw).unwrap();
        let mut above = vec![0_u8; width * channels];
        let mut pixels = Vec::new();
        for line in raw.chunks(width * channels + 1).take(height) {
            let mut now = line[1..].to_vec();
            for at in 0..now.len() {
                let left = if at < channels { 0 } else { now[at - channels] };
                let corner = if at < channels { 0 } else { above[at - channels] };
                let predicted = match line[0] {
                    0 => 0,
                    1 => left,
                    2 => above[at],
                    3 => ((u16::from(left) + u16::from(above[at])) / 2) as u8,
                    _ => paeth(left, above[at], corner),
                };
                now[at] = now[at].wrapping_add(predicted);
            }
            let pixel = |part: &[u8]| [part[0], part[1], part[2], if channels == 4 { part[3] } else { 255 }];
            pixels.extend(now.chunks(channels).map(pixel));
            above = now;
        }
        Picture { width, pixels }
    }

    /// Returns the colour of a point, from the top left.
    pub fn at(&self, x: usize, y: usize) -> [u8; 4] {
        self.pixels[y * self.width + x]
    }

    /// Returns how many colours there are.
    pub fn colours(&self) -> usize {
        self.pixels.iter().collect::<std::collections::BTreeSet<_>>().len()
    }
}

fn paeth(left: u8, above: u8, corner: u8) -> u8 {
    let [a, b, c] = [left, above, corner].map(i32::from);
    let guess = a + b - c;
    [(left, a), (above, b), (corner, c)].into_iter().min_by_key(|(_, value)| (guess - value).abs()).unwrap().0
}
