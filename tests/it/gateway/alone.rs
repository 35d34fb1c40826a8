//! Verifies that the demo can be seen with nothing but a browser: it is its own web server.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use super::http_address;
use crate::demo::wait_until;
use crate::http::{Client, Request};
use crate::launchers::process::{command_of, run, signal, Process};

/// The demo with nothing to listen on, and a folder of its own for temporary files.
fn alone(folder: &Path, options: &[&str]) -> Command {
    let mut command = command_of("demo");
    command.env("TMPDIR", folder).args(options);
    command
}

#[test]
fn it_serves_browsers_and_leaves_nothing_behind() {
    for name in ["TERM", "INT"] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut demo = Process::start(&mut alone(folder.path(), &["--http", "127.0.0.1:0"]));
        let address = http_address(&demo.address());
        let page = Client::connect(address).get("/");
        assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
        let seen = Client::connect(address).get("/env").json();
        assert_eq!(seen["GATEWAY_INTERFACE"], "CGI/1.1");
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "the socket's folder");
        signal(demo.pid(), name);
        let output = demo.output();
        assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "SIG{name}");
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0, "left behind after SIG{name}");
    }
}

#[test]
fn a_page_that_is_open_does_not_hold_up_its_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut demo = Process::start(&mut alone(folder.path(), &["--http", "127.0.0.1:0"]));
    let mut client = Client::connect(http_address(&demo.address()));
    client.send(&Request::new("GET", "/events"));
    let mut events = BufReader::new(client.receive());
    events.read_line(&mut String::new()).expect("a line");
    // Well within the time for which a test waits, which the default grace period is not.
    assert_eq!(demo.stop().code, Some(0));
}

#[test]
fn a_port_that_is_taken_is_passed_over_unless_it_was_asked_for() {
    // Whoever has it: it is taken.
    let listener = TcpListener::bind("127.0.0.1:8080");
    let folder = tempfile::tempdir().expect("a folder");
    let mut demo = Process::start(&mut alone(folder.path(), &[]));
    let address = http_address(&demo.address());
    assert!(address.ip().is_loopback() && address.port() != 8080, "{address}");
    assert_eq!(Client::connect(address).get("/hello").text(), "hello, world\n");

    let output = run(&mut alone(folder.path(), &["--http", &address.to_string()]));
    assert_eq!(output.code, Some(1));
    assert!(output.stderr.contains(&format!("cannot listen on {address}: ")), "{}", output.stderr);
    drop(listener);
}

#[test]
fn it_can_listen_for_web_servers_and_browsers() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("socket");
    let listen = format!("unix:{}", path.display());
    let mut demo = Process::start(&mut alone(folder.path(), &["--listen", &listen, "--http", "127.0.0.1:0"]));
    let address = http_address(&demo.address());
    assert_eq!(Client::connect(address).get("/hello").text(), "hello, world\n");
    let mut connection = crate::peer::Connection::open(&listen);
    connection.request(1).get("/hello").send();
    assert_eq!(connection.answer(1).text(), "hello, world\n");
    drop(connection);
    assert_eq!(demo.stop().code, Some(0));
    wait_until("the socket to be gone", || !path.exists());
}

/// What the page shows as source is cut from the source by the name of a function; a name that is wrong is a panic.
#[test]
fn the_page_shows_the_code_that_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut demo = Process::start(&mut alone(folder.path(), &["--http", "127.0.0.1:0"]));
    let page = Client::connect(http_address(&demo.address())).get("/");
    let text = page.text();
    for function in ["main", "events", "digest", "read_to_end", "wait_abort", "sleep", "panic_late", "status", "env"] {
        let begin = format!("<span class=keyword>fn</span> {function}(");
        let (_, shown) = text.split_once(&begin).unwrap_or_else(|| panic!("{function} is not shown"));
        assert!(shown.contains("\n}"), "{function}");
    }
    assert!(!text.contains("pub(crate)"));
}
