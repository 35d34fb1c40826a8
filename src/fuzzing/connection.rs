//! The invariant of a whole connection: a server with all three roles, and a peer that sends it anything.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use http::{Request, Response, StatusCode};
use parking_lot::Mutex;

use super::output::{self, Output};
use super::pieces;
use super::reference::{self, Meaning, Seen};
use crate::connection::Connection;
use crate::handler::{self, AppStatus, Body, BoxError, Decision, FilterData, Handlers, RequestExt, SendBody};
use crate::metrics::Metrics;
use crate::net::Socket;
use crate::protocol::{RequestId, Stream};
use crate::runtime::{read_on_a_thread, run_clock, Reader, State};
use crate::settings::Settings;

/// How long the end of a connection may take, and all that comes before it.
const PATIENCE: Duration = Duration::from_secs(10);

/// The deadlines of a server whose peer stays. Those of the others never come, so that nothing hides behind them.
const SHORT: Duration = Duration::from_millis(20);
const NEVER: Duration = Duration::from_secs(3600);

/// What is sent at most: so much always fits into the buffers of socket and server, so that the peer may send all
/// before it reads.
const MAX_SESSION_LEN: usize = 8 << 10;

const MAX_BODY: u64 = 2 << 10;

/// A slow peer's bite: far less than the smallest buffer that a kernel has.
const SLOW_READ_LEN: usize = 300;

/// Whatever a web server sends: the records that come back are well-formed and under ids that it began, each
/// BEGIN_REQUEST has at most one END_REQUEST and nothing behind it, and the connection ends in bounded time. Where
/// the session is a good one, every request and every query has its answer.
///
/// The first byte of `input` chooses the server and whether the peer keeps its sending side open, so that the
/// connection must end by the server's deadlines; the others are sent.
pub fn connection(input: &[u8]) {
    let Some((&setup, session)) = input.split_first() else { return };
    let setup = Setup(setup);
    let session = &session[..session.len().min(MAX_SESSION_LEN)];
    // The servers are shared, and their counters are looked at.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock();
    let server = &servers()[setup.server()];
    let received = exchange(server, session, setup);
    check(session, setup, &received);
    assert!(server.connections.wait_until_empty(Instant::now() + PATIENCE), "the server keeps the connection");
    let counters = server.context.metrics.snapshot();
    assert_eq!((counters.active_requests, counters.open_connections), (0, 0));
}

#[derive(Clone, Copy)]
struct Setup(u8);

impl Setup {
    fn ends_all_requests(self) -> bool {
        self.0 & 1 != 0
    }

    fn multiplexes(self) -> bool {
        self.0 & 2 == 0
    }

    /// Rare, because it takes as long as the deadlines.
    fn stays_open(self) -> bool {
        self.0 >= 0xf8
    }

    /// Bodies have no memory but the spool.
    fn has_small_buffers(self) -> bool {
        self.0 & 4 != 0
    }

    /// The peer takes what it is sent a little at a time.
    fn reads_slowly(self) -> bool {
        self.0 & 8 != 0
    }

    fn server(self) -> usize {
        usize::from(self.0 & 7) + if self.stays_open() { 8 } else { 0 }
    }
}

/// What the peer received.
struct Received {
    bytes: Vec<u8>,
    /// All was sent, and the connection ended without an error.
    in_peace: bool,
}

fn exchange(server: &Arc<State>, session: &[u8], setup: Setup) -> Received {
    let (ours, mut peer) = UnixStream::pair().expect("a pair of sockets");
    if setup.reads_slowly() {
        // The kernel makes of it the least that it allows.
        rustix::net::sockopt::set_socket_send_buffer_size(&ours, 1).expect("a smaller buffer");
    }
    let connection = Connection::new(&server.context, &server.connections, Socket::Unix(ours), false);
    read_on_a_thread(server, Reader::new(server, connection));
    peer.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    peer.set_write_timeout(Some(PATIENCE)).expect("a time-out");
    let sent = send(&mut peer, session);
    if !setup.stays_open() {
        // Fails when the server has gone already.
        let _: io::Result<()> = peer.shutdown(Shutdown::Write);
    }
    let mut bytes = Vec::new();
    let read = receive(&mut peer, &mut bytes, if setup.reads_slowly() { SLOW_READ_LEN } else { usize::MAX });
    let hangs = |outcome: &io::Result<()>| outcome.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock);
    assert!(!hangs(&sent) && !hangs(&read), "the connection hangs");
    Received { bytes, in_peace: sent.is_ok() && read.is_ok() }
}

