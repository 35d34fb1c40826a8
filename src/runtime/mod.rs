//! What the threads of a server do.
//!
//! In scope: who reads, who runs handlers, who watches the time, and where each waits. Out of scope: what a connection
//! and a request are; they are data, in `connection` and `request`.
//!
//! ```text
//!   accept --> lobby --> serve: a reader for each connection --Work--> Pool --> worker: handler, answer
//!                            |  what cannot be sent at once                       waits for its peer
//!   clock --cancel, refuse---+--> flush: waits for a peer
//! ```
//!
//! Readers, the clock and the accepting thread post to a connection and never wait for its peer: what waits takes a
//! value that only `worker.rs` and `flush.rs` can make ([`MayBlock`](crate::connection::MayBlock)).

mod accept;
mod answer;
mod clock;
mod failure;
mod flush;
mod jobs;
mod lobby;
mod pool;
mod reader;
mod serve;
mod state;
mod threads;
mod worker;

pub(crate) use accept::Accept;
pub(crate) use clock::cancel;
pub(crate) use clock::run as run_clock;
#[cfg(all(loom, test))]
pub(crate) use pool::{Job, Pool, PoolLimits};
pub(crate) use reader::Reader;
pub(crate) use serve::read_on_a_thread;
pub(crate) use state::State;
pub(crate) use threads::spawn_thread;
