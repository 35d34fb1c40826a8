//! systemd-socket-activate is the part of systemd that makes sockets and starts programs for them, without the rest.

use std::net::TcpListener;
use std::path::Path;

use super::process::{tool, Process};
use super::systemd::{assert_notices, Notices};
use super::{assert_serves, children, signal, unix, Started};
use crate::demo::{program, wait_until};
use crate::shutdown::refuses_connections;

/// It takes no port 0. At an address of the loopback range that nothing else uses, a port that is free stays so.
fn free_address() -> String {
    TcpListener::bind("127.0.0.79:0").unwrap().local_addr().unwrap().to_string()
}

/// The program is started when somebody connects for the first time.
fn activated(address: &str, environment: &[String], program: &[&str]) -> Process {
    let mut command = tool("systemd-socket-activate");
    command.arg("-l").arg(address.trim_start_matches("unix:"));
    command.args(environment.iter().flat_map(|variable| ["-E", variable]));
    let process = Process::start(command.args(program));
    wait_until("somebody to listen", || !refuses_connections(address));
    process
}

fn addresses(directory: &Path) -> [String; 2] {
    [unix(&directory.join("socket")), free_address()]
}

#[test]
#[ignore = "needs systemd-socket-activate; tests/run installs it"]
fn a_service_is_started_by_the_first_connection_and_says_how_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let notify = directory.path().join("notify");
    let notices = Notices::bind(&notify);
    for address in addresses(directory.path()) {
        let environment = [format!("NOTIFY_SOCKET={}", notify.display()), "RUST_LOG=warn".to_owned()];
        let mut demo = activated(&address, &environment, &[program().to_str().unwrap()]);
        assert_eq!(demo.address(), address);
        assert_serves(&address);
        assert_notices(demo, &notices);
    }
}

/// LISTEN_PID must be the number of each process, so each has a shell of its own that becomes the demo.
const TWO: &str = r#"for i in 1 2; do sh -c 'LISTEN_PID=$$ exec "$0"' "$0" & done; wait"#;

#[test]
#[ignore = "needs systemd-socket-activate; tests/run installs it"]
fn several_processes_share_a_socket() {
    let directory = tempfile::tempdir().unwrap();
    for address in addresses(directory.path()) {
        let mut shell = activated(&address, &[], &["sh", "-c", TWO, program().to_str().unwrap()]);
        assert_eq!(shell.addresses(2), vec![address.clone(); 2]);
        let both = Started { pids: children(shell.pid()) };
        assert_eq!(both.pids.len(), 2);
        both.assert_each_serves(&address);
        for pid in &both.pids {
            assert_serves(&address);
            signal(*pid, "TERM");
            wait_until("the end of one process", || super::has_ended(*pid));
        }
        assert_eq!(shell.output().code, Some(0));
    }
}
