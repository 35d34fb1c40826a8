//! Verifies that a server goes on when nobody keeps a handle to it, and costs nothing while it waits.

use std::fs;
use std::time::{Duration, Instant};

use fcgi::http::{Request, Response};
use fcgi::{Body, Listener, Server};

use crate::peer::Connection;

/// The processor time of all accepting threads of this process, in ticks of 10 ms.
fn accepting_ticks() -> u64 {
    let tasks = fs::read_dir("/proc/self/task").unwrap().filter_map(Result::ok);
    let stats = tasks.filter_map(|task| fs::read_to_string(task.path().join("stat")).ok());
    let accepting = stats.filter(|stat| stat.contains("(fcgi-accept)"));
    let ticks = |stat: String| {
        let fields: Vec<u64> = stat.split(' ').filter_map(|field| field.parse().ok()).collect();
        fields[10] + fields[11]
    };
    accepting.map(ticks).sum()
}

#[test]
fn a_server_that_nobody_holds_serves_on_and_does_not_spin() {
    let directory = tempfile::tempdir().unwrap();
    let address = format!("unix:{}", directory.path().join("socket").display());
    let server = Server::new().responder(|_: Request<Body>| Response::new("hello"));
    drop(server.spawn(Listener::bind(&address).unwrap()).unwrap());
    let mut connection = Connection::open(&address);
    connection.request(1).get("/").send();
    assert_eq!(connection.answer(1).text(), "hello");
    // Others of this process may be at work: one that spins is so without end.
    let is_quiet = || {
        let (begun, before) = (Instant::now(), accepting_ticks());
        std::thread::sleep(Duration::from_millis(300));
        let ticks = accepting_ticks().saturating_sub(before);
        Duration::from_millis(10 * ticks) < begun.elapsed() / 3
    };
    assert!((0..10).any(|_| is_quiet()), "the accepting thread spins");
}
