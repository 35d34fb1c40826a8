//! One input stream of a request, from the reader thread to the handler: bounded memory first, then a file.
//!
//! ```text
//!   reader --push--> chunks in memory --\
//!             \----> spool (file) -------+--next--> handler
//! ```
//!
//! All chunks are older than all that is in the spool: once something lies there, what comes goes behind it.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::error::BodyError;
use crate::spool::Spool;

/// The least that is allocated for a chunk, so that many tiny records share one.
const MIN_CHUNK_LEN: usize = 4 << 10;

/// How much is read back from the spool at once.
const SPOOL_READ_LEN: u64 = 64 << 10;

/// How long a reader may wait for a handler that is slow to read before it spools to a file: long enough for a
/// handler that is merely busy, far too short to be noticed as a delay of an abort.
const PATIENCE: Duration = Duration::from_millis(20);

/// A stream of bytes with one writer and one reader.
#[derive(Debug)]
pub(crate) struct Pipe {
    limits: PipeLimits,
    state: Mutex<State>,
    changed: Condvar,
    spool: Spool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct PipeLimits {
    /// Bytes in memory.
    pub(crate) buffer: usize,
    /// Bytes of the whole stream.
    pub(crate) max_len: u64,
}

/// How long a push may wait for the handler when the buffer is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Others are served by the same connection: spool at once.
    None,
    /// For moments.
    Brief,
    /// As long as it takes: the connection serves one request at a time, so that there is nothing to hold up.
    Endless,
}

#[derive(Debug, Default)]
struct State {
    chunks: VecDeque<Vec<u8>>,
    /// The bytes in `chunks`.
    buffered: usize,
    /// What lies in the spool and was not read back.
    spooled: Range<u64>,
    /// All bytes that were pushed.
    len: u64,
    /// CONTENT_LENGTH: what goes beyond it is dropped.
    expected: Option<u64>,
    end: Option<End>,
    /// Nobody wants any more.
    closed: bool,
}

/// How a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Complete,
    Failed(BodyError),
    /// The body could not be kept: no room on the disk, for example.
    Spool(io::ErrorKind),
}

impl Pipe {
    pub(crate) fn new(limits: PipeLimits) -> Pipe {
        Pipe { limits, state: Mutex::default(), changed: Condvar::new(), spool: Spool::default() }
    }

    /// Announces how long the stream will be.
    pub(crate) fn expect(&self, len: u64) {
        self.state.lock().expected = Some(len);
    }

    /// Adds content; takes no longer than `patience` allows. A stream that grows beyond its limit fails behind what
    /// fitted.
    pub(crate) fn push(&self, content: &[u8], patience: Patience) {
        let mut state = self.state.lock();
        let (content, fits) = state.admit(content, self.limits.max_len);
        self.wait_for_room(&mut state, content.len(), patience);
        if state.must_spool(content.len(), self.limits.buffer) {
            let offset = state.spooled.end;
            drop(state);
            self.push_to_spool(offset, content);
        } else {
            state.append(content);
            drop(state);
        }
        if !fits {
            self.end(End::Failed(BodyError::TooLarge));
        }
        self.changed.notify_all();
    }

    /// The stream is over. The first end counts; what was pushed before it can still be read.
    pub(crate) fn end(&self, end: End) {
        self.state.lock().end.get_or_insert(end);
        self.changed.notify_all();
    }

    /// The web server has sent nothing for too long. While the handler has not read what came before, or the reader
    /// waits for it, that is not to blame on the web server.
    pub(crate) fn end_if_read(&self, end: End) {
        let mut state = self.state.lock();
        if state.chunks.is_empty() && state.spooled.is_empty() {
            state.end.get_or_insert(end);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// The stream is over, and what was not read yet is dropped.
    pub(crate) fn abort(&self, error: BodyError) {
        let mut state = self.state.lock();
        state.end = Some(End::Failed(error));
        state.closed = true;
        self.drop_content(state);
    }

    /// The handler will not read any more: what comes is dropped.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        if !std::mem::replace(&mut state.closed, true) {
            self.drop_content(state);
        }
    }

    /// The next bytes, never empty; blocks. `None` behind the last. `spent` is a buffer to use again.
    pub(crate) fn next(&self, spent: Vec<u8>) -> io::Result<Option<Vec<u8>>> {
        let mut state = self.state.lock();
        loop {
            if let Some(chunk) = state.chunks.pop_front() {
                state.buffered -= chunk.len();
                drop(state);
                self.changed.notify_all();
                return Ok(Some(chunk));
            }
            if !state.spooled.is_empty() {
                let start = state.spooled.start;
                let len = SPOOL_READ_LEN.min(state.spooled.end - start);
                drop(state);
                return self.next_from_spool(start, len, spent).map(Some);
            }
            match state.end {
                Some(end) => return end.outcome(),
                None => self.changed.wait(&mut state),
            }
        }
    }

