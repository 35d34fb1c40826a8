//! Verifies the laws of the server with peers that do their worst, on servers in this process.

mod dropped;
mod durations;
mod gone;
mod half_closed;
mod ignored_errors;
mod last_answers;
mod logger;
mod outliving;
mod panics;
mod pausing;
mod progress;
mod queue;
mod sequential;
mod told;
mod unread;

use std::sync::mpsc::{self, Receiver};
use std::thread;

use fcgi::{Listener, Metrics, Report, Running, Server, Snapshot};
use tempfile::TempDir;

use crate::demo::{wait_until, PATIENCE};
use crate::peer::answer::Ending;
use crate::peer::Connection;

/// A server in this process. Its shutdown begins when it is dropped; only `stop` waits for its end.
struct Site {
    running: Option<Running>,
    metrics: Metrics,
    address: String,
    _directory: TempDir,
}

impl Site {
    fn unix(server: Server) -> Site {
        let directory = tempfile::tempdir().unwrap();
        let address = format!("unix:{}", directory.path().join("socket").display());
        Site::on(Listener::bind(&address).unwrap(), directory, server)
    }

    fn tcp(server: Server) -> Site {
        Site::on(Listener::bind("127.0.0.1:0").unwrap(), tempfile::tempdir().unwrap(), server)
    }

    fn on(listener: impl Into<Listener>, directory: TempDir, server: Server) -> Site {
        let running = server.spawn(listener).unwrap();
        let (metrics, address) = (running.metrics(), running.address().to_string());
        Site { running: Some(running), metrics, address, _directory: directory }
    }

    fn connect(&self) -> Connection {
        Connection::open(&self.address)
    }

    fn wait_for(&self, what: &str, is_so: impl Fn(&Snapshot) -> bool) {
        wait_until(what, || is_so(&self.metrics.snapshot()));
    }

    /// Shuts the server down on another thread, which says when it has come to its end.
    fn begin_stop(&mut self) -> Receiver<Report> {
        let running = self.running.take().unwrap();
        running.shutdown().signal();
        begin(move || running.join().unwrap())
    }

    /// Shuts the server down; fails when that does not come to its end in time.
    fn stop(mut self) -> Report {
        let stopped = self.begin_stop();
        in_time("the end of the server", &stopped)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.running.iter().for_each(|running| running.shutdown().signal());
    }
}

/// Does on another thread what may hang or panic.
fn begin<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
    let (sender, receiver) = mpsc::channel();
    // Not everybody wants to know.
    thread::spawn(move || drop(sender.send(work())));
    receiver
}

/// What work came to that began; fails when that hangs or panics.
fn in_time<T>(what: &str, begun: &Receiver<T>) -> T {
    begun.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("{what}: {error}"))
}

/// What comes for a request until END_REQUEST; `None` when the connection is closed without one.
fn ending_or_close(connection: &mut Connection, id: u16) -> Option<Ending> {
    while connection.is_active(id) {
        let bytes = connection.receive_once();
        if bytes.is_empty() {
            return None;
        }
        connection.judge(&bytes);
    }
    Some(connection.ending(id))
}
