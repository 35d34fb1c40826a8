//! What the peers in Rust share: the answers, which are the same everywhere.

use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

pub const HELLO: &str = "Content-Type: text/plain\r\n\r\nhello, world\n";
pub const HEAD: &str = "Content-Type: text/plain\r\n\r\n";

/// What a request asks for.
pub enum Route {
    Hello,
    Count,
    Bytes(usize),
    Sleep(u64),
}

impl Route {
    #[must_use]
    pub fn of(path: &str, query: &str) -> Route {
        let number = query.split_once('=').map_or("", |(_, value)| value);
        match path {
            "/count" => Route::Count,
            "/bytes" => Route::Bytes(number.parse().unwrap_or_default()),
            "/sleep" => Route::Sleep(number.parse().unwrap_or_default()),
            _ => Route::Hello,
        }
    }
}

/// The body of /bytes in pieces: byte i is i mod 251.
pub fn pieces(length: usize) -> impl Iterator<Item = &'static [u8]> {
    static PERIODS: [u8; 251 * 256] = periods();
    (0..length).step_by(PERIODS.len()).map(move |position| &PERIODS[..PERIODS.len().min(length - position)])
}

const fn periods() -> [u8; 251 * 256] {
    let mut bytes = [0; 251 * 256];
    let mut i = 0;
    while i < bytes.len() {
        bytes[i] = (i % 251) as u8;
        i += 1;
    }
    bytes
}

/// The address is the first argument: `unix:/path` or `host:port`.
///
/// # Errors
/// When the address cannot be listened on.
pub fn listen(address: &str) -> io::Result<OwnedFd> {
    match address.strip_prefix("unix:") {
        Some(path) => UnixListener::bind(path).map(OwnedFd::from),
        None => TcpListener::bind(address).map(OwnedFd::from),
    }
}