/// Reads to the end, at most `most` bytes at a time.
fn receive(peer: &mut UnixStream, bytes: &mut Vec<u8>, most: usize) -> io::Result<()> {
    let mut buffer = vec![0; most.min(64 << 10)];
    loop {
        match peer.read(&mut buffer)? {
            0 => return Ok(()),
            len => bytes.extend_from_slice(&buffer[..len]),
        }
    }
}

fn send(peer: &mut UnixStream, session: &[u8]) -> io::Result<()> {
    for piece in pieces(session) {
        peer.write_all(piece)?;
        if piece.len() % 2 == 0 {
            thread::yield_now();
        }
    }
    Ok(())
}

fn check(session: &[u8], setup: Setup, received: &Received) {
    let meaning = reference::meaning(session);
    let output = output::check(&received.bytes);
    let begun = n_begun(&meaning);
    for (id, answers) in &output.answers {
        assert!(answers.n_begun() <= begun.get(id).copied().unwrap_or_default(), "too many answers under {id}");
    }
    // A second BEGIN_REQUEST is a violation if it comes before the answer to the first, and who goes on sending when
    // nothing is wanted may lose the connection.
    let is_valid = meaning.error.is_none() && begun.values().all(|&n| n == 1) && !setup.stays_open();
    if is_valid && session.len() as u64 <= MAX_BODY {
        assert!(received.in_peace && !output.is_cut, "the connection ended in the middle of something");
    }
    if is_valid && keeps_the_connection(&meaning) && setup.ends_all_requests() {
        check_all_answered(&meaning, &output);
    }
}

fn n_begun(meaning: &Meaning) -> HashMap<RequestId, usize> {
    let mut begun = HashMap::new();
    for event in &meaning.seen {
        if let Seen::Begin { id, .. } = event {
            *begun.entry(*id).or_default() += 1;
        }
    }
    begun
}

fn keeps_the_connection(meaning: &Meaning) -> bool {
    meaning.seen.iter().all(|event| !matches!(event, Seen::Begin { begin, .. } if !begin.keep_conn))
}

/// Each request whose PARAMS ended has its END_REQUEST, and each management record its reply.
fn check_all_answered(meaning: &Meaning, output: &Output) {
    let mut begun = Vec::new();
    let (mut n_queries, mut n_unknown) = (0, 0);
    for event in &meaning.seen {
        match event {
            Seen::Begin { id, .. } => begun.push(id),
            Seen::EndOfStream { id, stream: Stream::Params } if begun.contains(&id) => {
                assert_eq!(output.answers.get(id).map(|answers| answers.n_ended), Some(1), "request {id}");
            }
            Seen::Values { last: true, .. } => n_queries += 1,
            Seen::UnknownManagement { .. } => n_unknown += 1,
            _ => {}
        }
    }
    assert_eq!((output.n_values_results, output.n_unknown_types), (n_queries, n_unknown));
}

/// One server for each setup.
fn servers() -> &'static [Arc<State>] {
    static SERVERS: OnceLock<Vec<Arc<State>>> = OnceLock::new();
    SERVERS.get_or_init(|| {
        watch_the_log();
        (0..8).chain(0xf8..=0xff).map(|setup| start(Setup(setup))).collect()
    })
}

fn start(setup: Setup) -> Arc<State> {
    let handlers = Handlers {
        responder: Some(handler::responder(respond)),
        authorizer: Some(handler::authorizer(authorize)),
        filter: Some(handler::filter(filter)),
    };
    let server = State::start(settings(setup), handlers, Metrics::default());
    let ticking = server.clone();
    thread::spawn(move || run_clock(&ticking));
    server
}

