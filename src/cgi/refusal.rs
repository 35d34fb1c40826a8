//! The short answers that this crate gives itself, when no handler can.

use http::StatusCode;

/// Appends a whole answer: head and one line of text. A 503 says that it is worth trying again (RFC 9110 10.2.3).
pub(crate) fn put_refusal(out: &mut Vec<u8>, status: StatusCode, answers_head: bool) {
    let reason = status.canonical_reason().unwrap_or("Unknown");
    let retry = if status == StatusCode::SERVICE_UNAVAILABLE { "retry-after: 1\r\n" } else { "" };
    let code = status.as_str();
    let len = code.len() + 1 + reason.len() + 1;
    let head = format!(
        "Status: {code} {reason}\r\ncontent-type: text/plain; charset=utf-8\r\n{retry}content-length: {len}\r\n\r\n"
    );
    out.extend_from_slice(head.as_bytes());
    if !answers_head {
        out.extend_from_slice(format!("{code} {reason}\n").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_a_whole_answer() {
        let mut out = Vec::new();
        put_refusal(&mut out, StatusCode::SERVICE_UNAVAILABLE, false);
        let expected = "Status: 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\n\
                        retry-after: 1\r\ncontent-length: 24\r\n\r\n503 Service Unavailable\n";
        assert_eq!(String::from_utf8_lossy(&out), expected);
        out.clear();
        put_refusal(&mut out, StatusCode::BAD_REQUEST, true);
        assert!(out.ends_with(b"content-length: 16\r\n\r\n"));
    }
}
