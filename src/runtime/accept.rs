//! The thread that takes connections and hands them to readers, and looks after those in the lobby.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::lobby::Lobby;
use super::state::{Admission, State};
use crate::connection::Connection;
use crate::journal::note;
use crate::metrics::Counter;
use crate::net::{wait_for_wake, Listener, Peers, Socket};

/// How long the accept loop waits when connections cannot be taken: too many are open, here or in the process.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// How many connections a shutdown still takes: no kernel's backlog is longer than this by default.
const MAX_BACKLOG: usize = 4096;

/// How many connections are taken before their requests are given to the workers, who may take the processor over.
const MAX_BURST: usize = 16;

/// What the accepting thread has.
pub(crate) struct Accept {
    pub(crate) state: Arc<State>,
    pub(crate) listener: Listener,
    pub(crate) peers: Peers,
    /// Can be read once the thread is to end.
    pub(crate) woken: UnixStream,
    /// Its other end, kept open: whoever could begin the shutdown may have gone.
    pub(crate) _wake: Arc<UnixStream>,
}

impl Accept {
    /// The life of the thread: until the shutdown begins.
    pub(crate) fn run(self) {
        note!(self.state.context.journal, Info, "listening on {}", self.listener.address());
        let mut lobby = Lobby::new();
        let mut is_failing = false;
        while !self.state.context.is_draining() {
            let Err(error) = self.accept_or_wait(&mut lobby) else {
                is_failing = false;
                continue;
            };
            // Out of descriptors or memory: others may end, and accepting goes on. One line is enough.
            if !std::mem::replace(&mut is_failing, true) {
                note!(self.state.context.journal, Error, "cannot accept: {error}");
            }
            // A failure to wait only makes the pause shorter.
            let _: io::Result<()> = wait_for_wake(&self.woken, ACCEPT_PAUSE);
        }
        let (state, address) = (self.state.clone(), self.listener.address().clone());
        self.listener.remove_file();
        self.take_backlog(&mut lobby);
        // Nothing may come between the last look into the backlog and the end of the socket.
        drop(self);
        lobby.close(&state);
        state.workers.wake();
        note!(state.context.journal, Info, "no longer listening on {address}");
    }

    /// Takes the connections that the kernel has accepted: they would be reset together with the socket. On a socket
    /// that others share they would find another process, but nobody can know whether there is one.
    fn take_backlog(&self, lobby: &mut Lobby) {
        // It ends when there is none left, or none can be taken.
        let _: Result<(), Halt> = (0..MAX_BACKLOG).try_for_each(|_| self.accept_one(lobby));
    }

    fn accept_or_wait(&self, lobby: &mut Lobby) -> io::Result<()> {
        let burst = (0..MAX_BURST).try_for_each(|_| self.accept_one(lobby));
        let patience = lobby.look_after(&self.state, Instant::now());
        self.state.workers.wake();
        match burst {
            Ok(()) => Ok(()),
            Err(Halt::NoneLeft) => self.listener.wait(&self.woken, patience),
            Err(Halt::Full) => wait_for_wake(&self.woken, ACCEPT_PAUSE),
            Err(Halt::Failed(error)) => Err(error),
        }
    }

    fn accept_one(&self, lobby: &mut Lobby) -> Result<(), Halt> {
        let admission = match self.admission(lobby) {
            Admission::Wait => return Err(Halt::Full),
            admission => admission,
        };
        match self.listener.accept() {
            Ok(socket) => {
                self.serve(socket, admission, lobby);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(Halt::NoneLeft),
            // The peer went away before it was accepted.
            Err(error) if is_of_one_connection(&error) => Ok(()),
            Err(error) => Err(Halt::Failed(error)),
        }
    }

    /// What to do with one more connection. Those in the lobby that are over do not count.
    fn admission(&self, lobby: &mut Lobby) -> Admission {
        match self.state.admission() {
            Admission::Serve => Admission::Serve,
            _ => {
                lobby.let_go();
                self.state.workers.sweep();
                self.state.admission()
            }
        }
    }

    fn serve(&self, socket: Socket, admission: Admission, lobby: &mut Lobby) {
        let allowed = self.peers.allow(&socket);
        if !matches!(allowed, Ok(true)) {
            self.state.context.metrics.count(Counter::PeerRefused);
        }
        match allowed {
            Ok(true) => {}
            Ok(false) => {
                note!(self.state.context.journal, Warn, "a connection from a peer that is not allowed; closed");
                return;
            }
            Err(error) => {
                note!(
                    self.state.context.journal,
                    Warn,
                    "a connection from a peer that cannot be told; closed: {error}"
                );
                return;
            }
        }
        lobby.admit(
            &self.state,
            Connection::new(&self.state.context, &self.state.connections, socket, admission == Admission::Refuse),
        );
    }
}

/// Why no connection was taken.
enum Halt {
    NoneLeft,
    /// There are too many.
    Full,
    Failed(io::Error),
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
