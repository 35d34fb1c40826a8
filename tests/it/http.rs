//! A small blocking HTTP/1.1 client for tests: it sends what it is told and says how an answer ended.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The longest wait for the other side to do anything at all.
const TIMEOUT: Duration = Duration::from_secs(15);

/// One connection. Dropping it closes it, in the middle of whatever goes on.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
    /// The answer to HEAD looks as if a body followed.
    asked_for_head: bool,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Client {
        Client::with_timeout(address, TIMEOUT)
    }

    /// One that waits longer, or not as long, for the other side.
    pub(crate) fn with_timeout(address: SocketAddr, timeout: Duration) -> Client {
        let stream = TcpStream::connect_timeout(&address, timeout).expect("the web server accepts connections");
        stream.set_read_timeout(Some(timeout)).expect("a read timeout can be set");
        stream.set_write_timeout(Some(timeout)).expect("a write timeout can be set");
        stream.set_nodelay(true).expect("TCP_NODELAY can be set");
        Client { stream: BufReader::new(stream), asked_for_head: false }
    }

    pub(crate) fn get(&mut self, target: &str) -> Response {
        self.exchange(&Request::new("GET", target))
    }

    /// Waits for the first byte of an answer.
    pub(crate) fn await_answer(&mut self) {
        assert!(!self.stream.fill_buf().expect("the beginning of an answer").is_empty(), "the connection is closed");
    }

    /// For a connection that the web server may have closed.
    pub(crate) fn try_get(&mut self, target: &str) -> io::Result<Response> {
        self.asked_for_head = false;
        self.stream.get_mut().write_all(&Request::new("GET", target).to_bytes())?;
        Incoming::read_head(&mut self.stream, false)?.into_response()
    }

    /// Sends a request and waits for the whole answer.
    pub(crate) fn exchange(&mut self, request: &Request) -> Response {
        self.send(request);
        self.receive().into_response().expect("a whole body")
    }

    /// Sends a request with as much of its body as it has.
    pub(crate) fn send(&mut self, request: &Request) {
        self.asked_for_head = request.method == "HEAD";
        self.send_piece(&request.to_bytes());
    }

    /// Sends the next piece of a body whose length was announced.
    pub(crate) fn send_piece(&mut self, piece: &[u8]) {
        self.stream.get_mut().write_all(piece).expect("the web server takes what is sent");
    }

    /// Waits for the head of the answer; the body can then be read as it comes.
    pub(crate) fn receive(&mut self) -> Incoming<&mut BufReader<TcpStream>> {
        Incoming::read_head(&mut self.stream, self.asked_for_head).expect("the head of an answer")
    }

    /// The same connection once more, so that one thread can send while another receives.
    pub(crate) fn sender(&self) -> TcpStream {
        self.stream.get_ref().try_clone().expect("a second handle of the connection")
    }

    /// The port that the web server sees as the client's.
    pub(crate) fn port(&self) -> u16 {
        self.stream.get_ref().local_addr().expect("an address").port()
    }
}

/// A request to be sent.
pub(crate) struct Request {
    method: &'static str,
    target: Vec<u8>,
    headers: Vec<(&'static str, String)>,
    body: Upload,
}

enum Upload {
    Nothing,
    /// The length is announced, the body comes later or never.
    Announced(usize),
    Sized(Vec<u8>),
    Chunked(Vec<u8>),
}

impl Request {
    /// The target is sent as it is, legal or not.
    pub(crate) fn new(method: &'static str, target: impl AsRef<[u8]>) -> Request {
        Request { method, target: target.as_ref().to_vec(), headers: Vec::new(), body: Upload::Nothing }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Request {
        self.headers.push((name, value.into()));
        self
    }

    /// A body with Content-Length.
    pub(crate) fn body(self, body: impl Into<Vec<u8>>) -> Request {
        Request { body: Upload::Sized(body.into()), ..self }
    }

    /// A body with Transfer-Encoding: chunked.
    pub(crate) fn chunked(self, body: impl Into<Vec<u8>>) -> Request {
        Request { body: Upload::Chunked(body.into()), ..self }
    }

    /// Only the Content-Length of a body; [`Client::send_piece`] sends the body itself.
    pub(crate) fn announce(self, length: usize) -> Request {
        Request { body: Upload::Announced(length), ..self }
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = [self.method.as_bytes(), b" ", &self.target, b" HTTP/1.1\r\n"].concat();
        if !self.headers.iter().any(|(name, _)| *name == "Host") {
            bytes.extend_from_slice(b"Host: demo.test\r\n");
        }
        for (name, value) in &self.headers {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        self.body.put(&mut bytes);
        bytes
    }
}

/// The request line, for messages of tests that fail.
impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, String::from_utf8_lossy(&self.target))
    }
}

