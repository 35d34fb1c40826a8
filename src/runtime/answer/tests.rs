//! Tests of answers: records are as few and as full as they can be, and nothing passes for a whole that is none.

use super::*;
use crate::protocol::{BeginRequest, Demux, Event, Role, Stream};
use crate::request::{Cancel, PipeLimits};
use crate::settings::Settings;
use std::sync::Mutex;
use std::time::Instant;

const LIMITS: HeadLimits = HeadLimits { max_head: 1000 };

/// A request, and what was sent of its answer.
struct Fixture {
    request: RequestState,
    sent: Mutex<Vec<u8>>,
    is_lost: bool,
}

impl Fixture {
    fn new() -> Fixture {
        let limits = PipeLimits { buffer: 0, max_len: 0 };
        let request = RequestState::new(Role::Responder, limits, 100, Instant::now());
        Fixture { request, sent: Mutex::default(), is_lost: false }
    }

    fn with<R>(&self, run: impl FnOnce(Answer<'_>) -> R) -> R {
        let send = |parts: &[&[u8]]| match self.is_lost {
            true => Err(io::ErrorKind::BrokenPipe.into()),
            false => {
                self.sent.lock().expect("no panic").extend(parts.concat());
                Ok(true)
            }
        };
        run(Answer::new(Destination { send: &send, request: &self.request, id: 1 }, Vec::new()))
    }

    fn sent(&self) -> Vec<u8> {
        self.sent.lock().expect("no panic").clone()
    }
}

/// Request 1 of a connection, completed.
fn completed() -> Completed {
    let roles = crate::protocol::Roles { responder: true, ..Default::default() };
    let mut demux = Demux::new(Settings::default().demux_limits(roles));
    let begin = BeginRequest { role: 1, keep_conn: true };
    let mut receive = |event| demux.receive(event, Instant::now(), drop).expect("no violation");
    receive(Event::Begin { id: 1, begin });
    receive(Event::EndOfStream { id: 1, stream: Stream::Params });
    let (key, ()) = demux.active()[0];
    demux.complete(key).expect("it is active")
}

fn head(answer: &mut Answer<'_>, len: Option<u64>) {
    let (parts, ()) = http::Response::new(()).into_parts();
    let body = AnswerBody { len, default_type: "t" };
    answer.head(&parts, body, &[], LIMITS).expect("a good head");
}

/// The contents of the STDOUT records, joined, and how many records there were.
fn stdout(mut bytes: &[u8]) -> (Vec<u8>, usize) {
    let (mut content, mut n_records) = (Vec::new(), 0);
    while !bytes.is_empty() {
        let header = RecordHeader::parse(bytes[..8].try_into().expect("a header"));
        assert_eq!((header.version, header.record_type, header.id, bytes[7]), (1, 6, 1, 0));
        assert!(header.content_len > 0 && usize::from(header.content_len) <= MAX_CONTENT_LEN);
        let end = 8 + usize::from(header.content_len);
        content.extend_from_slice(&bytes[8..end]);
        bytes = &bytes[end + usize::from(header.padding_len)..];
        n_records += 1;
    }
    (content, n_records)
}

#[test]
fn a_small_answer_is_one_piece_and_nothing_leaves_before_its_end() {
    let fixture = Fixture::new();
    let end = fixture.with(|mut answer| {
        head(&mut answer, Some(3));
        answer.write(b"abc").expect("collected");
        fixture.request.add_stderr(b"note");
        assert_eq!(answer.progress(), Progress::Collected);
        answer.into_end(completed(), 7).0
    });
    let expected =
        b"\x01\x06\0\x01\0\x39\x07\0Status: 200 OK\r\ncontent-type: t\r\ncontent-length: 3\r\n\r\nabc\0\0\0\0\0\0\0\
        \x01\x07\0\x01\0\x04\x04\0note\0\0\0\0\x01\x07\0\x01\0\0\0\0\
        \x01\x06\0\x01\0\0\0\0\x01\x03\0\x01\0\x08\0\0\0\0\0\x07\0\0\0\0";
    assert_eq!(end, expected);
    assert!(fixture.sent().is_empty());
}

#[test]
fn pieces_of_every_size_arrive_whole_and_in_order() {
    for piece_len in [1, 999, DIRECT_LEN - 1, DIRECT_LEN, MAX_CONTENT_LEN, MAX_CONTENT_LEN + 1, 300_001] {
        let fixture = Fixture::new();
        let body: Vec<u8> = (0..300_001u32).map(|n| (n % 251) as u8).collect();
        fixture.with(|mut answer| {
            head(&mut answer, Some(body.len() as u64));
            body.chunks(piece_len).for_each(|piece| answer.write(piece).expect("sent"));
            assert!(!answer.is_short() && answer.is_complete());
            answer.flush().expect("flushed");
        });
        let (content, n_records) = stdout(&fixture.sent());
        assert!(content.ends_with(&body) && content.starts_with(b"Status: 200"), "{piece_len}");
        assert!(n_records <= 2 + body.len() / (SEND_LEN / 2), "{piece_len}: {n_records}");
    }
}

#[test]
fn what_goes_beyond_the_length_is_an_error_and_what_lacks_is_known() {
    let fixture = Fixture::new();
    fixture.with(|mut answer| {
        head(&mut answer, Some(4));
        answer.write(b"abc").expect("collected");
        assert!(answer.is_short() && !answer.is_complete());
        answer.write(b"defg").expect("the first byte of it belongs to the body");
        assert!(answer.is_complete() && answer.is_long());
        for late in [&b"x"[..], &[0; DIRECT_LEN]] {
            assert_eq!(answer.write(late).map_err(|error| error.kind()), Err(io::ErrorKind::WriteZero));
        }
        answer.write(b"").expect("nothing is no error");
        assert!(!answer.is_short() && answer.failure(true).is_none(), "the answer is whole");
        answer.flush().expect("flushed");
    });
    assert!(stdout(&fixture.sent()).0.ends_with(b"\r\n\r\nabcd"));
}

#[test]
fn an_empty_flush_sends_no_end_of_stream() {
    let fixture = Fixture::new();
    fixture.with(|mut answer| {
        head(&mut answer, None);
        (0..3).for_each(|_| answer.flush().expect("flushed"));
    });
    assert_eq!(stdout(&fixture.sent()).1, 1);
}

#[test]
fn a_head_that_was_not_sent_can_be_taken_back() {
    let fixture = Fixture::new();
    fixture.with(|mut answer| {
        head(&mut answer, None);
        answer.refuse(StatusCode::INTERNAL_SERVER_ERROR);
        answer.flush().expect("flushed");
    });
    assert!(stdout(&fixture.sent()).0.starts_with(b"Status: 500 Internal Server Error\r\n"));
}

#[test]
fn after_the_first_failure_every_write_fails_alike() {
    let failures: [(&[Cancel], bool, BodyError); 4] = [
        (&[Cancel::Aborted], false, BodyError::Aborted),
        (&[Cancel::HalfClosed, Cancel::Deadline], false, BodyError::TimedOut),
        (&[], true, BodyError::Disconnected),
        (&[Cancel::HalfClosed], true, BodyError::Disconnected),
    ];
    for (cancels, is_lost, expected) in failures {
        let fixture = Fixture { is_lost, ..Fixture::new() };
        fixture.with(|mut answer| {
            head(&mut answer, None);
            for &cancel in cancels {
                fixture.request.cancel(cancel);
            }
            let first = answer.flush().expect_err("it cannot be sent");
            // A later cancellation does not change the reason.
            fixture.request.cancel(Cancel::Shutdown);
            let write = answer.write(b"x").expect_err("nor can this");
            let direct = answer.write(&[0; DIRECT_LEN]).expect_err("nor this");
            let flush = answer.flush().expect_err("nor this");
            for error in [first, write, direct, flush] {
                assert_eq!(BodyError::of(&error), Some(expected));
            }
            assert_eq!(answer.failure(true), Some(expected));
        });
        assert!(fixture.sent().is_empty());
    }
}

#[test]
fn a_small_write_learns_of_the_cancellation_at_once() {
    let fixture = Fixture::new();
    fixture.with(|mut answer| {
        head(&mut answer, None);
        answer.write(b"x").expect("collected");
        fixture.request.cancel(Cancel::Lost);
        answer.write(b"x").expect("a whole answer may be collected, whoever reads it");
        let error = Write::write(&mut answer, b"x").expect_err("lost");
        assert_eq!(BodyError::of(&error), Some(BodyError::Disconnected));
    });
}

#[test]
fn a_streamed_body_that_ends_after_the_cancellation_is_whole_only_if_its_length_says_so() {
    let overdue = Some(BodyError::TimedOut);
    let lost = Some(BodyError::Disconnected);
    let rows = [
        (None, Cancel::Deadline, false, true, overdue),
        (Some(1), Cancel::Deadline, false, true, None),
        (None, Cancel::Deadline, false, false, None),
        // A peer that has closed its sending side still reads, and a handler that did not look goes on to the end.
        (None, Cancel::HalfClosed, false, true, None),
        (None, Cancel::HalfClosed, true, true, lost),
    ];
    for (len, cancel, looks, is_streamed, expected) in rows {
        let fixture = Fixture::new();
        fixture.with(|mut answer| {
            head(&mut answer, len);
            answer.write(b"x").expect("collected");
            fixture.request.cancel(cancel);
            if looks {
                assert!(fixture.request.tell_reason().is_some());
            }
            assert_eq!(answer.failure(is_streamed), expected, "{len:?} {cancel:?} {looks} {is_streamed}");
        });
    }
}
