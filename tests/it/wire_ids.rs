//! Verifies that requests on one connection never mix, however their ids are chosen, reused and interleaved.

use std::collections::HashSet;

use sha2::{Digest, Sha256};

use crate::demo::{over_both, Demo};
use crate::peer::record::{self, STDIN};
use crate::peer::{Connection, Request};

/// Another body for every id, of another length.
fn body_of(id: u16) -> Vec<u8> {
    (0..20_000 + usize::from(id)).map(|i| (i * 31 + usize::from(id) * 7) as u8).collect()
}

fn assert_hello(connection: &mut Connection, id: u16) {
    connection.request(id).get("/hello").send();
    assert_eq!(connection.answer(id).text(), "hello, world\n");
}

#[test]
fn an_id_can_be_reused_in_the_instant_its_request_ends() {
    over_both(&[], |demo| {
        let mut connection = demo.connect();
        for n in 0..2_000 {
            let answer = n.to_string();
            connection.request(1).post("/echo").body(answer.as_bytes()).send();
            assert_eq!(connection.answer(1).text(), answer);
        }
    });
}

#[test]
fn an_id_can_be_reused_while_siblings_run() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    for id in [2, 3, 4] {
        connection.request(id).get("/wait-abort").send();
    }
    for n in 0..500 {
        connection.request(1).get(&format!("/bytes?n={n}")).send();
        assert_eq!(connection.answer(1).body.len(), n);
    }
    for id in [2, 3, 4] {
        assert!(connection.is_active(id));
        connection.abort(id);
        connection.ending(id);
    }
}

#[test]
fn the_ids_of_one_connection_say_nothing_on_another() {
    let demo = Demo::unix(&[]);
    let (mut one, mut other) = (demo.connect(), demo.connect());
    one.request(1).post("/digest").body(b"one").send_head();
    other.request(1).post("/echo").body(b"other").send_head();
    other.stdin(1, b"other");
    one.stdin(1, b"one");
    other.end_stdin(1);
    assert_eq!(other.answer(1).text(), "other");
    one.end_stdin(1);
    assert_eq!(one.answer(1).json()["length"], 3);
}

#[test]
fn sixteen_bodies_interleaved_record_by_record_stay_apart() {
    over_both(&[], |demo| {
        let mut connection = demo.connect();
        let ids: Vec<u16> = (1..=16).collect();
        for &id in &ids {
            connection.request(id).post("/digest").param("CONTENT_LENGTH", "").send_head();
        }
        send_interleaved(&mut connection, &ids);
        for &id in ids.iter().rev() {
            let digest = connection.answer(id).json();
            assert_eq!(digest["length"], body_of(id).len());
            assert_eq!(digest["sha256"], format!("{:x}", Sha256::digest(body_of(id))), "id {id}");
        }
    });
}

#[test]
fn sixteen_echoes_interleaved_record_by_record_stay_apart() {
    over_both(&[], |demo| {
        let mut connection = demo.connect();
        let ids: Vec<u16> = (1..=16).collect();
        for &id in &ids {
            connection.request(id).post("/echo").param("CONTENT_LENGTH", "").send_head();
        }
        send_interleaved(&mut connection, &ids);
        for &id in &ids {
            assert!(connection.answer(id).body == body_of(id), "the echo of {id} is another's");
        }
    });
}

/// One record of each body in turn, of other sizes and paddings each time, then all the ends.
fn send_interleaved(connection: &mut Connection, ids: &[u16]) {
    let bodies: Vec<(u16, Vec<u8>)> = ids.iter().map(|&id| (id, body_of(id))).collect();
    let longest = bodies.iter().map(|(_, body)| body.len()).max().unwrap();
    for (round, start) in (0..longest).step_by(997).enumerate() {
        for (id, body) in &bodies {
            let piece = &body[start.min(body.len())..(start + 997).min(body.len())];
            if !piece.is_empty() {
                connection.send(&record::padded(STDIN, *id, piece, round as u8));
            }
        }
    }
    ids.iter().for_each(|&id| connection.end_stdin(id));
}

#[test]
fn params_interleaved_record_by_record_stay_apart() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    let target = |id: u16| format!("/headers/{}", "x".repeat(usize::from(id)));
    let requests: Vec<_> = (1..=16).map(|id| (id, Request::detached(id).get(&target(id)))).collect();
    requests.iter().for_each(|(_, request)| connection.send(&request.begin()));
    let params: Vec<_> = requests.iter().map(|(id, request)| (*id, request.params())).collect();
    let longest = params.iter().map(|(_, params)| params.len()).max().unwrap();
    for start in (0..longest).step_by(13) {
        for (id, params) in params.iter().filter(|(_, params)| start < params.len()) {
            let piece = &params[start..(start + 13).min(params.len())];
            connection.send(&record::record(record::PARAMS, *id, piece));
        }
    }
    for id in 1..=16 {
        connection.send(&record::end_of_stream(record::PARAMS, id));
        connection.end_stdin(id);
    }
    for id in 1..=16 {
        assert_eq!(connection.answer(id).json()["uri"], target(id));
    }
}

