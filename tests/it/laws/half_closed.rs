//! Verifies that the deadline of a request also holds once its peer has closed its sending side.

use std::io::{self, Write};
use std::sync::mpsc::{self, Sender};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use fcgi::http::{Request, Response};
use fcgi::{Body, BodyError, SendBody, Server};

use super::{in_time, Site};
use crate::demo::PATIENCE;

/// `/hello` is answered; anything else streams for ever, or until the test has failed.
fn answer(request: &Request<Body>, errors: Sender<Option<BodyError>>) -> SendBody {
    if request.uri().path() == "/hello" {
        return "hello, world\n".into();
    }
    SendBody::writer(move |out| {
        let deadline = Instant::now() + PATIENCE;
        let error = loop {
            let written = out.write_all(b"for ever ").and_then(|()| out.flush());
            match written {
                Ok(()) if Instant::now() < deadline => thread::sleep(Duration::from_millis(1)),
                Ok(()) => break io::ErrorKind::TimedOut.into(),
                Err(error) => break error,
            }
        };
        errors.send(BodyError::of(&error)).unwrap();
        Err(error)
    })
}

fn assert_deadline_holds(site: impl FnOnce(Server) -> Site) {
    let (sender, errors) = mpsc::channel();
    let sender = Mutex::new(sender);
    let request_timeout = Duration::from_millis(300);
    let server = Server::new()
        .responder(move |request| Response::new(answer(&request, sender.lock().unwrap().clone())))
        .workers(1)
        .request_timeout(request_timeout)
        // An answer that was cut short has an end, which can be looked at.
        .always_end_requests();
    let site = site(server);
    let mut connection = site.connect();
    let begun = Instant::now();
    connection.request(1).get("/").send();
    connection.body_until(1, 1);
    connection.half_close();
    let ending = connection.ending(1);
    assert_ne!(ending.app_status, 0, "it passes for a whole answer");
    assert!(begun.elapsed() >= request_timeout, "{:?}", begun.elapsed());
    assert_eq!(in_time("the writer's error", &errors), Some(BodyError::TimedOut));
    connection.assert_closed();
    let mut connection = site.connect();
    connection.request(1).get("/hello").send();
    assert_eq!(connection.answer(1).text(), "hello, world\n");
    site.stop();
}

#[test]
fn an_answer_to_a_half_closed_unix_connection_ends_at_its_deadline() {
    assert_deadline_holds(Site::unix);
}

#[test]
fn an_answer_to_a_half_closed_tcp_connection_ends_at_its_deadline() {
    assert_deadline_holds(Site::tcp);
}
