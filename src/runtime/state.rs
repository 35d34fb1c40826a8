//! The threads of one server, and what they share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use super::flush;
use super::jobs::{ConnectionJob, Work};
use super::pool::{Pool, PoolLimits};
use crate::connection::{Connection, Context, Registry, Unsent};
use crate::handler::Handlers;
use crate::journal::note;
use crate::metrics::{Gauges, Metrics, Snapshot};
use crate::protocol::{Completed, RequestKey};
use crate::request::{Cancel, RequestState};
use crate::settings::Settings;

/// Handlers are the users' code: they get what the main thread of a program usually has.
const WORKER_STACK_LEN: usize = 2 << 20;

/// Readers run this crate's code and the program's logger.
const READER_STACK_LEN: usize = 256 << 10;

/// How many connections beyond `max_connections` are accepted to be told that there are too many.
const REFUSED_CONNECTIONS: usize = 32;

pub(crate) struct State {
    pub(crate) context: Arc<Context>,
    pub(crate) connections: Arc<Registry<Connection>>,
    pub(crate) workers: Pool<Work>,
    pub(super) readers: Pool<ConnectionJob>,
    stopped: AtomicBool,
}

impl State {
    /// The state of a server that begins, with its metrics looking at it.
    pub(crate) fn start(settings: Settings, handlers: Handlers, metrics: Metrics) -> Arc<State> {
        let connections = settings.max_connections.saturating_add(REFUSED_CONNECTIONS);
        let workers = PoolLimits { threads: settings.workers, stack_len: WORKER_STACK_LEN };
        // A connection has one reader, and now and then a thread that waits for its peer.
        let readers = PoolLimits { threads: connections.saturating_mul(2), stack_len: READER_STACK_LEN };
        let context = Arc::new(Context::new(settings, handlers, metrics));
        context.journal.begin();
        let state = Arc::new(State {
            connections: Arc::default(),
            workers: Pool::new("fcgi-worker", workers, context.journal.clone()),
            readers: Pool::new("fcgi-reader", readers, context.journal.clone()),
            context,
            stopped: AtomicBool::new(false),
        });
        let watched: Weak<State> = Arc::downgrade(&state);
        state.context.metrics.watch(watched);
        state
    }

    /// What to do with one more connection.
    pub(crate) fn admission(&self) -> Admission {
        let max_connections = self.context.settings.max_connections;
        match self.connections.len() {
            n if n < max_connections => Admission::Serve,
            n if n < max_connections.saturating_add(REFUSED_CONNECTIONS) => Admission::Refuse,
            _ => Admission::Wait,
        }
    }

    /// Has a thread that may wait send what is unsent.
    pub(crate) fn carry_on(&self, unsent: Option<Unsent>) {
        if let Some(unsent) = unsent {
            self.readers.submit(flush::flush(unsent));
        }
    }

    /// Cancels a request. One that still waits for a worker is over with it, and comes back: nobody else will end it. A
    /// peer that has only closed its sending side still gets its responses.
    pub(crate) fn cancel(
        &self,
        connection: &Connection,
        key: RequestKey,
        request: &RequestState,
        cancel: Cancel,
    ) -> Option<Completed> {
        connection.cancel(key, request, cancel);
        match cancel {
            Cancel::HalfClosed => None,
            _ => self.give_up(connection, key, request),
        }
    }

    /// Takes a request out of the map if it waits for a worker, and out of the workers' way.
    pub(crate) fn give_up(
        &self,
        connection: &Connection,
        key: RequestKey,
        request: &RequestState,
    ) -> Option<Completed> {
        let completed = connection.give_up(key, request)?;
        self.workers.note_unwanted();
        Some(completed)
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Lets the threads end: the timer, and those of the pools once they have no job. Those that have none by
    /// `deadline` are left behind.
    pub(crate) fn stop(&self, deadline: Instant) {
        self.stopped.store(true, Ordering::Release);
        self.connections.wake();
        self.workers.stop();
        self.readers.stop();
        let ended = self.workers.wait_until_ended(deadline) && self.readers.wait_until_ended(deadline);
        if !ended {
            note!(self.context.journal, Warn, "a handler does not return; its thread is left behind");
        }
    }

    /// Whether a thread of a pool exists, be it an idle one.
    pub(crate) fn has_threads(&self) -> bool {
        self.workers.n_threads() + self.readers.n_threads() > 0
    }

    /// Lets the threads go that nobody needed for a while.
    pub(crate) fn trim_threads(&self) {
        self.workers.trim();
        self.readers.trim();
    }
}

impl Gauges for State {
    fn fill(&self, snapshot: &mut Snapshot) {
        let now = Instant::now();
        snapshot.uptime = now.saturating_duration_since(self.context.started());
        snapshot.idle_workers = (self.workers.n_threads() as u64).saturating_sub(snapshot.busy_workers);
        let running = self.connections.all().into_iter().flat_map(|connection| {
            let number = connection.number();
            connection.active().into_iter().map(move |(_, request)| (number, request))
        });
        let longest = running.filter(|(_, request)| request.is_running()).max_by_key(|(_, one)| one.age(now));
        snapshot.longest_request = longest.map(|(connection, request)| request.describe(connection, now));
    }
}

/// What to do with a connection that could be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Serve,
    /// Take it and answer its requests with 503.
    Refuse,
    /// Leave it to the kernel's backlog.
    Wait,
}
