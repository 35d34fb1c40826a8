//! Stores what is uploaded as a file of its own in the folder that is its argument, up to a limit. A file is there
//! whole or not at all.

use std::io;
use std::path::Path;
use std::time::Duration;

use fcgi::http::{Method, Request, Response, StatusCode};
use fcgi::{Body, Server};

fn store(folder: &Path, mut request: Request<Body>) -> Result<Response<String>, io::Error> {
    if request.method() != Method::POST {
        return Ok(answer(StatusCode::METHOD_NOT_ALLOWED, "POST a file\n".to_owned()));
    }
    // The client has no say in the name. Until it is kept, the file goes away with its handle.
    let mut file = tempfile::Builder::new().prefix("upload-").tempfile_in(folder)?;
    let len = io::copy(request.body_mut(), &mut file)?;
    let (_, path) = file.keep()?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(answer(StatusCode::CREATED, format!("{len} bytes in {name}\n")))
}

fn answer(status: StatusCode, text: String) -> Response<String> {
    let mut response = Response::new(text);
    *response.status_mut() = status;
    response
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args_os().nth(1).ok_or("usage: upload FOLDER")?;
    Server::new()
        .responder(move |request| store(Path::new(&folder), request))
        .max_body(16 << 20) // larger ones are refused, most of them before a byte of them was read
        .read_timeout(Duration::from_secs(20)) // of silence in the middle of an upload
        .request_timeout(Duration::from_secs(600))
        .serve_inherited()?;
    Ok(())
}
