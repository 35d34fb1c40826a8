//! Sockets that the demo makes itself, and what it says when there is none to be had.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::process::{command_of, demo, run, tool, Process};
use super::{assert_serves, copy_demo, refusal, signal, unix};
use crate::demo::example;

/// Nobody's user and group number on every system.
const NOBODY: u32 = 65534;

fn listening(address: &str) -> Command {
    let mut command = demo();
    command.args(["--listen", address]);
    command
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

#[track_caller]
fn assert_refused(address: &str, command: &mut Command, reason: &str) {
    let message = refusal(command);
    let said = message.strip_prefix(&format!("cannot listen on {address}: "));
    assert!(said.is_some_and(|said| said.contains(reason)), "{address}: {message}");
}

#[test]
fn a_socket_file_goes_with_its_process() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    for name in ["TERM", "INT", "USR1"] {
        let mut demo = Process::start(&mut listening(&unix(&path)));
        assert_eq!(demo.address(), unix(&path));
        assert!(is_socket(&path));
        signal(demo.pid(), name);
        assert_eq!(demo.output().code, Some(0));
        assert!(!path.exists(), "left behind after SIG{name}");
    }
}

#[test]
fn the_socket_file_of_a_process_that_was_killed_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let mut killed = Process::start(&mut listening(&unix(&path)));
    killed.address();
    signal(killed.pid(), "KILL");
    assert_eq!(killed.output().code, None);
    assert!(is_socket(&path), "stale");
    let mut demo = Process::start(&mut listening(&unix(&path)));
    assert_serves(&demo.address());
    assert_eq!(demo.stop().code, Some(0));
    assert!(!path.exists());
}

#[test]
fn a_live_socket_is_left_to_its_process() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let mut demo = Process::start(&mut listening(&unix(&path)));
    let address = demo.address();
    assert_refused(&address, &mut listening(&address), "another process listens there");
    assert_serves(&address);
    // Nor does it count whose it is.
    assert_eq!(demo.stop().code, Some(0));
    let _other = UnixListener::bind(&path).unwrap();
    assert_refused(&address, &mut listening(&address), "another process listens there");
    assert!(is_socket(&path));
}

#[test]
fn a_socket_file_made_by_another_since_is_not_removed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let mut first = Process::start(&mut listening(&unix(&path)));
    first.address();
    fs::remove_file(&path).unwrap();
    let mut second = Process::start(&mut listening(&unix(&path)));
    assert_serves(&second.address());
    assert_eq!(first.stop().code, Some(0));
    assert_serves(&unix(&path));
    assert_eq!(second.stop().code, Some(0));
}

#[test]
fn other_files_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let (text, link) = (directory.path().join("text"), directory.path().join("link"));
    fs::write(&text, "precious").unwrap();
    std::os::unix::fs::symlink(&text, &link).unwrap();
    for path in [&text, &link, directory.path()] {
        assert_refused(&unix(path), &mut listening(&unix(path)), "a file of another kind");
    }
    assert_eq!(fs::read_to_string(&link).unwrap(), "precious");
}

#[test]
fn an_address_that_cannot_be_had_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let in_use = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = in_use.local_addr().unwrap().to_string();
    let long = unix(&directory.path().join("x".repeat(100)));
    let nowhere = unix(&directory.path().join("no-such-directory/socket"));
    let rows = [
        (port.as_str(), "Address already in use"),
        // An address for documentation, which no machine has.
        ("192.0.2.1:0", "Cannot assign requested address"),
        ("127.0.0.1:99999", "invalid port"),
        ("127.0.0.1:", "invalid port"),
        ("nonsense", "expected unix:/path or host:port"),
        ("", "expected unix:/path or host:port"),
        ("unix:", ""),
        (&long, "too long for a socket"),
        (&nowhere, "No such file or directory"),
    ];
    for (address, reason) in rows {
        assert_refused(address, &mut listening(address), reason);
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "nothing was made");
}

#[test]
fn a_directory_that_may_not_be_written_is_named() {
    let (public, private) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::set_permissions(public.path(), Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(private.path(), Permissions::from_mode(0o500)).unwrap();
    let address = unix(&private.path().join("socket"));
    let mut command = unprivileged(public.path());
    assert_refused(&address, command.args(["--listen", &address]), "Permission denied");
}

/// Root may write everywhere: as root the demo is run by nobody, from where nobody can read it.
fn unprivileged(directory: &Path) -> Command {
    if fs::metadata(directory).unwrap().uid() != 0 {
        return demo();
    }
    let mut command = tool(copy_demo(directory).to_str().unwrap());
    command.uid(NOBODY).gid(NOBODY);
    command
}

/// The demo serves browsers then, so this is about a program that knows nothing of them.
#[test]
fn a_process_with_neither_socket_nor_address_says_what_to_do() {
    let (connected, _other_end) = UnixStream::pair().unwrap();
    let stdins = [
        ("/dev/null", Stdio::null()),
        ("a file", tempfile::tempfile().unwrap().into()),
        ("a pipe", Stdio::piped()),
        ("a connected socket", std::os::fd::OwnedFd::from(connected).into()),
    ];
    for (what, stdin) in stdins {
        assert_says_what_to_do(what, command_of("hello").stdin(stdin));
    }
    let mut closed = tool("sh");
    closed.args(["-c", r#"exec "$0" <&-"#]).arg(example("hello"));
    assert_says_what_to_do("closed", &mut closed);
}

#[track_caller]
fn assert_says_what_to_do(what: &str, command: &mut Command) {
    let output = run(command);
    assert_eq!((output.code, output.stdout.as_slice()), (Some(1), b"".as_slice()), "{what}: {output:?}");
    for word in ["no listening socket", "file descriptor 0", "spawn-fcgi", "systemd", "an address to listen on"] {
        assert!(output.stderr.contains(word), "{what}: {output:?}");
    }
}
