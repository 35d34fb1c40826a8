//! The errors that users see: one opaque type for starting and running a server, one enum for bodies.

use std::error::Error as StdError;
use std::{fmt, io};

/// Why a server could not start or go on.
///
/// It is opaque so that new causes break nobody. Its text (`Display`) is one sentence about what failed and what to do,
/// without the cause, which is its [`source`](std::error::Error::source); `Debug` is that sentence with all causes, which is
/// what a program prints whose `main` returns it.
pub struct Error {
    context: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn new(context: impl Into<String>) -> Error {
        Error { context: context.into(), source: None }
    }

    pub(crate) fn io(context: impl Into<String>, source: io::Error) -> Error {
        Error { context: context.into(), source: Some(Box::new(source)) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.context)
    }
}

/// The message with its causes: what a program prints whose `main` returns the error.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.context)?;
        let mut cause = StdError::source(self);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.source {
            Some(source) => Some(source.as_ref()),
            None => None,
        }
    }
}

/// Why a request's body cannot be read, or its answer not be written, to the end.
///
/// It is the payload of the [`io::Error`] that `Read` and `Write` give; [`BodyError::of`] finds it there.
///
/// ```
/// use fcgi::BodyError;
/// use std::io::{self, Read};
///
/// fn upload(mut body: impl Read) -> http::StatusCode {
///     match io::copy(&mut body, &mut io::sink()) {
///         Ok(_) => http::StatusCode::CREATED,
///         Err(error) => match BodyError::of(&error) {
///             Some(BodyError::TooLarge) => http::StatusCode::PAYLOAD_TOO_LARGE,
///             Some(_) => http::StatusCode::BAD_REQUEST,
///             None => http::StatusCode::INTERNAL_SERVER_ERROR,
///         },
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BodyError {
    /// The web server has aborted the request (`FCGI_ABORT_REQUEST`, FastCGI 5.4).
    Aborted,
    /// The connection to the web server is lost.
    Disconnected,
    /// The request is over: its handler has returned, and what it left behind can neither read nor write.
    Finished,
    /// The server is shutting down and its grace period is over.
    Shutdown,
    /// The time for the whole request is over, or for the next bytes of the body.
    TimedOut,
    /// The body is larger than [`max_body`](crate::Server::max_body).
    TooLarge,
    /// The body is shorter than CONTENT_LENGTH, or the filter data than FCGI_DATA_LENGTH.
    Truncated,
}

impl BodyError {
    /// Finds the reason in an error of `Read` or `Write`.
    pub fn of(error: &io::Error) -> Option<BodyError> {
        error.get_ref()?.downcast_ref().copied()
    }

    fn kind(self) -> io::ErrorKind {
        match self {
            BodyError::Aborted | BodyError::Disconnected | BodyError::Finished | BodyError::Shutdown => {
                io::ErrorKind::ConnectionAborted
            }
            BodyError::TimedOut => io::ErrorKind::TimedOut,
            BodyError::TooLarge => io::ErrorKind::InvalidData,
            BodyError::Truncated => io::ErrorKind::UnexpectedEof,
        }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BodyError::Aborted => "the web server aborted the request",
            BodyError::Disconnected => "the connection to the web server is lost",
            BodyError::Finished => "the request is over",
            BodyError::Shutdown => "the server is shutting down",
            BodyError::TimedOut => "the time for the request is over",
            BodyError::TooLarge => "the body is larger than the limit",
            BodyError::Truncated => "the body is shorter than announced",
        })
    }
}

impl StdError for BodyError {}

impl From<BodyError> for io::Error {
    fn from(error: BodyError) -> io::Error {
        io::Error::new(error.kind(), error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_error_is_found_in_its_io_error() {
        let error = io::Error::from(BodyError::Truncated);
        assert_eq!((BodyError::of(&error), error.kind()), (Some(BodyError::Truncated), io::ErrorKind::UnexpectedEof));
        assert_eq!(BodyError::of(&io::Error::from(io::ErrorKind::TimedOut)), None);
        assert_eq!(BodyError::of(&io::Error::new(io::ErrorKind::Other, "text")), None);
    }

    #[test]
    fn a_message_is_one_sentence_and_its_debug_form_has_the_causes() {
        let cause = io::Error::new(io::ErrorKind::Other, io::Error::from(BodyError::Truncated));
        let error = Error::io("cannot listen on x", cause);
        assert_eq!(error.to_string(), "cannot listen on x");
        assert_eq!(format!("{error:?}"), "cannot listen on x: the body is shorter than announced");
        assert_eq!(format!("{:?}", Error::new("no socket")), "no socket");
    }
}
