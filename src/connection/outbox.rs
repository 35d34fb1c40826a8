//! What leaves on one connection: whole records, in order, by one writing thread at a time.
//!
//! The lock is held for moments only. The right to write on the wire is a *turn*, a flag under the lock: whoever has it
//! writes without holding any lock, and takes along what others have queued meanwhile.
//!
//! ```text
//!   post  (whoever must not wait)  --> queue --> as much as goes without waiting; the rest is `Rest`, for one who may
//!   send  (whoever may wait)       --> its turn --> wire
//! ```

use std::io;
use std::time::{Duration, Instant};

use super::wire::{remaining, write_all, Patience, Wire, LONGEST_WAIT};
use crate::protocol::{CloseAfter, Ending};
use crate::sync::{Condvar, Mutex, MutexGuard};

/// How many bytes may wait for their turn before nothing more is read from a peer that does not read what it is sent.
/// What one read brings may be answered beyond that.
pub(crate) const MAX_QUEUED: usize = 256 << 10;

/// How much the end of a response may add while another thread writes. A longer one waits for its turn.
const MAX_LEFT: usize = MAX_QUEUED / 4;

/// How often a thread writes what others have queued meanwhile, before it leaves that to one who has nothing else to do.
const MAX_ROUNDS: usize = 4;

/// How long the peer of a connection that is reset has to read what is on its way. HAProxy 2.6 crashes when the reset
/// comes between its looking for something to read and its reading to the end of it.
const READING_TIME: Duration = Duration::from_millis(50);

/// The sending side of a connection.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    outgoing: Mutex<Outgoing>,
    changed: Condvar,
}

/// What is to be sent, and whether somebody is sending.
#[derive(Debug, Default)]
struct Outgoing {
    /// Empty when nobody has the turn, nor is about to take it.
    queued: Vec<u8>,
    is_taken: bool,
    /// How many threads wait for the turn.
    n_waiting: usize,
    /// How many responses have ended, in `queued` or before.
    n_ended: u64,
    /// To be closed once so many have, and `queued` is empty.
    close_after: Option<CloseAfter>,
    /// It is to be closed by a reset.
    resets: bool,
    /// Nothing can be sent any more: an error, or closed.
    is_closed: bool,
}

/// The turn, left taken by somebody who must not wait, or not for others: whoever may wait goes on with it.
#[must_use = "nobody can send while the turn is taken"]
#[derive(Debug)]
pub(crate) struct Rest(());

/// What became of records that were to be sent.
#[derive(Debug)]
pub(crate) enum Sent {
    /// So many bytes were written. What is left: the rest of a record, if waiting was over then, or what others have queued.
    Begun(usize, Option<Rest>),
    /// Waiting was over before anything was written: the outbox is as it was.
    NotBegun,
}

/// What is to be done with a turn.
enum Next {
    /// Send these.
    Send(Vec<u8>),
    /// All was sent, and the connection is to be reset, which takes time. The turn is not over.
    Reset,
    /// The turn is over.
    Nothing,
}

impl Outbox {
    /// Sends whole records, and waits as long as `patience` allows.
    pub(crate) fn send(
        &self,
        wire: &impl Wire,
        patience: Patience<'_>,
        parts: &[&[u8]],
        ending: Option<Ending>,
    ) -> io::Result<Sent> {
        let mut outgoing = self.outgoing.lock();
        while outgoing.is_taken && !outgoing.is_closed {
            if ending.is_some() && outgoing.queued.len() + total(parts) <= MAX_LEFT {
                outgoing.queue(parts, ending);
                return Ok(Sent::Begun(0, None));
            }
            if (patience.is_over)() {
                return Ok(Sent::NotBegun);
            }
            outgoing.n_waiting += 1;
            self.changed.wait_until(&mut outgoing, Instant::now() + LONGEST_WAIT);
            outgoing.n_waiting -= 1;
        }
        if outgoing.is_closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        outgoing.is_taken = true;
        let has_others = ending.as_ref().is_some_and(Ending::has_others);
        outgoing.count(ending);
        let is_last = outgoing.is_over() && !outgoing.resets;
        let mut queued = std::mem::take(&mut outgoing.queued);
        drop(outgoing);
        if has_others {
            // Their responses may be due at the same moment: whoever has one leaves it in the queue, while the turn is
            // taken. (Row `multiplexed`: a write for each response takes half as much again.)
            wire.let_others_run();
            queued.append(&mut self.outgoing.lock().queued);
        }
        match queued.is_empty() {
            true => self.write(wire, parts, is_last, patience),
            false => self.write(wire, &[&[&queued[..]], parts].concat(), is_last, patience),
        }
    }

    /// Writes during a turn, and ends it.
    fn write(&self, wire: &impl Wire, parts: &[&[u8]], is_last: bool, patience: Patience<'_>) -> io::Result<Sent> {
        let written = write_all(wire, parts, is_last, patience);
        if written.is_err() {
            self.fail();
        }
        let n_written = written?;
        if n_written < total(parts) {
            self.put_back(&remaining(parts, n_written).concat());
            return Ok(Sent::Begun(n_written, Some(Rest(()))));
        }
        let (n_more, rest) = self.go_on(wire);
        Ok(Sent::Begun(n_written + n_more, rest))
    }

    /// Sends whole records without waiting for anybody. How many bytes were written, and what is left to do.
    pub(crate) fn post(&self, wire: &impl Wire, bytes: &[u8], ending: Option<Ending>) -> (usize, Option<Rest>) {
        let mut outgoing = self.outgoing.lock();
        if outgoing.is_closed {
            return (0, None);
        }
        outgoing.queue(&[bytes], ending);
        self.start(wire, outgoing)
    }

