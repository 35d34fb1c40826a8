//! The reader of a connection: it reads, always, and turns what comes into work, input and signals for others.
//!
//! It never waits for a handler and never for a lock that a blocked writer holds. What it has to say itself it posts
//! to the outbox.

use std::fmt;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Instant;

use log::{debug, error, trace, warn};

use crate::connection::outbox::{Part, Posted};
use crate::connection::Connection;
use crate::metrics::Counter;
use crate::protocol::{
    put_unknown_type, Action, Decoder, Demux, Event, ProtocolError, Refusal, Refused, Started, Stream, Ticket,
    ValuesQuery,
};
use crate::request::buffers::{give_back, take_large_buffer, LARGE_BUFFER_LEN};
use crate::request::exchange::{Exchange, Exchanges, KEPT_PARAMS_LEN};
use crate::request::pipe::{End, Patience, Pushed};
use crate::request::signal::CancelReason;
use crate::runtime::pool::{Job, Place};
use crate::runtime::worker::Work;

/// The buffer of a connection on which little arrives: a request of usual size fits, and an idle connection holds no more
/// than this.
const SMALL_BUFFER_LEN: usize = 2 << 10;

/// The buffer of one on which more has come before, such as many requests at once.
const MEDIUM_BUFFER_LEN: usize = 16 << 10;

/// How much is drained in any case behind the last answer. A body that was refused is larger than `max_body` by its
/// nature, and a reset while it is still coming could cost the web server the answer.
const LEAST_DRAINED: u64 = 64 << 20;

/// What a pooled thread does for a connection.
pub(crate) enum ConnectionJob {
    Read(Box<Reader>),
    /// Send what was posted and would block.
    Flush(Arc<Connection>),
}

impl Job for ConnectionJob {
    fn run(self, _: Place<'_>) {
        match self {
            ConnectionJob::Read(mut reader) => reader.run(),
            ConnectionJob::Flush(connection) => connection.outbox.flush(&connection.socket),
        }
    }
}

/// What whoever reads a connection alone has of it.
pub(crate) struct Reader {
    connection: Arc<Connection>,
    decoder: Decoder,
    values: ValuesQuery,
    n_drained: u64,
    /// How long the buffer is while no body is under way.
    buffer_len: usize,
    /// Requests whose PARAMS are complete and that no worker was told of.
    started: Vec<Started<Arc<Exchange>>>,
    /// An input whose handler waits for content and was not told of some.
    unseen: Option<(Arc<Exchange>, Stream)>,
    exchanges: Exchanges,
}

impl Reader {
    pub(crate) fn new(connection: Arc<Connection>) -> Box<Reader> {
        Box::new(Reader {
            connection,
            decoder: Decoder::new(),
            values: ValuesQuery::default(),
            n_drained: 0,
            buffer_len: SMALL_BUFFER_LEN,
            started: Vec::new(),
            unseen: None,
            exchanges: Exchanges::default(),
        })
    }

    /// Hands the connection to a thread of its own. If there is none, it ends with the answers that are under way.
    pub(crate) fn submit(self: Box<Reader>) {
        let server = self.connection.server.clone();
        if !server.readers.submit(|| ConnectionJob::Read(self)) {
            error!("no thread for a connection; closed");
        }
    }

    /// Takes in what has come, without waiting for more or for anybody; whether the connection goes on. For the requests
    /// that have started the workers must be woken: see [`Pool::add`](crate::runtime::pool::Pool::add).
    pub(crate) fn read_now(&mut self, buffer: &mut Vec<u8>) -> bool {
        buffer.clear();
        let stop = match self.connection.socket.read_now(buffer) {
            Ok(0) => Stop::EndOfStream,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
            Err(error) => Stop::Lost(error),
            Ok(_) => {
                let taken_in = self.take_in(buffer);
                self.add_started();
                match taken_in {
                    Ok(()) => return true,
                    Err(stop) => stop,
                }
            }
        };
        self.finish(stop);
        false
    }

    /// Whether nothing more is to come but the end of the connection.
    pub(crate) fn has_all_input(&self) -> bool {
        self.decoder.is_between_records() && self.connection.with_requests(|requests| requests.has_all_input())
    }

    /// Reads the connection to its end.
    fn run(&mut self) {
        let stop = self.read_to_end();
        self.finish(stop);
    }

    fn read_to_end(&mut self) -> Stop {
        let mut buffer = Vec::with_capacity(self.buffer_len);
        loop {
            buffer.clear();
            match self.read(&mut buffer) {
                Ok(0) => return Stop::EndOfStream,
                Err(error) => return Stop::Lost(error),
                Ok(_) => {
                    if let Err(stop) = self.receive(&buffer) {
                        return stop;
                    }
                    self.resize(&mut buffer);
                }
            }
        }
    }

    /// A handler that waits is woken before this thread waits itself.
    fn read(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let socket = &self.connection.socket;
        if self.unseen.is_some() {
            match socket.read_now(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => wake_handler(&mut self.unseen),
                read => return read,
            }
        }
        socket.read(buffer)
    }

