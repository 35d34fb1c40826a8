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

use super::buffers::{give_back, take_large_buffer, LARGE_BUFFER_LEN};
use super::spool::Spool;
use crate::error::BodyError;
use crate::sync::{yield_now, Condvar, Mutex, MutexGuard};

/// The least that is allocated for a chunk, so that many tiny records share one.
const MIN_CHUNK_LEN: usize = 4 << 10;

/// The longest content that gets a chunk of its own size. Behind a longer one more is to be expected.
const MAX_SMALL_LEN: usize = 16 << 10;

/// How much is read back from the spool at once.
const SPOOL_READ_LEN: u64 = LARGE_BUFFER_LEN as u64;

/// How often a handler that is ready to run is let run before its body goes to a file. Nobody waits for it. (Row
/// `upload`: twice the time without.)
const MAX_YIELDS: usize = 4;

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
#[must_use = "a handler that was not woken sleeps until somebody wakes it"]
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

    /// Adds content, and waits for nobody. A stream that grows beyond its limit fails behind what
    /// fitted.
    ///
    /// A handler that waits is woken when most of the buffer is full. To wake it for every record would cost two changes
    /// of threads for each. (Row `upload`: half as much again.)
    pub(crate) fn push(&self, content: &[u8]) -> Pushed {
        let mut state = self.state.lock();
        let (content, fits) = state.admit(content, self.limits.max_len);
        for _ in 0..MAX_YIELDS {
            if !state.is_first_to_spool(content.len(), self.limits.buffer) {
                break;
            }
            drop(state);
            self.changed.notify_all();
            yield_now();
            state = self.state.lock();
        }
        if state.must_spool(content.len(), self.limits.buffer) {
            let offset = state.spooled.end;
            drop(state);
            self.push_to_spool(offset, content);
        } else {
            state.append(content);
            if fits && state.buffered <= self.limits.buffer / 4 * 3 {
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

    /// The web server has sent nothing for too long. While the handler has not read what came before, that does it no
    /// harm.
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
        self.close_locked(state);
    }

    /// The handler will not read any more: what comes is dropped.
    pub(crate) fn close(&self) {
        self.close_locked(self.state.lock());
    }

    fn close_locked(&self, mut state: MutexGuard<'_, State>) {
        if std::mem::replace(&mut state.closed, true) {
            // Nothing came after it was closed, and nobody waits for it.
            return;
        }
        self.drop_content(state);
    }

    /// The next bytes, never empty; blocks. `None` behind the last. `spent` is a buffer to use again.
    pub(crate) fn next(&self, spent: Vec<u8>) -> io::Result<Option<Vec<u8>>> {
        give_back(spent);
        let mut state = self.state.lock();
        loop {
            if let Some(chunk) = state.chunks.pop_front() {
                state.buffered -= chunk.len();
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
        let read = self.spool.read_at(start, &mut chunk);
        let mut state = self.state.lock();
        if state.closed {
            // The file may be gone.
            return Err(state
                .end
                .and_then(|end| end.outcome::<()>().err())
                .unwrap_or_else(|| BodyError::Finished.into()));
        }
        read?;
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

    fn is_first_to_spool(&self, len: usize, buffer: usize) -> bool {
        self.spooled.is_empty() && self.must_spool(len, buffer) && !self.is_over()
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
mod tests;
