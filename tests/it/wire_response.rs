//! Verifies answers: their heads, their lengths, their failures, and how they are cut into records and writes.

use crate::demo::{over_both, wait_until, Demo};
use crate::peer::answer::Answer;
use crate::peer::Connection;

fn get(connection: &mut Connection, target: &str) -> Answer {
    connection.request(1).get(target).send();
    connection.answer(1)
}

fn assert_hello(connection: &mut Connection) {
    assert_eq!(get(connection, "/hello").text(), "hello, world\n");
}

#[test]
fn head_has_no_body() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    for (target, length) in [("/hello", 13), ("/bytes?n=100000", 100_000), ("/lie?declared=7&sent=9", 7)] {
        connection.request(1).method("HEAD", target).send();
        let answer = connection.answer(1);
        assert_eq!((answer.status, answer.body.len()), (200, 0), "HEAD {target}");
        assert_eq!(answer.content_length().unwrap_or(length), length, "HEAD {target}");
    }
    connection.request(1).method("HEAD", "/drip?n=2&ms=0").send();
    assert!(connection.answer(1).body.is_empty());
    assert_hello(&mut connection);
}

#[test]
fn head_has_no_body_when_it_fails_either() {
    let demo = Demo::unix(&["--max-body", "1000"]);
    let mut connection = demo.connect();
    for (target, length, status) in [("/panic", "", 500), ("/status/404", "", 404), ("/hello", "1001", 413)] {
        connection.request(1).method("HEAD", target).param("CONTENT_LENGTH", length).send();
        let answer = connection.answer(1);
        assert_eq!((answer.status, answer.body.len()), (status, 0), "HEAD {target}");
    }
}

#[test]
fn no_content_and_not_modified_have_no_body() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    for code in [204, 304] {
        let answer = get(&mut connection, &format!("/status/{code}"));
        assert_eq!((answer.status, answer.body.len()), (code, 0));
    }
}

#[test]
fn a_known_length_is_declared() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    for target in ["/", "/hello", "/env", "/headers", "/metrics", "/status/404", "/exit?code=1", "/stderr?text=T"] {
        let answer = get(&mut connection, target);
        assert_eq!(answer.content_length(), Some(answer.body.len()), "{target}");
    }
}

#[test]
fn every_answer_with_a_body_has_a_content_type() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    for target in ["/", "/hello", "/env", "/bytes?n=9", "/drip?n=1&ms=0", "/status/404", "/panic", "/metrics"] {
        assert!(get(&mut connection, target).header("Content-Type").is_some(), "{target}");
    }
}

#[test]
fn more_than_declared_is_cut_off() {
    over_both(&[], |demo| {
        let mut connection = demo.connect();
        for (declared, sent) in [(5, 6), (0, 10), (65_528, 1_000_000), (100_000, 100_001)] {
            let answer = get(&mut connection, &format!("/lie?declared={declared}&sent={sent}"));
            assert_eq!((answer.content_length(), answer.body.len()), (Some(declared), declared));
        }
        assert_hello(&mut connection);
    });
}

#[test]
fn less_than_declared_closes_the_connection_when_it_is_alone() {
    over_both(&[], |demo| {
        for sent in [5, 100_000] {
            let mut connection = demo.connect();
            connection.request(1).get(&format!("/lie?declared=100001&sent={sent}")).send();
            assert!(connection.broken_body(1).len() <= sent);
            demo.assert_serves();
        }
    });
}

#[test]
fn less_than_declared_is_an_application_status_beside_others() {
    over_both(&[], |demo| {
        let mut connection = demo.connect();
        connection.request(2).get("/wait-abort").send();
        let answer = get(&mut connection, "/lie?declared=10&sent=5");
        assert_ne!(answer.app_status, 0);
        assert!(answer.body.len() < 10);
        assert_hello(&mut connection);
        connection.abort(2);
        connection.ending(2);
    });
}

#[test]
fn a_panic_is_a_500_and_the_connection_lives_on() {
    over_both(&[], |demo| {
        let mut connection = demo.connect();
        for _ in 0..100 {
            let answer = get(&mut connection, "/panic");
            assert_eq!(answer.status, 500);
            let said = [answer.body, answer.stderr].concat();
            assert!(!String::from_utf8_lossy(&said).contains("panic"), "the panic's text is for the log");
        }
        assert_hello(&mut connection);
        assert!(demo.log().contains("panic"), "the log tells of it");
    });
}

#[test]
fn a_late_panic_closes_the_connection_when_it_is_alone() {
    over_both(&[], |demo| {
        let mut connection = demo.connect();
        connection.request(1).get("/panic-late").send();
        connection.broken_body(1);
        demo.assert_serves();
    });
}

#[test]
fn a_late_panic_is_an_application_status_beside_others() {
    over_both(&[], |demo| {
        let mut connection = demo.connect();
        connection.request(2).get("/wait-abort").send();
        assert_ne!(get(&mut connection, "/panic-late").app_status, 0);
        assert_hello(&mut connection);
        connection.abort(2);
        connection.ending(2);
    });
}

