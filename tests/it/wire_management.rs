//! Verifies the management records: GET_VALUES tells the truth, whatever else goes on, and unknown types are named.

use crate::demo::{over_both, Demo};
use crate::peer::record::{self, pair, GET_VALUES, MAX_CONTENT_LEN, PARAMS, UNKNOWN_TYPE};
use crate::peer::Request;

const ALL: [&str; 3] = ["FCGI_MAX_CONNS", "FCGI_MAX_REQS", "FCGI_MPXS_CONNS"];

#[test]
fn values_are_the_limits_that_are_enforced() {
    over_both(&["--max-connections", "7", "--max-requests", "3"], |demo| {
        let mut values = demo.connect().values(&ALL);
        values.sort();
        let max_reqs: u32 = values[1].1.parse().expect("a number");
        assert_eq!(values[0], ("FCGI_MAX_CONNS".into(), "7".into()));
        assert_eq!(values[1].0, "FCGI_MAX_REQS");
        assert!((1..=7 * 3).contains(&max_reqs), "{max_reqs} requests at once are not possible");
        assert_eq!(values[2], ("FCGI_MPXS_CONNS".into(), "1".into()));
    });
}

#[test]
fn one_request_at_a_time_means_no_multiplexing() {
    let demo = Demo::unix(&["--max-requests", "1"]);
    assert_eq!(demo.connect().values(&["FCGI_MPXS_CONNS"]), [("FCGI_MPXS_CONNS".into(), "0".into())]);
}

#[test]
fn only_known_names_that_were_asked_are_answered() {
    let demo = Demo::unix(&["--max-connections", "7"]);
    let mut connection = demo.connect();
    assert_eq!(connection.values(&["FCGI_MAX_CONNS"]), [("FCGI_MAX_CONNS".into(), "7".into())]);
    assert_eq!(connection.values(&["FCGI_MAX_CONNS", "OTHER", ""]).len(), 1);
    assert_eq!(connection.values(&["fcgi_max_conns", "FCGI_MAX_CONN", "FCGI_MAX_CONNSS"]), []);
    assert_eq!(connection.values(&[]), [], "an empty question has an empty answer");
}

#[test]
fn a_repeated_name_is_answered_once() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    assert_eq!(connection.values(&["FCGI_MAX_CONNS"; 3000]).len(), 1);
    connection.assert_usable();
}

#[test]
fn values_in_the_question_are_ignored() {
    let demo = Demo::unix(&["--max-connections", "7"]);
    let mut connection = demo.connect();
    connection.send(&record::record(GET_VALUES, 0, &pair(b"FCGI_MAX_CONNS", b"1000000")));
    assert_eq!(connection.values_result(), [("FCGI_MAX_CONNS".into(), "7".into())]);
}

#[test]
fn a_malformed_question_is_answered_once() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    let whole = pair(b"FCGI_MPXS_CONNS", b"");
    let contents = [vec![5], vec![0x80], vec![0xFF; 8], vec![0; MAX_CONTENT_LEN], whole[..9].to_vec()];
    for content in contents {
        connection.send(&record::padded(GET_VALUES, 0, &content, 7));
        connection.values_result();
        connection.assert_usable();
    }
}

#[test]
fn an_unknown_type_is_named_in_the_answer() {
    over_both(&[], |demo| {
        let mut connection = demo.connect();
        for kind in [12, 13, 127, 128, 255] {
            connection.send(&record::padded(kind, 0, b"whatever it may mean", 4));
            let answer = connection.management_record();
            assert_eq!((answer.kind, answer.id), (UNKNOWN_TYPE, 0));
            assert_eq!(answer.content, [kind, 0, 0, 0, 0, 0, 0, 0]);
        }
        connection.request(1).get("/hello").send();
        assert_eq!(connection.answer(1).text(), "hello, world\n");
    });
}

#[test]
fn a_question_may_come_first_and_in_the_same_segment_as_a_request() {
    let demo = Demo::tcp(&[]);
    let mut connection = demo.connect();
    connection.send(&[record::get_values(&ALL), Request::detached(1).get("/hello").bytes()].concat());
    assert_eq!(connection.values_result().len(), 3);
    assert_eq!(connection.answer(1).text(), "hello, world\n");
}

#[test]
fn questions_are_answered_while_a_request_runs() {
    over_both(&[], |demo| {
        let mut connection = demo.connect();
        connection.request(1).get("/wait-abort").send();
        assert_eq!(connection.values(&ALL).len(), 3);
        assert!(connection.is_active(1));
        connection.send(&record::record(200, 0, b""));
        assert_eq!(connection.management_record().kind, UNKNOWN_TYPE);
        connection.abort(1);
        connection.ending(1);
    });
}

#[test]
fn questions_are_answered_between_the_records_of_a_request() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    let request = Request::detached(1).post("/count").body(b"12345");
    connection.send(&request.begin());
    for piece in request.params().chunks(10) {
        connection.send(&record::record(PARAMS, 1, piece));
        assert_eq!(connection.values(&ALL).len(), 3);
    }
    connection.send(&record::end_of_stream(PARAMS, 1));
    for piece in [b"12", b"34"] {
        connection.stdin(1, piece);
        assert_eq!(connection.values(&ALL).len(), 3);
    }
    connection.stdin(1, b"5");
    connection.end_stdin(1);
    assert_eq!(connection.answer(1).text(), "5\n");
}

#[test]
fn a_question_may_come_byte_by_byte() {
    let demo = Demo::tcp(&[]);
    let mut connection = demo.connect();
    connection.send_in_pieces(&record::get_values(&ALL), 1);
    assert_eq!(connection.values_result().len(), 3);
}
