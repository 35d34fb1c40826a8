//! The responder: what is answered on each path.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::Display;
use std::io::{self, BufRead, Read, Write};
use std::str::FromStr;
use std::thread;
use std::time::Duration;

use fcgi::http::header::{HeaderMap, HeaderName, HeaderValue};
use fcgi::http::header::{CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION};
use fcgi::http::{Request, Response, StatusCode};
use fcgi::{AppStatus, Body, BodyError, BodyWriter, Metrics, RequestExt, SendBody};
use percent_encoding::percent_decode_str;
use serde_json::{json, Value};
use sha2::{Digest, Sha256};

use crate::live::{self, Cancellations};
use crate::page;

/// What all requests share.
pub(crate) struct Demo {
    metrics: Metrics,
    pub(crate) cancellations: Cancellations,
}

impl Demo {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self { metrics, cancellations: Cancellations::default() }
    }
}

pub(crate) type Answer = Response<SendBody>;

/// For bodies that the crate takes for mere bytes; a string gets this type from the crate.
pub(crate) const TEXT: &str = "text/plain; charset=utf-8";

/// Answers every request of the responder role.
pub(crate) fn respond(request: Request<Body>, demo: &Demo) -> Answer {
    dispatch(request, demo).unwrap_or_else(Refusal::into_answer)
}

fn dispatch(request: Request<Body>, demo: &Demo) -> Result<Answer, Refusal> {
    match route(request.uri().path()) {
        "/" => Ok(index()),
        // Browsers ask for it beside every text that they show.
        "/favicon.ico" => status("204"),
        "/hello" => Ok(answer("hello, world\n")),
        "/env" => Ok(env(&request)),
        "/headers" => Ok(headers(&request)),
        path if path.starts_with("/headers/") => Ok(headers(&request)),
        "/echo" => echo(request),
        "/digest" => digest(request),
        "/count" => count(request),
        "/bytes" => bytes(&request),
        "/sleep" => sleep(&request),
        "/drip" => drip(&request),
        "/ignore" => ignore(&request),
        "/stderr" => stderr(&request),
        "/panic" => panic(),
        "/panic-late" => Ok(with_type(TEXT, SendBody::writer(panic_late))),
        "/exit" => exit(&request),
        "/header" => header(&request),
        "/redirect" => redirect(&request),
        "/lie" => lie(&request),
        "/wait-abort" => Ok(live::wait_abort(&request, &demo.cancellations)),
        "/cancellations" => Ok(live::cancellations(&demo.cancellations)),
        "/events" => Ok(live::events(&request)),
        "/metrics" => Ok(counters(&demo.metrics)),
        path => match path.strip_prefix("/status/") {
            Some(code) => status(code),
            None => Err(Refusal(StatusCode::NOT_FOUND, format!("there is no route {path}"))),
        },
    }
}

/// The path without what says who may ask: the web server sees to that, with the help of an authorizer.
fn route(path: &str) -> &str {
    let inside = path.strip_prefix("/private").or_else(|| path.strip_prefix("/members"));
    inside.filter(|route| route.starts_with('/')).unwrap_or(path)
}

/// Nothing but what is in the page itself may run in it.
fn index() -> Answer {
    let mut response = with_type("text/html; charset=utf-8", page::index());
    let policy = "default-src 'none'; connect-src 'self'; img-src data:; script-src 'unsafe-inline'; \
                  style-src 'unsafe-inline'";
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}

// What the request says of itself.

/// Of a meta-variable that was sent twice the first value is shown, the one that `Params::get` finds.
fn env(request: &Request<Body>) -> Answer {
    let mut seen = HashSet::new();
    let members: Vec<String> = request
        .params()
        .iter()
        .filter(|(name, _)| seen.insert(*name))
        .map(|(name, value)| format!("{}:{}", json_text(name), json_text(value)))
        .collect();
    // Written by hand, because `serde_json` would sort the names.
    json_answer(format!("{{{}}}", members.join(",")))
}

fn headers(request: &Request<Body>) -> Answer {
    json_answer(json!({
        "method": request.method().as_str(),
        "uri": request.uri().to_string(),
        "version": format!("{:?}", request.version()),
        "headers": header_values(request.headers()),
    }))
}

fn header_values(headers: &HeaderMap) -> Value {
    let values = |name| headers.get_all(name).iter().map(|value| json_text(value.as_bytes())).collect::<Value>();
    headers.keys().map(|name| (name.to_string(), values(name))).collect()
}

// Bodies that come in.

fn echo(mut request: Request<Body>) -> Result<Answer, Refusal> {
    // Waiting for the first piece here means that a body which is refused outright still gets its own status.
    request.body_mut().fill_buf().map_err(|error| Refusal::unreadable(&error))?;
    let content_type = request.headers().get(CONTENT_TYPE).cloned();
    let mut body = request.into_body();
    let mut response = answer(SendBody::writer(move |out| send_back(&mut body, out)));
    if let Some(content_type) = content_type {
        response.headers_mut().insert(CONTENT_TYPE, content_type);
    }
    Ok(response)
}

