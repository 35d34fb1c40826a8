//! The process as a plain CGI program: one request from the environment and standard input, its answer on standard
//! output.
//!
//! It is one FastCGI request that the process sends to itself, so that a handler meets the same rules either way.

use std::env;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::net::Socket;
use crate::protocol::{
    put_begin_request, put_end_of_stream, put_pair, put_record, RecordHeader, RecordType, Role, HEADER_LEN,
    MAX_CONTENT_LEN,
};
use crate::runtime::{read_on_a_thread, spawn_thread, Reader, State};

/// The only request there is.
const ID: u16 = 1;

/// Whether a web server runs this process as CGI (RFC 3875 section 4.1.4).
pub(crate) fn is_cgi() -> bool {
    env::var_os("GATEWAY_INTERFACE").is_some_and(|version| version.as_bytes().starts_with(b"CGI/"))
}

/// Answers the request; the application status of its answer.
pub(crate) fn answer(state: &Arc<State>) -> Result<u32> {
    let failed = |error| Error::io("cannot answer as a CGI program", error);
    let (ours, theirs) = UnixStream::pair().map_err(failed)?;
    let connection = Connection::new(&state.context, &state.connections, Socket::Unix(ours), false);
    read_on_a_thread(state, Reader::new(state, connection));
    let request = theirs.try_clone().map_err(failed)?;
    spawn_thread("fcgi-stdin", move || send_request(&request))?;
    receive_answer(&theirs, &mut io::stdout().lock()).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Error::new("the answer was cut short"),
        _ => failed(error),
    })
}

/// Sends the request. If that fails, the answer tells.
fn send_request(socket: &UnixStream) {
    let mut head = Vec::new();
    put_begin_request(&mut head, ID, Role::Responder);
    put_record(&mut head, RecordType::Params, ID, &meta_variables());
    put_end_of_stream(&mut head, RecordType::Params, ID);
    let sent = { socket }.write_all(&head).and_then(|()| send_body(socket));
    if sent.is_err() {
        let _: io::Result<()> = socket.shutdown(Shutdown::Write);
    }
}

fn meta_variables() -> Vec<u8> {
    let mut pairs = Vec::new();
    env::vars_os().for_each(|(name, value)| put_pair(&mut pairs, name.as_bytes(), value.as_bytes()));
    pairs
}

/// A CGI program must not read beyond CONTENT_LENGTH, and without it there is no body (RFC 3875 section 4.2).
fn send_body(mut socket: &UnixStream) -> io::Result<()> {
    let content_length = env::var("CONTENT_LENGTH").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    // A buffered reader would take more than that.
    let mut body = File::from(io::stdin().as_fd().try_clone_to_owned()?).take(content_length);
    let (mut buffer, mut record) = (vec![0; MAX_CONTENT_LEN], Vec::new());
    loop {
        let len = body.read(&mut buffer)?;
        record.clear();
        match len {
            0 => put_end_of_stream(&mut record, RecordType::Stdin, ID),
            len => put_record(&mut record, RecordType::Stdin, ID, &buffer[..len]),
        }
        socket.write_all(&record)?;
        if len == 0 {
            return Ok(());
        }
    }
}

/// Copies STDOUT and STDERR to where a CGI program writes them, up to the application status of END_REQUEST.
fn receive_answer(mut socket: &UnixStream, stdout: &mut impl Write) -> io::Result<u32> {
    loop {
        let mut header = [0; HEADER_LEN];
        socket.read_exact(&mut header)?;
        let header = RecordHeader::parse(header);
        let mut content = vec![0; usize::from(header.content_len) + usize::from(header.padding_len)];
        socket.read_exact(&mut content)?;
        content.truncate(usize::from(header.content_len));
        if header.record_type == RecordType::Stdout as u8 {
            stdout.write_all(&content)?;
            stdout.flush()?;
        } else if header.record_type == RecordType::Stderr as u8 {
            io::stderr().write_all(&content)?;
        } else if let [a, b, c, d, ..] = content[..] {
            return Ok(u32::from_be_bytes([a, b, c, d]));
        }
    }
}
