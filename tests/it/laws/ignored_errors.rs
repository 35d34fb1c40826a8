//! Verifies that an answer whose writer ignores an error never passes for whole, whatever failed and when.

use std::fmt::Debug;
use std::io::{self, Read, Write};
use std::sync::mpsc::{self, Sender};
use std::sync::Mutex;
use std::time::Duration;

use fcgi::http::{Request, Response};
use fcgi::{Body, BodyError, BodyWriter, Cancellation, RequestExt, SendBody, Server};

use super::{ending_or_close, Site};
use crate::demo::PATIENCE;
use crate::peer::record::REQUEST_COMPLETE;
use crate::peer::Connection;

/// What makes the writes of an answer fail.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Failure {
    Abort,
    Deadline,
    Shutdown,
    /// The first error is one of reading the body, in an aborted request.
    Body,
    /// There is nobody to take an answer for whole, but the writes must go on failing.
    Lost,
}

/// How far the answer is when its writes begin to fail.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    BeforeHead,
    BehindFlush,
    LastWrite,
}

/// How the writer meets the error that it ignores.
#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    /// A small write, which collects, and a flush.
    Flush,
    /// A write that is too large to be collected.
    Large,
}

/// What the writer has seen.
#[derive(Debug)]
struct Seen {
    first: io::Result<()>,
    /// What was called behind the first failure, and how that went.
    later: Vec<(&'static str, io::Result<()>)>,
}

fn fail(out: &mut BodyWriter<'_>, how: How) -> io::Result<()> {
    match how {
        How::Flush => out.write_all(b"not the first").and_then(|()| out.flush()),
        How::Large => out.write_all(&[b'l'; 100_000]),
    }
}

/// Fails until the connection is found to be lost: what the kernel takes is no proof that somebody reads.
fn fail_at_last(out: &mut BodyWriter<'_>, how: How) -> io::Result<()> {
    (0..1000).try_for_each(|_| fail(out, how))
}

/// Writes on whatever happens.
fn ignore_errors(out: &mut BodyWriter<'_>, body: &mut Body, row: Row, cancelled: &Cancellation) -> Seen {
    let Row(failure, place, how) = row;
    if place != Place::BeforeHead {
        out.write_all(b"the first").and_then(|()| out.flush()).unwrap();
    }
    cancelled.wait(PATIENCE).unwrap();
    let mut later = Vec::new();
    let first = match failure {
        Failure::Body => {
            let read = body.read(&mut [0; 10]).map(drop);
            later.push(("write behind the read", fail(out, how)));
            read
        }
        Failure::Lost => fail_at_last(out, how),
        _ => fail(out, how),
    };
    if place != Place::LastWrite {
        later.push(("small write", out.write_all(b"more")));
        later.push(("flush", out.flush()));
        later.push(("large write", out.write_all(&[b'm'; 100_000])));
        later.push(("last small write", out.write_all(b"the last")));
    }
    Seen { first, later }
}

#[derive(Clone, Copy, Debug)]
struct Row(Failure, Place, How);

fn server(row: Row, seen: Sender<Seen>) -> Server {
    let seen = Mutex::new(seen);
    let handler = move |request: Request<Body>| {
        let (cancelled, seen) = (request.cancellation(), seen.lock().unwrap().clone());
        let mut body = request.into_body();
        Response::new(SendBody::writer(move |out| {
            seen.send(ignore_errors(out, &mut body, row, &cancelled)).unwrap();
            Ok(())
        }))
    };
    let server = Server::new().responder(handler).shutdown_grace(Duration::from_millis(50));
    match row.0 {
        Failure::Deadline => server.request_timeout(Duration::from_millis(100)),
        _ => server,
    }
}

fn expected(failure: Failure) -> BodyError {
    match failure {
        Failure::Abort | Failure::Body => BodyError::Aborted,
        Failure::Deadline => BodyError::TimedOut,
        Failure::Shutdown => BodyError::Shutdown,
        Failure::Lost => BodyError::Disconnected,
    }
}

fn assert_fails(row: impl Debug, result: &io::Result<()>, expected: BodyError) {
    let error = result.as_ref().err().unwrap_or_else(|| panic!("{row:?} went well"));
    assert_eq!(BodyError::of(error), Some(expected), "{row:?}: {error}");
}

/// Fails when what came is a success from beginning to end. An answer of which nothing was sent may become an error.
fn assert_is_not_whole(row: Row, connection: &mut Connection) {
    let Some(ending) = ending_or_close(connection, 1) else { return };
    let seems_whole = ending.app_status == 0 && ending.protocol_status == REQUEST_COMPLETE;
    if seems_whole && !ending.stdout.is_empty() {
        let answer = ending.into_answer();
        assert!(answer.status >= 400, "{row:?}: passes for a whole answer: {} bytes", answer.body.len());
    }
}

fn assert_an_ignored_error_stays(row: Row) {
    // Shown when it fails.
    eprintln!("{row:?}");
    let Row(failure, place, _) = row;
    let (sender, seen) = mpsc::channel();
    let mut site = Site::unix(server(row, sender));
    let mut connection = site.connect();
    connection.request(1).post("/").param("CONTENT_LENGTH", "100").send_head();
    connection.stdin(1, b"a part of it");
    match place {
        Place::BeforeHead => site.wait_for("the handler", |now| now.busy_workers == 1),
        _ => assert_eq!(connection.body_until(1, 9), b"the first"),
    }
    let mut connection = Some(connection);
    match failure {
        Failure::Abort | Failure::Body => connection.as_mut().unwrap().abort(1),
        Failure::Deadline => {}
        Failure::Shutdown => drop(site.begin_stop()),
        Failure::Lost => connection = None,
    }
    connection.as_mut().into_iter().for_each(|connection| assert_is_not_whole(row, connection));
    let seen = seen.recv_timeout(PATIENCE).unwrap();
    assert_fails((row, "the first"), &seen.first, expected(failure));
    seen.later.iter().for_each(|(what, result)| assert_fails((row, what), result, expected(failure)));
}

fn assert_ignored_errors_stay(failure: Failure) {
    for place in [Place::BeforeHead, Place::BehindFlush, Place::LastWrite] {
        for how in [How::Flush, How::Large] {
            assert_an_ignored_error_stays(Row(failure, place, how));
        }
    }
}

#[test]
fn an_ignored_abort_never_passes_for_a_whole_answer() {
    assert_ignored_errors_stay(Failure::Abort);
}

#[test]
fn an_ignored_deadline_never_passes_for_a_whole_answer() {
    assert_ignored_errors_stay(Failure::Deadline);
}

#[test]
fn an_ignored_shutdown_never_passes_for_a_whole_answer() {
    assert_ignored_errors_stay(Failure::Shutdown);
}

#[test]
fn an_ignored_error_of_the_body_never_passes_for_a_whole_answer() {
    assert_ignored_errors_stay(Failure::Body);
}

#[test]
fn writes_to_a_lost_connection_go_on_failing() {
    assert_ignored_errors_stay(Failure::Lost);
}
