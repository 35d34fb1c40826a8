//! One connection from a web server as data with locks: the map of its requests, what it sends, and its end.
//!
//! In scope: taking requests in and out of the map, sending records, and closing. A connection acts on no pool of threads:
//! what may have to wait for the peer comes back as [`Unsent`].
//! Out of scope: who reads, who runs handlers, when time is over.
//!
//! ```text
//!                 receive                   complete, complete_cut
//!   reader ------------------> Mutex<Demux> <---------------------- worker, clock
//!                                  |
//!   reader, clock --post--> Outbox <--send-- worker          (a request leaves the map before its END_REQUEST is sent)
//! ```

mod context;
mod outbox;
mod permits;
mod registry;
mod wire;

use std::io;
use std::net::Shutdown;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Instant;

pub(crate) use self::context::Context;
#[cfg(all(loom, test))]
pub(crate) use self::outbox::{Outbox, Rest, Sent};
#[cfg(not(all(loom, test)))]
use self::outbox::{Outbox, Rest, Sent};
pub(crate) use self::permits::Permit;
pub(crate) use self::registry::Registry;
#[cfg(not(all(loom, test)))]
use self::wire::Patience;
#[cfg(all(loom, test))]
pub(crate) use self::wire::{Patience, Wire};
use crate::cgi::refusal_records;
use crate::journal::note;
use crate::metrics::Counter;
use crate::net::Socket;
use crate::protocol::{
    Action, CloseAfter, Completed, Cut, Demux, Ending, Event, Limits, ProtocolError, Refused, RequestKey,
};
use crate::request::{Cancel, RequestState};
use crate::sync::Mutex;

/// One connection from a web server.
pub(crate) struct Connection {
    number: u64,
    socket: Socket,
    outbox: Outbox,
    requests: Mutex<Demux<Arc<RequestState>>>,
    pub(crate) context: Arc<Context>,
    registry: Arc<Registry<Connection>>,
    pub(crate) times: Times,
}

/// When what happened last, in milliseconds of [`Context::millis`]; 0 is never.
#[derive(Debug, Default)]
pub(crate) struct Times {
    /// Bytes came, or a request was active when the clock looked.
    pub(crate) activity: AtomicU64,
    /// The byte stream stopped inside a record.
    pub(crate) cut_record: AtomicU64,
    /// The connection is to end: what comes is dropped, and it is shut down for writing after its last response.
    pub(crate) draining: AtomicU64,
}

/// Threads that may wait for a peer that does not read. Their modules alone can make values of the types that implement
/// it, and no value is to be had by the reader, the clock or the accepting thread: they cannot call what takes one.
pub(crate) trait MayBlock {}

/// What could not be sent without waiting. A thread that may wait goes on with it; if there is none, the connection ends.
#[must_use = "nobody else can send on this connection until this is flushed"]
pub(crate) struct Unsent {
    connection: Arc<Connection>,
    rest: Option<Rest>,
}

/// What became of records that were to be sent.
pub(crate) enum Sending {
    /// They are on their way, or will be when what is unsent is.
    Begun(Option<Unsent>),
    /// They need not be sent any more, and nothing of them was.
    NotBegun,
}

