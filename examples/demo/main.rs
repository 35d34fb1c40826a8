//! One program that shows every capability of the crate: run it, then open `/` through your web server.
//!
//! `page.rs` lists the routes, `routes.rs` answers them, `roles.rs` holds the authorizer and the filter.
//! This file reads the options, builds the server and runs it.

mod page;
mod roles;
mod routes;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use fcgi::{Listener, Running, Server};
use lexopt::{Arg, Parser, ValueExt};

const HELP: &str = "\
A FastCGI application that shows every capability of the crate `fcgi`.

Usage: demo [OPTIONS]

  --listen ADDRESS        unix:/path or host:port; without it, the socket this process was given
  --workers N             threads that run handlers
  --queue N               requests that may wait for a worker
  --max-connections N     connections open at once
  --max-requests N        requests at once on one connection
  --max-params BYTES      size of a request's meta-variables
  --max-body BYTES        size of a request's body
  --read-timeout MS       longest wait for the web server to send
  --write-timeout MS      longest wait for the web server to take what was sent
  --idle-timeout MS       longest wait for the next request on a connection
  --slow-request MS       age at which a running request is reported in the log
  --shutdown-grace MS     time that running requests get when the server stops
  --always-end-requests   END_REQUEST behind every answer, also one that was cut short: for Apache's mod_fcgid
  --only-responder        neither an authorizer nor a filter
  --help                  this text

The log goes to standard error; RUST_LOG chooses what is in it, for example RUST_LOG=debug.
";

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    match read_options(Parser::from_env()) {
        Ok(Some(options)) => exit_code(run(options)),
        Ok(None) => help(),
        Err(error) => misused(&error),
    }
}

struct Options {
    server: Server,
    listen: Option<String>,
    only_responder: bool,
}

/// Nearly every option is one setter of the server. `None` when only help is asked for.
fn read_options(mut options: Parser) -> Result<Option<Options>, lexopt::Error> {
    let mut server = Server::new().shutdown_on_signals();
    let mut listen = None;
    let mut only_responder = false;
    while let Some(option) = options.next()? {
        server = match option {
            Arg::Long("workers") => server.workers(options.value()?.parse()?),
            Arg::Long("queue") => server.queue(options.value()?.parse()?),
            Arg::Long("max-connections") => server.max_connections(options.value()?.parse()?),
            Arg::Long("max-requests") => server.max_requests(options.value()?.parse()?),
            Arg::Long("max-params") => server.max_params(options.value()?.parse()?),
            Arg::Long("max-body") => server.max_body(options.value()?.parse()?),
            Arg::Long("read-timeout") => server.read_timeout(milliseconds(&mut options)?),
            Arg::Long("write-timeout") => server.write_timeout(milliseconds(&mut options)?),
            Arg::Long("idle-timeout") => server.idle_timeout(milliseconds(&mut options)?),
            Arg::Long("slow-request") => server.slow_request(milliseconds(&mut options)?),
            Arg::Long("shutdown-grace") => server.shutdown_grace(milliseconds(&mut options)?),
            Arg::Long("always-end-requests") => server.always_end_requests(),
            Arg::Long("listen") => {
                listen = Some(options.value()?.string()?);
                server
            }
            Arg::Long("only-responder") => {
                only_responder = true;
                server
            }
            Arg::Long("help") => return Ok(None),
            unknown => return Err(unknown.unexpected()),
        };
    }
    Ok(Some(Options { server, listen, only_responder }))
}

fn milliseconds(options: &mut Parser) -> Result<Duration, lexopt::Error> {
    Ok(Duration::from_millis(options.value()?.parse()?))
}

fn run(options: Options) -> fcgi::Result<()> {
    let metrics = options.server.metrics();
    let mut server = options.server.responder(move |request| routes::respond(request, &metrics));
    if !options.only_responder {
        server = server.authorizer(roles::authorize).filter(roles::filter);
    }
    let listener = match options.listen {
        Some(address) => Listener::bind(&address)?,
        None => match Listener::inherited() {
            Ok(listener) => listener,
            // A web server runs it as a CGI program.
            Err(_) if std::env::var_os("GATEWAY_INTERFACE").is_some() => return server.serve_inherited().map(drop),
            Err(error) => return Err(error),
        },
    };
    let running = server.spawn(listener)?;
    announce(&running);
    running.join()?;
    Ok(())
}

/// A web server that starts this program may have closed its standard output; that is no reason to stop.
fn announce(running: &Running) {
    let mut stdout = io::stdout();
    let _ = writeln!(stdout, "listening on {}", running.address()).and_then(|()| stdout.flush());
}

fn help() -> ExitCode {
    let _ = io::stdout().write_all(HELP.as_bytes());
    ExitCode::SUCCESS
}

fn exit_code(result: fcgi::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn misused(error: &lexopt::Error) -> ExitCode {
    eprintln!("demo: {error} (--help lists the options)");
    ExitCode::from(2)
}
