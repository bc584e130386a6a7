//! A headless browser, driven by the protocol `WebDriver`: JSON over HTTP on a port of this host.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

const CHROMIUM: &str = "chromium";
const DRIVER: &str = "chromedriver";
/// What begins the line in which the driver says its port.
const STARTED: &str = "was started successfully on port ";
/// The key that goes to the next thing that can be reached, as the protocol names it.
pub(super) const TAB: &str = "\u{e004}";
pub(super) const ENTER: &str = "\u{e007}";

/// A browser, which ends with this value.
#[derive(Debug)]
pub struct Browser {
    driver: Child,
    port: u16,
    session: String,
}

impl Browser {
    /// Starts one. `None` where there is none, which is said; with `BLK_REQUIRE_QEMU`, as in CI, that is a
    /// failure.
    ///
    /// # Panics
    /// If there is a browser and it does not start.
    pub fn start() -> Option<Self> {
        let is_there = |program: &str| {
            Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
        };
        if !is_there(CHROMIUM) || !is_there(DRIVER) {
            let required = std::env::var_os("BLK_REQUIRE_QEMU").is_some();
            assert!(!required, "{CHROMIUM} and {DRIVER} are required here and missing");
            eprintln!(
                "SKIPPED: {CHROMIUM} and {DRIVER} are missing (Debian packages chromium, chromium-driver)"
            );
            return None;
        }
        let mut driver = Command::new(DRIVER)
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the driver starts");
        let said = driver.stdout.take().expect("its output is piped");
        let mut lines = BufReader::new(said).lines().map_while(Result::ok);
        let port = lines.find_map(|line| line.split_once(STARTED)?.1.trim_end_matches('.').parse().ok());
        // What it says later has to be read, or it would wait for ever.
        std::thread::spawn(move || lines.for_each(drop));
        let mut browser =
            Self { driver, port: port.expect("the driver says its port"), session: String::new() };
        // Root has no sandbox, and a container little shared memory.
        let arguments = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"];
        let asked = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "performance": "ALL" },
        } } });
        let started = browser.post("/session", &asked);
        browser.session =
            format!("/session/{}", started["sessionId"].as_str().expect("a session has a name"));
        Some(browser)
    }

    /// Shows a file, as wide as this, in light or dark colours.
    pub fn open(&self, file: &Path, width: u32, is_dark: bool) {
        let scheme = if is_dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.devtools("Emulation.setEmulatedMedia", &json!({ "features": features }));
        let size = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", &size);
        let file = file.canonicalize().expect("the page is there");
        self.command("/url", &json!({ "url": format!("file://{}", file.display()) }));
    }

    /// What a script, the body of a function, returns.
    pub fn run(&self, script: &str) -> Value {
        self.command("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Presses a key.
    pub(super) fn press(&self, key: &str) {
        let pressed = json!([{ "type": "keyDown", "value": key }, { "type": "keyUp", "value": key }]);
        let keyboard = json!({ "type": "key", "id": "keyboard", "actions": pressed });
        self.command("/actions", &json!({ "actions": [keyboard] }));
    }

    /// The addresses that were asked for since this was asked last.
    pub fn requests(&self) -> Vec<String> {
        let log = self.command("/se/log", &json!({ "type": "performance" }));
        let entries = log.as_array().cloned().unwrap_or_default();
        let events = entries.iter().filter_map(|entry| serde_json::from_str(entry["message"].as_str()?).ok());
        let asked = events.filter_map(|event: Value| {
            let event = &event["message"];
            let is_request = event["method"] == "Network.requestWillBeSent";
            is_request.then(|| event["params"]["request"]["url"].as_str().unwrap_or_default().to_owned())
        });
        asked.collect()
    }

    /// Writes what is seen of a page at first, without scrolling, as a PNG.
    pub fn photograph(&self, page: &Path, file: &Path, is_dark: bool) {
        self.open(page, 900, is_dark);
        let text = self.get("/screenshot");
        let bytes = decoded(text.as_str().expect("a screenshot is text"));
        std::fs::write(file, bytes).expect("a screenshot is written");
    }

    fn devtools(&self, name: &str, parameters: &Value) -> Value {
        self.command("/goog/cdp/execute", &json!({ "cmd": name, "params": parameters }))
    }

    fn command(&self, path: &str, body: &Value) -> Value {
        self.post(&format!("{}{path}", self.session), body)
    }

    fn get(&self, path: &str) -> Value {
        self.exchange(&format!("GET {}{path}", self.session), "")
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        self.exchange(&format!("POST {path}"), &body.to_string())
    }

    fn exchange(&self, request: &str, body: &str) -> Value {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port)).expect("the driver listens");
        let head = format!(
            "{request} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        socket.write_all((head + body).as_bytes()).expect("the driver reads");
        let text = answer(&mut BufReader::new(socket));
        let answer: Value = serde_json::from_str(&text).expect("an answer is JSON");
        assert!(answer["value"]["error"].is_null(), "{request} {body}: {answer}");
        answer["value"].clone()
    }
}

/// The body of an answer.
fn answer(socket: &mut impl BufRead) -> String {
    let mut length = 0;
    loop {
        let mut line = String::new();
        socket.read_line(&mut line).expect("the driver answers");
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(bytes) = line.strip_prefix("content-length:") {
            length = bytes.trim().parse().expect("a length is a number");
        }
        if line.is_empty() {
            break;
        }
    }
    let mut text = vec![0; length];
    socket.read_exact(&mut text).expect("the driver answers");
    String::from_utf8(text).expect("an answer is text")
}

/// What base64 stands for.
fn decoded(text: &str) -> Vec<u8> {
    let value = |character: u8| match character {
        b'A'..=b'Z' => u32::from(character - b'A'),
        b'a'..=b'z' => u32::from(character - b'a') + 26,
        b'0'..=b'9' => u32::from(character - b'0') + 52,
        b'+' => 62,
        _ => 63,
    };
    let characters: Vec<u8> = text.bytes().filter(|character| *character != b'=').collect();
    let mut bytes = Vec::with_capacity(characters.len() / 4 * 3);
    for group in characters.chunks(4) {
        let bits = group.iter().fold(0, |bits, character| bits << 6 | value(*character));
        let bits = bits << (6 * (4 - group.len()));
        bytes.extend(&bits.to_be_bytes()[1..group.len()]);
    }
    bytes
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() && !std::thread::panicking() {
            self.exchange(&format!("DELETE {}", self.session), "");
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_decoded() {
        assert_eq!(decoded("YmxrLXBhZ2U="), b"blk-page");
        assert_eq!(decoded("YQ=="), b"a");
        assert_eq!(decoded("+/8A"), [0xfb, 0xff, 0]);
    }
}
