//! What a handler reads: the body of a request, and the data stream of a Filter.

use std::fmt;
use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::error::BodyError;
use crate::protocol::Stream;
use crate::request::RequestState;

/// The body of a request: `Read` and `BufRead`, streaming while the client sends it.
///
/// Its end is the end of the body, whole as announced: a body that is shorter than CONTENT_LENGTH ends in the error
/// [`BodyError::Truncated`], one that grows beyond [`max_body`](crate::Server::max_body) in
/// [`BodyError::TooLarge`], one that stops coming in [`BodyError::TimedOut`], and a cancelled one in the reason.
///
/// It can be made from memory, so that handlers are tested by calling them:
///
/// ```
/// use std::io::Read;
/// let mut text = String::new();
/// fcgi::Body::from("hello").read_to_string(&mut text)?;
/// assert_eq!(text, "hello");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Default)]
pub struct Body {
    input: Input,
}

/// The data stream of a Filter (FastCGI 6.4): `Read` and `BufRead`.
///
/// A stream shorter than FCGI_DATA_LENGTH ends in the error [`BodyError::Truncated`].
#[derive(Default)]
pub struct FilterData {
    input: Input,
    length: Option<u64>,
    last_modified: Option<SystemTime>,
}

/// Reads one input stream chunk by chunk.
#[derive(Default)]
struct Input {
    /// `None` for an input from memory.
    source: Option<Source>,
    chunk: Vec<u8>,
    consumed: usize,
    /// What is still to come, when that was announced.
    remaining: Option<u64>,
}

/// A stream of a request. Its content is dropped when the handler drops this.
struct Source {
    request: Arc<RequestState>,
    stream: Stream,
}

impl Body {
    pub(crate) fn new(request: Arc<RequestState>, content_length: Option<u64>) -> Body {
        Body { input: Input::new(request, Stream::Stdin, content_length) }
    }

    fn from_memory(bytes: Vec<u8>) -> Body {
        Body { input: Input { chunk: bytes, ..Input::default() } }
    }
}

impl FilterData {
    pub(crate) fn new(request: Arc<RequestState>, length: Option<u64>, last_modified: Option<u64>) -> FilterData {
        let since_epoch = last_modified.map(Duration::from_secs);
        FilterData {
            input: Input::new(request, Stream::Data, length),
            length,
            last_modified: since_epoch.and_then(|time| SystemTime::UNIX_EPOCH.checked_add(time)),
        }
    }

    /// FCGI_DATA_LENGTH, the length of the stream in bytes.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// FCGI_DATA_LAST_MOD, when the file behind the stream was modified last.
    pub fn last_modified(&self) -> Option<SystemTime> {
        self.last_modified
    }
}

impl Input {
    fn new(request: Arc<RequestState>, stream: Stream, announced: Option<u64>) -> Input {
        if let Some(len) = announced {
            request.input(stream).expect(len);
        }
        let source = Some(Source { request, stream });
        Input { source, remaining: announced, ..Input::default() }
    }

    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.check_alive()?;
        if self.consumed == self.chunk.len() {
            self.next_chunk()?;
        }
        Ok(&self.chunk[self.consumed..])
    }

    /// After the request nothing can be read, not even what is here already; nor after a cancellation, but for what had
    /// arrived on a connection that is lost.
    fn check_alive(&self) -> io::Result<()> {
        match &self.source {
            Some(source) => Ok(source.request.check_readable()?),
            None => Ok(()),
        }
    }

    fn consume(&mut self, len: usize) {
        self.consumed = self.chunk.len().min(self.consumed + len);
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.fill_buf()?.read(buffer)?;
        self.consume(len);
        Ok(len)
    }

    fn next_chunk(&mut self) -> io::Result<()> {
        let Some(source) = &self.source else { return Ok(()) };
        if self.remaining == Some(0) {
            return Ok(());
        }
        let pipe = source.request.input(source.stream);
        self.consumed = 0;
        match pipe.next(std::mem::take(&mut self.chunk))? {
            Some(chunk) => {
                self.chunk = chunk;
                self.cut_off_excess();
                Ok(())
            }
            None if self.remaining.is_some() => Err(BodyError::Truncated.into()),
            None => Ok(()),
        }
    }
}

impl Input {
    /// What goes beyond the announced length is not part of the stream. The pipe drops it once it knows the length;
    /// this is for what came before.
    fn cut_off_excess(&mut self) {
        if let Some(left) = &mut self.remaining {
            let len = usize::try_from(*left).map_or(self.chunk.len(), |left| left.min(self.chunk.len()));
            self.chunk.truncate(len);
            *left -= len as u64;
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.request.input(self.stream).close();
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.input.read(buffer)
    }
}

impl BufRead for Body {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.input.fill_buf()
    }

