//! Verifies that a web server which stops in the middle of anything frees what it holds, and gets an answer where
//! there is somebody to answer.

use super::assert_hello;
use crate::demo::{over_both, wait_until, Demo};
use crate::peer::record::{self, PARAMS, RESPONDER, STDIN};
use crate::peer::{Connection, Request};

/// The only short time-out is the one that is tested.
const READ: [&str; 2] = ["--read-timeout", "200"];

fn assert_all_closed(demo: &Demo) {
    wait_until("the end of all other connections", || {
        let mut connection = demo.connect();
        connection.request(1).get("/metrics").send();
        let answer = connection.answer(1);
        // While there is no place for it, it is refused.
        answer.status == 200 && answer.json()["open_connections"] == 1
    });
}

#[test]
fn a_web_server_that_stops_in_a_header_loses_its_connection() {
    over_both(&READ, |demo| {
        for len in 1..8 {
            let mut connection = demo.connect();
            connection.send(&record::begin(1, RESPONDER, true)[..len]);
            connection.assert_closed();
        }
        let mut connection = demo.connect();
        assert_hello(&mut connection, 1);
        connection.send(&record::begin(1, RESPONDER, true)[..3]);
        connection.assert_closed();
        drop(connection);
        assert_all_closed(demo);
    });
}

#[test]
fn a_web_server_that_stops_in_begin_request_loses_its_connection() {
    over_both(&READ, |demo| {
        let mut connection = demo.connect();
        connection.send(&record::begin(1, RESPONDER, true)[..12]);
        connection.assert_closed();
    });
}

#[test]
fn a_web_server_that_stops_between_params_is_told_and_may_go_on() {
    over_both(&READ, |demo| {
        let request = Request::detached(1).get("/hello");
        let params = record::record(PARAMS, 1, &request.params());
        let mut connection = demo.connect();
        for sent in [request.begin(), [request.begin(), params].concat()] {
            connection.send(&sent);
            assert_eq!(connection.answer(1).status, 408);
        }
        assert_hello(&mut connection, 1);
    });
}

#[test]
fn a_web_server_that_stops_in_a_params_record_is_told_and_loses_its_connection() {
    over_both(&READ, |demo| {
        let head = Request::detached(1).get("/hello").head();
        for len in [20, 30, head.len() - 9, head.len() - 1] {
            let mut connection = demo.connect();
            connection.send(&head[..len]);
            assert_eq!(connection.answer(1).status, 408, "{len} bytes");
            connection.assert_closed();
        }
        assert_all_closed(demo);
    });
}

#[test]
fn params_that_trickle_are_not_waited_for() {
    over_both(&READ, |demo| {
        let mut connection = demo.connect();
        let mut pace = demo.connect();
        connection.send(&record::begin(1, RESPONDER, true));
        // Something comes all the time, and the end never.
        let mut n_pieces = 0;
        while connection.is_active(1) {
            connection.send(&record::record(PARAMS, 1, b"\x01"));
            pace.request(1).get("/sleep?ms=20").send();
            pace.answer(1);
            connection.values(&["FCGI_MAX_REQS"]);
            n_pieces += 1;
            assert!(n_pieces < 200, "it is still waited for after {n_pieces} pieces");
        }
        assert_eq!(connection.answer(1).status, 408);
        assert_hello(&mut connection, 1);
    });
}

#[test]
fn a_web_server_that_stops_in_a_body_is_told_and_may_go_on() {
    over_both(&READ, |demo| {
        let mut connection = demo.connect();
        for content_length in ["", "5"] {
            connection.request(1).post("/count").param("CONTENT_LENGTH", content_length).send_head();
            connection.stdin(1, b"1234");
            let answer = connection.answer(1);
            assert!([400, 408].contains(&answer.status), "{answer:?}");
            assert_hello(&mut connection, 1);
        }
    });
}

#[test]
fn a_web_server_that_stops_in_a_stdin_record_is_told_and_loses_its_connection() {
    over_both(&READ, |demo| {
        let stdin = record::padded(STDIN, 1, b"12345", 3);
        for len in [1, 7, 8, 10, stdin.len() - 1] {
            let mut connection = demo.connect();
            connection.request(1).post("/count").send_head();
            connection.send(&stdin[..len]);
            let answer = connection.answer(1);
            assert!([400, 408].contains(&answer.status), "{answer:?}");
            connection.assert_closed();
        }
        assert_all_closed(demo);
    });
}

#[test]
fn a_body_that_trickles_is_waited_for() {
    over_both(&["--read-timeout", "1000"], |demo| {
        let mut connection = demo.connect();
        let mut pace = demo.connect();
        connection.request(1).post("/count").send_head();
        for _ in 0..15 {
            connection.stdin(1, b"x");
            pace.request(1).get("/sleep?ms=100").send();
            pace.answer(1);
        }
        connection.end_stdin(1);
        assert_eq!(connection.answer(1).text(), "15\n");
    });
}

#[test]
fn a_slow_handler_is_not_taken_for_a_slow_web_server() {
    over_both(&["--read-timeout", "100", "--idle-timeout", "100"], |demo| {
        let mut connection = demo.connect();
        connection.request(1).post("/ignore?ms=500").body(b"a whole body").send();
        connection.request(2).get("/drip?n=6&ms=100").send();
        assert_eq!(connection.answer(1).text(), "ignored\n");
        assert_eq!(connection.answer(2).text().lines().count(), 6);
    });
}

#[test]
fn the_places_of_those_who_stop_are_given_to_others() {
    over_both(&[&READ[..], &["--write-timeout", "200", "--max-connections", "4"]].concat(), |demo| {
        let stop: [fn(&mut Connection); 4] = [
            |connection| connection.send(&[1, 1, 0]),
            |connection| connection.send(&Request::detached(1).get("/hello").head()[..40]),
            |connection| connection.send(&Request::detached(1).post("/count").head()[..]),
            |connection| connection.request(1).get("/bytes?n=67108864").send(),
        ];
        let mut stopped: Vec<Connection> = (0..4).map(|_| demo.connect()).collect();
        stopped.iter_mut().zip(stop).for_each(|(connection, stop)| stop(connection));
        let mut places = Vec::new();
        wait_until("three places, because the one with a whole request may go on", || {
            let mut connection = demo.connect();
            connection.request(1).get("/hello").send();
            let served = connection.answer(1).status == 200;
            if served {
                places.push(connection);
            }
            places.len() == 3
        });
    });
}

#[test]
fn the_workers_of_those_who_stop_are_given_to_others() {
    over_both(&[&READ[..], &["--workers", "2", "--queue", "0"]].concat(), |demo| {
        let mut stopped: Vec<Connection> = (0..2).map(|_| demo.connect()).collect();
        for connection in &mut stopped {
            connection.request(1).post("/count").send_head();
            connection.stdin(1, b"x");
            connection.assert_usable();
        }
        let mut other = demo.connect();
        wait_until("a worker", || {
            other.request(1).get("/hello").send();
            other.answer(1).status == 200
        });
    });
}

#[test]
fn idle_connections_are_closed_and_their_places_given_to_others() {
    over_both(&["--idle-timeout", "500", "--max-connections", "8"], |demo| {
        let mut idle: Vec<Connection> = (0..8).map(|_| demo.connect()).collect();
        idle.iter_mut().for_each(|connection| assert_hello(connection, 1));
        idle.iter_mut().for_each(Connection::assert_closed);
        drop(idle);
        assert_all_closed(demo);
    });
}
