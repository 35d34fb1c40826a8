//! Handlers that live as long as their client does: a stream of events, and a wait that ends when the client leaves.

use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use fcgi::http::{HeaderValue, Request};
use fcgi::{Body, CancelReason, RequestExt, SendBody};
use serde_json::json;

use crate::routes::{answer, json_answer, with_type, Answer};

/// Server-sent events, one a second, until the client leaves. An hour is enough for everybody.
pub(crate) fn events(request: &Request<Body>) -> Answer {
    let cancellation = request.cancellation();
    let body = SendBody::writer(move |out| {
        for tick in 1..=3600 {
            write!(out, "data: {tick}\n\n")?;
            out.flush()?; // on its way now
            if cancellation.wait(Duration::from_secs(1)).is_some() {
                break; // nobody listens any more
            }
        }
        Ok(())
    });
    let mut response = with_type("text/event-stream", body);
    // Else nginx would collect the events.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// How often a client left while its handler waited, and what the handler was told.
#[derive(Default)]
pub(crate) struct Cancellations {
    seen: Mutex<Seen>,
}

#[derive(Clone, Copy, Default)]
struct Seen {
    count: u64,
    /// The last one: the reason, and how long the handler had waited.
    last: Option<(CancelReason, Duration)>,
}

impl Cancellations {
    fn note(&self, reason: CancelReason, waited: Duration) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        *seen = Seen { count: seen.count + 1, last: Some((reason, waited)) };
    }

    fn seen(&self) -> Seen {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn wait_abort(request: &Request<Body>, cancellations: &Cancellations) -> Answer {
    let begin = Instant::now();
    match request.cancellation().wait(Duration::from_secs(30)) {
        Some(reason) => {
            cancellations.note(reason, begin.elapsed());
            answer(format!("{reason}\n"))
        }
        None => answer("not cancelled\n"),
    }
}

pub(crate) fn cancellations(cancellations: &Cancellations) -> Answer {
    let Seen { count, last } = cancellations.seen();
    let (reason, waited) = last.unzip();
    json_answer(json!({
        "count": count,
        "reason": reason.map(|reason| reason.to_string()),
        "waited_ms": waited.map(|waited| waited.as_millis() as u64),
    }))
}
