//! Counters of a server, cheap to keep and cheap to read.
//!
//! Nothing is ever taken away: what is there now is the difference of two counters.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use crate::protocol::Refusal;

/// The counters of one server: see [`Server::metrics`](crate::Server::metrics). Clones show the same server.
///
/// Counting goes on whether or not anybody looks, and costs a request some nanoseconds.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    counters: Arc<Counters>,
}

/// What a server showed at one moment. Each number is exact; together they may be some microseconds apart.
///
/// What counts since the start never falls, which suits monitoring that takes differences. A request that is cancelled
/// while its handler runs is counted as completed, too, once the handler has returned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// How long the server has been running; zero before it is and after its end.
    pub uptime: Duration,
    /// Connections from web servers that are open, idle ones among them.
    pub open_connections: u64,
    /// Connections that were accepted, since the start.
    pub accepted_connections: u64,
    /// Connections that were closed at once because their peer [may not connect](crate::Server::allow_address), since
    /// the start.
    pub refused_connections: u64,
    /// Requests whose handler runs or waits to run, now.
    pub active_requests: u64,
    /// Those among them that wait for a worker.
    pub queued_requests: u64,
    /// Requests that ended after a worker had them, since the start.
    pub completed_requests: u64,
    /// Those among them whose handler failed: it returned an error, panicked, or gave an answer that cannot be sent.
    /// Each has a warning in the log.
    pub failed_requests: u64,
    /// Requests that were aborted, lost, overdue or cut off by a shutdown while active, since the start.
    pub cancelled_requests: u64,
    /// The same by reason.
    pub cancelled: CancelledRequests,
    /// Requests that this crate answered itself because of a limit or because they were malformed, since the start.
    pub rejected_requests: u64,
    /// The same by reason.
    pub rejected: RejectedRequests,
    /// Bytes that were read from web servers, since the start: records, not bodies alone.
    pub bytes_in: u64,
    /// Bytes that were written to web servers, since the start: records, not bodies alone.
    pub bytes_out: u64,
    /// Workers that have a request, now.
    pub busy_workers: u64,
    /// Workers that wait for one, now. Threads are started on demand: the two together are no more than
    /// [`workers`](crate::Server::workers).
    pub idle_workers: u64,
    /// The request that has been running for the longest time; `None` when none is.
    pub longest_request: Option<RunningRequest>,
}

/// How many requests were cancelled, by [`CancelReason`](crate::CancelReason). A request is cancelled once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CancelledRequests {
    /// By FCGI_ABORT_REQUEST.
    pub aborted: u64,
    /// By the end of their connection.
    pub disconnected: u64,
    /// By [`request_timeout`](crate::Server::request_timeout).
    pub deadline: u64,
    /// By a shutdown, behind its [grace](crate::Server::shutdown_grace).
    pub shutdown: u64,
}

/// How many requests were refused before a handler saw them, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RejectedRequests {
    /// There was no worker and no place in the [`queue`](crate::Server::queue), or no worker before the request's time or
    /// the shutdown's grace was over; or a connection had more than
    /// [`max_requests`](crate::Server::max_requests) or was one of more than
    /// [`max_connections`](crate::Server::max_connections) (503).
    pub overloaded: u64,
    /// A second request came on a connection that takes one at a time (503, FCGI_CANT_MPX_CONN).
    pub cannot_multiplex: u64,
    /// The meta-variables could not be read, or made no request (400).
    pub malformed: u64,
    /// The meta-variables were larger than [`max_params`](crate::Server::max_params), or too many (431).
    pub params_too_large: u64,
    /// The meta-variables took longer than [`read_timeout`](crate::Server::read_timeout) (408).
    pub params_timed_out: u64,
    /// The announced body was larger than [`max_body`](crate::Server::max_body) (413). One that turns out to be is
    /// the handler's to refuse, and not among these.
    pub body_too_large: u64,
    /// A role without a handler (FCGI_UNKNOWN_ROLE).
    pub unknown_role: u64,
}

/// A request that has a worker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunningRequest {
    /// The time since BEGIN_REQUEST.
    pub age: Duration,
    /// REQUEST_METHOD, for people to read: escaped, and cut off behind 200 bytes.
    pub method: String,
    /// REQUEST_URI, for people to read: escaped, and cut off behind 200 bytes.
    pub uri: String,
    /// `responder`, `authorizer` or `filter`.
    pub role: &'static str,
    /// The number of its connection, as in the log.
    pub connection: u64,
}

