//! The reader of a connection: it reads, always, and turns what comes into work, input and signals for others.
//!
//! It never waits for a handler and never for a lock that a blocked writer holds. What it has to say itself it posts
//! to the outbox.

use std::fmt;
use std::io;
use std::net::Shutdown;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Instant;

use log::{debug, trace, warn};
use parking_lot::Mutex;

use crate::cancellation::CancelReason;
use crate::exchange::Exchange;
use crate::outbox::{Outbox, Part, Posted};
use crate::pipe::{End, Patience};
use crate::pool::{Job, Place};
use crate::protocol::{
    put_unknown_type, Action, CloseAfter, Completed, Decoder, Demux, Event, Limits, ProtocolError, Refusal, Refused,
    Started, Ticket, ValuesQuery,
};
use crate::refusal::refusal_records;
use crate::shared::Shared;
use crate::socket::Socket;
use crate::worker::Work;

/// The buffer of a connection on which little arrives: a request of usual size fits, and an idle connection holds no
/// more than this.
const SMALL_BUFFER_LEN: usize = 4 << 10;

/// The buffer of a connection on which a body arrives.
const LARGE_BUFFER_LEN: usize = 64 << 10;

/// One connection from a web server.
pub(crate) struct Connection {
    number: u64,
    pub(crate) socket: Socket,
    pub(crate) outbox: Outbox,
    requests: Mutex<Demux<Arc<Exchange>>>,
    pub(crate) server: Arc<Shared>,
    pub(crate) times: Times,
}

/// When what happened last, in milliseconds of [`Shared::millis`]; 0 is never.
#[derive(Debug, Default)]
pub(crate) struct Times {
    /// Bytes came, or a request ended.
    pub(crate) activity: AtomicU64,
    /// The byte stream stopped inside a record.
    pub(crate) cut_record: AtomicU64,
    /// We shut down for writing and drop what comes.
    pub(crate) draining: AtomicU64,
}

/// What a pooled thread does for a connection.
pub(crate) enum ConnectionJob {
    Read(Arc<Connection>),
    /// Send what was posted and would block.
    Flush(Arc<Connection>),
}

impl Job for ConnectionJob {
    fn run(self, _: Place<'_>) {
        match self {
            ConnectionJob::Read(connection) => connection.serve(),
            ConnectionJob::Flush(connection) => connection.outbox.flush(&connection.socket),
        }
    }
}

/// Why a reader stopped reading.
#[derive(Debug)]
enum Stop {
    /// The peer closed the connection, or its sending side.
    EndOfStream,
    Lost(io::Error),
    Violation(ProtocolError),
    /// The peer went on sending what nobody wants, longer than a body could be.
    Flood,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stop::EndOfStream => f.write_str("the web server sends no more"),
            Stop::Lost(error) => write!(f, "lost: {error}"),
            Stop::Violation(error) => write!(f, "the web server broke the protocol: {error}"),
            Stop::Flood => f.write_str("the web server does not stop sending what nobody wants"),
        }
    }
}

impl Connection {
    /// A connection and its place in the registry; `refusing` when it is one too many.
    pub(crate) fn new(server: &Arc<Shared>, socket: Socket, refusing: bool) -> Arc<Connection> {
        let number = server.connections.next_number();
        let limits = if refusing { Limits { max_requests: 0, ..server.limits } } else { server.limits };
        let mut requests = Demux::new(limits);
        if refusing {
            requests.close_after_refusal();
        }
        let times = Times { activity: AtomicU64::new(server.millis(Instant::now())), ..Times::default() };
        let (outbox, requests) = (Outbox::default(), Mutex::new(requests));
        let connection = Arc::new(Connection { number, socket, outbox, requests, server: server.clone(), times });
        server.metrics.connection_opened();
        server.connections.add(number, &connection);
        connection
    }

