//! Verifies that an answer that is not whole does not look as if it were.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};

use super::{over_both, Site};
use crate::demo::Demo;
use crate::http::Request;

#[test]
fn an_answer_that_fails_on_its_way_is_seen_to_be_cut() {
    over_both(|site| {
        for target in ["/panic-late", "/lie?declared=10&sent=5", "/lie?declared=10&sent=0"] {
            let mut client = site.client();
            client.send(&Request::new("GET", target));
            let answer = client.receive();
            assert_eq!(answer.status, 200);
            let error = answer.into_response().map(|answer| answer.body).expect_err(target);
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{target}: {error}");
            site.assert_serves();
        }
    });
}

/// Their answers end with the connection, so that only a reset can tell.
#[test]
fn clients_of_http_1_0_see_it_too() {
    let site = Site::unix();
    let mut stream = site.client().sender();
    stream.write_all(b"GET /panic-late HTTP/1.0\r\n\r\n").expect("it is taken");
    let error = stream.read_to_end(&mut Vec::new()).expect_err("the answer is cut");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
}

#[test]
fn the_end_of_the_application_is_a_cut_answer_or_a_502() {
    let site = Site::start(Demo::unix(&["--shutdown-grace", "0"]));
    let mut waiting = site.client();
    waiting.send(&Request::new("GET", "/sleep?ms=60000"));
    let mut reading = site.client();
    reading.send(&Request::new("GET", "/drip?n=1000&ms=60000"));
    let mut answer = BufReader::new(reading.receive());
    let mut line = String::new();
    answer.read_line(&mut line).expect("a line");
    crate::demo::wait_until("both to be active", || site.demo.counter("active_requests") == 3);
    site.demo.stop();
    assert_eq!(answer.read_line(&mut line).expect_err("the answer is cut").kind(), ErrorKind::UnexpectedEof);
    let answer = waiting.receive().into_response().expect("a whole answer");
    assert!(matches!(answer.status, 502 | 503), "{}", answer.status);
    assert_eq!(site.gateway.get("/hello").status, 502);
}
