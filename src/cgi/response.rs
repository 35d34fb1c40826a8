//! The head of an `http` response becomes a CGI header block (RFC 3875 section 6).

use std::fmt;

use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{response, HeaderName, StatusCode};

/// What is known of a body before its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AnswerBody {
    pub(crate) len: Option<u64>,
    /// The Content-Type that a body of this kind gets when the handler names none.
    pub(crate) default_type: &'static str,
}

/// How much body may follow the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyRule {
    /// None: the answer to HEAD, 204 or 304.
    Nothing,
    /// As many bytes as Content-Length declares.
    Exactly(u64),
    /// Until it ends.
    Any,
}

/// Why a head cannot be sent. The answer is a 500.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HeadError {
    ContentLength,
    Status(StatusCode),
    TooLarge(usize),
    Variable(String),
}

/// Bounds on the header block, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadLimits {
    pub(crate) max_head: usize,
}

/// Appends the whole header block, the empty line included. `variables` are what an authorizer hands to the web
/// server (FastCGI 6.3); their names keep their case.
pub(crate) fn put_head(
    out: &mut Vec<u8>,
    parts: &response::Parts,
    answers_head: bool,
    body: AnswerBody,
    variables: &[(String, String)],
    limits: HeadLimits,
) -> Result<BodyRule, HeadError> {
    let start = out.len();
    let status = effective_status(parts)?;
    let declared = declared_length(parts)?;
    put_status(out, status);
    put_variables(out, variables)?;
    for (name, value) in &parts.headers {
        if !is_framing(name) {
            put_field(out, name.as_str().as_bytes(), value.as_bytes());
        }
    }
    let length = declared.or(body.len);
    let may_have_body = !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if may_have_body && body.len != Some(0) && !parts.headers.contains_key(CONTENT_TYPE) {
        put_field(out, b"content-type", body.default_type.as_bytes());
    }
    // A 304 may say how long the body would be, but an answer that has none by nature must not claim an empty one.
    let shown = if may_have_body { length } else { declared.filter(|_| status == StatusCode::NOT_MODIFIED) };
    if let Some(length) = shown {
        put_content_length(out, length);
    }
    out.extend_from_slice(b"\r\n");
    match out.len() - start {
        len if len > limits.max_head => Err(HeadError::TooLarge(len)),
        _ if answers_head || !may_have_body => Ok(BodyRule::Nothing),
        _ => Ok(length.map_or(BodyRule::Any, BodyRule::Exactly)),
    }
}

/// Location without a status of its own is a client redirect (RFC 3875 section 6.2.3): not every front end
/// sees to that itself.
fn effective_status(parts: &response::Parts) -> Result<StatusCode, HeadError> {
    match parts.status {
        StatusCode::OK if parts.headers.contains_key(LOCATION) => Ok(StatusCode::FOUND),
        status if status.is_informational() => Err(HeadError::Status(status)),
        status => Ok(status),
    }
}

fn declared_length(parts: &response::Parts) -> Result<Option<u64>, HeadError> {
    let mut declared = None;
    for value in parts.headers.get_all(CONTENT_LENGTH) {
        let text = value.to_str().map_err(|_| HeadError::ContentLength)?;
        let length = text.parse().map_err(|_| HeadError::ContentLength)?;
        if declared.replace(length).is_some_and(|before| before != length) {
            return Err(HeadError::ContentLength);
        }
    }
    Ok(declared)
}

fn put_status(out: &mut Vec<u8>, status: StatusCode) {
    out.extend_from_slice(b"Status: ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or("Unknown").as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn put_variables(out: &mut Vec<u8>, variables: &[(String, String)]) -> Result<(), HeadError> {
    for (name, value) in variables {
        let is_token = HeaderName::from_bytes(name.as_bytes()).is_ok();
        if !is_token || http::HeaderValue::from_str(value).is_err() {
            return Err(HeadError::Variable(name.clone()));
        }
        out.extend_from_slice(b"Variable-");
        put_field(out, name.as_bytes(), value.as_bytes());
    }
    Ok(())
}

fn put_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn put_content_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"content-length: ");
    // As `write!` would, in a tenth of the time.
    let start = out.len();
    let mut rest = length;
    loop {
        out.push(b'0' + (rest % 10) as u8);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out[start..].reverse();
    out.extend_from_slice(b"\r\n");
}

