//! What the application sends for one request, judged record by record.

use super::record::{self, Record};

/// The longest content that the application may put in one record: with padding it stays below 65536, which is
/// where some web servers lose their place.
const LONGEST_CONTENT: usize = 65528;

/// Headers about framing between web server and browser, which an application must not send.
const FRAMING: [&str; 5] = ["transfer-encoding", "connection", "keep-alive", "upgrade", "trailer"];

/// An answer of which END_REQUEST has not come.
#[derive(Debug, Default)]
pub(crate) struct Partial {
    stdout: Vec<u8>,
    pieces: usize,
    stdout_ended: bool,
    stderr: Vec<u8>,
    stderr_ended: bool,
}

/// All that came for one request, END_REQUEST included.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(crate) stdout: Vec<u8>,
    pieces: usize,
    pub(crate) stderr: Vec<u8>,
    pub(crate) app_status: u32,
    pub(crate) protocol_status: u8,
}

/// An `Ending` whose STDOUT was read as a CGI header block and a body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// How many STDOUT records it came in, the empty one not counted.
    pub(crate) pieces: usize,
    pub(crate) stderr: Vec<u8>,
    pub(crate) app_status: u32,
    pub(crate) protocol_status: u8,
}

impl Partial {
    /// Takes in one record of this request; gives the whole when it is END_REQUEST.
    pub(crate) fn take(&mut self, record: &Record) -> Option<Ending> {
        match record.kind {
            record::STDOUT => self.take_stdout(&record.content),
            record::STDERR => self.take_stderr(&record.content),
            record::END_REQUEST => return Some(self.end(&record.content)),
            kind => panic!("record type {kind} is not the application's to send for a request"),
        }
        None
    }

    /// The bytes of the body that have come.
    pub(crate) fn body(&self) -> &[u8] {
        match self.stdout.is_empty() {
            true => &[],
            false => &self.stdout[head_len(&self.stdout)..],
        }
    }

    fn take_stdout(&mut self, content: &[u8]) {
        assert!(!self.stdout_ended, "STDOUT goes on after its end");
        if content.is_empty() {
            self.stdout_ended = true;
            return;
        }
        if self.pieces == 0 {
            // The whole head is in the first record; this fails when it is not.
            read_head(&content[..head_len(content)]);
        }
        self.pieces += 1;
        self.stdout.extend_from_slice(content);
    }

    fn take_stderr(&mut self, content: &[u8]) {
        assert!(self.pieces > 0, "STDERR came before the first STDOUT record");
        assert!(!self.stderr_ended, "STDERR goes on after its end");
        self.stderr_ended = content.is_empty();
        self.stderr.extend_from_slice(content);
    }

    fn end(&mut self, content: &[u8]) -> Ending {
        assert_eq!(content.len(), 8, "END_REQUEST has 8 bytes of content");
        assert_eq!(content[5..], [0, 0, 0], "the reserved bytes of END_REQUEST are zero");
        assert!(self.stdout_ended || self.pieces == 0, "END_REQUEST came before the end of STDOUT");
        Ending {
            stdout: std::mem::take(&mut self.stdout),
            pieces: self.pieces,
            stderr: std::mem::take(&mut self.stderr),
            app_status: u32::from_be_bytes([content[0], content[1], content[2], content[3]]),
            protocol_status: content[4],
        }
    }
}

impl Ending {
    /// Reads STDOUT as the answer that it must be.
    pub(crate) fn into_answer(self) -> Answer {
        assert!(!self.stdout.is_empty(), "an empty answer, which some web servers take for a 200: {self:?}");
        let (head, body) = self.stdout.split_at(head_len(&self.stdout));
        let (status, headers) = read_head(head);
        let Ending { pieces, stderr, app_status, protocol_status, .. } = self;
        Answer { status, headers, body: body.to_vec(), pieces, stderr, app_status, protocol_status }
    }
}

impl Answer {
    /// The value of a header, which must not come twice.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} came twice");
        value
    }

    pub(crate) fn content_length(&self) -> Option<usize> {
        self.header("Content-Length").map(|length| length.parse().expect("Content-Length is a number"))
    }

    /// The body of a successful answer, as text.
    pub(crate) fn text(&self) -> &str {
        assert_eq!(self.status, 200, "{self:?}");
        std::str::from_utf8(&self.body).expect("the body is UTF-8")
    }

    /// The body of a successful answer, as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(self.text()).expect("the body is JSON")
    }
}

/// Fails for a record that no application may send, whatever the request.
pub(crate) fn assert_well_formed(record: &Record) {
    assert_eq!(record.version, 1, "a record of another version: {record:?}");
    assert_eq!(record.reserved, 0, "the reserved byte of a header is zero: {record:?}");
    assert!(record.content.len() <= LONGEST_CONTENT, "{} bytes of content in one record", record.content.len());
}

