//! The reference for one connection: which ids are active, what may be sent, and what may come.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use super::errand::Errand;
use super::request::{Cancelled, Overload, Owed, Request, Unsent};
use super::wire::Wire;
use super::Rules;
use crate::demo::PATIENCE;
use crate::peer::answer::assert_well_formed;
use crate::peer::record::{self, Record};
use crate::random::Random;

/// Names the application knows and names it does not.
const QUESTION: [&str; 3] = ["FCGI_MAX_REQS", "FCGI_MPXS_CONNS", "NONE_SUCH"];

/// The web server's end of a connection.
pub(super) struct Connection {
    wire: Wire,
    rules: Rules,
    /// What is to be sent with the next write.
    outgoing: Vec<u8>,
    received: Vec<u8>,
    /// Those whose END_REQUEST has not been read.
    active: BTreeMap<u16, Request>,
    /// What had not been sent for requests that ended.
    late: BTreeMap<u16, VecDeque<Unsent>>,
    ids: Vec<u16>,
    /// The ids that requests began with.
    used: BTreeSet<u16>,
    /// The types of the management records that have no answer.
    questions: VecDeque<u8>,
    /// A request without KEEP_CONN was sent.
    closing: bool,
    /// The application has closed its sending side.
    pub(super) ended: bool,
}

impl Connection {
    pub(super) fn open(address: &str, rules: Rules, random: &mut Random) -> Connection {
        let n_ids = 1 + random.below(9);
        let ids = (0..n_ids).map(|n| *random.pick(&[1, 2, 3, 255, 256, 65_535]) ^ (n as u16) << 4).collect();
        Connection {
            wire: Wire::connect(address),
            rules,
            outgoing: Vec::new(),
            received: Vec::new(),
            active: BTreeMap::new(),
            late: BTreeMap::new(),
            ids,
            used: BTreeSet::new(),
            questions: VecDeque::new(),
            closing: false,
            ended: false,
        }
    }

    /// Does something that a web server may do.
    pub(super) fn step(&mut self, random: &mut Random, token: u32) {
        match random.below(100) {
            0..=15 => self.begin(random, token),
            16..=62 => self.go_on(random),
            63..=64 => self.abort(random),
            65..=70 => self.send_late(random),
            71..=74 => self.ask(random),
            75..=79 => self.flush_in_pieces(random),
            80..=85 => self.flush(),
            86..=90 => self.read(Duration::ZERO),
            _ => self.reuse_at_once(random, token),
        }
    }

    /// Sends the rest, and aborts what would not end.
    pub(super) fn send_rest(&mut self, random: &mut Random) {
        while self.active.values().any(|request| !request.is_sent()) {
            self.go_on(random);
        }
        self.abort_endless();
        self.flush();
    }

    /// Reads until nothing is active, and ends the connection.
    pub(super) fn finish(&mut self, random: &mut Random) {
        if self.wire.is_half_closed() {
            return self.read_until("the connection has ended", |connection| connection.ended);
        }
        self.read_until("all requests have ended", |connection| connection.active.is_empty());
        if !self.closing {
            self.ask(random);
            self.flush();
            self.read_until("all questions are answered", |connection| connection.questions.is_empty());
            self.wire.half_close();
        }
        self.read_until("the connection has ended", |connection| connection.ended);
    }

    /// Sends no more; what is owed still comes.
    pub(super) fn half_close(&mut self) {
        self.abort_endless();
        self.flush();
        self.wire.half_close();
        self.active.retain(|_, request| request.owed() != Owed::Nothing);
        self.active.values_mut().for_each(|request| request.cancel(Cancelled::HalfClosed));
    }

    // Sending.

    fn begin(&mut self, random: &mut Random, token: u32) {
        let id = *random.pick(&self.ids);
        self.begin_with(id, random, token);
    }

    /// Begins a request in the instant in which its id is free again.
    fn reuse_at_once(&mut self, random: &mut Random, token: u32) {
        self.flush();
        let ending = self.active.iter().filter(|(_, request)| request.is_sent() && !request.is_pinned());
        let ids: Vec<u16> = ending.map(|(&id, _)| id).collect();
        if ids.is_empty() || !self.may_send() {
            return self.read(Duration::from_millis(1));
        }
        let id = *random.pick(&ids);
        let successor = self.request(id, random, token);
        self.read(Duration::from_millis(3));
        if !self.active.contains_key(&id) && self.may_send() {
            self.add(id, successor);
            self.flush();
        }
    }

    fn begin_with(&mut self, id: u16, random: &mut Random, token: u32) {
        if self.active.contains_key(&id) || !self.may_send() {
            return;
        }
        let request = self.request(id, random, token);
        self.add(id, request);
    }

    fn request(&self, id: u16, random: &mut Random, token: u32) -> Request {
        let errand = Errand::draw(random, token);
        Request::new(id, errand, random.percent(95), self.overload(), random)
    }

    fn add(&mut self, id: u16, mut request: Request) {
        self.closing |= !request.keep_conn;
        let begin = request.next_record().expect("it is the first record");
        self.outgoing.extend_from_slice(&begin.bytes);
        self.late.remove(&id);
        self.used.insert(id);
        self.active.insert(id, request);
    }

    fn overload(&self) -> Overload {
        let n_pinned = self.active.values().filter(|request| request.is_pinned()).count();
        match self.rules.max_requests {
            limit if n_pinned >= limit => Overload::Certain,
            limit if self.active.len() >= limit || self.rules.is_crowded => Overload::Possible,
            _ => Overload::Impossible,
        }
    }

