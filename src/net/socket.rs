//! One accepted connection to a web server, over TCP or a Unix socket.

use std::io::{self, IoSlice};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::io::{ioctl_fionread, retry_on_intr, Errno};
use rustix::net::sockopt::set_socket_linger;
use rustix::net::{recv, send, sendmsg, RecvFlags, SendAncillaryBuffer, SendFlags};

/// For the last bytes of a stream: they may wait for its end.
#[cfg(any(target_os = "linux", target_os = "android"))]
const LAST: SendFlags = SendFlags::NOSIGNAL.union(SendFlags::MORE);
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const LAST: SendFlags = SendFlags::NOSIGNAL;

/// What the peer of a connection that is broken off has to read what is on its way, before the reset. HAProxy 2.6
/// crashes when the reset comes between its looking for something to read and its reading to the end of it.
const READING_TIME: Duration = Duration::from_millis(50);

/// A stream socket. Reading and writing take `&self`: the kernel serves one reader and one writer at a time, which
/// is what the reader thread and the outbox are.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// Reads into the spare capacity of `buffer`.
    pub(crate) fn read(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        Ok(retry_on_intr(|| recv(self, spare_capacity(buffer), RecvFlags::empty()))?.1)
    }

    /// Like [`read`](Self::read), without waiting.
    pub(crate) fn read_now(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        Ok(retry_on_intr(|| recv(self, spare_capacity(buffer), RecvFlags::DONTWAIT))?.1)
    }

    /// Writes all parts, blocking, in as few system calls as the kernel allows.
    pub(crate) fn write_all(&self, parts: &[&[u8]]) -> io::Result<()> {
        let mut rest: Vec<&[u8]>;
        let mut parts = parts;
        loop {
            let written = self.write_parts(parts)?;
            match remaining(parts, written) {
                None => return Ok(()),
                Some(left) => rest = left,
            }
            parts = &rest;
        }
    }

    /// Writes what must be the last before the socket is shut down for writing. Over TCP the end then comes in the same
    /// segment: a web server that has the whole answer knows that the connection is not there for another.
    pub(crate) fn write_last(&self, parts: &[&[u8]]) -> io::Result<()> {
        let (Socket::Tcp(stream), &[mut rest]) = (self, parts) else { return self.write_all(parts) };
        while !rest.is_empty() {
            match send(stream, rest, LAST) {
                Ok(written) => rest = &rest[written..],
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Whether the peer sees the last bytes and the end at the same time.
    pub(crate) fn ends_with_last_bytes(&self) -> bool {
        matches!(self, Socket::Tcp(_))
    }

    /// Writes as much as the kernel takes without blocking, and says how much that was.
    pub(crate) fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut written = 0;
        while written < bytes.len() {
            match send(self, &bytes[written..], SendFlags::DONTWAIT | SendFlags::NOSIGNAL).map_err(io::Error::from) {
                Ok(n) => written += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(written)
    }

    /// Whether bytes wait to be read.
    pub(crate) fn has_input(&self) -> bool {
        ioctl_fionread(self).is_ok_and(|len| len > 0)
    }

    pub(crate) fn shutdown(&self, how: Shutdown) {
        // A peer that is gone already makes this fail, and that is all the same.
        let _: io::Result<()> = match self {
            Socket::Tcp(stream) => stream.shutdown(how),
            Socket::Unix(stream) => stream.shutdown(how),
        };
    }

    /// Ends the connection so that the peer can tell it from a regular end, where the transport has a way to: nginx
    /// takes the end of a TCP connection for the end of an answer, unless it is a reset. That throws away what the
    /// peer's kernel does not have yet.
    pub(crate) fn break_off(&self) {
        let how = match self {
            Socket::Tcp(stream) => {
                thread::sleep(READING_TIME);
                // The reset follows when our reader has seen this and the last user of the socket is gone.
                set_socket_linger(stream, Some(Duration::ZERO)).map_or(Shutdown::Both, |()| Shutdown::Read)
            }
            Socket::Unix(_) => Shutdown::Write,
        };
        self.shutdown(how);
    }

    fn write_parts(&self, parts: &[&[u8]]) -> io::Result<usize> {
        let written = match parts {
            [whole] => send(self, whole, SendFlags::NOSIGNAL).map_err(io::Error::from),
            _ => self.write_vectored(parts),
        };
        match written {
            Ok(0) if parts.iter().any(|part| !part.is_empty()) => Err(io::ErrorKind::WriteZero.into()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            written => written,
        }
    }

    fn write_vectored(&self, parts: &[&[u8]]) -> io::Result<usize> {
        let slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        Ok(sendmsg(self, &slices, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL)?)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Tcp(stream) => stream.as_fd(),
            Socket::Unix(stream) => stream.as_fd(),
        }
    }
}

/// What is left of `parts` behind the first `written` bytes; `None` when nothing is.
fn remaining<'a>(parts: &[&'a [u8]], mut written: usize) -> Option<Vec<&'a [u8]>> {
    let mut rest = Vec::new();
    for part in parts {
        let skipped = written.min(part.len());
        written -= skipped;
        if skipped < part.len() {
            rest.push(&part[skipped..]);
        }
    }
    (!rest.is_empty()).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    fn tcp_pair() -> (Socket, TcpStream) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let theirs = TcpStream::connect(listener.local_addr().expect("an address")).expect("connected");
        (Socket::Tcp(listener.accept().expect("accepted").0), theirs)
    }

    #[test]
    fn what_is_left_of_parts_is_found_at_every_cut() {
        let parts: [&[u8]; 4] = [b"ab", b"", b"cde", b"f"];
        for written in 0..=6 {
            let left = remaining(&parts, written).unwrap_or_default().concat();
            assert_eq!(left, b"abcdef"[written..], "{written} written");
        }
        assert_eq!(remaining(&parts, 6), None);
    }

    #[test]
    fn a_broken_off_connection_ends_in_a_reset_behind_its_last_byte() {
        let (socket, mut theirs) = tcp_pair();
        socket.write_all(&[b"half an answer"]).expect("written");
        socket.break_off();
        assert_eq!(socket.read(&mut Vec::with_capacity(8)).expect("the reader is woken"), 0);
        drop(socket);
        let mut received = Vec::new();
        let error = theirs.read_to_end(&mut received).expect_err("a reset");
        assert_eq!((received.as_slice(), error.kind()), (&b"half an answer"[..], io::ErrorKind::ConnectionReset));
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn the_last_bytes_wait_for_the_end() {
        let (socket, mut theirs) = tcp_pair();
        theirs.set_nonblocking(true).expect("a flag");
        socket.write_last(&[b"the last"]).expect("written");
        assert_eq!(theirs.read(&mut [0; 8]).map_err(|error| error.kind()), Err(io::ErrorKind::WouldBlock));
        socket.shutdown(Shutdown::Write);
        theirs.set_nonblocking(false).expect("a flag");
        let mut received = Vec::new();
        theirs.read_to_end(&mut received).expect("the end");
        assert_eq!(received, b"the last");
    }

    #[test]
    fn input_is_seen_before_it_is_read() {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        let socket = Socket::Unix(ours);
        assert!(!socket.has_input());
        theirs.write_all(b"x").expect("written");
        assert!(socket.has_input());
        drop(theirs);
        assert_eq!(socket.read(&mut Vec::with_capacity(8)).expect("read"), 1);
        assert!(!socket.has_input(), "the end is no input");
    }

    #[test]
    fn the_reset_leaves_time_to_read_what_is_on_its_way() {
        let has_time = || {
            let (socket, mut theirs) = tcp_pair();
            thread::spawn(move || {
                socket.write_all(&[b"half an answer"]).expect("written");
                socket.break_off();
            });
            theirs.read_exact(&mut [0; 14]).expect("half an answer");
            theirs.set_read_timeout(Some(READING_TIME / 5)).expect("a read timeout");
            theirs.read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
        };
        // On a busy machine this side may be late now and then.
        assert!((0..10).any(|_| has_time()), "the reset comes right behind the last byte");
    }

    #[test]
    fn writing_now_stops_when_the_peer_does_not_read() {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        let socket = Socket::Unix(ours);
        let bytes = vec![7; 8 << 20];
        let written = socket.write_now(&bytes).expect("written");
        assert!(written > 0 && written < bytes.len());
        let mut read = vec![0; written];
        theirs.read_exact(&mut read).expect("read");
        assert!(read.iter().all(|&byte| byte == 7));
        assert!(socket.write_now(b"more").is_ok_and(|n| n == 4));
    }
}
