//! Locks, condition variables, atomics, and what else threads share: the real ones, or those of the model checker.
//!
//! The code that runs is the code that is modelled: with `cfg(loom)` the same sources are compiled with loom's primitives.

#[cfg(not(loom))]
pub(crate) use real::*;

#[cfg(loom)]
pub(crate) use modelled::*;

#[cfg(loom)]
#[path = "../tests/models/primitives.rs"]
mod modelled;

#[cfg(not(loom))]
mod real {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicU8, Ordering};
    pub(crate) use std::thread::yield_now;

    pub(crate) use crossbeam_channel::{unbounded, Receiver, Sender};
    pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};

    /// Lets the thread that made it sleep until it is woken.
    pub(crate) struct Parker(std::thread::Thread);

    impl Parker {
        pub(crate) fn new() -> Parker {
            Parker(std::thread::current())
        }

        /// Sleeps until woken, and perhaps not as long; only for the thread that made it.
        pub(crate) fn park(&self) {
            std::thread::park();
        }

        pub(crate) fn unpark(&self) {
            self.0.unpark();
        }
    }

    /// Starts a thread with this name and this much stack, in bytes.
    pub(crate) fn start_thread(
        name: &str,
        stack_len: usize,
        run: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<()> {
        std::thread::Builder::new().name(name.to_owned()).stack_size(stack_len).spawn(run).map(drop)
    }
}
