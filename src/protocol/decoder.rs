//! The incremental decoder: a byte stream in pieces of any size becomes events, and no record is ever held whole.

use super::record::{BeginRequest, RecordHeader, RecordType, HEADER_LEN};
use super::{ProtocolError, RequestId, Stream};

/// What a piece of the byte stream means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event<'a> {
    Begin {
        id: RequestId,
        begin: BeginRequest,
    },
    Abort {
        id: RequestId,
    },
    /// Some content of a stream, never empty.
    Content {
        id: RequestId,
        stream: Stream,
        content: &'a [u8],
    },
    EndOfStream {
        id: RequestId,
        stream: Stream,
    },
    /// Some content of a GET_VALUES record, perhaps its last.
    Values {
        content: &'a [u8],
        last: bool,
    },
    /// A management record of a type that this crate does not understand.
    UnknownManagement {
        record_type: u8,
    },
}

impl Event<'_> {
    /// What a log may say of it: everything but contents.
    pub(crate) fn describe(&self) -> String {
        match self {
            Event::Content { id, stream, content } => format!("{stream:?} {{ id: {id}, len: {} }}", content.len()),
            Event::Values { content, last } => format!("Values {{ len: {}, last: {last} }}", content.len()),
            event => format!("{event:?}"),
        }
    }
}

/// Decodes what the web server sends on one connection.
#[derive(Debug)]
pub(crate) struct Decoder {
    position: Position,
}

/// Where in the byte stream the next byte lies.
///
/// ```text
///   Header --8 bytes--> Content --contentLength--> Padding --paddingLength--> Header
/// ```
#[derive(Debug)]
enum Position {
    Header { bytes: [u8; HEADER_LEN], filled: usize },
    Content { record: Record, left: usize, padding_len: usize },
    Padding { left: usize },
}

/// The record whose content is being read, as far as its content matters.
#[derive(Debug)]
enum Record {
    Begin {
        id: RequestId,
        bytes: [u8; BeginRequest::LEN],
        filled: usize,
    },
    Abort {
        id: RequestId,
    },
    Stream {
        id: RequestId,
        stream: Stream,
    },
    Values,
    UnknownManagement {
        record_type: u8,
    },
    /// A record that means nothing to an application.
    Ignored,
}

impl Decoder {
    pub(crate) fn new() -> Decoder {
        Decoder { position: Position::START }
    }

    /// Takes bytes from the front of `input` up to the next event. `None` when `input` is used up.
    pub(crate) fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Event<'a>>, ProtocolError> {
        while !input.is_empty() {
            if let Some(event) = self.step(input)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// Whether the byte stream could end here without cutting a record.
    pub(crate) fn is_between_records(&self) -> bool {
        matches!(self.position, Position::Header { filled: 0, .. })
    }

    fn step<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Event<'a>>, ProtocolError> {
        // Most records lie in the input whole. That they go this short way makes no difference but to the time it takes.
        if self.is_between_records() {
            if let Some(header) = take_header_of_whole_record(input) {
                let mut record = Record::announced(&header)?;
                let content = take(input, header.content_len.into());
                take(input, header.padding_len.into());
                return record.content(content, true);
            }
        }
        match &mut self.position {
            Position::Header { bytes, filled } => {
                if !fill(bytes, filled, input) {
                    return Ok(None);
                }
                let header = RecordHeader::parse(*bytes);
                let mut record = Record::announced(&header)?;
                let (left, padding_len) = (usize::from(header.content_len), usize::from(header.padding_len));
                if left == 0 {
                    self.position = Position::after_content(padding_len);
                    return record.content(b"", true);
                }
                self.position = Position::Content { record, left, padding_len };
                Ok(None)
            }
            Position::Content { record, left, padding_len } => {
                let piece = take(input, *left);
                *left -= piece.len();
                let event = record.content(piece, *left == 0);
                if *left == 0 {
                    self.position = Position::after_content(*padding_len);
                }
                event
            }
            Position::Padding { left } => {
                *left -= take(input, *left).len();
                if *left == 0 {
                    self.position = Position::START;
                }
                Ok(None)
            }
        }
    }
}

impl Position {
    const START: Position = Position::Header { bytes: [0; HEADER_LEN], filled: 0 };

    fn after_content(padding_len: usize) -> Position {
        match padding_len {
            0 => Position::START,
            left => Position::Padding { left },
        }
    }
}

