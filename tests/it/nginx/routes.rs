//! Verifies that every route of the demo gives its answer through nginx.

use serde_json::{json, Value};

use super::{any, on_sites, Site};
use crate::demo::wait_until;
use crate::http::{Request, Response};

const TEXT: Option<&str> = Some("text/plain; charset=utf-8");
const NO_BODY: Option<&str> = None;

/// Asks on one client connection, so that an answer that is too long or too short spoils the next one.
#[track_caller]
fn check(site: &Site, rows: &[(Request, u16, Option<&str>, &str)]) {
    let mut client = site.client();
    for (request, status, content_type, body) in rows {
        let response = client.exchange(request);
        let seen = (response.status, response.header("Content-Type"), response.text());
        assert_eq!(seen, (*status, *content_type, *body), "{request}");
    }
}

fn get(target: impl AsRef<[u8]>) -> Request {
    Request::new("GET", target)
}

fn post(target: &str, body: &str) -> Request {
    Request::new("POST", target).body(body)
}

#[test]
#[ignore = "needs nginx; tests/run installs it"]
fn routes_answer_with_fixed_texts() {
    let rows = [
        (get("/hello"), 200, TEXT, "hello, world\n"),
        (get("/hello?and=a&query"), 200, TEXT, "hello, world\n"),
        (post("/hello", "unread"), 200, TEXT, "hello, world\n"),
        (post("/echo", "text").header("Content-Type", "x/y; z=1"), 200, Some("x/y; z=1"), "text"),
        (post("/count", "12345"), 200, TEXT, "5\n"),
        (post("/count", ""), 200, TEXT, "0\n"),
        (get("/count"), 200, TEXT, "0\n"),
        (get("/bytes?n=6"), 200, Some("application/octet-stream"), "\0\u{1}\u{2}\u{3}\u{4}\u{5}"),
        (get("/sleep?ms=3"), 200, TEXT, "slept 3 ms\n"),
        (get("/drip?n=3&ms=2"), 200, TEXT, "tick 0\ntick 1\ntick 2\n"),
        (post("/ignore?ms=1", "unread"), 200, TEXT, "ignored\n"),
        (get("/lie?declared=4&sent=4"), 200, TEXT, "xxxx"),
        (get("/lie?declared=4&sent=9"), 200, TEXT, "xxxx"),
        (get("/hello"), 200, TEXT, "hello, world\n"),
    ];
    on_sites(any, |site| check(site, &rows));
}

#[test]
#[ignore = "needs nginx; tests/run installs it"]
fn the_digest_is_that_of_the_body() {
    let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    on_sites(any, |site| {
        let digest = site.client().exchange(&post("/digest", "abc"));
        assert_eq!((digest.status, digest.header("Content-Type")), (200, Some("application/json")));
        assert_eq!(digest.json(), json!({ "length": 3, "sha256": sha256 }));
    });
}

#[test]
#[ignore = "needs nginx; tests/run installs it"]
fn routes_answer_with_the_status_asked_for() {
    let rows = [
        ("/status/200", 200),
        ("/status/201", 201),
        ("/status/404", 404),
        ("/status/418", 418),
        ("/status/500", 500),
        ("/status/503", 503),
        ("/status/599", 599),
        ("/status/none", 400),
        ("/status/101", 400),
        ("/exit?code=3", 200),
        ("/stderr?text=x", 200),
        ("/header?name=X-A&value=b", 200),
        ("/header?name=a%20b&value=b", 400),
        ("/header?name=X-A&value=b%0d%0aX-B:%20c", 400),
        ("/bytes?n=many", 400),
        ("/panic", 500),
        ("/nowhere", 404),
    ];
    on_sites(any, |site| {
        let mut client = site.client();
        for (target, status) in rows {
            let response = client.get(target);
            assert_eq!(response.status, status, "{target}");
            assert!(!response.body.is_empty(), "{target} says nothing");
            assert_eq!(response.header("X-B"), None, "{target} injects a header");
        }
    });
}

