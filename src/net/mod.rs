//! Sockets: listening, accepted and made, and who may connect. What differs between systems stands here.
//!
//! In scope: system calls on sockets and socket files. Out of scope: records, requests, threads.

mod listener;
mod peers;
mod socket;
#[cfg(feature = "systemd")]
mod systemd;
mod unix_socket;

pub(crate) use listener::wait_for_wake;
pub use listener::{Address, Listener, UnixBinding};
pub(crate) use peers::Peers;
pub(crate) use socket::Socket;
#[cfg(feature = "systemd")]
pub(crate) use systemd::{notify_ready, notify_stopping};
