//! Verifies what happens when connections, descriptors or workers are used up: a clear answer, no rest, no spin.

use std::collections::HashSet;
use std::thread;
use std::time::Duration;

use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};

use super::assert_hello;
use super::program::{Program, Setup};
use crate::demo::{over_both, wait_until, Demo};
use crate::peer::record::OVERLOADED;
use crate::peer::Connection;

/// select(2) knows descriptors below 1024 only.
const MANY: u64 = 1200;

/// What this process and the demo may need beside so many connections.
const SPARE: u64 = 200;

/// So many connections that are served and kept, as soon as others have left them their places.
fn kept(demo: &Demo, n: usize) -> Vec<Connection> {
    let mut connections = Vec::new();
    wait_until("places", || {
        let mut connection = demo.connect();
        connection.request(1).get("/hello").send();
        if connection.answer(1).status == 200 {
            connections.push(connection);
        }
        connections.len() == n
    });
    connections
}

#[test]
fn one_connection_too_many_gets_a_503_and_the_next_gets_its_place() {
    over_both(&["--max-connections", "3"], |demo| {
        for _ in 0..5 {
            let mut served = kept(demo, 3);
            let mut refused = demo.connect();
            refused.request(1).post("/count").body(&[b'x'; 100_000]).send();
            let answer = refused.answer(1);
            assert_eq!((answer.status, answer.protocol_status), (503, OVERLOADED));
            assert!(answer.header("Retry-After").is_some() && !answer.body.is_empty());
            refused.assert_closed();
            served.iter_mut().for_each(|connection| assert_hello(connection, 1));
            // One place is enough for the next.
            drop((served.pop(), refused));
            served.extend(kept(demo, 1));
        }
    });
}

#[test]
fn however_many_connections_there_are_too_many_each_gets_its_answer() {
    over_both(&["--max-connections", "3"], |demo| {
        let mut served = kept(demo, 3);
        let mut crowd: Vec<Connection> = (0..100).map(|_| demo.connect()).collect();
        crowd.iter_mut().for_each(|connection| connection.request(7).get("/hello").send());
        for connection in &mut crowd {
            let answer = connection.answer(7);
            assert_eq!((answer.status, answer.protocol_status), (503, OVERLOADED));
            connection.assert_closed();
            // Its place among those that are refused is for the next.
            connection.half_close();
        }
        served.iter_mut().for_each(|connection| assert_hello(connection, 1));
        drop((served, crowd));
        kept(demo, 3);
    });
}

#[test]
fn more_idle_connections_than_workers_leave_the_workers_free() {
    over_both(&["--workers", "2", "--queue", "0"], |demo| {
        let mut idle = kept(demo, 40);
        idle.iter_mut().rev().for_each(|connection| assert_hello(connection, 1));
    });
}

#[test]
fn without_descriptors_it_serves_those_it_has_and_neither_ends_nor_spins() {
    let program = Program::start(Setup { shell: "ulimit -n 40", ..Setup::default() });
    let mut served = program.connect();
    assert_hello(&mut served, 1);
    for _ in 0..2 {
        let flood: Vec<Connection> = (0..80).map(|_| program.connect()).collect();
        // It may have inherited some that are beyond the limit.
        wait_until("the lack of descriptors", || program.open_files().len() >= 40);
        let before = program.processor_time();
        for _ in 0..20 {
            served.request(1).get("/sleep?ms=100").send();
            assert_eq!(served.answer(1).text(), "slept 100 ms\n");
        }
        let used = program.processor_time() - before;
        assert!(used < Duration::from_millis(500), "it used {used:?} in 2 s");
        drop(flood);
        program.assert_serves();
    }
    let log = program.log();
    let n_lines = log.lines().filter(|line| line.contains("cannot accept")).count();
    assert!((1..10).contains(&n_lines), "{n_lines} lines: {log}");
}

#[test]
fn descriptors_beyond_those_that_select_knows_are_served() {
    let n_connections = raised_limit().saturating_sub(SPARE).min(MANY);
    let demo = Demo::unix(&["--max-connections", "2000"]);
    let mut connections: Vec<Connection> = (0..n_connections).map(|_| demo.connect()).collect();
    connections.iter_mut().for_each(|connection| assert_hello(connection, 1));
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", demo.pid())).unwrap();
    let numbers: HashSet<String> = descriptors.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(numbers.contains(&n_connections.to_string()), "its highest descriptors are lower");
    connections.iter_mut().rev().for_each(|connection| assert_hello(connection, 1));
    drop(connections);
    wait_until("the end of all connections", || demo.counter("open_connections") == 1);
}

/// Allows this process, and those that it starts from now on, as many descriptors as the system does.
fn raised_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    setrlimit(Resource::Nofile, raised).expect("the soft limit may be as high as the hard one");
    limit.maximum.unwrap_or(u64::MAX)
}

#[test]
fn a_loop_of_panics_ends_in_as_many_answers_and_serves_others() {
    over_both(&["--workers", "4"], |demo| {
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut connection = demo.connect();
                    for _ in 0..100 {
                        connection.request(1).get("/panic").send();
                        let answer = connection.answer(1);
                        assert_eq!(answer.status, 500);
                        let body = String::from_utf8_lossy(&answer.body);
                        assert!(!body.contains("always panics"), "the text of a panic is not for the browser: {body}");
                        assert!(answer.stderr.is_empty(), "{answer:?}");
                    }
                    assert_hello(&mut connection, 1);
                });
            }
        });
        demo.assert_serves();
    });
}
