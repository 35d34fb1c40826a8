//! An HTTP client: its requests one after the other, each handed to the application on a connection of its own.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Request, StatusCode};
use log::warn;
use ureq_proto::server::state::{RecvBody, RecvRequest};
use ureq_proto::server::{RecvRequestResult, Reply};

use super::answer;
use super::fastcgi::{Address, Connection};
use super::params::params;
use super::response::refuse;

/// How long a client may be silent, and how long it may not read.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How long a client may still send what nobody will read.
const DISCARD_TIME: Duration = Duration::from_secs(10);

const MAX_HEAD: usize = 64 * 1024;
const BUFFER: usize = 64 * 1024;

/// Answers the client's requests until one of both has had enough.
pub(super) fn serve(stream: TcpStream, application: &Address) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let mut input = Input { stream: &stream, received: Vec::new() };
    while answer_next(&mut input, application)? {}
    close_gently(&stream)
}

/// Whether the client's connection can be used for another request.
fn answer_next(input: &mut Input<'_>, application: &Address) -> io::Result<bool> {
    match input.next_request() {
        Ok(Some((request, body))) => exchange(input, &request, body, application),
        Ok(None) => Ok(false),
        Err(Refusal(status, explanation)) => refuse(input.stream, status, &explanation).map(|()| false),
    }
}

/// A request that is none.
struct Refusal(StatusCode, String);

/// What the client sends.
struct Input<'a> {
    stream: &'a TcpStream,
    /// Bytes that are not used yet.
    received: Vec<u8>,
}

/// The body of a request, while it comes in.
type Incoming = Reply<RecvBody>;

impl Input<'_> {
    /// Waits for the head of a request; `None` when the client has no more.
    fn next_request(&mut self) -> Result<Option<(Request<()>, Option<Incoming>)>, Refusal> {
        let refused = |error: ureq_proto::Error| Refusal(StatusCode::BAD_REQUEST, error.to_string());
        let mut reply = Reply::new().map_err(refused)?;
        // A body is a body with any method.
        reply.force_recv_body();
        loop {
            let (used, request) = reply.try_request(&self.received).map_err(refused)?;
            let head_len = if request.is_some() { used } else { self.received.len() };
            if head_len > MAX_HEAD {
                let explanation = format!("the head has more than {MAX_HEAD} bytes");
                return Err(Refusal(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, explanation));
            }
            if let Some(request) = request {
                self.received.drain(..used);
                let body = if has_body(&request) { self.begin_body(reply) } else { Ok(None) };
                // A client that cannot be told to send its body has gone.
                return Ok(body.ok().map(|body| (request, body)));
            }
            if !self.receive().unwrap_or(false) {
                return Ok(None);
            }
        }
    }

    /// Lets a client send that asks whether it may.
    fn begin_body(&self, reply: Reply<RecvRequest>) -> io::Result<Option<Incoming>> {
        match reply.proceed() {
            Some(RecvRequestResult::RecvBody(body)) => Ok(Some(body)),
            Some(RecvRequestResult::Send100(reply)) => {
                let mut text = [0; 64];
                let (len, body) = reply.accept(&mut text).map_err(malformed)?;
                let mut stream = self.stream;
                stream.write_all(&text[..len])?;
                Ok(Some(body))
            }
            Some(RecvRequestResult::ProvideResponse(_)) | None => Ok(None),
        }
    }

    /// Waits for the next piece of the body; `None` at its end.
    ///
    /// # Errors
    /// The client has gone, or it has broken the framing.
    fn next_piece(&mut self, body: &mut Incoming, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            let (used, len) = body.read(&self.received, buffer).map_err(malformed)?;
            self.received.drain(..used);
            if len > 0 {
                return Ok(Some(len));
            }
            if body.is_ended() {
                return Ok(None);
            }
            if used == 0 && !self.receive()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Whether there is more to read.
    fn receive(&mut self) -> io::Result<bool> {
        let filled = self.received.len();
        self.received.resize(filled + BUFFER, 0);
        let mut stream = self.stream;
        let read = stream.read(&mut self.received[filled..]);
        self.received.truncate(filled + *read.as_ref().unwrap_or(&0));
        read.map(|len| len > 0)
    }

    /// Waits, while the answer is on its way, for the next request or for the client to leave; whether it is still
    /// there. One that has shut down its sending side counts as gone, as it does for nginx.
    fn watch(&self, is_answered: impl Fn() -> bool) -> bool {
        let mut was_answered = false;
        while self.received.is_empty() {
            match self.stream.peek(&mut [0]) {
                Ok(len) => return len > 0,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // It may be silent as long as it waits, and for one more period after that.
                Err(error) if is_timeout(&error) && !was_answered => was_answered = is_answered(),
                Err(_) => return false,
            }
        }
        true
    }
}

