//! Verifies that requests and answers come through as they were meant.

use std::io::{BufRead, BufReader, Read, Write};

use serde_json::json;

use super::{over_both, Gateway, Site};
use crate::demo::{wait_until, Demo};
use crate::http::{Client, Request};
use crate::launchers::process::{command_of, Process};

#[test]
fn statuses_headers_and_bodies_arrive_as_the_handler_made_them() {
    let rows: [(&str, &str, u16, Option<&str>, &str); 10] = [
        ("GET", "/hello", 200, Some("13"), "hello, world\n"),
        ("HEAD", "/hello", 200, Some("13"), ""),
        ("GET", "/status/204", 204, None, ""),
        ("GET", "/status/304", 304, None, ""),
        ("GET", "/status/404", 404, Some("11"), "status 404\n"),
        ("GET", "/status/418", 418, Some("11"), "status 418\n"),
        ("GET", "/status/599", 599, Some("11"), "status 599\n"),
        ("GET", "/drip?n=2&ms=0", 200, None, "tick 0\ntick 1\n"),
        ("HEAD", "/drip?n=2&ms=0", 200, None, ""),
        ("GET", "/panic", 500, Some("26"), "500 Internal Server Error\n"),
    ];
    over_both(|site| {
        let mut client = site.client();
        for (method, target, status, length, body) in rows {
            let answer = client.exchange(&Request::new(method, target));
            let seen = (answer.status, answer.header("content-length"), answer.text());
            assert_eq!(seen, (status, length, body), "{method} {target}");
        }
        let answer = client.get("/header?name=X-Demo&value=a%20value");
        assert_eq!((answer.header("x-demo"), answer.header("status")), (Some("a value"), None));
        let answer = client.get("/redirect?to=/hello");
        assert_eq!((answer.status, answer.header("location")), (302, Some("/hello")));
    });
}

