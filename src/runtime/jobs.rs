//! What the pooled threads are given to do.

use std::sync::Arc;

use super::pool::Pool;
use crate::connection::Connection;
use crate::protocol::{RequestKey, Role};
use crate::request::RequestState;

/// A request whose PARAMS are complete, for a worker: see `worker.rs`.
pub(crate) struct Work {
    pub(crate) connection: Arc<Connection>,
    pub(crate) key: RequestKey,
    pub(crate) role: Role,
    /// The PARAMS stream (FastCGI 5.2).
    pub(crate) params: Vec<u8>,
    pub(crate) request: Arc<RequestState>,
    /// The threads for what the worker leaves unsent.
    pub(crate) flushers: Pool<ConnectionJob>,
}

/// Something to do for a connection: to read it, or to send what could not be sent without waiting.
pub(crate) type ConnectionJob = Box<dyn FnOnce() + Send>;
