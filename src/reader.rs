//! The reader of a connection: it reads, always, and turns what comes into work, input and signals for others.
//!
//! It never waits for a handler and never for a lock that a blocked writer holds. What it has to say itself it posts
//! to the outbox.

use std::fmt;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Instant;

use log::{debug, trace, warn};

use crate::cancellation::CancelReason;
use crate::connection::{Connection, ConnectionJob};
use crate::exchange::{Exchange, Exchanges};
use crate::metrics::Counter;
use crate::outbox::{Part, Posted};
use crate::pipe::{End, Patience};
use crate::pool::{Job, Place};
use crate::protocol::{
    put_unknown_type, Action, Decoder, Demux, Event, ProtocolError, Refusal, Refused, Started, Ticket, ValuesQuery,
};
use crate::worker::Work;

/// The buffer of a connection on which little arrives: a request of usual size fits, and many small ones of a connection
/// that multiplexes. Only what was ever filled takes memory.
const SMALL_BUFFER_LEN: usize = 16 << 10;

/// The buffer of a connection on which a body arrives.
const LARGE_BUFFER_LEN: usize = 64 << 10;

impl Job for ConnectionJob {
    fn run(self, _: Place<'_>) {
        match self {
            ConnectionJob::Read(connection) => read(&connection),
            ConnectionJob::Flush(connection) => connection.outbox.flush(&connection.socket),
        }
    }
}

/// Reads the connection to its end.
fn read(connection: &Arc<Connection>) {
    debug!("connection {}: open", connection.number());
    let stop = Reader::new(connection).run();
    match &stop {
        Stop::Violation(_) => warn!("connection {}: {stop}; closed", connection.number()),
        stop => debug!("connection {}: {stop}", connection.number()),
    }
    connection.with_requests(Demux::disconnect);
    let is_lost = !matches!(stop, Stop::EndOfStream);
    for (ticket, exchange) in connection.active() {
        connection.cancel(ticket, &exchange, CancelReason::Disconnected);
        if is_lost {
            // Nobody waits any more for what waits for a worker.
            connection.complete_waiting(ticket, &exchange);
        }
    }
    // A peer that closed its sending side only still gets its answers.
    if is_lost {
        connection.shut();
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

/// What the reading thread alone has of a connection.
struct Reader<'a> {
    connection: &'a Arc<Connection>,
    decoder: Decoder,
    values: ValuesQuery,
    n_drained: u64,
    /// Requests whose PARAMS are complete and that no worker was told of.
    started: Vec<Started<Arc<Exchange>>>,
    exchanges: Exchanges,
}

impl Reader<'_> {
    fn new(connection: &Arc<Connection>) -> Reader<'_> {
        Reader {
            connection,
            decoder: Decoder::new(),
            values: ValuesQuery::default(),
            n_drained: 0,
            started: Vec::new(),
            exchanges: Exchanges::default(),
        }
    }

    fn run(mut self) -> Stop {
        let mut buffer = Vec::with_capacity(SMALL_BUFFER_LEN);
        loop {
            buffer.clear();
            match self.connection.socket.read(&mut buffer) {
                Ok(0) => return Stop::EndOfStream,
                Err(error) => return Stop::Lost(error),
                Ok(_) => {
                    let received = self.receive(&buffer);
                    self.submit_started();
                    if let Err(stop) = received {
                        return stop;
                    }
                    self.resize(&mut buffer);
                }
            }
        }
    }

    /// A buffer that was filled was too small; a large one is given back once no body is under way.
    fn resize(&self, buffer: &mut Vec<u8>) {
        let is_small = buffer.capacity() < LARGE_BUFFER_LEN;
        if is_small && buffer.len() == buffer.capacity() {
            *buffer = Vec::with_capacity(LARGE_BUFFER_LEN);
        } else if !is_small && !self.connection.with_requests(|requests| requests.awaits_input()) {
            *buffer = Vec::with_capacity(SMALL_BUFFER_LEN);
        }
    }

    fn receive(&mut self, mut bytes: &[u8]) -> Result<(), Stop> {
        let now = Instant::now();
        self.connection.touch(now);
        self.connection.server.metrics.add(Counter::BytesIn, bytes.len() as u64);
        self.count_drained(bytes.len())?;
        while let Some(event) = self.decoder.next(&mut bytes).map_err(Stop::Violation)? {
            trace!("connection {}: {}", self.connection.number(), event.describe());
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

    fn demultiplex(&mut self, event: Event<'_>, now: Instant) -> Result<(), Stop> {
        let server = &self.connection.server;
        let new_exchange = |role| self.exchanges.next(server.new_exchange(role, now));
        let action = self.connection.with_requests(|requests| requests.receive(event, now, new_exchange));
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

    /// Workers are told when what was read is used up: the request then has its whole body, if that came with it. What
    /// one read brings fits the buffer of a body, or else a worker must be there to take it.
    fn start(&mut self, started: Started<Arc<Exchange>>) {
        self.started.push(started);
        if self.connection.server.settings.body_buffer < LARGE_BUFFER_LEN {
            self.submit_started();
        }
    }

    fn submit_started(&mut self) {
        let mut started = std::mem::take(&mut self.started);
        started.drain(..).for_each(|started| self.submit(started));
        self.started = started;
    }

    fn submit(&self, started: Started<Arc<Exchange>>) {
        let connection = self.connection;
        let Started { ticket, role, params, handle: exchange } = started;
        let has_place = connection.server.workers.submit(|| {
            connection.server.metrics.count(Counter::Submitted);
            exchange.offer(params);
            Work { connection: connection.clone(), ticket, role, exchange }
        });
        if !has_place {
            let completed = connection.complete(ticket);
            completed.into_iter().for_each(|completed| self.refuse(completed.refused(Refusal::Overloaded)));
        }
    }

    /// The handler is told. A request that waits for a worker ends here.
    fn abort(&mut self, ticket: Ticket, exchange: &Exchange) {
        self.submit_started();
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
