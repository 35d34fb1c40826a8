//! What the threads that serve one request share: its cancellation, its input, its STDERR, and who answers it.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::pipe::{End, Pipe, PipeLimits};
use super::signal::{Cancel, CancelReason, Fired, Signal};
use crate::cgi::Params;
use crate::error::BodyError;
use crate::metrics::RunningRequest;
use crate::protocol::{Role, Stream};
use crate::sync::{AtomicBool, AtomicU8, Mutex, Ordering};

/// One request, from BEGIN_REQUEST to END_REQUEST.
#[derive(Debug)]
pub(crate) struct RequestState {
    role: Role,
    signal: Signal,
    stdin: Pipe,
    /// The second input of a Filter.
    data: Option<Box<Pipe>>,
    stderr: Mutex<Vec<u8>>,
    max_stderr: usize,
    claim: ClaimState,
    begun: Instant,
    params: OnceLock<Params>,
    is_over: AtomicBool,
    /// The handler knows that it is cancelled.
    is_told: AtomicBool,
    /// ABORT_REQUEST has come, be it after another cancellation.
    is_aborted: AtomicBool,
    /// It is in the log as a slow request.
    is_reported: AtomicBool,
}

/// Whether a request waits for a worker, and whether somebody has it already; 0 is neither.
#[derive(Debug, Default)]
struct ClaimState(AtomicU8);

const WAITING: u8 = 1;
const WAITING_WITHOUT_PERMIT: u8 = 2;
const CLAIMED: u8 = 3;

/// The right to answer a request that waited for a worker: had once, by the worker that runs its handler or by whoever
/// ends it before that. The request's permit goes with it, unless that was given back before.
#[must_use = "nobody else will answer this request"]
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    has_permit: bool,
}

impl Claim {
    pub(crate) fn has_permit(self) -> bool {
        self.has_permit
    }
}

impl RequestState {
    pub(crate) fn new(role: Role, limits: PipeLimits, max_stderr: usize, begun: Instant) -> RequestState {
        RequestState {
            role,
            signal: Signal::default(),
            stdin: Pipe::new(limits),
            data: (role == Role::Filter).then(|| Box::new(Pipe::new(limits))),
            stderr: Mutex::default(),
            max_stderr,
            claim: ClaimState::default(),
            begun,
            params: OnceLock::new(),
            is_over: AtomicBool::new(false),
            is_told: AtomicBool::new(false),
            is_aborted: AtomicBool::new(false),
            is_reported: AtomicBool::new(false),
        }
    }

    /// The meta-variables; none before a worker has read them.
    pub(crate) fn params(&self) -> &Params {
        static NONE: Params = Params::empty();
        self.params.get().unwrap_or(&NONE)
    }

    /// Keeps the meta-variables for as long as the request lives.
    pub(crate) fn set_params(&self, params: Params) -> &Params {
        self.params.get_or_init(|| params)
    }

    /// The request has its permit: from now on it can be claimed.
    pub(crate) fn set_waiting(&self) {
        self.claim.0.store(WAITING, Ordering::Release);
    }

