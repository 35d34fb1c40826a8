//! A server that runs: how to stop it, and what it reports.

use std::fmt;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use log::info;

use crate::error::{Error, Result};
use crate::metrics::Metrics;
use crate::net::listener::Address;
use crate::request::signal::CancelReason;
use crate::runtime::clock::cancel;
use crate::runtime::state::Shared;

/// How long a connection must be silent before a shutdown closes it. The web server does not know of the shutdown and
/// may have sent a request, or may have connected in order to send one. Both it and the network may be slow.
const SILENT_TIME: Duration = Duration::from_secs(1);

/// How long cancelled handlers have to return before they are left behind.
const CANCELLED_TIME: Duration = Duration::from_secs(1);

/// How long a web server has to close its side of a connection that is over. A reset while it still sends could cost
/// it the answer.
const LINGER_TIME: Duration = Duration::from_secs(1);

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
    server: Arc<Shared>,
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
        self.shutdown.server.metrics.clone()
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
        let server = &self.shutdown.server;
        let cut_off = drain(server);
        server.stop(Instant::now() + CANCELLED_TIME);
        self.ticking.join().map_err(panicked)?;
        let completed = server.metrics.snapshot().completed_requests;
        info!("stopped: {completed} requests completed, {cut_off} cut off");
        Ok(Report { completed, cut_off })
    }
}

/// Lets active requests finish within the grace period; how many did not.
fn drain(server: &Arc<Shared>) -> u64 {
    let mut n_cut_off = 0;
    if !wait_until_answered(server, server.settings.shutdown_grace) {
        let connections = server.connections.all();
        connections.iter().for_each(|connection| connection.close_when_idle());
        n_cut_off = connections.iter().map(|connection| cancel(connection, CancelReason::Shutdown, |_| true)).sum();
        drop(connections);
        // Handlers that look at their cancellation return; others are left behind.
        wait_until_answered(server, CANCELLED_TIME);
    }
    if !server.connections.wait_until_empty(Instant::now() + LINGER_TIME) {
        server.connections.all().iter().for_each(|connection| connection.shut());
    }
    n_cut_off
}

/// Waits until every answer has been sent and every connection shut down behind it; whether that was within `time`.
fn wait_until_answered(server: &Shared, time: Duration) -> bool {
    let begun = Instant::now();
    let deadline = begun + time;
    loop {
        let (now, connections) = (Instant::now(), server.connections.all());
        if now >= begun + SILENT_TIME {
            connections.iter().for_each(|connection| connection.close_if_silent_since(now - SILENT_TIME));
        }
        if connections.iter().all(|connection| connection.outbox.is_closed()) {
            return true;
        }
        drop(connections);
        if now >= deadline {
            return false;
        }
        server.connections.wait_until_empty(deadline.min(now + DRAIN_TICK));
    }
}

impl Shutdown {
    /// `wake` ends the accept loop.
    pub(crate) fn new(server: Arc<Shared>, wake: UnixStream) -> Shutdown {
        Shutdown { server, wake: Arc::new(wake) }
    }

    /// Begins the shutdown: no connection is accepted any more, active requests are finished. Calling it again
    /// changes nothing.
    pub fn signal(&self) {
        #[cfg(feature = "systemd")]
        if !self.server.is_draining() {
            crate::net::systemd::notify_stopping();
        }
        self.server.start_draining();
        // The accept loop ends when it can read from the other end; a full pipe has woken it before.
        let _: std::io::Result<()> = (&*self.wake).write_all(b"!");
    }
}

impl fmt::Debug for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shutdown").field("begun", &self.server.is_draining()).finish_non_exhaustive()
    }
}
