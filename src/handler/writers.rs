//! What a handler writes to: the body of its response while it is sent, and the web server's error log.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use crate::request::RequestState;

/// Where a streaming body is written to: see [`SendBody::writer`](crate::SendBody::writer).
///
/// `flush` puts what was written on the wire now. Errors carry a [`BodyError`](crate::BodyError): the web server has
/// aborted the request, the connection is lost, or its time is over. After the first error every write and flush fails
/// with the same, and the response is cut short, whatever the handler makes of it.
pub struct BodyWriter<'a>(pub(crate) &'a mut (dyn Write + Send));

impl Write for BodyWriter<'_> {
    fn write(&mut self, content: &[u8]) -> io::Result<usize> {
        self.0.write(content)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl fmt::Debug for BodyWriter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyWriter").finish_non_exhaustive()
    }
}

/// Writes to FCGI_STDERR, which web servers put in their error log: see
/// [`RequestExt::stderr`](crate::RequestExt::stderr).
///
/// What is written is kept back, up to [`max_stderr`](crate::Server::max_stderr) bytes, and sent at the end of the
/// answer: HAProxy 2.6 crashes on a STDERR record that arrives alone. Control characters other than newline and tab
/// become `?`. More than fits is dropped; writing never fails.
#[derive(Clone, Debug)]
pub struct Stderr {
    request: Option<Arc<RequestState>>,
}

impl Stderr {
    pub(crate) fn new(request: Option<Arc<RequestState>>) -> Stderr {
        Stderr { request }
    }
}

impl Write for Stderr {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        if let Some(request) = &self.request {
            request.add_stderr(text);
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
