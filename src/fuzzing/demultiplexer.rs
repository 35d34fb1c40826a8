//! The invariant of the demultiplexer, and the model that it is compared with.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::protocol::{
    Action, BeginRequest, CloseAfter, Demux, Event, Limits, ProtocolError, Refusal, RequestId, RequestKey, Role, Roles,
    Started, Stream,
};

const MAX_PARAMS: usize = 40;
const MAX_CONNECTION_PARAMS: usize = 60;
const PATIENCE: Duration = Duration::from_millis(100);

/// Whatever comes from both sides in whatever order: each accepted BEGIN_REQUEST has exactly one end, a key ends
/// no successor, PARAMS stay within their limits, and closing is said at most once, when nothing is active.
pub fn demultiplexer(script: &[u8]) {
    let mut script = Script(script);
    let mut bench = Bench::new(script.byte().unwrap_or_default());
    while let (Some(step), Some(operand)) = (script.byte(), script.byte()) {
        bench.step(step, operand, &mut script);
        assert_eq!(bench.demux.len(), bench.active.len());
    }
    bench.finish();
}

/// The bytes that say what happens.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn byte(&mut self) -> Option<u8> {
        self.bytes(1).first().copied()
    }

    fn bytes(&mut self, most: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        bytes
    }
}

/// A demultiplexer and what it should know. A request's handle is its number among all that began.
struct Bench {
    demux: Demux<usize>,
    limits: Limits,
    now: Instant,
    active: HashMap<RequestId, Active>,
    /// All that were ever given out, and whose they are.
    keys: Vec<(RequestKey, usize)>,
    n_begun: usize,
    n_answered: u64,
    closing: bool,
    closed: bool,
    connected: bool,
}

struct Active {
    number: usize,
    role: Role,
    keep_conn: bool,
    /// `Some` until they end.
    params: Option<Vec<u8>>,
    stdin: bool,
    data: bool,
    since: Instant,
}

impl Bench {
    fn new(setup: u8) -> Bench {
        let roles = Roles { responder: true, authorizer: setup & 4 == 0, filter: setup & 8 == 0 };
        let refusing = setup & 0xf0 == 0xf0;
        let max_requests = if refusing { 0 } else { 1 + usize::from(setup & 3) };
        let limits =
            Limits { max_requests, max_params: MAX_PARAMS, max_connection_params: MAX_CONNECTION_PARAMS, roles };
        let mut demux = Demux::new(limits);
        if refusing {
            demux.close_behind_answer();
        }
        Bench {
            demux,
            limits,
            now: Instant::now(),
            active: HashMap::new(),
            keys: Vec::new(),
            n_begun: 0,
            n_answered: 0,
            closing: refusing,
            closed: false,
            connected: true,
        }
    }

    fn step(&mut self, step: u8, operand: u8, script: &mut Script<'_>) {
        let id = 1 + RequestId::from(step >> 4 & 3);
        let mut content = || script.bytes(usize::from(operand % 32));
        match step & 15 {
            0..=7 | 12 | 13 if !self.connected => {}
            // A violation ends the connection: a rare one leaves more to happen.
            0 if self.active.contains_key(&id) && operand < 240 => {}
            0 => self.begin(id, 1 + u16::from(operand % 4), operand < 220),
            1 => self.params(id, content()),
            2 | 12 => self.end_of_params(id),
            3 => self.content(id, Stream::Stdin, content()),
            4 | 13 => self.end_of_stream(id, Stream::Stdin),
            5 => self.content(id, Stream::Data, content()),
            6 => self.end_of_stream(id, Stream::Data),
            7 => self.abort(id),
            8 => self.values(content()),
            9 => self.overdue(Duration::from_millis(operand.into())),
            10 if operand < 8 => self.close_when_idle(),
            11 if operand < 8 => self.disconnect(),
            _ => self.complete(usize::from(operand) % self.keys.len().max(1)),
        }
    }

