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

use crate::buffers::{give_back, take_large_buffer, LARGE_BUFFER_LEN};
use crate::error::BodyError;
use crate::spool::Spool;

/// The least that is allocated for a chunk, so that many tiny records share one.
const MIN_CHUNK_LEN: usize = 4 << 10;

/// The longest content that gets a chunk of its own size. Behind a longer one more is to be expected.
const MAX_SMALL_LEN: usize = 16 << 10;

/// How much is read back from the spool at once.
const SPOOL_READ_LEN: u64 = LARGE_BUFFER_LEN as u64;

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
    /// The handler waits for more.
    handler_waits: bool,
}

/// Whether the handler can know of what was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    Seen,
    /// It waits for content, and was not woken for this little: somebody must call [`Pipe::wake_handler`] before doing
    /// anything but pushing more.
    Unseen,
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
    ///
    /// A handler that waits is woken when half of the buffer is full. To wake it for every record would cost two changes
    /// of threads for each: most of what an upload takes.
    pub(crate) fn push(&self, content: &[u8], patience: Patience) -> Pushed {
        let mut state = self.state.lock();
        let (content, fits) = state.admit(content, self.limits.max_len);
        self.wait_for_room(&mut state, content.len(), patience);
        if state.must_spool(content.len(), self.limits.buffer) {
            let offset = state.spooled.end;
            drop(state);
            self.push_to_spool(offset, content);
        } else {
            state.append(content);
            if fits && !self.is_half_full(&state) {
                return if state.handler_waits { Pushed::Unseen } else { Pushed::Seen };
            }
            drop(state);
        }
        if !fits {
            self.end(End::Failed(BodyError::TooLarge));
        }
        self.changed.notify_all();
        Pushed::Seen
    }

    /// Lets a handler that waits see what was pushed.
    pub(crate) fn wake_handler(&self) {
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
        give_back(spent);
        let mut state = self.state.lock();
        loop {
            if let Some(chunk) = state.chunks.pop_front() {
                state.buffered -= chunk.len();
                let has_room = !self.is_half_full(&state);
                drop(state);
                if has_room {
                    self.changed.notify_all();
                }
                return Ok(Some(chunk));
            }
            if !state.spooled.is_empty() {
                let start = state.spooled.start;
                let len = SPOOL_READ_LEN.min(state.spooled.end - start);
                drop(state);
                return self.next_from_spool(start, len).map(Some);
            }
            match state.end {
                Some(end) => return end.outcome(),
                None => {
                    state.handler_waits = true;
                    self.changed.wait(&mut state);
                    state.handler_waits = false;
                }
            }
        }
    }

    fn is_half_full(&self, state: &State) -> bool {
        state.buffered > self.limits.buffer / 2
    }

    /// What the spool can spare the reader from: the handler takes a chunk, or goes away, within its patience.
    fn wait_for_room(&self, state: &mut MutexGuard<'_, State>, len: usize, patience: Patience) {
        let deadline = match patience {
            Patience::None => return,
            Patience::Brief => Some(Instant::now() + PATIENCE),
            Patience::Endless => None,
        };
        while state.spooled.is_empty() && state.must_spool(len, self.limits.buffer) && !state.is_over() {
            self.changed.notify_all();
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
        chunks.into_iter().for_each(give_back);
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

    fn next_from_spool(&self, start: u64, len: u64) -> io::Result<Vec<u8>> {
        let mut chunk = take_large_buffer();
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
                let mut chunk = match content.len() {
                    0..=MAX_SMALL_LEN => Vec::with_capacity(content.len().max(MIN_CHUNK_LEN)),
                    _ => take_large_buffer(),
                };
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

    /// Pushes, and lets the handler see it, as a reader does before it waits.
    fn feed(pipe: &Pipe, content: &[u8], patience: Patience) {
        if pipe.push(content, patience) == Pushed::Unseen {
            pipe.wake_handler();
        }
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
            content.chunks(piece_len).for_each(|piece| feed(&pipe, piece, Patience::None));
            pipe.end(End::Complete);
            let (read, outcome) = read_all(&pipe);
            assert!(read == content && outcome.is_ok(), "buffer {buffer}, pieces of {piece_len}");
        }
    }

    #[test]
    fn memory_stays_within_the_buffer() {
        let pipe = pipe(1000, u64::MAX);
        (0..100).for_each(|_| feed(&pipe, &[1; 300], Patience::None));
        let state = pipe.state.lock();
        assert_eq!((state.buffered, state.spooled.clone()), (900, 0..97 * 300));
    }

    #[test]
    fn tiny_pushes_share_their_memory() {
        let pipe = pipe(1 << 20, u64::MAX);
        (0..MIN_CHUNK_LEN * 3).for_each(|_| feed(&pipe, b"x", Patience::None));
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
            content.chunks(777).for_each(|piece| feed(&pipe, piece, patience));
            pipe.end(End::Complete);
            let (read, outcome) = handler.join().expect("no panic");
            assert!(read == content && outcome.is_ok(), "{patience:?}");
        }
    }

    #[test]
    fn a_stream_beyond_its_limit_fails_behind_what_fitted() {
        for buffer in [1 << 20, 1] {
            let pipe = pipe(buffer, 10);
            feed(&pipe, b"12345678", Patience::None);
            feed(&pipe, b"90abc", Patience::None);
            feed(&pipe, b"def", Patience::None);
            pipe.end(End::Complete);
            let (read, outcome) = read_all(&pipe);
            assert_eq!((read.as_slice(), failure(outcome)), (&b"1234567890"[..], Some(BodyError::TooLarge)));
        }
    }

    #[test]
    fn what_goes_beyond_the_announced_length_is_dropped() {
        let pipe = pipe(100, 10);
        pipe.expect(5);
        feed(&pipe, b"1234567890abc", Patience::None);
        feed(&pipe, b"more", Patience::None);
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
        feed(&pipe, b"abc", Patience::None);
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
            thread::spawn(move || (0..3).for_each(|_| feed(&pipe, &[0; 9], Patience::Endless)))
        };
        full.close();
        reader.join().expect("no panic");
    }

    #[test]
    fn a_handler_that_waits_is_woken_for_half_a_buffer_and_not_for_every_record() {
        let pipe = Arc::new(pipe(100, u64::MAX));
        let handler = {
            let pipe = pipe.clone();
            thread::spawn(move || pipe.next(Vec::new()).expect("content").map(|chunk| chunk.len()))
        };
        while !pipe.state.lock().handler_waits {
            thread::yield_now();
        }
        assert_eq!(pipe.push(&[1; 30], Patience::None), Pushed::Unseen);
        assert_eq!(pipe.push(&[2; 30], Patience::None), Pushed::Seen);
        assert_eq!(handler.join().expect("no panic"), Some(60));
        assert_eq!(pipe.push(&[3; 30], Patience::None), Pushed::Seen, "nobody waits");
    }
}
