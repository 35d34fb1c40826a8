#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(not(unix))]
compile_error!("fcgi needs a Unix system");

#[cfg(any(benchmarking, test))]
#[doc(hidden)]
pub mod benchmarking;
mod cgi;
mod connection;
mod error;
#[cfg(any(fuzzing, test))]
#[doc(hidden)]
pub mod fuzzing;
mod handler;
mod journal;
mod metrics;
#[cfg(all(loom, test))]
#[path = "../tests/models/mod.rs"]
mod models;
mod net;
mod protocol;
mod request;
mod runtime;
mod server;
mod settings;
mod sync;

pub use cgi::Params;
pub use error::{BodyError, Error, Result};
pub use handler::{
    AppStatus, Body, BodyWriter, Cancellation, Decision, FilterData, IntoResponse, RequestExt, SendBody, Stderr,
};
pub use http;
pub use metrics::{CancelledRequests, Metrics, RejectedRequests, RunningRequest, Snapshot};
pub use net::{Address, Listener, UnixBinding};
pub use request::CancelReason;
pub use server::{Report, Running, Server, Shutdown};

/// Serves the Responder role on the socket that this process was given, with the default limits, or answers the one
/// request that a web server runs it for as a plain CGI program.
///
/// It returns only with an error: a signal ends the process at once, whatever features are on. For a graceful shutdown
/// use [`Server::serve_inherited`] with `shutdown_on_signals` (feature `signals`).
///
/// # Errors
/// See [`Server::serve_inherited`].
pub fn serve<F, R>(handler: F) -> Result<()>
where
    F: Fn(http::Request<Body>) -> R + Send + Sync + 'static,
    R: IntoResponse,
{
    Server::new().responder(handler).serve_inherited().map(drop)
}
