//! The web server's byte stream read at once, record by record: what the incremental decoder is compared with.

use crate::protocol::{BeginRequest, ProtocolError, RequestId, Stream};

/// What a byte stream means, and how far it was understood.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Meaning {
    pub(super) seen: Vec<Seen>,
    pub(super) error: Option<ProtocolError>,
    /// All bytes, or those up to the header that is an error.
    pub(super) consumed: usize,
    pub(super) between_records: bool,
}

/// An event with contents of its own; neighbouring contents of one stream are joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Begin { id: RequestId, begin: BeginRequest },
    Abort { id: RequestId },
    Content { id: RequestId, stream: Stream, content: Vec<u8> },
    EndOfStream { id: RequestId, stream: Stream },
    Values { content: Vec<u8>, last: bool },
    UnknownManagement { record_type: u8 },
}

/// Reads `session` up to its end or the first violation.
pub(super) fn meaning(session: &[u8]) -> Meaning {
    let mut seen = Vec::new();
    let mut rest = session;
    let (error, between_records) = loop {
        let Some((record, behind)) = Record::split_off(rest) else {
            let is_cut = !std::mem::take(&mut rest).is_empty();
            break (None, !is_cut);
        };
        rest = behind;
        if let Some(error) = record.violation() {
            break (Some(error), false);
        }
        if let Some(event) = record.meaning() {
            push(&mut seen, event);
        }
        match rest.get(record.behind_header()..) {
            Some(behind) => rest = behind,
            None => {
                rest = &[];
                break (None, false);
            }
        }
    };
    Meaning { seen, error, consumed: session.len() - rest.len(), between_records }
}

/// Appends an event, or joins it to the one that it goes on with.
pub(super) fn push(seen: &mut Vec<Seen>, event: Seen) {
    match (seen.last_mut(), event) {
        (
            Some(Seen::Content { id, stream, content }),
            Seen::Content { id: next_id, stream: next_stream, content: next },
        ) if (*id, *stream) == (next_id, next_stream) => content.extend(next),
        (Some(Seen::Values { content, last: last @ false }), Seen::Values { content: next, last: next_last }) => {
            content.extend(next);
            *last = next_last;
        }
        (_, event) => seen.push(event),
    }
}

/// A record whose content may be cut.
struct Record<'a> {
    header: [u8; 8],
    content: &'a [u8],
}

impl<'a> Record<'a> {
    /// The record at the front of `bytes`, and what is behind its header.
    fn split_off(bytes: &'a [u8]) -> Option<(Record<'a>, &'a [u8])> {
        let header: [u8; 8] = bytes.get(..8)?.try_into().ok()?;
        let behind = &bytes[8..];
        let content_len = usize::from(u16::from_be_bytes([header[4], header[5]]));
        Some((Record { header, content: &behind[..content_len.min(behind.len())] }, behind))
    }

    fn id(&self) -> RequestId {
        u16::from_be_bytes([self.header[2], self.header[3]])
    }

    fn content_len(&self) -> u16 {
        u16::from_be_bytes([self.header[4], self.header[5]])
    }

    fn behind_header(&self) -> usize {
        usize::from(self.content_len()) + usize::from(self.header[6])
    }

    fn violation(&self) -> Option<ProtocolError> {
        match (self.header[0], self.header[1], self.id()) {
            (1, 1, 0) => Some(ProtocolError::BeginWithNullId),
            (1, 1, _) if self.content_len() < 8 => Some(ProtocolError::ShortBegin(self.content_len())),
            (1, ..) => None,
            (version, ..) => Some(ProtocolError::Version(version)),
        }
    }

    fn meaning(&self) -> Option<Seen> {
        let whole = self.content.len() == usize::from(self.content_len());
        let id = self.id();
        match (self.header[1], id) {
            (9, 0) => {
                (whole || !self.content.is_empty()).then(|| Seen::Values { content: self.content.into(), last: whole })
            }
            (record_type, 0) => whole.then_some(Seen::UnknownManagement { record_type }),
            (1, _) => whole.then(|| Seen::Begin { id, begin: self.begin() }),
            (2, _) => whole.then_some(Seen::Abort { id }),
            (4, _) => self.stream(Stream::Params, whole),
            (5, _) => self.stream(Stream::Stdin, whole),
            (8, _) => self.stream(Stream::Data, whole),
            _ => None,
        }
    }

    fn begin(&self) -> BeginRequest {
        let role = u16::from_be_bytes([self.content[0], self.content[1]]);
        BeginRequest { role, keep_conn: self.content[2] % 2 == 1 }
    }

    fn stream(&self, stream: Stream, whole: bool) -> Option<Seen> {
        let id = self.id();
        match self.content {
            [] => whole.then_some(Seen::EndOfStream { id, stream }),
            content => Some(Seen::Content { id, stream, content: content.into() }),
        }
    }
}