    /// Whether it waits for a worker.
    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self.claim.0.load(Ordering::Acquire), WAITING | WAITING_WITHOUT_PERMIT)
    }

    /// Claims a request that waits for a worker.
    pub(crate) fn claim(&self) -> Option<Claim> {
        let claim = |has_permit| Claim { has_permit };
        if self.turn_from(WAITING, CLAIMED) {
            return Some(claim(true));
        }
        self.turn_from(WAITING_WITHOUT_PERMIT, CLAIMED).then(|| claim(false))
    }

    /// The request goes on waiting, but whoever wants to wait may have its permit. Whether it had one.
    pub(crate) fn give_permit_back(&self) -> bool {
        self.turn_from(WAITING, WAITING_WITHOUT_PERMIT)
    }

    fn turn_from(&self, from: u8, to: u8) -> bool {
        self.claim.0.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    pub(crate) fn input(&self, stream: Stream) -> &Pipe {
        match (stream, &self.data) {
            (Stream::Data, Some(data)) => data,
            _ => &self.stdin,
        }
    }

    /// The request need not go on.
    pub(crate) fn cancel(&self, cancel: Cancel) -> Fired {
        if cancel == Cancel::Aborted {
            self.is_aborted.store(true, Ordering::Release);
        }
        let fired = self.signal.fire(cancel);
        let error = cancel.reason().body_error();
        if fired.stops {
            self.inputs().for_each(|pipe| match cancel {
                // A body that has arrived can still be read.
                Cancel::Lost => pipe.end(End::Failed(error)),
                _ => pipe.abort(error),
            });
        } else if fired.is_first {
            self.inputs().for_each(|pipe| pipe.end(End::Failed(error)));
        }
        fired
    }

    /// The handler has returned, or never ran: what is left of the request can neither be read nor written.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Release);
        self.signal.wake();
        self.inputs().for_each(|pipe| pipe.abort(BodyError::Finished));
    }

    /// Whether its input may be read. After the end it may not, nor after a cancellation but that of a lost connection:
    /// then what has arrived can still be read.
    pub(crate) fn check_readable(&self) -> Result<(), BodyError> {
        if self.is_over.load(Ordering::Acquire) {
            return Err(BodyError::Finished);
        }
        match self.stopped() {
            None | Some(CancelReason::Disconnected) => Ok(()),
            Some(reason) => Err(reason.body_error()),
        }
    }

    /// The web server stopped in the middle of an input.
    pub(crate) fn end_overdue_input(&self) {
        self.inputs().for_each(|pipe| pipe.end_if_read(End::Failed(BodyError::TimedOut)));
    }

    /// Why it was cancelled.
    pub(crate) fn reason(&self) -> Option<CancelReason> {
        self.signal.reason()
    }

    /// Whether the web server has sent ABORT_REQUEST: it waits for END_REQUEST (FastCGI 5.4).
    pub(crate) fn is_aborted(&self) -> bool {
        self.is_aborted.load(Ordering::Acquire)
    }

    /// Like [`reason`](Self::reason), for the handler: from now on it may act on it.
    pub(crate) fn tell_reason(&self) -> Option<CancelReason> {
        let reason = self.reason();
        if reason.is_some() {
            self.is_told.store(true, Ordering::Release);
        }
        reason
    }

    /// Why what the handler does may be less than what it would have done.
    pub(crate) fn given_up(&self) -> Option<CancelReason> {
        self.stopped().or_else(|| self.is_told.load(Ordering::Acquire).then(|| self.reason()).flatten())
    }

    /// Why its response may not go on.
    pub(crate) fn stopped(&self) -> Option<CancelReason> {
        self.signal.stopped()
    }

    /// Waits until the request is cancelled or over, or `timeout` has passed.
    pub(crate) fn wait(&self, timeout: Duration) -> Option<CancelReason> {
        self.signal.wait(timeout, || self.is_over.load(Ordering::Acquire));
        self.tell_reason()
    }

    pub(crate) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.begun)
    }

    /// Whether a worker has read its PARAMS.
    pub(crate) fn is_running(&self) -> bool {
        self.params.get().is_some()
    }

    /// What a status page or a log line says of it while it runs.
    pub(crate) fn describe(&self, connection: u64, now: Instant) -> RunningRequest {
        let (method, uri) = (self.text("REQUEST_METHOD"), self.text("REQUEST_URI"));
        RunningRequest { age: self.age(now), method, uri, role: self.role.name(), connection }
    }

    /// Whether this call is the first.
    pub(crate) fn report_once(&self) -> bool {
        !self.is_reported.swap(true, Ordering::Relaxed)
    }

    /// A meta-variable for people to read. It comes from the client: escaped, and not all of it.
    pub(crate) fn text(&self, name: &str) -> String {
        const MOST: usize = 200;
        let value = self.params().get(name).unwrap_or_default();
        String::from_utf8_lossy(&value[..value.len().min(MOST)]).escape_debug().to_string()
    }

    /// Keeps what fits of a handler's STDERR until the closing write, while the handler runs.
    pub(crate) fn add_stderr(&self, text: &[u8]) {
        if self.is_over.load(Ordering::Acquire) {
            return;
        }
        let mut stderr = self.stderr.lock();
        let room = self.max_stderr.saturating_sub(stderr.len());
        stderr.extend(text.iter().take(room).map(|&byte| harmless(byte)));
    }

    pub(crate) fn take_stderr(&self) -> Vec<u8> {
        std::mem::take(&mut *self.stderr.lock())
    }

    fn inputs(&self) -> impl Iterator<Item = &Pipe> {
        std::iter::once(&self.stdin).chain(self.data.as_deref())
    }
}

