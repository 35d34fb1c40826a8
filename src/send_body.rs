//! What a handler answers with: bytes, a reader, or a writer that streams.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Read};

use crate::answer::BodyWriter;
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
