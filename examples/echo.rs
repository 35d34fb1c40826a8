//! Sends every body back, with its type. The body is in memory for a moment, so there is a limit on its size.

use std::io::{self, Read};

use fcgi::http::header::CONTENT_TYPE;
use fcgi::http::{Request, Response};
use fcgi::{Body, Server};

fn echo(request: Request<Body>) -> Result<Response<Vec<u8>>, io::Error> {
    let (head, mut body) = request.into_parts();
    let mut bytes = Vec::new();
    body.read_to_end(&mut bytes)?; // a body that is too large becomes a 413, one that is cut short a 400
    let mut response = Response::new(bytes);
    if let Some(content_type) = head.headers.get(CONTENT_TYPE) {
        response.headers_mut().insert(CONTENT_TYPE, content_type.clone());
    }
    Ok(response)
}

fn main() -> fcgi::Result<()> {
    Server::new().responder(echo).max_body(1 << 20).serve_inherited()?;
    Ok(())
}
