//! What all threads of one server share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use log::warn;
use parking_lot::{Condvar, Mutex};

use crate::connection::Connection;
use crate::handler::Handlers;
use crate::metrics::{Gauges, Metrics, Snapshot};
use crate::protocol::{Capabilities, Limits, Role};
use crate::request::exchange::Exchange;
use crate::request::pipe::PipeLimits;
use crate::runtime::pool::{Pool, PoolLimits};
use crate::runtime::reader::ConnectionJob;
use crate::runtime::unsent::Unsent;
use crate::runtime::worker::Work;
use crate::settings::Settings;

/// Handlers are the users' code: they get what the main thread of a program usually has.
const WORKER_STACK_LEN: usize = 2 << 20;

/// Readers run this crate's code and the program's logger.
const READER_STACK_LEN: usize = 256 << 10;

/// How many connections beyond `max_connections` are accepted to be told that there are too many.
const REFUSED_CONNECTIONS: usize = 32;

/// The state of a server while it runs.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) handlers: Handlers,
    pub(crate) metrics: Metrics,
    pub(crate) limits: Limits,
    pub(crate) capabilities: Capabilities,
    pub(crate) workers: Pool<Work>,
    pub(crate) readers: Pool<ConnectionJob>,
    pub(crate) unsent: Arc<Unsent>,
    pub(crate) connections: Registry,
    started: Instant,
    draining: AtomicBool,
    stopped: AtomicBool,
}

impl Shared {
    /// The state of a server that begins, with its metrics looking at it.
    pub(crate) fn start(settings: Settings, handlers: Handlers, metrics: Metrics) -> Arc<Shared> {
        let shared = Arc::new(Shared::new(settings, handlers, metrics));
        let watched: Weak<Shared> = Arc::downgrade(&shared);
        shared.metrics.watch(watched);
        shared
    }

    fn new(settings: Settings, handlers: Handlers, metrics: Metrics) -> Shared {
        let connections = settings.max_connections.saturating_add(REFUSED_CONNECTIONS);
        let workers = PoolLimits { threads: settings.workers, waiting: settings.queue, stack_len: WORKER_STACK_LEN };
        // A connection has one reader, and now and then a thread that flushes to a slow peer.
        let readers = PoolLimits { threads: connections.saturating_mul(2), waiting: 0, stack_len: READER_STACK_LEN };
        let unsent = Arc::new(Unsent::default());
        Shared {
            limits: settings.demux_limits(handlers.roles()),
            capabilities: settings.capabilities(),
            workers: Pool::new("fcgi-worker", workers, {
                let unsent = unsent.clone();
                move || unsent.send()
            }),
            readers: Pool::new("fcgi-reader", readers, || {}),
            unsent,
            connections: Registry::default(),
            started: Instant::now(),
            draining: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            settings,
            handlers,
            metrics,
        }
    }

    pub(crate) fn new_exchange(&self, role: Role, begun: Instant) -> Exchange {
        let limits = PipeLimits { buffer: self.settings.body_buffer, max_len: self.settings.max_body };
        Exchange::new(role, limits, self.settings.max_stderr, self.metrics.clone(), begun)
    }

    /// What to do with one more connection.
    pub(crate) fn admission(&self) -> Admission {
        match self.connections.len() {
            n if n < self.settings.max_connections => Admission::Serve,
            n if n < self.settings.max_connections.saturating_add(REFUSED_CONNECTIONS) => Admission::Refuse,
            _ => Admission::Wait,
        }
    }

    /// Milliseconds since the start, never 0: a time that fits an atomic.
    pub(crate) fn millis(&self, now: Instant) -> u64 {
        1 + now.saturating_duration_since(self.started).as_millis() as u64
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Lets the threads end: the clock, and those of the pools once they have no job. Those that have none by
    /// `deadline` are left behind.
    pub(crate) fn stop(&self, deadline: Instant) {
        self.stopped.store(true, Ordering::Release);
        self.connections.wake();
        self.workers.stop();
        self.readers.stop();
        let ended = self.workers.wait_until_ended(deadline) && self.readers.wait_until_ended(deadline);
        if !ended {
            warn!("a handler does not return; its thread is left behind");
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

    pub(crate) fn start_draining(&self) {
        self.draining.store(true, Ordering::Release);
    }
}

impl Gauges for Shared {
    fn fill(&self, snapshot: &mut Snapshot) {
        let now = Instant::now();
        snapshot.uptime = now.saturating_duration_since(self.started);
        snapshot.idle_workers = (self.workers.n_threads() as u64).saturating_sub(snapshot.busy_workers);
        let running = self.connections.all().into_iter().flat_map(|connection| {
            let number = connection.number();
            connection.active().into_iter().map(move |(_, exchange)| (number, exchange))
        });
        let longest = running.filter(|(_, exchange)| exchange.is_running()).max_by_key(|(_, one)| one.age(now));
        snapshot.longest_request = longest.map(|(connection, exchange)| exchange.describe(connection, now));
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

/// The connections that exist: each is in it from its making until its last user lets go of it.
#[derive(Default)]
pub(crate) struct Registry {
    connections: Mutex<HashMap<u64, Weak<Connection>>>,
    next_number: AtomicU64,
    /// There was none, and there is one now.
    appeared: Condvar,
    /// There is none any more.
    emptied: Condvar,
    /// The clock is to look up at once.
    ticked: Condvar,
}

impl Registry {
    pub(crate) fn next_number(&self) -> u64 {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn add(&self, number: u64, connection: &Arc<Connection>) {
        self.connections.lock().insert(number, Arc::downgrade(connection));
        self.appeared.notify_all();
    }

    pub(crate) fn remove(&self, number: u64) {
        let is_empty = {
            let mut connections = self.connections.lock();
            connections.remove(&number);
            connections.is_empty()
        };
        if is_empty {
            self.emptied.notify_all();
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.connections.lock().len()
    }

    /// All connections, to be looked at without the lock.
    pub(crate) fn all(&self) -> Vec<Arc<Connection>> {
        self.connections.lock().values().filter_map(Weak::upgrade).collect()
    }

    /// Waits until there is no connection, and at most until `deadline`; whether there is none.
    pub(crate) fn wait_until_empty(&self, deadline: Instant) -> bool {
        let mut connections = self.connections.lock();
        while !connections.is_empty() {
            if self.emptied.wait_until(&mut connections, deadline).timed_out() {
                return connections.is_empty();
            }
        }
        true
    }

    /// Waits as long as there is no connection, and until it `is_over`.
    pub(crate) fn wait_for_one(&self, is_over: impl Fn() -> bool) {
        let mut connections = self.connections.lock();
        while connections.is_empty() && !is_over() {
            self.appeared.wait(&mut connections);
        }
    }

    /// Waits for `time`, and until it `is_over`.
    pub(crate) fn wait_for_tick(&self, time: Duration, is_over: impl Fn() -> bool) {
        let mut connections = self.connections.lock();
        let deadline = Instant::now() + time;
        while !is_over() && !self.ticked.wait_until(&mut connections, deadline).timed_out() {}
    }

    /// Wakes who waits for a tick.
    pub(crate) fn wake(&self) {
        drop(self.connections.lock());
        self.appeared.notify_all();
        self.ticked.notify_all();
    }
}
