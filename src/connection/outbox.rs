//! What leaves on one connection: whole records, one writing thread at a time, and a reader that never waits.
//!
//! The lock is held for moments only. The right to write on the socket is a *turn*, a flag under the lock: whoever
//! has it writes without holding any lock, and takes along what others have queued meanwhile, so that small answers
//! that finish together leave together.

use std::io;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::metrics::{Counter, Metrics};
use crate::net::socket::Socket;
use crate::protocol::CloseAfter;

/// How many bytes may wait for their turn. Workers with more wait themselves; a reader that has more to say to a
/// peer that does not listen stops reading from it.
pub(crate) const MAX_QUEUED: usize = 256 << 10;

/// The sending side of a connection.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    metrics: Metrics,
    outgoing: Mutex<Outgoing>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Outgoing {
    queued: Vec<u8>,
    /// Some thread has the turn.
    is_taken: bool,
    /// How many writes there were.
    n_writes: u64,
    /// The write that [`Outbox::is_stuck`] found under way, and when it first did.
    watched: Option<(u64, Instant)>,
    /// How many answers have ended, in `queued` or before.
    n_ended: u64,
    /// To be shut down for writing once so many have, and `queued` is empty.
    close_after: Option<CloseAfter>,
    /// One of the answers was cut short.
    cut: bool,
    /// Nothing can be sent any more: an error, or shut down.
    closed: bool,
}

/// What bytes are for the answers of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// A part of an answer, or none of one.
    Some,
    /// The last of an answer, and perhaps of the connection.
    Last(Option<CloseAfter>),
    /// The last of an answer that was cut short: the end of the connection must not look like its end.
    Cut(Option<CloseAfter>),
    /// Nothing, but the connection is to be closed.
    Close(CloseAfter),
}

/// What became of bytes that were posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Posted {
    /// They are on their way, or the connection is lost.
    Done,
    /// The peer does not read. The turn is still taken: some thread that may block must call [`Outbox::flush`].
    Blocked,
    /// There is no room; nothing was posted.
    Full,
}

impl Outbox {
    pub(crate) fn new(metrics: Metrics) -> Outbox {
        Outbox { metrics, ..Outbox::default() }
    }

    /// Sends whole records and blocks until the kernel, or the thread that is writing, has them.
    pub(crate) fn send(&self, socket: &Socket, bytes: &[&[u8]], part: Part) -> io::Result<()> {
        let len = bytes.iter().map(|piece| piece.len()).sum::<usize>();
        let mut outgoing = self.outgoing.lock();
        while outgoing.is_taken && !outgoing.closed {
            if outgoing.queued.len() + len <= MAX_QUEUED / 4 {
                outgoing.queue(bytes, part);
                return Ok(());
            }
            self.changed.wait(&mut outgoing);
        }
        if outgoing.closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        outgoing.begin_write();
        outgoing.count(part);
        let left = std::mem::take(&mut outgoing.queued);
        let is_last = outgoing.is_over() && !outgoing.cut;
        drop(outgoing);
        let sent = match left.is_empty() {
            true => write(socket, bytes, is_last),
            false => write(socket, &[&[&left[..]], bytes].concat(), is_last),
        };
        self.count_sent(&sent, left.len() + len);
        self.end_turn(socket, sent)
    }

    /// Leaves whole records for whoever sends next, and it must be seen to that somebody does; whether there was room.
    pub(crate) fn leave(&self, bytes: &[u8], part: Part) -> bool {
        let mut outgoing = self.outgoing.lock();
        let has_room = !outgoing.closed && outgoing.queued.len() + bytes.len() <= MAX_QUEUED / 4;
        if has_room {
            outgoing.queue(&[bytes], part);
        }
        has_room
    }

    /// Sends whole records without ever blocking, if there is room.
    pub(crate) fn post(&self, socket: &Socket, bytes: &[u8], part: Part) -> Posted {
        self.post_within(MAX_QUEUED, socket, bytes, part)
    }

    /// Sends whole records without ever blocking, room or not: for what is bounded in another way.
    pub(crate) fn post_regardless(&self, socket: &Socket, bytes: &[u8], part: Part) -> Posted {
        self.post_within(usize::MAX, socket, bytes, part)
    }

    fn post_within(&self, most: usize, socket: &Socket, bytes: &[u8], part: Part) -> Posted {
        let mut outgoing = self.outgoing.lock();
        if outgoing.closed {
            return Posted::Done;
        }
        if outgoing.queued.len().saturating_add(bytes.len()) > most {
            return Posted::Full;
        }
        outgoing.queue(&[bytes], part);
        if outgoing.is_taken {
            return Posted::Done;
        }
        self.send_now(socket, outgoing)
    }

    /// Goes on with the turn that [`Posted::Blocked`] left taken; blocks.
    pub(crate) fn flush(&self, socket: &Socket) {
        // An error is remembered in the outbox, and everyone with a stake meets it there.
        let _: io::Result<()> = self.end_turn(socket, Ok(()));
    }