#[test]
fn the_application_status_is_the_handlers() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    for code in [0, 1, 7, 255, 256, 4_294_967_295] {
        let answer = get(&mut connection, &format!("/exit?code={code}"));
        assert_eq!((answer.status, answer.app_status), (200, code));
    }
    assert_eq!(get(&mut connection, "/hello").app_status, 0);
}

#[test]
fn stderr_is_kept_out_of_the_page() {
    over_both(&[], |demo| {
        let mut connection = demo.connect();
        let answer = get(&mut connection, "/stderr?text=beside%20the%20page");
        assert_eq!(answer.stderr, b"beside the page");
        assert!(!answer.text().contains("beside the page"));
        assert_hello(&mut connection);
    });
}

#[test]
fn a_handler_may_set_a_header() {
    let demo = Demo::unix(&[]);
    let answer = get(&mut demo.connect(), "/header?name=X-Own&value=it%20is%20set");
    assert_eq!((answer.status, answer.header("X-Own")), (200, Some("it is set")));
}

#[test]
fn no_header_can_be_smuggled_into_another() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    let names = ["X-A%0d%0aX-Evil:%201", "X%20A", "X:A", "", "X-%C3%A4"];
    let values = ["a%0d%0aX-Evil:%201", "a%0aX-Evil:%201", "a%0dX-Evil:%201", "a%00b"];
    let targets = names.iter().map(|name| format!("/header?name={name}&value=a"));
    for target in targets.chain(values.iter().map(|value| format!("/header?name=X-A&value={value}"))) {
        let answer = get(&mut connection, &target);
        assert_eq!((answer.status, answer.header("X-Evil")), (400, None), "{target}");
    }
}

#[test]
fn headers_that_frame_a_message_are_dropped() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    for name in ["Transfer-Encoding", "Connection", "Keep-Alive", "Upgrade", "Trailer", "transfer-encoding"] {
        let answer = get(&mut connection, &format!("/header?name={name}&value=chunked"));
        assert_eq!((answer.status, answer.header(name)), (200, None), "{name}");
    }
}

#[test]
fn a_head_that_fits_no_record_is_refused() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    let answer = get(&mut connection, &format!("/header?name=X&value={}", "x".repeat(65_500)));
    assert_eq!((answer.status, answer.header("X")), (500, None));
    let answer = get(&mut connection, &format!("/header?name=X&value={}", "x".repeat(3_000)));
    assert_eq!((answer.status, answer.header("X").map(str::len)), (200, Some(3_000)));
}

#[test]
fn a_small_answer_leaves_in_one_write() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    for target in ["/hello", "/env", "/stderr?text=T", "/exit?code=3", "/panic", "/status/204", "/nowhere"] {
        for _ in 0..100 {
            connection.request(1).get(target).send();
            let bytes = connection.receive_once();
            connection.judge(&bytes);
            assert!(!connection.is_active(1), "{target}: the first {} bytes are not all", bytes.len());
            connection.answer(1);
        }
    }
}

#[test]
fn a_large_answer_to_a_web_server_that_does_not_read_costs_little_memory() {
    over_both(&[], |demo| {
        let mut connection = demo.connect();
        assert_hello(&mut connection);
        let before = demo.peak_kib();
        connection.request(1).get("/bytes?n=67108864").send();
        connection.body_until(1, 1);
        let mut other = demo.connect();
        assert_hello(&mut other);
        let grown = demo.peak_kib().saturating_sub(before);
        assert!(grown < 4 << 10, "it grew by {grown} KiB");
        assert_eq!(connection.answer(1).body.len(), 64 << 20);
    });
}

#[test]
fn a_web_server_that_does_not_read_is_not_waited_for() {
    over_both(&["--write-timeout", "100"], |demo| {
        let mut connection = demo.connect();
        connection.request(1).get("/bytes?n=67108864").send();
        connection.body_until(1, 1);
        let mut other = demo.connect();
        wait_until("the end of the request", || {
            other.request(1).get("/metrics").send();
            other.answer(1).json()["active_requests"] == 1
        });
        assert!(connection.drain().len() < 64 << 20, "the answer was cut off");
    });
}

#[test]
fn a_large_header_block_is_warned_of_and_too_large_a_one_refused() {
    over_both(&[], |demo| {
        let mut connection = demo.connect();
        for (len, status, warning) in [(3_000, 200, None), (5_000, 200, Some("4 KiB")), (16_000, 500, Some("max_head"))]
        {
            connection.request(1).get(&format!("/header?name=X-Long&value={}", "v".repeat(len))).send();
            assert_eq!(connection.answer(1).status, status);
            let log = demo.log();
            assert!(warning.map_or(log.is_empty(), |warning| log.contains(warning)), "{len}: {log}");
        }
    });
}
