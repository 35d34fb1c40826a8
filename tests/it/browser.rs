//! The demo's page in a real browser: every button is pressed, and what it says is compared with what happened.

mod webdriver;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::{json, Value};
use sha2::{Digest, Sha256};

use crate::demo::wait_until;
use crate::gateway::http_address;
use crate::http::Client;
use crate::launchers::process::{demo, Process};
use webdriver::Browser;

/// The page and what is behind it.
struct Page {
    browser: Browser,
    url: String,
}

/// To start a browser takes longer than all the rest, so one serves for everything.
#[test]
#[ignore = "needs chromium and chromedriver; tests/run installs them"]
fn every_button_of_the_page_works() {
    let mut demo = Process::start(demo().args(["--http", "127.0.0.1:0"]));
    let page = Page { url: demo.address(), browser: Browser::start() };
    page.open();
    page.streams();
    page.uploads(&Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock"));
    page.cancels();
    page.waits_side_by_side();
    page.panics_and_lives_on();
    page.asks_for_statuses();
    page.shows_the_request();
    page.refreshes_the_metrics();
    page.is_accessible();
    page.follows_the_reader();
    page.submits_the_form();
    page.has_no_errors_but_those_it_asked_for();
    page.open();
    assert_eq!(demo.stop().code, Some(0), "a browser that is open does not keep it");
    page.browser.wait_for_text("#pulse-text", |text| text == "the application has stopped");
}

impl Page {
    fn open(&self) {
        self.browser.open(&self.url);
        self.browser.wait_for_text("#pulse-text", |text| text == "the application answers");
    }

    fn address(&self) -> SocketAddr {
        http_address(&self.url)
    }

    fn metric(&self, name: &str) -> u64 {
        Client::connect(self.address()).get("/metrics").json()[name].as_u64().expect("a number")
    }

    fn streams(&self) {
        let cancelled = self.metric("cancelled_requests");
        self.browser.press("#stream-start");
        // If this test is slow it is not the second that is seen.
        let is_later = |text: &str| text.starts_with("Event ") && !text.starts_with("Event 1 ");
        self.browser.wait_for_text("#stream-result", is_later);
        let ticks = self.browser.run("return document.querySelectorAll('#stream-ticks i').length");
        assert!(ticks.as_u64().is_some_and(|ticks| ticks >= 2), "{ticks}");
        self.browser.press("#stream-stop");
        self.browser.wait_for_text("#stream-result", |text| text.starts_with("Stopped"));
        wait_until("the handler to be told", || self.metric("cancelled_requests") > cancelled);
    }

    fn uploads(&self, file: &Path) {
        self.browser.press("#upload-random");
        let digest = self.uploaded(8 << 20);
        assert_eq!(digest.len(), 64, "{digest}");
        self.browser.give("#upload-file", file.to_str().expect("a path in UTF-8"));
        let content = fs::read(file).expect("the file can be read");
        let expected = format!("{:x}", Sha256::digest(&content));
        self.browser.wait_for_text("#upload-result", |text| text.contains(&expected));
        assert_eq!(self.uploaded(content.len()), expected);
    }

    /// The digest on which both sides agree.
    fn uploaded(&self, length: usize) -> String {
        self.browser.wait_for_text("#upload-result", |text| text.contains("the digests are the same"));
        assert_eq!(self.browser.run("return document.querySelector('#upload-progress').value"), json!(1));
        let shown = self.browser.run(
            "return [document.querySelector('#upload-result p').textContent.replaceAll(',', ''),
                     ...[...document.querySelectorAll('#upload-result dd')].map(dd => dd.textContent)]",
        );
        assert!(shown[0].as_str().is_some_and(|text| text.starts_with(&format!("{length} bytes in "))), "{shown}");
        assert_eq!(shown[1], shown[2]);
        shown[1].as_str().expect("a digest").to_owned()
    }

    fn cancels(&self) {
        for count in 1..=2 {
            self.browser.press("#cancel-start");
            // Once may have been the page's own look at the metrics.
            wait_until("the handler to wait", || (0..3).all(|_| self.metric("active_requests") >= 2));
            self.browser.press("#cancel-abort");
            self.browser.wait_for_text("#cancel-count", |text| text == count.to_string());
            let told = self.browser.text("#cancel-result");
            assert!(told.starts_with("The handler was told disconnected after "), "{told}");
        }
    }

    /// One after the other they would take four seconds. A machine that is busy may take as long once.
    fn waits_side_by_side(&self) {
        assert!((0..3).any(|_| (1.0..4.0).contains(&self.seconds_for_four())), "never side by side");
    }

    fn seconds_for_four(&self) -> f64 {
        let begin = "4 seconds of waiting in ";
        self.browser.run("document.querySelector('#parallel-result').replaceChildren()");
        self.browser.press("#parallel-start");
        let result = self.browser.wait_for_text("#parallel-result", |text| text.starts_with(begin));
        let seconds = result.strip_prefix(begin).and_then(|rest| rest.strip_suffix(" s."));
        seconds.and_then(|seconds| seconds.parse().ok()).unwrap_or_else(|| panic!("no time: {result}"))
    }

    fn panics_and_lives_on(&self) {
        let lives_on = "The next request: 200, “hello, world”.";
        self.browser.press("#panic-early");
        self.browser.wait_for_text("#panic-result", |text| {
            text == format!("The answer: 500 Internal Server Error. {lives_on}")
        });
        self.browser.press("#panic-late");
        let broken = "The answer began with 200 and broke off: ";
        let shown = self.browser.wait_for_text("#panic-result", |text| text.starts_with(broken));
        assert!(shown.ends_with(lives_on), "{shown}");
    }

    fn asks_for_statuses(&self) {
        let rows = [
            ("200", "200 OK, with a body of 11 bytes."),
            ("204", "204 No Content, with a body of 0 bytes."),
            ("304", "304 Not Modified, with a body of 0 bytes."),
            ("418", "418 I'm a teapot, with a body of 11 bytes."),
            ("503", "503 Service Unavailable, with a body of 11 bytes."),
        ];
        for (status, result) in rows {
            self.browser.run(&format!("document.querySelector('#status-code').value = '{status}'"));
            self.browser.press("#status-ask");
            self.browser.wait_for_text("#status-result", |text| text == result);
        }
    }

    fn shows_the_request(&self) {
        self.browser.press("#request-show");
        self.browser.wait_for_text("#request-result", |text| text.contains("HTTP_USER_AGENT"));
        let variables = self.browser.run(
            "return Object.fromEntries([...document.querySelectorAll('#request-result tr')]
                .map(row => [row.cells[0].textContent, row.cells[1].textContent]))",
        );
        assert_eq!(variables["QUERY_STRING"], json!("hello=world"));
        assert_eq!(variables["HTTP_USER_AGENT"], self.browser.run("return navigator.userAgent"));
        assert_eq!(variables["HTTP_HOST"], json!(self.address().to_string()));
    }

    fn refreshes_the_metrics(&self) {
        let shown = || {
            let tiles = "[...document.querySelectorAll('#metrics div')]";
            let tile = "tile => [tile.querySelector('dt').textContent, tile.querySelector('dd').textContent]";
            self.browser.run(&format!("return Object.fromEntries({tiles}.map({tile}))"))
        };
        let before = shown();
        // One for each upload, and what else went by.
        let bytes_in = before["bytes in"].as_str().and_then(|text| text.strip_suffix(" MiB"));
        assert!(bytes_in.is_some_and(|mib| (8.0..10.0).contains(&mib.parse().expect("a number"))), "{before}");
        wait_until("the metrics to go on", || shown()["completed requests"] != before["completed requests"]);
    }

    fn is_accessible(&self) {
        let labels = self.browser.labels("button, select, textarea, input, progress, pre, a");
        assert!(labels.len() > 30 && labels.iter().all(|label| !label.is_empty()), "{labels:?}");
        let headings =
            self.browser.run("return [...document.querySelectorAll('h1, h2')].map(h => h.tagName).join(' ')");
        assert!(
            headings.as_str().is_some_and(|text| text.starts_with("H1 H2 ") && !text[2..].contains("H1")),
            "{headings}"
        );
    }

    /// No wider than a phone, and legible in light and dark.
    fn follows_the_reader(&self) {
        let phone = json!({ "width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": true });
        self.browser.devtools("Emulation.setDeviceMetricsOverride", phone);
        let overhang = self.browser.run("return document.documentElement.scrollWidth - window.innerWidth");
        assert!(overhang.as_i64().is_some_and(|pixels| pixels <= 0), "{overhang} pixels too wide for a phone");
        self.browser.devtools("Emulation.clearDeviceMetricsOverride", json!({}));
        let mut grounds = Vec::new();
        for scheme in ["light", "dark"] {
            let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
            self.browser.devtools("Emulation.setEmulatedMedia", json!({ "features": features }));
            assert_eq!(self.browser.run(FAINT_TEXT), json!([]), "text that is hard to read in {scheme}");
            grounds.push(self.browser.run("return getComputedStyle(document.body).backgroundColor"));
        }
        assert_ne!(grounds[0], grounds[1]);
        self.browser.devtools("Emulation.setEmulatedMedia", json!({ "features": [] }));
    }

    fn submits_the_form(&self) {
        for (route, expected) in [("/echo", "text=some text"), ("/digest", "{\"length\":16"), ("/count", "16")] {
            self.open();
            self.browser.press(&format!("button[formaction='{route}']"));
            self.browser.wait_for_text("body", |text| text.trim_start().starts_with(expected));
        }
    }

    fn has_no_errors_but_those_it_asked_for(&self) {
        let asked_for = |entry: &Value| {
            let message = entry["message"].as_str().unwrap_or_default();
            ["/panic ", "/panic-late ", "/status/"].iter().any(|route| message.contains(route))
        };
        let console = self.browser.console();
        let errors: Vec<_> = console.iter().filter(|entry| entry["level"] == "SEVERE" && !asked_for(entry)).collect();
        assert!(errors.is_empty(), "{errors:?}");
    }
}

/// All text whose contrast to its background is less than 4.5, which is what WCAG 2 asks for (success criterion 1.4.3).
const FAINT_TEXT: &str = "
    const parse = colour => colour.match(/[\\d.]+/g).map(Number);
    const luminance = ([r, g, b]) => [r, g, b].map(c => c / 255)
        .map(c => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const ground = element => {
        const [r, g, b, alpha = 1] = parse(getComputedStyle(element).backgroundColor);
        return alpha > 0 || !element.parentElement ? [r, g, b] : ground(element.parentElement);
    };
    const contrast = element => {
        const [a, b] = [parse(getComputedStyle(element).color), ground(element)].map(luminance);
        return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    };
    const hasText = element => [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
    return [...document.body.querySelectorAll('*:not(script, :disabled, option)')].filter(hasText)
        .filter(element => contrast(element) < 4.5)
        .map(element => `${element.tagName} ${element.textContent.trim().slice(0, 40)}: ${contrast(element).toFixed(2)}`);
";
