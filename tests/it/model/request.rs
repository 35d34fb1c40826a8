//! The reference for one request: what is still to be sent for it, when it may end, and how.

use std::collections::VecDeque;
use std::fmt;

use super::errand::{Errand, Manner, Right};
use crate::peer::answer::{Answer, Ending, Partial};
use crate::peer::record::{self, AUTHORIZER, OVERLOADED, PARAMS, REQUEST_COMPLETE, STDIN, UNKNOWN_ROLE};
use crate::random::Random;

/// The application status of an answer that was cut short.
const CUT: u32 = 1;

/// A request from its BEGIN_REQUEST to its END_REQUEST.
#[derive(Debug)]
pub(super) struct Request {
    errand: Errand,
    pub(super) keep_conn: bool,
    /// What was not sent yet, in order.
    unsent: VecDeque<Unsent>,
    pub(super) partial: Partial,
    overload: Overload,
    flaw: Option<Flaw>,
    cancelled: Option<Cancelled>,
}

/// A record to be sent.
pub(super) struct Unsent {
    kind: u8,
    is_end: bool,
    pub(super) bytes: Vec<u8>,
}

/// Whether all places may be taken when the request comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overload {
    Impossible,
    Possible,
    Certain,
}

/// What is wrong with the request, so that no handler sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    TruncatedParams,
    StdinBeforeEndOfParams,
}

/// What ends a request before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cancelled {
    Aborted,
    /// The web server closed its sending side.
    HalfClosed,
}

/// What the application owes when the web server sends no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owed {
    End,
    /// END_REQUEST, or the end of the connection in the middle of the answer.
    EndOrClose,
    Nothing,
}

impl Request {
    /// The first of its records, BEGIN_REQUEST, is to be sent at once.
    pub(super) fn new(id: u16, errand: Errand, keep_conn: bool, overload: Overload, random: &mut Random) -> Request {
        let flaw = match random.below(20) {
            0 => Some(Flaw::TruncatedParams),
            1 => Some(Flaw::StdinBeforeEndOfParams),
            _ => None,
        };
        let mut request = errand.request(id);
        if !keep_conn {
            request = request.closing();
        }
        let mut params = request.params();
        if flaw == Some(Flaw::TruncatedParams) {
            // The last name is longer than that, so that the cut is within its pair.
            params.truncate(params.len() - 1 - random.below("QUERY_STRING".len()));
        }
        let begin = Unsent { kind: record::BEGIN_REQUEST, is_end: false, bytes: request.begin() };
        let mut unsent = VecDeque::from([begin]);
        unsent.extend(stream(PARAMS, id, &params, random));
        if flaw == Some(Flaw::StdinBeforeEndOfParams) {
            let early = Unsent::new(STDIN, id, if random.percent(50) { b"" } else { b"early" }, random);
            unsent.insert(1 + random.below(unsent.len() - 1), early);
        }
        if errand.role != AUTHORIZER || random.percent(30) {
            unsent.extend(stream(STDIN, id, errand.body.as_deref().unwrap_or_default(), random));
        }
        Request { errand, keep_conn, unsent, partial: Partial::default(), overload, flaw, cancelled: None }
    }

    pub(super) fn next_record(&mut self) -> Option<Unsent> {
        self.unsent.pop_front()
    }

    /// What nobody wants any more when the request has ended.
    pub(super) fn into_rest(self) -> VecDeque<Unsent> {
        self.unsent
    }

    pub(super) fn is_sent(&self) -> bool {
        self.unsent.is_empty()
    }

    pub(super) fn cancel(&mut self, cause: Cancelled) {
        self.cancelled.get_or_insert(cause);
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.is_some()
    }

    /// Whether it ends only when it is cancelled.
    pub(super) fn is_endless(&self) -> bool {
        self.errand.is_endless() && self.flaw.is_none()
    }

    /// Whether it cannot have ended, because the application waits for what was not sent.
    pub(super) fn is_pinned(&self) -> bool {
        let may_be_over = self.overload != Overload::Impossible || self.errand.right.is_none() || self.is_cancelled();
        if may_be_over || (self.flaw == Some(Flaw::StdinBeforeEndOfParams) && !self.owes_early_stdin()) {
            return false;
        }
        let awaits_abort = self.errand.manner == Manner::Waiting && self.flaw.is_none();
        let awaits_body = self.errand.manner == Manner::Reading && self.flaw.is_none() && self.owes(STDIN);
        self.owes(PARAMS) || awaits_abort || awaits_body
    }

