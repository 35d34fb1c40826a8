//! Verifies that too much is refused with a clear answer, costs little, and is over as soon as it stops.

use crate::demo::{over_both, wait_until};
use crate::peer::answer::Answer;
use crate::peer::record::{self, CANT_MPX_CONN, OVERLOADED, REQUEST_COMPLETE, RESPONDER};
use crate::peer::Connection;

fn assert_refused(answer: &Answer, protocol_status: u8) {
    assert_eq!((answer.status, answer.protocol_status), (503, protocol_status), "{answer:?}");
    let retry_after = answer.header("Retry-After").expect("a header Retry-After");
    assert!(retry_after.parse::<u32>().is_ok(), "Retry-After: {retry_after}");
    assert_eq!(answer.content_length().unwrap_or(answer.body.len()), answer.body.len());
}

fn assert_hello(connection: &mut Connection, id: u16) {
    connection.request(id).get("/hello").send();
    let answer = connection.answer(id);
    assert_eq!((answer.text(), answer.protocol_status), ("hello, world\n", REQUEST_COMPLETE));
}

/// Starts a handler that waits. The variables are asked for behind it, so that it was dispatched before anything
/// that another connection sends.
fn wait_for_abort(connection: &mut Connection, id: u16) {
    connection.request(id).get("/wait-abort").send();
    connection.assert_usable();
}

fn abort(connection: &mut Connection, id: u16) {
    connection.abort(id);
    connection.ending(id);
}

#[test]
fn a_full_queue_is_a_503_and_recovery_is_immediate() {
    over_both(&["--workers", "1", "--queue", "1"], |demo| {
        let mut connection = demo.connect();
        for _ in 0..20 {
            wait_for_abort(&mut connection, 1);
            connection.request(2).get("/hello").send();
            for id in 3..10 {
                connection.request(id).get("/hello").send();
                assert_refused(&connection.answer(id), OVERLOADED);
            }
            assert!(connection.is_active(1) && connection.is_active(2), "the queue holds one");
            abort(&mut connection, 1);
            assert_eq!(connection.answer(2).text(), "hello, world\n");
            assert_hello(&mut connection, 3);
        }
        assert_eq!(demo.counter("rejected_requests"), 7 * 20);
    });
}

#[test]
fn a_full_queue_is_a_503_on_every_connection() {
    over_both(&["--workers", "1", "--queue", "1"], |demo| {
        let (mut first, mut second, mut third) = (demo.connect(), demo.connect(), demo.connect());
        wait_for_abort(&mut first, 1);
        wait_for_abort(&mut second, 1);
        for _ in 0..10 {
            third.request(1).get("/hello").send();
            assert_refused(&third.answer(1), OVERLOADED);
        }
        abort(&mut first, 1);
        abort(&mut second, 1);
        assert_hello(&mut third, 1);
    });
}

#[test]
fn an_overloaded_request_without_keep_conn_gets_its_answer_and_the_end() {
    over_both(&["--workers", "1", "--queue", "1"], |demo| {
        let mut busy = demo.connect();
        wait_for_abort(&mut busy, 1);
        wait_for_abort(&mut busy, 2);
        let mut connection = demo.connect();
        connection.request(1).post("/hello").body(&[b'x'; 60_000]).closing().send();
        assert_refused(&connection.answer(1), OVERLOADED);
        connection.assert_closed();
        abort(&mut busy, 1);
        abort(&mut busy, 2);
        demo.assert_serves();
    });
}

#[test]
fn more_requests_on_a_connection_than_allowed_are_refused() {
    over_both(&["--max-requests", "2"], |demo| {
        let mut connection = demo.connect();
        wait_for_abort(&mut connection, 1);
        wait_for_abort(&mut connection, 2);
        for id in [3, 4, 3] {
            connection.request(id).post("/hello").body(b"a body that nobody takes").send();
            assert_refused(&connection.answer(id), OVERLOADED);
        }
        demo.assert_serves();
        abort(&mut connection, 1);
        assert_hello(&mut connection, 3);
        abort(&mut connection, 2);
    });
}

#[test]
fn a_second_request_where_one_is_allowed_cannot_be_multiplexed() {
    over_both(&["--max-requests", "1"], |demo| {
        let mut connection = demo.connect();
        for _ in 0..20 {
            wait_for_abort(&mut connection, 1);
            connection.request(2).get("/hello").send();
            assert_refused(&connection.answer(2), CANT_MPX_CONN);
            abort(&mut connection, 1);
            assert_hello(&mut connection, 2);
        }
    });
}

