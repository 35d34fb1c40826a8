//! The connections of one server, and waiting for them to come and go.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// The connections that exist: each is in it from its making until its last user lets go of it.
pub(crate) struct Registry<T> {
    connections: Mutex<HashMap<u64, Weak<T>>>,
    next_number: AtomicU64,
    /// There was none, and there is one now.
    appeared: Condvar,
    /// There is none any more.
    emptied: Condvar,
    /// The clock is to look up at once.
    ticked: Condvar,
}

impl<T> Default for Registry<T> {
    fn default() -> Registry<T> {
        Registry {
            connections: Mutex::default(),
            next_number: AtomicU64::new(0),
            appeared: Condvar::new(),
            emptied: Condvar::new(),
            ticked: Condvar::new(),
        }
    }
}

impl<T> Registry<T> {
    pub(crate) fn next_number(&self) -> u64 {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn add(&self, number: u64, connection: &Arc<T>) {
        self.connections.lock().insert(number, Arc::downgrade(connection));
        self.appeared.notify_all();
    }

    pub(crate) fn remove(&self, number: u64) {
        let is_empty = {
            let mut connections = self.connections.lock();
            connections.remove(&number);
            connections.is_empty()
        };
        if is_empty {
            self.emptied.notify_all();
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.connections.lock().len()
    }

    /// All connections, to be looked at without the lock.
    pub(crate) fn all(&self) -> Vec<Arc<T>> {
        self.connections.lock().values().filter_map(Weak::upgrade).collect()
    }

    /// Waits until there is no connection, and at most until `deadline`; whether there is none.
    pub(crate) fn wait_until_empty(&self, deadline: Instant) -> bool {
        let mut connections = self.connections.lock();
        while !connections.is_empty() {
            if self.emptied.wait_until(&mut connections, deadline).timed_out() {
                return connections.is_empty();
            }
        }
        true
    }

    /// Waits as long as there is no connection, and until it `is_over`.
    pub(crate) fn wait_for_one(&self, is_over: impl Fn() -> bool) {
        let mut connections = self.connections.lock();
        while connections.is_empty() && !is_over() {
            self.appeared.wait(&mut connections);
        }
    }

    /// Waits for `time`, and until it `is_over`.
    pub(crate) fn wait_for_tick(&self, time: Duration, is_over: impl Fn() -> bool) {
        let mut connections = self.connections.lock();
        let deadline = Instant::now() + time;
        while !is_over() && !self.ticked.wait_until(&mut connections, deadline).timed_out() {}
    }

    /// Wakes who waits for a tick.
    pub(crate) fn wake(&self) {
        drop(self.connections.lock());
        self.appeared.notify_all();
        self.ticked.notify_all();
    }
}
