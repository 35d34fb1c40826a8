//! Connections with answers that were left for a moment, so that they share a write with those that are due next.
//!
//! A web server that multiplexes sends many requests at once, and one worker often answers several of them in turn. It
//! may leave an answer unsent when more requests of the connection wait, but must not make it wait for their handlers:
//! any of them may be slow. So it does that only while another worker is being woken, who looks here first. Where there
//! is a processor for that worker it comes at once; where there is none, the answers collect until this one is done or
//! waits for something.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::connection::Connection;

#[derive(Default)]
pub(crate) struct Unsent {
    connections: Mutex<Vec<Arc<Connection>>>,
    /// Spares most a look under the lock.
    has_some: AtomicBool,
}

impl Unsent {
    /// Puts down a connection on which something was left.
    pub(crate) fn add(&self, connection: &Arc<Connection>) {
        let mut connections = self.connections.lock();
        if !connections.last().is_some_and(|last| Arc::ptr_eq(last, connection)) {
            connections.push(connection.clone());
        }
        self.has_some.store(true, Ordering::Release);
    }

    /// Sends what was left, without waiting for a peer that does not read.
    pub(crate) fn send(&self) {
        if self.has_some.load(Ordering::Acquire) {
            let connections = self.take();
            connections.iter().for_each(|connection| connection.send_left());
        }
    }

    fn take(&self) -> Vec<Arc<Connection>> {
        let mut connections = self.connections.lock();
        self.has_some.store(false, Ordering::Release);
        std::mem::take(&mut connections)
    }
}
