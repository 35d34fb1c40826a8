//! Verifies the life of request ids against a reference: web servers that do whatever they may do, at random, get one
//! END_REQUEST for each BEGIN_REQUEST, the right answer under the right id, and nothing else.
//!
//! `FCGI_MODEL_SESSIONS` sets how many sessions there are for each demo, `FCGI_MODEL_SEED` the seed of the first.

mod connection;
mod errand;
mod request;
mod wire;

use std::env;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::demo::{wait_until, Demo};
use crate::random::Random;
use connection::Connection;

const THREADS: usize = 4;

/// What the reference knows of the server's limits.
#[derive(Clone, Copy, Debug)]
struct Rules {
    max_requests: usize,
    /// Workers may be lacking at any time.
    is_crowded: bool,
}

/// Names the session when it fails.
struct Naming(u64);

impl Drop for Naming {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("to see this session again: FCGI_MODEL_SEED={} FCGI_MODEL_SESSIONS=1", self.0);
        }
    }
}

#[test]
fn random_sessions_go_as_the_reference_says_over_a_unix_socket() {
    let demo = Demo::unix(&["--max-requests", "6", "--workers", "120"]);
    play_sessions(&demo, Rules { max_requests: 6, is_crowded: false });
}

#[test]
fn random_sessions_go_as_the_reference_says_over_tcp() {
    let demo = Demo::tcp(&["--max-requests", "6", "--workers", "120"]);
    play_sessions(&demo, Rules { max_requests: 6, is_crowded: false });
}

#[test]
fn random_sessions_go_as_the_reference_says_when_workers_are_few() {
    let demo = Demo::unix(&["--max-requests", "20", "--workers", "2", "--queue", "3"]);
    play_sessions(&demo, Rules { max_requests: 20, is_crowded: true });
}

fn play_sessions(demo: &Demo, rules: Rules) {
    let first = number("FCGI_MODEL_SEED", 1);
    let (next, behind) = (AtomicU64::new(first), first + number("FCGI_MODEL_SESSIONS", 120));
    let play = || loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= behind {
            return;
        }
        let naming = Naming(seed);
        play_session(demo, rules, seed);
        drop(naming);
    };
    thread::scope(|scope| (0..THREADS).for_each(|_| drop(scope.spawn(play))));
    wait_until("the end of everything but the request that asks", || {
        let metrics = demo.metrics();
        metrics["active_requests"] == 1 && metrics["open_connections"] == 1
    });
    let log = demo.log();
    assert!(!log.contains("broke the protocol"), "nobody did: {log}");
}

fn number(variable: &str, default: u64) -> u64 {
    env::var(variable).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable} is no number")))
}

fn play_session(demo: &Demo, rules: Rules, seed: u64) {
    let mut random = Random::new(seed);
    let open = |random: &mut Random| Connection::open(demo.address(), rules, random);
    let mut connections: Vec<_> = (0..1 + random.below(4)).map(|_| open(&mut random)).collect();
    let n_steps = 50 + random.below(350);
    for step in 0..n_steps {
        let chosen = random.below(connections.len());
        connections[chosen].step(&mut random, seed as u32 * 1000 + step as u32);
        if connections[chosen].ended {
            connections[chosen] = open(&mut random);
        }
    }
    end(connections, &mut random);
}

/// The ways in which a connection ends. All is sent before an end is waited for, because a request of one connection
/// may need the worker that another one holds.
fn end(connections: Vec<Connection>, random: &mut Random) {
    let mut remaining = Vec::new();
    for mut connection in connections {
        match random.below(10) {
            0 => continue,
            1 | 2 => connection.half_close(),
            _ => connection.send_rest(random),
        }
        remaining.push(connection);
    }
    remaining.iter_mut().for_each(|connection| connection.finish(random));
}
