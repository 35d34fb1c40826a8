//! The invariants over inputs from a small generator, so that they also hold in a plain run of the tests.

use std::fs;
use std::path::Path;

use super::*;

const N_INPUTS: usize = 4000;
const N_SESSIONS: usize = 400;

/// The same numbers every time (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((bits ^ (bits >> 31)) % bound.max(1) as u64) as usize
    }

    fn byte(&mut self) -> u8 {
        self.below(256) as u8
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.byte()).collect()
    }

    /// `valid` with a few bytes changed, put in, taken out or repeated.
    fn mutated(&mut self, valid: &[u8]) -> Vec<u8> {
        let mut bytes = valid.to_vec();
        for _ in 0..self.below(4) {
            let at = self.below(bytes.len());
            let end = at + self.below(bytes.len() - at).min(40);
            match self.below(6) {
                _ if bytes.is_empty() => {}
                5 => bytes[at] = b"\0\n\r :_\x7f\x80\xff"[self.below(9)],
                0 => bytes[at] = self.byte(),
                1 => bytes[at] ^= 1 << self.below(8),
                2 => drop(bytes.drain(at..end)),
                3 => drop(bytes.splice(at..at, bytes[at..end].to_vec())),
                _ => bytes.truncate(at),
            }
        }
        bytes
    }
}

fn record(record_type: u8, id: u8, content: &[u8]) -> Vec<u8> {
    let len = u8::try_from(content.len()).expect("short content");
    [&[1, record_type, 0, id, 0, len, 3, 0], content, &[0; 3]].concat()
}

fn params(path: &str) -> Vec<u8> {
    let pairs = [("REQUEST_METHOD", "POST"), ("REQUEST_URI", path), ("CONTENT_LENGTH", "4"), ("HTTP_X_A", "b\t\u{e9}")];
    let pair = |(name, value): (&str, &str)| {
        [&[name.len() as u8, value.len() as u8], name.as_bytes(), value.as_bytes()].concat()
    };
    pairs.into_iter().flat_map(pair).collect()
}

fn session() -> Vec<u8> {
    records().concat()
}

fn records() -> Vec<Vec<u8>> {
    let role = |role| [0, role, 1, 0, 0, 0, 0, 0];
    let params = |id, path: &str| [record(4, id, &params(path)), record(4, id, b"")].concat();
    let input = |record_type, id| [record(record_type, id, b"body"), record(record_type, id, b"")].concat();
    vec![
        record(9, 0, b"\x0e\0FCGI_MAX_CONNS"),
        record(1, 1, &role(1)),
        params(1, "/echo?a=b"),
        record(1, 2, &role(2)),
        params(2, "/USER"),
        input(5, 1),
        record(77, 0, b"unknown"),
        record(1, 3, &role(3)),
        params(3, "/file"),
        input(5, 3),
        input(8, 3),
        record(1, 4, &role(1)),
        params(4, "/stream"),
        input(5, 4),
        record(1, 5, &role(1)),
        params(5, "/wait"),
        record(2, 5, b""),
    ]
}

#[test]
fn sessions_are_decoded_alike_however_they_are_cut() {
    let (mut random, session) = (Random(1), session());
    (0..N_INPUTS).for_each(|_| decoder(&random.mutated(&session)));
}

#[test]
fn pairs_lie_within_their_buffer() {
    let (mut random, stream) = (Random(2), params("/echo"));
    (0..N_INPUTS).for_each(|_| pairs(&random.mutated(&stream)));
}

#[test]
fn ids_live_as_in_the_model() {
    let mut random = Random(3);
    for _ in 0..N_INPUTS {
        let len = random.below(300);
        demultiplexer(&random.bytes(len));
    }
}

#[test]
fn heads_cannot_be_forged() {
    let (mut random, stream) = (Random(4), params("/echo"));
    (0..N_INPUTS).for_each(|_| request_mapping(&random.mutated(&stream)));
}

#[test]
fn connections_answer_what_can_be_answered_and_end() {
    let (mut random, session) = (Random(5), session());
    for setup in (0..16).chain([0xf8, 0xff]) {
        connection(&[vec![setup], session.clone()].concat());
    }
    for n in 0..N_SESSIONS {
        let setup = if n % 20 == 0 { 0xf0 } else { 0 } + random.below(16) as u8;
        connection(&[vec![setup], random.mutated(&session)].concat());
    }
}

#[test]
fn an_abort_at_any_point_ends_its_request() {
    let records = records();
    for at in 0..=records.len() {
        for id in 1..=5 {
            let (before, behind) = records.split_at(at);
            let session = [before.concat(), record(2, id, b""), behind.concat()].concat();
            connection(&[vec![(at % 16) as u8], session].concat());
        }
    }
}

#[test]
fn the_seeds_of_the_fuzz_targets_hold() {
    let targets: [(&str, fn(&[u8])); 5] = [
        ("connection", connection),
        ("decoder", decoder),
        ("demultiplexer", demultiplexer),
        ("pairs", pairs),
        ("request_mapping", request_mapping),
    ];
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    // They are no part of the published crate.
    if !seeds.exists() {
        return;
    }
    for (target, run) in targets {
        for seed in fs::read_dir(seeds.join(target)).expect("the seeds of a target") {
            let path = seed.expect("a seed").path();
            println!("{}", path.display());
            run(&fs::read(&path).expect("a file"));
        }
    }
}
