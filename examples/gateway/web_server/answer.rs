//! The way of an answer: from the application's records to the HTTP client.

use std::fmt;
use std::io;
use std::net::{Shutdown, TcpStream};

use http::header::{HeaderName, HeaderValue, LOCATION};
use http::{Request, Response, StatusCode};
use log::{info, warn};

use super::fastcgi::{Connection, Record, Records};
use super::response::{refuse, Answer};

/// The longest head of an answer that is waited for.
const MAX_HEAD: usize = 64 * 1024;

/// Most web servers refuse an answer with more headers than that.
const MAX_HEADERS: usize = 128;

/// FCGI_OVERLOADED (FastCGI 5.5).
const OVERLOADED: u8 = 2;

/// Passes the answer on as it comes; whether the client's connection can be used for another request. If it cannot,
/// the connection is ended, so that it is over for whoever waits for the client, too.
pub(super) fn relay(connection: &Connection, client: &TcpStream, request: &Request<()>) -> bool {
    let mut records = connection.records();
    let keep_alive = match read_head(&mut records) {
        Ok((head, rest)) => send(&mut records, client, request, &head, &rest),
        Err(failure) => {
            info!("{} {}: {failure}", request.method(), request.uri());
            refuse(client, failure.status(), &failure.to_string()).map(|()| false)
        }
    };
    if let Ok(false) = keep_alive {
        // It fails when the client was first.
        let _: io::Result<()> = client.shutdown(Shutdown::Write);
    }
    keep_alive.unwrap_or(false)
}

fn send(
    records: &mut Records<'_>,
    client: &TcpStream,
    request: &Request<()>,
    head: &Response<()>,
    rest: &[u8],
) -> io::Result<bool> {
    let mut answer = Answer::begin(client, request, head)?;
    let sent = send_body(records, &mut answer, rest).and_then(|()| answer.finish());
    sent.map_err(|error| {
        info!("{} {}: the answer is cut: {error}", request.method(), request.uri());
        answer.break_off();
        error
    })
}

fn send_body(records: &mut Records<'_>, answer: &mut Answer<'_>, rest: &[u8]) -> io::Result<()> {
    answer.write(rest)?;
    loop {
        match records.next()? {
            Record::Stdout(piece) => answer.write(&piece)?,
            Record::Stderr(text) => log_stderr(&text),
            Record::EndRequest(_) => return Ok(()),
        }
    }
}

/// Why there is no answer of the application's.
#[derive(Debug)]
enum Failure {
    Lost(io::Error),
    NoAnswer,
    Overloaded,
    Malformed,
    TooLarge,
}

impl Failure {
    fn status(&self) -> StatusCode {
        match self {
            Failure::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_GATEWAY,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Lost(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                f.write_str("the application closed the connection without an answer")
            }
            Failure::Lost(error) => write!(f, "the connection to the application was lost: {error}"),
            Failure::NoAnswer => f.write_str("the application ended the request without an answer"),
            Failure::Overloaded => f.write_str("the application is overloaded"),
            Failure::Malformed => f.write_str("the head of the application's answer is malformed"),
            Failure::TooLarge => write!(f, "the head of the application's answer has more than {MAX_HEAD} bytes"),
        }
    }
}

/// The head, and what has come of the body.
fn read_head(records: &mut Records<'_>) -> Result<(Response<()>, Vec<u8>), Failure> {
    let mut stdout = Vec::new();
    loop {
        match records.next().map_err(Failure::Lost)? {
            Record::Stdout(piece) => stdout.extend_from_slice(&piece),
            Record::Stderr(text) => log_stderr(&text),
            Record::EndRequest(OVERLOADED) => return Err(Failure::Overloaded),
            Record::EndRequest(_) => return Err(Failure::NoAnswer),
        }
        if let Some((len, head)) = parse_head(&stdout)? {
            return Ok((head, stdout.split_off(len)));
        }
        if stdout.len() > MAX_HEAD {
            return Err(Failure::TooLarge);
        }
    }
}

/// Parses a CGI header block (RFC 3875 section 6); `None` while it is not complete.
fn parse_head(stdout: &[u8]) -> Result<Option<(usize, Response<()>)>, Failure> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let (len, headers) = match httparse::parse_headers(stdout, &mut headers) {
        Ok(httparse::Status::Complete(parsed)) => parsed,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(Failure::Malformed),
    };
    let mut head = Response::new(());
    for header in headers {
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| Failure::Malformed)?;
        head.headers_mut().append(name, HeaderValue::from_bytes(header.value).map_err(|_| Failure::Malformed)?);
    }
    *head.status_mut() = status(&head)?;
    Ok(Some((len, head)))
}

/// The status field (RFC 3875 section 6.3.3); without one a redirect is a 302, and all else a success.
fn status(head: &Response<()>) -> Result<StatusCode, Failure> {
    let Some(field) = head.headers().get("status") else {
        return Ok(if head.headers().contains_key(LOCATION) { StatusCode::FOUND } else { StatusCode::OK });
    };
    let code = field.as_bytes().get(..3).and_then(|code| StatusCode::from_bytes(code).ok());
    code.filter(|code| !code.is_informational()).ok_or(Failure::Malformed)
}

fn log_stderr(text: &[u8]) {
    warn!("the application says: {}", String::from_utf8_lossy(text).trim_end());
}
