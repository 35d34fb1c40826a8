//! Verifies that a body for which there is no room costs one request its answer, and nothing else.

use super::assert_hello;
use super::program::{Program, Setup};
use crate::peer::record::{stream, STDIN};
use crate::peer::Connection;

/// A handler that sleeps keeps the body from being read, so that it must go to a file.
const SLOW: &str = "/ignore?ms=700";

/// What a body is made of: far more than is kept in memory.
fn large() -> Vec<u8> {
    (0..4 << 20).map(|n| (n % 251) as u8).collect()
}

fn assert_only_the_large_body_fails(program: &Program) {
    let mut other = program.connect();
    for _ in 0..2 {
        let mut connection = program.connect();
        connection.request(1).post(SLOW).send_head();
        connection.send(&stream(STDIN, 1, &large()));
        // Those that need no room are served all the while, on this connection and on others.
        connection.request(2).post("/count").body(b"small").send();
        assert_eq!(connection.answer(2).text(), "5\n");
        assert_hello(&mut other, 1);
        connection.end_stdin(1);
        assert_eq!(connection.answer(1).text(), "ignored\n", "a handler that does not read misses nothing");
        assert_echo_fails_visibly(&mut connection);
        assert_hello(&mut connection, 1);
    }
    program.assert_serves();
}

/// A handler that reads on behind what is lost gets an error. The answer has begun then, and must not pass for whole.
fn assert_echo_fails_visibly(connection: &mut Connection) {
    connection.request(2).get("/wait-abort").send();
    let body = large();
    send_to_echo(connection, &body);
    let answer = connection.answer(1);
    assert!(answer.body.len() < body.len() && body.starts_with(&answer.body), "{} bytes", answer.body.len());
    assert_ne!((answer.status, answer.app_status), (200, 0), "a part passes for the whole");
    connection.abort(2);
    connection.ending(2);
}

fn assert_lonely_echo_fails_visibly(program: &Program) {
    let mut connection = program.connect();
    let body = large();
    send_to_echo(&mut connection, &body);
    let part = connection.broken_body(1);
    assert!(part.len() < body.len() && body.starts_with(&part), "{} bytes", part.len());
}

/// The echo is not read while it is sent, so that its handler cannot read either, and the body must go to a file. Over
/// TCP the kernel might take the whole echo.
fn send_to_echo(connection: &mut Connection, body: &[u8]) {
    connection.request(1).post("/echo").send_head();
    connection.send(&stream(STDIN, 1, body));
    connection.end_stdin(1);
}

#[test]
fn a_folder_that_is_not_there_costs_one_request() {
    let program = Program::start(Setup::default());
    std::fs::remove_dir(program.spool()).expect("it is empty");
    assert_only_the_large_body_fails(&program);
}

#[test]
fn a_cut_echo_that_is_alone_on_its_connection_ends_it() {
    let program = Program::start(Setup::default());
    std::fs::remove_dir(program.spool()).expect("it is empty");
    assert_lonely_echo_fails_visibly(&program);
    program.assert_serves();
}

/// The kernel lets no file of the process grow beyond a megabyte, as if the disk were full.
#[test]
fn a_full_disk_costs_one_request() {
    let program = Program::start(Setup { shell: "trap '' XFSZ; ulimit -f 2048", ..Setup::default() });
    assert_only_the_large_body_fails(&program);
}
