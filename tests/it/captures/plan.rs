//! What a capture asks for, read from its records.

use std::collections::HashMap;

use crate::peer::record::{self, Record};

/// A capture as it can be replayed.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// The bytes, cut where the web server had waited for an answer: in front of a BEGIN_REQUEST whose id was in use.
    pub(crate) turns: Vec<Turn>,
    /// The requests in the order in which they begin.
    pub(crate) requests: Vec<Asked>,
    /// For each GET_VALUES, how many names that an application knows it has.
    pub(crate) questions: Vec<usize>,
}

#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// The request that must have ended before, as an index.
    pub(crate) awaits: Option<usize>,
    pub(crate) bytes: Vec<u8>,
}

/// How far a request got.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) id: u16,
    pub(crate) role: u16,
    pub(crate) has_all_params: bool,
    pub(crate) has_all_stdin: bool,
    pub(crate) aborted: bool,
}

impl Asked {
    /// Whether the application owes an END_REQUEST, also to a web server that sends no more.
    pub(crate) fn is_answered(&self) -> bool {
        self.has_all_params || self.aborted
    }
}

/// Reads a capture. Its last record may be cut off.
pub(crate) fn read(capture: &[u8]) -> Plan {
    let mut plan = Plan { turns: vec![Turn::default()], ..Plan::default() };
    let mut latest = HashMap::new();
    let mut rest = capture.to_vec();
    loop {
        let before = rest.len();
        let Some(record) = Record::take_from(&mut rest) else { break };
        let start = capture.len() - before;
        if record.kind == record::BEGIN_REQUEST {
            plan.begin(&record, &mut latest);
        } else {
            plan.go_on(&record, &latest);
        }
        plan.last_turn().extend_from_slice(&capture[start..capture.len() - rest.len()]);
    }
    plan.last_turn().extend_from_slice(&rest);
    plan
}

impl Plan {
    fn begin(&mut self, record: &Record, latest: &mut HashMap<u16, usize>) {
        if let Some(earlier) = latest.insert(record.id, self.requests.len()) {
            assert!(self.requests[earlier].is_answered(), "id {} begins again without an answer", record.id);
            self.turns.push(Turn { awaits: Some(earlier), bytes: Vec::new() });
        }
        let role = u16::from_be_bytes([record.content[0], record.content[1]]);
        let nothing_yet = Asked { id: record.id, role, has_all_params: false, has_all_stdin: false, aborted: false };
        self.requests.push(nothing_yet);
    }

    fn go_on(&mut self, record: &Record, latest: &HashMap<u16, usize>) {
        if record.kind == record::GET_VALUES {
            self.questions.push(record::parse_pairs(&record.content).len());
            return;
        }
        let request = latest.get(&record.id).unwrap_or_else(|| panic!("no request for {record:?}"));
        let request = &mut self.requests[*request];
        match record.kind {
            record::PARAMS => request.has_all_params |= record.content.is_empty(),
            record::STDIN => request.has_all_stdin |= record.content.is_empty(),
            record::ABORT_REQUEST => request.aborted = true,
            kind => panic!("no web server sends record type {kind}"),
        }
    }

    fn last_turn(&mut self) -> &mut Vec<u8> {
        &mut self.turns.last_mut().expect("there is always one").bytes
    }
}
