//! The two other FastCGI roles: an authorizer that wants a token, and a filter that shouts.

use std::io::Read;

use fcgi::http::{Request, Response, StatusCode};
use fcgi::{Body, Decision, FilterData, RequestExt};

use crate::routes::{self, Answer, Refusal};

/// Allows requests that bring the token: in a header, in the query or as the password.
pub(crate) fn authorize(request: Request<()>) -> Decision {
    let params = request.params();
    match (params.get_str("FCGI_APACHE_ROLE"), params.get_str("REMOTE_USER")) {
        // mod_authnz_fcgi has checked the password and asks what this user may do.
        (Some("AUTHORIZER"), user) => decide_by_user(user),
        _ => decide_by_token(&request),
    }
}

fn decide_by_user(user: Option<&str>) -> Decision {
    match user {
        Some("demo") => Decision::allow().variable("RIGHTS", "all"),
        _ => Decision::deny(StatusCode::FORBIDDEN),
    }
}

fn decide_by_token(request: &Request<()>) -> Decision {
    match token(request).as_deref() {
        // The web server hands this variable on to the application that answers the request.
        Some("letmein") => Decision::allow().variable("USER", user(request)),
        Some("panic") => panic!("the token asked for this panic"),
        Some("error") => Decision::deny(Err::<StatusCode, _>("the token asked for this error")),
        // A decision that cannot be sent denies, too.
        Some("variable") => Decision::allow().variable("not a token", "demo"),
        _ => Decision::deny(
            Response::builder()
                .status(StatusCode::FORBIDDEN)
                .header("X-Demo", "no token")
                .body("this needs the token\n"),
        ),
    }
}

fn token(request: &Request<()>) -> Option<String> {
    let header = request.headers().get("x-token").and_then(|value| value.to_str().ok());
    let token = header.or_else(|| request.params().get_str("REMOTE_PASSWD"));
    token.map(str::to_owned).or_else(|| routes::query(request, "token"))
}

fn user(request: &Request<()>) -> String {
    routes::query(request, "user").unwrap_or_else(|| "demo".to_string())
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
