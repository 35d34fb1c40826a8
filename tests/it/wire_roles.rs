//! Verifies the three roles, and that a role which is none of them is refused without harm to the connection.

use crate::demo::{over_both, Demo};
use crate::peer::answer::Answer;
use crate::peer::record::{self, AUTHORIZER, DATA, FILTER, UNKNOWN_ROLE};
use crate::peer::Connection;

fn authorize(connection: &mut Connection, target: &str) -> Answer {
    // Like mod_authnz_fcgi it sends no STDIN record at all.
    connection.request(1).role(AUTHORIZER).without("CONTENT_LENGTH").get(target).send();
    connection.answer(1)
}

#[test]
fn an_authorizer_allows_with_variables_and_never_waits_for_stdin() {
    over_both(&[], |demo| {
        let mut connection = demo.connect();
        for _ in 0..3 {
            let answer = authorize(&mut connection, "/private?token=letmein");
            assert_eq!((answer.status, answer.header("Variable-USER")), (200, Some("demo")));
        }
        connection.request(1).role(AUTHORIZER).get("/private").param("HTTP_X_TOKEN", "letmein").send();
        assert_eq!(connection.answer(1).status, 200);
    });
}

#[test]
fn an_authorizer_denies_with_a_body_for_the_browser() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    for target in ["/private", "/private?token=wrong"] {
        let answer = authorize(&mut connection, target);
        assert_eq!((answer.status, answer.header("Variable-USER")), (403, None));
        assert!(!answer.body.is_empty());
    }
}

#[test]
fn an_authorizer_that_panics_denies() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    assert_eq!(authorize(&mut connection, "/private?token=panic").status, 500);
    assert_eq!(authorize(&mut connection, "/private?token=letmein").status, 200, "the connection lives on");
}

#[test]
fn an_authorizer_whose_params_are_malformed_denies() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    let truncated = record::record(record::PARAMS, 1, b"\x0c\x20QUERY_STRINGtoken=letmein");
    connection.send(&record::begin(1, AUTHORIZER, true));
    connection.send(&[truncated, record::end_of_stream(record::PARAMS, 1)].concat());
    assert_eq!(connection.answer(1).status, 400);
}

#[test]
fn a_web_server_may_send_stdin_to_an_authorizer() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    connection.request(1).role(AUTHORIZER).get("/private?token=letmein").send();
    connection.end_stdin(1);
    assert_eq!(connection.answer(1).status, 200);
    connection.request(1).get("/hello").send();
    assert_eq!(connection.answer(1).text(), "hello, world\n");
}

#[test]
fn a_filter_answers_its_data() {
    over_both(&[], |demo| {
        let mut connection = demo.connect();
        let long = "what is long ".repeat(20_000);
        for data in ["", "loud", long.as_str()] {
            connection.request(1).get("/file").data(data.as_bytes()).send();
            assert_eq!(connection.answer(1).text(), data.to_uppercase());
        }
    });
}

#[test]
fn the_stdin_of_a_filter_is_not_its_data() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    connection.request(1).post("/file").body(b"from the browser").data(b"from the file").send();
    assert_eq!(connection.answer(1).text(), "FROM THE FILE");
}

#[test]
fn data_shorter_than_declared_is_an_error() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    for data in ["", "shor"] {
        connection.request(1).get("/file").data(data.as_bytes()).param("FCGI_DATA_LENGTH", "5").send();
        let answer = connection.answer(1);
        assert!((400..600).contains(&answer.status), "{answer:?}");
    }
    connection.request(1).get("/hello").send();
    assert_eq!(connection.answer(1).text(), "hello, world\n");
}

#[test]
fn data_for_a_responder_is_no_part_of_its_body() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    connection.request(1).post("/count").body(b"12345").send_head();
    connection.send(&record::stream(DATA, 1, b"not asked for"));
    connection.send(&record::end_of_stream(DATA, 1));
    connection.stdin(1, b"12345");
    connection.end_stdin(1);
    assert_eq!(connection.answer(1).text(), "5\n");
}

#[test]
fn an_unknown_role_is_refused_and_the_connection_stays_usable() {
    over_both(&[], |demo| {
        let mut connection = demo.connect();
        for role in [0, FILTER + 1, 255, 256 + FILTER, 65535] {
            connection.request(1).get("/hello").role(role).send();
            assert_eq!(connection.ending(1).protocol_status, UNKNOWN_ROLE, "role {role}");
            connection.request(1).get("/hello").send();
            assert_eq!(connection.answer(1).text(), "hello, world\n");
        }
    });
}

#[test]
fn an_unknown_role_without_keep_conn_ends_the_connection() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    connection.request(1).get("/hello").role(9).closing().send();
    assert_eq!(connection.ending(1).protocol_status, UNKNOWN_ROLE);
    connection.assert_closed();
}
