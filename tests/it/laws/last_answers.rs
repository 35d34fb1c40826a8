//! Verifies that the last answers of a connection, and its end behind them, come to a peer that reads late.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use fcgi::http::{Request, Response};
use fcgi::{Body, Server};
use rustix::net::sockopt::set_socket_send_buffer_size;

use super::{in_time, Site};
use crate::demo::wait_until;
use crate::peer::record::{self, RESPONDER};
use crate::peer::{Connection, Request as Sent};

/// So many refusals are more than may wait to be sent in an orderly way: 256 KiB.
const N_REFUSED: u16 = 4_000;

/// How long a peer reads nothing once all there is to come is due: the server has the time to give it up, and must not.
const SILENCE: Duration = Duration::from_millis(1_500);

fn server() -> Server {
    let server = Server::new().responder(|_: Request<Body>| Response::new(()));
    server.max_requests(usize::from(N_REFUSED)).read_timeout(Duration::from_millis(100))
}

/// Lets many requests on one connection be refused by the clock, and reads nothing of it.
fn let_many_be_refused(site: &Site, keep_conn: bool) -> Connection {
    let mut connection = site.connect();
    let begins = (1..=N_REFUSED).flat_map(|id| record::begin(id, RESPONDER, keep_conn));
    connection.send(&begins.collect::<Vec<u8>>());
    site.wait_for("all to be refused", |now| now.rejected.params_timed_out == u64::from(N_REFUSED));
    connection
}

/// Reads all, and then the end of the connection.
fn assert_ends_behind_all(mut connection: Connection) {
    connection.assert_closed();
    (1..=N_REFUSED).for_each(|id| assert_eq!(connection.answer(id).status, 408));
}

#[test]
fn an_idle_connection_with_much_to_be_read_ends_behind_it() {
    let site = Site::unix(server().idle_timeout(Duration::from_millis(300)));
    let connection = let_many_be_refused(&site, true);
    thread::sleep(SILENCE);
    assert_ends_behind_all(connection);
    site.stop();
}

#[test]
fn a_connection_with_much_to_be_read_ends_behind_it_in_a_shutdown() {
    let mut site = Site::unix(server());
    let connection = let_many_be_refused(&site, true);
    let stopped = site.begin_stop();
    thread::sleep(SILENCE);
    assert_ends_behind_all(connection);
    in_time("the end of the server", &stopped);
}

#[test]
fn a_connection_that_is_not_kept_ends_behind_all_that_was_refused_late() {
    let site = Site::unix(server());
    let connection = let_many_be_refused(&site, false);
    thread::sleep(SILENCE);
    assert_ends_behind_all(connection);
    site.stop();
}

#[test]
fn a_connection_that_is_not_kept_ends_behind_all_that_was_refused_at_once() {
    let handler = |_: Request<Body>| Response::new(vec![b'x'; 600_000]);
    let site = Site::unix(Server::new().responder(handler).max_requests(1));
    let mut connection = site.connect();
    connection.request(1).get("/").closing().send();
    site.wait_for("the handler", |now| now.busy_workers == 1);
    let begins = (2..=N_REFUSED).flat_map(|id| record::begin(id, RESPONDER, false));
    connection.send(&begins.collect::<Vec<u8>>());
    thread::sleep(SILENCE);
    assert_eq!(connection.answer(1).body.len(), 600_000);
    connection.assert_closed();
    site.stop();
}

/// A listener on whose connections the kernel keeps little of an answer.
fn tcp(server: Server) -> Site {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    set_socket_send_buffer_size(&listener, 16 << 10).unwrap();
    Site::on(listener, tempfile::tempdir().unwrap(), server)
}

#[test]
fn who_stops_inside_a_record_still_gets_the_answers_that_were_due() {
    // All at once have a worker, and are more than the kernel takes.
    let n_requests = 60;
    for site in [Site::unix, tcp] {
        let n_called = Arc::new(AtomicU16::new(0));
        let handler = {
            let n_called = n_called.clone();
            move |_: Request<Body>| {
                n_called.fetch_add(1, Ordering::Relaxed);
                Response::new(vec![b'x'; 15_000])
            }
        };
        let site = site(Server::new().responder(handler).read_timeout(Duration::from_millis(100)));
        let mut connection = site.connect();
        let requests = (1..=n_requests).flat_map(|id| Sent::detached(id).get("/").bytes());
        connection.send(&requests.collect::<Vec<u8>>());
        wait_until("all handlers", || n_called.load(Ordering::Relaxed) == n_requests);
        connection.send(&record::begin(n_requests + 1, RESPONDER, true)[..3]);
        thread::sleep(SILENCE);
        for id in 1..=n_requests {
            assert_eq!(connection.answer(id).body.len(), 15_000, "{id}");
        }
        site.stop();
    }
}
