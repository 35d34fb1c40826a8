//! The STDOUT stream of one request: head and body become records, as few and as full as they can be.
//!
//! A small answer collects in one buffer and leaves in one write with END_REQUEST. A large piece of a body is not
//! copied: it goes from the handler's memory to the kernel, between headers.

use std::io::{self, Write};

use http::{response, StatusCode};

use crate::cgi::{put_head, put_refusal, AnswerBody, BodyRule, HeadError, HeadLimits};
use crate::connection::outbox::{Outbox, Part};
use crate::error::BodyError;
use crate::net::socket::Socket;
use crate::protocol::{
    put_end_of_stream, put_end_request, put_record, ProtocolStatus, RecordHeader, RecordType, RequestId, HEADER_LEN,
    MAX_CONTENT_LEN,
};
use crate::request::exchange::Exchange;
use crate::request::signal::CancelReason;

/// Collected output is sent when there is this much of it.
const SEND_LEN: usize = 32 << 10;

/// A piece of a body that is at least this long is sent from where it lies.
const DIRECT_LEN: usize = 16 << 10;

/// How many records one direct write carries at most: after them others of the connection may have their turn.
const DIRECT_RECORDS: usize = 4;

/// Where an answer goes.
#[derive(Clone, Copy)]
pub(crate) struct Destination<'a> {
    pub(crate) socket: &'a Socket,
    pub(crate) outbox: &'a Outbox,
    pub(crate) exchange: &'a Exchange,
    pub(crate) id: RequestId,
}

/// An answer under way.
pub(crate) struct Answer<'a> {
    to: Destination<'a>,
    /// Records that were not sent yet. The last one is open while `open` says where it begins.
    out: Vec<u8>,
    open: Option<usize>,
    rule: BodyRule,
    body_len: u64,
    is_long: bool,
    progress: Progress,
}

/// How far an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Progress {
    Nothing,
    /// The head is in the buffer: it can still be taken back.
    Collected,
    /// The web server has some of it, or may have.
    Sent,
}

impl<'a> Answer<'a> {
    /// `out` is a buffer to use, whatever is in it.
    pub(crate) fn new(to: Destination<'a>, mut out: Vec<u8>) -> Answer<'a> {
        out.clear();
        Answer { to, out, open: None, rule: BodyRule::Any, body_len: 0, is_long: false, progress: Progress::Nothing }
    }

    pub(crate) fn progress(&self) -> Progress {
        self.progress
    }

    /// Collects the head. Nothing is sent yet.
    pub(crate) fn head(
        &mut self,
        parts: &response::Parts,
        answers_head: bool,
        body: AnswerBody,
        variables: &[(String, String)],
        limits: HeadLimits,
    ) -> Result<BodyRule, HeadError> {
        self.open_record();
        self.progress = Progress::Collected;
        self.rule = put_head(&mut self.out, parts, answers_head, body, variables, limits)?;
        Ok(self.rule)
    }

    /// Takes back what was collected and answers with a status of this crate's own.
    pub(crate) fn refuse(&mut self, status: StatusCode, answers_head: bool) {
        debug_assert!(self.progress < Progress::Sent);
        self.out.clear();
        self.open = None;
        self.rule = BodyRule::Any;
        self.open_record();
        put_refusal(&mut self.out, status, answers_head);
        self.progress = Progress::Collected;
    }

    /// Adds to the body. What goes beyond Content-Length, or must not be sent at all, is dropped.
    pub(crate) fn write(&mut self, content: &[u8]) -> io::Result<()> {
        let mut content = self.allowed(content);
        while !content.is_empty() {
            if content.len() >= DIRECT_LEN {
                let len = self.send_direct(content)?;
                content = &content[len..];
            } else {
                content = self.collect(content);
                if self.out.len() >= SEND_LEN {
                    self.flush()?;
                }
            }
        }
        Ok(())
    }

    /// Sends all that was collected.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.close_record();
        if self.out.is_empty() {
            return self.to.exchange.check_writable();
        }
        self.progress = Progress::Sent;
        let sent = send(self.to, &[&self.out]);
        self.out.clear();
        sent
    }

