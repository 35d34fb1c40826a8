//! The web server of these tests: it speaks FastCGI in raw records, shares no code with the crate, and fails the
//! test when the application breaks a rule.

pub(crate) mod answer;
pub(crate) mod record;
mod request;

use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;

use rustix::io::ioctl_fionread;

use crate::demo::PATIENCE;
use answer::{Answer, Ending, Partial};
use record::Record;
pub(crate) use request::Request;

/// One connection to the application. What is sent is watched, so that it knows which requests are active.
pub(crate) struct Connection {
    socket: Socket,
    sent: Sent,
    received: Vec<u8>,
    active: HashMap<u16, Partial>,
    ended: HashMap<u16, VecDeque<Ending>>,
    management: VecDeque<Record>,
    /// A reset counts as the end of the connection.
    may_be_reset: bool,
}

/// What the records that were sent ask for.
#[derive(Default)]
struct Sent {
    /// The start of a record of which the rest has not been sent.
    rest: Vec<u8>,
    /// Something was sent that is no record: nothing behind it can be understood.
    garbled: bool,
    /// Management records that have no answer yet.
    management: usize,
}

impl Connection {
    /// Connects to `unix:/path` or `host:port`.
    pub(crate) fn open(address: &str) -> Connection {
        Connection {
            socket: Socket::connect(address).unwrap_or_else(|error| panic!("cannot connect to {address}: {error}")),
            sent: Sent::default(),
            received: Vec::new(),
            active: HashMap::new(),
            ended: HashMap::new(),
            management: VecDeque::new(),
            may_be_reset: false,
        }
    }

    /// A request to be built and sent on this connection.
    pub(crate) fn request(&mut self, id: u16) -> Request<'_> {
        Request::new(Some(self), id)
    }

    // Sending.

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).expect("the application takes what is sent");
    }

    /// Sends to an application that may have closed the connection.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.watch(bytes);
        self.socket.write_all(bytes)
    }

    /// Sends in pieces of some size, so that records are split anywhere.
    pub(crate) fn send_in_pieces(&mut self, bytes: &[u8], size: usize) {
        bytes.chunks(size).for_each(|piece| self.send(piece));
    }

    pub(crate) fn stdin(&mut self, id: u16, content: &[u8]) {
        self.send(&record::stream(record::STDIN, id, content));
    }

    pub(crate) fn end_stdin(&mut self, id: u16) {
        self.send(&record::end_of_stream(record::STDIN, id));
    }

    pub(crate) fn abort(&mut self, id: u16) {
        self.send(&record::abort(id));
    }

    /// Sends from another thread what is too much to be sent before answers are read.
    pub(crate) fn while_sending<T>(&mut self, bytes: &[u8], read: impl FnOnce(&mut Connection) -> T) -> T {
        self.watch(bytes);
        let mut socket = self.socket.try_clone().expect("the socket can be cloned");
        thread::scope(|scope| {
            scope.spawn(move || socket.write_all(bytes).expect("the application takes what is sent"));
            read(self)
        })
    }

    /// Ends this side's stream; the answers can still come.
    pub(crate) fn half_close(&mut self) {
        self.try_half_close().expect("the connection is open");
    }

    pub(crate) fn try_half_close(&mut self) -> io::Result<()> {
        self.socket.shutdown(Shutdown::Write)
    }

    // Receiving.

    /// The next answer with this id.
    pub(crate) fn answer(&mut self, id: u16) -> Answer {
        self.ending(id).into_answer()
    }

    /// All that comes for this id until END_REQUEST, which need not be an answer.
    pub(crate) fn ending(&mut self, id: u16) -> Ending {
        loop {
            if let Some(ending) = self.ended.get_mut(&id).and_then(VecDeque::pop_front) {
                return ending;
            }
            assert!(self.is_active(id), "request {id} is not active");
            assert!(self.take_record(), "the connection was closed before the end of request {id}");
        }
    }

    /// The body of this active request's answer as soon as it has so many bytes.
    pub(crate) fn body_until(&mut self, id: u16, len: usize) -> Vec<u8> {
        loop {
            let partial = self.active.get(&id).unwrap_or_else(|| panic!("request {id} is not active any more"));
            if partial.body().len() >= len {
                return partial.body().to_vec();
            }
            assert!(self.take_record(), "the connection was closed in the body of request {id}");
        }
    }

    /// The part of this request's body that came before the connection was closed without END_REQUEST. Over TCP that
    /// is a reset.
    pub(crate) fn broken_body(&mut self, id: u16) -> Vec<u8> {
        self.may_be_reset = true;
        while self.take_record() {}
        let partial = self.active.get(&id).unwrap_or_else(|| panic!("request {id} came to its end"));
        partial.body().to_vec()
    }

    /// Fails unless the application closes the connection, at a record's end and without a reset.
    pub(crate) fn assert_closed(&mut self) {
        while self.take_record() {}
    }

    /// Fails unless the application is idle and the connection can be used: it has sent nothing that was not asked
    /// for, and answers.
    pub(crate) fn assert_usable(&mut self) {
        assert_eq!(self.values(&["FCGI_MPXS_CONNS"]).len(), 1);
    }

    /// Asks for variables and gives the answer's pairs.
    pub(crate) fn values(&mut self, names: &[&str]) -> Vec<(String, String)> {
        self.send(&record::get_values(names));
        self.values_result()
    }

    /// The pairs of the next management record, which must be GET_VALUES_RESULT.
    pub(crate) fn values_result(&mut self) -> Vec<(String, String)> {
        let record = self.management_record();
        assert_eq!(record.kind, record::GET_VALUES_RESULT);
        record::parse_pairs(&record.content)
    }

    /// The next management record, whatever comes before it.
    pub(crate) fn management_record(&mut self) -> Record {
        while self.management.is_empty() {
            assert!(self.take_record(), "the connection was closed before a management record came");
        }
        self.management.pop_front().expect("it is not empty")
    }

    /// Whether the request's END_REQUEST has not been read so far.
    pub(crate) fn is_active(&self, id: u16) -> bool {
        self.active.contains_key(&id)
    }

    /// How many bytes have come that were not received.
    pub(crate) fn unread(&self) -> u64 {
        let unread = match &self.socket {
            Socket::Unix(stream) => ioctl_fionread(stream),
            Socket::Tcp(stream) => ioctl_fionread(stream),
        };
        unread.expect("the length of what has come")
    }

    /// One `recv` of what the application has sent, not judged.
    pub(crate) fn receive_once(&mut self) -> Vec<u8> {
        let mut buffer = vec![0; 65536];
        let mut read = self.socket.read(&mut buffer);
        // A read with a time-out is interrupted when this process is stopped for a moment.
        while read.as_ref().is_err_and(|error| error.kind() == ErrorKind::Interrupted) {
            read = self.socket.read(&mut buffer);
        }
        let was_reset = read.as_ref().is_err_and(|error| error.kind() == ErrorKind::ConnectionReset);
        let len = if self.may_be_reset && was_reset { 0 } else { read.expect("something comes in time") };
        buffer.truncate(len);
        buffer
    }

    /// Judges bytes that `receive_once` gave.
    pub(crate) fn judge(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
        while let Some(record) = Record::take_from(&mut self.received) {
            self.judge_record(record);
        }
    }

    /// Whatever comes until the connection ends, in whatever way; not judged, and used only where the connection was
    /// broken first. Fails when the end does not come.
    pub(crate) fn drain(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self.socket.read_to_end(&mut bytes) {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {}
            Err(error) => panic!("the application neither answers nor closes: {error}"),
        }
        bytes
    }

    // The watch over both directions.

    /// Notes which requests the records that are about to be sent begin.
    fn watch(&mut self, bytes: &[u8]) {
        // Piece by piece, because taking a record from a long buffer moves all that is behind it.
        for piece in bytes.chunks(4096) {
            self.sent.rest.extend_from_slice(piece);
            while let Some(record) = self.sent.take_record() {
                self.note_sent(&record);
            }
        }
    }

    fn note_sent(&mut self, record: &Record) {
        if record.kind == record::BEGIN_REQUEST && record.id != 0 && record.content.len() >= 8 {
            self.active.entry(record.id).or_default();
        }
    }

    /// Reads and judges one record; false at the end of the connection.
    fn take_record(&mut self) -> bool {
        loop {
            if let Some(record) = Record::take_from(&mut self.received) {
                self.judge_record(record);
                return true;
            }
            let bytes = self.receive_once();
            if bytes.is_empty() {
                assert!(self.received.is_empty(), "the connection ends within a record");
                return false;
            }
            self.received.extend_from_slice(&bytes);
        }
    }

    fn judge_record(&mut self, record: Record) {
        answer::assert_well_formed(&record);
        match record.id {
            0 => self.take_management(record),
            id => self.take_application(id, &record),
        }
    }

    fn take_management(&mut self, record: Record) {
        let known = [record::GET_VALUES_RESULT, record::UNKNOWN_TYPE];
        assert!(known.contains(&record.kind), "not a management record: {record:?}");
        assert!(self.sent.management > 0, "nobody asked for {record:?}");
        self.sent.management -= 1;
        self.management.push_back(record);
    }

    fn take_application(&mut self, id: u16, record: &Record) {
        let Some(partial) = self.active.get_mut(&id) else { panic!("request {id} is not active: {record:?}") };
        if let Some(ending) = partial.take(record) {
            self.active.remove(&id);
            self.ended.entry(id).or_default().push_back(ending);
        }
    }
}

