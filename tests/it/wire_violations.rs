//! Verifies that a web server which breaks the protocol, or the connection, harms nobody but itself.

use crate::demo::{over_both, wait_until, Demo};
use crate::peer::record::{self, BEGIN_REQUEST, RESPONDER};
use crate::peer::Request;

/// Sends a violation on a connection of its own and waits for its end, while a request runs on another.
fn assert_closes_for(demo: &Demo, violation: &[u8]) {
    let mut bystander = demo.connect();
    bystander.request(1).get("/wait-abort").send();
    let mut offender = demo.connect();
    offender.request(7).get("/wait-abort").send();
    offender.assert_usable();
    offender.send(violation);
    offender.drain();
    bystander.assert_usable();
    assert!(bystander.is_active(1), "another connection's request was ended");
    bystander.abort(1);
    bystander.ending(1);
    demo.assert_serves();
}

/// Waits until nothing is left of the connections of the past: only the one that asks is open.
fn assert_clean(demo: &Demo) {
    let mut connection = demo.connect();
    wait_until("the end of all other requests and connections", || {
        connection.request(1).get("/metrics").send();
        let metrics = connection.answer(1).json();
        metrics["active_requests"] == 1 && metrics["open_connections"] == 1
    });
}

fn warnings(demo: &Demo) -> usize {
    demo.log().lines().filter(|line| line.contains("WARN")).count()
}

#[test]
fn another_version_ends_the_connection_with_one_warning() {
    over_both(&[], |demo| {
        for (n, version) in [0, 2, 128, 255].into_iter().enumerate() {
            assert_closes_for(demo, &record::versioned(version, BEGIN_REQUEST, 1, &[0, 1, 1, 0, 0, 0, 0, 0], 0));
            assert_eq!(warnings(demo), n + 1, "{}", demo.log());
        }
        assert_clean(demo);
    });
}

#[test]
fn a_request_with_id_zero_ends_the_connection_with_one_warning() {
    over_both(&[], |demo| {
        assert_closes_for(demo, &record::begin(0, RESPONDER, true));
        assert_eq!(warnings(demo), 1, "{}", demo.log());
        assert_clean(demo);
    });
}

#[test]
fn a_second_request_with_an_active_id_ends_the_connection_with_one_warning() {
    over_both(&[], |demo| {
        assert_closes_for(demo, &record::begin(7, RESPONDER, true));
        assert_eq!(warnings(demo), 1, "{}", demo.log());
        assert_clean(demo);
        assert_eq!(demo.counter("cancelled_requests"), 2, "the offender's request and the bystander's abort");
    });
}

#[test]
fn a_second_request_with_an_id_whose_params_have_not_ended_ends_the_connection() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    connection.send(&[record::begin(1, RESPONDER, true), record::begin(1, RESPONDER, true)].concat());
    connection.drain();
    demo.assert_serves();
}

#[test]
fn what_follows_a_violation_is_not_carried_out() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    let hello = Request::detached(1).get("/hello").bytes();
    connection.send(&[record::versioned(9, record::STDIN, 1, b"", 0), hello].concat());
    assert_eq!(connection.drain(), b"");
    demo.assert_serves();
}

#[test]
fn a_begin_request_of_too_few_bytes_harms_nobody() {
    over_both(&[], |demo| {
        for len in 0..8 {
            let mut connection = demo.connect();
            connection.send(&record::record(BEGIN_REQUEST, 1, &[0, 1, 1, 0, 0, 0, 0, 0][..len]));
            // It may be closed by now.
            let _: std::io::Result<()> = connection.try_send(&Request::detached(2).get("/hello").closing().bytes());
            connection.drain();
        }
        demo.assert_serves();
        assert_clean(demo);
    });
}

#[test]
fn the_end_of_the_connection_at_any_byte_is_survived() {
    over_both(&[], |demo| {
        let session = Request::detached(1).post("/count").body(b"12345").bytes();
        for len in 0..session.len() {
            let mut connection = demo.connect();
            connection.send(&session[..len]);
            connection.half_close();
            connection.assert_closed();
            // The next one is closed abruptly.
            demo.connect().send(&session[..len]);
        }
        let mut connection = demo.connect();
        connection.send(&session);
        connection.half_close();
        assert_eq!(connection.answer(1).text(), "5\n");
        connection.assert_closed();
        assert_clean(demo);
    });
}

#[test]
fn random_bytes_are_survived() {
    over_both(&[], |demo| {
        let mut random = Random(0x5EED);
        for _ in 0..300 {
            let len = random.below(2_000);
            survive(demo, &random.bytes(len));
        }
        demo.assert_serves();
        assert_clean(demo);
    });
}

#[test]
fn random_records_are_survived() {
    over_both(&[], |demo| {
        let mut random = Random(0xFEED);
        for _ in 0..300 {
            let records: Vec<u8> = (0..random.below(30)).flat_map(|_| random.record()).collect();
            survive(demo, &records);
        }
        demo.assert_serves();
        assert_clean(demo);
    });
}

#[test]
fn sessions_with_wrong_bytes_are_survived() {
    over_both(&[], |demo| {
        let mut random = Random(0xBAD);
        let requests = (1..=3).map(|id| Request::detached(id).post("/digest").body(b"a body").bytes());
        let session: Vec<u8> = requests.flatten().collect();
        for _ in 0..500 {
            let mut garbled = session.clone();
            for _ in 0..=random.below(4) {
                garbled[random.below(session.len())] = random.next() as u8;
            }
            survive(demo, &garbled);
        }
        demo.assert_serves();
        assert_clean(demo);
    });
}

/// Sends anything, then nothing more; the application has to come to an end with it.
fn survive(demo: &Demo, bytes: &[u8]) {
    let mut connection = demo.connect();
    // Either may fail, because the application may have closed the connection.
    let _: std::io::Result<()> = connection.try_send(bytes).and_then(|()| connection.try_half_close());
    connection.drain();
}

/// Xorshift: the same numbers in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }

    /// A record with a good header, a likely type and one of few ids, so that it reaches beyond the framing.
    fn record(&mut self) -> Vec<u8> {
        let (kind, id, len) = (self.below(13) as u8, self.below(4) as u16, self.below(40));
        let content = match kind {
            BEGIN_REQUEST => vec![0, self.below(5) as u8, 1, 0, 0, 0, 0, 0],
            _ => self.bytes(len),
        };
        record::padded(kind, id, &content, self.below(9) as u8)
    }
}
