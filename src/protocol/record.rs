//! Records: the unit of the wire (section 3.3), and the bodies of those with a fixed form (section 5).

/// The length of a record header in bytes.
pub(crate) const HEADER_LEN: usize = 8;

/// The longest content that this crate sends in one record: the largest multiple of 8 below 65536, so that a long
/// record needs no padding and never has the form (65535 + padding) on which some front ends lose the framing.
pub(crate) const MAX_CONTENT_LEN: usize = 65528;

/// The only version there is (`FCGI_VERSION_1`).
const VERSION: u8 = 1;

/// `FCGI_KEEP_CONN`, the one flag of BEGIN_REQUEST (section 5.1).
const KEEP_CONN: u8 = 1;

/// Tells a request from the others on its connection. 0 is management.
pub(crate) type RequestId = u16;

/// The record types of section 8 that this crate names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum RecordType {
    BeginRequest = 1,
    AbortRequest = 2,
    EndRequest = 3,
    Params = 4,
    Stdin = 5,
    Stdout = 6,
    Stderr = 7,
    Data = 8,
    GetValues = 9,
    GetValuesResult = 10,
    UnknownType = 11,
}

impl RecordType {
    /// The type of a record that a web server sends; `None` for those that only an application sends.
    pub(crate) fn from_web_server(number: u8) -> Option<RecordType> {
        match number {
            1 => Some(RecordType::BeginRequest),
            2 => Some(RecordType::AbortRequest),
            4 => Some(RecordType::Params),
            5 => Some(RecordType::Stdin),
            8 => Some(RecordType::Data),
            9 => Some(RecordType::GetValues),
            _ => None,
        }
    }
}

/// The streams that a web server sends to an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Params,
    Stdin,
    Data,
}

/// What the web server wants of a request (section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Role {
    Responder = 1,
    Authorizer = 2,
    Filter = 3,
}

impl Role {
    pub(crate) fn from_number(number: u16) -> Option<Role> {
        match number {
            1 => Some(Role::Responder),
            2 => Some(Role::Authorizer),
            3 => Some(Role::Filter),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Role::Responder => "responder",
            Role::Authorizer => "authorizer",
            Role::Filter => "filter",
        }
    }
}

/// How a request ended as far as the protocol is concerned (section 5.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum ProtocolStatus {
    RequestComplete = 0,
    CantMpxConn = 1,
    Overloaded = 2,
    UnknownRole = 3,
}

/// The first eight bytes of every record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    pub(crate) version: u8,
    pub(crate) record_type: u8,
    pub(crate) id: RequestId,
    pub(crate) content_len: u16,
    pub(crate) padding_len: u8,
}

impl RecordHeader {
    pub(crate) fn parse(bytes: [u8; HEADER_LEN]) -> RecordHeader {
        RecordHeader {
            version: bytes[0],
            record_type: bytes[1],
            id: u16::from_be_bytes([bytes[2], bytes[3]]),
            content_len: u16::from_be_bytes([bytes[4], bytes[5]]),
            padding_len: bytes[6],
        }
    }

    pub(crate) fn has_known_version(&self) -> bool {
        self.version == VERSION
    }

    /// The header of a record with `content_len` bytes, at most [`MAX_CONTENT_LEN`], padded to a multiple of 8.
    pub(crate) fn new(record_type: RecordType, id: RequestId, content_len: usize) -> RecordHeader {
        debug_assert!(content_len <= MAX_CONTENT_LEN);
        RecordHeader {
            version: VERSION,
            record_type: record_type as u8,
            id,
            content_len: content_len as u16,
            padding_len: (content_len.wrapping_neg() & 7) as u8,
        }
    }

    pub(crate) fn to_bytes(self) -> [u8; HEADER_LEN] {
        let [id_high, id_low] = self.id.to_be_bytes();
        let [len_high, len_low] = self.content_len.to_be_bytes();
        [self.version, self.record_type, id_high, id_low, len_high, len_low, self.padding_len, 0]
    }
}

/// The content of BEGIN_REQUEST (section 5.1). The role is kept as sent, so that an unknown one can be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BeginRequest {
    pub(crate) role: u16,
    pub(crate) keep_conn: bool,
}

impl BeginRequest {
    pub(crate) const LEN: usize = 8;

    pub(crate) fn parse(content: [u8; Self::LEN]) -> BeginRequest {
        BeginRequest { role: u16::from_be_bytes([content[0], content[1]]), keep_conn: content[2] & KEEP_CONN != 0 }
    }
}

