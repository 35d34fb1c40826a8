//! The table of the demultiplexer: every pair of a state and a record type, and the life cycle of ids.

use std::time::{Duration, Instant};

use super::*;

const LIMITS: Limits = Limits {
    max_requests: 3,
    max_params: 10,
    max_connection_params: 15,
    roles: Roles { responder: true, authorizer: true, filter: true },
};

/// A demultiplexer whose handles are the generation numbers of its requests.
struct Bench {
    demux: Demux<u32>,
    now: Instant,
    n_begun: u32,
}

impl Bench {
    fn new(limits: Limits) -> Bench {
        Bench { demux: Demux::new(limits), now: Instant::now(), n_begun: 0 }
    }

    fn receive<'a>(&mut self, event: Event<'a>) -> Result<Action<'a, u32>, ProtocolError> {
        let n_begun = &mut self.n_begun;
        let next = move |_| {
            *n_begun += 1;
            *n_begun
        };
        self.demux.receive(event, self.now, next)
    }

    fn act<'a>(&mut self, event: Event<'a>) -> Action<'a, u32> {
        self.receive(event).expect("no violation")
    }

    /// Begins a request and ends its PARAMS.
    fn start(&mut self, id: RequestId, role: u16) -> RequestKey {
        assert_eq!(self.act(begin(id, role, true)), Action::Nothing);
        match self.act(end(id, Stream::Params)) {
            Action::Start(started) => started.key,
            other => panic!("not started: {other:?}"),
        }
    }
}

fn begin(id: RequestId, role: u16, keep_conn: bool) -> Event<'static> {
    Event::Begin { id, begin: BeginRequest { role, keep_conn } }
}

fn content(id: RequestId, stream: Stream, content: &[u8]) -> Event<'_> {
    Event::Content { id, stream, content }
}

fn end(id: RequestId, stream: Stream) -> Event<'static> {
    Event::EndOfStream { id, stream }
}

