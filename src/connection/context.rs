//! What the connections of one server share.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::permits::Permits;
use crate::handler::Handlers;
use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::protocol::{Capabilities, Limits, Role};
use crate::request::{PipeLimits, RequestState};
use crate::settings::Settings;

pub(crate) struct Context {
    pub(crate) settings: Settings,
    pub(crate) handlers: Handlers,
    pub(crate) metrics: Metrics,
    pub(crate) journal: Arc<Journal>,
    pub(crate) limits: Limits,
    pub(crate) capabilities: Capabilities,
    /// Of requests that have a worker or wait for one.
    pub(crate) permits: Permits,
    started: Instant,
    /// When the shutdown began.
    draining: OnceLock<Instant>,
}

impl Context {
    pub(crate) fn new(settings: Settings, handlers: Handlers, metrics: Metrics) -> Context {
        Context {
            limits: settings.demux_limits(handlers.roles()),
            capabilities: settings.capabilities(),
            journal: Arc::default(),
            permits: Permits::new(settings.workers.saturating_add(settings.queue)),
            started: Instant::now(),
            draining: OnceLock::new(),
            settings,
            handlers,
            metrics,
        }
    }

    pub(crate) fn new_request(&self, role: Role, begun: Instant) -> RequestState {
        let limits = PipeLimits { buffer: self.settings.body_buffer, max_len: self.settings.max_body };
        RequestState::new(role, limits, self.settings.max_stderr, begun)
    }

    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// Milliseconds since the start, never 0: a time that fits an atomic.
    pub(crate) fn millis(&self, now: Instant) -> u64 {
        1 + now.saturating_duration_since(self.started).as_millis() as u64
    }

    /// Whether the server is shutting down.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.get().is_some()
    }

    /// Whether it was not before.
    pub(crate) fn start_draining(&self) -> bool {
        self.draining.set(Instant::now()).is_ok()
    }

    /// When the shutdown began; now, if it has not.
    pub(crate) fn draining_since(&self) -> Instant {
        self.draining.get().copied().unwrap_or_else(Instant::now)
    }
}