impl Record {
    /// What a header announces. Only a wrong version and BEGIN_REQUEST without an id are errors: whatever else is
    /// not for an application is skipped, because the framing still holds.
    fn announced(header: &RecordHeader) -> Result<Record, ProtocolError> {
        if !header.has_known_version() {
            return Err(ProtocolError::Version(header.version));
        }
        let id = header.id;
        let record_type = header.record_type;
        Ok(match (id, RecordType::from_web_server(record_type)) {
            (0, Some(RecordType::BeginRequest)) => return Err(ProtocolError::BeginWithNullId),
            (0, Some(RecordType::GetValues)) => Record::Values,
            (0, _) => Record::UnknownManagement { record_type },
            (_, Some(RecordType::BeginRequest)) => Record::begin(header)?,
            (_, Some(RecordType::AbortRequest)) => Record::Abort { id },
            (_, Some(RecordType::Params)) => Record::Stream { id, stream: Stream::Params },
            (_, Some(RecordType::Stdin)) => Record::Stream { id, stream: Stream::Stdin },
            (_, Some(RecordType::Data)) => Record::Stream { id, stream: Stream::Data },
            _ => Record::Ignored,
        })
    }

    fn begin(header: &RecordHeader) -> Result<Record, ProtocolError> {
        if usize::from(header.content_len) < BeginRequest::LEN {
            return Err(ProtocolError::ShortBegin(header.content_len));
        }
        Ok(Record::Begin { id: header.id, bytes: [0; BeginRequest::LEN], filled: 0 })
    }

    /// The event that `piece`, the next of this record's content, makes; `last` when the content ends with it.
    fn content<'a>(&mut self, piece: &'a [u8], last: bool) -> Result<Option<Event<'a>>, ProtocolError> {
        Ok(match self {
            Record::Begin { id, bytes, filled } => {
                // Content beyond the eight bytes is for versions of the protocol to come.
                fill(bytes, filled, &mut &*piece);
                last.then(|| Event::Begin { id: *id, begin: BeginRequest::parse(*bytes) })
            }
            Record::Abort { id } => last.then_some(Event::Abort { id: *id }),
            Record::Stream { id, stream } if piece.is_empty() => Some(Event::EndOfStream { id: *id, stream: *stream }),
            Record::Stream { id, stream } => Some(Event::Content { id: *id, stream: *stream, content: piece }),
            Record::Values => Some(Event::Values { content: piece, last }),
            Record::UnknownManagement { record_type } => {
                last.then_some(Event::UnknownManagement { record_type: *record_type })
            }
            Record::Ignored => None,
        })
    }
}

/// Splits a header off the front of `input`, if all of its record is there.
fn take_header_of_whole_record(input: &mut &[u8]) -> Option<RecordHeader> {
    let header = RecordHeader::parse(input.get(..HEADER_LEN)?.try_into().ok()?);
    let len = HEADER_LEN + usize::from(header.content_len) + usize::from(header.padding_len);
    (input.len() >= len).then(|| {
        take(input, HEADER_LEN);
        header
    })
}

/// Moves bytes from the front of `input` to where `bytes` is filled up to. Whether it is full now.
fn fill<const N: usize>(bytes: &mut [u8; N], filled: &mut usize, input: &mut &[u8]) -> bool {
    let piece = take(input, N - *filled);
    bytes[*filled..*filled + piece.len()].copy_from_slice(piece);
    *filled += piece.len();
    *filled == N
}

