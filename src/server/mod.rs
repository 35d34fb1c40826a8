//! The builder of a server.

mod cgi_program;
mod running;
#[cfg(feature = "signals")]
mod signals;

pub use running::{Report, Running, Shutdown};

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Request;

use crate::error::{Error, Result};
use crate::handler::{self, Body, Decision, FilterData, Handlers, IntoResponse};
use crate::metrics::Metrics;
use crate::net::{Listener, Peers};
use crate::protocol::MAX_CONTENT_LEN;
use crate::runtime::{run_clock, spawn_thread, Accept, State};
use crate::settings::Settings;

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
///
/// Times are looked at now and then, so that what is late is noticed within a quarter of the shortest time or a second, and
/// not before 5 ms. A time of zero is over at once, `Duration::MAX` never.
#[derive(Default)]
pub struct Server {
    handlers: Handlers,
    settings: Settings,
    metrics: Metrics,
    peers: Peers,
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
    /// started on demand, and end when they were not needed for 10 seconds. Raise it when handlers wait for something slow.
    pub fn workers(mut self, workers: usize) -> Server {
        self.settings.workers = workers.max(1);
        self
    }

    /// How many requests may wait for a worker; 512 by default, one for each connection that there may be: a web server
    /// that has one request at a time on a connection, as most do, is not refused before it has too many connections.
    /// One more is answered with `503 Service Unavailable`, Retry-After and FCGI_OVERLOADED. Each holds its
    /// meta-variables, usually a kilobyte, and what has come of its body.
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
    /// goes to an unlinked file in the directory for temporary files: nobody waits for the handler, so that an abort and
    /// a lost connection are seen at any time.
    pub fn body_buffer(mut self, bytes: usize) -> Server {
        self.settings.body_buffer = bytes;
        self
    }

    /// How many bytes status and headers of an answer may have; 15 KiB by default, 65,528 at most. An answer with
    /// more becomes a 500, and one with more than 4 KiB a warning in the log: nginx takes no more unless told otherwise
    /// (`fastcgi_buffer_size`). HAProxy 2.6 crashes on more than 15 KiB.
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

    /// How long a web server may take nothing of what it is sent; 60 seconds by default. Then the connection is closed.
    /// One that takes a little all the time is not late, however long the whole takes. What it takes is seen in steps of
    /// what the kernel frees at once, which over a Unix socket is a write of up to some 30 KiB.
    pub fn write_timeout(mut self, time: Duration) -> Server {
        self.settings.write_timeout = time;
        self
    }

    /// How long a connection is kept without a request; 120 seconds by default, more than the 60 after which nginx
    /// gives one up, so that it is not closed just when a request is under way. `Duration::MAX` keeps it for good; zero
    /// closes it as soon as it is noticed, which may be before its first request.
    pub fn idle_timeout(mut self, time: Duration) -> Server {
        self.settings.idle_timeout = time;
        self
    }

    /// How long a request may take, from its beginning to the end of its handler, before it is cancelled; without limit by
    /// default. One that still waits for a worker is answered with 504, one whose meta-variables have not all come with
    /// 408; of an answer that was partly sent no more is sent, whether the web server reads it or not.
    pub fn request_timeout(mut self, time: Duration) -> Server {
        self.settings.request_timeout = Some(time);
        self
    }

    /// Reports requests that run longer than this, each once, as a warning in the log with their method, URI, role
    /// and connection; off by default. It is noticed up to a second late, and changes nothing for the request.
    pub fn slow_request(mut self, time: Duration) -> Server {
        self.settings.slow_request = Some(time);
        self
    }

    /// How long a shutdown waits for requests before it cancels them, from the moment at which it begins; 30 seconds by
    /// default.
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

    /// Lets only web servers at this address, or in this range (`10.0.0.0/8`), connect over TCP. Each call adds one;
    /// without any, all may, unless FCGI_WEB_SERVER_ADDRS lists those that may (FastCGI 3.2). Others are closed.
    ///
    /// # Errors
    /// It is no address and no range.
    pub fn allow_address(mut self, address: &str) -> Result<Server> {
        self.peers.allow_address(address)?;
        Ok(self)
    }

    /// Lets only processes of this user connect over Unix sockets, on systems that tell (Linux). Each call adds one,
    /// and so does [`allow_group`](Self::allow_group): who matches any may connect, others are closed.
    pub fn allow_user(mut self, uid: u32) -> Server {
        self.peers.allow_user(uid);
        self
    }

    /// Lets only processes of this group connect over Unix sockets: see [`allow_user`](Self::allow_user).
    pub fn allow_group(mut self, gid: u32) -> Server {
        self.peers.allow_group(gid);
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

    /// Serves whatever this process was given: the socket of [`Listener::inherited`], or the one request that a web
    /// server runs it for as a plain CGI program. After an answer with an application status other than 0 such a
    /// program exits with it, or with 255 when it is larger.
    ///
    /// # Errors
    /// It was given neither; the message says what to do. Else as [`serve`](Self::serve).
    pub fn serve_inherited(self) -> Result<Report> {
        match Listener::inherited() {
            Ok(listener) => self.serve(listener),
            Err(_) if cgi_program::is_cgi() => self.serve_cgi(),
            Err(error) => Err(error),
        }
    }

    /// Serves on threads of its own.
    ///
    /// # Errors
    /// The socket cannot be used, no thread can be started, or FCGI_WEB_SERVER_ADDRS lists what is no address.
    pub fn spawn(mut self, listener: impl Into<Listener>) -> Result<Running> {
        let listener = listener.into();
        let cannot = |error| Error::io(format!("cannot serve on {}", listener.address()), error);
        if let Some(list) = std::env::var_os("FCGI_WEB_SERVER_ADDRS") {
            // What is not UTF-8 is no address: it becomes one that is refused by name.
            self.peers.allow_listed(&list.to_string_lossy())?;
        }
        listener.prepare().map_err(cannot)?;
        let (wake, woken) = UnixStream::pair().map_err(cannot)?;
        let (wake, address) = (Arc::new(wake), listener.address().clone());
        let state = State::start(self.settings, self.handlers, self.metrics);
        let shutdown = Shutdown::new(state.clone(), wake.clone());
        let ticking = spawn_thread("fcgi-clock", {
            let state = state.clone();
            move || run_clock(&state)
        })?;
        let accept = Accept { state: state.clone(), listener, peers: self.peers, woken, _wake: wake };
        #[cfg(feature = "signals")]
        let signals = self.signals.then(|| shutdown.clone());
        let begin = || {
            // Before anybody is answered: who has an answer may stop this process at once.
            #[cfg(feature = "signals")]
            signals.map_or(Ok(()), signals::shut_down_on_signals)?;
            spawn_thread("fcgi-accept", move || accept.run())
        };
        let accepting = begin().map_err(|error| {
            // Nothing of a server that did not begin goes on.
            state.stop(Instant::now());
            error
        })?;
        #[cfg(feature = "systemd")]
        crate::net::notify_ready();
        Ok(Running::new(shutdown, address, accepting, ticking))
    }

    fn serve_cgi(self) -> Result<Report> {
        let state = State::start(self.settings, self.handlers, self.metrics);
        let ticking = state.clone();
        spawn_thread("fcgi-clock", move || run_clock(&ticking))?;
        let answered = cgi_program::answer(&state);
        state.context.journal.end(running::LOG_TIME);
        match answered? {
            0 => Ok(Report { completed: 1, cut_off: 0 }),
            // An exit code has 8 bits: a failure must not look like success.
            app_status => std::process::exit(app_status.min(255) as i32),
        }
    }
}
