//! What must come back on a connection: whole records, each for an active request, with exactly the expected answer.

use std::time::{Duration, Instant};

const HEADER_LEN: usize = 8;
const END_REQUEST: u8 = 3;
const STDOUT: u8 = 6;
const STDERR: u8 = 7;

/// The answers that are due on one connection, by id.
pub(crate) struct Answers {
    due: Vec<Option<Answer>>,
    /// The start of a record whose rest has not arrived.
    rest: Vec<u8>,
}

/// An answer as far as it has arrived.
struct Answer {
    began: Instant,
    head: Head,
    body_len: usize,
}

enum Head {
    Partial(Vec<u8>),
    Whole,
}

/// A request that ended as it should.
pub(crate) struct Ended {
    pub(crate) id: u16,
    pub(crate) latency: Duration,
}

impl Answers {
    pub(crate) fn new(ids: u16) -> Answers {
        Answers { due: (0..ids).map(|_| None).collect(), rest: Vec::new() }
    }

    pub(crate) fn expect(&mut self, id: u16, now: Instant) {
        self.due[index(id)] = Some(Answer { began: now, head: Head::Partial(Vec::new()), body_len: 0 });
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.rest.is_empty() && self.due.iter().all(Option::is_none)
    }

    /// Puts what is left of the last reading at the start of `buffer`, so that the next goes behind it.
    pub(crate) fn restore(&mut self, buffer: &mut [u8]) -> usize {
        let len = self.rest.len();
        buffer[..len].copy_from_slice(&self.rest);
        self.rest.clear();
        len
    }

    /// Takes all whole records out of `input`; the requests that they end are added to `ended`.
    pub(crate) fn receive(&mut self, mut input: &[u8], body: &[u8], ended: &mut Vec<Ended>) -> Result<(), String> {
        while let Some((header, behind)) = input.split_first_chunk::<HEADER_LEN>() {
            let &[version, record_type, id_high, id_low, len_high, len_low, padding_len, _] = header;
            let content_len = usize::from(u16::from_be_bytes([len_high, len_low]));
            let Some(next) = behind.get(content_len + usize::from(padding_len)..) else { break };
            if version != 1 {
                return Err(format!("a record of version {version}"));
            }
            let id = u16::from_be_bytes([id_high, id_low]);
            self.receive_record(record_type, id, &behind[..content_len], body, ended)?;
            input = next;
        }
        self.rest.extend_from_slice(input);
        Ok(())
    }

    fn receive_record(
        &mut self,
        record_type: u8,
        id: u16,
        content: &[u8],
        body: &[u8],
        ended: &mut Vec<Ended>,
    ) -> Result<(), String> {
        let due = id.checked_sub(1).and_then(|index| self.due.get_mut(usize::from(index)));
        let Some(Some(answer)) = due else {
            return Err(format!("a record of type {record_type} for the inactive id {id}"));
        };
        match record_type {
            STDOUT => answer.receive(content, body),
            STDERR if content.is_empty() => Ok(()),
            STDERR => Err(format!("on STDERR: {}", String::from_utf8_lossy(content))),
            END_REQUEST => {
                answer.check_end(content, body)?;
                ended.push(Ended { id, latency: answer.began.elapsed() });
                self.due[index(id)] = None;
                Ok(())
            }
            _ => Err(format!("a record of type {record_type}")),
        }
    }
}

impl Answer {
    fn receive(&mut self, content: &[u8], body: &[u8]) -> Result<(), String> {
        let Head::Partial(head) = &mut self.head else { return self.receive_body(content, body) };
        let n_before = head.len();
        head.extend_from_slice(content);
        let Some(head_len) = head.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4) else {
            return Ok(());
        };
        check_status(head)?;
        self.head = Head::Whole;
        self.receive_body(&content[head_len - n_before..], body)
    }

    fn receive_body(&mut self, content: &[u8], body: &[u8]) -> Result<(), String> {
        let end = self.body_len + content.len();
        if body.get(self.body_len..end) != Some(content) {
            let shown = &content[..content.len().min(60)];
            return Err(format!("at byte {} of the body: {:?}", self.body_len, String::from_utf8_lossy(shown)));
        }
        self.body_len = end;
        Ok(())
    }

    /// The application status is 0 and the protocol status FCGI_REQUEST_COMPLETE.
    fn check_end(&self, content: &[u8], body: &[u8]) -> Result<(), String> {
        if content.len() != 8 || content[..5] != [0; 5] {
            return Err(format!("END_REQUEST with {content:?}"));
        }
        if !matches!(self.head, Head::Whole) || self.body_len != body.len() {
            return Err(format!("{} of {} bytes of the body before END_REQUEST", self.body_len, body.len()));
        }
        Ok(())
    }
}

