//! Verifies that each small example does what it shows, on the socket that it is given as file descriptor 0.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use tempfile::TempDir;

use crate::demo::example;
use crate::launchers::process::{signal, tool, Process};
use crate::peer::answer::Answer;
use crate::peer::record::AUTHORIZER;
use crate::peer::Connection;

/// The example whose own tests call its handler: they run with these.
#[allow(dead_code)]
#[path = "../../examples/shared_state.rs"]
mod shared_state;

/// A running example.
struct Example {
    process: Process,
    folder: TempDir,
}

impl Example {
    /// Starts it in a folder of its own, with another one in it as its argument.
    fn start(name: &str) -> Example {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
        fs::create_dir(folder.path().join("uploads")).unwrap();
        let mut command = tool(example(name).to_str().unwrap());
        let command = command.arg("uploads").current_dir(folder.path()).stdin(OwnedFd::from(listener));
        Example { process: Process::start(command), folder }
    }

    fn connect(&self) -> Connection {
        Connection::open(&format!("unix:{}", self.folder.path().join("socket").display()))
    }

    /// The answer to a request without a body.
    fn get(&self, target: &str) -> Answer {
        let mut connection = self.connect();
        connection.request(1).get(target).send();
        connection.answer(1)
    }

    fn uploads(&self) -> Vec<Vec<u8>> {
        let entries = fs::read_dir(self.folder.path().join("uploads")).unwrap();
        entries.map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect()
    }
}

fn hello(example: &Example) {
    assert_eq!(example.get("/").text(), "hello, world\n");
}

fn echo(example: &Example) {
    let mut connection = example.connect();
    connection.request(1).post("/").param("CONTENT_TYPE", "text/x-test").body(b"one\0two").send();
    let answer = connection.answer(1);
    assert_eq!((answer.body.as_slice(), answer.header("Content-Type")), (&b"one\0two"[..], Some("text/x-test")));
    connection.request(1).post("/").undeclared(&vec![b'x'; (1 << 20) + 1]).send();
    assert_eq!(connection.answer(1).status, 413);
    connection.request(1).post("/").body(b"short").param("CONTENT_LENGTH", "6").send();
    assert_eq!(connection.answer(1).status, 400);
}

fn stream(example: &Example) {
    let mut connection = example.connect();
    connection.request(1).get("/").send();
    let expected = "id: 1\ndata: tick 1\n\nid: 2\ndata: tick 2\n\n";
    let body = connection.body_until(1, expected.len());
    assert_eq!(std::str::from_utf8(&body).unwrap(), expected);
    connection.abort(1);
    connection.ending(1);
}

fn upload(example: &Example) {
    let mut connection = example.connect();
    connection.request(1).post("/any").body(b"content").send();
    let answer = connection.answer(1);
    assert_eq!(answer.status, 201);
    assert!(answer.body.starts_with(b"7 bytes in upload-"), "{answer:?}");
    let large = (17 << 20).to_string();
    connection.request(1).post("/any").param("CONTENT_LENGTH", &large).send();
    assert_eq!(connection.answer(1).status, 413);
    connection.request(1).post("/any").body(b"short").param("CONTENT_LENGTH", "6").send();
    assert_eq!(connection.answer(1).status, 400);
    connection.request(1).get("/any").send();
    assert_eq!(connection.answer(1).status, 405);
    assert_eq!(example.uploads(), [b"content"], "what was cut short is not there");
}

fn authorizer(example: &Example) {
    let mut connection = example.connect();
    for (token, status, user) in
        [("Bearer correct", 200, Some("alice")), ("Bearer horse", 200, Some("bob")), ("Bearer wrong", 401, None)]
    {
        connection.request(1).role(AUTHORIZER).get("/private").param("HTTP_AUTHORIZATION", token).send();
        let answer = connection.answer(1);
        assert_eq!((answer.status, answer.header("Variable-USER")), (status, user), "{token}");
    }
    connection.request(1).role(AUTHORIZER).get("/private").send();
    let answer = connection.answer(1);
    assert_eq!((answer.status, answer.header("WWW-Authenticate")), (401, Some("Bearer")));
}

