//! How a handler learns that its request need not go on.

use std::sync::Arc;
use std::time::Duration;

use crate::request::{CancelReason, RequestState};

/// Tells a handler that its request need not go on: see [`RequestExt::cancellation`](crate::RequestExt::cancellation).
///
/// It fires when the web server aborts the request or closes the connection, when the request takes longer than
/// [`request_timeout`](crate::Server::request_timeout), and at the end of the grace period of a shutdown. Clones are
/// cheap and can go to other threads.
#[derive(Clone, Debug)]
pub struct Cancellation {
    request: Option<Arc<RequestState>>,
}

impl Cancellation {
    pub(crate) fn new(request: Option<Arc<RequestState>>) -> Cancellation {
        Cancellation { request }
    }

    /// Whether the request need not go on. Cheap enough for every turn of a loop.
    pub fn is_cancelled(&self) -> bool {
        self.reason().is_some()
    }

    /// Why the request need not go on; `None` while it should.
    pub fn reason(&self) -> Option<CancelReason> {
        self.request.as_ref()?.tell_reason()
    }

    /// Sleeps until the request is cancelled, and at most for `timeout`; `None` when that has passed, or when the request
    /// is over.
    ///
    /// A request that no server made, as in the test of a handler, is never cancelled.
    pub fn wait(&self, timeout: Duration) -> Option<CancelReason> {
        match &self.request {
            Some(request) => request.wait(timeout),
            None => {
                std::thread::sleep(timeout);
                None
            }
        }
    }
}
