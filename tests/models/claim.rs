//! The end of a request: whoever else is at it, one thread ends it, after it has left the map, and its permit comes back
//! once.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Instant;

use super::{check, Counter};
use crate::connection::{Connection, Context};
use crate::handler::{responder, Handlers};
use crate::metrics::Metrics;
use crate::net::Socket;
use crate::protocol::{Action, BeginRequest, Event, ProtocolStatus, RequestKey, Stream};
use crate::request::{Cancel, RequestState};
use crate::settings::Settings;

const ID: u16 = 1;

/// A connection on which a request waits for a worker.
struct Fixture {
    connection: Arc<Connection>,
    key: RequestKey,
    request: Arc<RequestState>,
    /// How often END_REQUEST could be sent.
    n_ended: Counter,
    peer: UnixStream,
}

fn begin(connection: &Connection) -> (RequestKey, Arc<RequestState>) {
    let now = Instant::now();
    let begin = BeginRequest { role: 1, keep_conn: true };
    drop(connection.receive(Event::Begin { id: ID, begin }, now).expect("the id is free"));
    let end = Event::EndOfStream { id: ID, stream: Stream::Params };
    let Ok(Action::Start(started)) = connection.receive(end, now) else { panic!("it starts") };
    (started.key, started.handle)
}

impl Fixture {
    fn new() -> Arc<Fixture> {
        let handlers = Handlers { responder: Some(responder(|_| http::Response::new(""))), ..Handlers::default() };
        let settings = Settings { workers: 1, queue: 0, ..Settings::default() };
        let context = Arc::new(Context::new(settings, handlers, Metrics::default()));
        let (ours, peer) = UnixStream::pair().expect("a pair");
        let connection = Connection::new(&context, &Arc::default(), Socket::Unix(ours), false);
        let (key, request) = begin(&connection);
        context.permits.acquire().expect("the only one").leave_to_claimant(&request);
        Arc::new(Fixture { connection, key, request, n_ended: Counter::default(), peer })
    }

    /// What a worker does.
    fn work(&self) {
        let Some(claim) = self.request.claim() else { return };
        let permit = self.connection.context.permits.of(claim);
        self.request.end();
        drop(permit);
        self.end_by(self.connection.complete(self.key));
    }

    /// What whoever ends a request does: a reader that met ABORT_REQUEST or a lost connection, or the clock.
    fn give_up(&self, cancel: Cancel) {
        self.connection.cancel(self.key, &self.request, cancel);
        self.end_by(self.connection.give_up(self.key, &self.request));
    }

    fn end_by(&self, completed: Option<crate::protocol::Completed>) {
        if let Some(completed) = completed {
            let mut records = Vec::new();
            drop(completed.end_request(&mut records, ProtocolStatus::RequestComplete, 0));
            self.n_ended.count();
        }
    }

    fn check(&self) {
        assert_eq!(self.n_ended.get(), 1, "END_REQUEST, once");
        assert!(!self.connection.has_requests(), "it has left the map");
        assert!(self.connection.context.permits.acquire().is_some(), "its permit is back");
        let _open = &self.peer;
    }
}

fn spawn(fixture: &Arc<Fixture>, run: impl FnOnce(&Fixture) + 'static) -> loom::thread::JoinHandle<()> {
    let fixture = fixture.clone();
    loom::thread::spawn(move || run(&fixture))
}

#[test]
fn a_worker_and_an_abort_end_a_request_once() {
    check(3, || {
        let fixture = Fixture::new();
        let worker = spawn(&fixture, Fixture::work);
        fixture.give_up(Cancel::Aborted);
        worker.join().expect("no panic");
        fixture.check();
    });
}

#[test]
fn a_worker_a_deadline_and_a_lost_connection_end_a_request_once() {
    check(2, || {
        let fixture = Fixture::new();
        let worker = spawn(&fixture, Fixture::work);
        let clock = spawn(&fixture, |fixture| fixture.give_up(Cancel::Deadline));
        assert!(fixture.connection.context.permits.take_back(&fixture.request));
        fixture.give_up(Cancel::Lost);
        worker.join().expect("no panic");
        clock.join().expect("no panic");
        fixture.check();
    });
}

#[test]
fn a_worker_that_is_late_touches_no_successor_with_the_same_id() {
    check(3, || {
        let fixture = Fixture::new();
        let worker = spawn(&fixture, |fixture| {
            fixture.work();
            // Whatever it does again, the id is not its own any more.
            fixture.end_by(fixture.connection.complete(fixture.key));
        });
        fixture.give_up(Cancel::Aborted);
        if !fixture.connection.has_requests() {
            let (successor, _) = begin(&fixture.connection);
            worker.join().expect("no panic");
            assert!(fixture.connection.complete(successor).is_some(), "the successor is untouched");
        } else {
            worker.join().expect("no panic");
        }
        assert_eq!(fixture.n_ended.get(), 1);
    });
}

/// The mistake: END_REQUEST is on its way before the entry is gone, and the web server uses the id again.
#[test]
#[should_panic(expected = "the id is free")]
fn sending_before_completing_is_found() {
    check(2, || {
        let fixture = Fixture::new();
        let sent = Arc::new(loom::sync::atomic::AtomicBool::new(false));
        let worker = spawn(&fixture, {
            let sent = sent.clone();
            move |fixture| {
                sent.store(true, loom::sync::atomic::Ordering::SeqCst);
                fixture.work();
            }
        });
        if sent.load(loom::sync::atomic::Ordering::SeqCst) {
            begin(&fixture.connection);
        }
        worker.join().expect("no panic");
    });
}

/// The mistake: two look whether the request waits, and both take it for theirs.
#[test]
#[should_panic(expected = "its permit is back once")]
fn looking_in_the_place_of_claiming_is_found() {
    check(2, || {
        let fixture = Fixture::new();
        let taken = Arc::new(Counter::default());
        let take = |fixture: &Fixture, taken: &Counter| {
            if fixture.request.is_waiting() {
                loom::thread::yield_now();
                fixture.request.claim().map(|claim| drop(fixture.connection.context.permits.of(claim)));
                taken.count();
            }
        };
        let worker = spawn(&fixture, {
            let taken = taken.clone();
            move |fixture| take(fixture, &taken)
        });
        take(&fixture, &taken);
        worker.join().expect("no panic");
        assert_eq!(taken.get(), 1, "its permit is back once");
    });
}
