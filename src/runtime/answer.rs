//! The STDOUT stream of one request: head and body become records, as few and as full as they can be.
//!
//! A small answer collects in one buffer and leaves in one write with END_REQUEST. A large piece of a body is not
//! copied: it goes from the handler's memory to the kernel, between headers.

use std::io::{self, Write};

use http::{response, StatusCode};

use crate::cgi::{put_head, put_refusal, AnswerBody, BodyRule, HeadError, HeadLimits};
use crate::error::BodyError;
use crate::protocol::{
    put_end_of_stream, put_record, Completed, Cut, Ending, ProtocolStatus, RecordHeader, RecordType, RequestId,
    HEADER_LEN, MAX_CONTENT_LEN,
};
use crate::request::RequestState;

/// Collected output is sent when there is this much of it.
const SEND_LEN: usize = 32 << 10;

/// A piece of a body that is at least this long is sent from where it lies.
const DIRECT_LEN: usize = 16 << 10;

/// How many records one direct write carries at most: after them others of the connection may have their turn.
const DIRECT_RECORDS: usize = 4;

/// Where an answer goes.
#[derive(Clone, Copy)]
pub(super) struct Destination<'a> {
    /// Sends whole records.
    pub(super) send: &'a (dyn Fn(&[&[u8]]) -> io::Result<()> + Sync),
    pub(super) request: &'a RequestState,
    pub(super) id: RequestId,
}

/// An answer under way.
pub(super) struct Answer<'a> {
    to: Destination<'a>,
    /// Records that were not sent yet. The last one is open while `open` says where it begins.
    out: Vec<u8>,
    open: Option<usize>,
    answers_head: bool,
    rule: BodyRule,
    body_len: u64,
    is_long: bool,
    progress: Progress,
    /// Why some of it could not be sent. What comes after that is not sent either, whatever the handler makes of it.
    failed: Option<BodyError>,
}

/// How far an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Progress {
    Nothing,
    /// The head is in the buffer: it can still be taken back.
    Collected,
    /// The web server has some of it, or may have.
    Sent,
}

impl<'a> Answer<'a> {
    /// `out` is a buffer to use, whatever is in it.
    pub(super) fn new(to: Destination<'a>, mut out: Vec<u8>) -> Answer<'a> {
        out.clear();
        Answer {
            to,
            out,
            open: None,
            answers_head: false,
            rule: BodyRule::Any,
            body_len: 0,
            is_long: false,
            progress: Progress::Nothing,
            failed: None,
        }
    }

    /// Whether the request was HEAD: then the answer has no body.
    pub(super) fn set_answers_head(&mut self, answers_head: bool) {
        self.answers_head = answers_head;
    }

    pub(super) fn progress(&self) -> Progress {
        self.progress
    }

    /// Collects the head. Nothing is sent yet.
    pub(super) fn head(
        &mut self,
        parts: &response::Parts,
        body: AnswerBody,
        variables: &[(String, String)],
        limits: HeadLimits,
    ) -> Result<BodyRule, HeadError> {
        self.open_record();
        self.progress = Progress::Collected;
        self.rule = put_head(&mut self.out, parts, self.answers_head, body, variables, limits)?;
        Ok(self.rule)
    }

    /// Takes back what was collected and answers with a status of this crate's own.
    pub(super) fn refuse(&mut self, status: StatusCode) {
        debug_assert!(self.progress < Progress::Sent);
        self.out.clear();
        self.open = None;
        self.rule = BodyRule::Any;
        self.open_record();
        put_refusal(&mut self.out, status, self.answers_head);
        self.progress = Progress::Collected;
    }

    /// Adds to the body. What goes beyond Content-Length is an error, and changes nothing: the answer is whole.
    pub(super) fn write(&mut self, content: &[u8]) -> io::Result<()> {
        self.check_unfailed()?;
        let allowed = self.allowed(content);
        self.is_long |= allowed.len() < content.len();
        let mut rest = allowed;
        while !rest.is_empty() {
            rest = self.write_some(rest)?;
        }
        match allowed.is_empty() && !content.is_empty() {
            true => Err(io::Error::new(io::ErrorKind::WriteZero, "the body has all the bytes of its Content-Length")),
            false => Ok(()),
        }
    }

    /// Sends all that was collected.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.check()?;
        self.close_record();
        if self.out.is_empty() {
            return Ok(());
        }
        self.progress = Progress::Sent;
        let sent = (self.to.send)(&[&self.out]);
        self.out.clear();
        self.sent(sent)
    }

    /// Why some of it could not be sent.
    pub(super) fn failed(&self) -> Option<BodyError> {
        self.failed
    }

    /// Whether the body has all the bytes that it may have.
    pub(super) fn is_complete(&self) -> bool {
        match self.rule {
            BodyRule::Any => false,
            BodyRule::Nothing => true,
            BodyRule::Exactly(len) => self.body_len == len,
        }
    }

    /// Whether the body is shorter than its Content-Length.
    pub(super) fn is_short(&self) -> bool {
        matches!(self.rule, BodyRule::Exactly(len) if self.body_len < len)
    }

    /// How many bytes wait to be sent.
    pub(super) fn collected_len(&self) -> usize {
        self.out.len()
    }

    /// Whether some of the body was dropped.
    pub(super) fn is_long(&self) -> bool {
        self.is_long
    }

    /// Ends a whole answer: the rest of STDOUT, STDERR if there is any, and END_REQUEST.
    pub(super) fn into_end(mut self, completed: Completed, app_status: u32) -> (Vec<u8>, Ending) {
        self.close_streams();
        let ending = completed.end_request(&mut self.out, ProtocolStatus::RequestComplete, app_status);
        (self.out, ending)
    }

