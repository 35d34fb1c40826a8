//! Verifies that every setting that is a time can have any value: no time at all, a moment, and for ever.

use std::io::{self, Write};
use std::sync::mpsc::{self, Receiver};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use fcgi::http::{Request, Response};
use fcgi::{Body, CancelReason, RequestExt, SendBody, Server};

use super::{ending_or_close, in_time, Site};
use crate::demo::PATIENCE;
use crate::peer::record::{self, PARAMS, RESPONDER};
use crate::peer::{Connection, Request as Sent};

type Setter = fn(Server, Duration) -> Server;

/// Each setting, and whether requests are answered however short it is.
const SETTINGS: [(&str, Setter, bool); 6] = [
    ("read_timeout", Server::read_timeout, false),
    ("write_timeout", Server::write_timeout, false),
    ("idle_timeout", Server::idle_timeout, false),
    ("request_timeout", Server::request_timeout, false),
    ("slow_request", Server::slow_request, true),
    ("shutdown_grace", Server::shutdown_grace, true),
];

const MOMENTS: [Duration; 2] = [Duration::ZERO, Duration::from_nanos(1)];

fn hello() -> Server {
    Server::new().responder(|_: Request<Body>| Response::new("hello, world\n"))
}

/// Serves what the setting allows, and ends.
fn assert_starts_serves_and_ends(server: Server, answers: bool) {
    let site = Site::unix(server);
    let mut idle = site.connect();
    // A connection may be closed before anything was sent on it.
    let _: io::Result<()> = idle.try_send(&Sent::detached(1).get("/").bytes());
    for _ in 0..3 {
        let mut connection = site.connect();
        let _: io::Result<()> = connection.try_send(&Sent::detached(1).get("/").closing().bytes());
        let received = connection.drain();
        let is_answered = received.windows(11).any(|window| window == b"Status: 200");
        assert!(is_answered || !answers, "{:?}", String::from_utf8_lossy(&received));
    }
    site.stop();
    idle.drain();
}

#[test]
fn a_server_starts_serves_and_ends_with_any_time() {
    let rows = SETTINGS.into_iter().flat_map(|setting| {
        [Duration::ZERO, Duration::from_nanos(1), Duration::MAX].into_iter().map(move |time| (setting, time))
    });
    thread::scope(|scope| {
        for ((name, set, always_answers), time) in rows {
            let run = move || {
                let answers = always_answers || time == Duration::MAX;
                assert_starts_serves_and_ends(set(hello(), time), answers);
            };
            thread::Builder::new().name(format!("{name} {time:?}")).spawn_scoped(scope, run).unwrap();
        }
    });
}

fn forever() -> Server {
    SETTINGS.into_iter().fold(hello(), |server, (_, set, _)| set(server, Duration::MAX))
}

#[test]
fn nothing_times_out_where_all_times_are_endless() {
    let site = Site::unix(forever());
    let request = Sent::detached(1).get("/");
    let mut cut_header = site.connect();
    cut_header.send(&request.bytes()[..3]);
    let mut cut_params = site.connect();
    cut_params.send(&request.begin());
    let mut idle = site.connect();
    // Longer than any tick of the clock.
    thread::sleep(Duration::from_millis(1500));
    cut_header.send(&request.bytes()[3..]);
    cut_params.send(&[record::stream(PARAMS, 1, &request.params()), record::end_of_stream(PARAMS, 1)].concat());
    cut_params.end_stdin(1);
    idle.send(&request.bytes());
    for connection in [&mut cut_params, &mut idle, &mut cut_header] {
        assert_eq!(connection.answer(1).text(), "hello, world\n");
    }
    site.stop();
}

#[test]
fn no_time_for_reading_is_over_at_once() {
    for time in MOMENTS {
        let site = Site::unix(hello().read_timeout(time));
        let mut connection = site.connect();
        connection.send(&record::begin(1, RESPONDER, true));
        assert_eq!(connection.answer(1).status, 408);
        site.stop();
    }
}