    fn consume(&mut self, len: usize) {
        self.input.consume(len);
    }
}

impl Read for FilterData {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.input.read(buffer)
    }
}

impl BufRead for FilterData {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.input.fill_buf()
    }

    fn consume(&mut self, len: usize) {
        self.input.consume(len);
    }
}

impl From<()> for Body {
    fn from((): ()) -> Body {
        Body::default()
    }
}

impl From<&str> for Body {
    fn from(text: &str) -> Body {
        Body::from_memory(text.into())
    }
}

impl From<String> for Body {
    fn from(text: String) -> Body {
        Body::from_memory(text.into_bytes())
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Body {
        Body::from_memory(bytes)
    }
}

/// The data stream of a Filter from memory, so that handlers are tested by calling them.
impl From<Vec<u8>> for FilterData {
    fn from(bytes: Vec<u8>) -> FilterData {
        let length = Some(bytes.len() as u64);
        FilterData { input: Input { chunk: bytes, ..Input::default() }, length, last_modified: None }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("remaining", &self.input.remaining).finish_non_exhaustive()
    }
}

impl fmt::Debug for FilterData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FilterData").field("length", &self.length).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Role;
    use crate::request::{End, PipeLimits, Pushed};
    use std::time::Instant;

    fn request(pushed: &[u8], end: Option<End>) -> Arc<RequestState> {
        let limits = PipeLimits { buffer: 1000, max_len: 1000 };
        let request = RequestState::new(Role::Filter, limits, 0, Instant::now());
        for stream in [Stream::Stdin, Stream::Data] {
            assert_eq!(request.input(stream).push(pushed), Pushed::Seen);
            end.into_iter().for_each(|end| request.input(stream).end(end));
        }
        Arc::new(request)
    }

    fn read(mut reader: impl Read) -> (String, Option<BodyError>) {
        let mut bytes = Vec::new();
        let outcome = reader.read_to_end(&mut bytes);
        let error = outcome.err().map(|error| BodyError::of(&error).expect("a typed error"));
        (String::from_utf8(bytes).expect("text"), error)
    }

    #[test]
    fn a_body_is_whole_as_announced_or_an_error() {
        let complete = Some(End::Complete);
        let rows = [
            ("body", complete, None, "body", None),
            ("body", complete, Some(4), "body", None),
            ("body", complete, Some(5), "body", Some(BodyError::Truncated)),
            ("", complete, None, "", None),
            ("", complete, Some(1), "", Some(BodyError::Truncated)),
            ("bo", Some(End::Failed(BodyError::Disconnected)), Some(4), "bo", Some(BodyError::Disconnected)),
            // The end of STDIN may be held back: what was announced is there.
            ("body", None, Some(4), "body", None),
            ("", None, Some(0), "", None),
            ("body and more", complete, Some(4), "body", None),
        ];
        for (pushed, end, announced, text, error) in rows {
            let body = Body::new(request(pushed.as_bytes(), end), announced);
            assert_eq!(read(body), (text.to_owned(), error), "{pushed} {announced:?}");
            let data = FilterData::new(request(pushed.as_bytes(), end), announced, Some(7));
            assert_eq!(read(data), (text.to_owned(), error), "{pushed} {announced:?}");
        }
    }

    #[test]
    fn what_comes_after_a_dropped_body_is_not_kept() {
        let request = request(b"one", None);
        drop(Body::new(request.clone(), None));
        assert_eq!(request.input(Stream::Stdin).push(&[0; 500]), Pushed::Seen);
        assert_eq!(request.input(Stream::Stdin).push(&[0; 5000]), Pushed::Seen);
    }

    #[test]
    fn what_outlives_its_request_reads_nothing_more() {
        let finished = |outcome: io::Result<usize>| BodyError::of(&outcome.expect_err("over"));
        for end in [None, Some(End::Complete)] {
            let request = request(b"content", end);
            let mut body = Body::new(request.clone(), None);
            let mut data = FilterData::new(request.clone(), None, None);
            assert_eq!(body.fill_buf().expect("readable"), b"content");
            request.end();
            assert_eq!(finished(body.read(&mut [0; 8])), Some(BodyError::Finished));
            assert_eq!(finished(data.read(&mut [0; 8])), Some(BodyError::Finished));
        }
    }

    #[test]
    fn bodies_from_memory_are_read_to_their_end() {
        let bodies = [Body::from("text"), Body::from("text".to_owned()), Body::from(b"text".to_vec())];
        for body in bodies {
            assert_eq!(read(body), ("text".to_owned(), None));
        }
        assert_eq!(read(Body::from(())), (String::new(), None));
        let data = FilterData::from(b"data".to_vec());
        assert_eq!((data.length(), read(data)), (Some(4), ("data".to_owned(), None)));
    }
}
