//! What a handler answers with: bytes, a reader, or a writer that streams.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Read};

use super::BodyWriter;
use crate::cgi::AnswerBody;

const TEXT: &str = "text/plain; charset=utf-8";
const BYTES: &str = "application/octet-stream";

/// The body of a response.
///
/// Bytes whose length is known get a Content-Length. A body without Content-Type gets one: `text/plain;
/// charset=utf-8` when it was made from text, `application/octet-stream` otherwise, and never `text/html` by guess.
///
/// ```
/// use fcgi::SendBody;
/// use http::Response;
/// use std::io::Write;
///
/// let text = Response::new(SendBody::from("hello, world\n"));
/// let file = std::fs::File::open("Cargo.toml").map(|file| Response::new(SendBody::reader(file)));
/// let events = Response::new(SendBody::writer(|out| {
///     for tick in 0..3 {
///         writeln!(out, "data: {tick}\n")?;
///         out.flush()?; // on its way to the client now
///     }
///     Ok(())
/// }));
/// ```
#[derive(Default)]
pub struct SendBody {
    kind: Kind,
}

type WriteBody = dyn FnOnce(&mut BodyWriter<'_>) -> io::Result<()> + Send;

pub(crate) enum Kind {
    Bytes { bytes: Cow<'static, [u8]>, is_text: bool },
    Reader(Box<dyn Read + Send>),
    Writer(Box<WriteBody>),
}

impl SendBody {
    /// A body that is read to its end, such as a file. An error in reading cuts the answer short, visibly.
    ///
    /// Its length is not known: set Content-Length where you know it, so that every web server sees a short answer
    /// for what it is.
    pub fn reader(reader: impl Read + Send + 'static) -> SendBody {
        SendBody { kind: Kind::Reader(Box::new(reader)) }
    }

    /// A body that is written while it is sent. [`flush`](io::Write::flush) puts what was written on the wire now;
    /// without it the bytes leave when there are enough of them. An error that `write` returns cuts the answer
    /// short, visibly; it is not called at all where no body may be sent, as for HEAD.
    pub fn writer(write: impl FnOnce(&mut BodyWriter<'_>) -> io::Result<()> + Send + 'static) -> SendBody {
        SendBody { kind: Kind::Writer(Box::new(write)) }
    }

    /// All of the body at once, as a client would get it: bytes as they are, what the reader gives, what the writer
    /// writes. This is how the test of a handler reads its answer.
    ///
    /// ```
    /// use fcgi::SendBody;
    /// use std::io::Write;
    ///
    /// let body = SendBody::writer(|out| (1..=3).try_for_each(|n| write!(out, "{n};")));
    /// assert_eq!(body.into_bytes()?, b"1;2;3;");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// That of the reader or writer.
    pub fn into_bytes(self) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        match self.kind {
            Kind::Bytes { bytes, .. } => return Ok(bytes.into_owned()),
            Kind::Reader(mut reader) => drop(reader.read_to_end(&mut all)?),
            Kind::Writer(write) => write(&mut BodyWriter(&mut all))?,
        }
        Ok(all)
    }

    pub(crate) fn facts(&self) -> AnswerBody {
        match &self.kind {
            Kind::Bytes { bytes, is_text } => {
                AnswerBody { len: Some(bytes.len() as u64), default_type: if *is_text { TEXT } else { BYTES } }
            }
            Kind::Reader(_) | Kind::Writer(_) => AnswerBody { len: None, default_type: BYTES },
        }
    }

    pub(crate) fn into_kind(self) -> Kind {
        self.kind
    }

    fn bytes(bytes: impl Into<Cow<'static, [u8]>>, is_text: bool) -> SendBody {
        SendBody { kind: Kind::Bytes { bytes: bytes.into(), is_text } }
    }
}

impl Default for Kind {
    fn default() -> Kind {
        Kind::Bytes { bytes: Cow::Borrowed(b""), is_text: false }
    }
}

impl From<()> for SendBody {
    fn from((): ()) -> SendBody {
        SendBody::default()
    }
}

impl From<&'static str> for SendBody {
    fn from(text: &'static str) -> SendBody {
        SendBody::bytes(text.as_bytes(), true)
    }
}

impl From<String> for SendBody {
    fn from(text: String) -> SendBody {
        SendBody::bytes(text.into_bytes(), true)
    }
}

impl From<&'static [u8]> for SendBody {
    fn from(bytes: &'static [u8]) -> SendBody {
        SendBody::bytes(bytes, false)
    }
}

impl From<Vec<u8>> for SendBody {
    fn from(bytes: Vec<u8>) -> SendBody {
        SendBody::bytes(bytes, false)
    }
}

impl fmt::Debug for SendBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            Kind::Bytes { .. } => "bytes",
            Kind::Reader(_) => "reader",
            Kind::Writer(_) => "writer",
        };
        f.debug_struct("SendBody").field("kind", &kind).field("len", &self.facts().len).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn every_kind_of_body_can_be_had_at_once() {
        let written = |out: &mut BodyWriter<'_>| out.write_all(b"text").and_then(|()| out.flush());
        let reader = SendBody::reader(io::Cursor::new("text"));
        for body in [SendBody::from("text"), "text".to_owned().into(), reader, SendBody::writer(written)] {
            assert_eq!(body.into_bytes().expect("a body"), b"text");
        }
        assert_eq!(SendBody::from(()).into_bytes().expect("a body"), b"");
    }

    #[test]
    fn what_makes_a_body_fail_is_seen_by_who_wants_it_all() {
        let error = || io::Error::new(io::ErrorKind::Other, "broken");
        let fails = SendBody::writer(move |out| out.write_all(b"some").and_then(|()| Err(error())));
        assert_eq!(fails.into_bytes().expect_err("an error").to_string(), "broken");
    }
}
