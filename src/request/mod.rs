//! One request as data with locks: its state, its cancellation, and its input streams.
//!
//! In scope: what the threads that serve one request share. Each lock is held for a moment, none while using a file.
//! Out of scope: connections, records, threads.
//!
//! ```text
//!   reader --push--> Pipe --next--> handler
//!   reader, clock, shutdown --cancel--> Signal --> handler, and whoever writes the response
//!   worker --claim--> or <--claim-- whoever ends a request that waits: one of them has it
//! ```

mod buffers;
mod pipe;
mod signal;
mod spool;
mod state;

pub(crate) use buffers::{give_back, take_large_buffer, LARGE_BUFFER_LEN};
#[cfg(all(loom, test))]
pub(crate) use pipe::Pipe;
pub(crate) use pipe::{End, PipeLimits, Pushed};
pub(crate) use signal::Cancel;
pub use signal::CancelReason;
pub(crate) use state::{Claim, RequestState};
