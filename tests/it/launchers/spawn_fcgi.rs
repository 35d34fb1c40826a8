//! spawn-fcgi makes the socket and passes it as file descriptor 0.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::process::{run, tool};
use super::{assert_serves, has_ended, signal, unix, Process, Started};
use crate::demo::program;
use crate::demo::wait_until;

fn spawn_fcgi(options: &[&str]) -> Command {
    let mut command = tool("spawn-fcgi");
    command.args(options).arg("--").arg(program());
    command
}

fn pids(file: &Path) -> Vec<u32> {
    fs::read_to_string(file).unwrap().lines().map(|line| line.parse().unwrap()).collect()
}

/// spawn-fcgi takes no port 0. At an address of the loopback range that nothing else uses, a port that is free stays so.
const ADDRESS: &str = "127.0.0.77";

fn free_port() -> u16 {
    TcpListener::bind((ADDRESS, 0)).unwrap().local_addr().unwrap().port()
}

#[test]
#[ignore = "needs spawn-fcgi; tests/run installs it"]
fn a_unix_socket_is_served_and_stays_the_launchers() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let mut demo = Process::start(&mut spawn_fcgi(&["-n", "-s", path.to_str().unwrap(), "-M", "0640"]));
    assert_eq!(demo.address(), unix(&path));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    assert_serves(&unix(&path));
    let output = demo.stop();
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
    assert!(path.exists());
}

#[test]
#[ignore = "needs spawn-fcgi; tests/run installs it"]
fn a_port_is_served() {
    let port = free_port().to_string();
    let mut demo = Process::start(&mut spawn_fcgi(&["-n", "-a", ADDRESS, "-p", &port]));
    let address = demo.address();
    assert_eq!(address, format!("{ADDRESS}:{port}"));
    assert_serves(&address);
    let output = demo.stop();
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
}

#[test]
#[ignore = "needs spawn-fcgi; tests/run installs it"]
fn two_processes_serve_one_socket_each_until_its_own_end() {
    let directory = tempfile::tempdir().unwrap();
    let (path, pid_file) = (directory.path().join("socket"), directory.path().join("pids"));
    let options = ["-F", "2", "-P", pid_file.to_str().unwrap(), "-s", path.to_str().unwrap()];
    assert_eq!(run(&mut spawn_fcgi(&options)).code, Some(0));
    let both = Started { pids: pids(&pid_file) };
    assert_eq!(both.pids.len(), 2);
    both.assert_each_serves(&unix(&path));
    for pid in &both.pids {
        assert_serves(&unix(&path));
        signal(*pid, "TERM");
        wait_until("the end of one process", || has_ended(*pid));
    }
    assert!(std::os::unix::net::UnixStream::connect(&path).is_err(), "nobody listens any more");
}
