//! Verifies that the last answers of a connection, and its end behind them, come to a peer that reads late.

use std::thread;
use std::time::Duration;

use fcgi::http::{Request, Response};
use fcgi::{Body, Server};

use super::{in_time, Site};
use crate::peer::record::{self, RESPONDER};
use crate::peer::{Connection, Request as Sent};

/// So many refusals are more than may wait to be sent in an orderly way: 256 KiB.
const N_REFUSED: u16 = 4_000;

/// How long a peer reads nothing once all there is to come is due: the server has the time to give it up, and must not.
const SILENCE: Duration = Duration::from_millis(1_500);

fn server() -> Server {
    let handler = |_: Request<Body>| Response::new(vec![b'x'; 15_000]);
    Server::new().responder(handler).max_requests(usize::from(N_REFUSED)).read_timeout(Duration::from_millis(100))
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

#[test]
fn who_stops_inside_a_record_still_gets_the_answers_that_were_due() {
    for site in [Site::unix, Site::tcp] {
        let site = site(server());
        let mut connection = site.connect();
        // A little more than the kernel takes over a Unix socket, so that some wait to be sent, and every handler has
        // returned.
        let n_requests = 17;
        let requests = (1..=n_requests).flat_map(|id| Sent::detached(id).get("/").bytes());
        connection.send(&requests.collect::<Vec<u8>>());
        site.wait_for("all handlers to have returned", |now| {
            now.completed_requests + now.rejected.overloaded == u64::from(n_requests)
        });
        connection.send(&record::begin(n_requests + 1, RESPONDER, true)[..3]);
        thread::sleep(SILENCE);
        for id in 1..=n_requests {
            let answer = connection.answer(id);
            assert!(answer.status == 503 || answer.body.len() == 15_000, "{id}: {} bytes", answer.body.len());
        }
        site.stop();
    }
}