/// What an action amounts to, without its operands.
fn verdict(outcome: &Result<Action<'_, u32>, ProtocolError>) -> &'static str {
    match outcome {
        Err(ProtocolError::ActiveId(_)) => "violation",
        Err(_) => "other violation",
        Ok(Action::Nothing) => "nothing",
        Ok(Action::Refuse(refused)) => match refused.refusal {
            Refusal::Aborted => "end",
            Refusal::Malformed => "400",
            _ => "other refusal",
        },
        Ok(Action::Start(_)) => "start",
        Ok(Action::Content { .. }) => "content",
        Ok(Action::EndOfStream { .. }) => "end of stream",
        Ok(Action::Abort { .. }) => "abort",
    }
}

fn completed(id: RequestId, close: Option<CloseAfter>, has_others: bool) -> Completed {
    Completed { id, close, has_others }
}

fn refused(id: RequestId, refusal: Refusal, has_others: bool) -> Refused {
    completed(id, None, has_others).refused(refusal)
}

#[test]
fn every_state_has_one_outcome_for_every_record() {
    use Stream::{Data, Params, Stdin};
    type Prepare = fn(&mut Bench);
    let states: [(&str, Prepare); 8] = [
        ("never begun", |_| {}),
        ("params", |b| assert_eq!(b.act(begin(1, 1, true)), Action::Nothing)),
        ("responder input", |b| {
            b.start(1, 1);
        }),
        ("responder stdin ended", |b| {
            b.start(1, 1);
            b.act(end(1, Stdin));
        }),
        ("authorizer", |b| {
            b.start(1, 2);
        }),
        ("filter input", |b| {
            b.start(1, 3);
        }),
        ("filter stdin ended", |b| {
            b.start(1, 3);
            b.act(end(1, Stdin));
        }),
        ("ended", |b| {
            let key = b.start(1, 1);
            assert!(b.demux.complete(key).is_some());
        }),
    ];
    let events = [
        begin(1, 1, true),
        content(1, Params, b"p"),
        end(1, Params),
        content(1, Stdin, b"s"),
        end(1, Stdin),
        content(1, Data, b"d"),
        end(1, Data),
        Event::Abort { id: 1 },
    ];
    #[rustfmt::skip]
    let outcomes: [[&str; 8]; 8] = [
        // BEGIN       PARAMS     end      STDIN      end              DATA       end              ABORT
        ["nothing",   "nothing", "nothing", "nothing", "nothing",       "nothing", "nothing",       "nothing"],
        ["violation", "nothing", "start",   "400",     "400",           "400",     "400",           "end"],
        ["violation", "nothing", "nothing", "content", "end of stream", "nothing", "nothing",       "abort"],
        ["violation", "nothing", "nothing", "nothing", "nothing",       "nothing", "nothing",       "abort"],
        ["violation", "nothing", "nothing", "nothing", "nothing",       "nothing", "nothing",       "abort"],
        ["violation", "nothing", "nothing", "content", "end of stream", "content", "end of stream", "abort"],
        ["violation", "nothing", "nothing", "nothing", "nothing",       "content", "end of stream", "abort"],
        ["nothing",   "nothing", "nothing", "nothing", "nothing",       "nothing", "nothing",       "nothing"],
    ];
    for ((state, prepare), outcomes) in states.iter().zip(outcomes) {
        for (event, outcome) in events.iter().zip(outcomes) {
            let mut bench = Bench::new(LIMITS);
            prepare(&mut bench);
            assert_eq!(verdict(&bench.receive(*event)), outcome, "{state}: {event:?}");
        }
    }
}

#[test]
fn requests_beyond_the_limits_are_refused_and_not_kept() {
    let one = Limits { max_requests: 1, ..LIMITS };
    let responder = Limits { roles: Roles { responder: true, ..Roles::default() }, ..LIMITS };
    let filter = Limits { roles: Roles { filter: true, ..Roles::default() }, ..LIMITS };
    let rows: [(Limits, u16, u16, Refusal); 7] = [
        (LIMITS, 3, 1, Refusal::Overloaded),
        (one, 1, 1, Refusal::CantMultiplex),
        (LIMITS, 0, 0, Refusal::UnknownRole),
        (LIMITS, 0, 4, Refusal::UnknownRole),
        (responder, 0, 3, Refusal::UnknownRole),
        (responder, 0, 2, Refusal::UnservedAuthorizer),
        (filter, 0, 1, Refusal::UnknownRole),
    ];
    for (limits, n_active, role, refusal) in rows {
        let mut bench = Bench::new(limits);
        for id in 1..=n_active {
            bench.start(id, 1);
        }
        assert_eq!(bench.act(begin(9, role, true)), Action::Refuse(refused(9, refusal, n_active > 0)));
        assert_eq!(bench.demux.len(), usize::from(n_active));
        assert_eq!(bench.act(content(9, Stream::Stdin, b"late")), Action::Nothing);
    }
}

#[test]
fn params_over_a_limit_end_the_request_and_free_their_bytes() {
    let mut bench = Bench::new(LIMITS);
    (1..=3).for_each(|id| drop(bench.act(begin(id, 1, true))));
    assert_eq!(bench.act(content(1, Stream::Params, &[0; 10])), Action::Nothing);
    assert_eq!(
        bench.act(content(1, Stream::Params, &[0; 1])),
        Action::Refuse(refused(1, Refusal::ParamsTooLarge, true))
    );
    assert_eq!(bench.act(content(2, Stream::Params, &[0; 10])), Action::Nothing);
    assert_eq!(bench.act(content(3, Stream::Params, &[0; 6])), Action::Refuse(refused(3, Refusal::Overloaded, true)));
    assert_eq!(
        bench.act(content(2, Stream::Params, &[0; 1])),
        Action::Refuse(refused(2, Refusal::ParamsTooLarge, false))
    );
    assert_eq!((bench.demux.len(), bench.demux.params_len), (0, 0));
}

#[test]
fn params_come_whole_whatever_the_records_were() {
    let mut bench = Bench::new(LIMITS);
    bench.act(begin(5, 2, true));
    for piece in [&b"\x01"[..], b"\x01A", b"B"] {
        assert_eq!(bench.act(content(5, Stream::Params, piece)), Action::Nothing);
    }
    let Action::Start(started) = bench.act(end(5, Stream::Params)) else { panic!("not started") };
    assert_eq!((started.params.as_slice(), started.role, started.handle), (&b"\x01\x01AB"[..], Role::Authorizer, 1));
    assert_eq!(bench.demux.params_len, 0);
}

#[test]
fn a_key_ends_its_own_request_once_and_never_a_successor() {
    let mut bench = Bench::new(LIMITS);
    let first = bench.start(1, 1);
    assert_eq!(bench.demux.complete(first), Some(completed(1, None, false)));
    assert_eq!(bench.demux.complete(first), None);
    let second = bench.start(1, 1);
    assert_eq!(bench.demux.complete(first), None);
    assert_eq!(bench.demux.len(), 1);
    assert!(bench.demux.complete(second).is_some());
}

#[test]
fn the_connection_closes_behind_the_last_request_once_one_did_not_keep_it() {
    let mut bench = Bench::new(LIMITS);
    let kept = bench.start(1, 1);
    bench.act(begin(2, 1, false));
    let aborted = bench.act(Event::Abort { id: 2 });
    assert_eq!(aborted, Action::Refuse(refused(2, Refusal::Aborted, true)));
    assert_eq!(bench.demux.complete(kept), Some(completed(1, Some(CloseAfter(2)), false)));
}

#[test]
fn what_begins_on_a_closed_connection_is_too_late() {
    let mut bench = Bench::new(LIMITS);
    let key = bench.start(1, 1);
    assert_eq!(bench.demux.close_when_idle(), None);
    let last = bench.start(2, 1);
    assert_eq!(bench.demux.complete(key), Some(completed(1, None, true)));
    assert_eq!(bench.demux.complete(last), Some(completed(2, Some(CloseAfter(2)), false)));
    bench.act(begin(3, 1, true));
    assert_eq!((bench.demux.len(), bench.act(end(3, Stream::Params))), (0, Action::Nothing));
}

#[test]
fn an_answer_cut_short_ends_its_connection_by_a_reset_where_no_other_answer_is_on_its_way() {
    let mut bench = Bench::new(LIMITS);
    for id in [7, 7] {
        let key = bench.start(id, 1);
        assert!(bench.demux.complete(key).is_some());
    }
    let key = bench.start(7, 1);
    let close = |n, resets| Some(Cut::Close(Ending { close: Some(CloseAfter(n)), resets, has_others: false }));
    assert_eq!(bench.demux.complete_cut(key), close(3, true));
    assert_eq!(bench.demux.complete_cut(key), None, "it has ended");
    let mut bench = Bench::new(LIMITS);
    let (key, other) = (bench.start(1, 1), bench.start(2, 1));
    assert_eq!(bench.demux.complete_cut(key), Some(Cut::EndRequest(completed(1, None, true))));
    assert_eq!(bench.demux.complete_cut(other), close(2, false));
}

#[test]
fn overdue_params_are_refused_and_overdue_bodies_reported() {
    let mut bench = Bench::new(LIMITS);
    bench.act(begin(1, 1, true));
    bench.start(2, 1);
    bench.start(3, 2);
    let patience = Duration::from_secs(5);
    assert_eq!(bench.demux.overdue(bench.now + patience / 2, patience, patience), (vec![], vec![]));
    let (overdue, bodies) = bench.demux.overdue(bench.now + patience, patience, patience);
    assert_eq!(overdue, [refused(1, Refusal::ParamsTimedOut, true)]);
    assert_eq!(bodies, [2], "an authorizer has no body to wait for");
}

#[test]
fn a_lost_connection_forgets_what_has_no_worker() {
    let mut bench = Bench::new(LIMITS);
    bench.act(begin(1, 1, true));
    bench.act(content(1, Stream::Params, b"12345"));
    let key = bench.start(2, 1);
    bench.demux.disconnect();
    assert_eq!(bench.demux.active(), [(key, 2)]);
    assert_eq!((bench.demux.len(), bench.demux.params_len), (1, 0));
    assert_eq!(bench.demux.complete(key), Some(completed(2, Some(CloseAfter(1)), false)));
}

#[test]
fn all_input_is_there_when_nothing_but_the_end_of_the_connection_can_come() {
    let sessions: &[(&str, &[Event<'static>], bool)] = &[
        ("nothing came", &[], false),
        ("PARAMS are open", &[begin(1, 1, false)], false),
        ("STDIN is open", &[begin(1, 1, false), end(1, Stream::Params)], false),
        ("a responder", &[begin(1, 1, false), end(1, Stream::Params), end(1, Stream::Stdin)], true),
        ("it is kept", &[begin(1, 1, true), end(1, Stream::Params), end(1, Stream::Stdin)], false),
        ("an authorizer", &[begin(1, 2, false), end(1, Stream::Params)], true),
        ("DATA is open", &[begin(1, 3, false), end(1, Stream::Params), end(1, Stream::Stdin)], false),
        ("refused", &[begin(1, 9, false)], true),
        ("one of two", &[begin(1, 2, false), end(1, Stream::Params), begin(2, 2, false)], false),
    ];
    for (name, events, expected) in sessions {
        let mut bench = Bench::new(LIMITS);
        events.iter().for_each(|event| drop(bench.act(*event)));
        assert_eq!(bench.demux.has_all_input(), *expected, "{name}");
    }
}
