//! Threads of their own, with names: the others are in pools.

use std::thread::{Builder, JoinHandle};

use crate::error::{Error, Result};

pub(crate) fn spawn_thread(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    let builder = Builder::new().name(name.to_owned());
    builder.spawn(run).map_err(|error| Error::io("cannot start a thread", error))
}