    /// What is owed to a web server that sends no more.
    pub(super) fn owed(&self) -> Owed {
        let is_refused = self.flaw == Some(Flaw::StdinBeforeEndOfParams) && !self.owes_early_stdin();
        let has_ended_itself = self.errand.right.is_none() || self.cancelled == Some(Cancelled::Aborted);
        match self.overload {
            Overload::Certain => Owed::End,
            _ if has_ended_itself || is_refused => Owed::End,
            Overload::Possible if self.owes(PARAMS) => Owed::EndOrClose,
            Overload::Impossible if self.owes(PARAMS) => Owed::Nothing,
            _ if self.errand.manner == Manner::Reading && self.owes(STDIN) => Owed::EndOrClose,
            _ => Owed::End,
        }
    }

    /// Whether a part of this stream, or its end, was not sent.
    fn owes(&self, kind: u8) -> bool {
        self.unsent.iter().any(|unsent| unsent.kind == kind)
    }

    fn owes_early_stdin(&self) -> bool {
        let of_kind = |kind| self.unsent.iter().position(move |unsent| unsent.kind == kind);
        let end_of_params = self.unsent.iter().position(|unsent| unsent.kind == PARAMS && unsent.is_end);
        matches!((of_kind(STDIN), end_of_params), (Some(stdin), Some(end)) if stdin < end)
    }

    /// Fails unless the request may have ended in this way.
    pub(super) fn judge(&self, ending: Ending) {
        assert!(!self.is_pinned(), "it ended before its time: {ending:?} {self:?}");
        let Some(right) = &self.errand.right else {
            return assert_eq!((ending.stdout.len(), ending.protocol_status), (0, UNKNOWN_ROLE));
        };
        if ending.protocol_status == OVERLOADED {
            return self.judge_overload(&ending.into_answer());
        }
        assert_ne!(self.overload, Overload::Certain, "it was one too many: {ending:?} {self:?}");
        assert_eq!(ending.protocol_status, REQUEST_COMPLETE);
        if self.cancelled == Some(Cancelled::Aborted) && ending.stdout.is_empty() {
            return assert!(ending.stderr.is_empty(), "{ending:?}");
        }
        let answer = ending.into_answer();
        let accepted = match (self.flaw, self.cancelled) {
            (Some(_), _) => answer.status == 400 && answer.app_status == 0,
            (None, None) => is_right(&answer, right),
            (None, Some(cause)) => is_right(&answer, right) || self.is_cut(&answer, right, cause),
        };
        assert!(accepted, "{answer:?} is no answer to {self:?}");
    }

    fn judge_overload(&self, answer: &Answer) {
        assert_ne!(self.overload, Overload::Impossible, "there was a place: {answer:?} {self:?}");
        assert_eq!((answer.status, answer.app_status), (503, 0));
        assert!(answer.header("Retry-After").is_some());
    }

    /// Whether this is what a cancelled request can come to.
    fn is_cut(&self, answer: &Answer, right: &Right, cause: Cancelled) -> bool {
        let is_error = answer.status == 400 && answer.app_status == 0;
        let is_part = answer.status == right.status && right.body.starts_with(&answer.body);
        match self.errand.manner {
            Manner::Prompt => false,
            Manner::Writing => cause == Cancelled::Aborted && (is_error || is_part && answer.app_status == CUT),
            Manner::Reading => is_error || is_part && answer.app_status == CUT,
            Manner::Waiting => answer.status == 200 && answer.body == cause.reason(),
        }
    }
}

fn is_right(answer: &Answer, right: &Right) -> bool {
    let outcome = (answer.status, answer.app_status, &answer.body, &answer.stderr);
    outcome == (right.status, right.app_status, &right.body, &right.stderr)
}

impl Cancelled {
    /// What `/wait-abort` says.
    fn reason(self) -> &'static [u8] {
        match self {
            Cancelled::Aborted => b"aborted\n",
            Cancelled::HalfClosed => b"disconnected\n",
        }
    }
}

impl fmt::Debug for Unsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.is_end { "its end" } else { "content" };
        write!(f, "type {} {what}, {} bytes", self.kind, self.bytes.len())
    }
}

impl Unsent {
    pub(super) fn new(kind: u8, id: u16, content: &[u8], random: &mut Random) -> Unsent {
        let padding = if random.percent(50) { 0 } else { random.below(256) };
        Unsent { kind, is_end: content.is_empty(), bytes: record::padded(kind, id, content, padding as u8) }
    }
}

/// A whole stream in records of random lengths.
fn stream(kind: u8, id: u16, mut content: &[u8], random: &mut Random) -> Vec<Unsent> {
    let longest = 1 + random.below(content.len() + 1);
    let mut records = Vec::new();
    while !content.is_empty() {
        // Some records are cut short, and none is so short that there are very many.
        let len = (1 + random.below(longest)).max(content.len() / 8).min(content.len()).min(record::MAX_CONTENT_LEN);
        records.push(Unsent::new(kind, id, &content[..len], random));
        content = &content[len..];
    }
    records.push(Unsent::new(kind, id, b"", random));
    records
}
