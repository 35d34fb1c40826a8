//! Verifies that the program's logger, whatever it does, holds up no request, no deadline and no shutdown.

use std::sync::Once;
use std::time::Duration;

use fcgi::http::{Request, Response};
use fcgi::{Body, Server};
use log::{LevelFilter, Log, Metadata, Record};

use super::Site;
use crate::peer::record::{self, RESPONDER};

/// A line with this in it is never written: the logger waits for good.
const HANGS: &str = "the logger of this test hangs";

/// A line with this in it makes the logger panic.
const PANICS: &str = "the logger of this test panics";

/// The logger of this process, for which all other lines are nothing.
struct Trap;

impl Log for Trap {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = record.args().to_string();
        assert!(!line.contains(PANICS), "as told");
        while line.contains(HANGS) {
            std::thread::park();
        }
    }

    fn flush(&self) {}
}

fn set_the_trap() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Trap).expect("no other logger");
        log::set_max_level(LevelFilter::Warn);
    });
}

#[test]
fn a_logger_that_hangs_or_panics_costs_its_lines_alone() {
    set_the_trap();
    for says in [HANGS, PANICS] {
        let handler = move |request: Request<Body>| match request.uri().path() {
            "/fail" => Err(says),
            _ => Ok(Response::new("hello")),
        };
        let site = Site::unix(Server::new().responder(handler).read_timeout(Duration::from_millis(50)));
        let mut connection = site.connect();
        // Each failure is a warning.
        for _ in 0..3 {
            connection.request(1).get("/fail").send();
            assert_eq!(connection.answer(1).status, 500, "{says}");
        }
        connection.request(1).get("/").send();
        assert_eq!(connection.answer(1).status, 200, "{says}");
        connection.send(&record::begin(2, RESPONDER, true));
        assert_eq!(connection.answer(2).status, 408, "{says}: the clock goes on");
        let mut broken = site.connect();
        // A violation is a warning of the reader's.
        broken.send(b"GET / HTTP/1.1\r\n\r\n");
        broken.assert_closed();
        site.stop();
    }
}
