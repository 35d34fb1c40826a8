//! Waiting for a peer that does not read, on threads that have nothing else to do.

use std::sync::Arc;

use log::debug;

use super::jobs::ConnectionJob;
use crate::connection::{Connection, MayBlock, Unsent};

/// A pooled thread that may wait for the peer of one connection.
struct FlushThread(());

impl MayBlock for FlushThread {}

/// Sends what could not be sent without waiting.
pub(super) fn flush(unsent: Unsent) -> ConnectionJob {
    Box::new(move || {
        if let Err(error) = unsent.flush(&FlushThread(())) {
            debug!("a peer went before all was sent: {error}");
        }
    })
}

/// Waits until the peer has read most of what it is sent.
pub(super) fn wait_for_room(connection: &Arc<Connection>) {
    connection.wait_for_room(&FlushThread(()));
}
