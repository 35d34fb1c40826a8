//! Verifies bodies that come in: whole at every size, streamed both ways, true to CONTENT_LENGTH, bounded.

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::demo::{over_both, Demo};
use crate::peer::record::{self, STDIN};
use crate::peer::{Connection, Request};

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 253) as u8).collect()
}

fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

fn assert_hello(connection: &mut Connection) {
    connection.request(1).get("/hello").send();
    assert_eq!(connection.answer(1).text(), "hello, world\n");
}

#[test]
fn bodies_of_every_size_arrive_whole() {
    over_both(&[], |demo| {
        let mut connection = demo.connect();
        for len in [0, 1, 127, 128, 8_191, 8_192, 65_535, 65_536, 1 << 20] {
            let body = pattern(len);
            connection.request(1).post("/digest").body(&body).send();
            let expected = json!({ "length": len, "sha256": sha256(&body) });
            assert_eq!(connection.answer(1).json(), expected);
            connection.request(1).post("/echo").body(&body).send();
            assert!(connection.answer(1).body == body, "the echo of {len} bytes");
        }
    });
}

#[test]
fn many_small_records_make_one_body() {
    over_both(&[], |demo| {
        let mut connection = demo.connect();
        let body = pattern(20_000);
        let records: Vec<u8> = body.chunks(3).flat_map(|piece| record::padded(STDIN, 1, piece, 5)).collect();
        connection.request(1).post("/digest").body(&body).send_head();
        connection.send(&records);
        connection.end_stdin(1);
        assert_eq!(connection.answer(1).json()["sha256"], sha256(&body));
    });
}

#[test]
fn each_piece_comes_back_before_the_next_is_sent() {
    over_both(&[], |demo| {
        let mut connection = demo.connect();
        connection.request(1).post("/echo").param("CONTENT_LENGTH", "").send_head();
        let mut sent = Vec::new();
        for len in [1, 10, 1_000, 65_535, 2, 100_000, 3] {
            let piece = pattern(len);
            connection.stdin(1, &piece);
            sent.extend_from_slice(&piece);
            assert!(connection.body_until(1, sent.len()) == sent, "after {} bytes", sent.len());
        }
        connection.end_stdin(1);
        assert!(connection.answer(1).body == sent);
    });
}

#[test]
fn an_upload_goes_on_while_its_echo_is_not_read() {
    over_both(&[], |demo| {
        let mut connection = demo.connect();
        let body = pattern(6 << 20);
        connection.request(1).post("/echo").body(&body).send();
        assert!(connection.answer(1).body == body);
    });
}

#[test]
fn without_a_number_in_content_length_the_end_of_stdin_is_the_end() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    for declared in ["", "-1", "five", "+5", "5 "] {
        connection.request(1).post("/count").param("CONTENT_LENGTH", declared).undeclared(b"12345").send();
        assert_eq!(connection.answer(1).text(), "5\n", "{declared:?}");
    }
    connection.request(1).post("/count").without("CONTENT_LENGTH").undeclared(b"12345").send();
    assert_eq!(connection.answer(1).text(), "5\n");
}

#[test]
fn more_than_declared_is_cut_off() {
    over_both(&[], |demo| {
        let mut connection = demo.connect();
        for declared in [0, 1, 3, 4] {
            let declared_text = declared.to_string();
            let request = connection.request(1).post("/digest").param("CONTENT_LENGTH", &declared_text);
            request.undeclared(b"12345").send();
            let expected = json!({ "length": declared, "sha256": sha256(&b"12345"[..declared]) });
            assert_eq!(connection.answer(1).json(), expected);
        }
        let request = connection.request(1).post("/digest").param("CONTENT_LENGTH", "70000");
        request.undeclared(&pattern(200_000)).send();
        assert_eq!(connection.answer(1).json()["sha256"], sha256(&pattern(70_000)));
        assert_hello(&mut connection);
    });
}

#[test]
fn fewer_than_declared_is_an_error_and_no_short_body() {
    over_both(&[], |demo| {
        let mut connection = demo.connect();
        for sent in [0, 1, 4] {
            let request = connection.request(1).post("/digest").param("CONTENT_LENGTH", "5");
            request.undeclared(&b"12345"[..sent]).send();
            assert_eq!(connection.answer(1).status, 400, "{sent} of 5 bytes");
        }
        let request = connection.request(1).post("/digest").param("CONTENT_LENGTH", "200000");
        request.undeclared(&pattern(199_999)).send();
        assert_eq!(connection.answer(1).status, 400);
        assert_hello(&mut connection);
    });
}

