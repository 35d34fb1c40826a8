//! The reader of a connection: it reads, always, and turns what comes into work, input and signals for others.
//!
//! The life of a request begins here, and goes on in `worker.rs`:
//!
//! ```text
//!   BEGIN_REQUEST   an entry in the connection's map                                  demultiplex
//!   PARAMS          collect in the entry; at their end they go to a worker, in Work    start, hand_over
//!   STDIN, DATA     go into the pipes of the request                                   push
//!   ABORT_REQUEST   its worker is told; without one it is over now                     abort
//!   end, error      so is every request of the connection                              finish
//! ```
//!
//! A reader waits for its socket, and for nobody else; a body that its handler does not read it writes to a file. What it
//! has to say itself it posts; what cannot be sent
//! at once is carried on with by another thread. When the peer does not read what it is sent, reading pauses
//! ([`Pause::Congested`]), and whoever runs the reader waits.

use std::fmt;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Instant;

use super::jobs::Work;
use super::state::State;
use crate::connection::Connection;
use crate::journal::note;
use crate::metrics::Counter;
use crate::protocol::{
    put_unknown_type, Action, Decoder, Demux, Event, ProtocolError, Refusal, Refused, RequestKey, Started, Stream,
    ValuesQuery,
};
use crate::request::{give_back, take_large_buffer, Cancel, End, Pushed, RequestState, LARGE_BUFFER_LEN};

/// The buffer of a connection while little comes: a request of usual size fits, and an idle connection holds no more than
/// this. (Row `idle`.)
const SMALL_BUFFER_LEN: usize = 2 << 10;

/// How much is drained in any case behind the last answer. A body that was refused is larger than `max_body` by its
/// nature, and a reset while it is still coming could cost the web server the answer.
const LEAST_DRAINED: u64 = 64 << 20;

/// What whoever reads a connection alone has of it.
pub(crate) struct Reader {
    state: Arc<State>,
    connection: Arc<Connection>,
    decoder: Decoder,
    values: ValuesQuery,
    n_drained: u64,
    /// Requests whose PARAMS are complete and that no worker was told of.
    started: Vec<Started<Arc<RequestState>>>,
    /// An input whose handler waits for content and was not told of some.
    unseen: Option<(Arc<RequestState>, Stream)>,
}

/// Why a reader does not read.
#[must_use = "a reader that pauses must be run again"]
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    /// The peer does not read what it is sent.
    Congested,
    /// The connection has ended.
    Over,
}

impl Reader {
    pub(crate) fn new(state: &Arc<State>, connection: Arc<Connection>) -> Box<Reader> {
        Box::new(Reader {
            state: state.clone(),
            connection,
            decoder: Decoder::new(),
            values: ValuesQuery::default(),
            n_drained: 0,
            started: Vec::new(),
            unseen: None,
        })
    }

    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Reads until the connection ends, or the peer must read first.
    pub(crate) fn read(&mut self) -> Pause {
        match self.read_until_stop() {
            Stop::Congested => Pause::Congested,
            stop => {
                self.finish(&stop);
                Pause::Over
            }
        }
    }

    /// Takes in what has come, without waiting for more or for anybody; whether the connection goes on. For the requests
    /// that have started the workers must be woken: see [`Pool::add`](super::pool::Pool::add).
    pub(crate) fn read_now(&mut self, buffer: &mut Vec<u8>) -> bool {
        buffer.clear();
        let stop = match self.connection.socket().read_now(buffer) {
            Ok(0) => Stop::EndOfStream,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
            Err(error) => Stop::Lost(error),
            Ok(_) => {
                let taken_in = self.take_in(buffer);
                self.hand_over_started();
                match taken_in {
                    Ok(()) => return true,
                    Err(stop) => stop,
                }
            }
        };
        self.finish(&stop);
        false
    }

    /// Whether nothing more is to come but the end of the connection.
    pub(crate) fn has_all_input(&self) -> bool {
        self.decoder.is_between_records() && self.connection.with_requests(|requests| requests.has_all_input())
    }