    /// What the spool can spare the reader from: the handler takes a chunk, or goes away, within its patience.
    fn wait_for_room(&self, state: &mut MutexGuard<'_, State>, len: usize, patience: Patience) {
        let deadline = match patience {
            Patience::None => return,
            Patience::Brief => Some(Instant::now() + PATIENCE),
            Patience::Endless => None,
        };
        while state.spooled.is_empty() && state.must_spool(len, self.limits.buffer) && !state.is_over() {
            match deadline {
                None => self.changed.wait(state),
                Some(deadline) if self.changed.wait_until(state, deadline).timed_out() => return,
                Some(_) => {}
            }
        }
    }

    fn drop_content(&self, mut state: MutexGuard<'_, State>) {
        let chunks = state.take_content();
        drop(state);
        drop(chunks);
        self.spool.close();
        self.changed.notify_all();
    }

    fn push_to_spool(&self, offset: u64, content: &[u8]) {
        let written = self.spool.write_at(offset, content);
        let mut state = self.state.lock();
        match written {
            Ok(()) if !state.is_over() => state.spooled.end = offset + content.len() as u64,
            // Nobody will read it, or what the spool still has.
            Ok(()) if state.closed => self.drop_content(state),
            Ok(()) => {}
            Err(error) => {
                state.end.get_or_insert(End::Spool(error.kind()));
            }
        }
    }

    fn next_from_spool(&self, start: u64, len: u64, spent: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut chunk = spent;
        chunk.resize(len as usize, 0);
        self.spool.read_at(start, &mut chunk)?;
        let mut state = self.state.lock();
        state.spooled.start = (start + len).min(state.spooled.end);
        Ok(chunk)
    }
}

impl State {
    /// The part of `content` that is kept, and whether the stream stays within `max_len`.
    fn admit<'a>(&mut self, content: &'a [u8], max_len: u64) -> (&'a [u8], bool) {
        if self.is_over() {
            return (b"", true);
        }
        let wanted = at_most(content, self.expected.unwrap_or(u64::MAX).saturating_sub(self.len));
        let kept = at_most(wanted, max_len.saturating_sub(self.len));
        self.len += kept.len() as u64;
        (kept, kept.len() == wanted.len())
    }

    fn append(&mut self, content: &[u8]) {
        if content.is_empty() || self.is_over() {
            return;
        }
        self.buffered += content.len();
        match self.chunks.back_mut() {
            Some(last) if last.capacity() - last.len() >= content.len() => last.extend_from_slice(content),
            _ => {
                let mut chunk = Vec::with_capacity(content.len().max(MIN_CHUNK_LEN));
                chunk.extend_from_slice(content);
                self.chunks.push_back(chunk);
            }
        }
    }

    fn must_spool(&self, len: usize, buffer: usize) -> bool {
        len > 0 && (!self.spooled.is_empty() || (self.buffered > 0 && self.buffered + len > buffer))
    }

    /// Whether what is pushed now would never be read.
    fn is_over(&self) -> bool {
        self.closed || self.end.is_some()
    }

    fn take_content(&mut self) -> VecDeque<Vec<u8>> {
        self.buffered = 0;
        self.spooled.start = self.spooled.end;
        std::mem::take(&mut self.chunks)
    }
}

impl End {
    fn outcome<T>(self) -> io::Result<Option<T>> {
        match self {
            End::Complete => Ok(None),
            End::Failed(error) => Err(error.into()),
            End::Spool(kind) => Err(kind.into()),
        }
    }
}

