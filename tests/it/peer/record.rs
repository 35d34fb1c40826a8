//! Records and name-value pairs as bytes, both legal and not; written from the specification, sections 3 and 8.

pub(crate) const BEGIN_REQUEST: u8 = 1;
pub(crate) const ABORT_REQUEST: u8 = 2;
pub(crate) const END_REQUEST: u8 = 3;
pub(crate) const PARAMS: u8 = 4;
pub(crate) const STDIN: u8 = 5;
pub(crate) const STDOUT: u8 = 6;
pub(crate) const STDERR: u8 = 7;
pub(crate) const DATA: u8 = 8;
pub(crate) const GET_VALUES: u8 = 9;
pub(crate) const GET_VALUES_RESULT: u8 = 10;
pub(crate) const UNKNOWN_TYPE: u8 = 11;

pub(crate) const RESPONDER: u16 = 1;
pub(crate) const AUTHORIZER: u16 = 2;
pub(crate) const FILTER: u16 = 3;

pub(crate) const REQUEST_COMPLETE: u8 = 0;
pub(crate) const CANT_MPX_CONN: u8 = 1;
pub(crate) const OVERLOADED: u8 = 2;
pub(crate) const UNKNOWN_ROLE: u8 = 3;

/// The most that one record can carry.
pub(crate) const MAX_CONTENT_LEN: usize = 65535;

const HEADER_LEN: usize = 8;

/// A record as it came.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) version: u8,
    pub(crate) kind: u8,
    pub(crate) id: u16,
    pub(crate) reserved: u8,
    pub(crate) content: Vec<u8>,
}

impl Record {
    /// Takes the first record from the buffer, once it is there with its padding.
    pub(crate) fn take_from(buffer: &mut Vec<u8>) -> Option<Record> {
        let header = buffer.get(..HEADER_LEN)?;
        let content_len = usize::from(u16::from_be_bytes([header[4], header[5]]));
        let end_of_content = HEADER_LEN + content_len;
        let end = end_of_content + usize::from(header[6]);
        let content = buffer.get(..end)?[HEADER_LEN..end_of_content].to_vec();
        let id = u16::from_be_bytes([buffer[2], buffer[3]]);
        let record = Record { version: buffer[0], kind: buffer[1], id, reserved: buffer[7], content };
        buffer.drain(..end);
        Some(record)
    }
}

/// A legal record without padding.
pub(crate) fn record(kind: u8, id: u16, content: &[u8]) -> Vec<u8> {
    padded(kind, id, content, 0)
}

/// A legal record with padding. Its bytes are not zero, so that padding taken for content is noticed.
pub(crate) fn padded(kind: u8, id: u16, content: &[u8], padding: u8) -> Vec<u8> {
    versioned(1, kind, id, content, padding)
}

/// A record of any version.
pub(crate) fn versioned(version: u8, kind: u8, id: u16, content: &[u8], padding: u8) -> Vec<u8> {
    assert!(content.len() <= MAX_CONTENT_LEN, "{} bytes do not fit in a record", content.len());
    let [id_high, id_low] = id.to_be_bytes();
    let [len_high, len_low] = (content.len() as u16).to_be_bytes();
    let mut bytes = vec![version, kind, id_high, id_low, len_high, len_low, padding, 0];
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len() + usize::from(padding), 0xAA);
    bytes
}

pub(crate) fn begin(id: u16, role: u16, keep_conn: bool) -> Vec<u8> {
    let [role_high, role_low] = role.to_be_bytes();
    record(BEGIN_REQUEST, id, &[role_high, role_low, u8::from(keep_conn), 0, 0, 0, 0, 0])
}

pub(crate) fn abort(id: u16) -> Vec<u8> {
    record(ABORT_REQUEST, id, &[])
}

/// The content of a stream in the fewest records, without its end.
pub(crate) fn stream(kind: u8, id: u16, content: &[u8]) -> Vec<u8> {
    content.chunks(MAX_CONTENT_LEN).flat_map(|piece| record(kind, id, piece)).collect()
}

/// The empty record that ends a stream.
pub(crate) fn end_of_stream(kind: u8, id: u16) -> Vec<u8> {
    record(kind, id, &[])
}

pub(crate) fn get_values(names: &[&str]) -> Vec<u8> {
    let content: Vec<u8> = names.iter().flat_map(|name| pair(name.as_bytes(), b"")).collect();
    record(GET_VALUES, 0, &content)
}

/// A pair with the shortest lengths that can hold it.
pub(crate) fn pair(name: &[u8], value: &[u8]) -> Vec<u8> {
    [shortest_length(name.len()), shortest_length(value.len()), name.to_vec(), value.to_vec()].concat()
}

/// A pair whose lengths take 4 bytes each, needed or not.
pub(crate) fn long_pair(name: &[u8], value: &[u8]) -> Vec<u8> {
    [long_length(name.len()), long_length(value.len()), name.to_vec(), value.to_vec()].concat()
}

/// The pairs of a well-formed stream.
pub(crate) fn parse_pairs(mut bytes: &[u8]) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    while !bytes.is_empty() {
        let (name_len, value_len) = (take_length(&mut bytes), take_length(&mut bytes));
        pairs.push((take_text(&mut bytes, name_len), take_text(&mut bytes, value_len)));
    }
    pairs
}

fn shortest_length(len: usize) -> Vec<u8> {
    match u8::try_from(len) {
        Ok(short) if short < 0x80 => vec![short],
        _ => long_length(len),
    }
}

pub(crate) fn long_length(len: usize) -> Vec<u8> {
    assert!(len < 0x8000_0000, "{len} does not fit in 31 bits");
    (len as u32 | 0x8000_0000).to_be_bytes().to_vec()
}

fn take_length(bytes: &mut &[u8]) -> usize {
    let width = if bytes[0] < 0x80 { 1 } else { 4 };
    let (length, rest) = bytes.split_at(width);
    *bytes = rest;
    length.iter().fold(0, |sum, &byte| sum << 8 | usize::from(byte)) & 0x7FFF_FFFF
}

fn take_text(bytes: &mut &[u8], len: usize) -> String {
    let (text, rest) = bytes.split_at(len);
    *bytes = rest;
    String::from_utf8(text.to_vec()).expect("names and values from the application are text")
}