    /// Whether the body is shorter than its Content-Length.
    pub(crate) fn is_short(&self) -> bool {
        matches!(self.rule, BodyRule::Exactly(len) if self.body_len < len)
    }

    /// How many bytes wait to be sent.
    pub(crate) fn collected_len(&self) -> usize {
        self.out.len()
    }

    /// Whether some of the body was dropped.
    pub(crate) fn is_long(&self) -> bool {
        self.is_long
    }

    /// What ends a whole answer: the rest of STDOUT, STDERR if there is any, and END_REQUEST.
    pub(crate) fn into_end(mut self, status: ProtocolStatus, app_status: u32) -> Vec<u8> {
        let id = self.to.id;
        self.close_record();
        let stderr = self.to.exchange.take_stderr();
        if !stderr.is_empty() {
            put_record(&mut self.out, RecordType::Stderr, id, &stderr);
            put_end_of_stream(&mut self.out, RecordType::Stderr, id);
        }
        if self.progress > Progress::Nothing {
            put_end_of_stream(&mut self.out, RecordType::Stdout, id);
        }
        put_end_request(&mut self.out, id, status, app_status);
        self.out
    }

    /// What was collected of an answer that is cut short, without an end.
    pub(crate) fn into_cut(mut self) -> Vec<u8> {
        self.close_record();
        self.out
    }

    fn allowed<'b>(&mut self, content: &'b [u8]) -> &'b [u8] {
        let len = match self.rule {
            BodyRule::Any => content.len(),
            BodyRule::Nothing => 0,
            BodyRule::Exactly(len) => {
                usize::try_from(len - self.body_len).map_or(content.len(), |left| left.min(content.len()))
            }
        };
        self.body_len += len as u64;
        self.is_long |= len < content.len();
        &content[..len]
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
        let sent = send(self.to, &parts);
        self.out.clear();
        sent.map(|()| len)
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
        Answer::write(self, content)?;
        Ok(content.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Answer::flush(self)
    }
}

fn send(to: Destination<'_>, parts: &[&[u8]]) -> io::Result<()> {
    to.exchange.check_writable()?;
    to.outbox.send(to.socket, parts, Part::Some).map_err(|_| {
        // A writer can be the first to meet the end of a connection.
        to.exchange.cancel(CancelReason::Disconnected);
        BodyError::Disconnected.into()
    })
}

/// Where a streaming body is written to: see [`SendBody::writer`](crate::SendBody::writer).
///
/// `flush` puts what was written on the wire now. Errors carry a [`BodyError`]: the web server has aborted
/// the request, the connection is lost, or its time is over.
pub struct BodyWriter<'a>(pub(crate) &'a mut (dyn Write + Send));

