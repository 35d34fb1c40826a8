//! The peer on outer_cgi: outer_peer fcgi-unix|fcgi-tcp --bind ADDRESS --max-connections THREADS. Threads from a pool,
//! one for each connection.

use std::collections::HashMap;
use std::io;

use outer_cgi::IO;
use peers::{pieces, Route, HEAD, HELLO};

fn main() {
    outer_cgi::main(|_| {}, answer)
}

fn answer(io: &mut dyn IO, env: HashMap<String, String>) -> anyhow::Result<i32> {
    let variable = |name| env.get(name).map(String::as_str).unwrap_or_default();
    match Route::of(variable("SCRIPT_NAME"), variable("QUERY_STRING")) {
        Route::Count => {
            let length = io::copy(io, &mut io::sink())?;
            write!(io, "{HEAD}{length}\n")?;
        }
        Route::Bytes(length) => {
            io.write_all(HEAD.as_bytes())?;
            for piece in pieces(length) {
                io.write_all(piece)?;
            }
        }
        Route::Hello | Route::Sleep(_) => io.write_all(HELLO.as_bytes())?,
    }
    Ok(0)
}
