//! Connections on which nothing is expected any more but their end: they are not worth a thread yet.
//!
//! A web server that opens a connection for each request sends the request at once and closes when it has the answer,
//! mostly within a millisecond. A reader would be woken for it twice, to wait for that end and to see it. So the thread
//! that accepts connections takes in what comes first, and looks once more a moment later; what is not over then gets
//! its reader. That an aborted request is noticed a millisecond later is the price, and half the processor time of such
//! a connection the gain. (Rows `closed`.)

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::reader::Reader;
use super::serve::read_on_a_thread;
use super::state::State;
use crate::connection::Connection;

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
    /// [`Pool::add`](super::pool::Pool::add).
    pub(crate) fn admit(&mut self, state: &Arc<State>, connection: Arc<Connection>) {
        let mut reader = Reader::new(state, connection);
        if reader.read_now(&mut self.buffer) {
            match reader.has_all_input() {
                true => self.waiting.push_back((Instant::now() + STAY, reader)),
                false => read_on_a_thread(state, reader),
            }
        }
    }

    /// Sends away those who have stayed for long enough, and says how long the next one may still stay.
    pub(crate) fn look_after(&mut self, state: &Arc<State>, now: Instant) -> Option<Duration> {
        while let Some((until, _)) = self.waiting.front() {
            let left = until.saturating_duration_since(now);
            if !left.is_zero() {
                return Some(left);
            }
            self.send_first_away(state);
        }
        None
    }

    /// Lets those go at once who are over.
    pub(crate) fn let_go(&mut self) {
        let Lobby { waiting, buffer } = self;
        waiting.retain_mut(|(_, reader)| reader.read_now(buffer));
    }

    /// Sends all away.
    pub(crate) fn close(&mut self, state: &Arc<State>) {
        while !self.waiting.is_empty() {
            self.send_first_away(state);
        }
    }

    /// Its connection is over, or gets its reader.
    fn send_first_away(&mut self, state: &Arc<State>) {
        if let Some((_, mut reader)) = self.waiting.pop_front() {
            if reader.read_now(&mut self.buffer) {
                read_on_a_thread(state, reader);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handler::{self, Handlers};
    use crate::metrics::Metrics;
    use crate::net::Socket;
    use crate::protocol::{put_end_of_stream, put_pair, put_record, RecordType};
    use crate::settings::Settings;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::thread;

    const KEEP_CONN: u8 = 1;

    /// A server, its lobby, and the far end of a connection on which a request has come.
    struct Bench {
        server: Arc<State>,
        lobby: Lobby,
        peer: UnixStream,
    }

    impl Bench {
        fn new(flags: u8) -> Bench {
            let responder = Some(handler::responder(|_request| http::Response::new("answer")));
            let handlers = Handlers { responder, ..Handlers::default() };
            let server = State::start(Settings::default(), handlers, Metrics::default());
            let (mut peer, ours) = UnixStream::pair().expect("a pair");
            peer.write_all(&request(flags)).expect("written");
            let mut lobby = Lobby::new();
            lobby.admit(&server, Connection::new(&server.context, &server.connections, Socket::Unix(ours), false));
            server.workers.wake();
            Bench { server, lobby, peer }
        }

        /// Waits until the connection is seen to end with its peer.
        fn hang_up(self) {
            drop(self.peer);
            wait_until_gone(&self.server);
        }
    }

    /// A worker may have it for a moment longer than its peer.
    fn wait_until_gone(server: &State) {
        while server.connections.len() > 0 {
            thread::yield_now();
        }
    }

    fn request(flags: u8) -> Vec<u8> {
        let (mut records, mut params) = (Vec::new(), Vec::new());
        put_pair(&mut params, b"REQUEST_METHOD", b"GET");
        put_record(&mut records, RecordType::BeginRequest, 1, &[0, 1, flags, 0, 0, 0, 0, 0]);
        put_record(&mut records, RecordType::Params, 1, &params);
        put_end_of_stream(&mut records, RecordType::Params, 1);
        put_end_of_stream(&mut records, RecordType::Stdin, 1);
        records
    }

    #[test]
    fn a_connection_that_has_all_is_answered_and_goes_with_its_peer() {
        let Bench { server, mut lobby, mut peer } = Bench::new(0);
        let mut answer = Vec::new();
        peer.read_to_end(&mut answer).expect("the end behind the answer");
        assert!(answer.windows(6).any(|window| window == b"answer"));
        lobby.let_go();
        assert_eq!((lobby.waiting.len(), server.connections.len()), (1, 1), "the peer is still there");
        drop(peer);
        lobby.let_go();
        assert!(lobby.waiting.is_empty() && server.readers.n_threads() == 0, "no reader was needed");
        wait_until_gone(&server);
    }

    #[test]
    fn a_connection_that_lasts_gets_its_reader() {
        let mut bench = Bench::new(0);
        let (until, _) = bench.lobby.waiting[0];
        assert_eq!(bench.lobby.look_after(&bench.server, until - STAY / 2), Some(STAY / 2));
        assert_eq!(bench.lobby.look_after(&bench.server, until), None);
        assert_eq!((bench.lobby.waiting.len(), bench.server.readers.n_threads()), (0, 1));
        bench.hang_up();
    }

    #[test]
    fn a_kept_connection_gets_its_reader_at_once() {
        let bench = Bench::new(KEEP_CONN);
        assert_eq!((bench.lobby.waiting.len(), bench.server.readers.n_threads()), (0, 1));
        bench.hang_up();
    }
}
