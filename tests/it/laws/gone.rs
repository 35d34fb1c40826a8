//! Verifies that peers which have gone keep nothing that others want: no connection, no worker, no thread.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use fcgi::http::{Request, Response};
use fcgi::{Body, Cancellation, RequestExt, SendBody, Server};

use super::{ending_or_close, in_time, Site};
use crate::demo::PATIENCE;
use crate::peer::{record, Request as Sent};

/// Blocks at `/wait` until it is released, and is quick elsewhere.
fn blocking(released: Receiver<()>) -> Server {
    let released = Mutex::new(released);
    Server::new().responder(move |request: Request<Body>| {
        if request.uri().path() == "/wait" {
            released.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        }
        Response::new("hello")
    })
}

#[test]
fn connections_of_peers_that_have_gone_are_there_for_others() {
    let (release, released) = mpsc::channel();
    let site = Site::unix(blocking(released).workers(1).max_connections(8));
    let mut busy = site.connect();
    busy.request(1).get("/wait").send();
    site.wait_for("the worker to be busy", |now| now.busy_workers == 1);
    for n in 0..40 {
        let mut connection = site.connect();
        connection.request(1).get("/").send();
        site.wait_for("a request in the queue", |now| now.cancelled.disconnected + now.queued_requests > n);
        drop(connection);
        site.wait_for("its end", |now| now.queued_requests == 0);
    }
    assert_eq!(site.metrics.snapshot().rejected_requests, 0);
    let mut living = site.connect();
    living.request(1).get("/").send();
    release.send(()).unwrap();
    assert_eq!((busy.answer(1).status, living.answer(1).status), (200, 200));
    site.stop();
}

#[test]
fn a_peer_that_asks_without_end_keeps_no_worker() {
    let handler = |_: Request<Body>| Response::new(vec![b'x'; 300_000]);
    let server = Server::new().responder(handler).workers(1).request_timeout(Duration::from_millis(300));
    let site = Site::unix(server);
    let mut flooding = UnixStream::connect(site.address.strip_prefix("unix:").unwrap()).unwrap();
    flooding.set_read_timeout(Some(PATIENCE)).unwrap();
    flooding.write_all(&Sent::detached(1).get("/").bytes()).unwrap();
    site.wait_for("the worker to be busy", |now| now.busy_workers == 1);
    // Each question has an answer, which the worker would send along with its own.
    let questions = [1, 77, 0, 0, 0, 0, 0, 0].repeat(20);
    let mut taken = [0; 320];
    for _ in 0..10_000 {
        // It ends with the request.
        if flooding.write_all(&questions).is_err() || !flooding.read(&mut taken).is_ok_and(|len| len > 0) {
            break;
        }
    }
    site.wait_for("the worker to be free", |now| now.busy_workers == 0);
    drop(flooding);
    site.stop();
}

/// A byte now and then, for ever.
struct Drip;

impl Read for Drip {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        thread::sleep(Duration::from_millis(5));
        buffer[0] = b'x';
        Ok(1)
    }
}

#[test]
fn a_reader_that_yields_little_at_a_time_learns_of_the_cancellation() {
    let handler = |_: Request<Body>| Response::new(SendBody::reader(Drip));
    let site = Site::unix(Server::new().responder(handler));
    let mut connection = site.connect();
    connection.request(1).get("/").send();
    site.wait_for("the worker to be busy", |now| now.busy_workers == 1);
    connection.abort(1);
    assert!(ending_or_close(&mut connection, 1).is_some());
    site.wait_for("the worker to be free", |now| now.busy_workers == 0);
    site.stop();
}

#[test]
fn who_waits_for_the_cancellation_of_a_request_is_woken_at_its_end() {
    let (sender, kept) = mpsc::channel::<Cancellation>();
    let sender = Mutex::new(sender);
    let site = Site::unix(Server::new().responder(move |request: Request<Body>| {
        sender.lock().unwrap().send(request.cancellation()).unwrap();
        Response::new("hello")
    }));
    let mut connection = site.connect();
    connection.request(1).get("/").send();
    let cancellation = kept.recv_timeout(PATIENCE).unwrap();
    let woken = super::begin(move || cancellation.wait(Duration::MAX));
    assert_eq!(connection.answer(1).status, 200);
    assert_eq!(in_time("the end of the wait", &woken), None);
    site.stop();
}

#[test]
fn a_request_whose_meta_variables_never_come_is_overdue_with_the_request() {
    let server = Server::new().responder(|_: Request<Body>| Response::new("hello"));
    let site = Site::unix(server.request_timeout(Duration::from_millis(100)).read_timeout(Duration::MAX));
    let mut connection = site.connect();
    connection.send(&record::begin(1, record::RESPONDER, true));
    assert_eq!(connection.answer(1).status, 408);
    site.stop();
}