#[test]
fn no_time_for_writing_is_over_at_once() {
    for time in MOMENTS {
        let handler = |_: Request<Body>| {
            Response::new(SendBody::writer(|out| loop {
                out.write_all(&[b'x'; 60_000])?;
            }))
        };
        let site = Site::unix(Server::new().responder(handler).write_timeout(time));
        let mut connection = site.connect();
        connection.request(1).get("/").send();
        site.wait_for("the end of the request", |now| now.completed_requests == 1);
        site.stop();
    }
}

#[test]
fn no_time_for_idling_is_over_at_once() {
    for time in MOMENTS {
        let site = Site::unix(hello().idle_timeout(time));
        site.connect().assert_closed();
        site.stop();
    }
}

/// A server whose handler waits for its cancellation, and what that was.
fn waiting() -> (Server, Receiver<Option<CancelReason>>) {
    let (sender, reasons) = mpsc::channel();
    let sender = Mutex::new(sender);
    let handler = move |request: Request<Body>| {
        let reason = request.cancellation().wait(PATIENCE);
        sender.lock().unwrap().send(reason).unwrap();
        Response::new("cancelled\n")
    };
    (Server::new().responder(handler), reasons)
}

#[test]
fn no_time_for_a_request_is_over_at_once() {
    for time in MOMENTS {
        let (server, _reasons) = waiting();
        let site = Site::unix(server.request_timeout(time));
        let mut connection = site.connect();
        connection.request(1).get("/").send();
        ending_or_close(&mut connection, 1);
        // Whether a handler had it or not.
        site.wait_for("the deadline", |now| now.cancelled.deadline == 1);
        site.stop();
    }
}

#[test]
fn no_grace_is_over_at_once() {
    for time in MOMENTS {
        let (server, reasons) = waiting();
        let mut site = Site::unix(server.shutdown_grace(time));
        let mut connection: Connection = site.connect();
        connection.request(1).get("/").send();
        site.wait_for("the handler", |now| now.busy_workers == 1);
        let stopped = site.begin_stop();
        assert_eq!(in_time("the cancellation", &reasons), Some(CancelReason::Shutdown));
        ending_or_close(&mut connection, 1);
        assert_eq!(in_time("the end of the server", &stopped).cut_off, 1);
    }
}

#[test]
fn an_endless_grace_lets_a_request_come_to_its_end() {
    let (release, released) = mpsc::channel();
    let released = Mutex::new(released);
    let handler = move |_: Request<Body>| {
        released.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        Response::new("released\n")
    };
    let mut site = Site::unix(Server::new().responder(handler).shutdown_grace(Duration::MAX));
    let mut connection = site.connect();
    connection.request(1).get("/").send();
    site.wait_for("the handler", |now| now.busy_workers == 1);
    let stopped = site.begin_stop();
    release.send(()).unwrap();
    assert_eq!(connection.answer(1).text(), "released\n");
    assert_eq!(in_time("the end of the server", &stopped).cut_off, 0);
}

#[test]
fn the_grace_counts_from_the_beginning_of_the_shutdown() {
    const GRACE: Duration = Duration::from_secs(3);
    let handler = |request: Request<Body>| Response::new(format!("{:?}", request.cancellation().wait(PATIENCE)));
    let mut site = Site::unix(Server::new().responder(handler).shutdown_grace(GRACE));
    let mut connection = site.connect();
    connection.request(1).get("/").send();
    site.wait_for("the handler", |now| now.busy_workers == 1);
    let running = site.running.take().unwrap();
    running.shutdown().signal();
    // Nobody waits for its end yet.
    thread::sleep(GRACE);
    let begun = std::time::Instant::now();
    running.join().unwrap();
    assert!(begun.elapsed() < GRACE - Duration::from_millis(500), "{:?}", begun.elapsed());
    assert_eq!(connection.answer(1).text(), "Some(Shutdown)");
}
