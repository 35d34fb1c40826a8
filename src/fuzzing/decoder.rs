//! The invariant of the decoder.

use super::pieces;
use super::reference::{self, Meaning, Seen};
use crate::protocol::{Decoder, Event, ProtocolError};

/// However its bytes are cut, a session means to the decoder what it means to a reader of whole records, and every
/// byte up to the first violation is taken.
pub fn decoder(session: &[u8]) {
    let expected = reference::meaning(session);
    assert_eq!(decoded(std::iter::once(session)), expected, "whole");
    assert_eq!(decoded(session.chunks(1)), expected, "byte by byte");
    assert_eq!(decoded(pieces(session)), expected, "in pieces");
}

fn decoded<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Meaning {
    let mut decoder = Decoder::new();
    let mut meaning = Meaning { seen: Vec::new(), error: None, consumed: 0, between_records: true };
    for piece in pieces {
        let mut rest = piece;
        meaning.error = decode(&mut decoder, &mut rest, &mut meaning.seen);
        meaning.consumed += piece.len() - rest.len();
        meaning.between_records = meaning.error.is_none() && decoder.is_between_records();
        if meaning.error.is_some() {
            break;
        }
        assert!(rest.is_empty(), "the decoder left {} bytes", rest.len());
    }
    meaning
}

fn decode(decoder: &mut Decoder, rest: &mut &[u8], seen: &mut Vec<Seen>) -> Option<ProtocolError> {
    loop {
        let len_before = rest.len();
        match decoder.next(rest) {
            Ok(Some(event)) => {
                assert!(rest.len() < len_before, "an event out of nothing: {}", event.describe());
                reference::push(seen, owned(event));
            }
            Ok(None) => return None,
            Err(error) => return Some(error),
        }
    }
}

fn owned(event: Event<'_>) -> Seen {
    match event {
        Event::Begin { id, begin } => Seen::Begin { id, begin },
        Event::Abort { id } => Seen::Abort { id },
        Event::Content { id, stream, content } => {
            assert!(!content.is_empty(), "empty content");
            Seen::Content { id, stream, content: content.into() }
        }
        Event::EndOfStream { id, stream } => Seen::EndOfStream { id, stream },
        Event::Values { content, last } => Seen::Values { content: content.into(), last },
        Event::UnknownManagement { record_type } => Seen::UnknownManagement { record_type },
    }
}
