//! Verifies that the gateway starts and ends an application, and says what it was told wrong.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use super::http_address;
use crate::demo::{example, wait_until};
use crate::http::Client;
use crate::launchers::process::{command_of, run, signal, Process};

/// The gateway with a folder of its own for temporary files, in front of the program that the arguments are.
fn starting(folder: &Path, program: &[&str]) -> Command {
    let mut command = command_of("gateway");
    command.env("TMPDIR", folder).args(["--http", "127.0.0.1:0"]).args(program);
    command
}

#[test]
fn a_program_is_started_with_a_socket_and_ended_with_the_gateway() {
    for name in ["TERM", "INT"] {
        let folder = tempfile::tempdir().expect("a folder");
        let program = example("shutdown");
        let mut gateway = Process::start(&mut starting(folder.path(), &[program.to_str().expect("a path in UTF-8")]));
        let address = http_address(&gateway.address());
        assert_eq!(Client::connect(address).get("/").text(), "done\n");
        signal(gateway.pid(), name);
        // It is the program's exit code: without its end there is none.
        assert_eq!(gateway.output().code, Some(0), "SIG{name}");
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0, "left behind after SIG{name}");
    }
}

#[test]
fn the_end_of_the_program_is_the_end_of_the_gateway() {
    let folder = tempfile::tempdir().expect("a folder");
    let rows: [(&[&str], i32); 3] = [
        (&["/bin/sh", "-c", "exit 3"], 3),
        (&["/bin/sh", "-c", "kill -s KILL $$"], 137),
        (&["/bin/true", "--http"], 0),
    ];
    for (program, code) in rows {
        assert_eq!(run(&mut starting(folder.path(), program)).code, Some(code), "{program:?}");
    }
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
}

/// The program must not be left behind when there is no port for it.
#[test]
fn a_program_ends_when_the_gateway_cannot_begin() {
    let folder = tempfile::tempdir().expect("a folder");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = listener.local_addr().expect("an address").to_string();
    let pid_file = folder.path().join("pid");
    let script = format!("echo $$ > {}; exec sleep 600", pid_file.display());
    let mut command = command_of("gateway");
    let output = run(command.args(["--http", &taken, "/bin/sh", "-c", &script]));
    assert!(output.code == Some(1) && output.stderr.contains(&taken), "{output:?}");
    // It may have been killed before it wrote anything.
    let pid = fs::read_to_string(&pid_file).unwrap_or_default();
    wait_until("the program to have ended", || pid.is_empty() || !Path::new("/proc").join(pid.trim()).exists());
}

#[test]
fn what_it_was_told_wrong_is_said() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = listener.local_addr().expect("an address").to_string();
    let rows: [(&[&str], i32, &str); 7] = [
        (&[], 2, "--app"),
        (&["--app", "nonsense"], 2, "unix:/path or host:port"),
        (&["--app", "unix:/s", "--nonsense"], 2, "--nonsense"),
        (&["--app", "unix:/s", "/bin/true"], 2, "/bin/true"),
        (&["/no/such/program"], 1, "cannot run /no/such/program: "),
        (&["--app", "unix:/s", "--http", "256.0.0.1:0"], 1, "cannot listen on 256.0.0.1:0: "),
        (&["--app", "unix:/s", "--http", &taken], 1, &taken),
    ];
    for (arguments, code, word) in rows {
        let output = run(command_of("gateway").args(arguments));
        assert!(output.code == Some(code) && output.stderr.contains(word), "{arguments:?}: {output:?}");
    }
}
