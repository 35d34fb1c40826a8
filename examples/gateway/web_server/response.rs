//! HTTP answers: the head, and the body in the framing that the client can tell a cut one by.

use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Method, Request, Response, StatusCode, Version};
use rustix::net::sockopt::set_socket_linger;

/// The framing of an HTTP answer is this program's affair, not the application's.
const NOT_PASSED: [HeaderName; 5] = [
    CONNECTION,
    TRANSFER_ENCODING,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("status"),
    HeaderName::from_static("trailer"),
];

/// An answer whose head has been sent. What is written is on its way to the client at once.
pub(super) struct Answer<'a> {
    client: &'a TcpStream,
    framing: Framing,
    keep_alive: bool,
}

/// How the client can tell where the body ends (RFC 9112 section 6.3).
enum Framing {
    /// There is none: HEAD, 204, 304.
    NoBody,
    /// Bytes that are still to come.
    Length(u64),
    Chunked,
    /// Until the connection ends, for clients that know no better.
    UntilClose,
}

impl<'a> Answer<'a> {
    /// Sends the head.
    pub(super) fn begin(client: &'a TcpStream, request: &Request<()>, head: &Response<()>) -> io::Result<Answer<'a>> {
        let framing = framing(request, head);
        let keep_alive = wants_keep_alive(request) && !matches!(framing, Framing::UntilClose);
        let status = head.status();
        let reason = status.canonical_reason().unwrap_or_default();
        let mut text = format!("HTTP/1.1 {} {reason}\r\n", status.as_str()).into_bytes();
        for (name, value) in head.headers().iter().filter(|(name, _)| is_passed(name, status)) {
            put_header(&mut text, name.as_str(), value.as_bytes());
        }
        if let Framing::Chunked = framing {
            put_header(&mut text, "transfer-encoding", b"chunked");
        }
        put_header(&mut text, "connection", if keep_alive { b"keep-alive" } else { b"close" });
        text.extend_from_slice(b"\r\n");
        (&*client).write_all(&text)?;
        Ok(Answer { client, framing, keep_alive })
    }

    /// Sends a piece of the body. What is beyond its announced length is dropped.
    pub(super) fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        match &mut self.framing {
            Framing::Chunked if !piece.is_empty() => self.client.write_all(&chunk(piece)),
            Framing::UntilClose => self.client.write_all(piece),
            Framing::Length(left) => {
                let len = piece.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= len as u64;
                self.client.write_all(&piece[..len])
            }
            Framing::Chunked | Framing::NoBody => Ok(()),
        }
    }

    /// Ends the body; whether the connection can be used for another request.
    ///
    /// # Errors
    /// The body is shorter than was announced, or the client has gone.
    pub(super) fn finish(&mut self) -> io::Result<bool> {
        match self.framing {
            Framing::Chunked => self.client.write_all(b"0\r\n\r\n")?,
            Framing::Length(left @ 1..) => {
                let message = format!("the body is {left} bytes short of its Content-Length");
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
            }
            Framing::Length(0) | Framing::NoBody | Framing::UntilClose => {}
        }
        Ok(self.keep_alive)
    }

    /// Ends the connection so that the client sees that the body is not whole.
    pub(super) fn break_off(self) {
        if let Framing::UntilClose = self.framing {
            // Only a reset tells it. Without, the answer looks whole, and there is nobody to tell.
            let _: Result<(), _> = set_socket_linger(self.client, Some(Duration::ZERO));
            let _: io::Result<()> = self.client.shutdown(Shutdown::Read);
        } else {
            let _: io::Result<()> = self.client.shutdown(Shutdown::Both);
        }
    }
}

/// Answers without the application, and ends the connection.
pub(super) fn refuse(client: &TcpStream, status: StatusCode, explanation: &str) -> io::Result<()> {
    let body = format!("{status}: {explanation}\n");
    let head = format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\
         content-type: text/plain; charset=utf-8\r\n\r\n",
        body.len()
    );
    (&*client).write_all((head + &body).as_bytes())
}

fn framing(request: &Request<()>, head: &Response<()>) -> Framing {
    let has_none = matches!(head.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if has_none || request.method() == Method::HEAD {
        return Framing::NoBody;
    }
    match content_length(head.headers()) {
        Some(length) => Framing::Length(length),
        None if request.version() == Version::HTTP_11 => Framing::Chunked,
        None => Framing::UntilClose,
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// 204 has no length, not even none.
fn is_passed(name: &HeaderName, status: StatusCode) -> bool {
    let has_no_place = status == StatusCode::NO_CONTENT && name == CONTENT_LENGTH;
    !has_no_place && !NOT_PASSED.contains(name)
}

fn wants_keep_alive(request: &Request<()>) -> bool {
    let options = request.headers().get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let asks_to_close = options.flat_map(|value| value.split(',')).any(|x| x.trim().eq_ignore_ascii_case("close"));
    request.version() == Version::HTTP_11 && !asks_to_close
}

fn put_header(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(&[name.as_bytes(), b": ", value, b"\r\n"].concat());
}

fn chunk(piece: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat()
}