#[test]
fn the_meta_variables_are_those_of_nginx() {
    let site = Site::unix();
    let mut client = site.client();
    let request = Request::new("POST", "/env?a=%2F+b").header("X-Token", "t").header("Content-Type", "text/x");
    let port = client.port().to_string();
    let seen = client.exchange(&request.header("Proxy", "evil").header("X_Token", "forged").body("12345")).json();
    let server_port = site.gateway.address.port().to_string();
    let rows = [
        ("REQUEST_METHOD", "POST"),
        ("REQUEST_URI", "/env?a=%2F+b"),
        ("QUERY_STRING", "a=%2F+b"),
        ("SCRIPT_NAME", "/env"),
        ("DOCUMENT_URI", "/env"),
        ("CONTENT_TYPE", "text/x"),
        ("CONTENT_LENGTH", "5"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("REQUEST_SCHEME", "http"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("REMOTE_PORT", &port),
        ("SERVER_ADDR", "127.0.0.1"),
        ("SERVER_PORT", &server_port),
        ("SERVER_NAME", "demo.test"),
        ("HTTP_HOST", "demo.test"),
        ("HTTP_X_TOKEN", "t"),
    ];
    for (name, value) in rows {
        assert_eq!(seen[name], json!(value), "{name} in {seen}");
    }
    for name in ["HTTP_PROXY", "HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE", "HTTP_CONNECTION"] {
        assert!(seen.get(name).is_none(), "{name} in {seen}");
    }
}

#[test]
fn a_path_is_decoded_and_the_uri_is_not() {
    let site = Site::unix();
    let seen = site.get("/headers/a%2Fb%20c//./y?q=%2F+%zz&&=").json();
    assert_eq!(seen["uri"], json!("/headers/a%2Fb%20c//./y?q=%2F+%zz&&="));
}

#[test]
fn a_connection_serves_one_request_after_the_other() {
    let site = Site::unix();
    let mut client = site.client();
    for i in 0..20 {
        let count = client.exchange(&Request::new("POST", "/count").body(vec![0; i * 1000]));
        assert_eq!(count.text(), format!("{}\n", i * 1000));
    }
    let last = client.exchange(&Request::new("GET", "/hello").header("Connection", "Close"));
    assert_eq!(last.header("connection"), Some("close"));
    assert_eq!(client.sender().read(&mut [0]).expect("the end"), 0);
}

#[test]
fn requests_that_were_sent_at_once_are_answered_in_their_order() {
    let site = Site::unix();
    let mut client = site.client();
    let rows = ["a", "bc", ""];
    for body in rows {
        client.send(&Request::new("POST", "/echo").body(body));
    }
    for body in rows {
        assert_eq!(client.receive().into_response().expect("a whole answer").text(), body);
    }
}

#[test]
fn a_post_without_a_body_has_none() {
    let site = Site::unix();
    assert_eq!(site.exchange(&Request::new("POST", "/count")).text(), "0\n");
    assert_eq!(site.exchange(&Request::new("GET", "/count").body("with a body")).text(), "11\n");
}

/// What comes back on a connection until its end.
fn raw(site: &Site, request: &[u8]) -> String {
    let mut stream = site.client().sender();
    stream.write_all(request).expect("it is taken");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the end");
    String::from_utf8(answer).expect("text")
}

#[test]
fn what_is_no_request_is_refused() {
    let site = Site::unix();
    let long = format!("GET / HTTP/1.1\r\nX-Long: {}\r\n\r\n", "x".repeat(70_000));
    let rows: [(&[u8], &str); 4] = [
        (b"nonsense\r\n\r\n", "HTTP/1.1 400 "),
        (b"GET / HTTP/1.1\r\nContent-Length: many\r\n\r\n", "HTTP/1.1 400 "),
        (b"\x16\x03\x01\x00\x05\x01", "HTTP/1.1 400 "),
        (long.as_bytes(), "HTTP/1.1 431 "),
    ];
    for (request, status) in rows {
        let answer = raw(&site, request);
        assert!(answer.starts_with(status), "{:?}: {answer:?}", String::from_utf8_lossy(request));
    }
    site.assert_serves();
}

#[test]
fn clients_of_http_1_0_get_what_they_understand() {
    let site = Site::unix();
    let answer = raw(&site, b"GET /drip?n=2&ms=0 HTTP/1.0\r\n\r\n");
    assert!(answer.ends_with("\r\n\r\ntick 0\ntick 1\n"), "{answer:?}");
    assert!(!answer.contains("chunked") && answer.contains("connection: close"), "{answer:?}");
}

/// Whether somebody who connects now gets an answer.
fn is_served(site: &Site) -> bool {
    let mut stream = site.client().sender();
    let sent = stream.write_all(b"GET /hello HTTP/1.0\r\n\r\n");
    let mut answer = String::new();
    sent.and_then(|()| stream.read_to_string(&mut answer)).is_ok() && answer.ends_with("hello, world\n")
}

#[test]
fn clients_beyond_all_measure_are_turned_away() {
    let site = Site::unix();
    let idle: Vec<Client> = (0..300).map(|_| site.client()).collect();
    assert!(!is_served(&site));
    drop(idle);
    wait_until("the clients to be forgotten", || is_served(&site));
}

#[test]
fn overload_is_a_503() {
    let site = Site::start(Demo::unix(&["--workers", "1", "--queue", "0"]));
    let mut busy = site.client();
    busy.send(&Request::new("GET", "/drip?n=10000&ms=20"));
    let mut line = String::new();
    BufReader::new(busy.receive()).read_line(&mut line).expect("the only worker is busy");
    let refused = site.get("/hello");
    assert_eq!((refused.status, refused.header("retry-after").is_some()), (503, true));
    drop(busy);
    wait_until("the worker to be free", || site.get("/hello").status == 200);
}

#[test]
fn an_application_that_is_not_there_is_a_502_until_it_comes() {
    let directory = tempfile::tempdir().expect("a directory");
    let address = format!("unix:{}", directory.path().join("socket").display());
    let gateway = Gateway::start(&address);
    let answer = gateway.get("/hello");
    assert!(answer.status == 502 && answer.text().contains(&address), "{}", answer.text());
    // The client gets to read it, whatever it still wants to send.
    let upload = Request::new("POST", "/count").body(vec![0; 1 << 20]);
    assert_eq!(Client::connect(gateway.address).exchange(&upload).status, 502);
    let mut demo = Process::start(command_of("demo").args(["--listen", &address]));
    demo.address();
    assert_eq!(gateway.get("/hello").text(), "hello, world\n");
    assert!(gateway.process.log().contains("cannot be reached"), "{}", gateway.process.log());
}
