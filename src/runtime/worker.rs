//! The worker of a request: it reads the meta-variables, runs the handler, sends the answer and ends the request.
//!
//! The life of a request goes on here from `reader.rs`:
//!
//! ```text
//!   claim           the worker has the request; whoever else would end it does not     run
//!   PARAMS          become the head of the request, or a refusal                       serve, read_request
//!   handler         runs; its body streams in, its answer streams out                  run_handler, send
//!   over            nobody can read or write any more, and the permit is given back    Running
//!   complete        the entry leaves the map                                           end, cut
//!   END_REQUEST     leaves with the last of the answer, after that                     send_last
//! ```

use std::cell::Cell;
use std::io::{self, Read};
use std::sync::Arc;

use http::{Method, Request, StatusCode};

use super::answer::{Answer, Destination, Progress};
use super::failure::{guard, Failure};
use super::flush::flush;
use super::jobs::{ConnectionJob, Work};
use super::pool::{Job, Pool};
use crate::cgi::{read_head, BadRequest, BodyRule, Params, RequestHead};
use crate::connection::{Connection, MayBlock, Permit, Sending, Unsent};
use crate::handler::{AppStatus, Body, BodyWriter, BoxError, FilterData, Kind, Reply, SendBody, Served};
use crate::journal::note;
use crate::metrics::Counter;
use crate::protocol::{Cut, Ending, RequestKey, Role, MAX_CONTENT_LEN};
use crate::request::{Cancel, RequestState};

/// The application status of an answer that was cut short.
const CUT_STATUS: u32 = 1;

/// The header block that every web server takes: nginx's default `fastcgi_buffer_size` is a page, for the record's
/// header, too.
const USUAL_HEAD_LEN: usize = 4 << 10;

/// The largest buffer that a worker keeps for its next answer.
const KEPT_BUFFER_LEN: usize = 64 << 10;

/// A worker may wait for the peer of the request that it has.
struct WorkerThread(());

impl MayBlock for WorkerThread {}

impl Job for Work {
    fn is_wanted(&self) -> bool {
        self.request.is_waiting()
    }

    fn run(self) -> bool {
        let Work { connection, key, role, params, request, flushers } = self;
        let Some(claim) = request.claim() else { return false };
        connection.context.metrics.count(Counter::Taken);
        let running = Running { request: &request, _permit: connection.context.permits.of(claim) };
        let turn =
            Turn { connection: &connection, request: &request, key, role, flushers: &flushers, me: WorkerThread(()) };
        // What a handler may do is guarded closer by. This is for the rest.
        let outcome = guard(|| {
            turn.run(params, running);
            Ok(())
        });
        if outcome.is_err() {
            note!(
                connection.context.journal,
                Error,
                "connection {}: a panic behind request {}; closed",
                connection.number(),
                key.id
            );
            connection.break_off();
            if connection.complete(key).is_some() {
                connection.context.metrics.count(Counter::Completed);
            }
        }
        true
    }
}

/// A request while its handler runs. When this goes the request is over: nobody can read from it any more, and its permit
/// is given back, which must be before its peer sees the end and begins the next.
struct Running<'a> {
    request: &'a RequestState,
    _permit: Permit<'a>,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.request.end();
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

/// One request and its worker.
struct Turn<'a> {
    connection: &'a Arc<Connection>,
    request: &'a Arc<RequestState>,
    key: RequestKey,
    role: Role,
    flushers: &'a Pool<ConnectionJob>,
    me: WorkerThread,
}

