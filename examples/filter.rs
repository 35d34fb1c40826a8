//! Transforms a file of the web server's while it is sent: the Filter role, which few web servers have. All letters
//! become capitals.

use std::io::{self, BufRead, Write};

use fcgi::http::{Request, Response};
use fcgi::{Body, BodyWriter, FilterData, SendBody, Server};

fn shout(_request: Request<Body>, mut data: FilterData) -> Response<SendBody> {
    let body = SendBody::writer(move |out| capitalize(&mut data, out));
    let mut response = Response::new(body);
    response.headers_mut().insert("content-type", "text/plain".parse().expect("a legal value"));
    response
}

fn capitalize(data: &mut FilterData, out: &mut BodyWriter<'_>) -> io::Result<()> {
    loop {
        let piece = data.fill_buf()?.to_ascii_uppercase();
        if piece.is_empty() {
            return Ok(());
        }
        out.write_all(&piece)?;
        data.consume(piece.len());
    }
}

fn main() -> fcgi::Result<()> {
    Server::new().filter(shout).serve_inherited()?;
    Ok(())
}
