//! Meta-variables become the head of an `http` request (RFC 3875 section 4.1).

use std::fmt;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Version};

use super::params::{Params, SharedValue};
use super::uri;

/// What the meta-variables say of a request.
#[derive(Debug)]
pub(crate) struct RequestHead {
    pub(crate) request: Request<()>,
    /// CONTENT_LENGTH, when it is a number. It may also be absent, empty or -1: then the end of STDIN is the end.
    pub(crate) content_length: Option<u64>,
}

/// Why the meta-variables make no request. The handler never runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BadRequest {
    HeaderValue(HeaderName),
    Method,
    MissingMethod,
    Params,
    TooManyHeaders,
    Uri,
}

/// The meta-variables that have a meaning of their own here. Of duplicates the first counts.
#[derive(Default)]
struct Known<'a> {
    content_length: Option<SharedValue<'a>>,
    content_type: Option<SharedValue<'a>>,
    path_info: Option<SharedValue<'a>>,
    query_string: Option<SharedValue<'a>>,
    request_method: Option<SharedValue<'a>>,
    request_uri: Option<SharedValue<'a>>,
    script_name: Option<SharedValue<'a>>,
    server_protocol: Option<SharedValue<'a>>,
}

/// About how many meta-variables are no headers: the room for headers is guessed, because to count them takes longer.
const USUAL_VARIABLES: usize = 16;

/// Reads the head of a request.
pub(crate) fn read_head(params: &Params) -> Result<RequestHead, BadRequest> {
    let mut known = Known::default();
    let mut headers = HeaderMap::with_capacity(params.len().saturating_sub(USUAL_VARIABLES).min(64));
    for (name, value) in params.iter_shared() {
        match name.strip_prefix(b"HTTP_") {
            Some(header) => put_header(&mut headers, header, value)?,
            None => known.remember(name, value),
        }
    }
    let content_length = known.content_length();
    put_content_headers(&mut headers, &known, content_length)?;
    let mut request = Request::new(());
    *request.method_mut() = known.method()?;
    *request.uri_mut() = known.uri()?;
    *request.version_mut() = known.version();
    *request.headers_mut() = headers;
    Ok(RequestHead { request, content_length })
}

impl<'a> Known<'a> {
    fn remember(&mut self, name: &[u8], value: SharedValue<'a>) {
        let slot = match name {
            b"CONTENT_LENGTH" => &mut self.content_length,
            b"CONTENT_TYPE" => &mut self.content_type,
            b"PATH_INFO" => &mut self.path_info,
            b"QUERY_STRING" => &mut self.query_string,
            b"REQUEST_METHOD" => &mut self.request_method,
            b"REQUEST_URI" => &mut self.request_uri,
            b"SCRIPT_NAME" => &mut self.script_name,
            b"SERVER_PROTOCOL" => &mut self.server_protocol,
            _ => return,
        };
        slot.get_or_insert(value);
    }

    fn method(&self) -> Result<Method, BadRequest> {
        let method = self.request_method.ok_or(BadRequest::MissingMethod)?;
        Method::from_bytes(method.as_slice()).map_err(|_| BadRequest::Method)
    }

    fn uri(&self) -> Result<http::Uri, BadRequest> {
        let uri = match self.request_uri {
            Some(target) if !target.as_slice().is_empty() => uri::from_request_uri(target.share()),
            _ => uri::from_parts(bytes(self.script_name), bytes(self.path_info), bytes(self.query_string)),
        };
        uri.ok_or(BadRequest::Uri)
    }

    fn version(&self) -> Version {
        match bytes(self.server_protocol) {
            b"HTTP/0.9" => Version::HTTP_09,
            b"HTTP/1.0" => Version::HTTP_10,
            b"HTTP/2.0" | b"HTTP/2" => Version::HTTP_2,
            b"HTTP/3.0" | b"HTTP/3" => Version::HTTP_3,
            _ => Version::HTTP_11,
        }
    }