    /// Takes a request out of the map: who gets it, and nobody else, sends END_REQUEST.
    pub(crate) fn complete(&self, ticket: Ticket) -> Option<Completed> {
        let completed = self.requests.lock().complete(ticket)?;
        self.server.metrics.request_ended();
        self.touch(Instant::now());
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

    /// Takes a request out of the map if it waits for a worker, and out of the worker's way.
    fn complete_waiting(&self, ticket: Ticket, exchange: &Exchange) -> Option<Completed> {
        exchange.claim()?;
        self.server.workers.give_up_place();
        self.complete(ticket)
    }

    /// Answers a request that no handler will see, without waiting. A peer that has read none of so many replies
    /// loses the connection.
    pub(crate) fn refuse_now(self: &Arc<Self>, refused: Refused) {
        if self.post(&self.refusal(refused), Part::Last(refused.close)) == Posted::Full {
            self.shut();
        }
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

    fn touch(&self, now: Instant) {
        self.times.activity.store(self.server.millis(now), Ordering::Relaxed);
    }

    /// The records that refuse a request, and what else that means for the connection.
    fn refusal(&self, refused: Refused) -> Vec<u8> {
        if refused.refusal != Refusal::Aborted {
            self.server.metrics.request_rejected();
        }
        debug!("connection {}: request {} refused: {:?}", self.number, refused.id, refused.refusal);
        if refused.close.is_some() {
            self.start_draining();
        }
        refusal_records(refused.id, refused.refusal)
    }

    /// Sends without waiting.
    fn post(self: &Arc<Self>, bytes: &[u8], part: Part) -> Posted {
        let posted = self.outbox.post(&self.socket, bytes, part);
        if posted == Posted::Blocked && !self.server.readers.submit(|| ConnectionJob::Flush(self.clone())) {
            // Nobody could go on with the turn, and everybody would wait for it.
            self.shut();
        }
        posted
    }

    fn serve(self: Arc<Self>) {
        debug!("connection {}: open", self.number);
        let stop = Reader::new(&self).run();
        match &stop {
            Stop::Violation(_) => warn!("connection {}: {stop}; closed", self.number),
            stop => debug!("connection {}: {stop}", self.number),
        }
        self.with_requests(Demux::disconnect);
        let is_lost = !matches!(stop, Stop::EndOfStream);
        for (ticket, exchange) in self.active() {
            self.cancel(ticket, &exchange, CancelReason::Disconnected);
            if is_lost {
                // Nobody waits any more for what waits for a worker.
                self.complete_waiting(ticket, &exchange);
            }
        }
        if is_lost {
            self.shut();
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        debug!("connection {}: closed", self.number);
        self.server.metrics.connection_closed();
        self.server.connections.remove(self.number);
    }
}

/// What the reading thread alone has of a connection.
struct Reader<'a> {
    connection: &'a Arc<Connection>,
    decoder: Decoder,
    values: ValuesQuery,
    n_drained: u64,
}

impl Reader<'_> {
    fn new(connection: &Arc<Connection>) -> Reader<'_> {
        Reader { connection, decoder: Decoder::new(), values: ValuesQuery::default(), n_drained: 0 }
    }

    fn run(mut self) -> Stop {
        let mut buffer = vec![0; SMALL_BUFFER_LEN];
        loop {
            match self.connection.socket.read(&mut buffer) {
                Ok(0) => return Stop::EndOfStream,
                Err(error) => return Stop::Lost(error),
                Ok(len) => {
                    if let Err(stop) = self.receive(&buffer[..len]) {
                        return stop;
                    }
                    self.resize(&mut buffer, len);
                }
            }
        }
    }

    /// A buffer that was filled was too small; a large one is given back once no body is under way.
    fn resize(&self, buffer: &mut Vec<u8>, len: usize) {
        if len == SMALL_BUFFER_LEN && buffer.len() == SMALL_BUFFER_LEN {
            *buffer = vec![0; LARGE_BUFFER_LEN];
        } else if buffer.len() > SMALL_BUFFER_LEN && !self.connection.with_requests(|requests| requests.awaits_input())
        {
            *buffer = vec![0; SMALL_BUFFER_LEN];
        }
    }

