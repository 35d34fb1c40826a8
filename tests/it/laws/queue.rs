//! Verifies that requests whose clients have gone leave their places in the queue to others.

use std::io::Write;
use std::net::TcpStream;
use std::sync::mpsc::{self, Sender};
use std::sync::Mutex;
use std::time::Duration;

use fcgi::http::{Request, Response};
use fcgi::{Body, Server};
use rustix::net::sockopt::set_socket_linger;

use super::Site;
use crate::demo::PATIENCE;
use crate::peer::{Connection, Request as Sent};

const N_WAITING: u64 = 4;

/// One worker, who does nothing before it is released, and then everything at once.
fn server() -> (Server, Sender<()>) {
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let handler = move |_: Request<Body>| {
        // Dropping the other end is what releases it.
        assert!(released.lock().unwrap().recv_timeout(PATIENCE * 2).is_err());
        Response::new("released\n")
    };
    (Server::new().responder(handler).workers(1).queue(N_WAITING as usize), release)
}

/// Fills the queue with requests of peers that then go away, and asks for as much in their place.
fn assert_places_are_given_to_others(site: Site, release: Sender<()>, go: impl Fn(&Site)) {
    let mut running = site.connect();
    running.request(1).get("/").send();
    site.wait_for("the first handler", |now| now.busy_workers == 1);
    go(&site);
    site.wait_for("the loss of all who waited", |now| now.cancelled.disconnected == N_WAITING);
    let mut living: Vec<Connection> = (0..N_WAITING).map(|_| site.connect()).collect();
    for connection in &mut living {
        connection.request(1).get("/").send();
        // The answer to a question that came behind it says that it was begun, or refused.
        connection.assert_usable();
    }
    assert_eq!(site.metrics.snapshot().rejected.overloaded, 0);
    assert!(living.iter().all(|connection| connection.is_active(1)));
    // There is no place for one more.
    let mut other = site.connect();
    other.request(1).get("/").send();
    assert_eq!(other.answer(1).status, 503);
    drop(release);
    for connection in living.iter_mut().chain([&mut running]) {
        assert_eq!(connection.answer(1).text(), "released\n");
    }
    site.stop();
}

/// Peers that wait in the queue, and then go.
fn wait_and_leave(site: &Site) {
    let mut waiting: Vec<Connection> = (0..N_WAITING).map(|_| site.connect()).collect();
    waiting.iter_mut().for_each(|connection| connection.request(1).get("/").send());
    site.wait_for("a full queue", |now| now.queued_requests == N_WAITING);
}

#[test]
fn requests_of_closed_unix_connections_leave_the_queue() {
    let (server, release) = server();
    assert_places_are_given_to_others(Site::unix(server), release, wait_and_leave);
}

#[test]
fn requests_of_closed_tcp_connections_leave_the_queue() {
    let (server, release) = server();
    assert_places_are_given_to_others(Site::tcp(server), release, wait_and_leave);
}

#[test]
fn requests_of_reset_tcp_connections_leave_the_queue() {
    let (server, release) = server();
    assert_places_are_given_to_others(Site::tcp(server), release, |site| {
        let mut waiting: Vec<TcpStream> = (0..N_WAITING).map(|_| TcpStream::connect(&site.address).unwrap()).collect();
        for connection in &mut waiting {
            connection.write_all(&Sent::detached(1).get("/").bytes()).unwrap();
            set_socket_linger(&*connection, Some(Duration::ZERO)).unwrap();
        }
        site.wait_for("a full queue", |now| now.queued_requests == N_WAITING);
    });
}

#[test]
fn requests_of_one_closed_connection_leave_the_queue() {
    let (server, release) = server();
    assert_places_are_given_to_others(Site::unix(server), release, |site| {
        let mut connection = site.connect();
        (1..=N_WAITING as u16).for_each(|id| connection.request(id).get("/").send());
        site.wait_for("a full queue", |now| now.queued_requests == N_WAITING);
    });
}