/// Splits up to `most` bytes off the front of `input`.
fn take<'a>(input: &mut &'a [u8], most: usize) -> &'a [u8] {
    let (piece, rest) = input.split_at(most.min(input.len()));
    *input = rest;
    piece
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An event with owned content, so that events of different pieces can be joined and compared.
    #[derive(Clone, Debug, PartialEq, Eq)]
    enum Seen {
        Begin(RequestId, BeginRequest),
        Abort(RequestId),
        Content(RequestId, Stream, Vec<u8>),
        EndOfStream(RequestId, Stream),
        Values(Vec<u8>, bool),
        Unknown(u8),
    }

    fn record(record_type: u8, id: u16, content: &[u8], padding_len: u8) -> Vec<u8> {
        let [id_high, id_low] = id.to_be_bytes();
        let [len_high, len_low] = (content.len() as u16).to_be_bytes();
        let mut bytes = vec![1, record_type, id_high, id_low, len_high, len_low, padding_len, 0];
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len() + usize::from(padding_len), 0xAA);
        bytes
    }

    fn push(seen: &mut Vec<Seen>, event: Event<'_>) {
        let new = match event {
            Event::Begin { id, begin } => Seen::Begin(id, begin),
            Event::Abort { id } => Seen::Abort(id),
            Event::Content { id, stream, content } => Seen::Content(id, stream, content.to_vec()),
            Event::EndOfStream { id, stream } => Seen::EndOfStream(id, stream),
            Event::Values { content, last } => Seen::Values(content.to_vec(), last),
            Event::UnknownManagement { record_type } => Seen::Unknown(record_type),
        };
        match (seen.last_mut(), new) {
            (Some(Seen::Content(id, stream, bytes)), Seen::Content(new_id, new_stream, more))
                if (*id, *stream) == (new_id, new_stream) =>
            {
                bytes.extend_from_slice(&more);
            }
            (Some(Seen::Values(bytes, last @ false)), Seen::Values(more, new_last)) => {
                bytes.extend_from_slice(&more);
                *last = new_last;
            }
            (_, new) => seen.push(new),
        }
    }

    fn decoded(input: &[u8], piece_len: usize) -> Result<Vec<Seen>, ProtocolError> {
        let (mut decoder, mut seen) = (Decoder::new(), Vec::new());
        for mut piece in input.chunks(piece_len) {
            while let Some(event) = decoder.next(&mut piece)? {
                push(&mut seen, event);
            }
        }
        Ok(seen)
    }

    fn session() -> Vec<u8> {
        [
            record(9, 0, b"\x0d\x00FCGI_MAX_REQS", 1),
            record(1, 258, &[0, 1, 1, 0, 0, 0, 0, 0], 0),
            record(4, 258, b"\x01\x01AB", 4),
            record(4, 258, b"", 0),
            record(5, 258, b"body", 255),
            record(6, 258, b"not for an application", 2),
            record(5, 258, b"", 8),
            record(8, 258, b"data", 0),
            record(77, 258, b"unknown application record", 0),
            record(77, 0, b"unknown management record", 3),
            record(2, 258, b"", 0),
            record(9, 0, b"", 0),
            record(1, 3, &[0, 2, 0, 0, 0, 0, 0, 0, 9, 9], 5),
        ]
        .concat()
    }

    #[test]
    fn a_session_means_the_same_in_pieces_of_any_size() {
        let begin = |role, keep_conn| BeginRequest { role, keep_conn };
        let expected = vec![
            Seen::Values(b"\x0d\x00FCGI_MAX_REQS".to_vec(), true),
            Seen::Begin(258, begin(1, true)),
            Seen::Content(258, Stream::Params, b"\x01\x01AB".to_vec()),
            Seen::EndOfStream(258, Stream::Params),
            Seen::Content(258, Stream::Stdin, b"body".to_vec()),
            Seen::EndOfStream(258, Stream::Stdin),
            Seen::Content(258, Stream::Data, b"data".to_vec()),
            Seen::Unknown(77),
            Seen::Abort(258),
            Seen::Values(Vec::new(), true),
            Seen::Begin(3, begin(2, false)),
        ];
        let session = session();
        for piece_len in 1..=session.len() {
            assert_eq!(decoded(&session, piece_len).as_ref(), Ok(&expected), "pieces of {piece_len}");
        }
    }

    #[test]
    fn violations_are_told_apart() {
        let rows: &[(Vec<u8>, ProtocolError)] = &[
            (b"GET / HTTP/1.1\r\n".to_vec(), ProtocolError::Version(b'G')),
            (record(1, 0, &[0, 1, 0, 0, 0, 0, 0, 0], 0), ProtocolError::BeginWithNullId),
            (record(1, 1, &[0, 1, 0], 0), ProtocolError::ShortBegin(3)),
            (record(1, 1, &[], 0), ProtocolError::ShortBegin(0)),
        ];
        for (input, error) in rows {
            for piece_len in 1..=input.len() {
                assert_eq!(decoded(input, piece_len).as_ref(), Err(error));
            }
        }
    }

    #[test]
    fn the_decoder_knows_when_a_record_is_cut() {
        let session = session();
        let (mut decoder, mut boundaries) = (Decoder::new(), 0);
        for byte in session.chunks(1) {
            let mut piece = byte;
            while decoder.next(&mut piece).expect("a valid session").is_some() {}
            boundaries += usize::from(decoder.is_between_records());
        }
        assert_eq!(boundaries, 13, "one for each record");
    }
}
