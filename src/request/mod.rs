//! One request as data with locks.

pub(crate) mod buffers;
pub(crate) mod exchange;
pub(crate) mod pipe;
pub(crate) mod signal;
pub(crate) mod spool;

pub(crate) use buffers::{give_back, take_large_buffer, LARGE_BUFFER_LEN};
pub use exchange::{Cancellation, Stderr};
pub(crate) use exchange::{Exchange, Exchanges, KEPT_PARAMS_LEN};
pub(crate) use pipe::{End, Patience, PipeLimits, Pushed};
pub use signal::CancelReason;
