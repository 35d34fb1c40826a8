//! A socket of which one can ask whether there is something to read.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{poll, PollFd, PollFlags, Timespec};

use crate::demo::PATIENCE;

pub(super) struct Wire {
    /// Of either kind: the calls are the same.
    socket: UnixStream,
    is_half_closed: bool,
}

impl Wire {
    pub(super) fn connect(address: &str) -> Wire {
        let socket = match address.strip_prefix("unix:") {
            Some(path) => UnixStream::connect(path).expect("the application listens"),
            None => UnixStream::from(tcp(address)),
        };
        socket.set_write_timeout(Some(PATIENCE)).expect("a time-out can be set");
        Wire { socket, is_half_closed: false }
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes)
    }

    pub(super) fn half_close(&mut self) {
        self.is_half_closed = true;
        self.socket.shutdown(Shutdown::Write).expect("the connection is open");
    }

    pub(super) fn is_half_closed(&self) -> bool {
        self.is_half_closed
    }

    /// Whether something comes in this time, or the end.
    pub(super) fn is_readable(&self, time: Duration) -> bool {
        let time = Timespec { tv_sec: time.as_secs() as i64, tv_nsec: time.subsec_nanos().into() };
        let mut sockets = [PollFd::new(&self.socket, PollFlags::IN)];
        poll(&mut sockets, Some(&time)).expect("a socket can be waited for") > 0
    }

    /// One `recv`, behind what is in the buffer; 0 at the end.
    pub(super) fn read(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let len = buffer.len();
        buffer.resize(len + 65_536, 0);
        let n_read = self.socket.read(&mut buffer[len..]);
        buffer.truncate(len + *n_read.as_ref().unwrap_or(&0));
        n_read
    }
}

fn tcp(address: &str) -> OwnedFd {
    let socket = TcpStream::connect(address).expect("the application listens");
    // Pieces are meant to arrive as they are sent.
    socket.set_nodelay(true).expect("an option can be set");
    socket.into()
}