    /// Ends an answer that was cut short. Where it is the connection that tells, STDOUT has no end.
    pub(super) fn into_cut(mut self, cut: Cut, app_status: u32) -> (Vec<u8>, Ending) {
        match cut {
            Cut::EndRequest(completed) => self.into_end(completed, app_status),
            Cut::Close(ending) => {
                self.close_record();
                self.put_stderr();
                (self.out, ending)
            }
        }
    }

    fn close_streams(&mut self) {
        self.close_record();
        self.put_stderr();
        if self.progress > Progress::Nothing {
            put_end_of_stream(&mut self.out, RecordType::Stdout, self.to.id);
        }
    }

    fn put_stderr(&mut self) {
        let stderr = self.to.request.take_stderr();
        if !stderr.is_empty() {
            put_record(&mut self.out, RecordType::Stderr, self.to.id, &stderr);
            put_end_of_stream(&mut self.out, RecordType::Stderr, self.to.id);
        }
    }

    /// Whether the answer may go on. The first failure stays.
    fn check(&mut self) -> io::Result<()> {
        self.failed = self.failed.or_else(|| self.to.request.stopped().map(|reason| reason.body_error()));
        self.check_unfailed()
    }

    fn check_unfailed(&self) -> io::Result<()> {
        self.failed.map_or(Ok(()), |error| Err(error.into()))
    }

    fn sent(&mut self, sent: io::Result<()>) -> io::Result<()> {
        if sent.is_err() {
            self.failed = Some(BodyError::Disconnected);
        }
        self.check()
    }

    /// The part of `content` that belongs to the body.
    fn allowed<'b>(&mut self, content: &'b [u8]) -> &'b [u8] {
        let len = match self.rule {
            BodyRule::Any => content.len(),
            BodyRule::Nothing => 0,
            BodyRule::Exactly(len) => {
                usize::try_from(len - self.body_len).map_or(content.len(), |left| left.min(content.len()))
            }
        };
        self.body_len += len as u64;
        &content[..len]
    }

    /// Sends or collects the first part of `content`, and returns the rest.
    fn write_some<'b>(&mut self, content: &'b [u8]) -> io::Result<&'b [u8]> {
        if content.len() >= DIRECT_LEN {
            return self.send_direct(content).map(|len| &content[len..]);
        }
        let rest = self.collect(content);
        if self.out.len() >= SEND_LEN {
            self.flush()?;
        }
        Ok(rest)
    }

    /// Copies what fits into the open record and returns the rest.
    fn collect<'b>(&mut self, content: &'b [u8]) -> &'b [u8] {
        let start = self.open_record();
        let room = MAX_CONTENT_LEN - (self.out.len() - start - HEADER_LEN);
        let (piece, rest) = content.split_at(content.len().min(room));
        self.out.extend_from_slice(piece);
        if piece.len() == room {
            self.close_record();
        }
        rest
    }

    /// Sends what was collected and the first part of `content`, whose length it returns.
    fn send_direct(&mut self, content: &[u8]) -> io::Result<usize> {
        self.check()?;
        self.close_record();
        let len = content.len().min(DIRECT_RECORDS * MAX_CONTENT_LEN);
        let pieces = content[..len].chunks(MAX_CONTENT_LEN);
        let headers = pieces.clone().map(|piece| RecordHeader::new(RecordType::Stdout, self.to.id, piece.len()));
        let mut headers_bytes = [[0; HEADER_LEN]; DIRECT_RECORDS];
        let mut padding_len = 0;
        for (bytes, header) in headers_bytes.iter_mut().zip(headers) {
            *bytes = header.to_bytes();
            padding_len = usize::from(header.padding_len);
        }
        let mut parts: Vec<&[u8]> = Vec::with_capacity(2 * DIRECT_RECORDS + 2);
        parts.push(&self.out);
        for (header, piece) in headers_bytes.iter().zip(pieces) {
            parts.extend([&header[..], piece]);
        }
        // Only the last record can be of a length that needs padding.
        parts.push(&[0; 8][..padding_len]);
        self.progress = Progress::Sent;
        let sent = (self.to.send)(&parts);
        self.out.clear();
        self.sent(sent).map(|()| len)
    }

    fn open_record(&mut self) -> usize {
        *self.open.get_or_insert_with(|| {
            self.out.extend_from_slice(&[0; HEADER_LEN]);
            self.out.len() - HEADER_LEN
        })
    }

    fn close_record(&mut self) {
        let Some(start) = self.open.take() else { return };
        let content_len = self.out.len() - start - HEADER_LEN;
        if content_len == 0 {
            // An empty record would end the stream.
            self.out.truncate(start);
            return;
        }
        let header = RecordHeader::new(RecordType::Stdout, self.to.id, content_len);
        self.out[start..start + HEADER_LEN].copy_from_slice(&header.to_bytes());
        self.out.resize(self.out.len() + usize::from(header.padding_len), 0);
    }
}

/// The body, for who writes it.
impl Write for Answer<'_> {
    fn write(&mut self, content: &[u8]) -> io::Result<usize> {
        // A handler that writes small pieces learns of its cancellation by the next one.
        self.check()?;
        Answer::write(self, content)?;
        Ok(content.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Answer::flush(self)
    }
}

#[cfg(test)]
mod tests {
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
                    Ok(())
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
        let expected = b"\x01\x06\0\x01\0\x39\x07\0Status: 200 OK\r\ncontent-type: t\r\ncontent-length: 3\r\n\r\nabc\0\0\0\0\0\0\0\
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
            assert!(!answer.is_short() && answer.failed().is_none(), "the answer is whole");
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
                assert_eq!(answer.failed(), Some(expected));
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
}