    fn content_length(&self) -> Option<u64> {
        let digits = bytes(self.content_length);
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        // A number beyond 64 bits is more than any limit.
        Some(digits.iter().fold(0, |n: u64, digit| n.saturating_mul(10).saturating_add(u64::from(digit - b'0'))))
    }
}

fn bytes<'a>(value: Option<SharedValue<'a>>) -> &'a [u8] {
    value.map(SharedValue::as_slice).unwrap_or_default()
}

/// Adds the header of an `HTTP_*` variable (RFC 3875 section 4.1.18); repeated ones stay repeated.
///
/// `HTTP_PROXY` is left out: programs take it for the configuration of a proxy ("httpoxy"). So are the two that the
/// CGI variables CONTENT_TYPE and CONTENT_LENGTH stand for, which some web servers send besides.
fn put_header(headers: &mut HeaderMap, name: &[u8], value: SharedValue<'_>) -> Result<(), BadRequest> {
    match header_name(name) {
        Some(name) if name != "proxy" && name != CONTENT_TYPE && name != CONTENT_LENGTH => {
            append(headers, name, value.share())
        }
        _ => Ok(()),
    }
}

/// `None` for what cannot have been a header, as in the environment that `cgi-fcgi` passes on.
fn header_name(name: &[u8]) -> Option<HeaderName> {
    let dashed = |&byte: &u8| if byte == b'_' { b'-' } else { byte };
    let mut short = [0; 64];
    if let Some(short) = short.get_mut(..name.len()) {
        short.iter_mut().zip(name).for_each(|(to, from)| *to = dashed(from));
        return HeaderName::from_bytes(short).ok();
    }
    let long: Vec<u8> = name.iter().map(dashed).collect();
    HeaderName::from_bytes(&long).ok()
}

fn put_content_headers(
    headers: &mut HeaderMap,
    known: &Known<'_>,
    content_length: Option<u64>,
) -> Result<(), BadRequest> {
    if let Some(media_type) = known.content_type.filter(|value| !value.as_slice().is_empty()) {
        append(headers, CONTENT_TYPE, media_type.share())?;
    }
    if let (Some(_), Some(digits)) = (content_length, known.content_length) {
        append(headers, CONTENT_LENGTH, digits.share())?;
    }
    Ok(())
}

fn append(headers: &mut HeaderMap, name: HeaderName, value: Bytes) -> Result<(), BadRequest> {
    let Ok(value) = HeaderValue::from_maybe_shared(value) else {
        return Err(BadRequest::HeaderValue(name));
    };
    headers.try_append(name, value).map(drop).map_err(|_| BadRequest::TooManyHeaders)
}

