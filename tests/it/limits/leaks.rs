//! Verifies that nothing of a request is left for the next one on its connection: whatever came before, the answer is
//! the one that a new connection gets.

use crate::demo::{over_both, Demo};
use crate::peer::answer::Ending;
use crate::peer::record::{self, AUTHORIZER, PARAMS, RESPONDER, STDIN};
use crate::peer::Connection;

/// Uses the connection, and ends what it began under id 1.
type Before = fn(&mut Connection);

const BEFORE: [(&str, Before); 14] = [
    ("headers", |connection| {
        let request = connection.request(1).get("/headers").param("HTTP_AUTHORIZATION", "Basic c2VjcmV0");
        request.param("HTTP_COOKIE", "session=secret").param("REMOTE_USER", "alice").send();
    }),
    ("many and long variables", |connection| {
        let request = connection.request(1).get("/env");
        let request = (0..500).fold(request, |request, n| request.also(&format!("HTTP_X_{n}"), &"secret".repeat(50)));
        request.send();
    }),
    ("an echo", |connection| connection.request(1).post("/echo").param("CONTENT_TYPE", "x/y").body(b"secret").send()),
    ("a body that nobody reads", |connection| connection.request(1).post("/hello").body(&[b's'; 300_000]).send()),
    ("a body that is longer than declared", |connection| {
        connection.request(1).post("/count").param("CONTENT_LENGTH", "3").undeclared(b"too long").send();
    }),
    ("STDERR", |connection| connection.request(1).get("/stderr?text=secret").send()),
    ("an application status", |connection| connection.request(1).get("/exit?code=77").send()),
    ("a header of the answer", |connection| connection.request(1).get("/header?name=X-Secret&value=secret").send()),
    ("a panic", |connection| connection.request(1).get("/panic").send()),
    ("an authorizer's variable", |connection| {
        connection.request(1).role(AUTHORIZER).get("/private?token=letmein").send();
    }),
    ("malformed PARAMS", |connection| {
        let truncated = record::record(PARAMS, 1, b"\x0b\x20HTTP_COOKIEsecret");
        connection.send(&[record::begin(1, RESPONDER, true), truncated, record::end_of_stream(PARAMS, 1)].concat());
    }),
    ("PARAMS that were aborted", |connection| {
        let params = record::record(PARAMS, 1, b"\x0b\x06HTTP_COOKIEsecret");
        connection.send(&[record::begin(1, RESPONDER, true), params, record::abort(1)].concat());
    }),
    ("a body that was aborted", |connection| {
        connection.request(1).post("/count").send_head();
        connection.send(&[record::stream(STDIN, 1, b"secret"), record::abort(1)].concat());
    }),
    ("an answer that was aborted", |connection| {
        connection.request(1).get("/drip?n=1000&ms=5").send();
        connection.body_until(1, 1);
        connection.abort(1);
    }),
];

/// What shows all that a handler gets: variables, headers, and the body.
const AFTER: [&str; 4] = ["/env", "/headers", "/echo", "/stderr?text=x"];

fn ask(connection: &mut Connection, target: &str) -> Ending {
    connection.request(1).post(target).undeclared(b"12345").send();
    connection.ending(1)
}

fn assert_as_on_a_new_connection(demo: &Demo, used: &mut Connection, what: &str) {
    for target in AFTER {
        let (new, old) = (ask(&mut demo.connect(), target), ask(used, target));
        let shown = |ending: &Ending| String::from_utf8_lossy(&ending.stdout).into_owned();
        assert_eq!(shown(&old), shown(&new), "{target} behind {what}");
        assert_eq!((old.stderr, old.app_status), (new.stderr, new.app_status), "{target} behind {what}");
        assert_eq!(old.protocol_status, new.protocol_status, "{target} behind {what}");
    }
}

#[test]
fn each_request_is_as_if_there_had_been_none_before() {
    over_both(&[], |demo| {
        let mut connection = demo.connect();
        for (what, use_connection) in BEFORE {
            use_connection(&mut connection);
            connection.ending(1);
            assert_as_on_a_new_connection(demo, &mut connection, what);
        }
    });
}
