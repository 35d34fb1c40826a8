//! The signal that a request need not go on: it fires once, and wakes whoever waits for it.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::error::BodyError;

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

impl CancelReason {
    const ALL: [CancelReason; 4] =
        [CancelReason::Aborted, CancelReason::Disconnected, CancelReason::Deadline, CancelReason::Shutdown];

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

/// A signal that fires at most once.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    /// 0, or 1 more than the index of the reason in [`CancelReason::ALL`].
    reason: AtomicU8,
    waiting: Mutex<()>,
    fired: Condvar,
}

impl Signal {
    /// Whether it was this call that fired it.
    pub(crate) fn fire(&self, reason: CancelReason) -> bool {
        let number = 1 + reason as u8;
        let fired = self.reason.compare_exchange(0, number, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if fired {
            // Whoever found nothing has begun to wait once this lock is free.
            drop(self.waiting.lock());
            self.fired.notify_all();
        }
        fired
    }

    pub(crate) fn reason(&self) -> Option<CancelReason> {
        let number = self.reason.load(Ordering::Acquire);
        CancelReason::ALL.get(usize::from(number).wrapping_sub(1)).copied()
    }

    /// Waits until it fires or `timeout` has passed.
    pub(crate) fn wait(&self, timeout: Duration) -> Option<CancelReason> {
        let deadline = Instant::now().checked_add(timeout);
        let mut waiting = self.waiting.lock();
        while self.reason().is_none() {
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
        for reason in CancelReason::ALL {
            let signal = Signal::default();
            assert_eq!((signal.reason(), signal.wait(Duration::ZERO)), (None, None));
            assert!(signal.fire(reason));
            assert!(!signal.fire(CancelReason::Shutdown));
            assert_eq!((signal.reason(), signal.wait(Duration::MAX)), (Some(reason), Some(reason)));
        }
    }

    #[test]
    fn firing_wakes_all_who_wait() {
        let signal = Arc::new(Signal::default());
        let waiters: Vec<_> = (0..4)
            .map(|_| {
                let signal = signal.clone();
                thread::spawn(move || signal.wait(Duration::from_secs(60)))
            })
            .collect();
        signal.fire(CancelReason::Aborted);
        for waiter in waiters {
            assert_eq!(waiter.join().expect("no panic"), Some(CancelReason::Aborted));
        }
    }
}
