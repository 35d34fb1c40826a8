//! The demo behind a real nginx, in every way in which nginx can be told to talk to it.

mod bodies;
mod cancellation;
mod connections;
mod routes;
mod server;

use std::thread;

use crate::demo::Demo;
use crate::http::{Client, Response};
use server::Nginx;

/// How nginx talks to the demo.
#[derive(Clone, Copy, Debug)]
struct Setup {
    /// `fastcgi_keep_conn on` and a pool of kept connections, or a connection for each request.
    keep_conn: bool,
    /// TCP, or a Unix socket.
    tcp: bool,
    /// Whole bodies first, in both directions, or each byte as it comes.
    buffering: bool,
}

impl Setup {
    /// All combinations.
    fn all() -> impl Iterator<Item = Setup> {
        (0..8).map(|bits| Setup { keep_conn: bits & 1 != 0, tcp: bits & 2 != 0, buffering: bits & 4 != 0 })
    }
}

/// A demo and the nginx in front of it.
struct Site {
    setup: Setup,
    nginx: Nginx,
    demo: Demo,
}

impl Site {
    fn start(setup: Setup) -> Site {
        let demo = if setup.tcp { Demo::tcp(&[]) } else { Demo::unix(&[]) };
        let nginx = Nginx::start(setup, demo.address());
        Site { setup, nginx, demo }
    }

    fn client(&self) -> Client {
        Client::connect(self.nginx.address())
    }

    /// Asks on a connection of its own.
    fn get(&self, target: &str) -> Response {
        self.client().get(target)
    }

    /// One of the demo's counters. This request is an active one itself.
    fn metric(&self, name: &str) -> u64 {
        let metrics = self.get("/metrics").json();
        metrics[name].as_u64().unwrap_or_else(|| panic!("no number {name} in {metrics}"))
    }

    fn still_works(&self) {
        assert_eq!(self.get("/hello").text(), "hello, world\n");
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("this was with {:?}", self.setup);
        }
    }
}

/// Runs a test on a fresh site in each wanted setup.
fn on_sites(is_wanted: impl Fn(&Setup) -> bool, test: impl Fn(&Site)) {
    Setup::all().filter(is_wanted).for_each(|setup| test(&Site::start(setup)));
}

fn any(_: &Setup) -> bool {
    true
}

fn unbuffered(setup: &Setup) -> bool {
    !setup.buffering
}
