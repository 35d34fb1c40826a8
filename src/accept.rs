//! The thread that takes connections and hands them to readers.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use log::{error, info, warn};

use crate::connection::{Connection, ConnectionJob};
use crate::listener::{wait_for_wake, Listener};
use crate::metrics::Counter;
use crate::peers::Peers;
use crate::shared::{Admission, Shared};
use crate::socket::Socket;

/// How long the accept loop waits when connections cannot be taken: too many are open, here or in the process.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// How many connections a shutdown still takes: no kernel's backlog is longer than this by default.
const MAX_BACKLOG: usize = 4096;

/// What the accepting thread has.
pub(crate) struct Accept {
    pub(crate) server: Arc<Shared>,
    pub(crate) listener: Listener,
    pub(crate) peers: Peers,
    /// Can be read once the thread is to end.
    pub(crate) woken: UnixStream,
}

impl Accept {
    /// The life of the thread: until the shutdown begins.
    pub(crate) fn run(self) {
        info!("listening on {}", self.listener.address());
        let mut is_failing = false;
        while !self.server.is_draining() {
            let Err(error) = self.accept_or_wait() else {
                is_failing = false;
                continue;
            };
            // Out of descriptors or memory: others may end, and accepting goes on. One line is enough.
            if !std::mem::replace(&mut is_failing, true) {
                error!("cannot accept: {error}");
            }
            // A failure to wait only makes the pause shorter.
            let _: io::Result<()> = wait_for_wake(&self.woken, ACCEPT_PAUSE);
        }
        self.take_backlog();
        let address = self.listener.address().clone();
        // Nothing may come between the last look into the backlog and the end of the socket.
        drop(self);
        info!("no longer listening on {address}");
    }

    /// Takes the connections that the kernel has accepted: they would be reset together with the socket. On a socket
    /// that others share they would find another process, but nobody can know whether there is one.
    fn take_backlog(&self) {
        let accept_one = |_| match self.server.admission() {
            Admission::Wait => Err(io::ErrorKind::WouldBlock.into()),
            admission => self.accept(admission),
        };
        // It ends in an error: there is none left, or none can be taken.
        let _: io::Result<()> = (0..MAX_BACKLOG).try_for_each(accept_one);
    }

    fn accept_or_wait(&self) -> io::Result<()> {
        let admission = self.server.admission();
        if admission == Admission::Wait {
            return wait_for_wake(&self.woken, ACCEPT_PAUSE);
        }
        match self.accept(admission) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.listener.wait(&self.woken),
            accepted => accepted,
        }
    }

    fn accept(&self, admission: Admission) -> io::Result<()> {
        match self.listener.accept() {
            Ok(socket) => {
                self.serve(socket, admission);
                Ok(())
            }
            // The peer went away before it was accepted.
            Err(error) if is_of_one_connection(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn serve(&self, socket: Socket, admission: Admission) {
        let allowed = self.peers.allow(&socket);
        if !matches!(allowed, Ok(true)) {
            self.server.metrics.count(Counter::PeerRefused);
        }
        match allowed {
            Ok(true) => {}
            Ok(false) => return warn!("a connection from a peer that is not allowed; closed"),
            Err(error) => return warn!("a connection from a peer that cannot be told; closed: {error}"),
        }
        let connection = Connection::new(&self.server, socket, admission == Admission::Refuse);
        if !self.server.readers.submit(|| ConnectionJob::Read(connection)) {
            error!("no thread for a connection; closed");
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
