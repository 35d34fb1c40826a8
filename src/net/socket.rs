//! One accepted connection to a web server, over TCP or a Unix socket.

use std::io::{self, IoSlice};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::{ioctl_fionread, retry_on_intr, Errno};
use rustix::net::sockopt::set_socket_linger;
use rustix::net::{recv, send, sendmsg, RecvFlags, SendAncillaryBuffer, SendFlags};

/// For the last bytes of a stream: they may wait for its end.
#[cfg(any(target_os = "linux", target_os = "android"))]
const LAST: SendFlags = SendFlags::NOSIGNAL.union(SendFlags::MORE);
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const LAST: SendFlags = SendFlags::NOSIGNAL;

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

    /// Writes as much of the parts as the kernel takes without waiting, perhaps nothing, and says how much that was. Bytes
    /// that are the last before the sending side is closed may wait for that: over TCP the end then comes in the same
    /// segment, and a web server that has the whole answer knows that the connection is not there for another.
    pub(crate) fn write_now(&self, parts: &[&[u8]], is_last: bool) -> io::Result<usize> {
        let last = if is_last && self.ends_with_last_bytes() { LAST } else { SendFlags::NOSIGNAL };
        let flags = last | SendFlags::DONTWAIT;
        let written = retry_on_intr(|| match parts {
            [whole] => send(self, whole, flags),
            _ => {
                let slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
                sendmsg(self, &slices, &mut SendAncillaryBuffer::default(), flags)
            }
        });
        match written {
            Err(Errno::WOULDBLOCK) => Ok(0),
            written => Ok(written?),
        }
    }

    /// Waits until the kernel may take more, and at most for `time`.
    pub(crate) fn wait_writable(&self, time: Duration) -> io::Result<()> {
        poll_for(self, PollFlags::OUT, time).map(drop)
    }

    /// Whether the peer has closed both directions, as far as the system tells. Over TCP it does not, before something
    /// was sent.
    pub(crate) fn is_hung_up(&self) -> bool {
        poll_for(self, PollFlags::empty(), Duration::ZERO).is_ok_and(|seen| seen.contains(PollFlags::HUP))
    }

    /// Whether the peer sees the last bytes and the end at the same time.
    pub(crate) fn ends_with_last_bytes(&self) -> bool {
        matches!(self, Socket::Tcp(_))
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

    /// Whether the peer can tell a reset from a regular end: nginx takes the end of a TCP connection for the end of an
    /// answer, unless it is a reset.
    pub(crate) fn resets(&self) -> bool {
        matches!(self, Socket::Tcp(_))
    }

    /// Ends the connection by a reset. It follows when our reader has seen this and the last user of the socket is gone,
    /// and throws away what the peer's kernel does not have yet.
    pub(crate) fn reset(&self) {
        let how = set_socket_linger(self, Some(Duration::ZERO)).map_or(Shutdown::Both, |()| Shutdown::Read);
        self.shutdown(how);
    }
}

/// Waits for `events`, and at most for `time`; what was seen.
fn poll_for(socket: &Socket, events: PollFlags, time: Duration) -> io::Result<PollFlags> {
    let mut fds = [PollFd::new(socket, events)];
    let time = Timespec::try_from(time).ok();
    match poll(&mut fds, time.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(fds[0].revents()),
        Err(error) => Err(error.into()),
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
    fn a_broken_off_connection_ends_in_a_reset_behind_its_last_byte() {
        let (socket, mut theirs) = tcp_pair();
        assert_eq!(socket.write_now(&[b"half an ", b"answer"], false).expect("written"), 14);
        socket.reset();
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
        assert_eq!(socket.write_now(&[b"the last"], true).expect("written"), 8);
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
    fn a_peer_that_has_gone_is_told_from_one_that_is_half_closed() {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let socket = Socket::Unix(ours);
        assert!(!socket.is_hung_up());
        theirs.shutdown(Shutdown::Write).expect("half-closed");
        assert!(!socket.is_hung_up());
        drop(theirs);
        assert!(socket.is_hung_up());
    }

    #[test]
    fn writing_now_stops_when_the_peer_does_not_read() {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        let socket = Socket::Unix(ours);
        let bytes = vec![7; 8 << 20];
        let written = socket.write_now(&[&bytes], false).expect("written");
        assert!(written > 0 && written < bytes.len());
        let mut read = vec![0; written];
        theirs.read_exact(&mut read).expect("read");
        assert!(read.iter().all(|&byte| byte == 7));
        assert!(socket.write_now(&[b"more"], false).is_ok_and(|n| n == 4));
    }
}
