//! Cases: what a request says arrives at the handler, and what the handler answers arrives at the client.

use serde_json::Value;

use super::{Ability, FrontEnd, Site};
use crate::demo::wait_until;
use crate::http::Request;

/// All that is odd and legal in a target.
const ODD_TARGET: &str = "/headers/a%2Fb%20c//./x/../%C3%A9;v=1?q=%2F+%zz&&=";

pub(super) fn plain_targets_are_answered(front_end: &'static FrontEnd) {
    let rows = [
        ("/hello", 200, "hello, world\n"),
        ("/hello?", 200, "hello, world\n"),
        ("/hello?and=a&query", 200, "hello, world\n"),
        ("/count", 200, "0\n"),
        ("/drip?n=3&ms=2", 200, "tick 0\ntick 1\ntick 2\n"),
        ("/exit?code=3", 200, "application status 3\n"),
        ("/status/201", 201, "status 201\n"),
        ("/status/404", 404, "status 404\n"),
        ("/nowhere", 404, "there is no route /nowhere\n"),
        // The last one, because Apache closes the client's connection after it.
        ("/status/500", 500, "status 500\n"),
    ];
    let site = Site::start(front_end);
    let mut client = site.client();
    for (target, status, body) in rows {
        let response = client.get(target);
        assert_eq!((response.status, response.text()), (status, body), "{target}");
        assert_eq!(response.header("Content-Type"), Some("text/plain; charset=utf-8"), "{target}");
    }
}

pub(super) fn an_odd_target_arrives(front_end: &'static FrontEnd) {
    let site = Site::start(front_end);
    let head = site.get(ODD_TARGET).json();
    assert_eq!(head["uri"], ODD_TARGET);
}

/// The values of a header; the web server may have merged them, their order stays.
fn seen_by_the_handler<'a>(head: &'a Value, name: &str) -> Vec<&'a str> {
    head["headers"][name].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

pub(super) fn headers_arrive(front_end: &'static FrontEnd) {
    let request = Request::new("PUT", "/headers")
        .header("X-Dup", "a")
        .header("x-dup", "b")
        .header("Cookie", "a=1; b=2")
        .header("Content-Type", "a/b")
        .header("Authorization", "Basic eDp5")
        .header("Proxy", "http://evil.test")
        .body("12345");
    let rows = [
        ("x-dup", "a, b"),
        ("cookie", "a=1; b=2"),
        ("content-type", "a/b"),
        ("content-length", "5"),
        ("authorization", "Basic eDp5"),
        ("host", "demo.test"),
        ("proxy", ""),
    ];
    let site = Site::start(front_end);
    let head = site.client().exchange(&request).json();
    for (name, value) in rows {
        assert_eq!(seen_by_the_handler(&head, name).join(", "), value, "{name}");
    }
    assert_eq!((&head["method"], &head["version"]), (&"PUT".into(), &"HTTP/1.1".into()));
}

pub(super) fn answers_without_a_body_leave_the_connection_in_step(front_end: &'static FrontEnd) {
    let rows = [
        ("HEAD", "/hello", 200, ""),
        ("HEAD", "/bytes?n=100000", 200, ""),
        ("HEAD", "/drip?n=2&ms=1", 200, ""),
        ("HEAD", "/status/404", 404, ""),
        ("GET", "/status/204", 204, ""),
        ("GET", "/status/304", 304, ""),
        ("HEAD", "/status/204", 204, ""),
        ("GET", "/hello", 200, "hello, world\n"),
    ];
    let keeps_all = front_end.can(Ability::KeepClientsAfterHead);
    let mut closed = 0;
    let site = Site::start(front_end);
    let mut client = site.client();
    for (method, target, status, body) in rows {
        let response = client.exchange(&Request::new(method, target));
        assert_eq!((response.status, response.text()), (status, body), "{method} {target}");
        let closes = response.header("Connection") == Some("close");
        assert!(!closes || method == "HEAD" && !keeps_all, "{method} {target} closes the connection");
        if closes {
            closed += 1;
            client = site.client();
        }
    }
    assert_eq!(closed == 0, keeps_all, "connections that were closed: {closed}");
}

pub(super) fn a_redirect_arrives(front_end: &'static FrontEnd) {
    let site = Site::start(front_end);
    for (to, location) in [("https%3A%2F%2Felsewhere.test%2Fx%3Fy", "https://elsewhere.test/x?y"), ("/hello", "/hello")]
    {
        let response = site.get(&format!("/redirect?to={to}"));
        assert_eq!((response.status, response.header("Location")), (302, Some(location)));
    }
}

pub(super) fn a_panic_becomes_500(front_end: &'static FrontEnd) {
    let site = Site::start(front_end);
    let response = site.get("/panic");
    assert_eq!(response.status, 500);
    site.still_works();
}

pub(super) fn stderr_reaches_the_log(front_end: &'static FrontEnd) {
    let site = Site::start(front_end);
    let response = site.get("/stderr?text=unmistakable%20words");
    assert_eq!((response.status, response.text()), (200, "said on FCGI_STDERR\n"));
    let is_logged = || site.web_server.logs().contains("unmistakable words");
    if front_end.can(Ability::LogStderr) {
        wait_until("the text in the log", is_logged);
    }
    site.still_works();
    assert_eq!(is_logged(), front_end.can(Ability::LogStderr));
}
