//! The worker of a request: it reads the meta-variables, runs the handler, sends the answer and ends the request.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::io::{self, Read};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;

use http::{Request, StatusCode};
use log::{debug, error, warn};

use crate::cgi::{read_head, BadRequest, BodyRule, Params, RequestHead};
use crate::connection::outbox::Part;
use crate::connection::Connection;
use crate::error::BodyError;
use crate::handler::body::{Body, FilterData};
use crate::handler::request_ext::Served;
use crate::handler::send_body::{Kind, SendBody};
use crate::handler::{AppStatus, BoxError, Reply};
use crate::metrics::Counter;
use crate::protocol::{ProtocolStatus, Role, Ticket, MAX_CONTENT_LEN};
use crate::request::exchange::Exchange;
use crate::request::signal::CancelReason;
use crate::runtime::answer::{Answer, BodyWriter, Destination, Progress};
use crate::runtime::pool::{Job, Place};

/// The application status of an answer that was cut short.
const CUT_STATUS: u32 = 1;

/// The header block that every web server takes: nginx's default `fastcgi_buffer_size` is a page, for the record's
/// header, too.
const USUAL_HEAD_LEN: usize = 4 << 10;

/// The largest buffer that a worker keeps for its next answer.
const KEPT_BUFFER_LEN: usize = 64 << 10;

/// A request whose PARAMS are complete. They are with its exchange, for whoever claims it.
pub(crate) struct Work {
    pub(crate) connection: Arc<Connection>,
    pub(crate) ticket: Ticket,
    pub(crate) role: Role,
    pub(crate) exchange: Arc<Exchange>,
}

impl Job for Work {
    fn run(self, place: Place<'_>) {
        let Work { connection, ticket, role, exchange } = self;
        // A request that was ended while it waited is over, and its place was given up then.
        let Some(params) = connection.claim(&exchange) else { return place.was_given_up() };
        connection.server.metrics.count(Counter::Taken);
        let turn = AssertUnwindSafe(|| {
            answer(Turn { connection: &connection, exchange: &exchange, role }, ticket, params, place)
        });
        // What a handler may do is guarded closer by. This is for what it leaves behind, such as a panicking drop.
        if catch_unwind(turn).is_err() {
            error!("connection {}: a panic behind request {}; closed", connection.number(), ticket.id);
            connection.shut();
            if connection.complete(ticket).is_some() {
                connection.server.metrics.count(Counter::Completed);
            }
        }
    }
}

fn answer(turn: Turn<'_>, ticket: Ticket, params: Vec<u8>, place: Place<'_>) {
    let Connection { socket, outbox, .. } = &**turn.connection;
    let to = Destination { socket, outbox, exchange: turn.exchange, id: ticket.id };
    let mut out = Answer::new(to, OUT.with(Cell::take));
    let outcome = turn.serve(params, &mut out);
    // A reader that waits for a handler to read must not wait for one that never ran.
    turn.exchange.close_inputs();
    drop(place);
    let buffer = match outcome {
        Outcome::Whole { app_status } => turn.end(ticket, out, app_status),
        Outcome::Cut => turn.cut(ticket, out),
    };
    if buffer.capacity() <= KEPT_BUFFER_LEN {
        OUT.with(|out| out.set(buffer));
    }
}

thread_local! {
    /// The buffer in which this thread's answers collect, between requests.
    static OUT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// How an answer came out.
enum Outcome {
    Whole {
        app_status: u32,
    },
    /// The web server has a part of an answer and must be able to see that it is no more than that.
    Cut,
}

/// Why a handler has no answer, or not a whole one.
enum Failure {
    Error(BoxError),
    Panic(String),
}

/// One request and its worker.
struct Turn<'a> {
    connection: &'a Arc<Connection>,
    exchange: &'a Arc<Exchange>,
    role: Role,
}