fn settings(setup: Setup) -> Settings {
    let deadline = if setup.stays_open() { SHORT } else { NEVER };
    Settings {
        workers: 3,
        queue: 2,
        max_connections: 8,
        max_requests: if setup.multiplexes() { 6 } else { 1 },
        max_params: 1 << 10,
        max_body: MAX_BODY,
        max_head: 512,
        max_stderr: 64,
        body_buffer: if setup.has_small_buffers() { 0 } else { 256 },
        read_timeout: deadline,
        write_timeout: NEVER,
        idle_timeout: deadline,
        request_timeout: Some(2 * deadline),
        always_end_requests: setup.ends_all_requests(),
        ..Settings::default()
    }
}

/// The path chooses what is done, well or badly.
fn respond(request: Request<Body>) -> Result<Response<SendBody>, BoxError> {
    let path = request.uri().path().to_owned();
    if let Ok(status) = StatusCode::from_bytes(path.trim_start_matches('/').as_bytes()) {
        return Ok(answer(status, "a status".into()));
    }
    match path.as_str() {
        "/fail" => Err("as told".into()),
        "/large" => Ok(Response::new(vec![b'x'; 150_000].into())),
        "/reader" => Ok(Response::new(SendBody::reader(request.into_body()))),
        "/short" => Ok(declaring("1000", "short".into())),
        "/long" => Ok(declaring("1", "long".into())),
        "/stream" => Ok(declaring("40", stream(request.into_body()))),
        "/unread" => Ok(Response::new("unread".into())),
        "/wait" => Ok(Response::new(format!("{:?}", request.cancellation().wait(SHORT / 4)).into())),
        _ => echo(request),
    }
}

fn answer(status: StatusCode, body: SendBody) -> Response<SendBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

fn declaring(len: &'static str, body: SendBody) -> Response<SendBody> {
    let mut response = Response::new(body);
    response.headers_mut().insert("content-length", http::HeaderValue::from_static(len));
    response
}

/// Sends what comes, as it comes.
fn stream(mut body: Body) -> SendBody {
    SendBody::writer(move |out| {
        let mut piece = [0; 100];
        loop {
            match body.read(&mut piece)? {
                0 => return Ok(()),
                len => out.write_all(&piece[..len])?,
            }
            out.flush()?;
        }
    })
}

fn echo(request: Request<Body>) -> Result<Response<SendBody>, BoxError> {
    write!(request.stderr(), "{:?}", request.params())?;
    let (parts, mut body) = request.into_parts();
    let mut content = Vec::new();
    body.read_to_end(&mut content)?;
    let mut response = Response::new(SendBody::from(content));
    *response.headers_mut() = parts.headers;
    response.extensions_mut().insert(AppStatus(7));
    Ok(response)
}

fn authorize(request: Request<()>) -> Decision {
    let name = request.uri().path().trim_start_matches('/').to_owned();
    match request.headers().get("authorization").map(|value| String::from_utf8_lossy(value.as_bytes())) {
        Some(value) => Decision::allow().variable(name, value),
        None => Decision::deny(echo(request.map(Body::from))),
    }
}

fn filter(request: Request<Body>, mut data: FilterData) -> Result<Response<SendBody>, BoxError> {
    let mut content = Vec::new();
    data.read_to_end(&mut content)?;
    content.make_ascii_uppercase();
    request.into_body().read_to_end(&mut content)?;
    Ok(Response::new(content.into()))
}

/// Formats all that is logged, which could fail too.
fn watch_the_log() {
    struct Sink;

    impl log::Log for Sink {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }

        fn log(&self, record: &log::Record<'_>) {
            let line = record.args().to_string();
            assert!(!line.contains(['\n', '\r', '\0']), "a log line is forged: {line:?}");
        }

        fn flush(&self) {}
    }

    // In tests another may be there already.
    if log::set_logger(&Sink).is_ok() {
        log::set_max_level(log::LevelFilter::Trace);
    }
}
