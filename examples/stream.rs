//! Streams server-sent events until the client leaves: `new EventSource("/")` in a browser shows them.

use std::io::Write;
use std::time::Duration;

use fcgi::http::{Request, Response, Result};
use fcgi::{Body, RequestExt, SendBody};

fn events(request: Request<Body>) -> Result<Response<SendBody>> {
    let cancellation = request.cancellation();
    let body = SendBody::writer(move |out| {
        for n in 1.. {
            write!(out, "id: {n}\ndata: tick {n}\n\n")?;
            out.flush()?; // on its way now
            if cancellation.wait(Duration::from_millis(500)).is_some() {
                break;
            }
        }
        Ok(())
    });
    let response = Response::builder().header("content-type", "text/event-stream");
    // nginx collects an answer unless it is told not to.
    response.header("cache-control", "no-store").header("x-accel-buffering", "no").body(body)
}

fn main() -> fcgi::Result<()> {
    // Each client that listens has a worker.
    fcgi::Server::new().responder(events).workers(256).serve_inherited()?;
    Ok(())
}
