//! One connection of the load: what is still to be written, and what must come back.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::time::Instant;

use crate::answer::{Answers, Ended};

/// The longest record, and as much again, so that a reading always has room.
pub(crate) const BUFFER_LEN: usize = 256 << 10;

/// A socket that does not block, with its requests.
pub(crate) struct Connection {
    socket: File,
    answers: Answers,
    /// Ids of the requests to write, the first of them written up to `n_written`.
    unwritten: VecDeque<u16>,
    n_written: usize,
    pub(crate) n_ended: u64,
}

/// What a reading came to.
#[derive(PartialEq)]
pub(crate) enum Reading {
    Open,
    Closed,
}

impl Connection {
    pub(crate) fn new(socket: File, ids: u16) -> Connection {
        Connection { socket, answers: Answers::new(ids), unwritten: VecDeque::new(), n_written: 0, n_ended: 0 }
    }

    /// A new socket in place of one that the server has closed.
    pub(crate) fn reopen(&mut self, socket: File) {
        self.socket = socket;
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.answers.is_complete()
    }

    /// The request with this id is next; [`Connection::write`] writes it.
    pub(crate) fn begin(&mut self, id: u16, now: Instant) {
        self.answers.expect(id, now);
        self.unwritten.push_back(id);
    }

    /// Writes what there is to write, in one go where the socket takes it.
    pub(crate) fn write(&mut self, requests: &[Vec<u8>]) -> io::Result<()> {
        while let Some(&first) = self.unwritten.front() {
            let first = &request(requests, first)[self.n_written..];
            let written = if self.unwritten.len() == 1 {
                self.socket.write(first)
            } else {
                let others = self.unwritten.iter().skip(1).map(|&id| IoSlice::new(request(requests, id)));
                let slices: Vec<_> = std::iter::once(IoSlice::new(first)).chain(others).collect();
                self.socket.write_vectored(&slices)
            };
            match written {
                Ok(n) => self.advance(n, requests),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn advance(&mut self, n: usize, requests: &[Vec<u8>]) {
        self.n_written += n;
        while let Some(&id) = self.unwritten.front() {
            let len = request(requests, id).len();
            if self.n_written < len {
                return;
            }
            self.n_written -= len;
            self.unwritten.pop_front();
        }
    }

    /// Reads once, and again as long as there is more than fits or, at `to_the_end`, until the socket is empty.
    pub(crate) fn read(
        &mut self,
        buffer: &mut [u8],
        body: &[u8],
        to_the_end: bool,
        ended: &mut Vec<Ended>,
    ) -> Result<Reading, String> {
        loop {
            let n_before = self.answers.restore(buffer);
            let n_read = match self.socket.read(&mut buffer[n_before..]) {
                Ok(0) => return Ok(Reading::Closed),
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.to_string()),
            };
            let end = n_before + n_read;
            self.answers.receive(&buffer[..end], body, ended)?;
            if n_read == 0 || (end < buffer.len() && !to_the_end) {
                return Ok(Reading::Open);
            }
        }
    }
}

fn request(requests: &[Vec<u8>], id: u16) -> &[u8] {
    &requests[usize::from(id) - 1]
}
