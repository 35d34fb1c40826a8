//! Every limit and deadline of a server: its name, its default, and why it is that.

use std::time::Duration;

use crate::cgi::HeadLimits;
use crate::protocol::{Capabilities, Limits, Roles};

/// What the builder collects. The public documentation of each is at its setter in [`crate::Server`].
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) workers: usize,
    pub(crate) queue: usize,
    pub(crate) max_connections: usize,
    pub(crate) max_requests: usize,
    pub(crate) max_params: usize,
    pub(crate) max_body: u64,
    pub(crate) max_head: usize,
    pub(crate) max_stderr: usize,
    pub(crate) body_buffer: usize,
    pub(crate) read_timeout: Duration,
    pub(crate) write_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) request_timeout: Option<Duration>,
    pub(crate) slow_request: Option<Duration>,
    pub(crate) shutdown_grace: Duration,
    pub(crate) always_end_requests: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            workers: 64,
            queue: 512,
            max_connections: 512,
            max_requests: 64,
            max_params: 1 << 20,
            max_body: 1 << 30,
            max_head: 15 << 10,
            max_stderr: 8 << 10,
            body_buffer: 256 << 10,
            read_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(120),
            request_timeout: None,
            slow_request: None,
            shutdown_grace: Duration::from_secs(30),
            always_end_requests: false,
        }
    }
}

impl Settings {
    /// The limits of one connection. All of its unfinished PARAMS together may be half as large again as one
    /// request's: the bound on what a peer can make a connection hold before any handler runs.
    pub(crate) fn demux_limits(&self, roles: Roles) -> Limits {
        let max_connection_params = self.max_params.saturating_add(self.max_params / 2);
        Limits { max_requests: self.max_requests, max_params: self.max_params, max_connection_params, roles }
    }

    /// The answer to GET_VALUES (FastCGI 4.1). HAProxy, the one web server that asks, takes FCGI_MAX_REQS for the
    /// limit of a connection, so that is what we tell.
    pub(crate) fn capabilities(&self) -> Capabilities {
        Capabilities { max_conns: self.max_connections, max_reqs: self.max_requests, multiplex: self.max_requests > 1 }
    }

    pub(crate) fn head_limits(&self) -> HeadLimits {
        HeadLimits { max_head: self.max_head }
    }
}
