//! Verifies the PARAMS stream: split anywhere, of any legal form, bounded, and never half understood.

use serde_json::json;

use crate::demo::{over_both, Demo};
use crate::peer::answer::Answer;
use crate::peer::record::{self, long_length, long_pair, pair, PARAMS};
use crate::peer::{Connection, Request};

/// Sends a responder's request whose PARAMS stream is these records' contents, and nothing on STDIN.
fn ask(connection: &mut Connection, contents: &[&[u8]]) -> Answer {
    let params: Vec<u8> = contents.iter().flat_map(|content| record::record(PARAMS, 1, content)).collect();
    connection.send(&[record::begin(1, record::RESPONDER, true), params].concat());
    connection.send(&record::end_of_stream(PARAMS, 1));
    connection.end_stdin(1);
    connection.answer(1)
}

fn get_env() -> Vec<u8> {
    [pair(b"REQUEST_METHOD", b"GET"), pair(b"REQUEST_URI", b"/env")].concat()
}

fn assert_hello(connection: &mut Connection) {
    connection.request(1).get("/hello").send();
    assert_eq!(connection.answer(1).text(), "hello, world\n");
}

#[test]
fn pairs_may_straddle_records_at_every_byte() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    let long = [b'v'; 130];
    let params = [get_env(), pair(b"LONG", &long), long_pair(b"SHORT", b"s"), pair(b"EMPTY", b"")].concat();
    let whole = ask(&mut connection, &[&params]).json();
    assert_eq!(whole["LONG"], "v".repeat(130));
    for split in 1..params.len() {
        let (left, right) = params.split_at(split);
        assert_eq!(ask(&mut connection, &[left, right]).json(), whole, "split at {split}");
    }
    let bytes: Vec<&[u8]> = params.chunks(1).collect();
    assert_eq!(ask(&mut connection, &bytes).json(), whole, "a record for every byte");
}

#[test]
fn the_stream_may_arrive_byte_by_byte() {
    over_both(&[], |demo| {
        let mut connection = demo.connect();
        let request = Request::detached(1).post("/echo").body(b"hello").bytes();
        for size in [1, 2, 3, 7, 8, 9, 64] {
            connection.send_in_pieces(&request, size);
            assert_eq!(connection.answer(1).text(), "hello", "pieces of {size}");
        }
    });
}

#[test]
fn records_may_have_any_padding() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    for padding in [0, 1, 7, 8, 254, 255] {
        connection.send(&record::padded(record::BEGIN_REQUEST, 1, &[0, 1, 1, 0, 0, 0, 0, 0], padding));
        connection.send(&record::padded(PARAMS, 1, &get_env(), padding));
        connection.send(&record::padded(PARAMS, 1, b"", padding));
        connection.send(&record::padded(record::STDIN, 1, b"", padding));
        assert_eq!(connection.answer(1).json(), json!({ "REQUEST_METHOD": "GET", "REQUEST_URI": "/env" }));
    }
}

#[test]
fn four_byte_lengths_are_good_for_short_strings() {
    let demo = Demo::unix(&[]);
    let params = [long_pair(b"REQUEST_METHOD", b"GET"), long_pair(b"REQUEST_URI", b"/env"), long_pair(b"A", b"")];
    let seen = ask(&mut demo.connect(), &[&params.concat()]).json();
    assert_eq!(seen, json!({ "REQUEST_METHOD": "GET", "REQUEST_URI": "/env", "A": "" }));
}

#[test]
fn values_of_every_length_arrive_whole() {
    over_both(&[], |demo| {
        let mut connection = demo.connect();
        for len in [0, 1, 127, 128, 129, 65_534, 65_535, 65_536, 200_000] {
            let value = "v".repeat(len);
            connection.request(1).get("/env").param("VALUE", &value).send();
            assert!(connection.answer(1).json()["VALUE"] == value, "a value of {len} bytes");
        }
    });
}

#[test]
fn names_of_every_length_arrive_whole() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    for len in [1, 127, 128, 70_000] {
        let name = "N".repeat(len);
        connection.request(1).get("/env").param(&name, "found").send();
        assert_eq!(connection.answer(1).json()[&name], "found", "a name of {len} bytes");
    }
}

