//! A browser that is told what to do: Chromium, by way of chromedriver and WebDriver, which is JSON over HTTP.

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::{json, Value};
use tempfile::TempDir;

use crate::demo::wait_until;
use crate::http::{Client, Request};

/// The longest that one command may take. To start the browser is one, and the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// It talks to nobody but the page.
const ARGUMENTS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,900",
];

/// The key of an element's reference (WebDriver section 12.1).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one window. It ends when this is dropped.
pub(super) struct Browser {
    driver: Driver,
    /// The path of its session.
    session: String,
}

impl Browser {
    pub(super) fn start() -> Browser {
        let driver = Driver::start();
        let profile = format!("--user-data-dir={}", driver.directory.path().join("profile").display());
        let arguments: Vec<&str> = ARGUMENTS.iter().copied().chain([profile.as_str()]).collect();
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": { "args": arguments },
        } } });
        let session = driver.command("POST", "/session", &wanted);
        let id = session["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {session}")).to_owned();
        Browser { driver, session: format!("/session/{id}") }
    }

    /// Opens a page and waits for it.
    pub(super) fn open(&self, url: &str) {
        self.post("/url", &json!({ "url": url }));
    }

    /// Presses a button as a mouse does. One that cannot be pressed is a failure.
    pub(super) fn press(&self, selector: &str) {
        self.post(&format!("/element/{}/click", self.element(selector)), &json!({}));
    }

    /// Types into an element, or gives a file to one that wants a file.
    pub(super) fn give(&self, selector: &str, text: &str) {
        self.post(&format!("/element/{}/value", self.element(selector)), &json!({ "text": text }));
    }

    /// What assistive technology calls each element that matches.
    pub(super) fn labels(&self, selector: &str) -> Vec<String> {
        let found = self.post("/elements", &json!({ "using": "css selector", "value": selector }));
        let ids = found.as_array().expect("a list").iter().map(|element| element[ELEMENT].as_str().expect("an id"));
        ids.map(|id| text(&self.get(&format!("/element/{id}/computedlabel")))).collect()
    }

    /// What a piece of JavaScript returns.
    pub(super) fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// The text of an element.
    pub(super) fn text(&self, selector: &str) -> String {
        text(&self.run(&format!("return document.querySelector({}).textContent", json!(selector))))
    }

    /// Waits until the text of an element is as wanted.
    pub(super) fn wait_for_text(&self, selector: &str, is_wanted: impl Fn(&str) -> bool) -> String {
        let mut last = String::new();
        wait_until(&format!("the text of {selector} to be as it should"), || {
            let text = self.text(selector);
            if text != last {
                // Shown when it fails.
                eprintln!("{selector} says: {text}");
                last = text;
            }
            is_wanted(&last)
        });
        last
    }

    /// A command of the DevTools protocol, for what WebDriver cannot do.
    pub(super) fn devtools(&self, command: &str, parameters: Value) {
        self.post("/goog/cdp/execute", &json!({ "cmd": command, "params": parameters }));
    }

    /// The messages on the console since it was last asked.
    pub(super) fn console(&self) -> Vec<Value> {
        self.post("/se/log", &json!({ "type": "browser" })).as_array().expect("a list").clone()
    }

    fn element(&self, selector: &str) -> String {
        let found = self.post("/element", &json!({ "using": "css selector", "value": selector }));
        text(&found[ELEMENT])
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        self.driver.command("POST", &format!("{}{path}", self.session), body)
    }

    fn get(&self, path: &str) -> Value {
        self.driver.command("GET", &format!("{}{path}", self.session), &Value::Null)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let ended = self.driver.try_command("DELETE", &self.session, &Value::Null);
        if let Err(error) = ended {
            eprintln!("the browser cannot be ended: {error}");
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// The chromedriver process.
struct Driver {
    process: Child,
    address: SocketAddr,
    directory: TempDir,
}

impl Driver {
    fn start() -> Driver {
        let directory = tempfile::Builder::new().prefix("fcgi-browser-").tempdir().expect("a temporary directory");
        let log = directory.path().join("log");
        let output = File::create(&log).expect("a file for what chromedriver says");
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").stdin(Stdio::null()).stderr(output.try_clone().expect("a descriptor")).stdout(output);
        // Whatever the browser leaves behind goes with the directory.
        command.env("TMPDIR", directory.path()).env("HOME", directory.path());
        let process = command.spawn().unwrap_or_else(|error| missing(&error));
        let mut driver = Driver { process, address: SocketAddr::from(([127, 0, 0, 1], 0)), directory };
        wait_until("chromedriver to listen", || {
            driver.address.set_port(announced_port(&log).unwrap_or(0));
            driver.address.port() != 0
        });
        driver
    }

    /// The result of a command; one that fails fails the test.
    fn command(&self, method: &'static str, path: &str, body: &Value) -> Value {
        self.try_command(method, path, body).unwrap_or_else(|error| panic!("{method} {path} {body}: {error}"))
    }

    fn try_command(&self, method: &'static str, path: &str, body: &Value) -> Result<Value, Value> {
        // It serves nobody who calls it by another name.
        let request = Request::new(method, path).header("Host", self.address.to_string());
        let request = if body.is_null() { request } else { request.body(body.to_string()) };
        let answer = Client::with_timeout(self.address, PATIENCE).exchange(&request);
        let mut result = answer.json();
        if answer.status == 200 {
            Ok(result["value"].take())
        } else {
            Err(result["value"]["message"].take())
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Both fail only when the process has ended and been waited for.
        let _: io::Result<()> = self.process.kill();
        let _: io::Result<ExitStatus> = self.process.wait();
    }
}

fn announced_port(log: &Path) -> Option<u16> {
    let text = fs::read_to_string(log).expect("the log can be read");
    let (_, rest) = text.split_once("started successfully on port ")?;
    rest.split_once('.')?.0.parse().ok()
}

fn missing(error: &io::Error) -> ! {
    panic!("chromedriver cannot be run ({error}): tests/run installs it, or on Debian: apt-get install chromium-driver")
}
