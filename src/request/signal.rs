//! Cancellation: it is signalled once, wakes whoever waits for it, and says whether the response may still be sent.

use std::fmt;
use std::time::{Duration, Instant};

use crate::error::BodyError;
use crate::metrics::Counter;
use crate::sync::{AtomicU8, Condvar, Mutex, Ordering};

/// Why a request was cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CancelReason {
    /// The web server sent `FCGI_ABORT_REQUEST` (FastCGI 5.4). Of the usual ones HAProxy alone does.
    Aborted,
    /// The web server closed the connection, as most do when their client leaves.
    Disconnected,
    /// The request took longer than [`request_timeout`](crate::Server::request_timeout).
    Deadline,
    /// The server is shutting down and its grace period is over.
    Shutdown,
}

/// What happened to a request that need not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cancel {
    Aborted,
    /// The web server closed its sending side, and may still read: who waits is told, and the response is sent.
    HalfClosed,
    /// The connection is lost.
    Lost,
    Deadline,
    Shutdown,
}

impl Cancel {
    pub(crate) fn reason(self) -> CancelReason {
        match self {
            Cancel::Aborted => CancelReason::Aborted,
            Cancel::HalfClosed | Cancel::Lost => CancelReason::Disconnected,
            Cancel::Deadline => CancelReason::Deadline,
            Cancel::Shutdown => CancelReason::Shutdown,
        }
    }
}

impl CancelReason {
    const ALL: [CancelReason; 4] =
        [CancelReason::Aborted, CancelReason::Disconnected, CancelReason::Deadline, CancelReason::Shutdown];

    /// Its number for an atomic, in which 0 is none.
    fn number(self) -> u8 {
        1 + self as u8
    }

    fn from_number(number: u8) -> Option<CancelReason> {
        CancelReason::ALL.get(usize::from(number).wrapping_sub(1)).copied()
    }

    pub(crate) fn body_error(self) -> BodyError {
        match self {
            CancelReason::Aborted => BodyError::Aborted,
            CancelReason::Disconnected => BodyError::Disconnected,
            CancelReason::Deadline => BodyError::TimedOut,
            CancelReason::Shutdown => BodyError::Shutdown,
        }
    }
}

impl fmt::Display for CancelReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CancelReason::Aborted => "aborted",
            CancelReason::Disconnected => "disconnected",
            CancelReason::Deadline => "deadline",
            CancelReason::Shutdown => "shutdown",
        })
    }
}

impl From<CancelReason> for Counter {
    fn from(reason: CancelReason) -> Counter {
        match reason {
            CancelReason::Aborted => Counter::Aborted,
            CancelReason::Disconnected => Counter::Disconnected,
            CancelReason::Deadline => Counter::Deadline,
            CancelReason::Shutdown => Counter::Shutdown,
        }
    }
}

/// Whether a request was cancelled, and why. Two things happen at most once each, and the first reason counts for each:
/// the request is cancelled, and its response is stopped. A half-closed connection does the one without the other.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    cancelled: AtomicU8,
    stopped: AtomicU8,
    waiting: Mutex<()>,
    fired: Condvar,
}

/// What a cancellation changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fired {
    /// The request was not cancelled before.
    pub(crate) is_first: bool,
    /// Its response may not go on any more, and might before.
    pub(crate) stops: bool,
}

impl Signal {
    pub(crate) fn fire(&self, cancel: Cancel) -> Fired {
        let number = cancel.reason().number();
        let set = |flag: &AtomicU8| flag.compare_exchange(0, number, Ordering::AcqRel, Ordering::Acquire).is_ok();
        let stops = cancel != Cancel::HalfClosed && set(&self.stopped);
        let is_first = set(&self.cancelled);
        if is_first {
            self.wake();
        }
        Fired { is_first, stops }
    }

    /// Why the request was cancelled.
    pub(crate) fn reason(&self) -> Option<CancelReason> {
        CancelReason::from_number(self.cancelled.load(Ordering::Acquire))
    }

    /// Why the response may not go on.
    pub(crate) fn stopped(&self) -> Option<CancelReason> {
        CancelReason::from_number(self.stopped.load(Ordering::Acquire))
    }

    /// Wakes whoever waits, to look again.
    pub(crate) fn wake(&self) {
        // Whoever found nothing has begun to wait once this lock is free.
        drop(self.waiting.lock());
        self.fired.notify_all();
    }

    /// Waits until the request is cancelled, it `is_over`, or `timeout` has passed.
    pub(crate) fn wait(&self, timeout: Duration, is_over: impl Fn() -> bool) -> Option<CancelReason> {
        let deadline = Instant::now().checked_add(timeout);
        let mut waiting = self.waiting.lock();
        while self.reason().is_none() && !is_over() {
            match deadline {
                None => self.fired.wait(&mut waiting),
                Some(deadline) if self.fired.wait_until(&mut waiting, deadline).timed_out() => break,
                Some(_) => {}
            }
        }
        self.reason()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::thread;

    #[test]
    fn the_first_reason_stays() {
        for cancel in [Cancel::Aborted, Cancel::Lost, Cancel::Deadline, Cancel::Shutdown] {
            let signal = Signal::default();
            assert_eq!((signal.reason(), signal.wait(Duration::ZERO, || false)), (None, None));
            assert_eq!(signal.fire(cancel), Fired { is_first: true, stops: true });
            assert_eq!(signal.fire(Cancel::Shutdown), Fired { is_first: false, stops: false });
            assert_eq!(
                (signal.reason(), signal.wait(Duration::MAX, || false)),
                (Some(cancel.reason()), Some(cancel.reason()))
            );
            assert_eq!(signal.stopped(), Some(cancel.reason()));
        }
    }

    #[test]
    fn a_half_closed_connection_stops_no_response_and_a_later_deadline_does() {
        let signal = Signal::default();
        assert_eq!(signal.fire(Cancel::HalfClosed), Fired { is_first: true, stops: false });
        assert_eq!((signal.reason(), signal.stopped()), (Some(CancelReason::Disconnected), None));
        assert_eq!(signal.fire(Cancel::Deadline), Fired { is_first: false, stops: true });
        assert_eq!(signal.reason(), Some(CancelReason::Disconnected));
        assert_eq!(signal.stopped(), Some(CancelReason::Deadline));
    }

    #[test]
    fn firing_wakes_all_who_wait() {
        let signal = Arc::new(Signal::default());
        let waiters: Vec<_> = (0..4)
            .map(|_| {
                let signal = signal.clone();
                thread::spawn(move || signal.wait(Duration::from_secs(60), || false))
            })
            .collect();
        signal.fire(Cancel::Aborted);
        for waiter in waiters {
            assert_eq!(waiter.join().expect("no panic"), Some(CancelReason::Aborted));
        }
    }
}
