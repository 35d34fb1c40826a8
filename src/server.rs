//! The builder of a server, and its accept loop.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use http::Request;
use log::{error, info};

use crate::body::{Body, FilterData};
use crate::clock;
use crate::connection::{Connection, ConnectionJob};
use crate::error::{Error, Result};
use crate::handler::{self, Decision, Handlers, IntoResponse};
use crate::listener::{wait_for_wake, Listener};
use crate::metrics::Metrics;
use crate::protocol::MAX_CONTENT_LEN;
use crate::running::{Report, Running};
use crate::settings::Settings;
use crate::shared::{Admission, Shared};
use crate::socket::Socket;

/// How long the accept loop waits when connections cannot be taken: too many are open, here or in the process.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Builds a FastCGI server: handlers, limits and deadlines.
///
/// ```no_run
/// use fcgi::{Decision, Listener, Server};
/// use http::Response;
///
/// fn main() -> fcgi::Result<()> {
///     Server::new()
///         .responder(|_request| Response::new("hello, world\n"))
///         .authorizer(|_request| Decision::allow())
///         .workers(16)
///         .serve(Listener::bind("unix:/run/app.sock")?)?;
///     Ok(())
/// }
/// ```
///
/// A role without a handler is refused. All limits have defaults that suit a small machine behind one web server.
#[derive(Default)]
pub struct Server {
    handlers: Handlers,
    settings: Settings,
    metrics: Metrics,
    #[cfg(feature = "signals")]
    signals: bool,
}

impl Server {
    /// A server without handlers, with the default limits.
    pub fn new() -> Server {
        Server::default()
    }

    /// Handles the Responder role (FastCGI 6.2): what web servers mean by FastCGI.
    ///
    /// The handler runs on a worker thread as soon as the request's head is there; the body streams in while it
    /// runs. A panic is answered with 500 and ends nothing else.
    pub fn responder<F, R>(mut self, handler: F) -> Server
    where
        F: Fn(Request<Body>) -> R + Send + Sync + 'static,
        R: IntoResponse,
    {
        self.handlers.responder = Some(handler::responder(handler));
        self
    }

    /// Handles the Authorizer role (FastCGI 6.3): may this request go on? Apache's mod_authnz_fcgi and lighttpd ask
    /// that. The body is not sent to authorizers.
    pub fn authorizer<F>(mut self, handler: F) -> Server
    where
        F: Fn(Request<()>) -> Decision + Send + Sync + 'static,
    {
        self.handlers.authorizer = Some(handler::authorizer(handler));
        self
    }

    /// Handles the Filter role (FastCGI 6.4): a request and a file of the web server's to be transformed.
    pub fn filter<F, R>(mut self, handler: F) -> Server
    where
        F: Fn(Request<Body>, FilterData) -> R + Send + Sync + 'static,
        R: IntoResponse,
    {
        self.handlers.filter = Some(handler::filter(handler));
        self
    }

    /// How many handlers may run at once, each on a thread of its own; 64 by default, at least 1. Threads are
    /// started on demand and end after 10 idle seconds. Raise it when handlers wait for something slow.
    pub fn workers(mut self, workers: usize) -> Server {
        self.settings.workers = workers.max(1);
        self
    }

    /// How many requests may wait for a worker; 64 by default. One more is answered with `503 Service Unavailable`,
    /// Retry-After and FCGI_OVERLOADED.
    pub fn queue(mut self, requests: usize) -> Server {
        self.settings.queue = requests;
        self
    }

    /// How many connections may be open; 512 by default, at least 1. An idle one costs a thread that sleeps and
    /// some 15 KiB, and never a worker. A few more are accepted and their requests answered with 503; others wait in
    /// the kernel's backlog. It is the answer to FCGI_MAX_CONNS.
    pub fn max_connections(mut self, connections: usize) -> Server {
        self.settings.max_connections = connections.max(1);
        self
    }

    /// How many requests may be active on one connection; 64 by default, at least 1. One more is answered with 503
    /// and FCGI_OVERLOADED. It is the answer to FCGI_MAX_REQS, and 1 turns multiplexing off (FCGI_MPXS_CONNS is 0,
    /// a second request gets FCGI_CANT_MPX_CONN).
    pub fn max_requests(mut self, requests: usize) -> Server {
        self.settings.max_requests = requests.max(1);
        self
    }

    /// How many bytes the meta-variables of a request may have; 1 MiB by default, as no web server sends more than
    /// 128 KiB. More is answered with `431 Request Header Fields Too Large`. All requests of a connection whose
    /// meta-variables have not ended may have half as much again together.
    pub fn max_params(mut self, bytes: usize) -> Server {
        self.settings.max_params = bytes;
        self
    }

    /// How many bytes a body may have; 1 GiB by default. A request that announces more is answered with
    /// `413 Payload Too Large`; one that turns out larger fails in reading, with
    /// [`BodyError::TooLarge`](crate::BodyError::TooLarge).
    pub fn max_body(mut self, bytes: u64) -> Server {
        self.settings.max_body = bytes;
        self
    }

    /// How many bytes of a body are kept in memory for a handler that is slow to read; 256 KiB by default. The rest
    /// goes to an unlinked file in the directory for temporary files.
    pub fn body_buffer(mut self, bytes: usize) -> Server {
        self.settings.body_buffer = bytes;
        self
    }

    /// How many bytes status and headers of an answer may have; 15 KiB by default, 65,528 at most. An answer with
    /// more becomes a 500. nginx takes 4 KiB unless told otherwise (`fastcgi_buffer_size`), and HAProxy 2.6 crashes
    /// on more than 15 KiB.
    pub fn max_head(mut self, bytes: usize) -> Server {
        self.settings.max_head = bytes.min(MAX_CONTENT_LEN);
        self
    }

