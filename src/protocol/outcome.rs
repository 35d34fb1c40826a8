//! What the demultiplexer says: what to do about an event, and how requests come to their end.

use super::record::put_end_request;
use super::{ProtocolStatus, RequestId, Role, Stream};

/// What the connection has to do about an event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action<'a, T> {
    Nothing,
    /// The request is not active (any more): answer it with END_REQUEST.
    Refuse(Refused),
    /// The PARAMS are complete: a worker may start.
    Start(Started<T>),
    Content {
        handle: T,
        stream: Stream,
        content: &'a [u8],
    },
    EndOfStream {
        handle: T,
        stream: Stream,
    },
    /// ABORT_REQUEST for a request whose handler runs or waits to run.
    Abort {
        key: RequestKey,
        handle: T,
    },
}

/// A request that no handler will see.
#[must_use = "nobody else can end this request"]
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(super) completed: Completed,
    pub(super) refusal: Refusal,
}

/// A request whose PARAMS are complete.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Started<T> {
    pub(crate) key: RequestKey,
    pub(crate) role: Role,
    pub(crate) params: Vec<u8>,
    pub(crate) handle: T,
}

/// A request that was taken out of the map, or was never let in. It is the right to end it: only the demultiplexer makes
/// it, once for each BEGIN_REQUEST, and END_REQUEST cannot be written without using it up.
#[must_use = "nobody else can end this request"]
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Completed {
    pub(super) id: RequestId,
    /// It was the last of its connection.
    pub(super) close: Option<CloseAfter>,
    /// Others are active on the connection.
    pub(super) has_others: bool,
}

/// The records in front of it end a request, and perhaps the connection.
#[must_use = "the connection must be told that a request has ended"]
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    pub(super) close: Option<CloseAfter>,
    /// The response was cut short, and the end of the connection must not pass for its end.
    pub(super) resets: bool,
    /// Others are active on the connection: their responses may be due at the same moment.
    pub(super) has_others: bool,
}

/// How a response that was cut short comes to its end.
#[must_use = "nobody else can end this request"]
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The connection ends without END_REQUEST: nothing else is active on it.
    Close(Ending),
    /// By END_REQUEST with an application status: others are active on the connection, the web server has aborted the
    /// request and waits for it, or a setting says so.
    EndRequest(Completed),
}

/// The connection is to be closed when so many of its requests have been answered.
///
/// Answers leave the map in one order and may reach the socket in another: the last one to leave the map must not
/// close the connection on those that are still on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CloseAfter(pub(crate) u64);

impl Completed {
    /// Appends END_REQUEST.
    pub(crate) fn end_request(self, out: &mut Vec<u8>, status: ProtocolStatus, app_status: u32) -> Ending {
        put_end_request(out, self.id, status, app_status);
        Ending { close: self.close, resets: false, has_others: self.has_others }
    }

    pub(crate) fn refused(self, refusal: Refusal) -> Refused {
        Refused { completed: self, refusal }
    }

    #[cfg(any(fuzzing, test))]
    pub(crate) fn id(&self) -> RequestId {
        self.id
    }

    /// Whether the connection is to be closed, and after how many responses.
    pub(crate) fn close(&self) -> Option<CloseAfter> {
        self.close
    }
}

impl Refused {
    /// A refusal for the tests of what becomes of one.
    #[cfg(test)]
    pub(crate) fn at_the_door(id: RequestId, refusal: Refusal) -> Refused {
        Completed { id, close: None, has_others: false }.refused(refusal)
    }

    pub(crate) fn id(&self) -> RequestId {
        self.completed.id
    }

    pub(crate) fn refusal(&self) -> Refusal {
        self.refusal
    }

    pub(crate) fn close(&self) -> Option<CloseAfter> {
        self.completed.close()
    }

    /// Appends END_REQUEST.
    pub(crate) fn end_request(self, out: &mut Vec<u8>) -> Ending {
        self.completed.end_request(out, self.refusal.protocol_status(), 0)
    }
}

impl Ending {
    pub(crate) fn close(&self) -> Option<CloseAfter> {
        self.close
    }

    pub(crate) fn resets(&self) -> bool {
        self.resets
    }

    pub(crate) fn has_others(&self) -> bool {
        self.has_others
    }
}

/// Why a request ends without a handler having seen it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// ABORT_REQUEST came before a worker did.
    Aborted,
    /// A second request on a connection that takes one at a time.
    CantMultiplex,
    /// The PARAMS cannot be parsed, or STDIN came before their end.
    Malformed,
    /// Too many requests or PARAMS on the connection, no worker and no place in the queue, or none in time.
    Overloaded,
    /// The request took too long, and has no worker yet.
    Overdue,
    /// The PARAMS took too long.
    ParamsTimedOut,
    ParamsTooLarge,
    /// A role that has no handler.
    UnknownRole,
    /// The Authorizer role has no handler. An empty answer would grant access behind lighttpd.
    UnservedAuthorizer,
}

impl Refusal {
    fn protocol_status(self) -> ProtocolStatus {
        match self {
            Refusal::CantMultiplex => ProtocolStatus::CantMpxConn,
            Refusal::Overloaded => ProtocolStatus::Overloaded,
            Refusal::UnknownRole | Refusal::UnservedAuthorizer => ProtocolStatus::UnknownRole,
            _ => ProtocolStatus::RequestComplete,
        }
    }
}

/// Names one request: its id, and which of all the requests that had this id it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestKey {
    pub(crate) id: RequestId,
    pub(super) generation: u64,
}

/// An ending for the tests of what sends it.
#[cfg(test)]
pub(crate) fn ending_for_tests(close: Option<CloseAfter>, resets: bool) -> Ending {
    Ending { close, resets, has_others: false }
}