    fn finish(&self, stop: Stop) {
        let connection = &self.connection;
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

    /// A buffer that was filled was too small; a large one is given back once no body is under way.
    fn resize(&mut self, buffer: &mut Vec<u8>) {
        let is_small = buffer.capacity() < LARGE_BUFFER_LEN;
        if is_small && buffer.len() == buffer.capacity() {
            self.buffer_len = MEDIUM_BUFFER_LEN;
            *buffer = take_large_buffer();
        } else if !is_small && !self.connection.with_requests(|requests| requests.awaits_input()) {
            give_back(std::mem::replace(buffer, Vec::with_capacity(self.buffer_len)));
        }
    }

    fn receive(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let received = self.take_in(bytes);
        self.submit_started();
        received
    }

    fn take_in(&mut self, mut bytes: &[u8]) -> Result<(), Stop> {
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
        match self.n_drained > self.connection.server.settings.max_body.max(LEAST_DRAINED) {
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
                self.reply(&reply);
            }
            event => self.demultiplex(event, now)?,
        }
        Ok(())
    }

    fn demultiplex(&mut self, event: Event<'_>, now: Instant) -> Result<(), Stop> {
        let Reader { connection, exchanges, .. } = self;
        let new_exchange = |role| exchanges.next(connection.server.new_exchange(role, now));
        let action = connection.with_requests(|requests| requests.receive(event, now, new_exchange));
        match action.map_err(Stop::Violation)? {
            Action::Nothing => {}
            Action::Refuse(refused) => self.refuse(refused),
            Action::Start(started) => self.start(started),
            Action::Content { handle, stream, content } => self.push(handle, stream, content),
            Action::EndOfStream { handle, stream } => handle.input(stream).end(End::Complete),
            Action::Abort { ticket, handle } => self.abort(ticket, &handle),
        }
        Ok(())
    }

    fn push(&mut self, exchange: Arc<Exchange>, stream: Stream, content: &[u8]) {
        if self.unseen.as_ref().is_some_and(|(unseen, of)| !Arc::ptr_eq(unseen, &exchange) || *of != stream) {
            wake_handler(&mut self.unseen);
        }
        let pushed = exchange.input(stream).push(content, self.patience());
        self.unseen = (pushed == Pushed::Unseen).then_some((exchange, stream));
    }

    /// Workers are told when what was read is used up: the request then has its whole body, if that came with it. What
    /// one read brings fits the buffer of a body, or else a worker must be there to take it.
    fn start(&mut self, started: Started<Arc<Exchange>>) {
        if started.params.capacity() > KEPT_PARAMS_LEN {
            self.exchanges.forget(&started.handle);
        }
        self.started.push(started);
        if self.connection.server.settings.body_buffer < LARGE_BUFFER_LEN {
            self.submit_started();
        }
    }

    fn submit_started(&mut self) {
        if self.add_started() {
            self.connection.server.workers.wake();
        }
    }

    /// Adds what has started to the work of the workers; whether there was anything. They may not be awake.
    fn add_started(&mut self) -> bool {
        let mut started = std::mem::take(&mut self.started);
        let mut is_added = false;
        for started in started.drain(..) {
            match self.add(started) {
                None => is_added = true,
                Some(refused) => self.refuse(refused),
            }
        }
        // Its memory is used again.
        self.started = started;
        is_added
    }

    /// It is refused when there is no place for it.
    fn add(&self, started: Started<Arc<Exchange>>) -> Option<Refused> {
        let connection = &self.connection;
        let Started { ticket, role, params, handle: exchange } = started;
        let has_place = connection.server.workers.add(|| {
            connection.server.metrics.count(Counter::Submitted);
            connection.offer(&exchange, params);
            Work { connection: connection.clone(), ticket, role, exchange }
        });
        match has_place {
            true => None,
            false => connection.complete(ticket).map(|completed| completed.refused(Refusal::Overloaded)),
        }
    }

    /// The handler is told. A request that waits for a worker ends here.
    fn abort(&mut self, ticket: Ticket, exchange: &Exchange) {
        self.submit_started();
        let completed = self.connection.cancel(ticket, exchange, CancelReason::Aborted);
        completed.into_iter().for_each(|completed| self.refuse(completed.refused(Refusal::Aborted)));
    }

    fn refuse(&mut self, refused: Refused) {
        self.post(&self.connection.refusal(refused), Part::Last(refused.close));
    }

    fn values(&mut self, content: &[u8], last: bool) {
        self.values.add(content);
        if last {
            let mut reply = Vec::new();
            self.values.answer(&self.connection.server.capabilities, &mut reply);
            self.reply(&reply);
        }
    }

    /// Answers a management record. Requests that came before it are with the workers by then, so that a peer who waits
    /// for the answer knows in which order its connections are served.
    fn reply(&mut self, records: &[u8]) {
        self.submit_started();
        self.post(records, Part::Some);
    }

    /// Sends without waiting for anybody but a peer that does not read its replies. The clock ends that: when it
    /// reads nothing for `write_timeout`, the connection is closed.
    fn post(&mut self, bytes: &[u8], part: Part) {
        wake_handler(&mut self.unseen);
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

fn wake_handler(unseen: &mut Option<(Arc<Exchange>, Stream)>) {
    if let Some((exchange, stream)) = unseen.take() {
        exchange.input(stream).wake_handler();
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