impl BadRequest {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            BadRequest::TooManyHeaders => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

impl fmt::Display for BadRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadRequest::HeaderValue(name) => write!(f, "invalid value of the header {name}"),
            BadRequest::Method => f.write_str("invalid REQUEST_METHOD"),
            BadRequest::MissingMethod => {
                f.write_str("no REQUEST_METHOD: the web server must pass the CGI meta-variables")
            }
            BadRequest::Params => f.write_str("malformed PARAMS"),
            BadRequest::TooManyHeaders => f.write_str("too many headers"),
            BadRequest::Uri => f.write_str("invalid request URI"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(pairs: &[(&str, &str)]) -> Result<RequestHead, BadRequest> {
        let base = [("REQUEST_METHOD", "GET"), ("REQUEST_URI", "/x")];
        read_head(&Params::from_iter(base.iter().chain(pairs).copied()))
    }

    fn headers(pairs: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
        let head = head(pairs).expect("a good request");
        let owned = |(name, value): (&HeaderName, &HeaderValue)| (name.to_string(), value.as_bytes().to_vec());
        head.request.headers().iter().map(owned).collect()
    }

    #[test]
    fn headers_come_from_http_variables() {
        let rows: &[(&[(&str, &str)], &[(&str, &str)])] = &[
            (&[("HTTP_ACCEPT_ENCODING", "gzip")], &[("accept-encoding", "gzip")]),
            (&[("HTTP_X_DUP", "a"), ("HTTP_X_DUP", "b")], &[("x-dup", "a"), ("x-dup", "b")]),
            (&[("HTTP_X.DOT", "d"), ("HTTP_EMPTY", "")], &[("x.dot", "d"), ("empty", "")]),
            (&[("HTTP_PROXY", "http://evil"), ("HTTP_Proxy", "x"), ("HTTP_", "x"), ("HTTP_A B", "x")], &[]),
            (&[("HTTP_CONTENT_TYPE", "a/b"), ("HTTP_CONTENT_LENGTH", "7")], &[]),
            (&[("CONTENT_TYPE", "text/x"), ("HTTP_CONTENT_TYPE", "a/b")], &[("content-type", "text/x")]),
            (&[("CONTENT_TYPE", ""), ("CONTENT_LENGTH", "")], &[]),
            (&[("CONTENT_LENGTH", "12"), ("CONTENT_LENGTH", "13")], &[("content-length", "12")]),
        ];
        for (pairs, expected) in rows {
            let expected: Vec<_> = expected.iter().map(|(n, v)| (n.to_string(), v.as_bytes().to_vec())).collect();
            assert_eq!(headers(pairs), expected, "{pairs:?}");
        }
    }

    #[test]
    fn a_header_name_may_be_longer_than_the_short_buffer() {
        let name = "X_".repeat(50) + "Y";
        let expected = "x-".repeat(50) + "y";
        assert_eq!(headers(&[(&format!("HTTP_{name}"), "v")]), [(expected, b"v".to_vec())]);
    }

    #[test]
    fn content_length_is_a_number_or_unknown() {
        let rows = [
            ("0", Some(0)),
            ("17", Some(17)),
            ("00017", Some(17)),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("1 ", None),
            ("0x10", None),
            ("99999999999999999999999", Some(u64::MAX)),
        ];
        for (text, expected) in rows {
            assert_eq!(head(&[("CONTENT_LENGTH", text)]).expect("a request").content_length, expected, "{text:?}");
        }
        assert_eq!(head(&[]).expect("a request").content_length, None);
    }

    #[test]
    fn versions_are_named_by_the_front_ends() {
        let rows = [
            ("HTTP/1.0", Version::HTTP_10),
            ("HTTP/1.1", Version::HTTP_11),
            ("HTTP/2.0", Version::HTTP_2),
            ("HTTP/2", Version::HTTP_2),
            ("HTTP/3.0", Version::HTTP_3),
            ("INCLUDED", Version::HTTP_11),
        ];
        for (text, expected) in rows {
            assert_eq!(head(&[("SERVER_PROTOCOL", text)]).expect("a request").request.version(), expected);
        }
    }

    #[test]
    fn malformed_requests_are_refused_by_name() {
        let error = |pairs: &[(&str, &str)]| read_head(&Params::from_iter(pairs.iter().copied())).map(drop);
        assert_eq!(error(&[("A", "b")]), Err(BadRequest::MissingMethod));
        assert_eq!(error(&[("REQUEST_METHOD", "")]), Err(BadRequest::Method));
        assert_eq!(error(&[("REQUEST_METHOD", "GET /")]), Err(BadRequest::Method));
        assert_eq!(error(&[("REQUEST_METHOD", "GET"), ("REQUEST_URI", "http://[::/x")]), Err(BadRequest::Uri));
        let name = HeaderName::from_static("x-a");
        for value in ["a\r\nb", "a\nb", "a\0b"] {
            assert_eq!(head(&[("HTTP_X_A", value)]).map(drop), Err(BadRequest::HeaderValue(name.clone())));
        }
    }

    #[test]
    fn more_headers_than_a_map_holds_are_refused() {
        let names: Vec<String> = (0..40_000).map(|n| format!("HTTP_X{n}")).collect();
        let pairs: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
        let error = head(&pairs).map(drop);
        assert_eq!(error, Err(BadRequest::TooManyHeaders));
        assert_eq!(BadRequest::TooManyHeaders.status(), 431);
    }
}
