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
use crate::request::{CancelReason, RequestState};

/// Collected output is sent when there is this much of it.
const SEND_LEN: usize = 32 << 10;

/// A piece of a body that is at least this long is sent from where it lies.
const DIRECT_LEN: usize = 16 << 10;

/// How many records one direct write carries at most: after them others of the connection may have their turn.
const DIRECT_RECORDS: usize = 4;

/// Where an answer goes.
#[derive(Clone, Copy)]
pub(super) struct Destination<'a> {
    /// Sends whole records; `false` when the request was cancelled before anything of them was sent.
    pub(super) send: &'a (dyn Fn(&[&[u8]]) -> io::Result<bool> + Sync),
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
        let sent = (self.to.send)(&[&self.out]);
        self.sent(sent)
    }

    /// Why it must not pass for a whole, now that its body has come to its end. One that was streamed, has no length, and
    /// ends after its request was cancelled may have ended for that.
    pub(super) fn failure(&mut self, is_streamed: bool) -> Option<BodyError> {
        if is_streamed && !self.is_complete() {
            self.failed = self.failed.or_else(|| self.to.request.given_up().map(CancelReason::body_error));
        }
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
        self.failed = self.failed.or_else(|| self.stop_reason());
        self.check_unfailed()
    }

    fn check_unfailed(&self) -> io::Result<()> {
        self.failed.map_or(Ok(()), |error| Err(error.into()))
    }

    /// What was collected has been sent, or could not be.
    fn sent(&mut self, sent: io::Result<bool>) -> io::Result<()> {
        self.out.clear();
        match sent {
            Ok(true) => self.progress = Progress::Sent,
            Ok(false) => self.failed = self.failed.or_else(|| self.stop_reason()),
            Err(_) => {
                self.progress = Progress::Sent;
                self.failed = Some(BodyError::Disconnected);
            }
        }
        self.check_unfailed()
    }

    fn stop_reason(&self) -> Option<BodyError> {
        self.to.request.stopped().map(CancelReason::body_error)
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
        let sent = (self.to.send)(&parts);
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
mod tests;
