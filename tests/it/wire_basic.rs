//! Verifies that each route of the demo answers what its page promises.

use serde_json::json;

use crate::demo::{over_both, wait_until, Demo};
use crate::peer::answer::Answer;

fn get(demo: &Demo, target: &str) -> Answer {
    let mut connection = demo.connect();
    connection.request(1).get(target).send();
    connection.answer(1)
}

#[test]
fn hello_is_a_whole_text_over_every_transport() {
    over_both(&[], |demo| {
        let answer = get(demo, "/hello");
        assert_eq!(answer.text(), "hello, world\n");
        assert_eq!(answer.header("Content-Type"), Some("text/plain; charset=utf-8"));
        assert_eq!(answer.header("Content-Length"), Some("13"));
        assert_eq!((answer.app_status, answer.protocol_status), (0, 0));
        assert!(answer.stderr.is_empty());
    });
}

#[test]
fn the_first_page_is_html_that_names_the_routes() {
    let answer = get(&Demo::unix(&[]), "/");
    assert!(answer.header("Content-Type").is_some_and(|kind| kind.starts_with("text/html")));
    let routes = ["/hello", "/env", "/headers", "/echo", "/digest", "/count", "/bytes", "/sleep", "/drip", "/status/"];
    let more = ["/ignore", "/stderr", "/panic", "/panic-late", "/exit", "/header", "/redirect", "/lie", "/wait-abort"];
    for route in routes.iter().chain(&more).chain(&["/metrics"]) {
        assert!(answer.text().contains(route), "{route} is missing");
    }
}

#[test]
fn env_shows_every_meta_variable() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    connection.request(1).get("/env?a=1").param("X_OWN", "as it is").param("EMPTY", "").send();
    let expected = json!({
        "GATEWAY_INTERFACE": "CGI/1.1", "SERVER_SOFTWARE": "test", "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "localhost", "SERVER_PORT": "80", "REMOTE_ADDR": "127.0.0.1", "CONTENT_LENGTH": "",
        "HTTP_HOST": "localhost", "REQUEST_METHOD": "GET", "REQUEST_URI": "/env?a=1", "SCRIPT_NAME": "/env",
        "QUERY_STRING": "a=1", "X_OWN": "as it is", "EMPTY": "",
    });
    assert_eq!(connection.answer(1).json(), expected);
}

#[test]
fn headers_shows_the_request_as_the_handler_sees_it() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    let request = connection.request(1).method("PUT", "/headers/below?x=1").param("SERVER_PROTOCOL", "HTTP/1.0");
    request.param("HTTP_ACCEPT_LANGUAGE", "de, en").send();
    let seen = connection.answer(1).json();
    assert_eq!(seen["method"], "PUT");
    assert_eq!(seen["uri"], "/headers/below?x=1");
    assert_eq!(seen["version"], "HTTP/1.0");
    assert_eq!(seen["headers"], json!({ "host": ["localhost"], "accept-language": ["de, en"] }));
}

#[test]
fn bodies_come_back_counted_digested_or_whole() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    connection.request(1).post("/count").body(b"hello").send();
    assert_eq!(connection.answer(1).text(), "5\n");
    connection.request(1).post("/digest").body(b"hello").send();
    let sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    assert_eq!(connection.answer(1).json(), json!({ "length": 5, "sha256": sha256 }));
    connection.request(1).post("/echo").param("CONTENT_TYPE", "text/x-own").body(b"hello").send();
    let echo = connection.answer(1);
    assert_eq!((echo.text(), echo.header("Content-Type")), ("hello", Some("text/x-own")));
    connection.request(1).post("/ignore?ms=0").body(b"hello").send();
    assert_eq!(connection.answer(1).text(), "ignored\n");
}

#[test]
fn bytes_are_as_many_as_asked_for_in_legal_records() {
    over_both(&[], |demo| {
        for n in [0, 1, 250, 65_528, 65_529, 1_000_003] {
            let answer = get(demo, &format!("/bytes?n={n}"));
            let expected: Vec<u8> = (0..n).map(|i| (i % 251) as u8).collect();
            assert!(answer.body == expected, "{n} bytes: {} came, or others", answer.body.len());
            assert_eq!(answer.content_length().unwrap_or(n), n);
        }
    });
}

#[test]
fn sleep_answers_when_it_has_slept() {
    assert_eq!(get(&Demo::unix(&[]), "/sleep?ms=20").text(), "slept 20 ms\n");
}

#[test]
fn drip_sends_each_line_when_it_is_written() {
    let answer = get(&Demo::unix(&[]), "/drip?n=3&ms=20");
    let lines: Vec<&str> = answer.text().lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines.iter().all(|line| line.starts_with("tick ")), "{lines:?}");
    assert!(answer.pieces >= 3, "three flushes made {} records", answer.pieces);
}

#[test]
fn statuses_are_sent_as_they_are() {
    let demo = Demo::unix(&[]);
    for code in [200, 201, 301, 400, 404, 418, 500, 503, 599] {
        assert_eq!(get(&demo, &format!("/status/{code}")).status, code);
    }
}

#[test]
fn a_redirect_is_a_302_with_the_location() {
    let answer = get(&Demo::unix(&[]), "/redirect?to=https%3A%2F%2Fexample.org%2Fa%3Fb");
    assert_eq!((answer.status, answer.header("Location")), (302, Some("https://example.org/a?b")));
}

#[test]
fn metrics_count_what_happened() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    for _ in 0..3 {
        connection.request(1).get("/hello").send();
        connection.answer(1);
    }
    wait_until("three completed requests", || {
        connection.request(1).get("/metrics").send();
        let metrics = connection.answer(1).json();
        assert_eq!(metrics["active_requests"], 1, "the one that asks");
        assert_eq!(metrics["open_connections"], 1);
        assert_eq!(metrics["cancelled_requests"], 0);
        assert_eq!(metrics["rejected_requests"], 0);
        metrics["completed_requests"].as_u64() >= Some(3)
    });
}

#[test]
fn sigterm_ends_the_process_and_frees_the_address() {
    let demo = Demo::unix(&[]);
    demo.assert_serves();
    let address = demo.address().to_owned();
    demo.stop();
    let path = address.strip_prefix("unix:").expect("a Unix socket");
    assert!(std::os::unix::net::UnixStream::connect(path).is_err(), "something still listens");
}
