//! What a web server can do that ends its connection: one variant for each violation.

use std::fmt;

use super::RequestId;

/// A violation after which the byte stream cannot be trusted any more. The connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProtocolError {
    /// BEGIN_REQUEST for an id that is still active (section 3.3).
    ActiveId(RequestId),
    /// BEGIN_REQUEST with the management id 0 (section 3.3).
    BeginWithNullId,
    /// BEGIN_REQUEST whose content is shorter than its 8 bytes (section 5.1).
    ShortBegin(u16),
    /// A version other than 1, or lost framing: the two look alike.
    Version(u8),
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProtocolError::ActiveId(id) => write!(f, "BEGIN_REQUEST for request id {id}, which is still active"),
            ProtocolError::BeginWithNullId => f.write_str("BEGIN_REQUEST with request id 0"),
            ProtocolError::ShortBegin(len) => write!(f, "BEGIN_REQUEST with {len} bytes of content, not 8"),
            ProtocolError::Version(version) => write!(f, "record with version {version}, not 1"),
        }
    }
}

impl std::error::Error for ProtocolError {}

#[cfg(test)]
mod tests {
    use super::ProtocolError::*;

    #[test]
    fn messages_name_the_operand() {
        let rows = [
            (ActiveId(7), "BEGIN_REQUEST for request id 7, which is still active"),
            (BeginWithNullId, "BEGIN_REQUEST with request id 0"),
            (ShortBegin(3), "BEGIN_REQUEST with 3 bytes of content, not 8"),
            (Version(71), "record with version 71, not 1"),
        ];
        for (error, text) in rows {
            assert_eq!(error.to_string(), text);
        }
    }
}
