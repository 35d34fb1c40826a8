#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(not(unix))]
compile_error!("fcgi needs a Unix system");

mod accept;
mod answer;
#[cfg(any(benchmarking, test))]
#[doc(hidden)]
pub mod benchmarking;
mod body;
mod buffers;
mod cancellation;
mod cgi;
mod cgi_program;
mod clock;
mod connection;
mod error;
mod exchange;
#[cfg(any(fuzzing, test))]
#[doc(hidden)]
pub mod fuzzing;
mod handler;
mod listener;
mod lobby;
mod metrics;
mod outbox;
mod peers;
mod pipe;
mod pool;
mod protocol;
mod reader;
mod refusal;
mod request_ext;
mod running;
mod send_body;
mod server;
mod settings;
mod shared;
#[cfg(feature = "signals")]
mod signals;
mod socket;
mod spool;
#[cfg(feature = "systemd")]
mod systemd;
mod threads;
mod unix_socket;
mod unsent;
mod worker;

pub use answer::BodyWriter;
pub use body::{Body, FilterData};
pub use cancellation::CancelReason;
pub use cgi::Params;
pub use error::{BodyError, Error, Result};
pub use exchange::{Cancellation, Stderr};
pub use handler::{AppStatus, Decision, IntoResponse};
pub use http;
pub use listener::{Address, Listener, UnixBinding};
pub use metrics::{CancelledRequests, Metrics, RejectedRequests, RunningRequest, Snapshot};
pub use request_ext::RequestExt;
pub use running::{Report, Running, Shutdown};
pub use send_body::SendBody;
pub use server::Server;

/// Serves the Responder role on the socket that this process was given, with the default limits, or answers the one
/// request that a web server runs it for as a plain CGI program.
///
/// It is for programs that are nothing but a FastCGI server: with the feature `signals` it shuts down gracefully on
/// SIGTERM, SIGINT and SIGUSR1, and then returns.
///
/// # Errors
/// See [`Server::serve_inherited`].
pub fn serve<F, R>(handler: F) -> Result<()>
where
    F: Fn(http::Request<Body>) -> R + Send + Sync + 'static,
    R: IntoResponse,
{
    let server = Server::new().responder(handler);
    #[cfg(feature = "signals")]
    let server = server.shutdown_on_signals();
    server.serve_inherited().map(drop)
}