#[test]
#[ignore = "needs nginx; tests/run installs it"]
fn answers_without_a_body_leave_the_connection_in_step() {
    let head = |target| Request::new("HEAD", target);
    let rows = [
        (head("/hello"), 200, TEXT, ""),
        (head("/bytes?n=100000"), 200, Some("application/octet-stream"), ""),
        (head("/drip?n=2&ms=1"), 200, TEXT, ""),
        (head("/status/404"), 404, TEXT, ""),
        (get("/status/204"), 204, NO_BODY, ""),
        (get("/status/304"), 304, NO_BODY, ""),
        (head("/status/204"), 204, NO_BODY, ""),
        (get("/hello"), 200, TEXT, "hello, world\n"),
    ];
    on_sites(any, |site| {
        check(site, &rows);
        let length = |target| site.client().exchange(&head(target)).header("Content-Length").map(str::to_owned);
        assert_eq!(length("/hello").as_deref(), Some("13"));
        assert_eq!(length("/bytes?n=100000").as_deref(), Some("100000"));
    });
}

#[test]
#[ignore = "needs nginx; tests/run installs it"]
fn bodies_of_known_length_announce_it() {
    let rows = [
        ("/hello", Some("13")),
        ("/bytes?n=0", Some("0")),
        ("/bytes?n=70000", Some("70000")),
        ("/redirect?to=/x", Some("0")),
        ("/drip?n=1&ms=1", None),
    ];
    on_sites(any, |site| {
        for (target, length) in rows {
            assert_eq!(site.get(target).header("Content-Length"), length, "{target}");
        }
    });
}

#[test]
#[ignore = "needs nginx; tests/run installs it"]
fn headers_of_the_answer_arrive() {
    on_sites(any, |site| {
        let redirect = site.get("/redirect?to=https%3A%2F%2Felsewhere.test%2Fx%3Fy");
        assert_eq!((redirect.status, redirect.header("Location")), (302, Some("https://elsewhere.test/x?y")));
        assert_eq!(site.get("/redirect?to=/hello").header("Location"), Some("/hello"));
        assert_eq!(site.get("/header?name=X-Demo&value=a%20%22b%22").header("X-Demo"), Some("a \"b\""));
    });
}

#[test]
#[ignore = "needs nginx; tests/run installs it"]
fn the_page_links_every_route() {
    let routes = "/hello /env /headers /echo /digest /count /bytes /sleep /drip /status/ /ignore /stderr /panic \
                  /panic-late /exit /header /redirect /lie /wait-abort /metrics";
    on_sites(any, |site| {
        let page = site.get("/");
        assert_eq!((page.status, page.header("Content-Type")), (200, Some("text/html; charset=utf-8")));
        for route in routes.split_whitespace() {
            assert!(page.text().contains(&format!("href=\"{route}")), "no link to {route}");
        }
    });
}

#[test]
#[ignore = "needs nginx; tests/run installs it"]
fn metrics_count_what_happens() {
    on_sites(any, |site| {
        let names =
            ["active_requests", "open_connections", "completed_requests", "cancelled_requests", "rejected_requests"];
        let before = site.get("/metrics").json();
        assert!(names.iter().all(|name| before[name].is_u64()), "{before}");
        assert_eq!((&before["active_requests"], &before["cancelled_requests"]), (&json!(1), &json!(0)));
        site.still_works();
        site.still_works();
        // The first request for the counters has been completed since, too.
        let completed = before["completed_requests"].as_u64().expect("a number");
        assert_eq!(site.metric("completed_requests"), completed + 3);
    });
}

#[test]
#[ignore = "needs nginx; tests/run installs it"]
fn meta_variables_arrive() {
    on_sites(any, |site| {
        let mut client = site.client();
        let request = post("/env?a=b&c=%2F", "body").header("Content-Type", "a/b").header("Proxy", "evil");
        let response = client.exchange(&request);
        assert_eq!(response.header("Content-Type"), Some("application/json"));
        let environment = response.json();
        let port = client.port().to_string();
        let rows = [
            ("REQUEST_METHOD", "POST"),
            ("REQUEST_URI", "/env?a=b&c=%2F"),
            ("QUERY_STRING", "a=b&c=%2F"),
            ("SCRIPT_NAME", "/env"),
            ("CONTENT_TYPE", "a/b"),
            ("CONTENT_LENGTH", "4"),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
            ("SERVER_NAME", "demo.test"),
            ("REQUEST_SCHEME", "http"),
            ("GATEWAY_INTERFACE", "CGI/1.1"),
            ("REMOTE_ADDR", "127.0.0.1"),
            ("REMOTE_PORT", &port),
            ("REMOTE_USER", ""),
            ("REDIRECT_STATUS", "200"),
            ("HTTP_HOST", "demo.test"),
            ("HTTP_PROXY", "evil"),
        ];
        for (name, value) in rows {
            assert_eq!(environment[name], value, "{name}");
        }
    });
}