fn filter(example: &Example) {
    let mut connection = example.connect();
    connection.request(1).get("/page").data(b"a file of the web server's").send();
    assert_eq!(connection.answer(1).text(), "A FILE OF THE WEB SERVER'S");
}

fn shared_note(example: &Example) {
    let mut connection = example.connect();
    connection.request(1).method("PUT", "/").body(b"remember").send();
    assert_eq!(connection.answer(1).text(), "1 changes: remember\n");
    assert_eq!(example.get("/").text(), "1 changes: remember\n");
}

fn status(example: &Example) {
    assert_eq!(example.get("/ping").text(), "pong\n");
    assert_eq!(example.get("/other").status, 404);
    for (query, accept, content_type, line) in [
        ("", "", "text/plain; charset=utf-8", "active_requests: 1\n"),
        ("", "*/*", "text/plain; charset=utf-8", "rejected_requests_total overloaded: 0\n"),
        ("?json", "", "application/json", "\"active_requests\":1,"),
        ("", "application/json", "application/json", "\"rejected_requests_total\":{\"body_too_large\":0,"),
        ("?prometheus", "", "text/plain; version=0.0.4", "fcgi_active_requests 1\n"),
        ("", "text/plain;version=0.0.4;q=0.5", "text/plain; version=0.0.4", "# TYPE fcgi_bytes_in_total counter\n"),
        ("?prometheus", "", "text/plain; version=0.0.4", "fcgi_rejected_requests_total{reason=\"overloaded\"} 0\n"),
    ] {
        let mut connection = example.connect();
        connection.request(1).get(&format!("/status{query}")).param("HTTP_ACCEPT", accept).send();
        let answer = connection.answer(1);
        assert_eq!(answer.header("Content-Type"), Some(content_type), "{query} {accept}");
        assert!(answer.text().contains(line), "{query} {accept}: {}", answer.text());
    }
    let page = example.get("/status?prometheus");
    assert_eq!(page.text().matches("# TYPE fcgi_cancelled_requests_total counter\n").count(), 1);
    assert!(example.get("/status?json").json().is_object());
}

fn router(example: &Example) {
    assert_eq!(example.get("/").text(), "home\n");
    assert_eq!(example.get("/greet/ann").text(), "GET: hello, ann\n");
    assert_eq!(example.get("/greet/ann/lee").status, 404);
}

#[test]
fn every_example_does_what_it_shows() {
    let rows: [(&str, fn(&Example)); 9] = [
        ("hello", hello),
        ("echo", echo),
        ("stream", stream),
        ("upload", upload),
        ("authorizer", authorizer),
        ("filter", filter),
        ("shared_state", shared_note),
        ("status", status),
        ("router", router),
    ];
    for (name, check) in rows {
        // Shown when the check fails.
        eprintln!("the example {name}");
        let example = Example::start(name);
        check(&example);
        assert_eq!(example.process.log(), "", "the example {name}");
    }
}

#[test]
fn the_example_of_a_shutdown_finishes_what_runs_and_reports_it() {
    let example = Example::start("shutdown");
    let mut connection = example.connect();
    connection.request(1).get("/").send();
    // The answer to a question that came behind it says that it was begun.
    connection.assert_usable();
    signal(example.process.pid(), "TERM");
    assert_eq!(connection.answer(1).text(), "done\n");
    let output = example.process.output();
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), "1 completed, 0 cut off\n"));
}

#[test]
fn one_application_serves_tcp_and_unix_sockets_until_it_is_told_to_stop() {
    let folder = tempfile::tempdir().unwrap();
    let unix = format!("unix:{}", folder.path().join("app").display());
    let mut command = tool(example("tcp_and_unix").to_str().unwrap());
    let mut process = Process::start(command.args(["127.0.0.1:0", &unix]));
    let addresses = process.addresses(2);
    assert_eq!(addresses[1], unix);
    for address in &addresses {
        let mut connection = Connection::open(address);
        connection.request(1).get("/page").send();
        assert_eq!(connection.answer(1).text(), "you asked for /page\n");
    }
    assert_eq!(process.stop().code, Some(0));
}