impl Connection {
    /// A connection and its place in the registry; `refusing` when it is one too many.
    pub(crate) fn new(
        context: &Arc<Context>,
        registry: &Arc<Registry<Connection>>,
        socket: Socket,
        refusing: bool,
    ) -> Arc<Connection> {
        let number = registry.next_number();
        let limits = if refusing { Limits { max_requests: 0, ..context.limits } } else { context.limits };
        let mut requests = Demux::new(limits);
        if refusing {
            requests.close_behind_answer();
        }
        let times = Times { activity: AtomicU64::new(context.millis(Instant::now())), ..Times::default() };
        let (outbox, requests) = (Outbox::default(), Mutex::new(requests));
        let (context, registry) = (context.clone(), registry.clone());
        let connection = Arc::new(Connection { number, socket, outbox, requests, context, registry, times });
        connection.context.metrics.count(Counter::ConnectionOpened);
        connection.registry.add(number, &connection);
        note!(connection.context.journal, Debug, "connection {number}: open");
        connection
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    pub(crate) fn touch(&self, now: Instant) {
        self.times.activity.store(self.context.millis(now), Ordering::Relaxed);
    }
}

/// The map of requests.
impl Connection {
    /// What an event that was read means.
    pub(crate) fn receive<'a>(
        &self,
        event: Event<'a>,
        now: Instant,
    ) -> Result<Action<'a, Arc<RequestState>>, ProtocolError> {
        let new_request = |role| Arc::new(self.context.new_request(role, now));
        self.requests.lock().receive(event, now, new_request)
    }

    /// Looks at the map; the lock is held for no longer.
    pub(crate) fn with_requests<R>(&self, look: impl FnOnce(&mut Demux<Arc<RequestState>>) -> R) -> R {
        look(&mut self.requests.lock())
    }

    /// Whether the web server sends no more and requests are active.
    pub(crate) fn is_half_closed(&self) -> bool {
        let requests = self.requests.lock();
        requests.is_disconnected() && requests.len() > 0
    }

    pub(crate) fn has_requests(&self) -> bool {
        self.requests.lock().len() > 0
    }

    /// The requests whose handlers run or wait to run.
    pub(crate) fn active(&self) -> Vec<(RequestKey, Arc<RequestState>)> {
        self.requests.lock().active()
    }

    /// Takes a request out of the map, for whoever ends it.
    pub(crate) fn complete(&self, key: RequestKey) -> Option<Completed> {
        let closes = self.socket.ends_with_last_bytes() && self.is_last_response();
        let completed = {
            let mut requests = self.requests.lock();
            if closes {
                requests.close_behind_answer();
            }
            requests.complete(key)
        }?;
        if completed.close().is_some() {
            self.start_draining();
        }
        Some(completed)
    }

    /// Takes a request out of the map whose response was cut short.
    pub(crate) fn complete_cut(&self, key: RequestKey) -> Option<Cut> {
        let cut = self.requests.lock().complete_cut(key)?;
        let closes = match &cut {
            Cut::Close(ending) => ending.close(),
            Cut::EndRequest(completed) => completed.close(),
        };
        if closes.is_some() {
            self.start_draining();
        }
        Some(cut)
    }

    /// Takes a request out of the map that waits for a worker, and gives its permit back.
    pub(crate) fn give_up(&self, key: RequestKey, request: &RequestState) -> Option<Completed> {
        drop(self.context.permits.of(request.claim()?));
        self.context.metrics.count(Counter::GivenUp);
        self.complete(key)
    }

    /// Cancels a request.
    pub(crate) fn cancel(&self, key: RequestKey, request: &RequestState, cancel: Cancel) {
        if request.cancel(cancel).is_first {
            self.context.metrics.count(cancel.reason());
            note!(
                self.context.journal,
                Debug,
                "connection {}: request {} was cancelled: {}",
                self.number,
                key.id,
                cancel.reason()
            );
        }
    }
}

/// Sending.
impl Connection {
    /// Sends whole records without waiting for anybody.
    #[must_use = "what is unsent must be flushed"]
    pub(crate) fn post(self: &Arc<Self>, records: &[u8], ending: Option<Ending>) -> Option<Unsent> {
        self.posted(self.outbox.post(&self.socket, records, ending))
    }

    /// Sends whole records, and waits as long as the peer takes some of them now and then.
    ///
    /// When that `is_over`, waiting is, too: what was begun then comes back unsent, as does what others have queued without
    /// end.
    pub(crate) fn send(
        self: &Arc<Self>,
        _: &impl MayBlock,
        parts: &[&[u8]],
        ending: Option<Ending>,
        is_over: &dyn Fn() -> bool,
    ) -> io::Result<Sending> {
        let patience = Patience { time: self.context.settings.write_timeout, is_over };
        match self.outbox.send(&self.socket, patience, parts, ending) {
            Ok(Sent::Begun(n_written, rest)) => Ok(Sending::Begun(self.posted((n_written, rest)))),
            Ok(Sent::NotBegun) => Ok(Sending::NotBegun),
            Err(error) => Err(self.lose(error)),
        }
    }

    /// Answers a request that no handler will see, without waiting for anybody.
    #[must_use = "what is unsent must be flushed"]
    pub(crate) fn refuse(self: &Arc<Self>, refused: Refused) -> Option<Unsent> {
        Counter::of(refused.refusal()).into_iter().for_each(|counter| self.context.metrics.count(counter));
        note!(
            self.context.journal,
            Debug,
            "connection {}: request {} refused: {:?}",
            self.number,
            refused.id(),
            refused.refusal()
        );
        if refused.close().is_some() {
            self.start_draining();
        }
        let (records, ending) = refusal_records(refused);
        self.post(&records, Some(ending))
    }

    /// Whether the peer does not read what it is sent, so that nothing more should be read from it.
    pub(crate) fn is_congested(&self) -> bool {
        self.outbox.is_congested()
    }

