//! Running users' code: why a handler has no answer, or not a whole one, and how that is kept to its own request.

use std::any::Any;
use std::fmt;
use std::panic::{catch_unwind, AssertUnwindSafe};

use http::StatusCode;

use crate::error::BodyError;
use crate::handler::BoxError;
use crate::request::CancelReason;

/// Why a handler has no answer, or not a whole one. Its error was dropped already, since that is users' code, too.
pub(super) struct Failure {
    body_error: Option<BodyError>,
    text: String,
}

/// Runs users' code. A panic stays with the request it happened in, and so does whatever happens while its error is
/// displayed or dropped. What belongs to the users is dropped where nothing is unwinding: a second panic would end the
/// process.
pub(super) fn guard<R>(run: impl FnOnce() -> Result<R, BoxError>) -> Result<R, Failure> {
    match catch(run) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => {
            let failure = catch(|| Failure::of_error(error.as_ref())).unwrap_or_else(Failure::of_panic);
            // It has failed already; how its error goes changes nothing.
            let _: Result<(), String> = catch(|| drop(error));
            Err(failure)
        }
        Err(text) => Err(Failure::of_panic(text)),
    }
}

impl Failure {
    fn of_panic(text: String) -> Failure {
        Failure { body_error: None, text: format!("it panicked: {text}") }
    }

    pub(super) fn of_body(error: BodyError) -> Failure {
        Failure { body_error: Some(error), text: error.to_string() }
    }

    fn of_error(error: &(dyn std::error::Error + Send + Sync + 'static)) -> Failure {
        let body_error = error.downcast_ref().and_then(BodyError::of);
        Failure { body_error, text: error.to_string().escape_debug().to_string() }
    }

    /// The reason, when the handler failed because its input or output did.
    pub(super) fn body_error(&self) -> Option<BodyError> {
        self.body_error
    }

    pub(super) fn status(&self, reason: Option<CancelReason>) -> StatusCode {
        match (self.body_error, reason) {
            (_, Some(CancelReason::Deadline)) => StatusCode::GATEWAY_TIMEOUT,
            (_, Some(CancelReason::Shutdown)) => StatusCode::SERVICE_UNAVAILABLE,
            (Some(BodyError::TooLarge), _) => StatusCode::PAYLOAD_TOO_LARGE,
            (Some(BodyError::TimedOut), _) => StatusCode::REQUEST_TIMEOUT,
            (Some(_), _) => StatusCode::BAD_REQUEST,
            (None, _) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The text of a panic, when there is one.
fn catch<R>(run: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let text = panic_text(&*panic);
        if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
            // What panics when it is dropped may do so again, for ever.
            std::mem::forget(again);
        }
        text
    })
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("not a text").escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::panic::panic_any;

    #[derive(Debug)]
    struct PanicsWhenDropped;

    impl Drop for PanicsWhenDropped {
        fn drop(&mut self) {
            panic_any(PanicsWhenDropped);
        }
    }

    #[derive(Debug)]
    struct PanicsWhenShown;

    impl fmt::Display for PanicsWhenShown {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("shown")
        }
    }

    impl std::error::Error for PanicsWhenShown {}

    #[derive(Debug)]
    struct PanicsAlways(#[allow(dead_code)] PanicsWhenDropped);

    impl fmt::Display for PanicsAlways {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("shown")
        }
    }

    impl std::error::Error for PanicsAlways {}

    fn text(run: impl FnOnce() -> Result<(), BoxError>) -> String {
        guard(run).expect_err("a failure").to_string()
    }

    #[test]
    fn whatever_panics_is_a_failure_with_a_text() {
        assert_eq!(text(|| panic!("a\nb")), "it panicked: a\\nb");
        assert_eq!(text(|| panic!("{}", 7)), "it panicked: 7");
        assert_eq!(text(|| panic_any(7)), "it panicked: not a text");
        assert_eq!(text(|| panic_any(PanicsWhenDropped)), "it panicked: not a text");
        assert_eq!(text(|| Err(PanicsWhenShown.into())), "it panicked: shown");
        assert_eq!(text(|| Err(PanicsAlways(PanicsWhenDropped).into())), "it panicked: shown");
        assert_eq!(text(|| Err("a\nb".into())), "a\\nb");
    }

    #[test]
    fn a_failed_body_is_told_from_other_failures() {
        let failure = |error: BoxError| guard::<()>(|| Err(error)).expect_err("a failure");
        let body = failure(Box::new(io::Error::from(BodyError::TooLarge)));
        assert_eq!((body.body_error(), body.status(None)), (Some(BodyError::TooLarge), StatusCode::PAYLOAD_TOO_LARGE));
        let other = failure("other".into());
        assert_eq!((other.body_error(), other.status(None)), (None, StatusCode::INTERNAL_SERVER_ERROR));
        assert_eq!(other.status(Some(CancelReason::Deadline)), StatusCode::GATEWAY_TIMEOUT);
    }
}
