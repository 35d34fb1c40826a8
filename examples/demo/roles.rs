//! The two other FastCGI roles: an authorizer that wants a token, and a filter that shouts.

use std::io::Read;

use fcgi::http::{Request, Response, StatusCode};
use fcgi::{Body, Decision, FilterData};

use crate::routes::{self, Answer, Refusal};

/// Allows requests that bring the token, in a header or in the query.
pub(crate) fn authorize(request: Request<()>) -> Decision {
    if brings_token(&request, "panic") {
        panic!("the token asked for this panic");
    }
    if brings_token(&request, "letmein") {
        // The web server hands this variable on to the application that answers the request.
        return Decision::allow().variable("USER", "demo");
    }
    Decision::deny(Response::builder().status(StatusCode::FORBIDDEN).body("this needs the token\n"))
}

fn brings_token(request: &Request<()>, token: &str) -> bool {
    let header = request.headers().get("x-token");
    header.is_some_and(|value| value == token) || routes::query(request, "token").as_deref() == Some(token)
}

/// Answers the file in upper case.
pub(crate) fn filter(_request: Request<Body>, data: FilterData) -> Answer {
    upper_case(data).unwrap_or_else(Refusal::into_answer)
}

/// The whole file is read before the answer begins, so that a file which was cut short can still become an error status.
fn upper_case(mut data: FilterData) -> Result<Answer, Refusal> {
    let mut text = Vec::new();
    data.read_to_end(&mut text).map_err(|error| Refusal::unreadable(&error))?;
    text.make_ascii_uppercase();
    Ok(routes::with_type(routes::TEXT, text))
}
