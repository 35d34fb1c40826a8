//! Signals that begin the shutdown of a server.

use log::info;
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use signal_hook::low_level::exit;

use super::Shutdown;
use crate::error::{Error, Result};
use crate::runtime::spawn_thread;

/// Starts a thread that takes the signals; it lives as long as the process.
pub(crate) fn shut_down_on_signals(shutdown: Shutdown) -> Result<()> {
    let signals = Signals::new([SIGTERM, SIGINT, SIGUSR1]);
    let mut signals = signals.map_err(|error| Error::io("cannot take signals", error))?;
    let wait = move || {
        let mut received = signals.forever();
        if let Some(signal) = received.next() {
            shutdown.signal();
            info!("signal {signal}: shutting down");
        }
        if let Some(signal) = received.next() {
            // As the shell counts it: the process was ended by this signal.
            exit(128 + signal);
        }
    };
    spawn_thread("fcgi-signals", wait).map(drop)
}
