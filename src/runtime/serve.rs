//! The threads that run readers.

use std::sync::Arc;

use super::flush::wait_for_room;
use super::reader::{Pause, Reader};
use super::state::State;

/// Gives a connection a thread that reads it to its end, as soon as there is one.
pub(crate) fn read_on_a_thread(state: &Arc<State>, mut reader: Box<Reader>) {
    state.readers.submit(Box::new(move || {
        while reader.read() == Pause::Congested {
            wait_for_room(reader.connection());
        }
    }));
}