impl CancelledRequests {
    /// Name and count of each reason, for a status page that need not know them all.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let CancelledRequests { aborted, disconnected, deadline, shutdown } = *self;
        [("aborted", aborted), ("disconnected", disconnected), ("deadline", deadline), ("shutdown", shutdown)]
            .into_iter()
    }
}

impl RejectedRequests {
    /// Name and count of each reason, for a status page that need not know them all.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("overloaded", self.overloaded),
            ("cannot_multiplex", self.cannot_multiplex),
            ("malformed", self.malformed),
            ("params_too_large", self.params_too_large),
            ("params_timed_out", self.params_timed_out),
            ("body_too_large", self.body_too_large),
            ("unknown_role", self.unknown_role),
        ]
        .into_iter()
    }
}

impl fmt::Display for RunningRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RunningRequest { age, method, uri, role, connection } = self;
        write!(f, "connection {connection}: {method} {uri} ({role}) has been running for {:.3} s", age.as_secs_f64())
    }
}

/// What is counted. Nothing is ever taken away: what is there now is the difference of two counters.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Counter {
    BytesIn,
    BytesOut,
    /// A request was handed to the workers.
    Submitted,
    /// A worker has it.
    Taken,
    Completed,
    ConnectionOpened,
    ConnectionClosed,

    PeerRefused,
    /// A request ended before a worker had it.
    GivenUp,
    Failed,
    Aborted,
    Disconnected,
    Deadline,
    Shutdown,
    Overloaded,
    CannotMultiplex,
    Malformed,
    ParamsTooLarge,
    ParamsTimedOut,
    BodyTooLarge,
    UnknownRole,
}

const N_COUNTERS: usize = Counter::UnknownRole as usize + 1;

#[derive(Debug, Default)]
struct Counters {
    counters: [AtomicU64; N_COUNTERS],
    server: OnceLock<Weak<dyn Gauges>>,
}

/// What a running server knows of itself without counting.
pub(crate) trait Gauges: Send + Sync {
    /// Fills in the fields that are no counters.
    fn fill(&self, snapshot: &mut Snapshot);
}

impl Metrics {
    /// Reads all counters, and looks at all active requests for the oldest: some microseconds, and more the more
    /// connections there are.
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.counters.read();
        if let Some(server) = self.counters.server.get().and_then(Weak::upgrade) {
            server.fill(&mut snapshot);
        }
        snapshot
    }

    /// The server that the counters belong to, once it runs.
    pub(crate) fn watch(&self, server: Weak<dyn Gauges>) {
        self.counters.server.get_or_init(|| server);
    }

    pub(crate) fn count(&self, counter: impl Into<Counter>) {
        self.add(counter.into(), 1);
    }

    pub(crate) fn add(&self, counter: Counter, n: u64) {
        self.counters.counters[counter as usize].fetch_add(n, Ordering::Release);
    }
}

