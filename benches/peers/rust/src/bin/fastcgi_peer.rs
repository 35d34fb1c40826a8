//! The peer on the crate fastcgi: fastcgi_peer ADDRESS. A thread for each connection.

use std::io::{self, Write};
use std::os::fd::IntoRawFd;

use fastcgi::Request;
use peers::{pieces, Route, HEAD, HELLO};

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).expect("an address");
    fastcgi::run_raw(|mut request| drop(answer(&mut request)), peers::listen(&address)?.into_raw_fd());
    Ok(())
}

fn answer(request: &mut Request) -> io::Result<()> {
    let path = request.param("SCRIPT_NAME").unwrap_or_default();
    let query = request.param("QUERY_STRING").unwrap_or_default();
    match Route::of(&path, &query) {
        Route::Count => {
            let length = io::copy(&mut request.stdin(), &mut io::sink())?;
            write!(request.stdout(), "{}", format_args!("{HEAD}{length}\n"))
        }
        Route::Bytes(length) => {
            request.stdout().write_all(HEAD.as_bytes())?;
            pieces(length).try_for_each(|piece| request.stdout().write_all(piece))
        }
        Route::Hello | Route::Sleep(_) => request.stdout().write_all(HELLO.as_bytes()),
    }
}