    /// Blocks until `len` bytes can be posted or nothing can be sent any more.
    pub(crate) fn wait_for_room(&self, len: usize) {
        let mut outgoing = self.outgoing.lock();
        while !outgoing.closed && outgoing.queued.len() + len > MAX_QUEUED {
            self.changed.wait(&mut outgoing);
        }
    }

    /// Nothing is to be sent any more. A thread that is writing finds out by its error.
    pub(crate) fn close(&self) {
        self.outgoing.lock().close();
        self.changed.notify_all();
    }

    /// Whether all was sent and the connection shut down for writing, or nothing can be sent any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.outgoing.lock().closed
    }

    /// Whether one write has been under way for `patience`, as far as calls of this method saw it: writing takes no
    /// look at the time.
    pub(crate) fn is_stuck(&self, now: Instant, patience: Duration) -> bool {
        let mut outgoing = self.outgoing.lock();
        let since = match outgoing.watched {
            Some((write, since)) if outgoing.is_taken && write == outgoing.n_writes => since,
            _ => now,
        };
        outgoing.watched = outgoing.is_taken.then_some((outgoing.n_writes, since));
        outgoing.is_taken && now.saturating_duration_since(since) >= patience
    }

    /// Sends what is queued as far as it goes without blocking; the turn is free.
    fn send_now(&self, socket: &Socket, mut outgoing: MutexGuard<'_, Outgoing>) -> Posted {
        outgoing.begin_write();
        let mut bytes = std::mem::take(&mut outgoing.queued);
        drop(outgoing);
        let written = socket.write_now(&bytes);
        self.metrics.add(Counter::BytesOut, written.as_ref().map_or(0, |&n| n as u64));
        match written {
            Ok(written) if written < bytes.len() => {
                bytes.drain(..written);
                let mut outgoing = self.outgoing.lock();
                // What came meanwhile goes behind what is left.
                bytes.append(&mut outgoing.queued);
                outgoing.queued = bytes;
                Posted::Blocked
            }
            written => {
                // Nobody but the caller is told of an error here: the reader meets it at its next read.
                let _: io::Result<()> = self.end_turn(socket, written.map(drop));
                Posted::Done
            }
        }
    }

    fn count_sent(&self, sent: &io::Result<()>, len: usize) {
        if sent.is_ok() {
            self.metrics.add(Counter::BytesOut, len as u64);
        }
    }

    /// Gives the turn back, after sending what was queued during it.
    fn end_turn(&self, socket: &Socket, mut sent: io::Result<()>) -> io::Result<()> {
        loop {
            let mut outgoing = self.outgoing.lock();
            if sent.is_err() || outgoing.closed {
                outgoing.close();
            }
            if outgoing.queued.is_empty() {
                outgoing.is_taken = false;
                let shut = outgoing.is_over() && !outgoing.closed;
                outgoing.closed |= shut;
                let cut = outgoing.cut;
                drop(outgoing);
                match (shut, cut) {
                    (true, true) => socket.break_off(),
                    (true, false) => socket.shutdown(Shutdown::Write),
                    (false, _) => {}
                }
                self.changed.notify_all();
                return sent;
            }
            outgoing.begin_write();
            let bytes = std::mem::take(&mut outgoing.queued);
            drop(outgoing);
            sent = socket.write_all(&[&bytes]);
            self.count_sent(&sent, bytes.len());
            self.changed.notify_all();
        }
    }
}

fn write(socket: &Socket, bytes: &[&[u8]], is_last: bool) -> io::Result<()> {
    match is_last {
        true => socket.write_last(bytes),
        false => socket.write_all(bytes),
    }
}

impl Outgoing {
    fn begin_write(&mut self) {
        self.is_taken = true;
        self.n_writes += 1;
    }

    fn queue(&mut self, bytes: &[&[u8]], part: Part) {
        bytes.iter().for_each(|piece| self.queued.extend_from_slice(piece));
        self.count(part);
    }

    fn count(&mut self, part: Part) {
        self.n_ended += u64::from(matches!(part, Part::Last(_) | Part::Cut(_)));
        self.cut |= matches!(part, Part::Cut(_));
        let close = match part {
            Part::Some => None,
            Part::Last(close) | Part::Cut(close) => close,
            Part::Close(close) => Some(close),
        };
        self.close_after = self.close_after.or(close);
    }

    fn is_over(&self) -> bool {
        self.close_after.is_some_and(|CloseAfter(n)| self.n_ended >= n)
    }