impl Write for BodyWriter<'_> {
    fn write(&mut self, content: &[u8]) -> io::Result<usize> {
        self.0.write(content)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl std::fmt::Debug for BodyWriter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BodyWriter").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use crate::protocol::Role;
    use crate::request::pipe::PipeLimits;
    use std::io::Read;
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream;
    use std::time::Instant;

    const LIMITS: HeadLimits = HeadLimits { max_head: 1000 };

    /// The fixed points of an answer, and the far end of its connection.
    struct Bench {
        socket: Socket,
        outbox: Outbox,
        exchange: Exchange,
        peer: UnixStream,
    }

    impl Bench {
        fn new() -> Bench {
            let (ours, peer) = UnixStream::pair().expect("a pair");
            let limits = PipeLimits { buffer: 0, max_len: 0 };
            let exchange = Exchange::new(Role::Responder, limits, 100, Metrics::default(), Instant::now());
            Bench { socket: Socket::Unix(ours), outbox: Outbox::default(), exchange, peer }
        }

        fn answer(&self) -> Answer<'_> {
            let Bench { socket, outbox, exchange, .. } = self;
            Answer::new(Destination { socket, outbox, exchange, id: 1 }, Vec::new())
        }

        fn received(mut self) -> Vec<u8> {
            self.socket.shutdown(Shutdown::Write);
            let mut bytes = Vec::new();
            self.peer.read_to_end(&mut bytes).expect("read");
            bytes
        }
    }

    fn head(answer: &mut Answer<'_>, len: Option<u64>) {
        let (parts, ()) = http::Response::new(()).into_parts();
        let body = AnswerBody { len, default_type: "t" };
        answer.head(&parts, false, body, &[], LIMITS).expect("a good head");
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
        let bench = Bench::new();
        let mut answer = bench.answer();
        head(&mut answer, Some(3));
        answer.write(b"abc").expect("collected");
        bench.exchange.add_stderr(b"note");
        assert_eq!(answer.progress(), Progress::Collected);
        let end = answer.into_end(ProtocolStatus::RequestComplete, 7);
        let expected = b"\x01\x06\0\x01\0\x39\x07\0Status: 200 OK\r\ncontent-type: t\r\ncontent-length: 3\r\n\r\nabc\0\0\0\0\0\0\0\
            \x01\x07\0\x01\0\x04\x04\0note\0\0\0\0\x01\x07\0\x01\0\0\0\0\
            \x01\x06\0\x01\0\0\0\0\x01\x03\0\x01\0\x08\0\0\0\0\0\x07\0\0\0\0";
        assert_eq!(end, expected);
        assert!(bench.received().is_empty());
    }

    #[test]
    fn pieces_of_every_size_arrive_whole_and_in_order() {
        for piece_len in [1, 999, DIRECT_LEN - 1, DIRECT_LEN, MAX_CONTENT_LEN, MAX_CONTENT_LEN + 1, 300_001] {
            let bench = Bench::new();
            let body: Vec<u8> = (0..300_001u32).map(|n| (n % 251) as u8).collect();
            let mut peer = bench.peer.try_clone().expect("a clone");
            let reader = std::thread::spawn(move || {
                let mut bytes = Vec::new();
                peer.read_to_end(&mut bytes).map(|_| bytes)
            });
            let mut answer = bench.answer();
            head(&mut answer, Some(body.len() as u64));
            body.chunks(piece_len).for_each(|piece| answer.write(piece).expect("sent"));
            assert!(!answer.is_short());
            answer.flush().expect("flushed");
            drop(bench);
            let (content, n_records) = stdout(&reader.join().expect("no panic").expect("read"));
            assert!(content.ends_with(&body) && content.starts_with(b"Status: 200"), "{piece_len}");
            assert!(n_records <= 2 + body.len() / (SEND_LEN / 2), "{piece_len}: {n_records}");
        }
    }

    #[test]
    fn what_goes_beyond_the_length_is_cut_off_and_what_lacks_is_known() {
        let bench = Bench::new();
        let mut answer = bench.answer();
        head(&mut answer, Some(4));
        answer.write(b"abc").expect("collected");
        assert!(answer.is_short());
        answer.write(b"defg").expect("cut");
        answer.write(&[0; DIRECT_LEN]).expect("dropped");
        assert!(!answer.is_short() && answer.is_long());
        answer.flush().expect("flushed");
        assert!(stdout(&bench.received()).0.ends_with(b"\r\n\r\nabcd"));
    }

    #[test]
    fn an_empty_flush_sends_no_end_of_stream() {
        let bench = Bench::new();
        let mut answer = bench.answer();
        head(&mut answer, None);
        (0..3).for_each(|_| answer.flush().expect("flushed"));
        assert_eq!(stdout(&bench.received()).1, 1);
    }

    #[test]
    fn a_head_that_was_not_sent_can_be_taken_back() {
        let bench = Bench::new();
        let mut answer = bench.answer();
        head(&mut answer, None);
        answer.refuse(StatusCode::INTERNAL_SERVER_ERROR, false);
        answer.flush().expect("flushed");
        assert!(stdout(&bench.received()).0.starts_with(b"Status: 500 Internal Server Error\r\n"));
    }

    #[test]
    fn writing_an_aborted_answer_fails_with_the_reason() {
        let bench = Bench::new();
        let mut answer = bench.answer();
        head(&mut answer, None);
        bench.exchange.cancel(CancelReason::Aborted);
        let error = answer.flush().expect_err("aborted");
        assert_eq!(BodyError::of(&error), Some(BodyError::Aborted));
        let error = answer.write(&[0; DIRECT_LEN]).expect_err("aborted");
        assert_eq!(BodyError::of(&error), Some(BodyError::Aborted));
        assert!(bench.received().is_empty());
    }
}