#[test]
fn every_id_but_zero_is_good() {
    over_both(&[], |demo| {
        let mut connection = demo.connect();
        let ids = [1, 255, 256, 257, 32_767, 32_768, 65_280, 65_535];
        for id in ids {
            connection.request(id).get(&format!("/bytes?n={id}")).send();
        }
        for id in ids {
            assert_eq!(connection.answer(id).body.len(), usize::from(id));
        }
    });
}

#[test]
fn ids_never_seen_before_go_on_for_ever() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    let mut seen = HashSet::new();
    for id in (1..=65_535).step_by(37) {
        assert_hello(&mut connection, id);
        seen.insert(id);
    }
    assert_eq!(seen.len(), 1772);
}

#[test]
fn a_slow_sibling_does_not_hold_up_a_fast_one() {
    over_both(&[], |demo| {
        let mut connection = demo.connect();
        connection.request(1).get("/wait-abort").send();
        for _ in 0..20 {
            assert_hello(&mut connection, 2);
        }
        assert!(connection.is_active(1));
        connection.abort(1);
        connection.ending(1);
        assert_hello(&mut connection, 1);
    });
}

#[test]
fn a_slow_request_holds_up_none_that_came_in_the_same_write() {
    for workers in ["2", "64"] {
        over_both(&["--workers", workers], |demo| {
            let mut connection = demo.connect();
            for slow in 1..=16 {
                let target = |id| if id == slow { "/wait-abort" } else { "/hello" };
                let burst: Vec<_> = (1..=16).map(|id| Request::detached(id).get(target(id)).bytes()).collect();
                connection.send(&burst.concat());
                for id in (1..=16).filter(|id| *id != slow) {
                    assert_eq!(connection.answer(id).text(), "hello, world\n", "{id} beside {slow}");
                }
                assert!(connection.is_active(slow));
                connection.abort(slow);
                connection.ending(slow);
            }
        });
    }
}

#[test]
fn a_body_that_nobody_reads_holds_up_nobody() {
    over_both(&[], |demo| {
        let mut connection = demo.connect();
        connection.request(1).post("/wait-abort").param("CONTENT_LENGTH", "").send_head();
        for _ in 0..64 {
            connection.stdin(1, &[b'x'; 65_535]);
        }
        assert_hello(&mut connection, 2);
        connection.assert_usable();
        assert!(connection.is_active(1));
        connection.abort(1);
        connection.ending(1);
        assert_hello(&mut connection, 1);
    });
}

#[test]
fn a_handler_that_ignores_its_body_answers_all_the_same() {
    over_both(&[], |demo| {
        let mut connection = demo.connect();
        connection.request(1).post("/ignore?ms=300").body(&vec![b'x'; 4 << 20]).send();
        assert_hello(&mut connection, 2);
        assert_eq!(connection.answer(1).text(), "ignored\n");
        assert_hello(&mut connection, 1);
    });
}

#[test]
fn a_waiting_body_holds_up_nobody() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    connection.request(1).post("/count").param("CONTENT_LENGTH", "").send_head();
    connection.stdin(1, b"12");
    assert_hello(&mut connection, 2);
    connection.stdin(1, b"345");
    assert_hello(&mut connection, 2);
    connection.end_stdin(1);
    assert_eq!(connection.answer(1).text(), "5\n");
}

#[test]
fn late_stdin_for_an_ended_id_is_ignored_and_reaches_no_successor() {
    over_both(&[], |demo| {
        let mut connection = demo.connect();
        for _ in 0..200 {
            connection.request(1).post("/hello").param("CONTENT_LENGTH", "").send_head();
            assert_eq!(connection.answer(1).text(), "hello, world\n");
            connection.stdin(1, b"too late");
            connection.end_stdin(1);
            connection.request(1).post("/echo").body(b"in time").send();
            assert_eq!(connection.answer(1).text(), "in time");
        }
    });
}

#[test]
fn records_for_ids_that_never_began_are_ignored() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    for kind in [record::ABORT_REQUEST, record::PARAMS, STDIN, record::DATA] {
        connection.send(&record::record(kind, 9, b"for nobody"));
        connection.send(&record::end_of_stream(kind, 9));
    }
    connection.assert_usable();
    assert_hello(&mut connection, 9);
}
