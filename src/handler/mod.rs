//! What users write: functions from a request to an answer, one for each role.

mod body;
mod cancellation;
mod request_ext;
mod send_body;
mod writers;

pub use body::{Body, FilterData};
pub use cancellation::Cancellation;
pub use request_ext::RequestExt;
pub(crate) use request_ext::Served;
pub(crate) use send_body::Kind;
pub use send_body::SendBody;
pub use writers::{BodyWriter, Stderr};

use std::error::Error as StdError;

use http::{Request, Response, StatusCode};

use crate::protocol::Roles;

/// Why a handler has no answer.
pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

/// The application status of END_REQUEST (FastCGI 5.5), 0 unless a response has this among its extensions. It is
/// what the exit code is to a CGI program; `cgi-fcgi` exits with it, and web servers ignore it.
///
/// ```
/// let mut response = http::Response::new("done, with a warning\n");
/// response.extensions_mut().insert(fcgi::AppStatus(3));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AppStatus(pub u32);

/// What a handler may return.
///
/// - `Response<B>` where `B` can become a [`SendBody`]: the answer;
/// - `StatusCode`: an answer without a body;
/// - `Result<R, E>` of one of these: an `Err` is logged and answered with `500 Internal Server Error`. Its text does
///   not go to the client.
pub trait IntoResponse {
    /// The answer, or why there is none.
    fn into_response(self) -> Result<Response<SendBody>, Box<dyn StdError + Send + Sync>>;
}

impl<B: Into<SendBody>> IntoResponse for Response<B> {
    fn into_response(self) -> Result<Response<SendBody>, BoxError> {
        Ok(self.map(Into::into))
    }
}

impl IntoResponse for StatusCode {
    fn into_response(self) -> Result<Response<SendBody>, BoxError> {
        let mut response = Response::new(SendBody::default());
        *response.status_mut() = self;
        Ok(response)
    }
}

impl<R: IntoResponse, E: Into<BoxError>> IntoResponse for Result<R, E> {
    fn into_response(self) -> Result<Response<SendBody>, BoxError> {
        self.map_err(Into::into)?.into_response()
    }
}

/// What an authorizer decides (FastCGI 6.3).
///
/// ```
/// use fcgi::{Decision, RequestExt};
/// use http::{Request, StatusCode};
///
/// fn check(request: Request<()>) -> Decision {
///     match request.headers().get("x-token") {
///         Some(token) if token == "letmein" => Decision::allow().variable("USER", "demo"),
///         _ => Decision::deny(StatusCode::FORBIDDEN),
///     }
/// }
///
/// assert!(!check(Request::new(())).is_allowed());
/// ```
#[derive(Debug)]
pub struct Decision {
    response: Result<Response<SendBody>, BoxError>,
    variables: Vec<(String, String)>,
}

impl Decision {
    /// The web server may go on with the request.
    pub fn allow() -> Decision {
        Decision { response: StatusCode::OK.into_response(), variables: Vec::new() }
    }

    /// The web server must answer with this response. A status below 300 would grant access, so such a response is
    /// sent as `403 Forbidden`.
    pub fn deny(response: impl IntoResponse) -> Decision {
        let response = response.into_response().map(|mut response| {
            if response.status().is_success() {
                *response.status_mut() = StatusCode::FORBIDDEN;
            }
            response
        });
        Decision { response, variables: Vec::new() }
    }

    /// Hands a variable to the web server, which passes it to whatever serves the request (as `Variable-NAME`).
    ///
    /// A name that is not a token, or a value with control characters, makes the decision fail: access is denied.
    pub fn variable(mut self, name: impl Into<String>, value: impl Into<String>) -> Decision {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Whether the web server may go on. It may not when the decision failed.
    pub fn is_allowed(&self) -> bool {
        self.response.as_ref().is_ok_and(|response| response.status().is_success())
    }

    /// What the web server must answer with, or would pass on; `None` when the decision failed.
    pub fn response(&self) -> Option<&Response<SendBody>> {
        self.response.as_ref().ok()
    }

    /// The variables that it hands to the web server, in order.
    pub fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// What a handler of any role comes to.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) response: Response<SendBody>,
    pub(crate) variables: Vec<(String, String)>,
}

pub(crate) type Responder = Box<dyn Fn(Request<Body>) -> Result<Reply, BoxError> + Send + Sync>;
pub(crate) type Authorizer = Box<dyn Fn(Request<()>) -> Result<Reply, BoxError> + Send + Sync>;
pub(crate) type Filter = Box<dyn Fn(Request<Body>, FilterData) -> Result<Reply, BoxError> + Send + Sync>;

/// The handlers of a server. A role without one is refused.
#[derive(Default)]
pub(crate) struct Handlers {
    pub(crate) responder: Option<Responder>,
    pub(crate) authorizer: Option<Authorizer>,
    pub(crate) filter: Option<Filter>,
}

impl Handlers {
    pub(crate) fn roles(&self) -> Roles {
        Roles {
            responder: self.responder.is_some(),
            authorizer: self.authorizer.is_some(),
            filter: self.filter.is_some(),
        }
    }
}

pub(crate) fn responder<F, R>(handler: F) -> Responder
where
    F: Fn(Request<Body>) -> R + Send + Sync + 'static,
    R: IntoResponse,
{
    Box::new(move |request| reply(handler(request)))
}

pub(crate) fn authorizer<F>(handler: F) -> Authorizer
where
    F: Fn(Request<()>) -> Decision + Send + Sync + 'static,
{
    Box::new(move |request| {
        let Decision { response, variables } = handler(request);
        response.map(|response| Reply { response, variables })
    })
}

pub(crate) fn filter<F, R>(handler: F) -> Filter
where
    F: Fn(Request<Body>, FilterData) -> R + Send + Sync + 'static,
    R: IntoResponse,
{
    Box::new(move |request, data| reply(handler(request, data)))
}

fn reply(answer: impl IntoResponse) -> Result<Reply, BoxError> {
    answer.into_response().map(|response| Reply { response, variables: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denying_never_grants() {
        let rows = [(200, 403), (204, 403), (302, 302), (401, 401), (403, 403), (500, 500)];
        for (given, sent) in rows {
            let status = StatusCode::from_u16(given).expect("a status");
            let decision = Decision::deny(status);
            assert_eq!(decision.response().expect("a response").status(), sent);
            assert!(!decision.is_allowed());
        }
        let failed = Decision::deny(Err::<StatusCode, _>("no"));
        assert!(failed.response().is_none() && !failed.is_allowed());
    }

    #[test]
    fn a_decision_tells_what_it_is() {
        let decision = Decision::allow().variable("USER", "demo").variable("LEVEL", "1");
        assert!(decision.is_allowed());
        assert_eq!(decision.variables().collect::<Vec<_>>(), [("USER", "demo"), ("LEVEL", "1")]);
    }

    #[test]
    fn results_become_responses_or_errors() {
        let good: Result<Response<&str>, BoxError> = Ok(Response::new("x"));
        assert!(good.into_response().is_ok());
        let bad: Result<StatusCode, &str> = Err("broken");
        assert_eq!(bad.into_response().expect_err("an error").to_string(), "broken");
    }
}
