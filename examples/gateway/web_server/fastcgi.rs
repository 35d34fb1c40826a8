//! The web server's side of FastCGI 1.0: a connection for one request in the role Responder.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// How long one write may wait for an application that does not read.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// A multiple of eight, so that no record needs padding for the next one to be aligned.
const MAX_CONTENT: usize = 65_528;

const VERSION: u8 = 1;
const BEGIN_REQUEST: u8 = 1;
const END_REQUEST: u8 = 3;
const PARAMS: u8 = 4;
const STDIN: u8 = 5;
const STDOUT: u8 = 6;
const STDERR: u8 = 7;
const RESPONDER: u8 = 1;

/// The only request on its connection.
const ID: [u8; 2] = 1u16.to_be_bytes();

/// Where an application listens: `unix:/path` or `host:port`.
#[derive(Clone, Debug)]
pub(crate) enum Address {
    Unix(PathBuf),
    Tcp(String),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Address, String> {
        match text.strip_prefix("unix:") {
            Some(path) => Ok(Address::Unix(path.into())),
            None if text.contains(':') => Ok(Address::Tcp(text.to_owned())),
            None => Err("an address is unix:/path or host:port".to_owned()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Tcp(address) => f.write_str(address),
        }
    }
}

/// A connection to the application. One thread sends the request while another receives the answer, so that neither
/// can be in the other's way.
pub(super) struct Connection {
    /// A socket of either family; both can be read and written as files.
    socket: File,
}

impl Connection {
    pub(super) fn open(address: &Address) -> io::Result<Connection> {
        let socket = match address {
            Address::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
                OwnedFd::from(stream)
            }
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address)?;
                stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
                stream.set_nodelay(true)?;
                OwnedFd::from(stream)
            }
        };
        Ok(Connection { socket: socket.into() })
    }

    /// Sends BEGIN_REQUEST and the meta-variables. Without FCGI_KEEP_CONN the application closes the connection
    /// behind its answer, and a connection that is closed before cancels the request.
    pub(super) fn begin(&self, params: &[u8]) -> io::Result<()> {
        let mut records = Vec::with_capacity(params.len() + 64);
        put_record(&mut records, BEGIN_REQUEST, &[0, RESPONDER, 0, 0, 0, 0, 0, 0]);
        params.chunks(MAX_CONTENT).for_each(|content| put_record(&mut records, PARAMS, content));
        put_record(&mut records, PARAMS, &[]);
        (&self.socket).write_all(&records)
    }

    /// Sends the next piece of the body.
    pub(super) fn send(&self, piece: &[u8]) -> io::Result<()> {
        let mut records = Vec::with_capacity(piece.len() + 64);
        piece.chunks(MAX_CONTENT).for_each(|content| put_record(&mut records, STDIN, content));
        (&self.socket).write_all(&records)
    }

    /// Says that the body is whole.
    pub(super) fn end_body(&self) -> io::Result<()> {
        let mut record = Vec::new();
        put_record(&mut record, STDIN, &[]);
        (&self.socket).write_all(&record)
    }

    /// What the application answers.
    pub(super) fn records(&self) -> Records<'_> {
        Records { reader: BufReader::with_capacity(MAX_CONTENT, &self.socket) }
    }

    /// Ends the connection, also for a thread that reads from it. The application takes that for an abort.
    pub(super) fn close(&self) {
        // It fails when the application was first.
        let _: Result<(), rustix::io::Errno> = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
    }
}

/// What an application sends.
pub(super) enum Record {
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    /// The protocol status: 0 for a request that was handled.
    EndRequest(u8),
}

/// The records of an answer, in their order.
pub(super) struct Records<'a> {
    reader: BufReader<&'a File>,
}

impl Records<'_> {
    /// Waits for the next record.
    ///
    /// # Errors
    /// The connection has ended: `UnexpectedEof` when the application closed it.
    pub(super) fn next(&mut self) -> io::Result<Record> {
        loop {
            let mut header = [0; 8];
            self.reader.read_exact(&mut header)?;
            let [version, record_type, _, _, length_1, length_0, padding, _] = header;
            if version != VERSION {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the application does not speak FastCGI"));
            }
            let mut content = vec![0; usize::from(u16::from_be_bytes([length_1, length_0]))];
            self.reader.read_exact(&mut content)?;
            self.reader.read_exact(&mut [0; 255][..usize::from(padding)])?;
            match (record_type, content.as_slice()) {
                // The end of the stream: END_REQUEST says the same.
                (STDOUT | STDERR, []) => {}
                (STDOUT, _) => return Ok(Record::Stdout(content)),
                (STDERR, _) => return Ok(Record::Stderr(content)),
                (END_REQUEST, [_, _, _, _, protocol_status, ..]) => return Ok(Record::EndRequest(*protocol_status)),
                // Nothing that was asked for.
                _ => {}
            }
        }
    }
}

fn put_record(out: &mut Vec<u8>, record_type: u8, content: &[u8]) {
    let [length_1, length_0] = (content.len() as u16).to_be_bytes();
    out.extend_from_slice(&[VERSION, record_type, ID[0], ID[1], length_1, length_0, 0, 0]);
    out.extend_from_slice(content);
}

/// Appends a name-value pair (FastCGI 3.4).
pub(super) fn put_pair(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    put_length(out, name.len());
    put_length(out, value.len());
    out.extend_from_slice(name);
    out.extend_from_slice(value);
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    match u8::try_from(length) {
        Ok(short @ 0..=127) => out.push(short),
        _ => out.extend_from_slice(&(length as u32 | 1 << 31).to_be_bytes()),
    }
}