    fn receive(&mut self, mut bytes: &[u8]) -> Result<(), Stop> {
        let now = Instant::now();
        self.connection.touch(now);
        self.count_drained(bytes.len())?;
        while let Some(event) = self.decoder.next(&mut bytes).map_err(Stop::Violation)? {
            trace!("connection {}: {}", self.connection.number, event.describe());
            self.act(event, now)?;
        }
        let cut_record = if self.decoder.is_between_records() { 0 } else { self.connection.server.millis(now) };
        self.connection.times.cut_record.store(cut_record, Ordering::Relaxed);
        Ok(())
    }

    /// A peer may finish sending what it is in the middle of, but not more than a body could be.
    fn count_drained(&mut self, len: usize) -> Result<(), Stop> {
        if self.connection.times.draining.load(Ordering::Relaxed) != 0 {
            self.n_drained += len as u64;
        }
        match self.n_drained > self.connection.server.settings.max_body {
            true => Err(Stop::Flood),
            false => Ok(()),
        }
    }

    fn act(&mut self, event: Event<'_>, now: Instant) -> Result<(), Stop> {
        match event {
            Event::Values { content, last } => self.values(content, last),
            Event::UnknownManagement { record_type } => {
                let mut reply = Vec::new();
                put_unknown_type(&mut reply, record_type);
                self.post(&reply, Part::Some);
            }
            event => self.demultiplex(event, now)?,
        }
        Ok(())
    }

    fn demultiplex(&self, event: Event<'_>, now: Instant) -> Result<(), Stop> {
        let connection = self.connection;
        let server = &connection.server;
        let new_exchange = |role| Arc::new(server.new_exchange(role));
        let action = connection.with_requests(|requests| requests.receive(event, now, new_exchange));
        match action.map_err(Stop::Violation)? {
            Action::Nothing => {}
            Action::Refuse(refused) => self.refuse(refused),
            Action::Start(started) => self.start(started),
            Action::Content { handle, stream, content } => handle.input(stream).push(content, self.patience()),
            Action::EndOfStream { handle, stream } => handle.input(stream).end(End::Complete),
            Action::Abort { ticket, handle } => self.abort(ticket, &handle),
        }
        Ok(())
    }

    fn start(&self, started: Started<Arc<Exchange>>) {
        let connection = self.connection;
        connection.server.metrics.request_started();
        let Started { ticket, role, params, handle: exchange } = started;
        let has_place = connection.server.workers.submit(|| {
            exchange.offer(params);
            Work { connection: connection.clone(), ticket, role, exchange }
        });
        if !has_place {
            let completed = connection.complete(ticket);
            completed.into_iter().for_each(|completed| self.refuse(completed.refused(Refusal::Overloaded)));
        }
    }

    /// The handler is told. A request that waits for a worker ends here.
    fn abort(&self, ticket: Ticket, exchange: &Exchange) {
        let completed = self.connection.cancel(ticket, exchange, CancelReason::Aborted);
        completed.into_iter().for_each(|completed| self.refuse(completed.refused(Refusal::Aborted)));
    }

    fn refuse(&self, refused: Refused) {
        self.post(&self.connection.refusal(refused), Part::Last(refused.close));
    }

    fn values(&mut self, content: &[u8], last: bool) {
        self.values.add(content);
        if last {
            let mut reply = Vec::new();
            self.values.answer(&self.connection.server.capabilities, &mut reply);
            self.post(&reply, Part::Some);
        }
    }

    /// Sends without waiting for anybody but a peer that does not read its replies. The clock ends that: when it
    /// reads nothing for `write_timeout`, the connection is closed.
    fn post(&self, bytes: &[u8], part: Part) {
        while self.connection.post(bytes, part) == Posted::Full {
            self.connection.outbox.wait_for_room(bytes.len());
        }
    }

    /// How long a body may hold up this connection when its handler is slow to read.
    fn patience(&self) -> Patience {
        match self.connection.server.limits.max_requests {
            1 => Patience::Endless,
            _ if self.connection.with_requests(|requests| requests.len()) == 1 => Patience::Brief,
            _ => Patience::None,
        }
    }
}
