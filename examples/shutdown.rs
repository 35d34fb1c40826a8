//! Stops without cutting anybody off: on SIGTERM what runs is finished, within a grace period, and a report says how
//! that went.

use std::time::Duration;

use fcgi::http::{Request, Response};
use fcgi::{Body, RequestExt, Server};

/// Some work in steps, between which it looks whether it is still wanted.
fn work(request: Request<Body>) -> Response<String> {
    let cancellation = request.cancellation();
    let mut steps = 0..10;
    match steps.find_map(|_| cancellation.wait(Duration::from_millis(50))) {
        None => Response::new("done\n".to_owned()),
        Some(reason) => Response::new(format!("given up: {reason}\n")),
    }
}

fn main() -> fcgi::Result<()> {
    let server = Server::new().responder(work).shutdown_on_signals().shutdown_grace(Duration::from_secs(5));
    let report = server.serve_inherited()?;
    eprintln!("{} completed, {} cut off", report.completed, report.cut_off);
    Ok(())
}
