//! A server that runs: how to stop it, and what it reports.

use std::fmt;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::journal::note;
use crate::metrics::Metrics;
use crate::net::Address;
use crate::request::Cancel;
use crate::runtime::{cancel, State};

/// How long a connection must be silent before a shutdown closes it. The web server does not know of the shutdown and
/// may have sent a request, or may have connected in order to send one. Both it and the network may be slow.
const SILENT_TIME: Duration = Duration::from_secs(1);

/// How long cancelled handlers have to return before they are left behind.
const CANCELLED_TIME: Duration = Duration::from_secs(1);

/// How long a web server has to close its side of a connection that is over. A reset while it still sends could cost
/// it the answer.
const LINGER_TIME: Duration = Duration::from_secs(1);

/// How long the program's logger has for the last lines.
pub(super) const LOG_TIME: Duration = Duration::from_secs(1);

/// How often a shutdown looks whether it is complete.
const DRAIN_TICK: Duration = Duration::from_millis(10);

/// A server on its own threads: see [`Server::spawn`](crate::Server::spawn).
///
/// Dropping it leaves the server running; [`join`](Self::join) waits for its end.
#[derive(Debug)]
pub struct Running {
    shutdown: Shutdown,
    address: Address,
    accepting: JoinHandle<()>,
    ticking: JoinHandle<()>,
}

/// Begins the shutdown of a server, from any thread.
#[derive(Clone)]
pub struct Shutdown {
    state: Arc<State>,
    wake: Arc<UnixStream>,
}

/// How a server ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Requests that were completed, since the start.
    pub completed: u64,
    /// Requests that were still active at the end of the grace period, and were cancelled.
    pub cut_off: u64,
}

impl Running {
    pub(crate) fn new(
        shutdown: Shutdown,
        address: Address,
        accepting: JoinHandle<()>,
        ticking: JoinHandle<()>,
    ) -> Running {
        Running { shutdown, address, accepting, ticking }
    }

    /// A handle that begins the shutdown.
    pub fn shutdown(&self) -> Shutdown {
        self.shutdown.clone()
    }

    /// The counters of the server.
    pub fn metrics(&self) -> Metrics {
        self.shutdown.state.context.metrics.clone()
    }

    /// Where the server listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Waits until a shutdown has begun and come to its end. Connections that the kernel has accepted are taken, then
    /// the socket is closed. Active requests are finished, and cancelled after
    /// [`shutdown_grace`](crate::Server::shutdown_grace). A connection is closed behind the answer that ends its last
    /// request, or when it has been silent for a second: a request may be on its way when the shutdown begins.
    ///
    /// # Errors
    /// A thread of the server panicked, which no request can bring about.
    pub fn join(self) -> Result<Report> {
        let panicked = |_| Error::new("a thread of the server panicked");
        self.accepting.join().map_err(panicked)?;
        let state = &self.shutdown.state;
        let cut_off = drain(state);
        state.stop(Instant::now() + CANCELLED_TIME);
        self.ticking.join().map_err(panicked)?;
        let completed = state.context.metrics.snapshot().completed_requests;
        note!(state.context.journal, Info, "stopped: {completed} requests completed, {cut_off} cut off");
        state.context.journal.end(LOG_TIME);
        Ok(Report { completed, cut_off })
    }
}

/// Lets active requests finish within the grace period; how many did not.
fn drain(state: &State) -> u64 {
    let connections = &state.connections;
    let mut n_cut_off = 0;
    let grace = state.context.draining_since().checked_add(state.context.settings.shutdown_grace);
    if !wait_until_answered(state, grace) {
        let open = connections.all();
        open.iter().for_each(|connection| state.carry_on(connection.close_when_idle()));
        n_cut_off = open.iter().map(|connection| cancel(state, connection, Cancel::Shutdown, |_| true)).sum();
        drop(open);
        // Handlers that look at their cancellation return; others are left behind.
        wait_until_answered(state, Instant::now().checked_add(CANCELLED_TIME));
    }
    if !connections.wait_until_empty(Instant::now() + LINGER_TIME) {
        // An answer that is under way has no end; one that was sent may still be on its way.
        let (cut, sent): (Vec<_>, Vec<_>) = connections.all().into_iter().partition(|one| one.has_requests());
        cut.iter().for_each(|connection| connection.break_off());
        sent.iter().for_each(|connection| connection.shut());
    }
    n_cut_off
}

/// Waits until every answer has been sent and every connection shut down behind it; whether that was before `deadline`,
/// which never comes if it is too far away for a clock.
fn wait_until_answered(state: &State, deadline: Option<Instant>) -> bool {
    let begun = Instant::now();
    loop {
        let (now, connections) = (Instant::now(), state.connections.all());
        if now >= begun + SILENT_TIME {
            let close = |connection| state.carry_on(Connection::close_if_silent_since(connection, now - SILENT_TIME));
            connections.iter().for_each(close);
        }
        if connections.iter().all(|connection| connection.is_closed()) {
            return true;
        }
        drop(connections);
        if deadline.is_some_and(|deadline| now >= deadline) {
            return false;
        }
        let tick = now + DRAIN_TICK;
        state.connections.wait_until_empty(deadline.map_or(tick, |deadline| deadline.min(tick)));
    }
}

impl Shutdown {
    /// `wake` ends the accept loop.
    pub(crate) fn new(state: Arc<State>, wake: Arc<UnixStream>) -> Shutdown {
        Shutdown { state, wake }
    }

    /// Begins the shutdown: no connection is accepted any more, active requests are finished. Calling it again
    /// changes nothing.
    pub fn signal(&self) {
        let is_first = self.state.context.start_draining();
        #[cfg(feature = "systemd")]
        if is_first {
            crate::net::notify_stopping();
        }
        #[cfg(not(feature = "systemd"))]
        let _ = is_first;
        // The accept loop ends when it can read from the other end; a full pipe has woken it before.
        let _: std::io::Result<()> = (&*self.wake).write_all(b"!");
    }
}

impl fmt::Debug for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shutdown").field("begun", &self.state.context.is_draining()).finish_non_exhaustive()
    }
}
