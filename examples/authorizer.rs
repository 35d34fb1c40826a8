//! Decides for the web server which requests may go on: Apache's mod_authnz_fcgi and lighttpd ask such programs.

use fcgi::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use fcgi::http::{Request, Response, StatusCode};
use fcgi::{Decision, Server};

/// The users and what they send as a bearer token. In earnest it would be a table of hashes.
const USERS: [(&str, &str); 2] = [("alice", "Bearer correct"), ("bob", "Bearer horse")];

fn check(request: Request<()>) -> Decision {
    let sent = request.headers().get(AUTHORIZATION);
    let user = USERS.into_iter().find(|(_, token)| sent.is_some_and(|sent| sent == token));
    match user {
        // The application behind the web server finds it among its meta-variables.
        Some((name, _)) => Decision::allow().variable("USER", name),
        None => Decision::deny(
            Response::builder()
                .status(StatusCode::UNAUTHORIZED)
                .header(WWW_AUTHENTICATE, "Bearer")
                .body("who is it?\n"),
        ),
    }
}

fn main() -> fcgi::Result<()> {
    Server::new().authorizer(check).serve_inherited()?;
    Ok(())
}