    fn close(&mut self) {
        self.closed = true;
        self.queued = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;
    use std::thread;

    fn pair() -> (Arc<Socket>, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        (Arc::new(Socket::Unix(ours)), theirs)
    }

    #[test]
    fn closing_shuts_down_behind_the_last_byte() {
        let (socket, mut theirs) = pair();
        let outbox = Outbox::default();
        outbox.send(&socket, &[b"one, ", b"two"], Part::Some).expect("sent");
        outbox.send(&socket, &[b", three"], Part::Last(Some(CloseAfter(1)))).expect("sent");
        assert_eq!(outbox.send(&socket, &[b"late"], Part::Some).map_err(|e| e.kind()), Err(io::ErrorKind::BrokenPipe));
        let mut received = String::new();
        theirs.read_to_string(&mut received).expect("the end");
        assert_eq!(received, "one, two, three");
    }

    #[test]
    fn closing_waits_for_the_answers_that_are_on_their_way() {
        let (socket, mut theirs) = pair();
        let outbox = Outbox::default();
        outbox.send(&socket, &[b"last to leave the map, "], Part::Last(Some(CloseAfter(2)))).expect("sent");
        outbox.send(&socket, &[b"first to"], Part::Some).expect("sent");
        assert_eq!(outbox.post(&socket, b" leave it", Part::Last(None)), Posted::Done);
        let mut received = String::new();
        theirs.read_to_string(&mut received).expect("the end");
        assert_eq!(received, "last to leave the map, first to leave it");
    }

    #[test]
    fn posting_never_blocks_and_its_rest_is_flushed_in_order() {
        let (socket, mut theirs) = pair();
        let outbox = Arc::new(Outbox::default());
        let piece = vec![b'x'; 100 << 10];
        let mut posted = 0;
        let last = loop {
            match outbox.post(&socket, &piece, Part::Some) {
                Posted::Done => posted += 1,
                other => break other,
            }
        };
        assert_eq!(last, Posted::Blocked);
        posted += 1;
        assert_eq!(outbox.post(&socket, b"behind", Part::Some), Posted::Done);
        assert_eq!(outbox.post(&socket, &[0; MAX_QUEUED], Part::Some), Posted::Full);
        assert_eq!(outbox.post_regardless(&socket, &[b'y'; MAX_QUEUED], Part::Some), Posted::Done);
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        assert_eq!([0, 1].map(|n| outbox.is_stuck(start + n * second, second)), [false, true]);
        let flusher = {
            let (socket, outbox) = (socket.clone(), outbox.clone());
            thread::spawn(move || outbox.flush(&socket))
        };
        let mut received = vec![0; posted * piece.len() + 6 + MAX_QUEUED];
        theirs.read_exact(&mut received).expect("all");
        assert!(received[posted * piece.len() - 1..].starts_with(b"xbehindyy") && received.ends_with(b"yy"));
        flusher.join().expect("flushed");
        assert_eq!([8, 9].map(|n| outbox.is_stuck(start + n * second, second)), [false, false]);
    }

    #[test]
    fn what_was_left_leaves_with_what_is_sent_next_and_counts() {
        let (socket, mut theirs) = pair();
        let outbox = Outbox::default();
        assert!(outbox.leave(b"one, ", Part::Last(None)));
        theirs.set_nonblocking(true).expect("set");
        assert!(theirs.read(&mut [0; 8]).is_err(), "nothing was sent");
        theirs.set_nonblocking(false).expect("set");
        outbox.send(&socket, &[b"two", b", "], Part::Last(None)).expect("sent");
        assert!(outbox.leave(b"three", Part::Last(Some(CloseAfter(3)))));
        assert!(!outbox.leave(&[0; MAX_QUEUED / 4], Part::Some), "no room");
        assert_eq!(outbox.post(&socket, b"", Part::Some), Posted::Done);
        let mut received = String::new();
        theirs.read_to_string(&mut received).expect("the end");
        assert_eq!(received, "one, two, three");
        assert!(!outbox.leave(b"late", Part::Some), "closed");
    }

    #[test]
    fn many_threads_never_mix_their_records() {
        let (socket, mut theirs) = pair();
        let outbox = Arc::new(Outbox::default());
        let writers: Vec<_> = (0..8u8)
            .map(|byte| {
                let (socket, outbox) = (socket.clone(), outbox.clone());
                thread::spawn(move || {
                    let record = vec![byte; 1000];
                    (0..200).for_each(|_| {
                        outbox.send(&socket, &[&record[..500], &record[500..]], Part::Some).expect("sent")
                    });
                })
            })
            .collect();
        let mut record = [0; 1000];
        for _ in 0..8 * 200 {
            theirs.read_exact(&mut record).expect("a record");
            assert!(record.iter().all(|&byte| byte == record[0]), "mixed");
        }
        writers.into_iter().for_each(|writer| writer.join().expect("no panic"));
    }

    #[test]
    fn a_closed_outbox_wakes_who_waits_for_room() {
        let (socket, _theirs) = pair();
        let outbox = Arc::new(Outbox::default());
        while outbox.post(&socket, &vec![0; MAX_QUEUED], Part::Some) == Posted::Done {}
        let waiter = {
            let outbox = outbox.clone();
            thread::spawn(move || outbox.wait_for_room(MAX_QUEUED))
        };
        outbox.close();
        waiter.join().expect("woken");
        assert_eq!(outbox.post(&socket, b"x", Part::Some), Posted::Done);
    }
}
