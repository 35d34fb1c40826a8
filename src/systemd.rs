//! Sockets that systemd hands over, and what it is told in return.

use listenfd::ListenFd;
use log::warn;
use sd_notify::NotifyState;

use crate::error::{Error, Result};
use crate::listener::Listener;

/// The first socket of LISTEN_FDS, when they are meant for this process (LISTEN_PID).
pub(crate) fn listener() -> Result<Option<Listener>> {
    let cannot = |error| Error::io("the first socket of LISTEN_FDS is not a listening stream socket", error);
    let mut sockets = ListenFd::from_env();
    if sockets.len() > 1 {
        warn!("{} sockets in LISTEN_FDS: only the first is used", sockets.len());
    }
    if sockets.len() == 0 {
        return Ok(None);
    }
    // A socket of another family stays where it is.
    if let Ok(Some(listener)) = sockets.take_unix_listener(0) {
        return Ok(Some(listener.into()));
    }
    sockets.take_tcp_listener(0).map(|listener| listener.map(Listener::from)).map_err(cannot)
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