    /// A connection that closes may be closed already, unless a request holds it open.
    fn may_send(&self) -> bool {
        !self.ended && (!self.closing || self.active.values().any(Request::is_pinned))
    }

    /// Sends the next record of some request.
    fn go_on(&mut self, random: &mut Random) {
        let mut unfinished: Vec<_> = self.active.values_mut().filter(|request| !request.is_sent()).collect();
        if unfinished.is_empty() {
            return self.read(Duration::from_millis(1));
        }
        let chosen = random.below(unfinished.len());
        let record = unfinished[chosen].next_record();
        self.outgoing.extend(record.into_iter().flat_map(|record| record.bytes));
    }

    fn abort(&mut self, random: &mut Random) {
        let active: Vec<u16> = self.active.keys().copied().collect();
        if !active.is_empty() {
            self.abort_request(*random.pick(&active));
        }
    }

    fn abort_endless(&mut self) {
        let is_endless = |request: &Request| request.is_endless() && !request.is_cancelled();
        let endless = self.active.iter().filter(|(_, request)| is_endless(request));
        let ids: Vec<u16> = endless.map(|(&id, _)| id).collect();
        ids.into_iter().for_each(|id| self.abort_request(id));
    }

    fn abort_request(&mut self, id: u16) {
        self.outgoing.extend(record::abort(id));
        self.active.get_mut(&id).expect("it is active").cancel(Cancelled::Aborted);
    }

    /// Sends something for an inactive id, which must be ignored.
    fn send_late(&mut self, random: &mut Random) {
        let id = *random.pick(&self.ids);
        if self.ended || self.active.contains_key(&id) {
            return;
        }
        let rest = self.late.entry(id).or_default().pop_front();
        let bytes = rest.map(|record| record.bytes).unwrap_or_else(|| match random.below(4) {
            0 => record::abort(id),
            1 => record::end_of_stream(record::PARAMS, id),
            2 => record::end_of_stream(record::STDIN, id),
            _ => record::padded(record::STDIN, id, b"late", 4),
        });
        self.outgoing.extend(bytes);
    }

    fn ask(&mut self, random: &mut Random) {
        if !self.may_send() {
            return;
        }
        match random.percent(70) {
            true => self.outgoing.extend(record::get_values(&QUESTION)),
            false => self.outgoing.extend(record::record(99, 0, b"?")),
        }
        self.questions.push_back(if self.outgoing.ends_with(b"?") {
            record::UNKNOWN_TYPE
        } else {
            record::GET_VALUES_RESULT
        });
    }

    fn flush(&mut self) {
        let bytes = std::mem::take(&mut self.outgoing);
        self.send(&bytes);
    }

    fn flush_in_pieces(&mut self, random: &mut Random) {
        let bytes = std::mem::take(&mut self.outgoing);
        let longest = 1 + bytes.len() / (1 + random.below(20));
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at((1 + random.below(longest)).min(rest.len()));
            self.send(piece);
            rest = behind;
        }
    }

    /// The application takes what is sent to the end, even when it has closed its own side.
    fn send(&mut self, bytes: &[u8]) {
        if !self.ended {
            self.wire.send(bytes).expect("the application takes what is sent");
        }
    }

    // Reading.

    fn read_until(&mut self, what: &str, mut is_so: impl FnMut(&Connection) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self) {
            assert!(Instant::now() < deadline, "waited in vain until {what}; active: {:?}", self.active);
            self.read(Duration::from_millis(100));
        }
    }

    /// Reads what comes in this time.
    fn read(&mut self, time: Duration) {
        if self.ended || !self.wire.is_readable(time) {
            return;
        }
        let n_read = self.wire.read(&mut self.received);
        while let Some(record) = Record::take_from(&mut self.received) {
            assert_well_formed(&record);
            match record.id {
                0 => self.take_answer(&record),
                id => self.take_record(id, &record),
            }
        }
        match n_read {
            Ok(0) => self.end(),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset && self.may_be_broken_off() => self.end(),
            Err(error) => panic!("{error}; active: {:?}", self.active),
        }
    }

    fn take_answer(&mut self, record: &Record) {
        assert_eq!(self.questions.pop_front(), Some(record.kind), "{record:?}");
    }

    fn take_record(&mut self, id: u16, record: &Record) {
        let Some(request) = self.active.get_mut(&id) else { panic!("{id} is not active: {record:?}") };
        if let Some(ending) = request.partial.take(record) {
            request.judge(ending);
            let request = self.active.remove(&id).expect("it was active");
            self.late.insert(id, request.into_rest());
        }
    }

    /// An answer that is cut short ends in a reset over TCP, unless other answers could be lost with it.
    fn may_be_broken_off(&self) -> bool {
        self.wire.is_half_closed()
            && self.used.len() == 1
            && self.active.values().any(|request| request.owed() == Owed::EndOrClose)
    }

    fn end(&mut self) {
        self.ended = true;
        assert!(self.received.is_empty(), "the connection ends within a record");
        assert!(self.closing || self.wire.is_half_closed(), "nobody asked for the end of the connection");
        assert!(self.questions.is_empty(), "{} questions without an answer", self.questions.len());
        let may_close = |request: &Request| self.wire.is_half_closed() && request.owed() == Owed::EndOrClose;
        let unanswered = self.active.iter().find(|(_, request)| !may_close(request));
        assert!(unanswered.is_none(), "the connection ended before request {unanswered:?}");
    }
}