impl Sent {
    fn take_record(&mut self) -> Option<Record> {
        self.garbled |= self.rest.first().is_some_and(|&version| version != 1);
        if self.garbled {
            self.rest.clear();
        }
        let record = Record::take_from(&mut self.rest)?;
        self.management += usize::from(record.id == 0 && record.kind != record::BEGIN_REQUEST);
        Some(record)
    }
}

/// The transport, with a bound on every wait.
enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Socket {
    fn connect(address: &str) -> io::Result<Socket> {
        match address.strip_prefix("unix:") {
            Some(path) => Socket::unix(UnixStream::connect(path)?),
            None => Socket::tcp(TcpStream::connect(address)?),
        }
    }

    fn unix(stream: UnixStream) -> io::Result<Socket> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Socket::Unix(stream))
    }

    fn tcp(stream: TcpStream) -> io::Result<Socket> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        // Pieces are meant to arrive as they are sent.
        stream.set_nodelay(true)?;
        Ok(Socket::Tcp(stream))
    }

    fn try_clone(&self) -> io::Result<Socket> {
        match self {
            Socket::Unix(stream) => stream.try_clone().map(Socket::Unix),
            Socket::Tcp(stream) => stream.try_clone().map(Socket::Tcp),
        }
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Socket::Unix(stream) => stream.shutdown(how),
            Socket::Tcp(stream) => stream.shutdown(how),
        }
    }
}

impl Read for Socket {
    /// A process that was stopped and goes on is interrupted where a read has a time-out.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = match self {
                Socket::Unix(stream) => stream.read(buffer),
                Socket::Tcp(stream) => stream.read(buffer),
            };
            match read {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Unix(stream) => stream.write(bytes),
            Socket::Tcp(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
