//! One connection from a web server: the map of its requests, its outbox, and how requests and connection end.

pub(crate) mod outbox;

use std::net::Shutdown;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Instant;

use log::debug;
use parking_lot::Mutex;

use crate::cgi::refusal_records::refusal_records;
use crate::connection::outbox::{Outbox, Part, Posted};
use crate::metrics::Counter;
use crate::net::socket::Socket;
use crate::protocol::{CloseAfter, Completed, Demux, Limits, Refused, Ticket};
use crate::request::exchange::Exchange;
use crate::request::signal::CancelReason;
use crate::runtime::reader::ConnectionJob;
use crate::runtime::state::Shared;

/// One connection from a web server.
pub(crate) struct Connection {
    number: u64,
    pub(crate) socket: Socket,
    pub(crate) outbox: Outbox,
    requests: Mutex<Demux<Arc<Exchange>>>,
    /// How many of its requests wait for a worker.
    n_waiting: AtomicUsize,
    pub(crate) server: Arc<Shared>,
    pub(crate) times: Times,
}

/// When what happened last, in milliseconds of [`Shared::millis`]; 0 is never.
#[derive(Debug, Default)]
pub(crate) struct Times {
    /// Bytes came, or a request was active when the clock looked.
    pub(crate) activity: AtomicU64,
    /// The byte stream stopped inside a record.
    pub(crate) cut_record: AtomicU64,
    /// We shut down for writing and drop what comes.
    pub(crate) draining: AtomicU64,
}

impl Connection {
    /// A connection and its place in the registry; `refusing` when it is one too many.
    pub(crate) fn new(server: &Arc<Shared>, socket: Socket, refusing: bool) -> Arc<Connection> {
        let number = server.connections.next_number();
        let limits = if refusing { Limits { max_requests: 0, ..server.limits } } else { server.limits };
        let mut requests = Demux::new(limits);
        if refusing {
            requests.close_behind_answer();
        }
        let times = Times { activity: AtomicU64::new(server.millis(Instant::now())), ..Times::default() };
        let (outbox, requests) = (Outbox::new(server.metrics.clone()), Mutex::new(requests));
        let (server, n_waiting) = (server.clone(), AtomicUsize::new(0));
        let connection = Arc::new(Connection { number, socket, outbox, requests, n_waiting, server, times });
        let server = &connection.server;
        server.metrics.count(Counter::ConnectionOpened);
        server.connections.add(number, &connection);
        debug!("connection {number}: open");
        connection
    }

    /// Takes a request out of the map: who gets it, and nobody else, sends END_REQUEST.
    pub(crate) fn complete(&self, ticket: Ticket) -> Option<Completed> {
        let closes = self.socket.ends_with_last_bytes() && self.is_last_answer();
        let completed = self.with_requests(|requests| {
            if closes {
                requests.close_behind_answer();
            }
            requests.complete(ticket)
        })?;
        if completed.close.is_some() {
            self.start_draining();
        }
        Some(completed)
    }

    pub(crate) fn has_requests(&self) -> bool {
        self.requests.lock().len() > 0
    }

    /// Looks at the map; the lock is held for no longer.
    pub(crate) fn with_requests<R>(&self, look: impl FnOnce(&mut Demux<Arc<Exchange>>) -> R) -> R {
        look(&mut self.requests.lock())
    }

    /// The requests whose handlers run or wait to run.
    pub(crate) fn active(&self) -> Vec<(Ticket, Arc<Exchange>)> {
        self.with_requests(|requests| requests.active())
    }

    /// Cancels a request, once. One that still waits for a worker is over with it, and comes back: nobody else will
    /// answer it.
    pub(crate) fn cancel(&self, ticket: Ticket, exchange: &Exchange, reason: CancelReason) -> Option<Completed> {
        if exchange.cancel(reason) {
            debug!("connection {}: request {} was cancelled: {reason}", self.number, ticket.id);
        }
        // A peer that closed its sending side only still gets its answers.
        match reason {
            CancelReason::Disconnected => None,
            _ => self.complete_waiting(ticket, exchange),
        }
    }

    /// Lets a request wait for a worker, which will [claim](Self::claim) it.
    pub(crate) fn offer(&self, exchange: &Exchange, params: Vec<u8>) {
        self.n_waiting.fetch_add(1, Ordering::Relaxed);
        exchange.offer(params);
    }

    /// The right to answer a request, with its PARAMS, while it waits for a worker.
    pub(crate) fn claim(&self, exchange: &Exchange) -> Option<Vec<u8>> {
        let params = exchange.claim();
        if params.is_some() {
            self.n_waiting.fetch_sub(1, Ordering::Relaxed);
        }
        params
    }