impl Turn<'_> {
    fn run(&self, params: Vec<u8>, running: Running<'_>) {
        let send = |parts: &[&[u8]]| self.send_part(parts);
        let to = Destination { send: &send, request: self.request, id: self.key.id };
        let mut answer = Answer::new(to, OUT.with(Cell::take));
        let outcome = self.serve(params, &mut answer);
        drop(running);
        let buffer = match outcome {
            Outcome::Whole { app_status } => self.end(answer, app_status),
            Outcome::Cut => self.cut(answer),
        };
        if buffer.capacity() <= KEPT_BUFFER_LEN {
            OUT.with(|out| out.set(buffer));
        }
    }

    fn serve(&self, params: Vec<u8>, answer: &mut Answer<'_>) -> Outcome {
        let head = match self.read_request(params) {
            Ok(head) => head,
            Err(status) => {
                self.count(rejection(status));
                answer.set_answers_head(self.request.params().get("REQUEST_METHOD") == Some(b"HEAD"));
                return self.refuse(status, answer);
            }
        };
        answer.set_answers_head(head.request.method() == Method::HEAD);
        match guard(|| self.run_handler(head)) {
            Ok(reply) => self.send(reply, answer),
            Err(failure) => self.fail(failure, answer),
        }
    }

    /// The head of the request, or the status that refuses it.
    fn read_request(&self, params: Vec<u8>) -> Result<RequestHead, StatusCode> {
        let parsed = Params::parse(params).map_err(|_| BadRequest::Params);
        let head = parsed.and_then(|params| read_head(self.request.set_params(params))).map_err(|bad| {
            note!(self.connection.context.journal, Warn, "{}: refused: {bad}", self.describe());
            bad.status()
        })?;
        let max_body = self.connection.context.settings.max_body;
        if self.role != Role::Authorizer && head.content_length.is_some_and(|len| len > max_body) {
            note!(
                self.connection.context.journal,
                Debug,
                "{}: refused: the body is larger than max_body",
                self.describe()
            );
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        Ok(head)
    }

    fn run_handler(&self, head: RequestHead) -> Result<Reply, BoxError> {
        let RequestHead { mut request, content_length } = head;
        request.extensions_mut().insert(Served(self.request.clone()));
        let body = |request: Request<()>| request.map(|()| Body::new(self.request.clone(), content_length));
        let handlers = &self.connection.context.handlers;
        match self.role {
            Role::Responder => handlers.responder.as_ref().map(|handle| handle(body(request))),
            Role::Authorizer => handlers.authorizer.as_ref().map(|handle| handle(request)),
            Role::Filter => handlers.filter.as_ref().map(|handle| handle(body(request), self.filter_data())),
        }
        .unwrap_or_else(|| Err("no handler for this role".into()))
    }

    fn filter_data(&self) -> FilterData {
        let number = |name| self.request.params().get_str(name).and_then(|text| text.parse().ok());
        FilterData::new(self.request.clone(), number("FCGI_DATA_LENGTH"), number("FCGI_DATA_LAST_MOD"))
    }

    fn send(&self, reply: Reply, answer: &mut Answer<'_>) -> Outcome {
        let Reply { response, variables } = reply;
        let (parts, body) = response.into_parts();
        let AppStatus(app_status) = parts.extensions.get().copied().unwrap_or_default();
        let limits = self.connection.context.settings.head_limits();
        let head = answer.head(&parts, body.facts(), &variables, limits);
        self.dispose(parts);
        let rule = match head {
            Ok(rule) => rule,
            Err(error) => {
                note!(
                    self.connection.context.journal,
                    Warn,
                    "{}: the handler's answer cannot be sent: {error}",
                    self.describe()
                );
                self.count(Counter::Failed);
                self.dispose(body);
                return self.refuse(StatusCode::INTERNAL_SERVER_ERROR, answer);
            }
        };
        let head_len = answer.collected_len();
        if head_len > USUAL_HEAD_LEN {
            note!(
                self.connection.context.journal,
                Warn,
                "{}: a header block of {head_len} bytes: nginx takes 4 KiB unless told otherwise",
                self.describe()
            );
        }
        if rule == BodyRule::Nothing {
            self.dispose(body);
            return Outcome::Whole { app_status };
        }
        match self.send_body(body, answer) {
            Ok(()) => Outcome::Whole { app_status },
            Err(None) => Outcome::Cut,
            Err(Some(failure)) => self.fail(failure, answer),
        }
    }

    /// Whether the body was sent as it should be, and why not. `None` is a body that ended too early.
    fn send_body(&self, body: SendBody, answer: &mut Answer<'_>) -> Result<(), Option<Failure>> {
        let (written, is_streamed) = match body.into_kind() {
            Kind::Bytes { bytes, .. } => (guard(|| Ok(answer.write(&bytes)?)), false),
            Kind::Reader(mut reader) => {
                let written = guard(|| Ok(copy(&mut reader, answer)?));
                self.dispose(reader);
                (written, true)
            }
            Kind::Writer(write) => (guard(|| Ok(write(&mut BodyWriter(answer))?)), true),
        };
        if answer.is_long() {
            note!(
                self.connection.context.journal,
                Warn,
                "{}: the body is longer than its Content-Length; cut off",
                self.describe()
            );
        }
        match (written, answer.failure(is_streamed)) {
            // Whatever the handler makes of a failed write: what follows it is missing.
            (Ok(()), Some(error)) => Err(Some(Failure::of_body(error))),
            (Ok(()), None) if answer.is_short() => {
                note!(
                    self.connection.context.journal,
                    Warn,
                    "{}: the body is shorter than its Content-Length",
                    self.describe()
                );
                Err(None)
            }
            (Ok(()), None) => Ok(()),
            (Err(failure), None) if answer.is_complete() => {
                if !answer.is_long() {
                    note!(
                        self.connection.context.journal,
                        Warn,
                        "{}: the handler failed after the whole body was sent: {failure}",
                        self.describe()
                    );
                }
                Ok(())
            }
            (Err(failure), _) => Err(Some(failure)),
        }
    }

    /// A failure is a status while none was sent, and visible in any case.
    fn fail(&self, failure: Failure, answer: &mut Answer<'_>) -> Outcome {
        match failure.body_error() {
            Some(error) => {
                note!(self.connection.context.journal, Debug, "{}: the handler gave up: {error}", self.describe())
            }
            None => {
                note!(self.connection.context.journal, Warn, "{}: the handler failed: {failure}", self.describe());
                self.count(Counter::Failed);
            }
        }
        match answer.progress() {
            Progress::Sent => Outcome::Cut,
            _ => self.refuse(failure.status(self.request.stopped()), answer),
        }
    }

    fn refuse(&self, status: StatusCode, answer: &mut Answer<'_>) -> Outcome {
        answer.refuse(status);
        Outcome::Whole { app_status: 0 }
    }

    /// Complete, then send. The buffer comes back.
    fn end(&self, answer: Answer<'_>, app_status: u32) -> Vec<u8> {
        self.count(Counter::Completed);
        let Some(completed) = self.connection.complete(self.key) else { return Vec::new() };
        let (records, ending) = answer.into_end(completed, app_status);
        self.send_last(&records, ending);
        records
    }

    /// The part of an answer that the web server has must not pass for the whole. Most web servers see that when
    /// the connection ends without END_REQUEST. Where others are served on the connection, or where it would end the
    /// process, the application status tells. The buffer comes back.
    fn cut(&self, answer: Answer<'_>) -> Vec<u8> {
        self.count(Counter::Completed);
        let cut = match self.request.is_aborted() || self.connection.context.settings.always_end_requests {
            true => self.connection.complete(self.key).map(Cut::EndRequest),
            false => self.connection.complete_cut(self.key),
        };
        let Some(cut) = cut else { return Vec::new() };
        let (records, ending) = answer.into_cut(cut, CUT_STATUS);
        self.send_last(&records, ending);
        records
    }

    /// Sends a part of the answer; `false` when the request was cancelled before anything of it was sent.
    fn send_part(&self, parts: &[&[u8]]) -> io::Result<bool> {
        let is_over = || self.request.stopped().is_some();
        match self.connection.send(&self.me, parts, None, &is_over) {
            Ok(Sending::Begun(unsent)) => {
                self.carry_on(unsent);
                Ok(true)
            }
            Ok(Sending::NotBegun) => Ok(false),
            Err(error) => {
                // A writer can be the first to meet the end of a connection.
                self.connection.cancel(self.key, self.request, Cancel::Lost);
                Err(error)
            }
        }
    }

    /// Sends the end of the answer. That of a cancelled request is worth no wait.
    fn send_last(&self, records: &[u8], ending: Ending) {
        let sent = match self.request.stopped() {
            None => self.connection.send(&self.me, &[records], Some(ending), &|| false),
            Some(_) => Ok(Sending::Begun(self.connection.post(records, Some(ending)))),
        };
        match sent {
            Ok(Sending::Begun(unsent)) => self.carry_on(unsent),
            Ok(Sending::NotBegun) => {}
            Err(error) => {
                // Web servers that have all they want go without waiting for END_REQUEST.
                note!(
                    self.connection.context.journal,
                    Debug,
                    "connection {}: the peer went before the end: {error}",
                    self.connection.number()
                );
            }
        }
        self.carry_on(self.connection.close_behind_response());
    }

    /// Leaves what is unsent to a thread that has nothing else to do.
    fn carry_on(&self, unsent: Option<Unsent>) {
        if let Some(unsent) = unsent {
            self.flushers.submit(flush(unsent));
        }
    }

    /// Drops what the handler made, which is the users' code.
    fn dispose<T>(&self, made_by_handler: T) {
        let dispose = || {
            drop(made_by_handler);
            Ok(())
        };
        if let Err(failure) = guard(dispose) {
            note!(
                self.connection.context.journal,
                Warn,
                "{}: a part of the handler's answer, when it was dropped: {failure}",
                self.describe()
            );
        }
    }

    fn count(&self, counter: Counter) {
        self.connection.context.metrics.count(counter);
    }

    /// What a log line says of the request.
    fn describe(&self) -> String {
        let (method, uri) = (self.request.text("REQUEST_METHOD"), self.request.text("REQUEST_URI"));
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

/// Reads as much as a record carries at once, so that nothing is copied on the way, and no more than the answer may have.
fn copy(reader: &mut (dyn Read + Send), answer: &mut Answer<'_>) -> io::Result<()> {
    let mut buffer = vec![0; MAX_CONTENT_LEN];
    while !answer.is_complete() {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(len) => io::Write::write_all(answer, &buffer[..len])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
