//! spawn-fcgi makes the socket and passes it as file descriptor 0.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use super::process::{run, tool};
use super::{assert_serves, copy_demo, has_ended, signal, unix, Process, Started};
use crate::demo::program;
use crate::demo::wait_until;
use crate::shutdown::refuses_connections;

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

/// The script that users get, but for its paths and the users, which only root can choose.
fn deployed(directory: &Path) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/deploy/spawn-fcgi.sh");
    let text = fs::read_to_string(file).unwrap();
    let directory = directory.to_str().unwrap();
    let [run, users, demo] = ["/run/app", "-U app -G www-data -u app -g app", "/usr/local/bin/app"];
    assert!(text.contains(run) && text.contains(users) && text.contains(demo));
    let text = text.replace(users, "-U nobody -G nogroup -u nobody -g nogroup");
    text.replace(demo, &format!("{directory}/demo")).replace(run, &format!("{directory}/app"))
}

#[test]
#[ignore = "needs spawn-fcgi; tests/run installs it"]
fn the_script_starts_two_processes_with_the_rights_that_it_says() {
    let directory = tempfile::tempdir().unwrap();
    let (path, pid_file) = (directory.path().join("app.sock"), directory.path().join("app.pid"));
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    copy_demo(directory.path());
    assert_eq!(run(tool("sh").args(["-c", &deployed(directory.path())])).code, Some(0));
    let both = Started { pids: pids(&pid_file) };
    assert_eq!(both.pids.len(), 2);
    both.assert_each_serves(&unix(&path));
    let socket = fs::metadata(&path).unwrap();
    assert_eq!(socket.permissions().mode() & 0o777, 0o660);
    let rights: Vec<u32> = both.pids.iter().map(|pid| fs::metadata(format!("/proc/{pid}")).unwrap().uid()).collect();
    assert_eq!(rights, [socket.uid(); 2]);
    both.pids.iter().for_each(|pid| signal(*pid, "TERM"));
    wait_until("the end of both", || both.all_ended());
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
    // The last of its threads takes the socket along.
    wait_until("nobody to listen any more", || refuses_connections(&unix(&path)));
}