fn send_back(body: &mut Body, out: &mut BodyWriter) -> io::Result<()> {
    loop {
        let piece = body.fill_buf()?;
        if piece.is_empty() {
            return Ok(());
        }
        let length = piece.len();
        out.write_all(piece)?;
        out.flush()?;
        body.consume(length);
    }
}

fn digest(request: Request<Body>) -> Result<Answer, Refusal> {
    let mut sha256 = Sha256::new();
    let length = read_to_end(request.into_body(), &mut sha256)?;
    Ok(json_answer(json!({ "length": length, "sha256": format!("{:x}", sha256.finalize()) })))
}

fn count(request: Request<Body>) -> Result<Answer, Refusal> {
    let length = read_to_end(request.into_body(), &mut io::sink())?;
    Ok(answer(format!("{length}\n")))
}

fn read_to_end(mut body: Body, into: &mut impl Write) -> Result<u64, Refusal> {
    io::copy(&mut body, into).map_err(|error| Refusal::unreadable(&error))
}

fn ignore(request: &Request<Body>) -> Result<Answer, Refusal> {
    let wait = if query(request, "ms").is_some() { milliseconds(request)? } else { Duration::ZERO };
    thread::sleep(wait);
    Ok(answer("ignored\n"))
}

// Bodies that go out.

fn bytes(request: &Request<Body>) -> Result<Answer, Refusal> {
    let length: u64 = number(request, "n")?;
    let body = SendBody::reader(Pattern { position: 0, length });
    Ok(with_length(length, with_type("application/octet-stream", body)))
}

/// A file of any length, of which nothing is in memory or on a disk: byte i is i mod 251.
struct Pattern {
    position: u64,
    length: u64,
}

impl Read for Pattern {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let phase = (self.position % 251) as usize;
        let read = PERIODS[phase..].take(self.length - self.position).read(buffer)?;
        self.position += read as u64;
        Ok(read)
    }
}

/// Many periods of the pattern, so that one read copies many bytes.
static PERIODS: [u8; 251 * 261] = periods();

const fn periods() -> [u8; 251 * 261] {
    let mut bytes = [0; 251 * 261];
    let mut i = 0;
    while i < bytes.len() {
        bytes[i] = (i % 251) as u8;
        i += 1;
    }
    bytes
}

fn drip(request: &Request<Body>) -> Result<Answer, Refusal> {
    let lines: u64 = number(request, "n")?;
    let pause = milliseconds(request)?;
    Ok(with_type(TEXT, SendBody::writer(move |out| write_ticks(lines, pause, out))))
}

fn write_ticks(lines: u64, pause: Duration, out: &mut BodyWriter) -> io::Result<()> {
    for i in 0..lines {
        if i > 0 {
            thread::sleep(pause);
        }
        writeln!(out, "tick {i}")?;
        out.flush()?;
    }
    Ok(())
}

fn lie(request: &Request<Body>) -> Result<Answer, Refusal> {
    let declared = number(request, "declared")?;
    let sent = number(request, "sent")?;
    let body = SendBody::writer(move |out| io::copy(&mut io::repeat(b'x').take(sent), out).map(drop));
    Ok(with_length(declared, with_type(TEXT, body)))
}

fn panic() -> Result<Answer, Refusal> {
    panic!("the route /panic always panics")
}

fn panic_late(out: &mut BodyWriter) -> io::Result<()> {
    out.write_all(b"before the panic\n")?;
    out.flush()?;
    panic!("the route /panic-late panics after its first bytes");
}

// Statuses and headers.

fn status(code: &str) -> Result<Answer, Refusal> {
    let status = StatusCode::from_str(code).map_err(|_| Refusal::bad(format!("{code} is not a status")))?;
    if status.is_informational() {
        return Err(Refusal::bad(format!("{code} is not the status of a whole answer")));
    }
    let body = if has_body(status) { format!("status {code}\n").into() } else { SendBody::from(()) };
    Ok(with_status(status, body))
}

fn has_body(status: StatusCode) -> bool {
    !matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED)
}

fn exit(request: &Request<Body>) -> Result<Answer, Refusal> {
    let code: u32 = number(request, "code")?;
    let mut response = answer(format!("application status {code}\n"));
    response.extensions_mut().insert(AppStatus(code));
    Ok(response)
}

fn header(request: &Request<Body>) -> Result<Answer, Refusal> {
    let name: HeaderName = parse(&required(request, "name")?, "the name of a header")?;
    let value: HeaderValue = parse(&required(request, "value")?, "the value of a header")?;
    let mut response = answer(format!("the header {name} is set\n"));
    response.headers_mut().insert(name, value);
    Ok(response)
}

