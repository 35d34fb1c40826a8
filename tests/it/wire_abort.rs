//! Verifies that aborts and lost connections reach every request in every state, and end it exactly once.

use crate::demo::{over_both, wait_until, Demo};
use crate::peer::record::{self, PARAMS, REQUEST_COMPLETE};
use crate::peer::{Connection, Request};

fn assert_hello(connection: &mut Connection, id: u16) {
    connection.request(id).get("/hello").send();
    assert_eq!(connection.answer(id).text(), "hello, world\n");
}

/// Aborts the request and waits for its end. Output is not needed, but what comes must be an answer.
fn abort(connection: &mut Connection, id: u16) {
    connection.abort(id);
    assert_ended(connection, id);
}

fn assert_ended(connection: &mut Connection, id: u16) {
    let ending = connection.ending(id);
    assert_eq!(ending.protocol_status, REQUEST_COMPLETE);
    if !ending.stdout.is_empty() {
        ending.into_answer();
    }
}

#[test]
fn an_abort_before_the_params_is_answered() {
    over_both(&[], |demo| {
        let mut connection = demo.connect();
        for _ in 0..100 {
            connection.send(&[record::begin(1, record::RESPONDER, true), record::abort(1)].concat());
            assert_ended(&mut connection, 1);
        }
        assert_hello(&mut connection, 1);
    });
}

#[test]
fn an_abort_within_the_params_is_answered() {
    over_both(&[], |demo| {
        let mut connection = demo.connect();
        let request = Request::detached(1).get("/hello");
        let params = request.params();
        for len in [1, 5, params.len()] {
            connection.send(&request.begin());
            connection.send(&record::record(PARAMS, 1, &params[..len]));
            abort(&mut connection, 1);
        }
        connection.send(&record::end_of_stream(PARAMS, 1));
        connection.assert_usable();
        assert_hello(&mut connection, 1);
    });
}

#[test]
fn an_abort_in_the_queue_is_answered_before_a_worker_is_free() {
    over_both(&["--workers", "1", "--queue", "4"], |demo| {
        let mut connection = demo.connect();
        connection.request(1).get("/wait-abort").send();
        connection.request(2).get("/stderr?text=ran").send();
        connection.request(3).get("/hello").send();
        connection.abort(2);
        assert!(connection.ending(2).stderr.is_empty(), "the handler ran");
        assert!(connection.is_active(1) && connection.is_active(3));
        abort(&mut connection, 1);
        assert_eq!(connection.answer(3).text(), "hello, world\n");
        assert_hello(&mut connection, 2);
    });
}

#[test]
fn an_abort_wakes_a_handler_that_waits() {
    over_both(&[], |demo| {
        let mut connection = demo.connect();
        for _ in 0..20 {
            connection.request(1).get("/wait-abort").send();
            abort(&mut connection, 1);
            assert_hello(&mut connection, 1);
        }
        wait_until("the count of the aborts", || demo.counter("cancelled_requests") == 20);
    });
}

#[test]
fn an_abort_wakes_a_handler_that_reads_its_body() {
    over_both(&[], |demo| {
        let mut connection = demo.connect();
        for target in ["/digest", "/echo", "/count"] {
            connection.request(1).post(target).param("CONTENT_LENGTH", "").send_head();
            connection.stdin(1, b"the first of it");
            abort(&mut connection, 1);
            connection.stdin(1, b"and more, too late");
            connection.end_stdin(1);
            assert_hello(&mut connection, 1);
        }
    });
}

#[test]
fn an_abort_wakes_a_handler_whose_answer_nobody_reads() {
    over_both(&[], |demo| {
        let mut connection = demo.connect();
        connection.request(1).get("/bytes?n=67108864").send();
        connection.body_until(1, 1);
        connection.abort(1);
        let ending = connection.ending(1);
        assert!(ending.stdout.len() < 64 << 20, "the whole answer was sent");
        assert_hello(&mut connection, 1);
    });
}

#[test]
fn an_abort_reaches_one_request_only() {
    over_both(&[], |demo| {
        let mut connection = demo.connect();
        for id in 1..=3 {
            connection.request(id).get("/wait-abort").send();
        }
        abort(&mut connection, 2);
        connection.assert_usable();
        assert!(connection.is_active(1) && connection.is_active(3));
        abort(&mut connection, 1);
        abort(&mut connection, 3);
    });
}

#[test]
fn aborts_beside_the_point_are_ignored() {
    over_both(&[], |demo| {
        let mut connection = demo.connect();
        connection.abort(1);
        assert_hello(&mut connection, 1);
        connection.abort(1);
        connection.abort(1);
        assert_hello(&mut connection, 1);
        connection.request(2).get("/wait-abort").send();
        connection.abort(2);
        connection.abort(2);
        assert_ended(&mut connection, 2);
        connection.abort(2);
        connection.assert_usable();
    });
}

#[test]
fn an_abort_that_races_with_the_answer_ends_the_request_once() {
    over_both(&[], |demo| {
        let mut connection = demo.connect();
        for n in 0..1_000 {
            let request = Request::detached(1).get("/hello").bytes();
            match n % 2 {
                0 => connection.send(&[request, record::abort(1)].concat()),
                _ => {
                    connection.send(&request);
                    connection.abort(1);
                }
            }
            assert_ended(&mut connection, 1);
        }
        connection.assert_usable();
        assert_hello(&mut connection, 1);
    });
}

#[test]
fn a_late_abort_does_not_reach_the_successor() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    for _ in 0..200 {
        assert_hello(&mut connection, 1);
        connection.abort(1);
        assert_hello(&mut connection, 1);
    }
    assert_eq!(demo.counter("cancelled_requests"), 0);
}

#[test]
fn an_aborted_request_without_keep_conn_closes_the_connection() {
    over_both(&[], |demo| {
        let mut connection = demo.connect();
        connection.request(1).get("/wait-abort").closing().send();
        abort(&mut connection, 1);
        connection.assert_closed();
        let mut connection = demo.connect();
        connection.send(&[record::begin(1, record::RESPONDER, false), record::abort(1)].concat());
        assert_ended(&mut connection, 1);
        connection.assert_closed();
    });
}

#[test]
fn a_lost_connection_cancels_its_requests() {
    over_both(&[], |demo| {
        let mut connection = demo.connect();
        for id in 1..=5 {
            connection.request(id).get("/wait-abort").send();
        }
        connection.assert_usable();
        drop(connection);
        wait_until("the count of the cancelled", || demo.counter("cancelled_requests") == 5);
        wait_until("their end", || demo.counter("active_requests") == 1);
    });
}

#[test]
fn a_half_closed_connection_wakes_a_handler_that_waits() {
    over_both(&[], |demo| {
        let mut connection = demo.connect();
        connection.request(1).get("/wait-abort").send();
        connection.half_close();
        assert_eq!(connection.answer(1).text(), "disconnected\n");
        connection.assert_closed();
    });
}

#[test]
fn a_connection_lost_in_the_middle_of_an_answer_frees_its_worker() {
    over_both(&["--workers", "1"], |demo| {
        for _ in 0..5 {
            let mut connection = demo.connect();
            connection.request(1).get("/bytes?n=67108864").send();
            connection.body_until(1, 1);
            drop(connection);
            demo.assert_serves();
        }
    });
}