    fn read_until_stop(&mut self) -> Stop {
        let mut buffer = Vec::with_capacity(SMALL_BUFFER_LEN);
        loop {
            buffer.clear();
            match self.read_some(&mut buffer) {
                Ok(0) => return Stop::EndOfStream,
                Err(error) => return Stop::Lost(error),
                Ok(_) => {}
            }
            let received = self.take_in(&buffer);
            self.submit_started();
            if let Err(stop) = received {
                return stop;
            }
            if self.connection.is_congested() {
                wake_handler(&mut self.unseen);
                return Stop::Congested;
            }
            self.resize(&mut buffer);
        }
    }

    /// A handler that waits is woken before this thread waits itself.
    fn read_some(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let socket = self.connection.socket();
        if self.unseen.is_some() {
            match socket.read_now(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => wake_handler(&mut self.unseen),
                read => return read,
            }
        }
        socket.read(buffer)
    }

    /// A buffer that was filled was too small; a large one is given back once no body is under way.
    fn resize(&mut self, buffer: &mut Vec<u8>) {
        let is_small = buffer.capacity() < LARGE_BUFFER_LEN;
        if is_small && buffer.len() == buffer.capacity() {
            *buffer = take_large_buffer();
        } else if !is_small && !self.connection.with_requests(|requests| requests.awaits_input()) {
            give_back(std::mem::replace(buffer, Vec::with_capacity(SMALL_BUFFER_LEN)));
        }
    }

    fn take_in(&mut self, mut bytes: &[u8]) -> Result<(), Stop> {
        let now = Instant::now();
        self.connection.touch(now);
        self.connection.context.metrics.add(Counter::BytesIn, bytes.len() as u64);
        self.count_drained(bytes.len())?;
        while let Some(event) = self.decoder.next(&mut bytes).map_err(Stop::Violation)? {
            note!(
                self.connection.context.journal,
                Trace,
                "connection {}: {}",
                self.connection.number(),
                event.describe()
            );
            self.act(event, now)?;
        }
        let cut_record = if self.decoder.is_between_records() { 0 } else { self.connection.context.millis(now) };
        self.connection.times.cut_record.store(cut_record, Ordering::Relaxed);
        Ok(())
    }

