//! Connections on which nothing is expected any more but their end: they are not worth a thread yet.
//!
//! A web server that opens a connection for each request sends the request at once and closes when it has the answer,
//! mostly within a millisecond. A reader would be woken for it twice, to wait for that end and to see it. So the thread
//! that accepts connections takes in what comes first, and looks once more a moment later; what is not over then gets
//! its reader. That an aborted request is noticed a millisecond later is the price, and half the processor time of such
//! a connection the gain.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::buffers::LARGE_BUFFER_LEN;
use crate::connection::Connection;
use crate::reader::Reader;

/// How long a connection is left alone.
const STAY: Duration = Duration::from_millis(1);

/// How much is taken in of a new connection. The replies to so little always find room in the outbox.
const BUFFER_LEN: usize = 4 << 10;

/// What the accepting thread looks after besides.
pub(crate) struct Lobby {
    /// Until when which connection may stay, the earliest first.
    waiting: VecDeque<(Instant, Box<Reader>)>,
    buffer: Vec<u8>,
}

impl Lobby {
    pub(crate) fn new() -> Lobby {
        Lobby { waiting: VecDeque::new(), buffer: Vec::with_capacity(BUFFER_LEN) }
    }

    /// Takes in a new connection: it stays, or gets its reader. The workers must be woken for its request: see
    /// [`Pool::add`](crate::pool::Pool::add).
    pub(crate) fn admit(&mut self, connection: Arc<Connection>) {
        // With a smaller buffer a body could have to wait for its handler.
        let is_quick = connection.server.settings.body_buffer >= LARGE_BUFFER_LEN;
        let mut reader = Reader::new(connection);
        if !is_quick {
            reader.submit();
        } else if reader.read_now(&mut self.buffer) {
            match reader.has_all_input() {
                true => self.waiting.push_back((Instant::now() + STAY, reader)),
                false => reader.submit(),
            }
        }
    }

    /// Sends away those who have stayed for long enough, and says how long the next one may still stay.
    pub(crate) fn look_after(&mut self, now: Instant) -> Option<Duration> {
        while let Some((until, _)) = self.waiting.front() {
            let left = until.saturating_duration_since(now);
            if !left.is_zero() {
                return Some(left);
            }
            self.send_first_away();
        }
        None
    }

    /// Lets those go at once who are over.
    pub(crate) fn let_go(&mut self) {
        let Lobby { waiting, buffer } = self;
        waiting.retain_mut(|(_, reader)| reader.read_now(buffer));
    }

    /// Sends all away.
    pub(crate) fn close(&mut self) {
        while !self.waiting.is_empty() {
            self.send_first_away();
        }
    }

    /// Its connection is over, or gets its reader.
    fn send_first_away(&mut self) {
        if let Some((_, mut reader)) = self.waiting.pop_front() {
            if reader.read_now(&mut self.buffer) {
                reader.submit();
            }
        }
    }
}
