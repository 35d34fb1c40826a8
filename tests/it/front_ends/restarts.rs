//! Processes are replaced under constant load, and no request fails: several machines behind HAProxy, and one socket
//! behind nginx that outlives the processes.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::application::open_socket;
use super::haproxy::CLUSTER;
use super::nginx::{APPLICATION, KEPT_BUFFERED, LISTEN, PARAMETERS};
use super::server::WebServer;
use super::FrontEnd;
use crate::demo::{wait_until, Demo};
use crate::http::{Client, Request};
use crate::launchers::process::Process;
use crate::launchers::systemd::{handed_over, sockets, HAND_OVER};

/// As many as nginx keeps connections in the file of `examples/deploy/`.
const CLIENTS: usize = 8;

/// So many answers show that a process takes part.
const SHARE: usize = 30;

/// Clients that ask without a pause until this is dropped. One that gets anything but its own answer panics.
struct Load<'a> {
    address: SocketAddr,
    is_over: &'a AtomicBool,
    n_answered: &'a AtomicUsize,
}

impl Load<'_> {
    fn run(&self, client: usize) {
        let mut connection = Client::connect(self.address);
        for number in 0.. {
            if self.is_over.load(Ordering::Relaxed) {
                return;
            }
            ask(&mut connection, client, number);
            self.n_answered.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// GET and POST in turn, each with a token that no other request has.
fn ask(connection: &mut Client, client: usize, number: usize) {
    let token = format!("client-{client}-request-{number}");
    let response = match number % 2 {
        0 => connection.get(&format!("/headers?{token}")),
        _ => connection.exchange(&Request::new("POST", "/echo").body(token.as_str())),
    };
    assert_eq!(response.status, 200, "{token}: {:?}", response.text());
    match number % 2 {
        0 => assert_eq!(response.json()["uri"], format!("/headers?{token}")),
        _ => assert_eq!(response.text(), token),
    }
}

/// Ends the load also when the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Does something while clients ask the web server. It gets the number of requests that have been answered; what it
/// gives back is there until the last one is.
fn under_load<R>(address: SocketAddr, work: impl FnOnce(&AtomicUsize) -> R) -> R {
    let (is_over, n_answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let over = Over(&is_over);
        for client in 0..CLIENTS {
            let load = Load { address, is_over: &is_over, n_answered: &n_answered };
            scope.spawn(move || load.run(client));
        }
        let result = work(&n_answered);
        drop(over);
        result
    })
}

fn wait_for_more(n_answered: &AtomicUsize) {
    let before = n_answered.load(Ordering::Relaxed);
    wait_until("more answers", || n_answered.load(Ordering::Relaxed) >= before + SHARE);
}

/// Waits until the process has answered its share of the load.
fn wait_until_it_serves(demo: &Demo) {
    let mut n_asked = 0;
    wait_until("the process to get its share", || {
        n_asked += 1;
        demo.counter("completed_requests") >= n_asked + SHARE as u64
    });
}

/// A port that is free at both addresses, as if they were two machines. Nothing else uses them.
fn free_port(addresses: [&str; 2]) -> u16 {
    let port_of = |listener: &TcpListener| listener.local_addr().expect("an address").port();
    let free_at_both = |_| {
        let first = TcpListener::bind((addresses[0], 0)).expect("a free port");
        TcpListener::bind((addresses[1], port_of(&first))).is_ok().then(|| port_of(&first))
    };
    (0..20).find_map(free_at_both).expect("a port that is free at both addresses")
}

#[test]
#[ignore = "needs haproxy; tests/run installs it"]
fn machines_are_restarted_in_turn_and_no_request_fails() {
    let addresses = ["127.0.0.2", "127.0.0.3"];
    let port = free_port(addresses);
    let start = |address| Demo::at(&format!("{address}:{port}"));
    let mut demos = VecDeque::from(addresses.map(start));
    let haproxy = WebServer::start(&CLUSTER, |text| text.replace("@APPLICATION@", &port.to_string()));
    under_load(haproxy.address(), |_| {
        for address in addresses {
            demos.iter().for_each(wait_until_it_serves);
            let restarted = demos.pop_front().expect("the first of two");
            assert_eq!(restarted.stop().code(), Some(0));
            demos.push_back(start(address));
        }
        demos.iter().for_each(wait_until_it_serves);
        demos
    });
}

#[test]
#[ignore = "needs nginx; tests/run installs it"]
fn a_service_is_restarted_on_a_socket_that_stays_and_no_request_fails() {
    behind_nginx(|socket, n_answered| {
        let mut service = start_service(socket);
        for _ in 0..3 {
            wait_for_more(n_answered);
            // Requests wait in the backlog until the next process is there.
            stop_service(service);
            service = start_service(socket);
        }
        wait_for_more(n_answered);
        vec![service]
    });
}

#[test]
#[ignore = "needs nginx; tests/run installs it"]
fn instances_on_one_socket_are_replaced_in_turn_and_no_request_fails() {
    behind_nginx(|socket, n_answered| {
        let mut services = VecDeque::from([start_service(socket), start_service(socket)]);
        for _ in 0..3 {
            wait_for_more(n_answered);
            stop_service(services.pop_front().expect("the older one"));
            services.push_back(start_service(socket));
        }
        wait_for_more(n_answered);
        services.into()
    });
}

/// nginx must be told that it may repeat a POST which meets the end of a kept connection.
const REPEAT: (&str, &str) = ("#fastcgi_next_upstream", "fastcgi_next_upstream");

const OVER_UNIX: FrontEnd = FrontEnd { substitutions: &[LISTEN, APPLICATION, PARAMETERS, REPEAT], ..KEPT_BUFFERED };

const OVER_TCP: FrontEnd =
    FrontEnd { substitutions: &[LISTEN, ("unix:/run/app.sock", "@APPLICATION@"), PARAMETERS, REPEAT], ..KEPT_BUFFERED };

/// With sockets that outlive the processes which serve them: systemd's part in this.
fn behind_nginx(scenario: impl Fn(&OwnedFd, &AtomicUsize) -> Vec<Process>) {
    let directory = tempfile::tempdir().expect("a directory");
    let [(unix, path), (tcp, address)] = sockets(directory.path());
    let path = path.trim_start_matches("unix:");
    open_socket(Path::new(path));
    for (front_end, socket, application) in [(&OVER_UNIX, unix, path), (&OVER_TCP, tcp, address.as_str())] {
        let nginx = WebServer::start(front_end, |text| text.replace("@APPLICATION@", application));
        under_load(nginx.address(), |n_answered| scenario(&socket, n_answered)).into_iter().for_each(stop_service);
    }
}

fn start_service(socket: &OwnedFd) -> Process {
    let mut service = Process::start(&mut handed_over(HAND_OVER, socket.try_clone().expect("a descriptor")));
    service.address();
    service
}

fn stop_service(service: Process) {
    let output = service.stop();
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
}