    /// Waits for a peer that does not read what it is sent.
    pub(crate) fn wait_for_room(&self, _: &impl MayBlock) {
        self.outbox.wait_for_room();
    }

    /// Whether all was sent and the connection closed for writing, or nothing can be sent any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.outbox.is_closed()
    }

    fn posted(self: &Arc<Self>, (n_written, rest): (usize, Option<Rest>)) -> Option<Unsent> {
        self.context.metrics.add(Counter::BytesOut, n_written as u64);
        rest.map(|rest| Unsent { connection: self.clone(), rest: Some(rest) })
    }

    /// After an error in sending nothing more can be sent.
    fn lose(&self, error: io::Error) -> io::Error {
        if error.kind() == io::ErrorKind::TimedOut {
            note!(self.context.journal, Warn, "connection {}: the web server reads nothing; closed", self.number);
            self.break_off();
        } else {
            self.shut();
        }
        error
    }
}

/// Closing.
impl Connection {
    /// Ends the connection at once, whatever it is doing.
    pub(crate) fn shut(&self) {
        self.outbox.close();
        self.socket.shutdown(Shutdown::Both);
    }

    /// Ends the connection at once, where its peer may have a part of a response that must not pass for the whole.
    pub(crate) fn break_off(&self) {
        self.outbox.close();
        match self.socket.resets() {
            true => self.socket.reset(),
            false => self.socket.shutdown(Shutdown::Both),
        }
    }

    /// Ends the reading of a connection that is closed for writing.
    pub(crate) fn stop_reading(&self) {
        self.socket.shutdown(Shutdown::Both);
    }

    /// Ends the connection after its last response, as soon as nothing is active on it.
    #[must_use = "what is unsent must be flushed"]
    pub(crate) fn close_when_idle(self: &Arc<Self>) -> Option<Unsent> {
        let close = self.requests.lock().close_when_idle();
        close.and_then(|close| self.close_after(close))
    }

    /// Ends the connection after its last response, if nothing is active on it.
    #[must_use = "what is unsent must be flushed"]
    pub(crate) fn close_if_idle(self: &Arc<Self>) -> Option<Unsent> {
        let close = self.requests.lock().close_if_idle();
        close.and_then(|close| self.close_after(close))
    }

    /// Ends a kept connection behind a response once the server is shutting down, where that could not be done together
    /// with the response: now the web server has had the least time to send its next request.
    #[must_use = "what is unsent must be flushed"]
    pub(crate) fn close_behind_response(self: &Arc<Self>) -> Option<Unsent> {
        let closes = !self.socket.ends_with_last_bytes() && self.is_last_response();
        closes.then(|| self.close_if_idle()).flatten()
    }

    /// Ends the connection if nothing is active on it and nothing has happened since `then`.
    #[must_use = "what is unsent must be flushed"]
    pub(crate) fn close_if_silent_since(self: &Arc<Self>, then: Instant) -> Option<Unsent> {
        let is_silent = self.times.activity.load(Ordering::Relaxed) < self.context.millis(then);
        let closes = is_silent && !self.socket.has_input();
        closes.then(|| self.close_if_idle()).flatten()
    }

    /// Whether the response that is due now, or was sent just now, is to be the last of this connection.
    fn is_last_response(&self) -> bool {
        self.context.is_draining() && !self.socket.has_input()
    }

    fn close_after(self: &Arc<Self>, close: CloseAfter) -> Option<Unsent> {
        self.start_draining();
        self.posted(self.outbox.close_after(&self.socket, close))
    }

    fn start_draining(&self) {
        let now = self.context.millis(Instant::now());
        self.times.draining.store(now, Ordering::Relaxed);
    }
}

impl Unsent {
    /// Sends what is left, and waits for the peer. Whoever has a stake in an error meets it elsewhere.
    pub(crate) fn flush(mut self, _: &impl MayBlock) -> io::Result<()> {
        let Some(rest) = self.rest.take() else { return Ok(()) };
        let connection = &self.connection;
        let patience = Patience::of(connection.context.settings.write_timeout);
        let flushed = connection.outbox.flush(&connection.socket, patience, rest);
        let n_written = flushed.map_err(|error| connection.lose(error))?;
        connection.context.metrics.add(Counter::BytesOut, n_written as u64);
        Ok(())
    }
}

impl Drop for Unsent {
    fn drop(&mut self) {
        if self.rest.is_some() {
            // Nobody could go on with the turn, and everybody would wait for it.
            self.connection.shut();
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        note!(self.context.journal, Debug, "connection {}: closed", self.number);
        self.context.metrics.count(Counter::ConnectionClosed);
        self.registry.remove(self.number);
    }
}
