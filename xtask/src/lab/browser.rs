//! Debian's Chromium without a screen, driven over WebDriver by its ChromeDriver. Nothing of it stays.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::process::{Process, tail};

/// Until ChromeDriver listens, and for any answer of its.
const PATIENCE: Duration = Duration::from_secs(60);

/// The Tab key, as WebDriver writes it.
pub const TAB: &str = "\u{e004}";

/// One window; all of it is ended at drop.
#[derive(Debug)]
pub struct Browser {
    driver: Process,
    address: SocketAddr,
    session: String,
}

/// What the browser has noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Log {
    /// What pages and the browser said to the console.
    Console,
    /// Events of DevTools, requests among them.
    Performance,
}

impl Browser {
    /// Starts it with an empty profile in an empty folder; its time is UTC.
    pub fn start(folder: &Path) -> Result<Self> {
        let profile = folder.join("profile");
        fs::create_dir_all(&profile)?;
        // Free now; whoever takes it first has it, and then ChromeDriver ends and says so.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = Command::new("chromedriver");
        command.arg(format!("--port={}", address.port()));
        command.env("HOME", folder).env("TMPDIR", folder).env("TZ", "UTC").env("LC_ALL", "C.UTF-8");
        let driver = Process::start("chromedriver", &mut command, &folder.join("chromedriver.log"))?;
        let mut browser = Self { driver, address, session: String::new() };
        let ready = || call(address, "GET", "/status", None).is_ok_and(|status| status["ready"] == true);
        browser.driver.wait_until(PATIENCE, "it is ready", ready)?;
        let arguments = [
            "--headless",
            // As root it has no sandbox; it sees pages of ours alone.
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            &format!("--user-data-dir={}", profile.display()),
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": {
                "args": arguments,
                // Else it begins with a page of its own, which has requests and messages of its own.
                "prefs": { "session.restore_on_startup": 4, "session.startup_urls": ["about:blank"] },
            },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        }}});
        let made = call(address, "POST", "/session", Some(&wanted))
            .with_context(|| format!("start Chromium\n{}", tail(&browser.driver.log())))?;
        browser.session = made["sessionId"].as_str().context("a session without an id")?.to_owned();
        Ok(browser)
    }

    /// Goes to a page and waits until it is loaded.
    pub fn open(&self, url: &str) -> Result<()> {
        self.post("url", &json!({ "url": url })).map(drop)
    }

    /// Runs the body of a function in the page; what it returns.
    pub fn run(&self, script: &str) -> Result<Value> {
        self.post("execute/sync", &json!({ "script": script, "args": [] })).with_context(|| script.to_owned())
    }

    /// Runs it until what it returns pleases; an error with what it returned last where that takes too long.
    pub fn wait_until(
        &self,
        limit: Duration,
        goal: &str,
        script: &str,
        pleases: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let deadline = Instant::now() + limit;
        loop {
            let value = self.run(script)?;
            if pleases(&value) {
                return Ok(value);
            }
            if Instant::now() > deadline {
                bail!("not within {limit:?}: {goal}: {value:#}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// A command of DevTools.
    pub fn devtools(&self, command: &str, parameters: &Value) -> Result<Value> {
        self.post("goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
            .with_context(|| command.to_owned())
    }

    /// Makes the page so many pixels wide and high.
    pub fn resize(&self, width: u32, height: u32) -> Result<()> {
        // A window cannot be as narrow as a phone. And no `mobile`: there the page would grow with what does not fit.
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", &size).map(drop)
    }

    /// What it shows, as a PNG.
    pub fn picture(&self) -> Result<Vec<u8>> {
        let data = self.get("screenshot")?;
        let text = data.as_str().context("a screenshot that is no text")?;
        BASE64_STANDARD.decode(text).context("a screenshot that is not base64")
    }

    /// Opens another tab and looks at it; the handle of the one before, which is in the background then.
    pub fn cover(&self) -> Result<String> {
        let handle = |value: Value| value.as_str().map(str::to_owned).context("a window without a handle");
        let before = handle(self.get("window")?)?;
        let made = handle(self.post("window/new", &json!({ "type": "tab" }))?["handle"].take())?;
        self.look_at(&made)?;
        Ok(before)
    }

    /// Closes the tab that is looked at, and looks at another.
    pub fn close(&self, handle: &str) -> Result<()> {
        call(self.address, "DELETE", &format!("/session/{}/window", self.session), None)?;
        self.look_at(handle)
    }

    /// Looks at a tab.
    pub fn look_at(&self, handle: &str) -> Result<()> {
        self.post("window", &json!({ "handle": handle })).map(drop)
    }

    /// Presses a key and lets it go.
    pub fn press(&self, key: &str) -> Result<()> {
        let actions = json!([{ "type": "keyDown", "value": key }, { "type": "keyUp", "value": key }]);
        self.post("actions", &json!({ "actions": [{ "type": "key", "id": "keys", "actions": actions }] })).map(drop)
    }

    /// What a screen reader is told that the first element of a CSS selector is: its role.
    pub fn role(&self, selector: &str) -> Result<String> {
        let found = self.post("element", &json!({ "using": "css selector", "value": selector }))?;
        let id = found.as_object().and_then(|ids| ids.values().next()).and_then(Value::as_str);
        let role = self.get(&format!("element/{}/computedrole", id.context("an element without an id")?))?;
        role.as_str().map(str::to_owned).context("no role")
    }

    /// What came to a log since it was asked for last.
    pub fn log(&self, log: Log) -> Result<Vec<Value>> {
        let kind = match log {
            Log::Console => "browser",
            Log::Performance => "performance",
        };
        let entries = self.post("se/log", &json!({ "type": kind }))?;
        entries.as_array().cloned().context("a log that is no list")
    }

    /// Where requests went since the last time that this was asked.
    pub fn requests(&self) -> Result<Vec<String>> {
        let mut urls = Vec::new();
        for entry in self.log(Log::Performance)? {
            let event: Value = serde_json::from_str(entry["message"].as_str().context("an event without text")?)?;
            let (method, of) = (&event["message"]["method"], &event["message"]["params"]);
            let url = match method.as_str() {
                Some("Network.requestWillBeSent") => &of["request"]["url"],
                Some("Network.webSocketCreated") => &of["url"],
                Some(_) | None => continue,
            };
            urls.push(url.as_str().context("a request without a URL")?.to_owned());
        }
        Ok(urls)
    }

    fn get(&self, what: &str) -> Result<Value> {
        call(self.address, "GET", &format!("/session/{}/{what}", self.session), None)
    }

    fn post(&self, what: &str, body: &Value) -> Result<Value> {
        call(self.address, "POST", &format!("/session/{}/{what}", self.session), Some(body))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Chromium ends with its session; ChromeDriver after it.
        if !self.session.is_empty()
            && let Err(error) = call(self.address, "DELETE", &format!("/session/{}", self.session), None)
        {
            eprintln!("lab: {error:#}");
        }
    }
}

/// One command: what it answers, or an error with its words.
fn call(address: SocketAddr, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
    let body = body.map(Value::to_string).unwrap_or_default();
    let mut stream = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json; charset=utf-8\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )?;
    let said = body_of(&mut BufReader::new(stream)).with_context(|| format!("{method} {path}"))?;
    let mut said: Value = serde_json::from_slice(&said).with_context(|| format!("{method} {path}: no JSON"))?;
    let value = said["value"].take();
    match value["error"].as_str() {
        Some(error) => bail!("{method} {path}: {error}: {}", value["message"].as_str().unwrap_or_default()),
        None => Ok(value),
    }
}

/// The body of an answer by the length that its head says: ChromeDriver leaves the connection open whatever it is asked.
fn body_of(answer: &mut impl BufRead) -> Result<Vec<u8>> {
    let mut length = None;
    loop {
        let mut line = String::new();
        if answer.read_line(&mut line)? == 0 {
            bail!("the answer ends within its head");
        }
        match line.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = Some(value.trim().parse()?),
            Some(_) => {}
            None if line.trim_end().is_empty() => break,
            None => {}
        }
    }
    let mut body = vec![0; length.context("an answer without a length")?];
    answer.read_exact(&mut body)?;
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_by_its_length_and_no_further() {
        let mut answer = &b"HTTP/1.1 200 OK\r\nContent-Length:2\r\nConnection:close\r\n\r\n{}more"[..];
        assert_eq!(body_of(&mut answer).unwrap(), b"{}");
        assert_eq!(answer, b"more");
        assert!(body_of(&mut &b"HTTP/1.1 200 OK\r\n"[..]).is_err());
        assert!(body_of(&mut &b"HTTP/1.1 200 OK\r\n\r\n{}"[..]).is_err());
    }
}
