//! Waiting for a peer that does not read, on threads that have nothing else to do.

use std::sync::Arc;

use super::jobs::ConnectionJob;
use crate::connection::{Connection, MayBlock, Unsent};

/// A pooled thread that may wait for the peer of one connection.
struct FlushThread(());

impl MayBlock for FlushThread {}

/// Sends what could not be sent without waiting.
pub(super) fn flush(unsent: Unsent) -> ConnectionJob {
    Box::new(move || {
        // Whoever reads the connection meets the error, too.
        drop(unsent.flush(&FlushThread(())));
    })
}

/// Waits until the peer has taken most of what waited to be sent.
pub(super) fn wait_for_room(connection: &Arc<Connection>) {
    connection.wait_for_room(&FlushThread(()));
}