/// Control bytes would let a handler that passes on what a client sent forge lines in the web server's log.
fn harmless(byte: u8) -> u8 {
    match byte {
        b'\n' | b'\t' => byte,
        _ if byte.is_ascii_control() => b'?',
        _ => byte,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Pushed;

    fn request(role: Role) -> RequestState {
        RequestState::new(role, PipeLimits { buffer: 100, max_len: 100 }, 10, Instant::now())
    }

    #[test]
    fn only_one_claims_a_request() {
        let request = request(Role::Responder);
        assert_eq!(request.claim(), None, "it has no place in the queue yet");
        request.set_waiting();
        assert!(request.is_waiting() && request.claim().is_some_and(Claim::has_permit));
        assert!(!request.is_waiting() && request.claim().is_none() && !request.give_permit_back());
    }

    #[test]
    fn stderr_is_bounded_and_harmless() {
        let request = request(Role::Responder);
        request.add_stderr(b"a\r\nb\x1b[");
        request.add_stderr(b"0123456789");
        assert_eq!(request.take_stderr(), b"a?\nb?[0123");
        assert_eq!(request.take_stderr(), b"");
    }

    #[test]
    fn a_request_is_described_in_few_harmless_characters() {
        let request = request(Role::Filter);
        assert!(!request.is_running());
        let target = "/\x1b[2J\n".to_owned() + &"x".repeat(1000);
        request.set_params(Params::from_iter([("REQUEST_METHOD", "GET"), ("REQUEST_URI", &target)]));
        let described = request.describe(7, request.begun + Duration::from_secs(2));
        assert_eq!((described.age, described.connection, described.role), (Duration::from_secs(2), 7, "filter"));
        assert_eq!((described.method, described.uri), ("GET".into(), "/\\u{1b}[2J\\n".to_owned() + &"x".repeat(194)));
        assert!(request.is_running() && request.report_once() && !request.report_once());
    }

    #[test]
    fn a_half_closed_peer_still_gets_its_complete_body_read_and_its_answer() {
        let request = request(Role::Responder);
        let stdin = request.input(Stream::Stdin);
        assert_eq!(stdin.push(b"all"), Pushed::Seen);
        stdin.end(End::Complete);
        assert!(request.cancel(Cancel::HalfClosed).is_first);
        assert_eq!(stdin.next(Vec::new()).expect("readable"), Some(b"all".to_vec()));
        assert_eq!(stdin.next(Vec::new()).expect("the end"), None);
        assert_eq!((request.reason(), request.stopped()), (Some(CancelReason::Disconnected), None));
    }

    #[test]
    fn an_aborted_request_neither_reads_nor_writes() {
        for first in [None, Some(Cancel::HalfClosed)] {
            let request = request(Role::Filter);
            assert_eq!(request.input(Stream::Data).push(b"data"), Pushed::Seen);
            first.map(|first| request.cancel(first));
            assert!(request.cancel(Cancel::Aborted).stops);
            assert!(!request.cancel(Cancel::Lost).stops);
            assert!(request.input(Stream::Stdin).next(Vec::new()).is_err());
            assert!(request.input(Stream::Data).next(Vec::new()).is_err());
            assert_eq!(request.stopped(), Some(CancelReason::Aborted));
        }
    }

    #[test]
    fn a_request_that_is_over_cannot_be_read_from() {
        for end in [None, Some(End::Complete)] {
            let request = request(Role::Responder);
            let stdin = request.input(Stream::Stdin);
            assert_eq!(stdin.push(b"late"), Pushed::Seen);
            end.into_iter().for_each(|end| stdin.end(end));
            request.end();
            let error = stdin.next(Vec::new()).expect_err("over");
            assert_eq!(BodyError::of(&error), Some(BodyError::Finished));
        }
    }
}
