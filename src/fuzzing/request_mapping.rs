//! The invariant of the mapping between meta-variables and `http`.

use http::{HeaderMap, Method, Response, StatusCode};

use crate::cgi::{put_head, read_head, AnswerBody, BodyRule, HeadLimits, Params, RequestHead};

const LIMITS: HeadLimits = HeadLimits { max_head: 4 << 10 };

/// Any PARAMS are a request or an error, and the head of a response that echoes the request cannot be forged: its
/// lines are whole fields, no line is empty but the last, and there is no CR, LF or NUL but at the line ends.
pub fn request_mapping(params: &[u8]) {
    let Ok(params) = Params::parse(params.to_vec()) else { return };
    match read_head(&params) {
        Ok(head) => {
            check_request(&params, &head);
            check_echo(&params, head);
        }
        Err(bad) => assert!(bad.status().is_client_error() && is_harmless(bad.to_string().as_bytes())),
    }
}

fn check_request(params: &Params, head: &RequestHead) {
    let RequestHead { request, content_length } = head;
    assert_eq!(params.get("REQUEST_METHOD"), Some(request.method().as_str().as_bytes()));
    assert!(request.uri().to_string().bytes().all(|byte| byte > b' ' && byte != 0x7f), "{}", request.uri());
    assert!(!request.headers().contains_key("proxy"), "HTTP_PROXY became a header");
    let sources = params.iter().filter(|(name, _)| name.starts_with(b"HTTP_") || name.starts_with(b"CONTENT_"));
    assert!(request.headers().len() <= sources.count(), "headers out of nothing");
    let declared = params.get("CONTENT_LENGTH").unwrap_or_default();
    let is_number = !declared.is_empty() && declared.iter().all(u8::is_ascii_digit);
    assert_eq!(content_length.is_some(), is_number);
    assert_eq!(request.headers().contains_key("content-length"), is_number);
}

fn check_echo(params: &Params, head: RequestHead) {
    let answers_head = head.request.method() == Method::HEAD;
    let status = head.request.uri().path().get(1..4).and_then(|code| StatusCode::from_bytes(code.as_bytes()).ok());
    let headers = head.request.into_parts().0.headers;
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let variables: Vec<_> = params.iter().map(|(name, value)| (text(name), text(value))).collect();
    for status in [Some(StatusCode::OK), status].into_iter().flatten() {
        check_head(&headers, status, answers_head, &[]);
        check_head(&headers, status, answers_head, &variables);
    }
}

fn check_head(headers: &HeaderMap, status: StatusCode, answers_head: bool, variables: &[(String, String)]) {
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.headers = headers.clone();
    parts.status = status;
    let body = AnswerBody { len: None, default_type: "text/plain" };
    let mut block = b"before".to_vec();
    match put_head(&mut block, &parts, answers_head, body, variables, LIMITS) {
        Ok(rule) => {
            assert!(rule == BodyRule::Nothing || !answers_head);
            check_block(block.strip_prefix(b"before").expect("what was there before"), variables.len());
        }
        Err(error) => assert!(is_harmless(error.to_string().as_bytes()), "{error}"),
    }
}

/// Tells a header block that a web server reads as it was meant from one that it could read otherwise.
fn check_block(block: &[u8], n_variables: usize) {
    assert!(block.len() <= LIMITS.max_head);
    let lines = block.strip_suffix(b"\r\n\r\n").expect("an empty line at the end");
    let lines: Vec<_> = std::str::from_utf8(&latin1(lines)).expect("ASCII").split("\r\n").map(str::to_owned).collect();
    assert!(lines[0].starts_with("Status: "), "{lines:?}");
    for line in &lines {
        let (name, value) = line.split_once(": ").expect("a name and a value");
        assert!(!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':'), "{line:?}");
        assert!(is_harmless(value.as_bytes()), "{line:?}");
    }
    let count = |name| lines.iter().filter(|line| line.to_ascii_lowercase().starts_with(name)).count();
    assert_eq!(count("status:"), 1);
    assert!(count("content-length:") <= 1);
    assert_eq!(count("transfer-encoding:") + count("connection:") + count("trailer:") + count("upgrade:"), 0);
    assert!(count("variable-") >= n_variables);
}

/// The bytes with everything above ASCII replaced, so that they can be taken apart as text.
fn latin1(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|&byte| if byte.is_ascii() { byte } else { b'?' }).collect()
}

fn is_harmless(text: &[u8]) -> bool {
    !text.iter().any(|byte| matches!(byte, b'\r' | b'\n' | b'\0'))
}
