//! Verifies that a shutdown finishes what runs, bounds what does not end, and disturbs no other process.

use std::io;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use crate::demo::{example, over_both, wait_until, Demo};
use crate::launchers::is_stopped;
use crate::launchers::process::{tool, Process};
use crate::peer::Connection;

fn begin_sleeping(demo: &Demo, ms: u32) -> Connection {
    let mut connection = demo.connect();
    connection.request(1).get(&format!("/sleep?ms={ms}")).send();
    // The answer to a question that came behind it says that it was begun.
    connection.assert_usable();
    connection
}

pub(crate) fn refuses_connections(address: &str) -> bool {
    let connected: io::Result<()> = match address.strip_prefix("unix:") {
        Some(path) => UnixStream::connect(path).map(drop),
        None => TcpStream::connect(address).map(drop),
    };
    connected.is_err()
}

#[test]
fn what_runs_is_finished_and_what_is_idle_is_closed() {
    for signal in ["TERM", "INT", "USR1"] {
        for demo in [Demo::unix(&[]), Demo::tcp(&[])] {
            let mut idle = demo.connect();
            idle.request(1).get("/hello").send();
            assert_eq!(idle.answer(1).status, 200);
            let mut busy = begin_sleeping(&demo, 300);
            demo.signal(signal);
            idle.assert_closed();
            assert_eq!(busy.answer(1).text(), "slept 300 ms\n");
            busy.assert_closed();
            let address = demo.address().to_owned();
            assert_eq!(demo.ended().code(), Some(0));
            assert!(refuses_connections(&address));
        }
    }
}

/// Waits until the shutdown has begun, and keeps the connections from falling silent meanwhile.
fn wait_for_shutdown(demo: &Demo, connections: &mut [Connection]) {
    wait_until("the shutdown to begin", || {
        connections.iter_mut().for_each(Connection::assert_usable);
        refuses_connections(demo.address())
    });
}

#[test]
fn a_request_that_was_on_its_way_when_the_shutdown_began_is_answered() {
    for demo in [Demo::unix(&[]), Demo::tcp(&[])] {
        let mut kept = demo.connect();
        kept.request(1).get("/hello").send();
        assert_eq!(kept.answer(1).status, 200);
        let mut connections = [kept, demo.connect()];
        demo.signal("TERM");
        wait_for_shutdown(&demo, &mut connections);
        // A connection is closed when it has been silent for a second.
        let body = "on its way";
        let send = |connection: &mut Connection| {
            connection.request(1).post("/echo").body(body.as_bytes()).send();
        };
        connections.iter_mut().for_each(send);
        for mut connection in connections {
            assert_eq!(connection.answer(1).text(), body);
            connection.assert_closed();
        }
        assert_eq!(demo.ended().code(), Some(0));
    }
}

#[test]
fn connections_that_were_not_accepted_yet_are_served() {
    for demo in [Demo::unix(&[]), Demo::tcp(&[])] {
        demo.signal("STOP");
        wait_until("the demo to be stopped", || is_stopped(demo.pid()));
        let mut waiting: Vec<Connection> = (0..100).map(|_| demo.connect()).collect();
        waiting.iter_mut().for_each(|connection| connection.request(1).get("/hello").send());
        demo.signal("TERM");
        demo.signal("CONT");
        for connection in &mut waiting {
            assert_eq!(connection.answer(1).text(), "hello, world\n");
            connection.assert_closed();
        }
        assert_eq!(demo.ended().code(), Some(0));
    }
}

#[test]
fn the_grace_period_bounds_what_does_not_end() {
    let demo = Demo::unix(&["--shutdown-grace", "100"]);
    let mut deaf = begin_sleeping(&demo, 60_000);
    let mut listening = demo.connect();
    listening.request(1).get("/wait-abort").send();
    listening.assert_usable();
    let begun = Instant::now();
    demo.signal("TERM");
    assert_eq!(listening.answer(1).text().trim_end(), "shutdown");
    deaf.assert_closed();
    assert_eq!(demo.ended().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

#[test]
fn a_request_that_waits_for_a_worker_is_told_when_the_grace_is_over() {
    // On a busy machine the worker takes its time to begin with the first request.
    let demo = Demo::unix(&["--workers", "1", "--shutdown-grace", "1000"]);
    let mut deaf = begin_sleeping(&demo, 60_000);
    let mut waiting = demo.connect();
    waiting.request(1).get("/hello").send();
    waiting.assert_usable();
    demo.signal("TERM");
    assert_eq!(waiting.answer(1).status, 503);
    deaf.assert_closed();
    assert_eq!(demo.ended().code(), Some(0));
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let demo = Demo::unix(&[]);
    let _busy = begin_sleeping(&demo, 60_000);
    demo.signal("TERM");
    let address = demo.address().to_owned();
    wait_until("the first signal to be seen", || refuses_connections(&address));
    demo.signal("TERM");
    assert_eq!(demo.ended().code(), Some(128 + 15));
}

#[test]
fn a_multiplexed_connection_finishes_all_that_runs_on_it() {
    over_both(&[], |demo| {
        let mut connection = demo.connect();
        for id in 1..=8 {
            connection.request(id).get(&format!("/sleep?ms={}", 20 * id)).send();
        }
        connection.assert_usable();
        (1..=8).for_each(|id| assert_eq!(connection.answer(id).status, 200));
    });
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    (1..=8).for_each(|id| connection.request(id).get(&format!("/sleep?ms={}", 40 * id)).send());
    connection.assert_usable();
    demo.signal("TERM");
    (1..=8).for_each(|id| assert_eq!(connection.answer(id).text(), format!("slept {} ms\n", 40 * id)));
    connection.assert_closed();
    assert_eq!(demo.ended().code(), Some(0));
}

#[test]
fn processes_on_the_same_socket_do_not_disturb_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("shared");
    let listener = UnixListener::bind(&path).unwrap();
    let (stays, goes) = (Demo::inheriting(&listener, &[]), Demo::inheriting(&listener, &[]));
    let address = format!("unix:{}", path.display());
    assert_eq!((stays.address(), goes.address()), (address.as_str(), address.as_str()));
    assert_eq!(goes.stop().code(), Some(0));
    for _ in 0..50 {
        let mut connection = Connection::open(&address);
        connection.request(1).get("/hello").closing().send();
        assert_eq!(connection.answer(1).text(), "hello, world\n");
    }
    assert_eq!(stays.stop().code(), Some(0));
    assert!(path.exists(), "the socket belongs to the launcher");
}

#[test]
fn a_signal_ends_what_serve_runs_whatever_features_are_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let program = example("hello");
    let process = Process::start(tool(program.to_str().unwrap()).stdin(OwnedFd::from(listener)));
    let mut connection = Connection::open(&format!("unix:{}", path.display()));
    connection.request(1).get("/").send();
    assert_eq!(connection.answer(1).text(), "hello, world\n");
    assert_eq!(process.stop().code, None, "it ended by itself");
}

#[test]
fn a_signal_right_behind_the_first_answer_begins_a_graceful_shutdown() {
    for _ in 0..10 {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        // Whoever connects before the program runs is its first request.
        let mut connection = Connection::open(&format!("unix:{}", path.display()));
        connection.request(1).get("/").closing().send();
        let program = example("shutdown");
        let process = Process::start(tool(program.to_str().unwrap()).stdin(OwnedFd::from(listener)));
        assert_eq!(connection.answer(1).text(), "done\n");
        drop(connection);
        assert_eq!(process.stop().code, Some(0), "a signal killed it");
    }
}
