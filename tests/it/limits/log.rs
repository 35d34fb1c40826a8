//! Verifies that what web servers and browsers send cannot forge lines of the log or fill it, and that contents and
//! secrets are in it at no level.

use super::program::{Program, Setup};
use crate::peer::record::{self, AUTHORIZER, RESPONDER};
use crate::peer::Connection;

/// What comes from the peer is cut at some hundred bytes, each of which may take five when it is escaped.
const LONGEST_LINE: usize = 2500;

/// Things that make the server log something.
fn misbehave(connection: &mut Connection, text: &str) {
    let target = format!("/panic?{text}");
    connection.request(1).get(&target).send();
    connection.ending(1);
    connection.request(1).method(text, "/hello").send();
    connection.ending(1);
    for name in ["REQUEST_URI", "HTTP_X_A", "CONTENT_LENGTH", "SERVER_PROTOCOL", "HTTP_HOST", text] {
        connection.request(1).get("/panic").param(name, text).send();
        connection.ending(1);
    }
    connection.request(1).get(&format!("/lie?declared=9&sent=10&{text}")).send();
    connection.ending(1);
    connection.request(1).get(&format!("/stderr?text={text}")).send();
    connection.ending(1);
    connection.request(1).role(AUTHORIZER).get("/private?token=panic").param("SCRIPT_NAME", text).send();
    connection.ending(1);
    connection.send(&record::record(200, 0, text.as_bytes()));
    connection.management_record();
    connection.values(&["FCGI_MAX_REQS", text]);
}

fn violate(program: &Program, text: &str) {
    let mut connection = program.connect();
    connection.send(&record::versioned(9, 1, 1, text.as_bytes(), 0));
    connection.drain();
    let mut connection = program.connect();
    connection.send(&[record::begin(0, RESPONDER, true), text.as_bytes().to_vec()].concat());
    connection.drain();
}

#[test]
fn lines_are_escaped_and_short_whatever_the_peer_sends() {
    let program = Program::start(Setup { log_level: "fcgi=trace", ..Setup::default() });
    let long = "x".repeat(20_000);
    let controls = "\x01".repeat(20_000);
    let forged = "a\r\n[ERROR fcgi] forged\r\n";
    let mut connection = program.connect();
    for text in ["\x1b[31mred\x1b[0m", forged, "a\0b\x07\x08\x7f", "\u{202e}\u{9b}31m", "%0a%0d%1b", &long, &controls] {
        misbehave(&mut connection, text);
        violate(&program, text);
    }
    program.assert_serves();
    let log = program.log();
    assert!(log.lines().count() > 50, "nothing was logged: {log}");
    for line in log.lines() {
        assert!(line.len() <= LONGEST_LINE, "{} bytes: {}...", line.len(), &line[..200]);
        assert!(!line.chars().any(char::is_control), "{line:?}");
        assert!(!line.starts_with("[ERROR fcgi] forged"), "{line}");
    }
}

#[test]
fn no_level_of_the_log_shows_contents() {
    let program = Program::start(Setup { log_level: "fcgi=trace", ..Setup::default() });
    let mut connection = program.connect();
    for target in ["/echo", "/digest", "/env", "/nowhere"] {
        let request = connection.request(1).post(target).param("HTTP_COOKIE", "c00kie").param("HTTP_X_TOKEN", "t0ken");
        request.body(b"b0dy").send();
        connection.answer(1);
    }
    let log = program.log();
    assert!(log.contains("TRACE"), "nothing was logged: {log}");
    for secret in ["c00kie", "t0ken", "b0dy"] {
        assert!(!log.contains(secret), "{secret} is in the log: {log}");
    }
}

#[test]
fn what_a_browser_sends_cannot_forge_lines_of_the_web_servers_log() {
    let program = Program::start(Setup::default());
    let mut connection = program.connect();
    connection.request(1).get("/stderr?text=a%0D%0Db%00%1B[31m%07%C2%9B%7F").send();
    let stderr = connection.answer(1).stderr;
    assert!(stderr.starts_with(b"a") && !stderr.iter().any(u8::is_ascii_control), "{stderr:?}");
    connection.request(1).get(&format!("/stderr?text={}", "x".repeat(20_000))).send();
    assert!(connection.answer(1).stderr.len() <= 8 << 10);
}