    /// Closes the connection after so many responses.
    pub(crate) fn close_after(&self, wire: &impl Wire, close: CloseAfter) -> (usize, Option<Rest>) {
        let mut outgoing = self.outgoing.lock();
        outgoing.close_after.get_or_insert(close);
        self.start(wire, outgoing)
    }

    /// Goes on with the turn until nothing is left or somebody waits for it, and waits for the peer meanwhile. How many bytes
    /// were written.
    pub(crate) fn flush(&self, wire: &impl Wire, patience: Patience<'_>, Rest(()): Rest) -> io::Result<usize> {
        let mut n_written = 0;
        loop {
            match self.next(wire) {
                Next::Nothing => return Ok(n_written),
                Next::Reset => self.reset(wire),
                Next::Send(bytes) => {
                    let written = write_all(wire, &[&bytes], false, patience);
                    if written.is_err() {
                        self.fail();
                    }
                    n_written += written?;
                    if self.hand_over() {
                        return Ok(n_written);
                    }
                }
            }
        }
    }

    /// Whether more waits to be sent than should.
    pub(crate) fn is_congested(&self) -> bool {
        self.outgoing.lock().is_congested()
    }

    /// Waits until no more is to be sent than should, or nothing can be.
    pub(crate) fn wait_for_room(&self) {
        let mut outgoing = self.outgoing.lock();
        while outgoing.is_congested() {
            self.changed.wait(&mut outgoing);
        }
    }

    /// Nothing is to be sent any more. A thread that is writing finds out by its error.
    pub(crate) fn close(&self) {
        self.outgoing.lock().close();
        self.changed.notify_all();
    }

    /// Whether all was sent and the connection closed for writing, or nothing can be sent any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.outgoing.lock().is_closed
    }

    /// Takes the turn if it is free, and writes as far as that goes without waiting.
    fn start(&self, wire: &impl Wire, mut outgoing: MutexGuard<'_, Outgoing>) -> (usize, Option<Rest>) {
        if outgoing.is_taken || outgoing.is_closed {
            return (0, None);
        }
        outgoing.is_taken = true;
        drop(outgoing);
        self.go_on(wire)
    }

    /// Ends the turn, after writing what was queued during it as far as that goes without waiting. What is left, and what
    /// others add without end, is for somebody who has nothing else to do.
    fn go_on(&self, wire: &impl Wire) -> (usize, Option<Rest>) {
        let mut n_written = 0;
        for _ in 0..MAX_ROUNDS {
            let bytes = match self.next(wire) {
                Next::Nothing => return (n_written, None),
                Next::Reset => break,
                Next::Send(bytes) => bytes,
            };
            let Ok(written) = wire.write_now(&[&bytes], false) else {
                // Whoever reads meets the error, too.
                self.fail();
                return (n_written, None);
            };
            n_written += written;
            if written < bytes.len() {
                self.put_back(&bytes[written..]);
                break;
            }
            self.changed.notify_all();
        }
        (n_written, Some(Rest(())))
    }

    /// What is to be done next. When that is nothing the turn is over, and with it the connection if that is due.
    fn next(&self, wire: &impl Wire) -> Next {
        let mut outgoing = self.outgoing.lock();
        if !outgoing.queued.is_empty() && !outgoing.is_closed {
            return Next::Send(std::mem::take(&mut outgoing.queued));
        }
        let closes = outgoing.is_over() && !outgoing.is_closed;
        if closes && outgoing.resets && wire.resets() {
            return Next::Reset;
        }
        outgoing.is_taken = false;
        outgoing.is_closed |= closes;
        drop(outgoing);
        if closes {
            wire.end(false);
        }
        self.changed.notify_all();
        Next::Nothing
    }

    /// Resets the connection once the peer has had the time to read what is on its way.
    fn reset(&self, wire: &impl Wire) {
        wire.pause(READING_TIME);
        self.close();
        wire.end(true);
    }

    /// Leaves the turn to a thread that waits for it, if there is one; that takes along what is queued, which is whole
    /// records.
    fn hand_over(&self) -> bool {
        let hands_over = {
            let mut outgoing = self.outgoing.lock();
            let hands_over = outgoing.n_waiting > 0;
            outgoing.is_taken &= !hands_over;
            hands_over
        };
        self.changed.notify_all();
        hands_over
    }

    fn put_back(&self, rest: &[u8]) {
        let mut outgoing = self.outgoing.lock();
        if !outgoing.is_closed {
            // What came meanwhile goes behind it.
            let mut bytes = rest.to_vec();
            bytes.append(&mut outgoing.queued);
            outgoing.queued = bytes;
        }
    }

    /// Writing has failed: the turn is over, and nobody will have another.
    fn fail(&self) {
        let mut outgoing = self.outgoing.lock();
        outgoing.is_taken = false;
        outgoing.close();
        drop(outgoing);
        self.changed.notify_all();
    }
}

impl Outgoing {
    fn queue(&mut self, parts: &[&[u8]], ending: Option<Ending>) {
        parts.iter().for_each(|part| self.queued.extend_from_slice(part));
        self.count(ending);
    }

    fn count(&mut self, ending: Option<Ending>) {
        let Some(ending) = ending else { return };
        self.n_ended += 1;
        self.resets |= ending.resets();
        self.close_after = self.close_after.or(ending.close());
    }

    fn is_over(&self) -> bool {
        self.close_after.is_some_and(|CloseAfter(n)| self.n_ended >= n)
    }

    fn is_congested(&self) -> bool {
        !self.is_closed && self.queued.len() > MAX_QUEUED
    }

    fn close(&mut self) {
        self.is_closed = true;
        self.queued = Vec::new();
    }
}

fn total(parts: &[&[u8]]) -> usize {
    parts.iter().map(|part| part.len()).sum()
}

#[cfg(test)]
mod tests;