impl Counters {
    fn read(&self) -> Snapshot {
        // What ends is read before what begins, so that no difference is ever below its true value.
        let [closed, completed, given_up] =
            [Counter::ConnectionClosed, Counter::Completed, Counter::GivenUp].map(|counter| self.sum(counter));
        let taken = self.sum(Counter::Taken);
        let submitted = self.sum(Counter::Submitted);
        let accepted_connections = self.sum(Counter::ConnectionOpened);
        let (cancelled, rejected) = (self.cancelled(), self.rejected());
        let total = |reasons: &mut dyn Iterator<Item = (&'static str, u64)>| reasons.map(|(_, n)| n).sum();
        Snapshot {
            open_connections: accepted_connections.saturating_sub(closed),
            accepted_connections,
            refused_connections: self.sum(Counter::PeerRefused),
            active_requests: submitted.saturating_sub(completed + given_up),
            queued_requests: submitted.saturating_sub(taken + given_up),
            completed_requests: completed,
            failed_requests: self.sum(Counter::Failed),
            cancelled_requests: total(&mut cancelled.iter()),
            cancelled,
            rejected_requests: total(&mut rejected.iter()),
            rejected,
            bytes_in: self.sum(Counter::BytesIn),
            bytes_out: self.sum(Counter::BytesOut),
            busy_workers: taken.saturating_sub(completed),
            ..Snapshot::default()
        }
    }

    fn cancelled(&self) -> CancelledRequests {
        CancelledRequests {
            aborted: self.sum(Counter::Aborted),
            disconnected: self.sum(Counter::Disconnected),
            deadline: self.sum(Counter::Deadline),
            shutdown: self.sum(Counter::Shutdown),
        }
    }

    fn rejected(&self) -> RejectedRequests {
        RejectedRequests {
            overloaded: self.sum(Counter::Overloaded),
            cannot_multiplex: self.sum(Counter::CannotMultiplex),
            malformed: self.sum(Counter::Malformed),
            params_too_large: self.sum(Counter::ParamsTooLarge),
            params_timed_out: self.sum(Counter::ParamsTimedOut),
            body_too_large: self.sum(Counter::BodyTooLarge),
            unknown_role: self.sum(Counter::UnknownRole),
        }
    }

    fn sum(&self, counter: Counter) -> u64 {
        self.counters[counter as usize].load(Ordering::Acquire)
    }
}

impl Counter {
    /// Where a refusal is counted; nowhere when it was cancelled.
    pub(crate) fn of(refusal: Refusal) -> Option<Counter> {
        match refusal {
            // It is counted as cancelled.
            Refusal::Aborted | Refusal::Overdue => None,
            Refusal::CantMultiplex => Some(Counter::CannotMultiplex),
            Refusal::Malformed => Some(Counter::Malformed),
            Refusal::Overloaded => Some(Counter::Overloaded),
            Refusal::ParamsTimedOut => Some(Counter::ParamsTimedOut),
            Refusal::ParamsTooLarge => Some(Counter::ParamsTooLarge),
            Refusal::UnknownRole | Refusal::UnservedAuthorizer => Some(Counter::UnknownRole),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::CancelReason;
    use std::thread;

    #[test]
    fn nothing_is_lost_that_many_threads_count() {
        let metrics = Metrics::default();
        thread::scope(|scope| {
            for _ in 0..48 {
                scope.spawn(|| (0..1000).for_each(|_| metrics.add(Counter::BytesIn, 2)));
            }
        });
        assert_eq!(metrics.snapshot(), Snapshot { bytes_in: 6000 * 16, ..Snapshot::default() });
    }

    #[test]
    fn what_is_there_now_is_what_began_and_has_not_ended() {
        let metrics = Metrics::default();
        let count = |counter: Counter, n| metrics.add(counter, n);
        count(Counter::Submitted, 10);
        count(Counter::Taken, 6);
        count(Counter::GivenUp, 1);
        count(Counter::Completed, 4);
        count(Counter::ConnectionOpened, 3);
        count(Counter::ConnectionClosed, 1);
        let expected = Snapshot {
            accepted_connections: 3,
            open_connections: 2,
            active_requests: 5,
            queued_requests: 3,
            completed_requests: 4,
            busy_workers: 2,
            ..Snapshot::default()
        };
        assert_eq!(metrics.snapshot(), expected);
    }

    #[test]
    fn every_reason_has_a_counter_of_its_own() {
        let metrics = Metrics::default();
        let reasons =
            [CancelReason::Aborted, CancelReason::Disconnected, CancelReason::Deadline, CancelReason::Shutdown];
        let refusals = [
            Refusal::Overloaded,
            Refusal::CantMultiplex,
            Refusal::Malformed,
            Refusal::ParamsTooLarge,
            Refusal::ParamsTimedOut,
            Refusal::UnknownRole,
        ];
        for (n, reason) in (1..).zip(reasons) {
            (0..n).for_each(|_| metrics.count(reason));
        }
        for (n, refusal) in (1..).zip(refusals) {
            metrics.add(Counter::of(refusal).expect("a counter"), n);
        }
        metrics.add(Counter::BodyTooLarge, 7);
        let now = metrics.snapshot();
        let mut cancelled: Vec<u64> = now.cancelled.iter().map(|(_, n)| n).collect();
        let mut rejected: Vec<u64> = now.rejected.iter().map(|(_, n)| n).collect();
        cancelled.sort_unstable();
        rejected.sort_unstable();
        assert_eq!((cancelled, now.cancelled_requests), ((1..=4).collect(), 10));
        assert_eq!((rejected, now.rejected_requests), ((1..=7).collect(), 28));
        assert_eq!((now.cancelled.shutdown, now.rejected.params_timed_out, now.rejected.body_too_large), (4, 5, 7));
    }

    #[test]
    fn a_running_request_reads_as_a_sentence() {
        let age = Duration::from_millis(1500);
        let (method, uri, role) = ("GET".to_owned(), "/slow".to_owned(), "responder");
        let running = RunningRequest { age, method, uri, role, connection: 7 };
        assert_eq!(running.to_string(), "connection 7: GET /slow (responder) has been running for 1.500 s");
    }
}