    /// Takes a request out of the map if it waits for a worker, and out of the worker's way.
    pub(crate) fn complete_waiting(&self, ticket: Ticket, exchange: &Exchange) -> Option<Completed> {
        self.claim(exchange)?;
        self.server.workers.give_up_place();
        self.server.metrics.count(Counter::GivenUp);
        self.complete(ticket)
    }

    /// Answers a request that no handler will see, without waiting for room: there are no more of them than
    /// `max_requests`.
    pub(crate) fn refuse_now(self: &Arc<Self>, refused: Refused) {
        let posted = self.outbox.post_regardless(&self.socket, &self.refusal(refused), Part::Last(refused.close));
        self.flush_if_blocked(posted);
    }

    /// Ends the connection at once, whatever it is doing.
    pub(crate) fn shut(&self) {
        self.outbox.close();
        self.socket.shutdown(Shutdown::Both);
    }

    /// Ends the connection as soon as nothing is active on it.
    pub(crate) fn close_when_idle(self: &Arc<Self>) {
        let close = self.with_requests(Demux::close_when_idle);
        close.into_iter().for_each(|close| self.close_after(close));
    }

    /// Ends the connection if nothing is active on it; whether that is so.
    pub(crate) fn close_if_idle(self: &Arc<Self>) -> bool {
        let idle = self.with_requests(|requests| (requests.len() == 0).then(|| requests.close_when_idle()));
        idle.flatten().into_iter().for_each(|close| self.close_after(close));
        idle.is_some()
    }

    /// Ends a kept connection behind an answer once the server is shutting down, where that could not be done together
    /// with the answer: now the web server has had the least time to send its next request.
    pub(crate) fn close_behind_answer(self: &Arc<Self>) {
        if !self.socket.ends_with_last_bytes() && self.is_last_answer() {
            self.close_if_idle();
        }
    }

    /// Whether the answer that is due now, or was sent just now, is to be the last of this connection.
    fn is_last_answer(&self) -> bool {
        self.server.is_draining() && !self.socket.has_input()
    }

    /// Ends the connection if nothing is active on it and nothing has happened since `then`.
    pub(crate) fn close_if_silent_since(self: &Arc<Self>, then: Instant) {
        let is_silent = self.times.activity.load(Ordering::Relaxed) < self.server.millis(then);
        if is_silent && !self.socket.has_input() {
            self.close_if_idle();
        }
    }

    fn close_after(self: &Arc<Self>, close: CloseAfter) {
        self.start_draining();
        self.post(b"", Part::Close(close));
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    fn start_draining(&self) {
        let now = self.server.millis(Instant::now());
        self.times.draining.store(now, Ordering::Relaxed);
    }

    pub(crate) fn touch(&self, now: Instant) {
        self.times.activity.store(self.server.millis(now), Ordering::Relaxed);
    }

    /// The records that refuse a request, and what else that means for the connection.
    pub(crate) fn refusal(&self, refused: Refused) -> Vec<u8> {
        Counter::of(refused.refusal).into_iter().for_each(|counter| self.server.metrics.count(counter));
        debug!("connection {}: request {} refused: {:?}", self.number, refused.id, refused.refusal);
        if refused.close.is_some() {
            self.start_draining();
        }
        refusal_records(refused.id, refused.refusal)
    }

    /// Leaves the end of an answer to be sent with the next, if one is due at once and somebody will see to it even if
    /// it is not; whether that is so.
    pub(crate) fn leave(self: &Arc<Self>, records: &[u8], part: Part) -> bool {
        if self.n_waiting.load(Ordering::Relaxed) == 0 || !self.outbox.leave(records, part) {
            return false;
        }
        self.server.unsent.add(self);
        if !self.server.workers.is_waking() {
            self.server.unsent.send();
        }
        true
    }

    /// Sends what was left.
    pub(crate) fn send_left(self: &Arc<Self>) {
        self.post(b"", Part::Some);
    }

    /// Sends without waiting.
    pub(crate) fn post(self: &Arc<Self>, bytes: &[u8], part: Part) -> Posted {
        let posted = self.outbox.post(&self.socket, bytes, part);
        self.flush_if_blocked(posted);
        posted
    }

    fn flush_if_blocked(self: &Arc<Self>, posted: Posted) {
        if posted == Posted::Blocked && !self.server.readers.submit(|| ConnectionJob::Flush(self.clone())) {
            // Nobody could go on with the turn, and everybody would wait for it.
            self.shut();
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        debug!("connection {}: closed", self.number);
        self.server.metrics.count(Counter::ConnectionClosed);
        self.server.connections.remove(self.number);
    }
}