#[test]
fn a_flood_of_requests_is_answered_one_by_one_and_costs_little() {
    over_both(&["--max-requests", "64"], |demo| {
        let mut connection = demo.connect();
        assert_hello(&mut connection, 1);
        let before = demo.peak_kib();
        let flood: Vec<u8> = (1..=20_000).flat_map(|id| record::begin(id, RESPONDER, true)).collect();
        connection.while_sending(&flood, |connection| {
            for id in 65..=20_000 {
                assert_refused(&connection.answer(id), OVERLOADED);
            }
        });
        for id in 1..=64 {
            assert!(connection.is_active(id), "request {id} was within the limit");
            abort(&mut connection, id);
        }
        assert_hello(&mut connection, 1);
        let grown = demo.peak_kib().saturating_sub(before);
        assert!(grown < 4 << 10, "it grew by {grown} KiB");
    });
}

#[test]
fn a_request_that_was_aborted_in_the_queue_takes_no_place_in_it() {
    over_both(&["--workers", "1", "--queue", "1"], |demo| {
        let mut connection = demo.connect();
        wait_for_abort(&mut connection, 1);
        for _ in 0..10 {
            connection.request(2).get("/hello").send();
            abort(&mut connection, 2);
        }
        connection.request(3).get("/hello").send();
        abort(&mut connection, 1);
        assert_eq!(connection.answer(3).text(), "hello, world\n");
    });
}

#[test]
fn every_request_of_a_burst_is_served_or_refused() {
    over_both(&["--workers", "2", "--queue", "4"], |demo| {
        let mut connection = demo.connect();
        for _ in 0..20 {
            let ids: Vec<u16> = (1..=40).collect();
            ids.iter().for_each(|&id| connection.request(id).get("/sleep?ms=1").send());
            let answers: Vec<Answer> = ids.iter().map(|&id| connection.answer(id)).collect();
            let (served, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
            refused.iter().for_each(|answer| assert_refused(answer, OVERLOADED));
            assert!(served.len() >= 6, "two workers and four places served {}", served.len());
            assert_hello(&mut connection, 1);
        }
    });
}

#[test]
fn a_flood_whose_answers_nobody_reads_costs_little() {
    over_both(&["--write-timeout", "300"], |demo| {
        demo.assert_serves();
        let before = demo.peak_kib();
        let begin: Vec<u8> = (1..=65_535).flat_map(|id| record::begin(id, RESPONDER, true)).collect();
        let question = record::get_values(&["FCGI_MAX_CONNS", "FCGI_MAX_REQS", "FCGI_MPXS_CONNS"]).repeat(60_000);
        for flood in [begin, question] {
            let mut connection = demo.connect();
            // The application may stop reading or close the connection, but not collect its answers without a bound.
            let _: std::io::Result<()> = connection.try_send(&flood);
            demo.assert_serves();
        }
        let grown = demo.peak_kib().saturating_sub(before);
        assert!(grown < 4 << 10, "it grew by {grown} KiB");
    });
}

#[test]
fn a_connection_too_many_is_served_or_refused_but_not_reset() {
    over_both(&["--max-connections", "2"], |demo| {
        let (mut first, mut second) = (demo.connect(), demo.connect());
        assert_hello(&mut first, 1);
        assert_hello(&mut second, 1);
        let mut third = demo.connect();
        third.request(1).get("/hello").closing().send();
        drop(first);
        let answer = third.answer(1);
        assert!([200, 503].contains(&answer.status), "{answer:?}");
        third.assert_closed();
        drop(third);
        wait_until("a place for another connection", || {
            let mut another = demo.connect();
            another.request(1).get("/hello").send();
            another.answer(1).status == 200
        });
        assert_hello(&mut second, 1);
    });
}

#[test]
fn who_keeps_within_workers_and_queue_is_never_refused() {
    for (workers, queue, in_flight) in [("1", "0", 1), ("1", "1", 2), ("2", "1", 3)] {
        over_both(&["--workers", workers, "--queue", queue], |demo| {
            let mut connection = demo.connect();
            (1..=in_flight).for_each(|id| connection.request(id).get("/hello").send());
            for n in 0..1_000 {
                let id = 1 + n % in_flight;
                assert_eq!(connection.answer(id).status, 200, "request {n}, {workers} workers, queue {queue}");
                connection.request(id).get("/hello").send();
            }
        });
    }
}