    fn receive<'a>(&mut self, event: Event<'a>) -> Action<'a, usize> {
        let begun = |_| panic!("{} began a request", event.describe());
        self.demux.receive(event, self.now, begun).expect("no violation")
    }

    fn begin(&mut self, id: RequestId, role: u16, keep_conn: bool) {
        let (number, mut begun) = (self.n_begun, None);
        let event = Event::Begin { id, begin: BeginRequest { role, keep_conn } };
        let handle = |role| {
            begun = Some(role);
            number
        };
        let outcome = self.demux.receive(event, self.now, handle);
        match outcome {
            _ if self.closed => assert_eq!((outcome, begun), (Ok(Action::Nothing), None)),
            _ if self.active.contains_key(&id) => {
                assert_eq!((outcome, begun), (Err(ProtocolError::ActiveId(id)), None));
                self.disconnect();
            }
            Ok(Action::Nothing) => {
                let role = begun.expect("a request begins");
                assert!(self.is_admitted(role), "{role:?} beyond the limits");
                let (params, since) = (Some(Vec::new()), self.now);
                let request = Active { number, role, keep_conn, params, stdin: false, data: false, since };
                self.active.insert(id, request);
                self.n_begun += 1;
            }
            Ok(Action::Refuse(refused)) => {
                assert_eq!((begun, refused.id()), (None, id));
                assert!(!Role::from_number(role).is_some_and(|role| self.is_admitted(role)), "{refused:?}");
                self.check_answered(keep_conn, refused.close());
            }
            other => panic!("BEGIN_REQUEST made {other:?}"),
        }
    }

    fn is_admitted(&self, role: Role) -> bool {
        let Roles { authorizer, filter, .. } = self.limits.roles;
        let served = matches!(
            (role, authorizer, filter),
            (Role::Responder, ..) | (Role::Authorizer, true, _) | (Role::Filter, _, true)
        );
        served && self.active.len() < self.limits.max_requests
    }

    fn params(&mut self, id: RequestId, content: &[u8]) {
        if content.is_empty() {
            return;
        }
        let action = self.receive(Event::Content { id, stream: Stream::Params, content });
        let connection_len = self.params_len() + content.len();
        let Some(params) = self.active.get_mut(&id).and_then(|request| request.params.as_mut()) else {
            return assert_eq!(action, Action::Nothing);
        };
        if params.len() + content.len() > MAX_PARAMS {
            self.check_refused(action, id, Refusal::ParamsTooLarge);
        } else if connection_len > MAX_CONNECTION_PARAMS {
            self.check_refused(action, id, Refusal::Overloaded);
        } else {
            params.extend_from_slice(content);
            assert_eq!(action, Action::Nothing);
        }
    }

    fn params_len(&self) -> usize {
        self.active.values().flat_map(|request| &request.params).map(Vec::len).sum()
    }

    fn end_of_params(&mut self, id: RequestId) {
        let action = self.receive(Event::EndOfStream { id, stream: Stream::Params });
        let Some(request) = self.active.get_mut(&id) else { return assert_eq!(action, Action::Nothing) };
        let Some(expected) = request.params.take() else { return assert_eq!(action, Action::Nothing) };
        request.stdin = request.role != Role::Authorizer;
        request.data = request.role == Role::Filter;
        request.since = self.now;
        let Action::Start(Started { key, role, params, handle }) = action else { panic!("not started: {action:?}") };
        assert_eq!((key.id, role, params, handle), (id, request.role, expected, request.number));
        self.keys.push((key, handle));
    }

    fn content(&mut self, id: RequestId, stream: Stream, content: &[u8]) {
        if content.is_empty() {
            return;
        }
        let action = self.receive(Event::Content { id, stream, content });
        match self.input(id, stream) {
            Err(Early) => self.check_refused(action, id, Refusal::Malformed),
            Ok(None) => assert_eq!(action, Action::Nothing),
            Ok(Some((handle, _))) => assert_eq!(action, Action::Content { handle, stream, content }),
        }
    }

    fn end_of_stream(&mut self, id: RequestId, stream: Stream) {
        let action = self.receive(Event::EndOfStream { id, stream });
        match self.input(id, stream) {
            Err(Early) => self.check_refused(action, id, Refusal::Malformed),
            Ok(None) => assert_eq!(action, Action::Nothing),
            Ok(Some((handle, open))) => {
                *open = false;
                assert_eq!(action, Action::EndOfStream { handle, stream });
            }
        }
    }

    /// The request that a stream belongs to, and the flag that says that the stream is open.
    fn input(&mut self, id: RequestId, stream: Stream) -> Result<Option<(usize, &mut bool)>, Early> {
        let Some(request) = self.active.get_mut(&id) else { return Ok(None) };
        if request.params.is_some() {
            return Err(Early);
        }
        request.since = self.now;
        let open = if stream == Stream::Stdin { &mut request.stdin } else { &mut request.data };
        Ok(open.then_some((request.number, open)))
    }

    fn abort(&mut self, id: RequestId) {
        let action = self.receive(Event::Abort { id });
        match self.active.get(&id) {
            None => assert_eq!(action, Action::Nothing),
            Some(Active { params: Some(_), .. }) => self.check_refused(action, id, Refusal::Aborted),
            Some(request) => {
                let Action::Abort { key, handle } = action else { panic!("not aborted: {action:?}") };
                assert_eq!(handle, request.number);
                assert!(self.keys.contains(&(key, handle)));
            }
        }
    }

    fn values(&mut self, content: &[u8]) {
        assert_eq!(self.receive(Event::Values { content, last: true }), Action::Nothing);
    }

    fn overdue(&mut self, passed: Duration) {
        self.now += passed;
        let (refused, mut bodies) = self.demux.overdue(self.now, PATIENCE, PATIENCE);
        let late: Vec<_> = self.active.iter().filter(|(_, request)| self.now - request.since >= PATIENCE).collect();
        let mut late_bodies: Vec<_> = late
            .iter()
            .filter(|(_, request)| request.stdin || request.data)
            .map(|(_, request)| request.number)
            .collect();
        bodies.sort_unstable();
        late_bodies.sort_unstable();
        assert_eq!(bodies, late_bodies);
        assert_eq!(refused.len(), late.iter().filter(|(_, request)| request.params.is_some()).count());
        for refused in refused {
            let request = self.active.get(&refused.id()).expect("an active request");
            assert!(request.params.is_some() && self.now - request.since >= PATIENCE);
            let id = refused.id();
            self.check_refused(Action::Refuse(refused), id, Refusal::ParamsTimedOut);
        }
    }

    fn close_when_idle(&mut self) {
        self.closing = true;
        let close = self.demux.close_when_idle();
        self.check_close(close);
    }

    /// The peer is gone, or broke the protocol: no events come any more.
    fn disconnect(&mut self) {
        self.demux.disconnect();
        self.active.retain(|_, request| request.params.is_none());
        (self.closing, self.connected) = (true, false);
        let mut left: Vec<_> = self.demux.active().into_iter().map(|(key, handle)| (key.id, handle)).collect();
        let mut expected: Vec<_> = self.active.iter().map(|(id, request)| (*id, request.number)).collect();
        left.sort_unstable();
        expected.sort_unstable();
        assert_eq!(left, expected);
    }

    /// A worker presents a key, perhaps of a request that has ended long since.
    fn complete(&mut self, n: usize) {
        let Some(&(key, number)) = self.keys.get(n) else { return };
        let completed = self.demux.complete(key);
        match self.active.get(&key.id).filter(|request| request.number == number) {
            None => assert_eq!(completed, None, "{key:?} ended another request"),
            Some(request) => {
                let keep_conn = request.keep_conn;
                self.active.remove(&key.id);
                let completed = completed.expect("an active request ends");
                assert_eq!(completed.id(), key.id);
                self.check_answered(keep_conn, completed.close());
            }
        }
    }

    /// The connection goes, then the workers come to their ends, and all of it once more.
    fn finish(mut self) {
        self.disconnect();
        for _ in 0..2 {
            (0..self.keys.len()).for_each(|n| self.complete(n));
            self.close_when_idle();
            assert_eq!((self.demux.len(), self.active.len()), (0, 0));
            assert!(self.closed, "closing was never said");
        }
    }

    fn check_refused(&mut self, action: Action<'_, usize>, id: RequestId, refusal: Refusal) {
        let request = self.active.remove(&id).expect("an active request");
        let Action::Refuse(refused) = action else { panic!("request {id} was not refused: {action:?}") };
        assert_eq!((refused.id(), refused.refusal()), (id, refusal));
        self.check_answered(request.keep_conn, refused.close());
    }

    /// A request left `active`, or never came into it.
    fn check_answered(&mut self, keep_conn: bool, close: Option<CloseAfter>) {
        self.n_answered += 1;
        self.closing |= !keep_conn;
        self.check_close(close);
    }

    fn check_close(&mut self, close: Option<CloseAfter>) {
        let is_due = self.closing && !self.closed && self.active.is_empty();
        self.closed |= is_due;
        assert_eq!(close, is_due.then_some(CloseAfter(self.n_answered)));
    }
}

/// STDIN or DATA came before the end of PARAMS.
struct Early;
