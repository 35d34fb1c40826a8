//! What the threads that serve one request share: its signal, its input, its STDERR, and who answers it.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::cgi::Params;
use crate::error::BodyError;
use crate::metrics::{Metrics, RunningRequest};
use crate::protocol::{Role, Stream};
use crate::request::pipe::{End, Pipe, PipeLimits};
use crate::request::signal::{CancelReason, Signal};

/// The largest buffer that an idle connection keeps for the PARAMS of its next request.
pub(crate) const KEPT_PARAMS_LEN: usize = 4 << 10;

/// One request, from BEGIN_REQUEST to END_REQUEST.
#[derive(Debug)]
pub(crate) struct Exchange {
    role: Role,
    signal: Signal,
    stdin: Pipe,
    /// The second input of a Filter.
    data: Option<Box<Pipe>>,
    stderr: Mutex<Vec<u8>>,
    max_stderr: usize,
    /// The PARAMS stream, until somebody claims the request.
    offer: Mutex<Option<Vec<u8>>>,
    begun: Instant,
    params: OnceLock<Params>,
    /// It is in the log as a slow request.
    is_reported: AtomicBool,
    metrics: Metrics,
}

impl Exchange {
    pub(crate) fn new(role: Role, limits: PipeLimits, max_stderr: usize, metrics: Metrics, begun: Instant) -> Exchange {
        Exchange {
            role,
            signal: Signal::default(),
            stdin: Pipe::new(limits),
            data: (role == Role::Filter).then(|| Box::new(Pipe::new(limits))),
            stderr: Mutex::default(),
            max_stderr,
            offer: Mutex::default(),
            begun,
            params: OnceLock::new(),
            is_reported: AtomicBool::new(false),
            metrics,
        }
    }

