//! Verifies that an answer whose handler has stopped because of a cancellation does not pass for a whole one.

use std::io::Write;
use std::time::Duration;

use fcgi::http::{Request, Response};
use fcgi::{Body, RequestExt, SendBody, Server};

use super::{ending_or_close, Site};
use crate::demo::PATIENCE;

/// Writes a part, and the others only if nobody cancels it meanwhile.
fn parts(request: Request<Body>) -> Response<SendBody> {
    let cancellation = request.cancellation();
    let flushes = request.uri().path() == "/flush";
    Response::new(SendBody::writer(move |out| {
        write!(out, "a part")?;
        if flushes {
            out.flush()?;
        }
        match cancellation.wait(PATIENCE) {
            Some(_) => Ok(()),
            None => write!(out, ", and the rest"),
        }
    }))
}

#[test]
fn a_handler_that_was_told_and_stops_has_no_whole_answer() {
    for path in ["/flush", "/collect"] {
        for half_closes in [false, true] {
            let server = Server::new().responder(parts);
            let site = Site::unix(match half_closes {
                true => server,
                false => server.request_timeout(Duration::from_millis(100)),
            });
            let mut connection = site.connect();
            connection.request(1).get(path).send();
            if half_closes {
                site.wait_for("the handler", |now| now.busy_workers == 1);
                connection.half_close();
            }
            if let Some(ending) = ending_or_close(&mut connection, 1) {
                let app_status = ending.app_status;
                let answer = ending.into_answer();
                assert!(answer.status >= 400 || app_status != 0, "{path} {half_closes}: {answer:?}");
            }
            site.stop();
        }
    }
}