fn at_most(bytes: &[u8], len: u64) -> &[u8] {
    &bytes[..usize::try_from(len).map_or(bytes.len(), |len| len.min(bytes.len()))]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::thread;

    fn pipe(buffer: usize, max_len: u64) -> Pipe {
        Pipe::new(PipeLimits { buffer, max_len })
    }

    fn read_all(pipe: &Pipe) -> (Vec<u8>, io::Result<()>) {
        let (mut all, mut spent) = (Vec::new(), Vec::new());
        loop {
            match pipe.next(spent) {
                Ok(Some(chunk)) => {
                    all.extend_from_slice(&chunk);
                    spent = chunk;
                }
                Ok(None) => return (all, Ok(())),
                Err(error) => return (all, Err(error)),
            }
        }
    }

    fn failure(outcome: io::Result<()>) -> Option<BodyError> {
        outcome.err().and_then(|error| BodyError::of(&error))
    }

    #[test]
    fn what_is_pushed_is_read_in_order_whether_it_was_spooled_or_not() {
        for (buffer, piece_len) in [(1 << 20, 1), (1 << 20, 1000), (100, 7), (100, 100), (1, 1), (0, 5000)] {
            let pipe = pipe(buffer, u64::MAX);
            let content: Vec<u8> = (0..20_000u32).map(|n| (n % 251) as u8).collect();
            content.chunks(piece_len).for_each(|piece| pipe.push(piece, Patience::None));
            pipe.end(End::Complete);
            let (read, outcome) = read_all(&pipe);
            assert!(read == content && outcome.is_ok(), "buffer {buffer}, pieces of {piece_len}");
        }
    }

    #[test]
    fn memory_stays_within_the_buffer() {
        let pipe = pipe(1000, u64::MAX);
        (0..100).for_each(|_| pipe.push(&[1; 300], Patience::None));
        let state = pipe.state.lock();
        assert_eq!((state.buffered, state.spooled.clone()), (900, 0..97 * 300));
    }

    #[test]
    fn tiny_pushes_share_their_memory() {
        let pipe = pipe(1 << 20, u64::MAX);
        (0..MIN_CHUNK_LEN * 3).for_each(|_| pipe.push(b"x", Patience::None));
        assert_eq!(pipe.state.lock().chunks.len(), 3);
    }

    #[test]
    fn a_reader_and_a_handler_at_work_together_lose_nothing() {
        for patience in [Patience::None, Patience::Brief, Patience::Endless] {
            let pipe = Arc::new(pipe(2000, u64::MAX));
            let handler = {
                let pipe = pipe.clone();
                thread::spawn(move || read_all(&pipe))
            };
            let content: Vec<u8> = (0..500_000u32).map(|n| (n % 253) as u8).collect();
            content.chunks(777).for_each(|piece| pipe.push(piece, patience));
            pipe.end(End::Complete);
            let (read, outcome) = handler.join().expect("no panic");
            assert!(read == content && outcome.is_ok(), "{patience:?}");
        }
    }

    #[test]
    fn a_stream_beyond_its_limit_fails_behind_what_fitted() {
        for buffer in [1 << 20, 1] {
            let pipe = pipe(buffer, 10);
            pipe.push(b"12345678", Patience::None);
            pipe.push(b"90abc", Patience::None);
            pipe.push(b"def", Patience::None);
            pipe.end(End::Complete);
            let (read, outcome) = read_all(&pipe);
            assert_eq!((read.as_slice(), failure(outcome)), (&b"1234567890"[..], Some(BodyError::TooLarge)));
        }
    }

    #[test]
    fn what_goes_beyond_the_announced_length_is_dropped() {
        let pipe = pipe(100, 10);
        pipe.expect(5);
        pipe.push(b"1234567890abc", Patience::None);
        pipe.push(b"more", Patience::None);
        pipe.end(End::Complete);
        let (read, outcome) = read_all(&pipe);
        assert_eq!((read.as_slice(), outcome.is_ok()), (&b"12345"[..], true));
    }

    #[test]
    fn a_failure_comes_behind_the_content_and_an_abort_before_it() {
        let failed = pipe(100, 100);
        failed.push(b"abc", Patience::None);
        failed.end(End::Failed(BodyError::Disconnected));
        let (read, outcome) = read_all(&failed);
        assert_eq!((read.as_slice(), failure(outcome)), (&b"abc"[..], Some(BodyError::Disconnected)));
        let aborted = pipe(100, 100);
        aborted.push(b"abc", Patience::None);
        aborted.end(End::Complete);
        aborted.abort(BodyError::Aborted);
        let (read, outcome) = read_all(&aborted);
        assert_eq!((read.as_slice(), failure(outcome)), (&b""[..], Some(BodyError::Aborted)));
    }

    #[test]
    fn only_a_stream_that_was_read_can_be_overdue() {
        let overdue = End::Failed(BodyError::TimedOut);
        let pipe = pipe(100, 100);
        pipe.push(b"abc", Patience::None);
        pipe.end_if_read(overdue);
        assert!(pipe.next(Vec::new()).is_ok_and(|chunk| chunk.is_some()));
        pipe.end_if_read(overdue);
        assert_eq!(failure(read_all(&pipe).1), Some(BodyError::TimedOut));
    }

    #[test]
    fn a_waiting_handler_and_a_waiting_reader_are_woken_by_the_end() {
        let waiting = Arc::new(pipe(10, u64::MAX));
        let handler = {
            let pipe = waiting.clone();
            thread::spawn(move || failure(read_all(&pipe).1))
        };
        waiting.abort(BodyError::Shutdown);
        assert_eq!(handler.join().expect("no panic"), Some(BodyError::Shutdown));
        let full = Arc::new(pipe(10, u64::MAX));
        let reader = {
            let pipe = full.clone();
            thread::spawn(move || (0..3).for_each(|_| pipe.push(&[0; 9], Patience::Endless)))
        };
        full.close();
        reader.join().expect("no panic");
    }
}