    /// How many bytes a request may write to STDERR; 8 KiB by default. The rest is dropped.
    pub fn max_stderr(mut self, bytes: usize) -> Server {
        self.settings.max_stderr = bytes;
        self
    }

    /// How long a web server may take from the beginning of a request to the end of its meta-variables, and between
    /// pieces of a body; 60 seconds by default, as long as nginx waits for its clients. Late meta-variables are
    /// answered with 408, a late body fails in reading.
    pub fn read_timeout(mut self, time: Duration) -> Server {
        self.settings.read_timeout = time;
        self
    }

    /// How long one write may wait for a web server that does not read; 60 seconds by default. Then the connection
    /// is closed.
    pub fn write_timeout(mut self, time: Duration) -> Server {
        self.settings.write_timeout = time;
        self
    }

    /// How long a connection is kept without a request; 120 seconds by default, more than the 60 after which nginx
    /// gives one up, so that it is not closed just when a request is under way.
    pub fn idle_timeout(mut self, time: Duration) -> Server {
        self.settings.idle_timeout = time;
        self
    }

    /// How long a request may take before it is cancelled; without limit by default.
    pub fn request_timeout(mut self, time: Duration) -> Server {
        self.settings.request_timeout = Some(time);
        self
    }

    /// How long a shutdown waits for requests before it cancels them; 30 seconds by default.
    pub fn shutdown_grace(mut self, time: Duration) -> Server {
        self.settings.shutdown_grace = time;
        self
    }

    /// Always sends END_REQUEST, also behind an answer that was cut short.
    ///
    /// By default such an answer ends with the connection and without END_REQUEST, because that is what web servers
    /// notice. Apache's mod_fcgid then ends the whole process: behind it, set this.
    pub fn always_end_requests(mut self) -> Server {
        self.settings.always_end_requests = true;
        self
    }

    /// Begins the shutdown on SIGTERM, SIGINT and SIGUSR1, which is what web servers and supervisors send (multiwatch
    /// and libfcgi's tools: SIGUSR1). A second signal ends the process at once.
    ///
    /// The signals belong to the whole process: this is for programs that are nothing but a FastCGI server.
    #[cfg(feature = "signals")]
    #[cfg_attr(docsrs, doc(cfg(feature = "signals")))]
    pub fn shutdown_on_signals(mut self) -> Server {
        self.signals = true;
        self
    }

    /// The counters of this server, for a status page or a test.
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// Serves until a shutdown has come to its end: one that a signal began, with the feature `signals` and
    /// `shutdown_on_signals`, or never. To stop a server from within the program, [`spawn`](Self::spawn) it.
    ///
    /// # Errors
    /// The socket cannot be used, or no thread can be started.
    pub fn serve(self, listener: impl Into<Listener>) -> Result<Report> {
        self.spawn(listener)?.join()
    }

    /// Serves on threads of its own.
    ///
    /// # Errors
    /// The socket cannot be used, or no thread can be started.
    pub fn spawn(self, listener: impl Into<Listener>) -> Result<Running> {
        let listener = listener.into();
        let cannot = |error| Error::io(format!("cannot serve on {}", listener.address()), error);
        listener.prepare().map_err(cannot)?;
        let (wake, woken) = UnixStream::pair().map_err(cannot)?;
        let address = listener.address().clone();
        let server = Arc::new(Shared::new(self.settings, self.handlers, self.metrics));
        let accepting = {
            let server = server.clone();
            let accept = move || accept_until_shutdown(&server, &listener, &woken);
            spawn_thread("fcgi-accept", accept)?
        };
        let ticking = {
            let server = server.clone();
            spawn_thread("fcgi-clock", move || clock::run(&server))?
        };
        let running = Running::new(server, address, wake, accepting, ticking);
        #[cfg(feature = "signals")]
        if self.signals {
            crate::signals::shut_down_on_signals(running.shutdown())?;
        }
        Ok(running)
    }
}

pub(crate) fn spawn_thread(name: &str, run: impl FnOnce() + Send + 'static) -> Result<thread::JoinHandle<()>> {
    let builder = thread::Builder::new().name(name.to_owned());
    builder.spawn(run).map_err(|error| Error::io("cannot start a thread", error))
}

fn accept_until_shutdown(server: &Arc<Shared>, listener: &Listener, woken: &UnixStream) {
    info!("listening on {}", listener.address());
    let mut is_failing = false;
    while !server.is_draining() {
        let Err(error) = accept_or_wait(server, listener, woken) else {
            is_failing = false;
            continue;
        };
        // Out of descriptors or memory: others may end, and accepting goes on. One line is enough.
        if !std::mem::replace(&mut is_failing, true) {
            error!("cannot accept: {error}");
        }
        // A failure to wait only makes the pause shorter.
        let _: io::Result<()> = wait_for_wake(woken, ACCEPT_PAUSE);
    }
    info!("no longer listening on {}", listener.address());
}

fn accept_or_wait(server: &Arc<Shared>, listener: &Listener, woken: &UnixStream) -> io::Result<()> {
    let admission = server.admission();
    if admission == Admission::Wait {
        return wait_for_wake(woken, ACCEPT_PAUSE);
    }
    match listener.accept() {
        Ok(socket) => {
            serve_connection(server, socket, admission);
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => listener.wait(woken),
        // The peer went away before it was accepted.
        Err(error) if is_of_one_connection(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted, InvalidInput};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted | InvalidInput)
}

fn serve_connection(server: &Arc<Shared>, socket: Socket, admission: Admission) {
    let connection = Connection::new(server, socket, admission == Admission::Refuse);
    if server.readers.submit(ConnectionJob::Read(connection)).is_err() {
        error!("no thread for a connection; closed");
    }
}
