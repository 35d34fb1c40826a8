//! One application on several sockets: its arguments are addresses such as `127.0.0.1:9000` and `unix:/run/app.sock`.

use std::env::args;

use fcgi::http::{Request, Response};
use fcgi::{Body, Listener, Result, Running, Server};

fn app(request: Request<Body>) -> Response<String> {
    Response::new(format!("you asked for {}\n", request.uri().path()))
}

/// Each socket has a server with workers and limits of its own; a signal stops them all.
fn spawn(address: &str) -> Result<Running> {
    Server::new().responder(app).shutdown_on_signals().spawn(Listener::bind(address)?)
}

fn main() -> Result<()> {
    let servers = args().skip(1).map(|address| spawn(&address)).collect::<Result<Vec<Running>>>()?;
    for running in &servers {
        println!("listening on {}", running.address());
    }
    for running in servers {
        running.join()?;
    }
    Ok(())
}