#[test]
fn a_body_cut_off_by_the_end_of_the_connection_is_an_error() {
    over_both(&[], |demo| {
        for declared in ["", "5"] {
            let mut connection = demo.connect();
            connection.request(1).post("/digest").param("CONTENT_LENGTH", declared).send_head();
            connection.stdin(1, b"1234");
            connection.half_close();
            assert_eq!(connection.answer(1).status, 400, "CONTENT_LENGTH {declared:?}");
        }
    });
}

#[test]
fn a_declared_body_over_the_limit_is_answered_413_before_it_comes() {
    over_both(&["--max-body", "1000"], |demo| {
        let mut connection = demo.connect();
        for declared in ["1001", "18446744073709551615", "99999999999999999999999"] {
            connection.request(1).post("/digest").param("CONTENT_LENGTH", declared).send_head();
            assert_eq!(connection.answer(1).status, 413, "CONTENT_LENGTH {declared}");
        }
        connection.request(1).post("/digest").body(&pattern(1_000_000)).send();
        assert_eq!(connection.answer(1).status, 413);
        connection.request(1).post("/digest").body(&pattern(1000)).send();
        assert_eq!(connection.answer(1).json()["sha256"], sha256(&pattern(1000)));
    });
}

#[test]
fn a_body_that_turns_out_too_large_is_an_error() {
    over_both(&["--max-body", "1000"], |demo| {
        let mut connection = demo.connect();
        for len in [1001, 500_000] {
            connection.request(1).post("/digest").undeclared(&pattern(len)).send();
            assert_eq!(connection.answer(1).status, 413, "{len} bytes");
        }
        connection.request(1).post("/digest").undeclared(&pattern(1000)).send();
        assert_eq!(connection.answer(1).json()["sha256"], sha256(&pattern(1000)));
    });
}

#[test]
fn an_unread_body_leaves_nothing_for_the_next_request() {
    over_both(&[], |demo| {
        let mut connection = demo.connect();
        for len in [1, 65_536, 300_000] {
            connection.request(1).post("/hello").body(&pattern(len)).send();
            assert_eq!(connection.answer(1).text(), "hello, world\n");
            connection.request(1).post("/count").body(b"12345").send();
            assert_eq!(connection.answer(1).text(), "5\n");
        }
    });
}

#[test]
fn an_unread_body_does_not_grow_memory() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    assert_hello(&mut connection);
    let before = demo.peak_kib();
    connection.request(1).post("/wait-abort").param("CONTENT_LENGTH", "").send_head();
    for _ in 0..1024 {
        connection.stdin(1, &[b'x'; 65_535]);
    }
    connection.assert_usable();
    let grown = demo.peak_kib().saturating_sub(before);
    assert!(grown < 4 << 10, "a body of 64 MiB made it grow by {grown} KiB");
    connection.abort(1);
    connection.ending(1);
    assert_hello(&mut connection);
}

#[test]
fn one_request_at_a_time_still_takes_bodies_of_any_size() {
    let demo = Demo::unix(&["--max-requests", "1"]);
    let mut connection = demo.connect();
    for _ in 0..2 {
        connection.request(1).post("/digest").body(&pattern(3 << 20)).send();
        assert_eq!(connection.answer(1).json()["sha256"], sha256(&pattern(3 << 20)));
        connection.request(1).post("/hello").body(&pattern(3 << 20)).send();
        assert_eq!(connection.answer(1).text(), "hello, world\n");
    }
}

#[test]
fn a_web_server_that_stops_in_its_body_is_not_waited_for() {
    over_both(&["--read-timeout", "100", "--idle-timeout", "100"], |demo| {
        let mut connection = demo.connect();
        connection.request(1).post("/digest").param("CONTENT_LENGTH", "5").send_head();
        connection.stdin(1, b"1234");
        assert_eq!(connection.answer(1).status, 400);
        connection.assert_closed();
    });
}

#[test]
fn a_refused_body_does_not_hold_up_a_connection_that_takes_one_request_at_a_time() {
    over_both(&["--max-requests", "1", "--max-body", "600000"], |demo| {
        let mut connection = demo.connect();
        for _ in 0..3 {
            let request = Request::detached(1).post("/digest").body(&vec![7; 1 << 20]).bytes();
            let answer = connection.while_sending(&request, |connection| connection.answer(1));
            assert_eq!(answer.status, 413);
        }
        connection.request(1).get("/hello").send();
        assert_eq!(connection.answer(1).text(), "hello, world\n");
    });
}
