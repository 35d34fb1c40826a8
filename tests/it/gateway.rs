//! The example `gateway`, and the demo with its web server in the same process: what HTTP clients see of them.

mod alone;
mod bodies;
mod cancellation;
mod cut;
mod http;
mod program;

use std::net::SocketAddr;

use crate::demo::Demo;
use crate::http::{Client, Request, Response};
use crate::launchers::process::{command_of, Process};

/// A demo and the gateway in front of it.
struct Site {
    gateway: Gateway,
    demo: Demo,
}

/// A running gateway.
struct Gateway {
    process: Process,
    address: SocketAddr,
}

impl Gateway {
    fn start(application: &str) -> Gateway {
        let mut process = Process::start(command_of("gateway").args(["--app", application, "--http", "127.0.0.1:0"]));
        let address = http_address(&process.address());
        Gateway { process, address }
    }

    fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// Asks on a connection of its own.
    fn get(&self, target: &str) -> Response {
        self.client().get(target)
    }
}

impl Site {
    fn start(demo: Demo) -> Site {
        Site { gateway: Gateway::start(demo.address()), demo }
    }

    fn unix() -> Site {
        Site::start(Demo::unix(&[]))
    }

    fn client(&self) -> Client {
        self.gateway.client()
    }

    fn get(&self, target: &str) -> Response {
        self.gateway.get(target)
    }

    fn exchange(&self, request: &Request) -> Response {
        self.client().exchange(request)
    }

    fn assert_serves(&self) {
        assert_eq!(self.get("/hello").text(), "hello, world\n");
    }
}

/// Runs a scenario with a Unix socket and with TCP between the gateway and the demo.
fn over_both(scenario: impl Fn(&Site)) {
    for demo in [Demo::unix(&[]), Demo::tcp(&[])] {
        // Shown when the scenario fails.
        eprintln!("over {}", demo.address());
        scenario(&Site::start(demo));
    }
}

/// The address in the URL that a program printed.
pub(crate) fn http_address(url: &str) -> SocketAddr {
    let address = url.strip_prefix("http://").and_then(|rest| rest.strip_suffix('/'));
    address.and_then(|address| address.parse().ok()).unwrap_or_else(|| panic!("no URL of an address: {url:?}"))
}