fn head_len(stdout: &[u8]) -> usize {
    let end = stdout.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    end.unwrap_or_else(|| panic!("the head is not whole: {:?}", String::from_utf8_lossy(stdout))) + 4
}

/// Reads `Status: NNN reason` and the headers that follow, and judges them.
fn read_head(head: &[u8]) -> (u16, Vec<(String, String)>) {
    let head = std::str::from_utf8(head).expect("the head is ASCII").trim_end_matches("\r\n");
    let mut lines = head.split("\r\n");
    let status_line = lines.next().expect("split gives at least one piece");
    let headers: Vec<_> = lines.map(read_field).collect();
    let is_head_of = |name: &str| headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
    for name in FRAMING.iter().chain(&["status"]) {
        assert!(!is_head_of(name), "{name} must not be sent: {head}");
    }
    (read_status(status_line), headers)
}

fn read_status(line: &str) -> u16 {
    let rest = line.strip_prefix("Status: ").unwrap_or_else(|| panic!("the head begins with {line:?}"));
    let (code, reason) = rest.split_once(' ').unwrap_or_else(|| panic!("no reason in {line:?}"));
    assert!(!reason.trim().is_empty(), "no reason in {line:?}");
    assert!(code.len() == 3 && code.bytes().all(|digit| digit.is_ascii_digit()), "no status in {line:?}");
    code.parse().expect("three digits")
}

fn read_field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("not a header: {line:?}"));
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    assert!(!name.is_empty() && name.bytes().all(is_token), "not the name of a header: {line:?}");
    assert!(!value.chars().any(char::is_control), "a control character in {line:?}");
    (name.to_owned(), value.to_owned())
}

mod judgement {
    //! Verifies that the judge accepts what is right and nothing else.

    use std::panic;

    use super::super::record::{Record, END_REQUEST, GET_VALUES_RESULT, STDERR, STDOUT};
    use super::{assert_well_formed, Partial, LONGEST_CONTENT};

    type Rows<'a> = &'a [(u8, &'a [u8])];

    const HEAD: (u8, &[u8]) = (STDOUT, b"Status: 200 OK\r\nX-A: b\r\n\r\n");
    const END_OF_STDOUT: (u8, &[u8]) = (STDOUT, b"");
    const END: (u8, &[u8]) = (END_REQUEST, &[0, 0, 0, 7, 0, 0, 0, 0]);

    fn judge(rows: Rows<'_>) {
        let mut partial = Partial::default();
        for &(kind, content) in rows {
            let record = Record { version: 1, kind, id: 1, reserved: 0, content: content.to_vec() };
            assert_well_formed(&record);
            if let Some(ending) = partial.take(&record) {
                ending.into_answer();
            }
        }
    }

    #[test]
    fn legal_answers_are_accepted() {
        judge(&[HEAD, END_OF_STDOUT, END]);
        judge(&[HEAD, (STDOUT, &[b'x'; LONGEST_CONTENT]), END_OF_STDOUT, END]);
        judge(&[HEAD, (STDERR, b"x"), (STDOUT, b"x"), END_OF_STDOUT, (STDERR, b""), END]);
    }

    #[test]
    fn everything_else_fails() {
        let rows: &[Rows<'_>] = &[
            &[HEAD, END],
            &[END_OF_STDOUT, END],
            &[HEAD, END_OF_STDOUT, (STDOUT, b"x")],
            &[(STDERR, b"x"), HEAD],
            &[HEAD, (STDERR, b""), (STDERR, b"x")],
            &[HEAD, END_OF_STDOUT, (END_REQUEST, &[0; 7])],
            &[HEAD, END_OF_STDOUT, (END_REQUEST, &[0, 0, 0, 0, 0, 0, 0, 1])],
            &[HEAD, (GET_VALUES_RESULT, b"")],
            &[HEAD, (STDOUT, &[b'x'; LONGEST_CONTENT + 1])],
            &[(STDOUT, b"Status: 200 OK\r\n")],
            &[(STDOUT, b"X-A: b\r\n\r\n")],
            &[(STDOUT, b"Status: 200\r\n\r\n")],
            &[(STDOUT, b"Status: 20 OK\r\n\r\n")],
            &[(STDOUT, b"Status: 200 OK\r\nX-A\r\n\r\n")],
            &[(STDOUT, b"Status: 200 OK\r\nX A: b\r\n\r\n")],
            &[(STDOUT, b"Status: 200 OK\r\nX-A: b\nc\r\n\r\n")],
            &[(STDOUT, b"Status: 200 OK\r\nConnection: close\r\n\r\n")],
        ];
        for rows in rows {
            assert!(panic::catch_unwind(|| judge(rows)).is_err(), "{rows:?} was accepted");
        }
    }
}
