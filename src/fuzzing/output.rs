//! What an application sent on one connection, checked record by record by code that shares nothing with the library.

use std::collections::HashMap;

/// What the records of a connection amount to.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// By request id.
    pub(super) answers: HashMap<u16, Answers>,
    pub(super) n_values_results: usize,
    pub(super) n_unknown_types: usize,
    /// The last record is not whole.
    pub(super) is_cut: bool,
}

/// What came under one request id.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub(super) n_ended: usize,
    progress: Progress,
    stderr: bool,
}

/// How far the answer is that has not had its END_REQUEST.
#[derive(Debug, Default, PartialEq, Eq)]
enum Progress {
    #[default]
    Nothing,
    Stdout,
    EndOfStdout,
}

impl Answers {
    pub(super) fn n_begun(&self) -> usize {
        self.n_ended + usize::from(self.progress != Progress::Nothing)
    }
}

/// Takes the bytes apart and panics where they are not what an application may send.
pub(super) fn check(mut bytes: &[u8]) -> Output {
    let mut output = Output::default();
    while !bytes.is_empty() {
        match split_record(bytes) {
            Some((record_type, id, content, rest)) => {
                output.record(record_type, id, content);
                bytes = rest;
            }
            None => {
                output.is_cut = true;
                break;
            }
        }
    }
    output
}

/// The first record's type, id and content, and what is behind its padding.
fn split_record(bytes: &[u8]) -> Option<(u8, u16, &[u8], &[u8])> {
    let header: [u8; 8] = bytes.get(..8)?.try_into().ok()?;
    let [version, record_type, id_high, id_low, len_high, len_low, padding_len, reserved] = header;
    assert_eq!((version, reserved), (1, 0), "no record header: {header:?}");
    let len = usize::from(u16::from_be_bytes([len_high, len_low]));
    let end = 8 + len + usize::from(padding_len);
    assert!(end % 8 == 0 && padding_len < 8, "odd padding: {header:?}");
    let rest = bytes.get(end..)?;
    assert!(bytes[8 + len..end].iter().all(|&byte| byte == 0), "padding with content");
    Some((record_type, u16::from_be_bytes([id_high, id_low]), &bytes[8..8 + len], rest))
}

impl Output {
    fn record(&mut self, record_type: u8, id: u16, content: &[u8]) {
        match (record_type, id) {
            (10, 0) => {
                assert!(content.len() <= 70, "{content:?}");
                self.n_values_results += 1;
            }
            (11, 0) => {
                assert!(content.len() == 8 && content[1..] == [0; 7], "{content:?}");
                self.n_unknown_types += 1;
            }
            (3 | 6 | 7, 1..) => self.answers.entry(id).or_default().record(record_type, content),
            _ => panic!("record of type {record_type} under id {id}"),
        }
    }
}

impl Answers {
    fn record(&mut self, record_type: u8, content: &[u8]) {
        match record_type {
            6 => self.stdout(content),
            7 => self.stderr(content),
            _ => self.end(content),
        }
    }

    fn stdout(&mut self, content: &[u8]) {
        assert_ne!(self.progress, Progress::EndOfStdout, "STDOUT behind its end");
        match (content, &self.progress) {
            ([], Progress::Nothing) => panic!("STDOUT without a head"),
            ([], _) => self.progress = Progress::EndOfStdout,
            (_, Progress::Nothing) => {
                assert!(
                    content.starts_with(b"Status: ") && content.windows(4).any(|end| end == b"\r\n\r\n"),
                    "no head"
                );
                self.progress = Progress::Stdout;
            }
            _ => {}
        }
    }

    fn stderr(&mut self, content: &[u8]) {
        assert_eq!(self.progress, Progress::Stdout, "STDERR outside of an answer");
        assert_eq!(self.stderr, content.is_empty(), "STDERR is one record and its end");
        self.stderr = !content.is_empty();
    }

    fn end(&mut self, content: &[u8]) {
        assert!(content.len() == 8 && content[4] <= 3 && content[5..] == [0; 3], "{content:?}");
        assert_ne!(self.progress, Progress::Stdout, "END_REQUEST before the end of STDOUT");
        assert!(!self.stderr, "END_REQUEST before the end of STDERR");
        self.progress = Progress::Nothing;
        self.n_ended += 1;
    }
}