    /// A peer may finish sending what it is in the middle of, but not more than a body could be.
    fn count_drained(&mut self, len: usize) -> Result<(), Stop> {
        if self.connection.times.draining.load(Ordering::Relaxed) != 0 {
            self.n_drained += len as u64;
        }
        match self.n_drained > self.connection.context.settings.max_body.max(LEAST_DRAINED) {
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
        match self.connection.receive(event, now).map_err(Stop::Violation)? {
            Action::Nothing => {}
            Action::Refuse(refused) => self.refuse(refused),
            Action::Start(started) => self.start(started),
            Action::Content { handle, stream, content } => self.push(handle, stream, content),
            Action::EndOfStream { handle, stream } => handle.input(stream).end(End::Complete),
            Action::Abort { key, handle } => self.abort(key, &handle),
        }
        Ok(())
    }

    /// Workers are told when what was read is used up: the request then has its whole body, if that came with it.
    fn start(&mut self, started: Started<Arc<RequestState>>) {
        self.started.push(started);
    }

    fn submit_started(&mut self) {
        if self.hand_over_started() {
            self.state.workers.wake();
        }
    }

    /// Gives the requests that have started to the workers; whether there were any. The workers may not be awake.
    fn hand_over_started(&mut self) -> bool {
        let mut started = std::mem::take(&mut self.started);
        let has_started = !started.is_empty();
        started.drain(..).for_each(|started| self.hand_over(started));
        // Its memory is used again.
        self.started = started;
        has_started
    }

    /// The PARAMS go to a worker. Without a permit to wait for one the request is refused.
    fn hand_over(&mut self, started: Started<Arc<RequestState>>) {
        let Started { key, role, params, handle: request } = started;
        let context = &self.connection.context;
        let Some(permit) = context.permits.acquire() else {
            let completed = self.connection.complete(key);
            return completed.into_iter().for_each(|completed| self.refuse(completed.refused(Refusal::Overloaded)));
        };
        context.metrics.count(Counter::Submitted);
        permit.leave_to_claimant(&request);
        let (connection, flushers) = (self.connection.clone(), self.state.readers.clone());
        self.state.workers.add(Work { connection, key, role, params, request, flushers });
    }

    fn push(&mut self, request: Arc<RequestState>, stream: Stream, content: &[u8]) {
        if self.unseen.as_ref().is_some_and(|(unseen, of)| !Arc::ptr_eq(unseen, &request) || *of != stream) {
            wake_handler(&mut self.unseen);
        }
        let pushed = request.input(stream).push(content);
        self.unseen = (pushed == Pushed::Unseen).then_some((request, stream));
    }

    /// The handler is told. A request that waits for a worker ends here.
    fn abort(&mut self, key: RequestKey, request: &RequestState) {
        self.submit_started();
        let completed = self.state.cancel(&self.connection, key, request, Cancel::Aborted);
        completed.into_iter().for_each(|completed| self.refuse(completed.refused(Refusal::Aborted)));
    }

    fn refuse(&self, refused: Refused) {
        self.state.carry_on(self.connection.refuse(refused));
    }

    fn values(&mut self, content: &[u8], last: bool) {
        self.values.add(content);
        if last {
            let mut reply = Vec::new();
            self.values.answer(&self.connection.context.capabilities, &mut reply);
            self.reply(&reply);
        }
    }

    /// Answers a management record. Requests that came before it are with the workers by then, so that a peer who waits
    /// for the answer knows in which order its connections are served.
    fn reply(&mut self, records: &[u8]) {
        self.submit_started();
        self.state.carry_on(self.connection.post(records, None));
    }

    /// The connection has ended: its requests are cancelled. A peer that closed its sending side only still gets its
    /// responses. Over a Unix socket the system says whether it closed both sides.
    fn finish(&mut self, stop: &Stop) {
        let connection = self.connection.clone();
        match stop {
            Stop::Violation(_) => {
                note!(self.connection.context.journal, Warn, "connection {}: {stop}; closed", connection.number())
            }
            stop => note!(self.connection.context.journal, Debug, "connection {}: {stop}", connection.number()),
        }
        wake_handler(&mut self.unseen);
        connection.with_requests(Demux::disconnect);
        let active = connection.active();
        let is_end = matches!(stop, Stop::EndOfStream);
        // This end is of our own making, and a reset follows.
        let is_broken_off = is_end && connection.is_closed();
        let is_lost = !is_end || !active.is_empty() && (is_broken_off || connection.socket().is_hung_up());
        for (key, request) in active {
            self.disconnect(key, &request, is_lost);
        }
        if is_lost && !is_broken_off {
            connection.shut();
        }
    }

    /// A request whose peer has gone: its handler is told. If it waits for a worker it gives its permit to others.
    fn disconnect(&self, key: RequestKey, request: &RequestState, is_lost: bool) {
        let cancel = if is_lost { Cancel::Lost } else { Cancel::HalfClosed };
        let may_wait = self.connection.context.permits.take_back(request);
        let completed = self.state.cancel(&self.connection, key, request, cancel);
        completed.into_iter().for_each(|completed| self.refuse(completed.refused(Refusal::Aborted)));
        if !may_wait {
            let completed = self.state.give_up(&self.connection, key, request);
            completed.into_iter().for_each(|completed| self.refuse(completed.refused(Refusal::Overloaded)));
        }
    }
}

fn wake_handler(unseen: &mut Option<(Arc<RequestState>, Stream)>) {
    if let Some((request, stream)) = unseen.take() {
        request.input(stream).wake_handler();
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
    /// The peer does not read what it is sent: it has to, before more is read from it.
    Congested,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stop::EndOfStream => f.write_str("the web server sends no more"),
            Stop::Lost(error) => write!(f, "lost: {error}"),
            Stop::Violation(error) => write!(f, "the web server broke the protocol: {error}"),
            Stop::Flood => f.write_str("the web server does not stop sending what nobody wants"),
            Stop::Congested => f.write_str("the web server does not read what it is sent"),
        }
    }
}