impl Upload {
    /// Appends the header that frames the body, the empty line and the body.
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Upload::Nothing => out.extend_from_slice(b"\r\n"),
            Upload::Announced(length) => put_length(out, *length),
            Upload::Sized(body) => {
                put_length(out, body.len());
                out.extend_from_slice(body);
            }
            Upload::Chunked(body) => put_chunks(out, body),
        }
    }
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    out.extend_from_slice(format!("Content-Length: {length}\r\n\r\n").as_bytes());
}

/// The chunks have an odd size, so that they fit no buffer of anyone's.
fn put_chunks(out: &mut Vec<u8>, body: &[u8]) {
    out.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
    for chunk in body.chunks(10_007) {
        out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
}

/// An answer that has arrived whole.
pub(crate) struct Response {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// The first header of that name, in any case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body in UTF-8")
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.text()))
    }
}

/// An answer whose head has arrived. Reading from it reads the body; one that was cut is an error, `UnexpectedEof`.
pub(crate) struct Incoming<R> {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    framing: Framing,
    reader: R,
}

/// What is still to come of a body.
#[derive(Debug)]
enum Framing {
    FirstChunk,
    /// Bytes left of this chunk.
    Chunk(u64),
    /// Bytes left of the body.
    Length(u64),
    /// All until the connection closes.
    UntilClose,
}

impl<R: BufRead> Incoming<R> {
    fn read_head(mut reader: R, asked_for_head: bool) -> io::Result<Incoming<R>> {
        let status = parse_status(&read_line(&mut reader)?)?;
        let mut headers = Vec::new();
        loop {
            let line = read_line(&mut reader)?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| malformed("header", &line))?;
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        let framing = framing(status, &headers, asked_for_head)?;
        Ok(Incoming { status, headers, framing, reader })
    }

    pub(crate) fn into_response(mut self) -> io::Result<Response> {
        let mut body = Vec::new();
        self.read_to_end(&mut body)?;
        Ok(Response { status: self.status, headers: self.headers, body })
    }

