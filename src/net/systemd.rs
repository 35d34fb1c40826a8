//! Sockets that systemd hands over, and what it is told in return.

use std::os::fd::OwnedFd;

use listenfd::ListenFd;
use log::warn;
use sd_notify::NotifyState;

use crate::error::{Error, Result};

/// The first socket of LISTEN_FDS, when they are meant for this process (LISTEN_PID).
pub(crate) fn socket() -> Result<Option<OwnedFd>> {
    let mut sockets = ListenFd::from_env();
    match sockets.len() {
        0 => return Ok(None),
        1 => {}
        n => warn!("{n} sockets in LISTEN_FDS: only the first is used"),
    }
    // A socket of the other family stays where it is.
    if let Ok(Some(listener)) = sockets.take_unix_listener(0) {
        return Ok(Some(listener.into()));
    }
    let listener = sockets.take_tcp_listener(0);
    let cannot = |error| Error::io("the first socket of LISTEN_FDS is not a listening stream socket", error);
    listener.map(|listener| listener.map(OwnedFd::from)).map_err(cannot)
}

/// The service accepts connections. Without NOTIFY_SOCKET nobody is told.
pub(crate) fn notify_ready() {
    notify(NotifyState::Ready);
}

/// The service is shutting down.
pub(crate) fn notify_stopping() {
    notify(NotifyState::Stopping);
}

fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(false, &[state]) {
        warn!("systemd cannot be notified: {error}");
    }
}
