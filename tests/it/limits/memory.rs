//! Verifies that nothing a web server sends, or does not read, makes the process grow by 4 MiB.

use super::assert_hello;
use super::program::{Listen, Program, Setup};
use crate::demo::{over_both, wait_until, Demo};
use crate::peer::record::{self, OVERLOADED, PARAMS, RESPONDER};

/// In KiB.
const MOST: u64 = 4 << 10;

/// What a connection may have at once by default.
const MAX_REQUESTS: u16 = 64;

fn assert_small(before: u64, after: u64) {
    let grown = after.saturating_sub(before);
    assert!(grown < MOST, "it grew by {grown} KiB");
}

#[test]
fn a_large_upload_to_a_handler_that_sleeps_goes_to_a_file_and_holds_up_nobody() {
    for listen in [Listen::Unix, Listen::Tcp] {
        let program = Program::start(Setup { listen, ..Setup::default() });
        let mut connection = program.connect();
        assert_hello(&mut connection, 1);
        let before = program.peak_kib();
        connection.request(1).post("/ignore?ms=3000").param("CONTENT_LENGTH", "67107840").send_head();
        let megabyte = vec![record::record(record::STDIN, 1, &[b'x'; 65_535]); 16].concat();
        for sent in 0..64 {
            connection.send(&megabyte);
            if sent == 8 {
                assert_eq!(n_spools(&program), 1, "the body is in a file");
                assert_hello(&mut connection, 2);
                connection.assert_usable();
            }
        }
        connection.end_stdin(1);
        assert_hello(&mut connection, 2);
        assert_eq!(connection.answer(1).text(), "ignored\n");
        assert_small(before, program.peak_kib());
        wait_until("the end of the file", || n_spools(&program) == 0);
        assert_hello(&mut connection, 1);
    }
}

/// How many files are open where bodies go. None must be there for others to see, and none be left when the process
/// dies.
fn n_spools(program: &Program) -> usize {
    let spool = program.spool().canonicalize().expect("it exists");
    assert_eq!(spool.read_dir().expect("it can be read").count(), 0, "the file has a name");
    program.open_files().iter().filter(|file| file.starts_with(&spool)).count()
}

#[test]
fn large_answers_that_nobody_reads_cost_little_and_end_by_the_write_timeout() {
    over_both(&["--write-timeout", "500"], |demo| {
        demo.assert_serves();
        let before = demo.peak_kib();
        let mut deaf: Vec<_> = (0..4).map(|_| demo.connect()).collect();
        deaf.iter_mut().for_each(|connection| connection.request(1).get("/bytes?n=67108864").send());
        deaf.iter_mut().for_each(|connection| drop(connection.body_until(1, 1)));
        demo.assert_serves();
        let mut other = demo.connect();
        wait_until("the end of the connections", || {
            other.request(1).get("/metrics").send();
            let metrics = other.answer(1).json();
            metrics["open_connections"] == 1 && metrics["active_requests"] == 1
        });
        assert_small(before, demo.peak_kib());
    });
}

#[test]
fn an_idle_connection_keeps_nothing_of_a_request_that_was_large() {
    const LEN: usize = 900 << 10;
    for listen in [Listen::Unix, Listen::Tcp] {
        let program = Program::start(Setup { listen, ..Setup::default() });
        let mut idle: Vec<_> = (0..32).map(|_| program.connect()).collect();
        assert_hello(&mut idle[0], 1);
        let before = program.peak_kib();
        for connection in &mut idle {
            connection.request(1).get("/hello").param("LONG", &"x".repeat(LEN)).send();
            assert_eq!(connection.answer(1).text(), "hello, world\n");
        }
        // Room for what the allocator keeps, but not for what all of them would.
        let grown = program.peak_kib().saturating_sub(before);
        assert!(grown < (idle.len() * LEN / 4) as u64 >> 10, "it grew by {grown} KiB");
    }
}

#[test]
fn every_one_of_65535_begun_requests_gets_an_answer() {
    over_both(&[], |demo| {
        let mut connection = demo.connect();
        assert_hello(&mut connection, 1);
        let before = demo.peak_kib();
        let flood: Vec<u8> = (1..=65_535).flat_map(|id| record::begin(id, RESPONDER, true)).collect();
        connection.while_sending(&flood, |connection| {
            for id in MAX_REQUESTS + 1..=65_535 {
                let answer = connection.answer(id);
                assert_eq!((answer.status, answer.protocol_status), (503, OVERLOADED), "request {id}");
            }
        });
        for id in 1..=MAX_REQUESTS {
            let request = connection.request(id).get("/hello");
            let rest = request.bytes().split_off(request.begin().len());
            connection.send(&rest);
            assert_eq!(connection.answer(id).text(), "hello, world\n");
        }
        assert_small(before, demo.peak_kib());
    });
}

#[test]
fn params_in_pieces_of_one_byte_are_collected_up_to_the_limit_only() {
    over_both(&["--max-params", "200000"], |demo| {
        let mut connection = demo.connect();
        assert_hello(&mut connection, 1);
        let before = demo.peak_kib();
        connection.send(&record::begin(1, RESPONDER, true));
        let pieces = record::record(PARAMS, 1, b"x").repeat(200_001);
        let answer = connection.while_sending(&pieces, |connection| connection.answer(1));
        assert_eq!(answer.status, 431);
        assert_small(before, demo.peak_kib());
        assert_hello(&mut connection, 1);
    });
}

#[test]
fn params_of_many_requests_share_the_limit_of_their_connection() {
    over_both(&["--read-timeout", "1500"], |demo| {
        let mut connection = demo.connect();
        assert_hello(&mut connection, 1);
        let before = demo.peak_kib();
        let piece = [b'x'; 65_535];
        let begun: Vec<u8> = (1..=64)
            .flat_map(|id| [record::begin(id, RESPONDER, true), record::record(PARAMS, id, &piece)].concat())
            .collect();
        connection.send(&begun);
        let answers: Vec<_> = (1..=64).map(|id| connection.answer(id)).collect();
        let n_refused = answers.iter().filter(|answer| answer.protocol_status == OVERLOADED).count();
        assert!((20..64).contains(&n_refused), "of 4 MiB it took what {} requests sent", 64 - n_refused);
        assert!(answers.iter().all(|answer| [408, 503].contains(&answer.status)));
        assert_small(before, demo.peak_kib());
        assert_hello(&mut connection, 1);
    });
}

#[test]
fn records_that_announce_gigabytes_byte_by_byte_cost_nothing() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    assert_hello(&mut connection, 1);
    let before = demo.peak_kib();
    for id in 1..=64 {
        connection.send(&record::begin(id, RESPONDER, true));
        // A name and a value of 2 GiB less a byte each.
        connection.send(&record::record(PARAMS, id, b"\xff").repeat(8));
        connection.send(&record::record(PARAMS, id, b"x"));
    }
    connection.assert_usable();
    assert_small(before, demo.peak_kib());
    for id in 1..=64 {
        connection.send(&record::end_of_stream(PARAMS, id));
        assert_eq!(connection.answer(id).status, 400);
    }
    assert_hello(&mut connection, 1);
}
