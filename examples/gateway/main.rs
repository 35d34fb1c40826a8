//! Puts any FastCGI application behind a URL while you develop it, with no web server to install.
//!
//! `web_server/` is all of it: `client.rs` takes HTTP requests, `params.rs` turns them into meta-variables,
//! `fastcgi.rs` talks to the application, `answer.rs` and `response.rs` bring its answer back. `application.rs` starts
//! the application, if that is wanted.

mod application;
mod web_server;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;
use std::thread;

use application::Application;
use lexopt::{Arg, Parser, ValueExt};
use web_server::{Address, WebServer};

const HELP: &str = "\
Puts a FastCGI application behind a URL. It is for development: it does HTTP/1.1, and no TLS, files or access control.

Usage: gateway [--http ADDRESS] --app ADDRESS
       gateway [--http ADDRESS] PROGRAM [ARGUMENT...]

  --app ADDRESS     where the application listens: unix:/path or host:port
  PROGRAM           an application to start, with a socket as its file descriptor 0
  --http ADDRESS    where to listen for HTTP, as host:port; without it 127.0.0.1:8080, or the next port that is free
  --help            this text

What the application writes to its error log, and what goes wrong, is on standard error; RUST_LOG=debug shows more.
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
    application: Wanted,
    http: Option<String>,
}

/// The application to put behind the URL.
enum Wanted {
    At(Address),
    Program(OsString, Vec<OsString>),
}

/// `None` when only help is asked for.
fn read_options(mut options: Parser) -> Result<Option<Options>, lexopt::Error> {
    let (mut application, mut http) = (None, None);
    while let Some(option) = options.next()? {
        match option {
            Arg::Long("app") => application = Some(Wanted::At(options.value()?.parse()?)),
            Arg::Long("http") => http = Some(options.value()?.string()?),
            Arg::Long("help") => return Ok(None),
            Arg::Value(program) if application.is_none() => {
                application = Some(Wanted::Program(program, options.raw_args()?.collect()));
            }
            unknown => return Err(unknown.unexpected()),
        }
    }
    let application = application.ok_or("tell it where the application listens (--app), or a program to start")?;
    Ok(Some(Options { application, http }))
}

fn run(options: Options) -> io::Result<ExitCode> {
    match options.application {
        Wanted::At(address) => {
            listen(options.http.as_deref(), address)?.serve();
            Ok(ExitCode::SUCCESS)
        }
        Wanted::Program(program, arguments) => {
            let (application, address) = Application::start(&program, &arguments)?;
            let web_server = listen(options.http.as_deref(), address)?;
            thread::Builder::new().name("web-server".to_owned()).spawn(move || web_server.serve())?;
            application.wait().map(ExitCode::from)
        }
    }
}

fn listen(http: Option<&str>, application: Address) -> io::Result<WebServer> {
    let web_server = WebServer::bind(http, application)?;
    let mut stdout = io::stdout();
    writeln!(stdout, "listening on {}", web_server.url())?;
    stdout.flush()?;
    Ok(web_server)
}

fn help() -> ExitCode {
    let _ = io::stdout().write_all(HELP.as_bytes());
    ExitCode::SUCCESS
}

fn exit_code(result: io::Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        eprintln!("gateway: {error}");
        ExitCode::FAILURE
    })
}

fn misused(error: &lexopt::Error) -> ExitCode {
    eprintln!("gateway: {error} (--help lists the options)");
    ExitCode::from(2)
}