/// ureq-proto expects chunks where a method usually has a body and nothing says how long it is; HTTP says that there
/// is none (RFC 9112 section 6.3).
fn has_body(request: &Request<()>) -> bool {
    request.headers().contains_key(CONTENT_LENGTH) || request.headers().contains_key(TRANSFER_ENCODING)
}

fn malformed(error: ureq_proto::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// Has the application answer a request.
fn exchange(
    input: &mut Input<'_>,
    request: &Request<()>,
    body: Option<Incoming>,
    application: &Address,
) -> io::Result<bool> {
    let stream = input.stream;
    let params = params(request, stream.peer_addr()?, stream.local_addr()?);
    let opened = Connection::open(application).and_then(|connection| connection.begin(&params).map(|()| connection));
    match opened {
        Ok(connection) => pass(input, request, body, &connection),
        Err(error) => {
            let explanation = format!("the application at {application} cannot be reached: {error}");
            warn!("{explanation}");
            refuse(stream, StatusCode::BAD_GATEWAY, &explanation).map(|()| false)
        }
    }
}

/// Passes the body on and the answer back, both at once: the answer may begin before the body has ended, and end
/// without it.
fn pass(
    input: &mut Input<'_>,
    request: &Request<()>,
    body: Option<Incoming>,
    connection: &Connection,
) -> io::Result<bool> {
    let stream = input.stream;
    thread::scope(|scope| {
        let relay = || answer::relay(connection, stream, request);
        let answering = thread::Builder::new().name("answer".to_owned()).spawn_scoped(scope, relay)?;
        let is_there = upload(input, body, connection).is_ok() && input.watch(|| answering.is_finished());
        if !is_there {
            // The handler is told that nobody waits for its answer.
            connection.close();
        }
        let keep_alive = answering.join().unwrap_or(false);
        if is_there {
            Ok(keep_alive)
        } else {
            Err(io::ErrorKind::ConnectionAborted.into())
        }
    })
}

/// Passes the body on as it comes. What the application does not want is dropped, so that the client gets to read the
/// answer.
fn upload(input: &mut Input<'_>, body: Option<Incoming>, connection: &Connection) -> io::Result<()> {
    let mut unwanted_since = None;
    if let Some(mut body) = body {
        let mut buffer = vec![0; BUFFER];
        while let Some(len) = input.next_piece(&mut body, &mut buffer)? {
            match unwanted_since {
                None if connection.send(&buffer[..len]).is_err() => unwanted_since = Some(Instant::now()),
                Some(since) if since.elapsed() > DISCARD_TIME => return Err(io::ErrorKind::TimedOut.into()),
                _ => {}
            }
        }
    }
    if unwanted_since.is_none() {
        // It has answered, or the answer shows that it is gone.
        let _: io::Result<()> = connection.end_body();
    }
    Ok(())
}

/// To close while the client still sends would reset the connection, and could cost it the answer.
fn close_gently(mut stream: &TcpStream) -> io::Result<()> {
    stream.shutdown(Shutdown::Write)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let deadline = Instant::now() + DISCARD_TIME;
    let mut buffer = vec![0; BUFFER];
    while Instant::now() < deadline && stream.read(&mut buffer)? > 0 {}
    Ok(())
}
