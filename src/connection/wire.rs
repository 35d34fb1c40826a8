//! What the outbox needs of a socket, and how a thread that may wait writes to it.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use crate::net::Socket;

/// The longest wait for a peer between two attempts to write. A kernel says that more can be written when much can, and
/// a peer that takes little but takes it all the time is not one that takes nothing.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// The writing side of a socket.
pub(crate) trait Wire {
    /// Writes as much as is taken without waiting, perhaps nothing, and says how much that was. Bytes that are the last
    /// may wait for the end.
    fn write_now(&self, parts: &[&[u8]], is_last: bool) -> io::Result<usize>;

    /// Waits until more may be taken, and at most for `time`.
    fn wait(&self, time: Duration) -> io::Result<()>;

    /// Whether the peer can tell a reset from a regular end.
    fn resets(&self) -> bool;

    /// Lets `time` pass.
    fn pause(&self, time: Duration);

    /// Lets threads run that are ready to, and waits for none.
    fn let_others_run(&self);

    /// Closes the sending side.
    fn end(&self, by_reset: bool);
}

impl Wire for Socket {
    fn write_now(&self, parts: &[&[u8]], is_last: bool) -> io::Result<usize> {
        Socket::write_now(self, parts, is_last)
    }

    fn wait(&self, time: Duration) -> io::Result<()> {
        self.wait_writable(time)
    }

    fn resets(&self) -> bool {
        Socket::resets(self)
    }

    fn pause(&self, time: Duration) {
        thread::sleep(time);
    }

    fn let_others_run(&self) {
        thread::yield_now();
    }

    fn end(&self, by_reset: bool) {
        match by_reset {
            true => self.reset(),
            false => self.shutdown(std::net::Shutdown::Write),
        }
    }
}

/// How long a thread waits for a peer.
#[derive(Clone, Copy)]
pub(crate) struct Patience<'a> {
    /// How long the peer may take nothing.
    pub(super) time: Duration,
    /// Whether what is sent need not be sent any more.
    pub(super) is_over: &'a dyn Fn() -> bool,
}

impl Patience<'_> {
    /// Patience for what must be sent.
    pub(crate) fn of(time: Duration) -> Patience<'static> {
        Patience { time, is_over: &|| false }
    }

    /// The same, where waiting is over.
    #[cfg(all(loom, test))]
    pub(crate) fn over(self) -> Self {
        Patience { is_over: &|| true, ..self }
    }

    /// Several attempts in the time that a peer has.
    fn longest_wait(self) -> Duration {
        (self.time / 8).clamp(Duration::from_millis(1), LONGEST_WAIT)
    }
}

/// Writes all parts, and says how many bytes those are; fewer, if that need not go on and the peer is to be waited for. It
/// fails when the peer has taken nothing for the time that it has. Time in which this thread did not get to run, because the machine slept, is nobody's silence: no wait counts for
/// more than was asked.
pub(super) fn write_all(wire: &impl Wire, parts: &[&[u8]], is_last: bool, patience: Patience<'_>) -> io::Result<usize> {
    let mut n_written = wire.write_now(parts, is_last)?;
    let mut rest = remaining(parts, n_written);
    let mut silence = Duration::ZERO;
    while !rest.is_empty() {
        let (begun, most) = (Instant::now(), patience.longest_wait().min(patience.time - silence));
        wire.wait(most)?;
        silence += begun.elapsed().min(most);
        let written = wire.write_now(&rest, is_last)?;
        match written {
            0 if silence >= patience.time => return Err(io::ErrorKind::TimedOut.into()),
            0 => {}
            _ => silence = Duration::ZERO,
        }
        n_written += written;
        rest = remaining(&rest, written);
        if (patience.is_over)() {
            break;
        }
    }
    Ok(n_written)
}

/// What is left of `parts` after their first `written` bytes.
pub(super) fn remaining<'a>(parts: &[&'a [u8]], mut written: usize) -> Vec<&'a [u8]> {
    let mut rest = Vec::new();
    for part in parts {
        let skipped = written.min(part.len());
        written -= skipped;
        if skipped < part.len() {
            rest.push(&part[skipped..]);
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_parts_is_found_at_every_cut() {
        let parts: [&[u8]; 4] = [b"ab", b"", b"cde", b"f"];
        for written in 0..=6 {
            let left = remaining(&parts, written).concat();
            assert_eq!(left, b"abcdef"[written..], "{written} written");
        }
        assert!(remaining(&parts, 6).is_empty());
    }

    #[test]
    fn a_patience_without_end_is_one() {
        for time in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
            let wait = Patience::of(time).longest_wait();
            assert!(wait <= LONGEST_WAIT && wait > Duration::ZERO);
        }
    }
}