impl Turn<'_> {
    fn serve(&self, params: Vec<u8>, out: &mut Answer<'_>) -> Outcome {
        let head = match self.read_request(params) {
            Ok(head) => head,
            Err(status) => {
                self.count(rejection(status));
                return self.refuse(status, self.answers_head(), out);
            }
        };
        let answers_head = self.answers_head();
        match guard(|| self.run_handler(head)) {
            Ok(reply) => self.send(reply, answers_head, out),
            Err(failure) => self.fail(failure, answers_head, out),
        }
    }

    fn answers_head(&self) -> bool {
        self.exchange.params().get("REQUEST_METHOD") == Some(b"HEAD")
    }

    /// The head of the request, or the status that refuses it.
    fn read_request(&self, params: Vec<u8>) -> Result<RequestHead, StatusCode> {
        let parsed = Params::parse(params).map_err(|_| BadRequest::Params);
        let head = parsed.and_then(|params| read_head(self.exchange.set_params(params))).map_err(|bad| {
            warn!("{}: refused: {bad}", self.describe());
            bad.status()
        })?;
        let max_body = self.connection.server.settings.max_body;
        if self.role != Role::Authorizer && head.content_length.is_some_and(|len| len > max_body) {
            debug!("{}: refused: the body is larger than max_body", self.describe());
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        Ok(head)
    }

    fn run_handler(&self, head: RequestHead) -> Result<Reply, BoxError> {
        let RequestHead { mut request, content_length } = head;
        request.extensions_mut().insert(Served(self.exchange.clone()));
        let body = |request: Request<()>| request.map(|()| Body::new(self.exchange.clone(), content_length));
        let handlers = &self.connection.server.handlers;
        match self.role {
            Role::Responder => handlers.responder.as_ref().map(|handle| handle(body(request))),
            Role::Authorizer => handlers.authorizer.as_ref().map(|handle| handle(request)),
            Role::Filter => handlers.filter.as_ref().map(|handle| handle(body(request), self.filter_data())),
        }
        .unwrap_or_else(|| Err("no handler for this role".into()))
    }

    fn filter_data(&self) -> FilterData {
        let number = |name| self.exchange.params().get_str(name).and_then(|text| text.parse().ok());
        FilterData::new(self.exchange.clone(), number("FCGI_DATA_LENGTH"), number("FCGI_DATA_LAST_MOD"))
    }

    fn send(&self, reply: Reply, answers_head: bool, out: &mut Answer<'_>) -> Outcome {
        let Reply { response, variables } = reply;
        let (parts, body) = response.into_parts();
        let AppStatus(app_status) = parts.extensions.get().copied().unwrap_or_default();
        let limits = self.connection.server.settings.head_limits();
        let rule = match out.head(&parts, answers_head, body.facts(), &variables, limits) {
            Ok(rule) => rule,
            Err(error) => {
                warn!("{}: the handler's answer cannot be sent: {error}", self.describe());
                self.count(Counter::Failed);
                return self.refuse(StatusCode::INTERNAL_SERVER_ERROR, answers_head, out);
            }
        };
        let head_len = out.collected_len();
        if head_len > USUAL_HEAD_LEN {
            warn!("{}: a header block of {head_len} bytes: nginx takes 4 KiB unless told otherwise", self.describe());
        }
        if rule == BodyRule::Nothing {
            return Outcome::Whole { app_status };
        }
        let written = guard(|| Ok(write_body(body, out)?));
        if out.is_long() {
            warn!("{}: the body is longer than its Content-Length; cut off", self.describe());
        }
        match written {
            Ok(()) if out.is_short() => {
                warn!("{}: the body is shorter than its Content-Length", self.describe());
                Outcome::Cut
            }
            Ok(()) => Outcome::Whole { app_status },
            Err(failure) => self.fail(failure, answers_head, out),
        }
    }

    /// A failure is a status while none was sent, and visible in any case.
    fn fail(&self, failure: Failure, answers_head: bool, out: &mut Answer<'_>) -> Outcome {
        match failure.body_error() {
            Some(error) => debug!("{}: the handler gave up: {error}", self.describe()),
            None => {
                warn!("{}: the handler failed: {failure}", self.describe());
                self.count(Counter::Failed);
            }
        }
        match out.progress() {
            Progress::Sent => Outcome::Cut,
            _ => self.refuse(failure.status(self.exchange.reason()), answers_head, out),
        }
    }

    fn refuse(&self, status: StatusCode, answers_head: bool, out: &mut Answer<'_>) -> Outcome {
        out.refuse(status, answers_head);
        Outcome::Whole { app_status: 0 }
    }

    /// Complete, then send. The buffer comes back.
    fn end(&self, ticket: Ticket, answer: Answer<'_>, app_status: u32) -> Vec<u8> {
        let records = answer.into_end(ProtocolStatus::RequestComplete, app_status);
        self.count(Counter::Completed);
        if let Some(completed) = self.connection.complete(ticket) {
            let part = Part::Last(completed.close);
            if !self.connection.leave(&records, part) {
                self.send_last(&records, part);
            }
        }
        records
    }

    /// The part of an answer that the web server has must not pass for the whole. Most web servers see that when
    /// the connection ends without END_REQUEST. Where others are served on the connection, or where it would end the
    /// process, the application status tells. The buffer comes back.
    fn cut(&self, ticket: Ticket, answer: Answer<'_>) -> Vec<u8> {
        self.count(Counter::Completed);
        let Some(completed) = self.connection.complete(ticket) else { return Vec::new() };
        let is_aborted = self.exchange.reason() == Some(CancelReason::Aborted);
        let must_end = is_aborted || self.connection.server.settings.always_end_requests;
        let (records, part) = if must_end || !self.connection.close_if_idle() {
            let records = answer.into_end(ProtocolStatus::RequestComplete, CUT_STATUS);
            (records, Part::Last(completed.close))
        } else {
            // A reset throws away what the peer's kernel does not have yet: it must not be the answer of another.
            let is_sequential = self.connection.with_requests(|requests| requests.is_sequential());
            let part = if is_sequential { Part::Cut } else { Part::Last };
            (answer.into_cut(), part(completed.close))
        };
        self.send_last(&records, part);
        records
    }

    fn send_last(&self, records: &[u8], part: Part) {
        let Connection { socket, outbox, .. } = &**self.connection;
        if let Err(error) = outbox.send(socket, &[records], part) {
            // Web servers that have all they want go without waiting for END_REQUEST.
            debug!("connection {}: the peer went before the end: {error}", self.connection.number());
        }
        self.connection.close_behind_answer();
    }

    fn count(&self, counter: Counter) {
        self.connection.server.metrics.count(counter);
    }

    /// What a log line says of the request.
    fn describe(&self) -> String {
        let (method, uri) = (self.exchange.text("REQUEST_METHOD"), self.exchange.text("REQUEST_URI"));
        format!("connection {}: {method} {uri}", self.connection.number())
    }
}

