//! FCGI_WEB_SERVER_ADDRS says which web servers may connect over TCP (FastCGI 3.2).

use std::net::TcpListener;
use std::process::Command;

use super::process::{demo, Process};
use super::{assert_serves, refusal, unix};
use crate::peer::Connection;

fn listening(address: &str, list: &str) -> Command {
    let mut command = demo();
    command.args(["--listen", address]).env("FCGI_WEB_SERVER_ADDRS", list);
    command
}

/// The connection ends, and not one byte came.
fn assert_turned_away(address: &str) {
    let mut connection = Connection::open(address);
    let request = connection.request(1).get("/hello").bytes();
    // It may have been closed before.
    let _: std::io::Result<()> = connection.try_send(&request);
    assert_eq!(connection.drain(), b"");
}

#[test]
fn only_listed_web_servers_are_served() {
    let rows = [
        ("127.0.0.1", true),
        ("10.0.0.1, ::1 ,, 127.0.0.1 ,", true),
        ("::ffff:127.0.0.1", true),
        ("127.0.0.9", false),
        ("127.0.0.9, 10.0.0.1,::1", false),
        // An empty list lets nobody in.
        ("", false),
        (" , ", false),
    ];
    for (list, is_served) in rows {
        // Shown when it fails.
        eprintln!("listed: {list:?}");
        let mut demo = Process::start(&mut listening("127.0.0.1:0", list));
        match is_served {
            true => assert_serves(&demo.address()),
            false => assert_turned_away(&demo.address()),
        }
        assert_eq!(demo.stop().code, Some(0));
    }
}

#[test]
fn who_is_turned_away_is_noted() {
    let mut demo = Process::start(&mut listening("127.0.0.1:0", "127.0.0.9"));
    assert_turned_away(&demo.address());
    let log = demo.stop().stderr;
    assert!(log.contains("a connection from a peer that is not allowed"), "{log}");
}

#[test]
fn addresses_of_ipv6_are_told_apart_and_mapped_ones_are_those_of_ipv4() {
    let rows = [
        ("[::1]:0", "127.0.0.1, ::1", true),
        ("[::1]:0", "0:0:0:0:0:0:0:1", true),
        ("[::1]:0", "127.0.0.1", false),
        ("[::1]:0", "::2", false),
        ("[::ffff:127.0.0.1]:0", "127.0.0.1", true),
        ("[::ffff:127.0.0.1]:0", "::ffff:7f00:1", true),
        ("[::ffff:127.0.0.1]:0", "127.0.0.9,::1", false),
    ];
    for (listen, list, is_served) in rows {
        if TcpListener::bind(listen).is_err() {
            eprintln!("{listen} cannot be had on this machine");
            continue;
        }
        eprintln!("listening on {listen}, listed: {list:?}");
        let mut demo = Process::start(&mut listening(listen, list));
        match is_served {
            true => assert_serves(&demo.address()),
            false => assert_turned_away(&demo.address()),
        }
        assert_eq!(demo.stop().code, Some(0));
    }
}

#[test]
fn junk_in_the_list_is_refused() {
    for (list, junk) in [("junk", "junk"), ("127.0.0.1, localhost", "localhost"), ("127.0.0.1 ::1", "127.0.0.1 ::1")] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        for address in ["127.0.0.1:0", &unix(&path)] {
            let message = refusal(&mut listening(address, list));
            assert!(message.ends_with(&format!("FCGI_WEB_SERVER_ADDRS: not an address: {junk:?}")), "{message}");
        }
        assert!(!path.exists(), "the socket file was left behind");
    }
}

#[test]
fn unix_sockets_are_not_affected() {
    let directory = tempfile::tempdir().unwrap();
    let address = unix(&directory.path().join("socket"));
    for list in ["", "127.0.0.9"] {
        let mut demo = Process::start(&mut listening(&address, list));
        assert_eq!(demo.address(), address);
        assert_serves(&address);
        assert_eq!(demo.stop().code, Some(0));
    }
}

#[test]
fn a_list_that_is_no_text_is_refused() {
    use std::os::unix::ffi::OsStrExt;
    let mut command = demo();
    command
        .args(["--listen", "127.0.0.1:0"])
        .env("FCGI_WEB_SERVER_ADDRS", std::ffi::OsStr::from_bytes(b"127.0.0.1\xFF"));
    let message = refusal(&mut command);
    assert!(message.contains("FCGI_WEB_SERVER_ADDRS"), "{message}");
}
