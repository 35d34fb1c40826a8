//! Counters of a server, cheap to keep and cheap to read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

/// The counters of one server: see [`Server::metrics`](crate::Server::metrics). Clones show the same server.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    counters: Arc<Counters>,
}

/// What the counters showed at one moment. Each is exact; together they may be some nanoseconds apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Requests whose handler runs or waits to run.
    pub active_requests: u64,
    /// Connections from web servers, idle ones among them.
    pub open_connections: u64,
    /// Requests that ended after a worker had them, since the start.
    pub completed_requests: u64,
    /// Requests that were aborted, lost, overdue or cut off by a shutdown while active, since the start.
    pub cancelled_requests: u64,
    /// Requests that this crate answered itself because of a limit or because they were malformed, since the start.
    pub rejected_requests: u64,
}

#[derive(Debug, Default)]
struct Counters {
    active_requests: AtomicU64,
    open_connections: AtomicU64,
    completed_requests: AtomicU64,
    cancelled_requests: AtomicU64,
    rejected_requests: AtomicU64,
}

impl Metrics {
    /// Reads all counters.
    pub fn snapshot(&self) -> Snapshot {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &*self.counters;
        Snapshot {
            active_requests: read(&counters.active_requests),
            open_connections: read(&counters.open_connections),
            completed_requests: read(&counters.completed_requests),
            cancelled_requests: read(&counters.cancelled_requests),
            rejected_requests: read(&counters.rejected_requests),
        }
    }

    pub(crate) fn connection_opened(&self) {
        self.counters.open_connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn connection_closed(&self) {
        self.counters.open_connections.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn request_started(&self) {
        self.counters.active_requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn request_ended(&self) {
        self.counters.active_requests.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn request_completed(&self) {
        self.counters.completed_requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn request_cancelled(&self) {
        self.counters.cancelled_requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn request_rejected(&self) {
        self.counters.rejected_requests.fetch_add(1, Ordering::Relaxed);
    }
}