/// Where a refusal with this status is counted.
fn rejection(status: StatusCode) -> Counter {
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => Counter::BodyTooLarge,
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Counter::ParamsTooLarge,
        _ => Counter::Malformed,
    }
}

/// Runs users' code. A panic stays with the request it happened in.
fn guard<R>(run: impl FnOnce() -> Result<R, BoxError>) -> Result<R, Failure> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(outcome) => outcome.map_err(Failure::Error),
        Err(panic) => Err(Failure::Panic(panic_text(&*panic))),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("not a text").escape_debug().to_string()
}

fn write_body(body: SendBody, out: &mut Answer<'_>) -> io::Result<()> {
    match body.into_kind() {
        Kind::Bytes { bytes, .. } => out.write(&bytes),
        Kind::Reader(reader) => copy(reader, out),
        Kind::Writer(write) => write(&mut BodyWriter(out)),
    }
}

/// Reads as much as a record carries at once, so that nothing is copied on the way.
fn copy(mut reader: Box<dyn Read + Send>, out: &mut Answer<'_>) -> io::Result<()> {
    let mut buffer = vec![0; MAX_CONTENT_LEN];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(len) => out.write(&buffer[..len])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

impl Failure {
    /// The reason, when the handler failed because its input or output did.
    fn body_error(&self) -> Option<BodyError> {
        match self {
            Failure::Error(error) => error.downcast_ref().and_then(BodyError::of),
            Failure::Panic(_) => None,
        }
    }

    fn status(&self, reason: Option<CancelReason>) -> StatusCode {
        match (self.body_error(), reason) {
            (_, Some(CancelReason::Deadline)) => StatusCode::GATEWAY_TIMEOUT,
            (_, Some(CancelReason::Shutdown)) => StatusCode::SERVICE_UNAVAILABLE,
            (Some(BodyError::TooLarge), _) => StatusCode::PAYLOAD_TOO_LARGE,
            (Some(BodyError::TimedOut), _) => StatusCode::REQUEST_TIMEOUT,
            (Some(_), _) => StatusCode::BAD_REQUEST,
            (None, _) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Error(error) => write!(f, "{}", error.to_string().escape_debug()),
            Failure::Panic(text) => write!(f, "it panicked: {text}"),
        }
    }
}
