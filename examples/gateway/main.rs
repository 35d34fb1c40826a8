//! Puts any FastCGI application behind a URL while you develop it, with no web server to install.
//!
//! `web_server/` is all of it: `client.rs` takes HTTP requests, `params.rs` turns them into meta-variables,
//! `fastcgi.rs` talks to the application, `answer.rs` and `response.rs` bring its answer back.

mod web_server;

use std::io::{self, Write};
use std::process::ExitCode;

use lexopt::{Arg, Parser, ValueExt};
use web_server::{Address, WebServer};

const HELP: &str = "\
Puts a FastCGI application behind a URL. It is for development: it does HTTP/1.1, and no TLS, files or access control.

Usage: gateway --app ADDRESS [--http ADDRESS]

  --app ADDRESS     where the application listens: unix:/path or host:port
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
    application: Address,
    http: Option<String>,
}

/// `None` when only help is asked for.
fn read_options(mut options: Parser) -> Result<Option<Options>, lexopt::Error> {
    let (mut application, mut http) = (None, None);
    while let Some(option) = options.next()? {
        match option {
            Arg::Long("app") => application = Some(options.value()?.parse()?),
            Arg::Long("http") => http = Some(options.value()?.string()?),
            Arg::Long("help") => return Ok(None),
            unknown => return Err(unknown.unexpected()),
        }
    }
    let application = application.ok_or("--app says where the application listens: it is missing")?;
    Ok(Some(Options { application, http }))
}

fn run(options: Options) -> io::Result<()> {
    let web_server = WebServer::bind(options.http.as_deref(), options.application)?;
    let mut stdout = io::stdout();
    writeln!(stdout, "listening on {}", web_server.url())?;
    stdout.flush()?;
    web_server.serve();
    Ok(())
}

fn help() -> ExitCode {
    let _ = io::stdout().write_all(HELP.as_bytes());
    ExitCode::SUCCESS
}

fn exit_code(result: io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gateway: {error}");
            ExitCode::FAILURE
        }
    }
}

fn misused(error: &lexopt::Error) -> ExitCode {
    eprintln!("gateway: {error} (--help lists the options)");
    ExitCode::from(2)
}