    /// Puts the exchange of the next request in the place of one that is over. The buffer that held its PARAMS comes
    /// back, empty.
    pub(crate) fn renew(&mut self, next: Exchange) -> Vec<u8> {
        let buffer = self.params.take().and_then(Params::into_buffer).unwrap_or_default();
        *self = next;
        buffer
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

    /// The PARAMS are complete: the request can be claimed.
    pub(crate) fn offer(&self, params: Vec<u8>) {
        *self.offer.lock() = Some(params);
    }

    /// The right to answer, with the PARAMS: had once, by the worker that runs the handler or by whoever ends the
    /// request before one does.
    pub(crate) fn claim(&self) -> Option<Vec<u8>> {
        self.offer.lock().take()
    }

    pub(crate) fn input(&self, stream: Stream) -> &Pipe {
        match (stream, &self.data) {
            (Stream::Data, Some(data)) => data,
            _ => &self.stdin,
        }
    }

    /// The request need not go on. Whether it was this call that cancelled it.
    pub(crate) fn cancel(&self, reason: CancelReason) -> bool {
        let first = self.signal.fire(reason);
        if first {
            self.metrics.count(reason);
            self.inputs().for_each(|pipe| match reason {
                // The peer may have closed its sending side only: a body that has arrived can still be read.
                CancelReason::Disconnected => pipe.end(End::Failed(reason.body_error())),
                _ => pipe.abort(reason.body_error()),
            });
        }
        first
    }

    /// Nobody will read any more: the handler has returned, or never ran.
    pub(crate) fn close_inputs(&self) {
        self.inputs().for_each(Pipe::close);
    }

    /// The web server stopped in the middle of an input.
    pub(crate) fn end_overdue_input(&self) {
        self.inputs().for_each(|pipe| pipe.end_if_read(End::Failed(BodyError::TimedOut)));
    }

    pub(crate) fn reason(&self) -> Option<CancelReason> {
        self.signal.reason()
    }

    pub(crate) fn wait(&self, timeout: Duration) -> Option<CancelReason> {
        self.signal.wait(timeout)
    }

    /// Whether the answer may go on. After a lost connection it may: the peer may have closed its sending side only.
    pub(crate) fn check_writable(&self) -> io::Result<()> {
        match self.reason() {
            None | Some(CancelReason::Disconnected) => Ok(()),
            Some(reason) => Err(reason.body_error().into()),
        }
    }

    pub(crate) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.begun)
    }

    /// Whether a worker has it.
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

    /// Keeps what fits of a handler's STDERR until the closing write.
    pub(crate) fn add_stderr(&self, text: &[u8]) {
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

/// The exchanges that a connection used last, to be used again: its next request then takes no memory of its own, and
/// none that one thread allocates and another frees.
#[derive(Debug, Default)]
pub(crate) struct Exchanges {
    used: VecDeque<Arc<Exchange>>,
}

impl Exchanges {
    /// More would help a connection that multiplexes much, and cost an idle one its memory.
    const MAX_USED: usize = 16;

    /// Puts `next` in the place of the oldest exchange if that is over, and else in a new one. With it comes an empty
    /// buffer for PARAMS.
    pub(crate) fn next(&mut self, next: Exchange) -> (Arc<Exchange>, Vec<u8>) {
        if let Some(mut oldest) = self.used.pop_front() {
            // While it is not, somebody has a share in it: its worker, or a handler that kept its cancellation.
            if let Some(over) = Arc::get_mut(&mut oldest) {
                let params = over.renew(next);
                self.used.push_back(oldest.clone());
                return (oldest, params);
            }
            self.keep(oldest);
        }
        let exchange = Arc::new(next);
        self.keep(exchange.clone());
        (exchange, Vec::new())
    }

    /// Leaves the exchange to those who have it, with all the memory that its PARAMS take.
    pub(crate) fn forget(&mut self, exchange: &Arc<Exchange>) {
        self.used.retain(|used| !Arc::ptr_eq(used, exchange));
    }

    fn keep(&mut self, exchange: Arc<Exchange>) {
        if self.used.len() < Self::MAX_USED {
            self.used.push_back(exchange);
        }
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

/// Tells a handler that its request need not go on: see [`RequestExt::cancellation`](crate::RequestExt::cancellation).
///
/// It fires when the web server aborts the request or closes the connection, when the request takes longer than
/// [`request_timeout`](crate::Server::request_timeout), and at the end of the grace period of a shutdown. Clones are
/// cheap and can go to other threads.
#[derive(Clone, Debug)]
pub struct Cancellation {
    exchange: Option<Arc<Exchange>>,
}

impl Cancellation {
    pub(crate) fn new(exchange: Option<Arc<Exchange>>) -> Cancellation {
        Cancellation { exchange }
    }

    /// Whether the request need not go on. Cheap enough for every turn of a loop.
    pub fn is_cancelled(&self) -> bool {
        self.reason().is_some()
    }

    /// Why the request need not go on; `None` while it should.
    pub fn reason(&self) -> Option<CancelReason> {
        self.exchange.as_ref()?.reason()
    }

    /// Sleeps until the request is cancelled, and at most for `timeout`; `None` when that has passed.
    ///
    /// Of a request that no server made, as in the test of a handler, nothing is ever cancelled.
    pub fn wait(&self, timeout: Duration) -> Option<CancelReason> {
        match &self.exchange {
            Some(exchange) => exchange.wait(timeout),
            None => {
                std::thread::sleep(timeout);
                None
            }
        }
    }
}

/// Writes to FCGI_STDERR, which web servers put in their error log: see
/// [`RequestExt::stderr`](crate::RequestExt::stderr).
///
/// What is written is kept back, up to [`max_stderr`](crate::Server::max_stderr) bytes, and sent at the end of the
/// answer: HAProxy 2.6 crashes on a STDERR record that arrives alone. Control characters become `?`. More than fits
/// is dropped; writing never fails.
#[derive(Clone, Debug)]
pub struct Stderr {
    exchange: Option<Arc<Exchange>>,
}

impl Stderr {
    pub(crate) fn new(exchange: Option<Arc<Exchange>>) -> Stderr {
        Stderr { exchange }
    }
}

impl io::Write for Stderr {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        if let Some(exchange) = &self.exchange {
            exchange.add_stderr(text);
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::pipe::{Patience, Pushed};

    fn exchange(role: Role) -> Exchange {
        Exchange::new(role, PipeLimits { buffer: 100, max_len: 100 }, 10, Metrics::default(), Instant::now())
    }

    #[test]
    fn only_one_claims_a_request() {
        let exchange = exchange(Role::Responder);
        assert_eq!(exchange.claim(), None, "not offered yet");
        exchange.offer(b"params".to_vec());
        assert_eq!(exchange.claim().as_deref(), Some(&b"params"[..]));
        assert_eq!(exchange.claim(), None);
    }

    #[test]
    fn nothing_of_a_request_is_left_for_the_next_one_but_a_buffer() {
        let mut renewed = exchange(Role::Filter);
        renewed.set_params(Params::from_iter([("HTTP_COOKIE", "secret")]));
        assert_eq!(renewed.input(Stream::Stdin).push(b"secret", Patience::None), Pushed::Seen);
        renewed.add_stderr(b"secret");
        renewed.offer(b"secret".to_vec());
        renewed.cancel(CancelReason::Aborted);
        assert!(renewed.report_once());
        let buffer = renewed.renew(exchange(Role::Responder));
        assert!(buffer.is_empty() && buffer.capacity() > 0);
        assert!(renewed.params().is_empty() && renewed.claim().is_none() && renewed.reason().is_none());
        assert!(renewed.take_stderr().is_empty() && renewed.report_once());
        renewed.input(Stream::Data).end(End::Complete);
        assert_eq!(renewed.input(Stream::Stdin).next(Vec::new()).expect("the end"), None);
    }

    #[test]
    fn exchanges_are_used_again_once_they_are_over() {
        let mut exchanges = Exchanges::default();
        let mut next = || exchanges.next(exchange(Role::Responder)).0;
        let (first, second) = (next(), next());
        let addresses = [&first, &second].map(Arc::as_ptr);
        assert_ne!(addresses[0], addresses[1], "both are in use");
        drop((first, second));
        let again = [next(), next()].map(|exchange| Arc::as_ptr(&exchange));
        assert!(again.iter().all(|address| addresses.contains(address)), "{addresses:?} {again:?}");
        let large = next();
        exchanges.forget(&large);
        assert!(exchanges.used.iter().all(|used| !Arc::ptr_eq(used, &large)));
        let mut next = || exchanges.next(exchange(Role::Responder)).0;
        let many: Vec<_> = (0..3 * Exchanges::MAX_USED).map(|_| next()).collect();
        assert_eq!(exchanges.used.len(), Exchanges::MAX_USED);
        assert!(many.iter().all(|exchange| exchange.reason().is_none()));
    }

    #[test]
    fn stderr_is_bounded_and_harmless() {
        let exchange = exchange(Role::Responder);
        exchange.add_stderr(b"a\r\nb\x1b[");
        exchange.add_stderr(b"0123456789");
        assert_eq!(exchange.take_stderr(), b"a?\nb?[0123");
        assert_eq!(exchange.take_stderr(), b"");
    }

    #[test]
    fn a_request_is_described_in_few_harmless_characters() {
        let exchange = exchange(Role::Filter);
        assert!(!exchange.is_running());
        let target = "/\x1b[2J\n".to_owned() + &"x".repeat(1000);
        exchange.set_params(Params::from_iter([("REQUEST_METHOD", "GET"), ("REQUEST_URI", &target)]));
        let described = exchange.describe(7, exchange.begun + Duration::from_secs(2));
        assert_eq!((described.age, described.connection, described.role), (Duration::from_secs(2), 7, "filter"));
        assert_eq!((described.method, described.uri), ("GET".into(), "/\\u{1b}[2J\\n".to_owned() + &"x".repeat(194)));
        assert!(exchange.is_running() && exchange.report_once() && !exchange.report_once());
    }

    #[test]
    fn a_half_closed_peer_still_gets_its_complete_body_read_and_its_answer() {
        let exchange = exchange(Role::Responder);
        let stdin = exchange.input(Stream::Stdin);
        assert_eq!(stdin.push(b"all", Patience::None), Pushed::Seen);
        stdin.end(End::Complete);
        assert!(exchange.cancel(CancelReason::Disconnected));
        assert_eq!(stdin.next(Vec::new()).expect("readable"), Some(b"all".to_vec()));
        assert_eq!(stdin.next(Vec::new()).expect("the end"), None);
        assert!(exchange.check_writable().is_ok());
    }

    #[test]
    fn an_aborted_request_neither_reads_nor_writes() {
        let exchange = exchange(Role::Filter);
        assert_eq!(exchange.input(Stream::Data).push(b"data", Patience::None), Pushed::Seen);
        assert!(exchange.cancel(CancelReason::Aborted));
        assert!(!exchange.cancel(CancelReason::Disconnected));
        assert!(exchange.input(Stream::Stdin).next(Vec::new()).is_err());
        assert!(exchange.input(Stream::Data).next(Vec::new()).is_err());
        assert!(exchange.check_writable().is_err());
        assert_eq!(exchange.reason(), Some(CancelReason::Aborted));
    }
}
