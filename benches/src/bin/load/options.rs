//! The options of the load generator, and what follows from them: the bytes of a request and of its answer.

use std::fs::File;
use std::io;
use std::net::TcpStream;
use std::num::ParseIntError;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use fcgi_benches::Request;
use lexopt::{Arg, Parser, ValueExt};

pub(crate) const HELP: &str = "\
Drives a FastCGI server and prints what it measured as JSON.

Usage: load --address ADDRESS [OPTIONS]

  --address ADDRESS   unix:/path or host:port
  --connections N     open at once (1)
  --ids N             requests at once on each connection (1)
  --closed            a new connection for each request
  --path PATH         /hello, /count, /bytes?n=N or /sleep?ms=N (/hello)
  --body BYTES        length of each request's body (0)
  --seconds S         how long to measure (1)
  --warm-up S         how long before that (0.2)
  --busy              poll for answers without sleeping
  --process PID       the server's process, for its CPU time and memory
  --idle              open the connections, one request on each, and leave them open
";

/// What to do, and to whom.
pub(crate) struct Options {
    address: String,
    path: String,
    body_len: usize,
    pub(crate) connections: usize,
    pub(crate) ids: u16,
    pub(crate) closed: bool,
    pub(crate) seconds: Duration,
    pub(crate) warm_up: Duration,
    pub(crate) busy: bool,
    pub(crate) process: Option<i32>,
    pub(crate) idle: bool,
}

impl Options {
    /// `None` when only help is asked for.
    pub(crate) fn read() -> Result<Option<Options>, lexopt::Error> {
        let mut options = Options {
            address: String::new(),
            path: "/hello".to_owned(),
            body_len: 0,
            connections: 1,
            ids: 1,
            closed: false,
            seconds: Duration::from_secs(1),
            warm_up: Duration::from_millis(200),
            busy: false,
            process: None,
            idle: false,
        };
        let mut parser = Parser::from_env();
        while let Some(option) = parser.next()? {
            match option {
                Arg::Long("address") => options.address = parser.value()?.string()?,
                Arg::Long("connections") => options.connections = parser.value()?.parse()?,
                Arg::Long("ids") => options.ids = parser.value()?.parse()?,
                Arg::Long("closed") => options.closed = true,
                Arg::Long("path") => options.path = parser.value()?.string()?,
                Arg::Long("body") => options.body_len = parser.value()?.parse()?,
                Arg::Long("seconds") => options.seconds = seconds(&mut parser)?,
                Arg::Long("warm-up") => options.warm_up = seconds(&mut parser)?,
                Arg::Long("busy") => options.busy = true,
                Arg::Long("process") => options.process = Some(parser.value()?.parse()?),
                Arg::Long("idle") => options.idle = true,
                Arg::Long("help") => return Ok(None),
                unknown => return Err(unknown.unexpected()),
            }
        }
        match &options {
            Options { address, .. } if address.is_empty() => Err("there is no --address".into()),
            Options { connections: 0, .. } | Options { ids: 0, .. } => Err("nothing to do".into()),
            Options { closed: true, ids: 2.., .. } => Err("--closed goes with one id".into()),
            _ => Ok(Some(options)),
        }
    }

    /// A socket that does not block. As a file, because that reads and writes a socket of either kind.
    pub(crate) fn connect(&self) -> io::Result<File> {
        match self.address.strip_prefix("unix:") {
            Some(path) => {
                let socket = UnixStream::connect(path)?;
                socket.set_nonblocking(true)?;
                Ok(File::from(OwnedFd::from(socket)))
            }
            None => {
                let socket = TcpStream::connect(&self.address)?;
                socket.set_nodelay(true)?;
                socket.set_nonblocking(true)?;
                Ok(File::from(OwnedFd::from(socket)))
            }
        }
    }

    /// The bytes of the request with each id, the first id being 1.
    pub(crate) fn requests(&self) -> Vec<Vec<u8>> {
        (1..=self.ids).map(|id| self.request().records(id)).collect()
    }

    fn request(&self) -> Request<'_> {
        let (path, query) = self.path.split_once('?').unwrap_or((&self.path, ""));
        Request { path, query, body_len: self.body_len, keep_conn: !self.closed, more_params: &[] }
    }

    /// The body that every answer must have.
    pub(crate) fn answer_body(&self) -> Result<Vec<u8>, lexopt::Error> {
        match (self.request().path, self.request().query.split_once('=')) {
            ("/hello", None) => Ok(b"hello, world\n".to_vec()),
            ("/count", None) => Ok(format!("{}\n", self.body_len).into()),
            ("/bytes", Some(("n", n))) => Ok((0..n.parse().map_err(wrong)?).map(|i: usize| (i % 251) as u8).collect()),
            ("/sleep", Some(("ms", ms))) => Ok(format!("slept {ms} ms\n").into()),
            _ => Err(format!("nobody knows the answer to {}", self.path).into()),
        }
    }

    pub(crate) fn has_body(&self) -> bool {
        self.body_len > 0
    }
}

fn wrong(number: ParseIntError) -> lexopt::Error {
    number.to_string().into()
}

fn seconds(parser: &mut Parser) -> Result<Duration, lexopt::Error> {
    Ok(Duration::from_secs_f64(parser.value()?.parse()?))
}