#[test]
fn truncated_pairs_are_answered_400_and_no_handler_runs() {
    over_both(&[], |demo| {
        let mut connection = demo.connect();
        let start = [pair(b"REQUEST_METHOD", b"GET"), pair(b"REQUEST_URI", b"/stderr?text=ran")].concat();
        assert_eq!(ask(&mut connection, &[&start]).stderr, b"ran");
        let last = long_pair(b"NAME", &[b'v'; 20]);
        for len in 1..last.len() {
            let answer = ask(&mut connection, &[&start, &last[..len]]);
            assert_eq!(answer.status, 400, "{len} bytes of the last pair");
            assert!(answer.stderr.is_empty(), "the handler ran");
        }
        assert_hello(&mut connection);
    });
}

#[test]
fn lengths_of_two_gigabytes_are_refused_and_cost_nothing() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    assert_hello(&mut connection);
    let before = demo.peak_kib();
    let max = long_length(0x7FFF_FFFF);
    let rows = [
        [max.clone(), max.clone()].concat(),
        [vec![1], max.clone(), b"N".to_vec()].concat(),
        [max.clone(), vec![1]].concat(),
        [get_env(), max.clone(), max].concat(),
    ];
    for content in rows {
        let answer = ask(&mut connection, &[&content]);
        assert!([400, 431].contains(&answer.status), "{answer:?}");
    }
    assert_hello(&mut connection);
    let grown = demo.peak_kib().saturating_sub(before);
    assert!(grown < 4 << 10, "it grew by {grown} KiB");
}

#[test]
fn params_beyond_the_limit_are_answered_431() {
    over_both(&["--max-params", "4096"], |demo| {
        let mut connection = demo.connect();
        connection.request(1).get("/hello").param("LONG", &"x".repeat(5_000)).send();
        assert_eq!(connection.answer(1).status, 431);
        connection.request(1).get("/hello").param("LONG", &"x".repeat(3_000)).send();
        assert_eq!(connection.answer(1).text(), "hello, world\n");
    });
}

#[test]
fn params_that_never_end_are_answered_all_the_same() {
    over_both(&["--max-params", "4096"], |demo| {
        let mut connection = demo.connect();
        connection.send(&record::begin(1, record::RESPONDER, true));
        for _ in 0..5 {
            connection.send(&record::record(PARAMS, 1, &pair(b"X", &[b'x'; 1_000])));
        }
        assert_eq!(connection.answer(1).status, 431);
        connection.send(&record::record(PARAMS, 1, b"and more, for nobody"));
        assert_hello(&mut connection);
    });
}

#[test]
fn a_flood_of_params_does_not_grow_memory() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    assert_hello(&mut connection);
    let before = demo.peak_kib();
    connection.send(&record::begin(1, record::RESPONDER, true));
    let piece = record::record(PARAMS, 1, &vec![0; 65_535]);
    for _ in 0..512 {
        connection.send(&piece);
    }
    assert_eq!(connection.answer(1).status, 431);
    assert_hello(&mut connection);
    let grown = demo.peak_kib().saturating_sub(before);
    assert!(grown < 4 << 10, "32 MiB of PARAMS made it grow by {grown} KiB");
}

#[test]
fn a_hundred_thousand_empty_pairs_are_survived() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    let empty = vec![0; 50_000];
    let answer = ask(&mut connection, &[&get_env(), &empty, &empty, &empty, &empty]);
    assert!([200, 400, 431].contains(&answer.status), "{}", answer.status);
    assert_hello(&mut connection);
}

#[test]
fn of_a_name_that_comes_twice_the_first_value_counts() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    let request = connection.request(1).get("/headers/first");
    let request = request.also("REQUEST_METHOD", "POST").also("REQUEST_URI", "/headers/second");
    request.also("HTTP_X_TWICE", "one").also("HTTP_X_TWICE", "two").send();
    let seen = connection.answer(1).json();
    assert_eq!((&seen["method"], &seen["uri"]), (&json!("GET"), &json!("/headers/first")));
    assert_eq!(seen["headers"]["x-twice"], json!(["one", "two"]), "repeated headers stay repeated");
    let request = connection.request(1).post("/count").param("CONTENT_LENGTH", "3").also("CONTENT_LENGTH", "5");
    request.undeclared(b"12345").send();
    assert_eq!(connection.answer(1).text(), "3\n");
}

#[test]
fn http_proxy_is_never_a_header() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    connection.request(1).get("/headers").param("HTTP_PROXY", "http://evil.example").send();
    let seen = connection.answer(1).json();
    assert_eq!(seen["headers"], json!({ "host": ["localhost"] }));
    connection.request(1).get("/env").param("HTTP_PROXY", "http://evil.example").send();
    assert_eq!(connection.answer(1).json()["HTTP_PROXY"], "http://evil.example", "it is there as a raw variable");
}