/// The status stays at 200 here; the crate makes it a 302, as CGI does.
fn redirect(request: &Request<Body>) -> Result<Answer, Refusal> {
    let location: HeaderValue = parse(&required(request, "to")?, "the value of a header")?;
    let mut response = answer(());
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}

// Time and what is beside the answer.

fn sleep(request: &Request<Body>) -> Result<Answer, Refusal> {
    let wait = milliseconds(request)?;
    thread::sleep(wait);
    Ok(answer(format!("slept {} ms\n", wait.as_millis())))
}

fn stderr(request: &Request<Body>) -> Result<Answer, Refusal> {
    let text = query(request, "text").unwrap_or_else(|| "something to say".to_string());
    let written = request.stderr().write_all(text.as_bytes());
    written.map_err(|error| Refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(answer("said on FCGI_STDERR\n"))
}

fn counters(metrics: &Metrics) -> Answer {
    let now = metrics.snapshot();
    json_answer(json!({
        "active_requests": now.active_requests,
        "open_connections": now.open_connections,
        "completed_requests": now.completed_requests,
        "cancelled_requests": now.cancelled_requests,
        "rejected_requests": now.rejected_requests,
        "queued_requests": now.queued_requests,
        "failed_requests": now.failed_requests,
        "accepted_connections": now.accepted_connections,
        "refused_connections": now.refused_connections,
        "cancelled": by_reason(now.cancelled.iter()),
        "rejected": by_reason(now.rejected.iter()),
        "bytes_in": now.bytes_in,
        "bytes_out": now.bytes_out,
        "busy_workers": now.busy_workers,
        "idle_workers": now.idle_workers,
        "uptime": now.uptime.as_secs_f64(),
        "longest_request": now.longest_request.map(|request| request.to_string()),
    }))
}

fn by_reason(counts: impl Iterator<Item = (&'static str, u64)>) -> Value {
    counts.map(|(reason, count)| (reason.to_owned(), Value::from(count))).collect()
}

// Query parameters.

/// The first query parameter of this name, decoded as a form's are: `+` is a space.
pub(crate) fn query<B>(request: &Request<B>, name: &str) -> Option<String> {
    let pairs = request.uri().query()?.split('&');
    let mut pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.find(|(encoded, _)| decode(encoded) == name).map(|(_, value)| decode(value))
}

fn decode(encoded: &str) -> String {
    percent_decode_str(&encoded.replace('+', " ")).decode_utf8_lossy().into_owned()
}

fn required(request: &Request<Body>, name: &str) -> Result<String, Refusal> {
    query(request, name).ok_or_else(|| Refusal::bad(format!("the query parameter {name} is missing")))
}

fn number<N: FromStr>(request: &Request<Body>, name: &str) -> Result<N, Refusal> {
    parse(&required(request, name)?, &format!("a number that {name} can have"))
}

fn milliseconds(request: &Request<Body>) -> Result<Duration, Refusal> {
    number(request, "ms").map(Duration::from_millis)
}

fn parse<T: FromStr>(text: &str, what: &str) -> Result<T, Refusal> {
    text.parse().map_err(|_| Refusal::bad(format!("{text:?} is not {what}")))
}

// Answers.

/// An error that the one who asked gets to read.
pub(crate) struct Refusal(StatusCode, String);

impl Refusal {
    fn bad(explanation: String) -> Self {
        Self(StatusCode::BAD_REQUEST, explanation)
    }

    /// The read errors of a body tell what became of it.
    pub(crate) fn unreadable(error: &io::Error) -> Self {
        let status = match BodyError::of(error) {
            Some(BodyError::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
            Some(_) => StatusCode::BAD_REQUEST,
            None => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self(status, error.to_string())
    }

    pub(crate) fn into_answer(self) -> Answer {
        with_status(self.0, format!("{}\n", self.1))
    }
}

pub(crate) fn answer(body: impl Into<SendBody>) -> Answer {
    Response::new(body.into())
}

fn with_status(status: StatusCode, body: impl Into<SendBody>) -> Answer {
    let mut response = answer(body);
    *response.status_mut() = status;
    response
}

pub(crate) fn with_type(content_type: &'static str, body: impl Into<SendBody>) -> Answer {
    let mut response = answer(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn with_length(length: u64, mut response: Answer) -> Answer {
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    response
}

pub(crate) fn json_answer(json: impl Display) -> Answer {
    with_type("application/json", format!("{json}\n"))
}

/// Meta-variables and headers are bytes; JSON is Unicode.
fn json_text(bytes: &[u8]) -> Value {
    let text: Cow<str> = String::from_utf8_lossy(bytes);
    Value::from(text)
}