/// Appends BEGIN_REQUEST, without FCGI_KEEP_CONN.
pub(crate) fn put_begin_request(out: &mut Vec<u8>, id: RequestId, role: Role) {
    put_record(out, RecordType::BeginRequest, id, &[0, role as u8, 0, 0, 0, 0, 0, 0]);
}

/// Appends records that carry `content`, as many as its length asks for; none when it is empty, because an empty
/// record would end the stream.
pub(crate) fn put_record(out: &mut Vec<u8>, record_type: RecordType, id: RequestId, content: &[u8]) {
    for piece in content.chunks(MAX_CONTENT_LEN) {
        let header = RecordHeader::new(record_type, id, piece.len());
        out.extend_from_slice(&header.to_bytes());
        out.extend_from_slice(piece);
        out.resize(out.len() + usize::from(header.padding_len), 0);
    }
}

/// Appends the empty record that ends a stream (section 3.3).
pub(crate) fn put_end_of_stream(out: &mut Vec<u8>, record_type: RecordType, id: RequestId) {
    out.extend_from_slice(&RecordHeader::new(record_type, id, 0).to_bytes());
}

/// Appends END_REQUEST (section 5.5).
pub(super) fn put_end_request(out: &mut Vec<u8>, id: RequestId, status: ProtocolStatus, app_status: u32) {
    let mut content = [0; 8];
    content[..4].copy_from_slice(&app_status.to_be_bytes());
    content[4] = status as u8;
    put_record(out, RecordType::EndRequest, id, &content);
}

/// Appends UNKNOWN_TYPE (section 4.2), a management record: its id is 0.
pub(crate) fn put_unknown_type(out: &mut Vec<u8>, record_type: u8) {
    put_record(out, RecordType::UnknownType, 0, &[record_type, 0, 0, 0, 0, 0, 0, 0]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_goes_both_ways() {
        let rows: &[([u8; 8], RecordHeader)] = &[
            ([1, 1, 0, 1, 0, 8, 0, 0], RecordHeader::new(RecordType::BeginRequest, 1, 8)),
            ([1, 6, 0xff, 0xff, 0, 13, 3, 0], RecordHeader::new(RecordType::Stdout, 65535, 13)),
            ([1, 6, 1, 0, 0xff, 0xf8, 0, 0], RecordHeader::new(RecordType::Stdout, 256, 65528)),
            ([1, 5, 0, 2, 0, 1, 7, 0], RecordHeader::new(RecordType::Stdin, 2, 1)),
        ];
        for (bytes, header) in rows {
            assert_eq!(RecordHeader::parse(*bytes), *header);
            assert_eq!(header.to_bytes(), *bytes);
        }
    }

    #[test]
    fn long_content_is_split_into_records_without_padding() {
        let mut out = Vec::new();
        put_record(&mut out, RecordType::Stdout, 7, &vec![b'x'; MAX_CONTENT_LEN + 5]);
        assert_eq!(out[..8], [1, 6, 0, 7, 0xff, 0xf8, 0, 0]);
        assert_eq!(out[8 + MAX_CONTENT_LEN..][..8], [1, 6, 0, 7, 0, 5, 3, 0]);
        assert_eq!(out.len(), 8 + MAX_CONTENT_LEN + 8 + 5 + 3);
        assert_eq!(out[out.len() - 3..], [0, 0, 0]);
    }

    #[test]
    fn empty_content_makes_no_record() {
        let mut out = Vec::new();
        put_record(&mut out, RecordType::Stdout, 7, b"");
        assert!(out.is_empty());
    }

    #[test]
    fn fixed_bodies_have_zero_reserved_bytes() {
        let mut out = Vec::new();
        put_end_of_stream(&mut out, RecordType::Stdout, 3);
        put_end_request(&mut out, 3, ProtocolStatus::Overloaded, 0x0102_0304);
        put_unknown_type(&mut out, 99);
        let expected: &[u8] = &[
            1, 6, 0, 3, 0, 0, 0, 0, //
            1, 3, 0, 3, 0, 8, 0, 0, 1, 2, 3, 4, 2, 0, 0, 0, //
            1, 11, 0, 0, 0, 8, 0, 0, 99, 0, 0, 0, 0, 0, 0, 0,
        ];
        assert_eq!(out, expected);
    }

    #[test]
    fn begin_request_keeps_an_unknown_role_as_sent() {
        let rows = [
            ([0, 1, 0, 0, 0, 0, 0, 0], 1, false),
            ([0, 3, 1, 0, 0, 0, 0, 0], 3, true),
            ([1, 2, 0xfe, 9, 9, 9, 9, 9], 258, false),
        ];
        for (bytes, role, keep_conn) in rows {
            assert_eq!(BeginRequest::parse(bytes), BeginRequest { role, keep_conn });
        }
    }
}
