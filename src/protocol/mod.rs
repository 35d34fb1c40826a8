//! The FastCGI protocol without IO: bytes on one side, meaning on the other.
//!
//! In scope: records, name-value pairs, decoding a byte stream piece by piece, and the decision what each
//! record means for the requests of one connection.
//!
//! Out of scope: sockets, threads, locks, logging, HTTP. Whoever calls supplies bytes and the current time and
//! carries out the [`Action`] that comes back.
//!
//! Section numbers refer to the FastCGI specification 1.0.

mod decoder;
mod demux;
mod error;
mod outcome;
mod pairs;
mod record;
mod values;

pub(crate) use decoder::{Decoder, Event};
pub(crate) use demux::{Demux, Limits, Roles};
pub(crate) use error::ProtocolError;
#[cfg(test)]
pub(crate) use outcome::ending_for_tests;
pub(crate) use outcome::{Action, CloseAfter, Completed, Cut, Ending, Refusal, Refused, RequestKey, Started};
pub(crate) use pairs::{parse_pairs, put_pair, Pair, PairsError};
pub(crate) use record::{
    put_begin_request, put_end_of_stream, put_record, put_unknown_type, BeginRequest, ProtocolStatus, RecordHeader,
    RecordType, RequestId, Role, Stream, HEADER_LEN, MAX_CONTENT_LEN,
};
pub(crate) use values::{Capabilities, ValuesQuery};