/// The URI, and the values of a header as one text: nginx may have merged them, their order stays.
fn seen_by_the_handler(response: &Response, header: &str, separator: &str) -> (String, Option<String>) {
    let headers = response.json();
    let values: Option<Vec<&str>> =
        headers["headers"][header].as_array().map(|values| values.iter().filter_map(Value::as_str).collect());
    (headers["uri"].as_str().expect("a URI").to_owned(), values.map(|values| values.join(separator)))
}

#[test]
#[ignore = "needs nginx; tests/run installs it"]
fn headers_of_the_request_arrive() {
    let request = get("/headers")
        .header("X-Dup", "a")
        .header("Cookie", "a=1")
        .header("x-dup", "b")
        .header("Cookie", "b=2")
        .header("X-Utf8", "caf\u{e9}")
        .header("X-Empty", "")
        .header("Proxy", "http://evil.test")
        .header("Authorization", "Basic eDp5");
    let rows = [
        ("x-dup", ", ", Some("a, b")),
        ("cookie", "; ", Some("a=1; b=2")),
        ("x-utf8", "", Some("caf\u{e9}")),
        ("x-empty", "", Some("")),
        ("authorization", "", Some("Basic eDp5")),
        ("host", "", Some("demo.test")),
        ("proxy", "", None),
        ("content-length", "", None),
    ];
    on_sites(any, |site| {
        let response = site.client().exchange(&request);
        for (name, separator, value) in rows {
            let seen = seen_by_the_handler(&response, name, separator).1;
            assert_eq!(seen.as_deref(), value, "{name}");
        }
        let head = response.json();
        assert_eq!((&head["method"], &head["version"]), (&json!("GET"), &json!("HTTP/1.1")));
    });
}

#[test]
#[ignore = "needs nginx; tests/run installs it"]
fn content_headers_arrive_once() {
    let request = Request::new("PUT", "/headers").header("Content-Type", "a/b").body("12345");
    on_sites(any, |site| {
        let head = site.client().exchange(&request).json();
        assert_eq!(head["method"], "PUT");
        assert_eq!(head["headers"]["content-type"], json!(["a/b"]));
        assert_eq!(head["headers"]["content-length"], json!(["5"]));
    });
}

#[test]
#[ignore = "needs nginx; tests/run installs it"]
fn odd_targets_arrive_as_they_were_sent() {
    let rows: &[(&[u8], &str)] = &[
        (b"/headers?", "/headers?"),
        (b"/headers/a%2Fb%20c", "/headers/a%2Fb%20c"),
        (b"/headers//twice///", "/headers//twice///"),
        (b"/headers/./x/../y", "/headers/./x/../y"),
        (b"/headers/%C3%A9?q=%2F+%zz&&=", "/headers/%C3%A9?q=%2F+%zz&&="),
        (b"/headers/caf\xc3\xa9", "/headers/caf\u{e9}"),
        (b"/headers/\xff", "/headers/%FF"),
        (b"/headers/x?\xc3\xa9", "/headers/x?\u{e9}"),
        (b"http://demo.test/headers/absolute?x", "/headers/absolute?x"),
    ];
    on_sites(any, |site| {
        let mut client = site.client();
        for (target, expected) in rows {
            let response = client.exchange(&get(target));
            let shown = String::from_utf8_lossy(target);
            assert_eq!(response.status, 200, "{shown}");
            assert_eq!(seen_by_the_handler(&response, "host", "").0, *expected, "{shown}");
        }
    });
}

#[test]
#[ignore = "needs nginx; tests/run installs it"]
fn a_large_head_arrives() {
    let value = "v".repeat(7000);
    on_sites(any, |site| {
        let target = format!("/headers?{}", "q".repeat(7000));
        let response = site.client().exchange(&get(&target).header("X-Large", &value).header("X-Larger", &value));
        assert_eq!(seen_by_the_handler(&response, "x-large", ""), (target, Some(value.clone())));
    });
}

#[test]
#[ignore = "needs nginx; tests/run installs it"]
fn stderr_reaches_the_error_log() {
    on_sites(any, |site| {
        assert_eq!(site.get("/stderr?text=unmistakable%20words").status, 200);
        wait_until("the text in the error log", || site.nginx.error_log().contains("unmistakable words"));
    });
}
