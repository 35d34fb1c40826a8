//! The units of `examples/deploy/`. There is no systemd to run them here: it judges the files, and what they forbid is
//! held against what the demo does.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use super::process::{run, tool, Process};
use super::systemd::HAND_OVER;
use super::{children, signal, unix};
use crate::demo::program;
use crate::peer::Connection;

/// The file that users get, with the demo as their program.
fn unit(name: &str) -> String {
    let text = deployed(name);
    text.replace("/usr/local/bin/app", program().to_str().unwrap())
}

fn deployed(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/deploy").join(name)).unwrap()
}

/// Adds a line below the heading of a section.
fn with_line(unit: &str, section: &str, line: &str) -> String {
    let heading = format!("\n{section}\n");
    assert!(unit.contains(&heading));
    unit.replace(&heading, &format!("{heading}{line}\n"))
}

fn analyze(arguments: &[&str]) -> Command {
    let mut command = tool("systemd-analyze");
    command.args(arguments);
    command
}

#[track_caller]
fn assert_correct(units: &[(&str, String)]) {
    let directory = tempfile::tempdir().unwrap();
    let paths: Vec<_> = units.iter().map(|(name, _)| directory.path().join(name)).collect();
    paths.iter().zip(units).for_each(|(path, (_, text))| fs::write(path, text).unwrap());
    let output = run(analyze(&["verify", "--man=no"]).args(&paths));
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
}

#[test]
#[ignore = "needs systemd-analyze; tests/run installs it"]
fn the_units_are_correct() {
    assert_correct(&[("app.service", unit("app.service")), ("app.socket", unit("app.socket"))]);
}

#[test]
#[ignore = "needs systemd-analyze; tests/run installs it"]
fn the_units_are_correct_as_a_template_of_processes_that_share_the_socket() {
    let service = with_line(&unit("app.service"), "[Service]", "Sockets=app.socket");
    let socket = with_line(&unit("app.socket"), "[Socket]", "Service=app@1.service");
    assert_correct(&[("app@.service", service), ("app.socket", socket)]);
}

#[test]
#[ignore = "needs systemd-analyze; tests/run installs it"]
fn the_service_is_confined() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.service");
    fs::write(&path, unit("app.service")).unwrap();
    // In tenths; a service without any of these settings has 96.
    let output = run(analyze(&["security", "--offline=yes", "--threshold=15"]).arg(&path));
    assert_eq!(output.code, Some(0), "{}", String::from_utf8_lossy(&output.stdout));
}

/// The names of the system calls that the unit allows.
fn allowed() -> BTreeSet<String> {
    let (mut allowed, unit) = (BTreeSet::new(), deployed("app.service"));
    for filter in unit.lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")) {
        let names: BTreeSet<String> = filter.trim_start_matches('~').split(' ').flat_map(group).collect();
        match filter.starts_with('~') {
            true => allowed.retain(|name| !names.contains(name)),
            false => allowed.extend(names),
        }
    }
    allowed
}

/// The system calls of a group such as `@system-service`. It lists some as groups of their own.
fn group(name: &str) -> BTreeSet<String> {
    let output = run(&mut analyze(&["syscall-filter", name]));
    assert_eq!(output.code, Some(0), "{name}: {}", output.stderr);
    let text = String::from_utf8(output.stdout).unwrap();
    let names = text.lines().skip(1).map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    names.flat_map(|name| if name.starts_with('@') { group(name) } else { [name.to_owned()].into() }).collect()
}

#[test]
#[ignore = "needs systemd-analyze and strace; tests/run installs them"]
fn the_service_does_nothing_that_the_unit_forbids() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let trace = traced_life(UnixListener::bind(&path).unwrap().into(), &unix(&path), &directory.path().join("trace"));
    let allowed = allowed();
    assert!(!["mount", "chown", "setpriority"].iter().any(|name| allowed.contains(*name)), "{allowed:?}");
    for line in trace.lines() {
        let call = line.split_once(' ').map_or("", |(_pid, rest)| rest.trim_start());
        let Some((name, arguments)) = call.split_once('(') else { continue };
        // systemd itself has done that when the filter begins, and the shell is not the service.
        // A thread that ends on its way into the kernel has called nothing.
        if name.starts_with("<...") || ["execve", "???"].contains(&name) {
            continue;
        }
        assert!(allowed.contains(name), "SystemCallFilter: {call}");
        assert!(!arguments.contains("PROT_WRITE|PROT_EXEC"), "MemoryDenyWriteExecute: {call}");
        let family = name == "socket" || name == "socketpair";
        assert!(!family || ["AF_UNIX", "AF_INET"].iter().any(|family| arguments.starts_with(family)), "{call}");
    }
    assert!(trace.contains("accept4(") && trace.contains("O_TMPFILE"), "not what was meant to be traced");
}

/// What the demo asks of the kernel from its start to its end, with a body that goes to a temporary file.
fn traced_life(socket: OwnedFd, address: &str, trace: &Path) -> String {
    let mut command = tool("strace");
    command.arg("-f").arg("-o").arg(trace).args(["sh", "-c", HAND_OVER]).arg(program()).stdin(socket);
    let mut strace = Process::start(&mut command);
    assert_eq!(strace.address(), address);
    let mut connection = Connection::open(address);
    connection.request(1).get("/hello").send();
    assert_eq!(connection.answer(1).text(), "hello, world\n");
    let body = vec![b'x'; 4 << 20];
    let request = connection.request(2).post("/ignore?ms=300").body(&body).bytes();
    connection.while_sending(&request, |connection| assert_eq!(connection.answer(2).text(), "ignored\n"));
    drop(connection);
    let demo = children(strace.pid());
    demo.iter().for_each(|pid| signal(*pid, "TERM"));
    assert_eq!(strace.output().code, Some(0));
    fs::read_to_string(trace).unwrap()
}