#[test]
fn a_second_end_of_params_or_stdin_is_ignored() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    for _ in 0..50 {
        connection.request(1).post("/echo").body(b"hello").send_head();
        connection.send(&record::end_of_stream(PARAMS, 1));
        connection.stdin(1, b"hello");
        connection.end_stdin(1);
        connection.end_stdin(1);
        connection.send(&record::end_of_stream(PARAMS, 1));
        assert_eq!(connection.answer(1).text(), "hello");
    }
}

#[test]
fn a_record_within_a_value_stays_a_value() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    let params = [pair(b"REQUEST_METHOD", b"GET"), pair(b"REQUEST_URI", b"/hello")].concat();
    let ends = [PARAMS, record::STDIN].map(|kind| record::end_of_stream(kind, 2)).concat();
    let smuggled = [record::begin(2, record::RESPONDER, true), record::record(PARAMS, 2, &params), ends].concat();
    let smuggled = String::from_utf8(smuggled).expect("all its bytes are below 128");
    connection.request(1).get("/env").param("SMUGGLED", &smuggled).send();
    assert_eq!(connection.answer(1).json()["SMUGGLED"], smuggled);
    // An answer for id 2 would fail here.
    connection.assert_usable();
}

#[test]
fn nothing_of_a_request_leaks_into_the_next() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    let first = connection.request(1).get("/headers").param("HTTP_AUTHORIZATION", "Basic c2VjcmV0");
    first.param("HTTP_COOKIE", "session=secret").param("REMOTE_USER", "alice").send();
    assert_eq!(connection.answer(1).json()["headers"]["cookie"], json!(["session=secret"]));
    connection.request(1).get("/headers").send();
    assert_eq!(connection.answer(1).json()["headers"], json!({ "host": ["localhost"] }));
    connection.request(1).get("/env").send();
    let seen = connection.answer(1).json();
    for name in ["HTTP_AUTHORIZATION", "HTTP_COOKIE", "REMOTE_USER"] {
        assert!(seen.get(name).is_none(), "{name} leaked");
    }
}

#[test]
fn a_request_that_is_none_gets_a_400_and_no_handler_runs() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    let long = format!("/stderr?text=ran&{}", "x".repeat(70_000));
    let rows = [
        ("REQUEST_METHOD", "GE T"),
        ("REQUEST_METHOD", "GET\r\n"),
        ("REQUEST_METHOD", ""),
        ("REQUEST_URI", long.as_str()),
        ("HTTP_X_A", "a\r\nX-Evil: 1"),
        ("HTTP_X_A", "a\0"),
    ];
    for (name, value) in rows {
        connection.request(1).get("/stderr?text=ran").param(name, value).send();
        let answer = connection.answer(1);
        assert_eq!((answer.status, answer.stderr), (400, Vec::new()), "{name}");
    }
    assert_hello(&mut connection);
}

#[test]
fn spaces_and_control_characters_of_the_target_never_reach_the_handler_raw() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    for target in ["/headers/a b", "/headers/a\nb", "/headers/a\0b", "/headers/\u{e4}", "/headers/a\r\nX-Evil: 1"] {
        connection.request(1).get(target).send();
        let answer = connection.answer(1);
        assert!([200, 400].contains(&answer.status), "{target:?}: {answer:?}");
        if answer.status == 200 {
            let uri = answer.json()["uri"].as_str().unwrap().to_owned();
            assert!(!uri.contains(|c: char| c.is_control() || c == ' '), "{target:?} became {uri:?}");
        }
    }
    assert_hello(&mut connection);
}

#[test]
fn no_single_variable_is_needed_for_an_answer() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    let names = ["REQUEST_METHOD", "REQUEST_URI", "SCRIPT_NAME", "QUERY_STRING", "SERVER_PROTOCOL", "HTTP_HOST"];
    for name in names.iter().chain(&["CONTENT_LENGTH", "REMOTE_ADDR", "SERVER_NAME"]) {
        connection.request(1).get("/hello").without(name).send();
        let status = connection.answer(1).status;
        assert!([200, 400].contains(&status), "without {name}: {status}");
    }
    let none = ask(&mut connection, &[]);
    assert!([200, 400, 404].contains(&none.status), "without any: {none:?}");
}

#[test]
fn a_web_server_that_stops_in_its_params_is_not_waited_for() {
    over_both(&["--read-timeout", "100", "--idle-timeout", "100"], |demo| {
        let mut connection = demo.connect();
        connection.send(&record::begin(1, record::RESPONDER, true));
        connection.send(&record::record(PARAMS, 1, b"\x0eREQUEST"));
        connection.assert_closed();
        demo.assert_serves();
    });
}
