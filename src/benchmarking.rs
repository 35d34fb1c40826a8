//! What the micro-benchmarks in `benches/` measure: the inner parts, used as the server uses them.
//!
//! It is public so that the benchmarks reach it, and exists only when benchmarking and, lest it be forgotten, in tests.

use std::time::Instant;

use http::response::Parts;

use crate::cgi::{put_head, read_head, AnswerBody, Params};
use crate::protocol::{parse_pairs, Action, Decoder, Demux, RequestKey, Roles, Started};
use crate::settings::Settings;

/// Decodes what arrived on a connection, and says how many events there were.
pub fn decode(session: &[u8]) -> usize {
    let (mut decoder, mut rest) = (Decoder::new(), session);
    let events = std::iter::from_fn(|| decoder.next(&mut rest).expect("no violation").map(drop));
    events.count()
}

/// Finds the name-value pairs of a PARAMS stream, and says how many there were.
pub fn find_pairs(params: &[u8]) -> usize {
    let mut pairs = Vec::with_capacity(32);
    parse_pairs(params, &mut pairs).expect("whole pairs");
    pairs.len()
}

/// Makes a request of a PARAMS stream: its meta-variables, and what a handler sees.
pub fn map_request(params: Vec<u8>) -> (Params, http::Request<()>) {
    let params = Params::parse(params).expect("whole pairs");
    let head = read_head(&params).expect("a legal request");
    (params, head.request)
}

/// Writes the header block of an answer whose body is a text.
pub fn write_head(out: &mut Vec<u8>, response: &Parts, body_len: u64) {
    let body = AnswerBody { len: Some(body_len), default_type: "text/plain; charset=utf-8" };
    put_head(out, response, false, body, &[], Settings::default().head_limits()).expect("a legal head");
}

/// A connection's decoder and demultiplexer.
pub struct Connection {
    decoder: Decoder,
    demux: Demux<()>,
    /// Kept for its memory, so that the benchmark itself allocates nothing.
    keys: Vec<RequestKey>,
}

/// With the default limits, and a handler for the role Responder.
impl Default for Connection {
    fn default() -> Connection {
        let roles = Roles { responder: true, authorizer: false, filter: false };
        let demux = Demux::new(Settings::default().demux_limits(roles));
        Connection { decoder: Decoder::new(), demux, keys: Vec::new() }
    }
}

impl Connection {
    /// The life of each request in `session`: from BEGIN_REQUEST through its streams until it leaves the map. Says
    /// how many there were.
    pub fn serve(&mut self, session: &[u8]) -> usize {
        let (mut rest, now) = (session, Instant::now());
        while let Some(event) = self.decoder.next(&mut rest).expect("no violation") {
            let action = self.demux.receive(event, now, |_| ()).expect("no violation");
            if let Action::Start(Started { key, .. }) = action {
                self.keys.push(key);
            }
        }
        self.keys.drain(..).filter_map(|key| self.demux.complete(key)).count()
    }
}
