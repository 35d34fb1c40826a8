//! What the threads do.

pub(crate) mod accept;
pub(crate) mod answer;
pub(crate) mod clock;
pub(crate) mod lobby;
pub(crate) mod pool;
pub(crate) mod reader;
pub(crate) mod state;
pub(crate) mod threads;
pub(crate) mod unsent;
pub(crate) mod worker;

pub(crate) use accept::Accept;
pub use answer::BodyWriter;
pub(crate) use clock::cancel;
pub(crate) use clock::run as run_clock;
pub(crate) use reader::{ConnectionJob, Reader};
pub(crate) use state::Shared;
pub(crate) use threads::spawn_thread;
