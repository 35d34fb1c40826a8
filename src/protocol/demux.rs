//! The demultiplexer: which requests of one connection are active, and what each event means for them.
//!
//! It is plain data. The connection keeps it behind its lock, the reader brings the events, and whoever wants to end
//! a request must present its [`RequestKey`]: an id alone says nothing, because the web server reuses it at once.
//!
//! ```text
//!   BEGIN --> Params --end of PARAMS--> Input --complete(key)--> inactive
//!               |                                                      ^
//!               +---- refused, aborted, overdue, connection lost ------+
//! ```

use std::collections::hash_map::{Entry, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::time::{Duration, Instant};

use super::outcome::{Action, CloseAfter, Completed, Cut, Ending, Refusal, Refused, RequestKey, Started};
use super::{BeginRequest, Event, ProtocolError, RequestId, Role, Stream};

/// The requests of one connection. `T` is what the runtime keeps for each of them.
#[derive(Debug)]
pub(crate) struct Demux<T> {
    requests: HashMap<RequestId, Request<T>, BuildHasherDefault<IdHasher>>,
    limits: Limits,
    next_generation: u64,
    /// The bytes of all PARAMS streams that have not ended.
    params_len: usize,
    /// The connection closes when no request is active any more.
    closing: bool,
    /// The web server sends no more.
    disconnected: bool,
    /// It is closing, and none was: what begins now is too late.
    closed: bool,
    /// The requests that have left the map or never came into it: each is being answered, or was.
    n_ended: u64,
    ids: Ids,
}

/// Which ids the connection has used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ids {
    None,
    One(RequestId),
    Several,
}

/// What one connection may ask for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) max_requests: usize,
    /// Bytes of one PARAMS stream.
    pub(crate) max_params: usize,
    /// Bytes of all PARAMS streams of the connection that have not ended.
    pub(crate) max_connection_params: usize,
    pub(crate) roles: Roles,
}

/// The roles that have a handler.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Roles {
    pub(crate) responder: bool,
    pub(crate) authorizer: bool,
    pub(crate) filter: bool,
}

#[derive(Debug)]
struct Request<T> {
    generation: u64,
    role: Role,
    keep_conn: bool,
    phase: Phase,
    handle: T,
    /// When BEGIN_REQUEST came while in `Params`, when something came last while in `Input`.
    since: Instant,
}

#[derive(Debug)]
enum Phase {
    /// Collecting the PARAMS stream.
    Params(Vec<u8>),
    /// The handler may run; these streams have not ended.
    Input { stdin: bool, data: bool },
}

impl<T: Clone> Demux<T> {
    pub(crate) fn new(limits: Limits) -> Demux<T> {
        Demux {
            requests: HashMap::default(),
            limits,
            next_generation: 0,
            params_len: 0,
            closing: false,
            disconnected: false,
            closed: false,
            n_ended: 0,
            ids: Ids::None,
        }
    }

