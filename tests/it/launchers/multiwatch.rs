//! multiwatch runs several processes on the socket that it has as file descriptor 0, and tells them to end by SIGUSR1.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;

use super::process::tool;
use super::{assert_serves, children, signal, unix, Process, Started};
use crate::demo::program;
use crate::demo::wait_until;
use crate::peer::Connection;

fn start(socket: OwnedFd, n_forks: usize) -> (Process, Started) {
    let mut command = tool("multiwatch");
    command.arg("-f").arg(n_forks.to_string()).arg("--").arg(program()).stdin(socket);
    let multiwatch = Process::start(&mut command);
    let mut started = Started { pids: Vec::new() };
    wait_until("all processes", || {
        started.pids = children(multiwatch.pid());
        started.pids.len() == n_forks
    });
    (multiwatch, started)
}

#[test]
#[ignore = "needs multiwatch; tests/run installs it"]
fn every_process_serves_and_all_end_in_good_order() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let (mut multiwatch, started) = start(listener.as_fd().try_clone_to_owned().unwrap(), 3);
    assert_eq!(multiwatch.addresses(3), vec![unix(&path); 3]);
    started.assert_each_serves(&unix(&path));

    let mut busy = Connection::open(&unix(&path));
    busy.request(1).get("/sleep?ms=300").send();
    // The answer to a question that came behind it says that it was begun.
    busy.assert_usable();
    signal(multiwatch.pid(), "TERM");
    assert_eq!(busy.answer(1).text(), "slept 300 ms\n");
    busy.assert_closed();
    drop(busy);
    let output = multiwatch.output();
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
    assert!(started.all_ended());
    assert!(path.exists(), "the socket belongs to the launcher");
}

#[test]
#[ignore = "needs multiwatch; tests/run installs it"]
fn a_process_that_dies_is_replaced_on_the_same_socket() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (mut multiwatch, mut started) = start(listener.into(), 1);
    assert_eq!(multiwatch.address(), address);
    assert_serves(&address);
    let died = started.pids[0];
    signal(died, "KILL");
    multiwatch.addresses(2);
    started.pids = children(multiwatch.pid());
    assert!(started.pids.len() == 1 && started.pids[0] != died);
    assert_serves(&address);
    assert_eq!(multiwatch.stop().code, Some(0));
    assert!(started.all_ended());
}
