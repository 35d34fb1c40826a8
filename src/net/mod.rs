//! Sockets: listening, accepted and made, and who may connect. What differs between systems stands here.
//!
//! In scope: system calls on sockets and socket files. Out of scope: records, requests, threads.

pub(crate) mod listener;
pub(crate) mod peers;
pub(crate) mod socket;
#[cfg(feature = "systemd")]
pub(crate) mod systemd;
pub(crate) mod unix_socket;

pub(crate) use listener::wait_for_wake;
pub use listener::{Address, Listener, UnixBinding};
pub(crate) use peers::Peers;
pub(crate) use socket::Socket;