    /// Takes in one event; `new_handle` is called when it begins a request.
    pub(crate) fn receive<'a>(
        &mut self,
        event: Event<'a>,
        now: Instant,
        new_handle: impl FnOnce(Role) -> T,
    ) -> Result<Action<'a, T>, ProtocolError> {
        Ok(match event {
            Event::Begin { id, begin } => self.begin(id, begin, now, new_handle)?,
            Event::Content { id, stream: Stream::Params, content } => self.params(id, content),
            Event::EndOfStream { id, stream: Stream::Params } => self.end_of_params(id, now),
            Event::Content { id, stream, content } => self.content(id, stream, content, now),
            Event::EndOfStream { id, stream } => self.end_of_stream(id, stream, now),
            Event::Abort { id } => self.abort(id),
            Event::Values { .. } | Event::UnknownManagement { .. } => Action::Nothing,
        })
    }

    /// Takes the request out of the map, if it is still the one that the key was made for.
    pub(crate) fn complete(&mut self, key: RequestKey) -> Option<Completed> {
        let request = self.requests.get(&key.id).filter(|request| request.generation == key.generation)?;
        let keep_conn = request.keep_conn;
        self.remove(key.id);
        Some(self.ended(key.id, keep_conn))
    }

    /// Takes a request out of the map whose response was cut short. If it is the last one, the connection closes.
    pub(crate) fn complete_cut(&mut self, key: RequestKey) -> Option<Cut> {
        let is_last = self.requests.len() == 1;
        self.closing |= is_last && self.is_active(key);
        let completed = self.complete(key)?;
        // A reset throws away what the peer's kernel does not have yet: it must not be the response of another.
        let close = |close| Cut::Close(Ending { close, resets: self.is_sequential(), has_others: false });
        Some(if is_last { close(completed.close) } else { Cut::EndRequest(completed) })
    }

    /// The connection closes as soon as no request is active any more, but not before there was one.
    pub(crate) fn close_behind_answer(&mut self) {
        self.closing = true;
    }

    /// The connection is to be closed as soon as no request is active. If none is, that is said now, and once.
    pub(crate) fn close_when_idle(&mut self) -> Option<CloseAfter> {
        self.closing = true;
        self.close()
    }

    /// Like [`close_when_idle`](Self::close_when_idle), if no request is active now; else nothing changes.
    pub(crate) fn close_if_idle(&mut self) -> Option<CloseAfter> {
        let is_idle = self.requests.is_empty();
        is_idle.then(|| self.close_when_idle()).flatten()
    }

    /// The web server sends no more: the requests without all of their PARAMS are forgotten.
    pub(crate) fn disconnect(&mut self) {
        self.closing = true;
        self.disconnected = true;
        self.params_len = 0;
        self.requests.retain(|_, request| matches!(request.phase, Phase::Input { .. }));
    }

    /// The requests whose handlers run or wait to run.
    pub(crate) fn active(&self) -> Vec<(RequestKey, T)> {
        let active = self.requests.iter().filter(|(_, request)| matches!(request.phase, Phase::Input { .. }));
        active
            .map(|(&id, request)| (RequestKey { id, generation: request.generation }, request.handle.clone()))
            .collect()
    }

    /// The requests for which the web server has let its time pass: those without all of their PARAMS are refused, of the
    /// others the handles come back because a body is overdue.
    pub(crate) fn overdue(
        &mut self,
        now: Instant,
        params_patience: Duration,
        body_patience: Duration,
    ) -> (Vec<Refused>, Vec<T>) {
        let late = |request: &Request<T>, patience| now.saturating_duration_since(request.since) >= patience;
        let (mut in_params, mut in_body) = (Vec::new(), Vec::new());
        for (&id, request) in &self.requests {
            match request.phase {
                Phase::Params(_) if late(request, params_patience) => in_params.push(id),
                Phase::Input { stdin, data } if (stdin || data) && late(request, body_patience) => {
                    in_body.push(request.handle.clone())
                }
                _ => {}
            }
        }
        (in_params.into_iter().filter_map(|id| self.refuse(id, Refusal::ParamsTimedOut)).collect(), in_body)
    }

    fn is_active(&self, key: RequestKey) -> bool {
        self.requests.get(&key.id).is_some_and(|request| request.generation == key.generation)
    }

    /// Whether all requests so far had the same id. Then the web server has seen the end of each before it began the
    /// next, and no answer but the present one can be on its way.
    fn is_sequential(&self) -> bool {
        self.ids != Ids::Several
    }

    pub(crate) fn is_disconnected(&self) -> bool {
        self.disconnected
    }

    pub(crate) fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether the web server has sent all that it has to send on this connection: it does not keep it, and no stream
    /// of a request is open.
    pub(crate) fn has_all_input(&self) -> bool {
        let is_last = || !self.awaits_input() && self.requests.values().all(|request| !request.keep_conn);
        self.closed || (!self.requests.is_empty() && is_last())
    }

    /// Whether the web server still owes input to a request.
    pub(crate) fn awaits_input(&self) -> bool {
        self.requests.values().any(|request| !matches!(request.phase, Phase::Input { stdin: false, data: false }))
    }

    fn begin(
        &mut self,
        id: RequestId,
        begin: BeginRequest,
        now: Instant,
        new_handle: impl FnOnce(Role) -> T,
    ) -> Result<Action<'static, T>, ProtocolError> {
        if self.closed {
            return Ok(Action::Nothing);
        }
        self.ids = match self.ids {
            Ids::None => Ids::One(id),
            Ids::One(only) if only == id => self.ids,
            _ => Ids::Several,
        };
        let n_requests = self.requests.len();
        let Entry::Vacant(vacant) = self.requests.entry(id) else {
            return Err(ProtocolError::ActiveId(id));
        };
        let keep_conn = begin.keep_conn;
        let role = match self.limits.admit(begin.role, n_requests) {
            Ok(role) => role,
            Err(refusal) => {
                return Ok(Action::Refuse(self.ended(id, keep_conn).refused(refusal)));
            }
        };
        let (generation, handle) = (self.next_generation, new_handle(role));
        vacant.insert(Request { generation, role, keep_conn, phase: Phase::Params(Vec::new()), handle, since: now });
        self.next_generation += 1;
        Ok(Action::Nothing)
    }

    fn params(&mut self, id: RequestId, content: &[u8]) -> Action<'static, T> {
        let Some(Request { phase: Phase::Params(params), .. }) = self.requests.get_mut(&id) else {
            return Action::Nothing;
        };
        if content.len() > self.limits.max_params - params.len() {
            return self.refusal(id, Refusal::ParamsTooLarge);
        }
        if content.len() > self.limits.max_connection_params - self.params_len {
            return self.refusal(id, Refusal::Overloaded);
        }
        params.extend_from_slice(content);
        self.params_len += content.len();
        Action::Nothing
    }

    fn end_of_params(&mut self, id: RequestId, now: Instant) -> Action<'static, T> {
        let Some(request) = self.requests.get_mut(&id) else { return Action::Nothing };
        let Phase::Params(params) = &mut request.phase else { return Action::Nothing };
        let params = std::mem::take(params);
        self.params_len -= params.len();
        request.phase = Phase::Input { stdin: request.role != Role::Authorizer, data: request.role == Role::Filter };
        request.since = now;
        let key = RequestKey { id, generation: request.generation };
        Action::Start(Started { key, role: request.role, params, handle: request.handle.clone() })
    }

    fn content<'a>(&mut self, id: RequestId, stream: Stream, content: &'a [u8], now: Instant) -> Action<'a, T> {
        match self.input(id, stream, now) {
            Input::Early => self.refusal(id, Refusal::Malformed),
            Input::Late => Action::Nothing,
            Input::Open(handle, _) => Action::Content { handle, stream, content },
        }
    }

    fn end_of_stream(&mut self, id: RequestId, stream: Stream, now: Instant) -> Action<'static, T> {
        match self.input(id, stream, now) {
            Input::Early => self.refusal(id, Refusal::Malformed),
            Input::Late => Action::Nothing,
            Input::Open(handle, open) => {
                *open = false;
                Action::EndOfStream { handle, stream }
            }
        }
    }

    /// Where the stream of a request stands. What comes for an inactive id is late: the web server goes on sending
    /// a body that was answered early.
    fn input(&mut self, id: RequestId, stream: Stream, now: Instant) -> Input<'_, T> {
        let Some(request) = self.requests.get_mut(&id) else { return Input::Late };
        request.since = now;
        let Phase::Input { stdin, data } = &mut request.phase else { return Input::Early };
        let open = if stream == Stream::Data { data } else { stdin };
        match *open {
            true => Input::Open(request.handle.clone(), open),
            false => Input::Late,
        }
    }

    fn abort(&mut self, id: RequestId) -> Action<'static, T> {
        match self.requests.get(&id) {
            None => Action::Nothing,
            Some(Request { phase: Phase::Params(_), .. }) => self.refusal(id, Refusal::Aborted),
            Some(Request { generation, handle, .. }) => {
                Action::Abort { key: RequestKey { id, generation: *generation }, handle: handle.clone() }
            }
        }
    }

    fn refusal(&mut self, id: RequestId, refusal: Refusal) -> Action<'static, T> {
        self.refuse(id, refusal).map_or(Action::Nothing, Action::Refuse)
    }

    fn refuse(&mut self, id: RequestId, refusal: Refusal) -> Option<Refused> {
        let keep_conn = self.remove(id)?.keep_conn;
        Some(self.ended(id, keep_conn).refused(refusal))
    }

    fn remove(&mut self, id: RequestId) -> Option<Request<T>> {
        let request = self.requests.remove(&id)?;
        if let Phase::Params(params) = &request.phase {
            self.params_len -= params.len();
        }
        Some(request)
    }

    /// A request is not active any more, and will be answered.
    fn ended(&mut self, id: RequestId, keep_conn: bool) -> Completed {
        self.n_ended += 1;
        self.closing |= !keep_conn;
        Completed { id, close: self.close(), has_others: !self.requests.is_empty() }
    }

    fn close(&mut self) -> Option<CloseAfter> {
        let closes = self.closing && !self.closed && self.requests.is_empty();
        self.closed |= closes;
        closes.then_some(CloseAfter(self.n_ended))
    }
}

