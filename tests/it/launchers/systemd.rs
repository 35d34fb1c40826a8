//! What systemd does when it starts a service: the socket is file descriptor 3, and it is told READY and STOPPING.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::process::Command;

use super::process::{demo, demo_by};
use super::{assert_serves, refusal, signal, unix, Process};
use crate::demo::PATIENCE;
use crate::peer::Connection;

/// The process id stays the same when the shell becomes the demo.
pub(crate) const HAND_OVER: &str = r#"LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@" 3<&0 0</dev/null"#;

/// systemd waits for notices at this socket.
pub(super) struct Notices {
    socket: UnixDatagram,
}

impl Notices {
    pub(super) fn bind(path: &Path) -> Notices {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Notices { socket }
    }

    fn next(&self) -> String {
        let mut buffer = [0; 256];
        let len = loop {
            match self.socket.recv(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                received => break received.expect("a notice in time"),
            }
        };
        String::from_utf8_lossy(&buffer[..len]).trim_end().to_owned()
    }

    fn assert_no_more(&self) {
        self.socket.set_nonblocking(true).unwrap();
        let received = self.socket.recv(&mut [0; 256]);
        self.socket.set_nonblocking(false).unwrap();
        assert_eq!(received.map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));
    }
}

/// A socket of each family, and its address.
pub(crate) fn sockets(directory: &Path) -> [(OwnedFd, String); 2] {
    let path = directory.join("socket");
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap().to_string();
    [(UnixListener::bind(&path).unwrap().into(), unix(&path)), (tcp.into(), address)]
}

pub(crate) fn handed_over(script: &str, socket: OwnedFd) -> Command {
    let mut command = demo_by(script);
    command.stdin(socket);
    command
}

#[test]
fn the_socket_that_is_file_descriptor_3_is_served() {
    let directory = tempfile::tempdir().unwrap();
    for (socket, address) in sockets(directory.path()) {
        let mut demo = Process::start(&mut handed_over(HAND_OVER, socket));
        assert_eq!(demo.address(), address);
        assert_serves(&address);
        let output = demo.stop();
        assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
    }
    assert!(directory.path().join("socket").exists(), "the socket belongs to the launcher");
}

#[test]
fn of_several_sockets_the_first_is_served() {
    let script = r#"LISTEN_PID=$$ LISTEN_FDS=2 exec "$0" "$@" 3<&0 4</dev/null 0</dev/null"#;
    let directory = tempfile::tempdir().unwrap();
    for (socket, address) in sockets(directory.path()) {
        let mut demo = Process::start(&mut handed_over(script, socket));
        assert_eq!(demo.address(), address);
        assert_serves(&address);
        let output = demo.stop();
        assert!(output.code == Some(0) && output.stderr.contains("2 sockets in LISTEN_FDS"), "{output:?}");
    }
}

#[test]
fn sockets_for_another_process_are_ignored() {
    let directory = tempfile::tempdir().unwrap();
    for (socket, address) in sockets(directory.path()) {
        let as_stdin = r#"LISTEN_PID=1 LISTEN_FDS=1 exec "$0" "$@" 3</dev/null"#;
        let mut demo = Process::start(&mut handed_over(as_stdin, socket.try_clone().unwrap()));
        assert_eq!(demo.address(), address);
        assert_serves(&address);
        assert_eq!(demo.stop().code, Some(0));

        let elsewhere = r#"LISTEN_PID=1 LISTEN_FDS=1 exec "$0" "$@" 3<&0 0</dev/null"#;
        let message = refusal(&mut handed_over(elsewhere, socket));
        assert!(message.contains("no listening socket as file descriptor 0"), "{message}");
    }
}

#[test]
fn what_is_no_stream_socket_is_refused() {
    let (file, datagram) = (tempfile::tempfile().unwrap(), UnixDatagram::unbound().unwrap());
    for socket in [OwnedFd::from(file), OwnedFd::from(datagram)] {
        let message = refusal(&mut handed_over(HAND_OVER, socket));
        assert!(message.contains("listening"), "{message}");
    }
}

#[test]
fn ready_comes_when_it_listens_and_stopping_when_it_begins_to_stop() {
    let directory = tempfile::tempdir().unwrap();
    let notify = directory.path().join("notify");
    let notices = Notices::bind(&notify);
    let mut own = demo();
    own.arg("--listen").arg(unix(&directory.path().join("own")));
    let given = sockets(directory.path()).map(|(socket, _)| handed_over(HAND_OVER, socket));
    for mut command in [own].into_iter().chain(given) {
        assert_notices(Process::start(command.env("NOTIFY_SOCKET", &notify)), &notices);
    }
}

pub(super) fn assert_notices(mut demo: Process, notices: &Notices) {
    assert_eq!(notices.next(), "READY=1");
    let mut busy = Connection::open(&demo.address());
    busy.request(1).get("/wait-abort").send();
    busy.assert_usable();
    signal(demo.pid(), "TERM");
    assert_eq!(notices.next(), "STOPPING=1");
    busy.abort(1);
    busy.ending(1);
    drop(busy);
    assert_eq!(demo.output().code, Some(0));
    notices.assert_no_more();
}

#[test]
fn nobody_needs_to_take_the_notices() {
    let directory = tempfile::tempdir().unwrap();
    let [(socket, address), _] = sockets(directory.path());
    let mut command = handed_over(HAND_OVER, socket);
    let mut demo = Process::start(command.env("NOTIFY_SOCKET", directory.path().join("nobody")));
    assert_eq!(demo.address(), address);
    assert_serves(&address);
    let output = demo.stop();
    assert!(output.code == Some(0) && output.stderr.contains("systemd cannot be notified"), "{output:?}");
}

#[test]
fn a_socket_that_does_not_listen_is_refused() {
    let (connected, _other_end) = std::os::unix::net::UnixStream::pair().unwrap();
    let message = refusal(&mut handed_over(HAND_OVER, connected.into()));
    assert!(message.contains("LISTEN_FDS") && message.contains("listen"), "{message}");
}
