//! GET_VALUES and its answer (section 4.1): what this application can do, asked by name.

use super::record::{put_record, RecordType};
use super::{parse_pairs, PairsError};

/// The truth about this application, as GET_VALUES_RESULT tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capabilities {
    pub(crate) max_conns: usize,
    pub(crate) max_reqs: usize,
    pub(crate) multiplex: bool,
}

/// Collects one GET_VALUES record, whose content is at most 65535 bytes by its form.
#[derive(Debug, Default)]
pub(crate) struct ValuesQuery {
    content: Vec<u8>,
}

impl ValuesQuery {
    pub(crate) fn add(&mut self, content: &[u8]) {
        self.content.extend_from_slice(content);
    }

    /// Appends the answer to the collected query and forgets it. Each known name that was asked for is answered
    /// once, however often it was asked; of a malformed query the pairs before the fault count.
    pub(crate) fn answer(&mut self, capabilities: &Capabilities, out: &mut Vec<u8>) {
        let query = std::mem::take(&mut self.content);
        let mut pairs = Vec::new();
        let _: Result<(), PairsError> = parse_pairs(&query, &mut pairs);
        let mut content = Vec::new();
        for (name, value) in capabilities.variables() {
            if pairs.iter().any(|pair| pair.name(&query) == name.as_bytes()) {
                content.extend_from_slice(&[name.len() as u8, value.len() as u8]);
                content.extend_from_slice(name.as_bytes());
                content.extend_from_slice(value.as_bytes());
            }
        }
        put_values_result(out, &content);
    }
}

impl Capabilities {
    fn variables(&self) -> [(&'static str, String); 3] {
        [
            ("FCGI_MAX_CONNS", self.max_conns.to_string()),
            ("FCGI_MAX_REQS", self.max_reqs.to_string()),
            ("FCGI_MPXS_CONNS", u8::from(self.multiplex).to_string()),
        ]
    }
}

/// GET_VALUES_RESULT is a discrete record: it is sent even when it has no content.
fn put_values_result(out: &mut Vec<u8>, content: &[u8]) {
    match content {
        [] => super::put_end_of_stream(out, RecordType::GetValuesResult, 0),
        _ => put_record(out, RecordType::GetValuesResult, 0, content),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPABILITIES: Capabilities = Capabilities { max_conns: 512, max_reqs: 64, multiplex: true };

    fn answer(query: &[u8]) -> Vec<u8> {
        let (mut values, mut out) = (ValuesQuery::default(), Vec::new());
        query.chunks(3).for_each(|piece| values.add(piece));
        values.answer(&CAPABILITIES, &mut out);
        out
    }

    #[test]
    fn only_known_names_are_answered_each_once() {
        let rows: &[(&[u8], &[u8])] = &[
            (b"", b"\x01\x0a\0\0\0\0\0\0"),
            (b"\x03\x00FOO", b"\x01\x0a\0\0\0\0\0\0"),
            (b"\x0d\x00FCGI_MAX_REQS", b"\x01\x0a\0\0\0\x11\x07\0\x0d\x02FCGI_MAX_REQS64\0\0\0\0\0\0\0"),
            (b"\x0d\x00FCGI_MAX_REQS\x05", b"\x01\x0a\0\0\0\x11\x07\0\x0d\x02FCGI_MAX_REQS64\0\0\0\0\0\0\0"),
            (
                b"\x0f\x00FCGI_MPXS_CONNS\x0e\x00FCGI_MAX_CONNS\x0f\x01FCGI_MPXS_CONNS9",
                b"\x01\x0a\0\0\0\x25\x03\0\x0e\x03FCGI_MAX_CONNS512\x0f\x01FCGI_MPXS_CONNS1\0\0\0",
            ),
        ];
        for (query, expected) in rows {
            assert_eq!(answer(query), *expected, "{query:?}");
        }
    }

    #[test]
    fn a_query_is_forgotten_once_answered() {
        let (mut values, mut out) = (ValuesQuery::default(), Vec::new());
        values.add(b"\x0d\x00FCGI_MAX_REQS");
        values.answer(&CAPABILITIES, &mut out);
        out.clear();
        values.answer(&CAPABILITIES, &mut out);
        assert_eq!(out, b"\x01\x0a\0\0\0\0\0\0");
    }
}