/// Where a stream of a request stands.
enum Input<'a, T> {
    /// The PARAMS have not ended.
    Early,
    /// The handle, and the flag that says that the stream is open.
    Open(T, &'a mut bool),
    /// It has ended, or never was one of this request.
    Late,
}

impl Limits {
    fn admit(&self, role: u16, n_requests: usize) -> Result<Role, Refusal> {
        let role = Role::from_number(role).ok_or(Refusal::UnknownRole)?;
        self.roles.check(role)?;
        match n_requests < self.max_requests {
            true => Ok(role),
            false if self.max_requests == 1 => Err(Refusal::CantMultiplex),
            false => Err(Refusal::Overloaded),
        }
    }
}

impl Roles {
    fn check(self, role: Role) -> Result<(), Refusal> {
        match role {
            Role::Responder if !self.responder => Err(Refusal::UnknownRole),
            Role::Authorizer if !self.authorizer => Err(Refusal::UnservedAuthorizer),
            Role::Filter if !self.filter => Err(Refusal::UnknownRole),
            _ => Ok(()),
        }
    }
}

/// Spreads request ids by one multiplication: at most `max_requests` of them are in the map, so that nobody gains
/// by choosing them, and the default hasher costs more than the look-up.
#[derive(Clone, Debug, Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u16(u16::from(byte)));
    }

    fn write_u16(&mut self, id: u16) {
        self.0 = (self.0 ^ u64::from(id)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
#[path = "demux_tests.rs"]
mod tests;
