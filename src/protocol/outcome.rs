//! What the demultiplexer says: what to do about an event, and how requests come to their end.

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
        ticket: Ticket,
        handle: T,
    },
}

/// A request that no handler will see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) id: RequestId,
    pub(crate) refusal: Refusal,
    pub(crate) close: Option<CloseAfter>,
}

/// A request whose PARAMS are complete.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Started<T> {
    pub(crate) ticket: Ticket,
    pub(crate) role: Role,
    pub(crate) params: Vec<u8>,
    pub(crate) handle: T,
}

/// A request was taken out of the map: END_REQUEST may be sent now, and by nobody else.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Completed {
    pub(crate) id: RequestId,
    /// It was the last of its connection.
    pub(crate) close: Option<CloseAfter>,
}

/// The connection is to be closed when so many of its requests have been answered.
///
/// Answers leave the map in one order and may reach the socket in another: the last one to leave the map must not
/// close the connection on those that are still on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CloseAfter(pub(crate) u64);

impl Completed {
    pub(crate) fn refused(self, refusal: Refusal) -> Refused {
        Refused { id: self.id, refusal, close: self.close }
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
    /// Too many requests on the connection, or no worker and no place in the queue.
    Overloaded,
    /// The PARAMS took too long.
    ParamsTimedOut,
    ParamsTooLarge,
    /// A role that has no handler.
    UnknownRole,
    /// The Authorizer role has no handler. An empty answer would grant access behind lighttpd.
    UnservedAuthorizer,
}

impl Refusal {
    pub(crate) fn protocol_status(self) -> ProtocolStatus {
        match self {
            Refusal::CantMultiplex => ProtocolStatus::CantMpxConn,
            Refusal::Overloaded => ProtocolStatus::Overloaded,
            Refusal::UnknownRole | Refusal::UnservedAuthorizer => ProtocolStatus::UnknownRole,
            _ => ProtocolStatus::RequestComplete,
        }
    }
}

/// The right to end one request: its id, and which of all the requests that had this id it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) id: RequestId,
    pub(super) serial: u64,
}
