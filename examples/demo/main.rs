//! One program that shows every capability of the crate: run it, then open the URL that it prints.
//!
//! `page.rs` makes the page at `/`, `routes.rs` and `live.rs` answer requests, `roles.rs` holds the authorizer and the
//! filter. This file reads the options, builds the server and runs it. With nothing to listen on it starts the web
//! server of the example `gateway` in front of itself, in this process.

mod live;
mod page;
mod roles;
mod routes;
#[path = "../gateway/web_server/mod.rs"]
mod web_server;

use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use fcgi::{Listener, Server};
use lexopt::{Arg, Parser, ValueExt};
use web_server::WebServer;

use routes::Demo;

const HELP: &str = "\
A FastCGI application that shows every capability of the crate `fcgi`.

Usage: demo [OPTIONS]

  --http ADDRESS          an HTTP address for browsers, as host:port
  --listen ADDRESS        a FastCGI address for a web server: unix:/path or host:port
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

Without --http and --listen it serves the socket this process was given. If there is none, it is as with --http
127.0.0.1:8080, or the next port that is free.

The log goes to standard error; RUST_LOG chooses what is in it, for example RUST_LOG=debug.
";

/// A browser that shows the page has a request that never ends. Whoever presses Ctrl-C does not want to wait for it.
const BROWSER_GRACE: Duration = Duration::from_millis(500);

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
    http: Option<String>,
    shutdown_grace: Option<Duration>,
    only_responder: bool,
}

/// Every option is one setter of the server, except for those that are kept here. `None` when only help is asked for.
fn read_options(mut options: Parser) -> Result<Option<Options>, lexopt::Error> {
    let mut server = Server::new().shutdown_on_signals();
    let (mut listen, mut http, mut shutdown_grace, mut only_responder) = (None, None, None, false);
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
            Arg::Long("shutdown-grace") => {
                let time = milliseconds(&mut options)?;
                shutdown_grace = Some(time);
                server.shutdown_grace(time)
            }
            Arg::Long("always-end-requests") => server.always_end_requests(),
            Arg::Long("listen") => {
                listen = Some(options.value()?.string()?);
                server
            }
            Arg::Long("http") => {
                http = Some(options.value()?.string()?);
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
    Ok(Some(Options { server, listen, http, shutdown_grace, only_responder }))
}

fn milliseconds(options: &mut Parser) -> Result<Duration, lexopt::Error> {
    Ok(Duration::from_millis(options.value()?.parse()?))
}

fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let demo = Demo::new(options.server.metrics());
    let mut server = options.server.responder(move |request| routes::respond(request, &demo));
    if !options.only_responder {
        server = server.authorizer(roles::authorize).filter(roles::filter);
    }
    let shutdown_grace = options.shutdown_grace.unwrap_or(BROWSER_GRACE);
    match (options.listen, options.http) {
        (Some(address), None) => serve(server, Listener::bind(&address)?),
        (Some(address), Some(http)) => {
            serve_http(server.shutdown_grace(shutdown_grace), Listener::bind(&address)?, Some(&http))
        }
        (None, Some(http)) => serve_alone(server.shutdown_grace(shutdown_grace), Some(&http)),
        (None, None) => serve_given(server, shutdown_grace),
    }
}

/// Serves whatever this process was given, and browsers when it was given nothing.
fn serve_given(server: Server, shutdown_grace: Duration) -> Result<(), Box<dyn Error>> {
    // Asking for the socket takes the variable away.
    let has_sockets = is_set("LISTEN_FDS");
    match Listener::inherited() {
        Ok(listener) => serve(server, listener),
        // A web server runs it as a CGI program.
        Err(_) if is_set("GATEWAY_INTERFACE") => Ok(server.serve_inherited().map(drop)?),
        Err(error) if has_sockets => Err(error.into()),
        Err(_) => serve_alone(server.shutdown_grace(shutdown_grace), None),
    }
}

fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some()
}

/// Serves web servers.
fn serve(server: Server, listener: Listener) -> Result<(), Box<dyn Error>> {
    let running = server.spawn(listener)?;
    announce(running.address());
    running.join()?;
    Ok(())
}

/// Serves browsers, with a socket between the web server and the application that nobody else can reach.
fn serve_alone(server: Server, http: Option<&str>) -> Result<(), Box<dyn Error>> {
    let directory = tempfile::Builder::new().prefix("fcgi-demo-").tempdir()?;
    let listener = Listener::unix(directory.path().join("socket")).mode(0o600).bind()?;
    serve_http(server, listener, http)
}

/// Serves browsers, by way of FastCGI.
fn serve_http(server: Server, listener: Listener, http: Option<&str>) -> Result<(), Box<dyn Error>> {
    let application = listener.address().to_string().parse()?;
    let web_server = WebServer::bind(http, application)?;
    let running = server.spawn(listener)?;
    announce(web_server.url());
    thread::Builder::new().name("web-server".to_owned()).spawn(move || web_server.serve())?;
    running.join()?;
    Ok(())
}

/// A web server that starts this program may have closed its standard output; that is no reason to stop.
fn announce(address: impl Display) {
    let mut stdout = io::stdout();
    let _ = writeln!(stdout, "listening on {address}").and_then(|()| stdout.flush());
}

fn help() -> ExitCode {
    let _ = io::stdout().write_all(HELP.as_bytes());
    ExitCode::SUCCESS
}

fn exit_code(result: Result<(), Box<dyn Error>>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {}", with_causes(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn with_causes(error: &dyn Error) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

fn misused(error: &lexopt::Error) -> ExitCode {
    eprintln!("demo: {error} (--help lists the options)");
    ExitCode::from(2)
}
