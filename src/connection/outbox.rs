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

use super::wire::{write_all, Patience, Wire, LONGEST_WAIT};
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
    /// Empty when nobody has the turn.
    queued: Vec<u8>,
    is_taken: bool,
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

impl Outbox {
    /// Sends whole records, and waits as long as `patience` allows. How many bytes were written, and what of others is left
    /// to send.
    pub(crate) fn send(
        &self,
        wire: &impl Wire,
        patience: Patience<'_>,
        parts: &[&[u8]],
        ending: Option<Ending>,
    ) -> io::Result<(usize, Option<Rest>)> {
        let mut outgoing = self.outgoing.lock();
        while outgoing.is_taken && !outgoing.is_closed {
            if ending.is_some() && outgoing.queued.len() + total(parts) <= MAX_LEFT {
                outgoing.queue(parts, ending);
                return Ok((0, None));
            }
            patience.check()?;
            self.changed.wait_until(&mut outgoing, Instant::now() + LONGEST_WAIT);
        }
        if outgoing.is_closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        outgoing.is_taken = true;
        let has_others = ending.as_ref().is_some_and(Ending::has_others);
        outgoing.count(ending);
        let is_last = outgoing.is_over() && !outgoing.resets;
        drop(outgoing);
        let written = match has_others {
            true => self.write_with_others(wire, patience, parts),
            false => write_all(wire, parts, is_last, patience),
        };
        match written {
            Ok(n_written) => {
                let (n_more, rest) = self.go_on(wire);
                Ok((n_written + n_more, rest))
            }
            Err(error) => {
                self.fail();
                Err(error)
            }
        }
    }

    /// Writes the end of a response together with those of others that are due at the same moment: whoever has one leaves
    /// it in the queue, while the turn is taken. (Row `multiplexed`: a write for each response takes half as much again.)
    fn write_with_others(&self, wire: &impl Wire, patience: Patience<'_>, parts: &[&[u8]]) -> io::Result<usize> {
        wire.let_others_run();
        let queued = std::mem::take(&mut self.outgoing.lock().queued);
        let all: Vec<&[u8]> = parts.iter().copied().chain([&queued[..]]).collect();
        write_all(wire, &all, false, patience)
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

    /// Goes on with the turn until nothing is left, and waits for the peer meanwhile. How many bytes were written.
    pub(crate) fn flush(&self, wire: &impl Wire, patience: Patience<'_>, Rest(()): Rest) -> io::Result<usize> {
        let mut n_written = 0;
        while let Some(bytes) = self.next_or_end(wire, Hurry::No) {
            let written = write_all(wire, &[&bytes], false, patience);
            if written.is_err() {
                self.fail();
            }
            n_written += written?;
            self.changed.notify_all();
        }
        Ok(n_written)
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
            let Some(bytes) = self.next_or_end(wire, Hurry::Now) else { return (n_written, None) };
            if bytes.is_empty() {
                break;
            }
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

    /// What is to be sent next. When there is nothing the turn is over, and with it the connection if that is due:
    /// `None`. A reset takes time, so that in a hurry it is left to somebody else: nothing is to be sent, but the turn
    /// is not over.
    fn next_or_end(&self, wire: &impl Wire, hurry: Hurry) -> Option<Vec<u8>> {
        let mut outgoing = self.outgoing.lock();
        if !outgoing.queued.is_empty() && !outgoing.is_closed {
            return Some(std::mem::take(&mut outgoing.queued));
        }
        let closes = outgoing.is_over() && !outgoing.is_closed;
        let resets = closes && outgoing.resets && wire.resets();
        match (resets, hurry) {
            (true, Hurry::Now) => return Some(Vec::new()),
            (true, Hurry::No) => {
                drop(outgoing);
                wire.pause(READING_TIME);
                outgoing = self.outgoing.lock();
            }
            (false, _) => {}
        }
        outgoing.is_taken = false;
        outgoing.is_closed |= closes;
        drop(outgoing);
        if closes {
            wire.end(resets);
        }
        self.changed.notify_all();
        None
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

/// Whether the thread may take the time that a reset takes.
#[derive(Clone, Copy)]
enum Hurry {
    Now,
    No,
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