/// What is not the handler's to say: how the web server frames the answer is its own affair, a `Status` header
/// would contradict ours, and Content-Length is written at the end.
fn is_framing(name: &HeaderName) -> bool {
    matches!(*name, CONNECTION | CONTENT_LENGTH | TRAILER | TRANSFER_ENCODING | UPGRADE)
        || name.as_str() == "keep-alive"
        || name.as_str() == "status"
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeadError::ContentLength => f.write_str("invalid or contradictory Content-Length"),
            HeadError::Status(status) => write!(f, "status {status} cannot end an answer"),
            HeadError::TooLarge(len) => write!(f, "the header block has {len} bytes, more than max_head"),
            HeadError::Variable(name) => write!(f, "invalid name or value of the variable {name:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Response;

    const LIMITS: HeadLimits = HeadLimits { max_head: 200 };
    const TEXT: &str = "text/plain; charset=utf-8";

    fn head(response: http::response::Builder, len: Option<u64>) -> (String, Result<BodyRule, HeadError>) {
        let (parts, ()) = response.body(()).expect("a response").into_parts();
        let (mut out, body) = (Vec::new(), AnswerBody { len, default_type: TEXT });
        let rule = put_head(&mut out, &parts, false, body, &[], LIMITS);
        (String::from_utf8(out).expect("ASCII"), rule)
    }

    #[test]
    fn heads_are_written_by_the_rules() {
        let new = Response::builder;
        let rows = [
            (
                new(),
                Some(5),
                "Status: 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 5\r\n\r\n",
                BodyRule::Exactly(5),
            ),
            (new(), Some(0), "Status: 200 OK\r\ncontent-length: 0\r\n\r\n", BodyRule::Exactly(0)),
            (new(), None, "Status: 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\n\r\n", BodyRule::Any),
            (new().header("Content-Type", "a/b"), None, "Status: 200 OK\r\ncontent-type: a/b\r\n\r\n", BodyRule::Any),
            (
                new().header("content-type", "a/b").header("content-length", "3"),
                Some(5),
                "Status: 200 OK\r\ncontent-type: a/b\r\ncontent-length: 3\r\n\r\n",
                BodyRule::Exactly(3),
            ),
            (
                new().status(204).header("content-length", "3"),
                Some(5),
                "Status: 204 No Content\r\n\r\n",
                BodyRule::Nothing,
            ),
            (new().status(304), Some(5), "Status: 304 Not Modified\r\n\r\n", BodyRule::Nothing),
            (
                new().status(304).header("content-length", "9"),
                None,
                "Status: 304 Not Modified\r\ncontent-length: 9\r\n\r\n",
                BodyRule::Nothing,
            ),
            (
                new().header("Location", "/x"),
                Some(0),
                "Status: 302 Found\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n",
                BodyRule::Exactly(0),
            ),
            (
                new().status(201).header("Location", "/x"),
                Some(0),
                "Status: 201 Created\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n",
                BodyRule::Exactly(0),
            ),
            (new().status(599), Some(0), "Status: 599 Unknown\r\ncontent-length: 0\r\n\r\n", BodyRule::Exactly(0)),
            (
                new().header("set-cookie", "a").header("set-cookie", "b"),
                Some(0),
                "Status: 200 OK\r\nset-cookie: a\r\nset-cookie: b\r\ncontent-length: 0\r\n\r\n",
                BodyRule::Exactly(0),
            ),
        ];
        for (response, len, expected, rule) in rows {
            assert_eq!(head(response, len), (expected.to_owned(), Ok(rule)));
        }
    }

    #[test]
    fn framing_headers_are_dropped() {
        let names = ["Transfer-Encoding", "Connection", "Keep-Alive", "Upgrade", "Trailer", "Status"];
        for name in names {
            let (text, _) = head(Response::builder().header(name, "x"), Some(0));
            assert_eq!(text, "Status: 200 OK\r\ncontent-length: 0\r\n\r\n", "{name}");
        }
    }

    #[test]
    fn heads_that_cannot_be_sent_are_errors() {
        let new = Response::builder;
        let long = "x".repeat(200);
        let rows = [
            (new().header("content-length", "x"), HeadError::ContentLength),
            (new().header("content-length", "1").header("content-length", "2"), HeadError::ContentLength),
            (new().status(101), HeadError::Status(StatusCode::SWITCHING_PROTOCOLS)),
            (new().header("x", long), HeadError::TooLarge(16 + 205 + 19 + 2)),
        ];
        for (response, error) in rows {
            assert_eq!(head(response, Some(0)).1, Err(error));
        }
    }

    #[test]
    fn the_answer_to_head_says_the_length_and_has_no_body() {
        let (parts, ()) = Response::new(()).into_parts();
        let (mut out, body) = (Vec::new(), AnswerBody { len: Some(7), default_type: TEXT });
        assert_eq!(put_head(&mut out, &parts, true, body, &[], LIMITS), Ok(BodyRule::Nothing));
        assert!(out.ends_with(b"content-length: 7\r\n\r\n"));
    }

    #[test]
    fn variables_keep_their_case_and_must_be_legal() {
        let (parts, ()) = Response::new(()).into_parts();
        let body = AnswerBody { len: Some(0), default_type: TEXT };
        let written = |name: &str, value: &str| {
            let mut out = Vec::new();
            let variables = [(name.to_owned(), value.to_owned())];
            put_head(&mut out, &parts, false, body, &variables, LIMITS).map(|_| out)
        };
        let expected = b"Status: 200 OK\r\nVariable-USER: demo\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(written("USER", "demo").as_deref(), Ok(&expected[..]));
        for (name, value) in [("A B", "x"), ("", "x"), ("A", "x\r\ny"), ("A:", "x")] {
            assert_eq!(written(name, value), Err(HeadError::Variable(name.to_owned())));
        }
    }
}