    /// Moves on to the next chunk; the last one is a body of no length.
    fn next_chunk(&mut self) -> io::Result<()> {
        if matches!(self.framing, Framing::Chunk(_)) && !read_line(&mut self.reader)?.is_empty() {
            return Err(malformed("end of a chunk", ""));
        }
        let line = read_line(&mut self.reader)?;
        let digits = line.split(';').next().unwrap_or_default();
        let length = u64::from_str_radix(digits, 16).map_err(|_| malformed("chunk", &line))?;
        self.framing = Framing::Chunk(length);
        if length == 0 {
            while !read_line(&mut self.reader)?.is_empty() {}
            self.framing = Framing::Length(0);
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Incoming<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if matches!(self.framing, Framing::FirstChunk | Framing::Chunk(0)) {
            self.next_chunk()?;
        }
        match &mut self.framing {
            Framing::UntilClose => self.reader.read(buffer),
            Framing::Length(0) => Ok(0),
            Framing::Length(left) | Framing::Chunk(left) => read_some(&mut self.reader, left, buffer),
            Framing::FirstChunk => unreachable!("the first chunk has begun"),
        }
    }
}

fn read_some(reader: &mut impl Read, left: &mut u64, buffer: &mut [u8]) -> io::Result<usize> {
    let length = reader.take(*left).read(buffer)?;
    if length == 0 && !buffer.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    *left -= length as u64;
    Ok(length)
}

/// One line without its end. A line that does not end was cut.
fn read_line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    match line.strip_suffix("\r\n") {
        Some(text) => Ok(text.to_owned()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn parse_status(line: &str) -> io::Result<u16> {
    let code = line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    code.and_then(|code| code.parse().ok()).ok_or_else(|| malformed("status line", line))
}

/// How long the body is (RFC 9112 section 6.3).
fn framing(status: u16, headers: &[(String, String)], asked_for_head: bool) -> io::Result<Framing> {
    if asked_for_head || matches!(status, 204 | 304) {
        return Ok(Framing::Length(0));
    }
    match (find(headers, "Transfer-Encoding"), find(headers, "Content-Length")) {
        (Some("chunked"), None) => Ok(Framing::FirstChunk),
        (None, Some(length)) => length.parse().map(Framing::Length).map_err(|_| malformed("Content-Length", length)),
        (None, None) => Ok(Framing::UntilClose),
        (Some(encoding), _) => Err(malformed("framing", encoding)),
    }
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(candidate, _)| candidate.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

fn malformed(what: &str, text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("malformed {what}: {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(framing: &str, body: &str, asked_for_head: bool) -> io::Result<Vec<u8>> {
        let wire = format!("HTTP/1.1 200 OK\r\n{framing}\r\n{body}");
        Incoming::read_head(wire.as_bytes(), asked_for_head)?.into_response().map(|response| response.body)
    }

    #[test]
    fn a_cut_body_is_told_from_a_whole_one() {
        const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";
        let rows = [
            ("content-length: 3\r\n", "abc", Some("abc")),
            ("Content-Length: 3\r\n", "abcHTTP/1.1", Some("abc")),
            ("Content-Length: 0\r\n", "", Some("")),
            ("Content-Length: 3\r\n", "ab", None),
            ("", "abc", Some("abc")),
            (CHUNKED, "0\r\n\r\n", Some("")),
            (CHUNKED, "2\r\nab\r\n1;x=y\r\nc\r\n0\r\n\r\nHTTP/1.1", Some("abc")),
            (CHUNKED, "a\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n", Some("0123456789")),
            (CHUNKED, "", None),
            (CHUNKED, "3\r\nab", None),
            (CHUNKED, "3\r\nabc", None),
            (CHUNKED, "3\r\nabc\r\n", None),
            (CHUNKED, "3\r\nabc\r\n0\r\n", None),
        ];
        for (framing, body, expected) in rows {
            match (receive(framing, body, false), expected) {
                (Ok(received), Some(expected)) => assert_eq!(received, expected.as_bytes(), "{framing}{body}"),
                (Err(error), None) => assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{framing}{body}"),
                (received, _) => panic!("{framing}{body}: {received:?}"),
            }
        }
    }

    #[test]
    fn the_answer_to_head_has_no_body() {
        assert!(receive("Content-Length: 3\r\n", "", true).is_ok_and(|body| body.is_empty()));
    }

    #[test]
    fn requests_frame_their_bodies() {
        let request = |request: Request| String::from_utf8(request.to_bytes()).expect("ASCII");
        let head = "PUT /x HTTP/1.1\r\nHost: demo.test\r\nA: b\r\n";
        let new = || Request::new("PUT", "/x").header("A", "b");
        assert_eq!(request(new()), format!("{head}\r\n"));
        assert_eq!(request(new().body("abc")), format!("{head}Content-Length: 3\r\n\r\nabc"));
        assert_eq!(request(new().announce(9)), format!("{head}Content-Length: 9\r\n\r\n"));
        let chunks = "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        assert_eq!(request(new().chunked("abc")), format!("{head}{chunks}"));
    }
}