/// CGI takes an answer without a status for 200.
fn check_status(head: &[u8]) -> Result<(), String> {
    let lines = head.split(|&byte| byte == b'\n');
    let status = lines.filter_map(|line| line.strip_prefix(b"Status: ")).next();
    match status {
        Some(status) if !status.starts_with(b"200") => {
            Err(format!("status {}", String::from_utf8_lossy(status).trim()))
        }
        _ => Ok(()),
    }
}

fn index(id: u16) -> usize {
    usize::from(id) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = b"hello, world\n";
    const GOOD: &[u8] = b"Status: 200 OK\r\nContent-Type: text/plain\r\n\r\nhello, world\n";
    const END: &[u8] = &[0; 8];

    fn record(record_type: u8, id: u8, content: &[u8]) -> Vec<u8> {
        let header = [1, record_type, 0, id, 0, content.len() as u8, 3, 0];
        [&header, content, &[0; 3]].concat()
    }

    /// What comes of an answer to the requests 1 and 2 of a connection, cut into pieces of this length.
    fn receive(answer: &[u8], piece_len: usize) -> Result<Vec<u16>, String> {
        let (mut answers, mut ended) = (Answers::new(2), Vec::new());
        (1..=2).for_each(|id| answers.expect(id, Instant::now()));
        let mut buffer = vec![0; 1024];
        for piece in answer.chunks(piece_len) {
            let n_before = answers.restore(&mut buffer);
            let end = n_before + piece.len();
            buffer[n_before..end].copy_from_slice(piece);
            answers.receive(&buffer[..end], BODY, &mut ended)?;
        }
        assert_eq!(answers.is_complete(), ended.len() == 2);
        Ok(ended.iter().map(|ended| ended.id).collect())
    }

    #[test]
    fn right_answers_end_their_requests_however_they_are_cut() {
        let (head, rest) = GOOD.split_at(20);
        let answer = [
            record(STDOUT, 2, head),
            record(STDOUT, 1, b"\r\n\r\nhello, world\n"),
            record(STDOUT, 2, rest),
            record(STDOUT, 2, b""),
            record(STDERR, 2, b""),
            record(END_REQUEST, 2, END),
            record(END_REQUEST, 1, END),
        ];
        for piece_len in [1, 7, 8, 50, 1000] {
            assert_eq!(receive(&answer.concat(), piece_len), Ok(vec![2, 1]), "{piece_len}");
        }
    }

    #[test]
    fn a_wrong_answer_is_noticed() {
        let answers: &[(&str, &[Vec<u8>])] = &[
            (
                "status 503 Service Unavailable",
                &[record(STDOUT, 1, b"Status: 503 Service Unavailable\r\n\r\nhello, world\n")],
            ),
            ("at byte 0 of the body: \"hello, World\\n\"", &[record(STDOUT, 1, b"\r\n\r\nhello, World\n")]),
            ("at byte 13 of the body: \"!\"", &[record(STDOUT, 1, GOOD), record(STDOUT, 1, b"!")]),
            (
                "12 of 13 bytes of the body before END_REQUEST",
                &[record(STDOUT, 1, &GOOD[..GOOD.len() - 1]), record(END_REQUEST, 1, END)],
            ),
            ("0 of 13 bytes of the body before END_REQUEST", &[record(END_REQUEST, 1, END)]),
            (
                "END_REQUEST with [0, 0, 0, 0, 2, 0, 0, 0]",
                &[record(STDOUT, 1, GOOD), record(END_REQUEST, 1, &[0, 0, 0, 0, 2, 0, 0, 0])],
            ),
            ("a record of type 6 for the inactive id 3", &[record(STDOUT, 3, GOOD)]),
            ("a record of type 6 for the inactive id 0", &[record(STDOUT, 0, GOOD)]),
            (
                "a record of type 3 for the inactive id 1",
                &[record(STDOUT, 1, GOOD), record(END_REQUEST, 1, END), record(END_REQUEST, 1, END)],
            ),
            ("on STDERR: oh", &[record(STDERR, 1, b"oh")]),
            ("a record of version 0", &[vec![0; 8]]),
        ];
        for (expected, records) in answers {
            assert_eq!(receive(&records.concat(), 1000), Err((*expected).to_owned()));
        }
    }
}
