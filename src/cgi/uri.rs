//! The request target: REQUEST_URI as it came where that is possible, else put together from decoded parts.

use bytes::Bytes;
use http::Uri;

/// Reads REQUEST_URI. Bytes that a URI cannot hold, such as spaces and what is not UTF-8, are percent-encoded.
pub(super) fn from_request_uri(target: Bytes) -> Option<Uri> {
    if !is_target(&target) {
        return from_text([b"/".as_slice(), &target].concat());
    }
    Uri::from_maybe_shared(target.clone()).ok().or_else(|| from_text(target.to_vec()))
}

/// Puts the target together when there is no REQUEST_URI: script path and extra path, which the web server has
/// decoded (RFC 3875 sections 4.1.5 and 4.1.13), and the query, which it has not.
pub(super) fn from_parts(script_name: &[u8], path_info: &[u8], query: &[u8]) -> Option<Uri> {
    let mut target = Vec::new();
    encode(&mut target, script_name, is_path_byte);
    encode(&mut target, path_info, is_path_byte);
    if target.first() != Some(&b'/') {
        target.insert(0, b'/');
    }
    if !query.is_empty() {
        target.push(b'?');
        encode(&mut target, query, is_target_byte);
    }
    Uri::from_maybe_shared(Bytes::from(target)).ok()
}

/// Whether a request line could hold it: a path, an absolute URI, or the asterisk.
fn is_target(target: &[u8]) -> bool {
    target.first() == Some(&b'/') || target == b"*" || target.windows(3).any(|window| window == b"://")
}

fn from_text(text: Vec<u8>) -> Option<Uri> {
    let mut target = Vec::with_capacity(text.len());
    encode(&mut target, &text, is_target_byte);
    Uri::from_maybe_shared(Bytes::from(target)).ok()
}

fn encode(target: &mut Vec<u8>, text: &[u8], is_allowed: fn(u8) -> bool) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in text {
        match is_allowed(byte) {
            true => target.push(byte),
            false => target.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]),
        }
    }
}

/// What a path may hold without being encoded (RFC 3986 section 3.3).
fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&byte)
}

/// What can stay in text that is encoded already.
fn is_target_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"\"<>\\^`{|}#".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_uri_is_kept_where_it_is_one() {
        let rows: &[(&[u8], &str)] = &[
            (b"/app/hello?a=b", "/app/hello?a=b"),
            (b"/app/sp%20ace%2Fslash//dbl/%C3%A9?q=%2F+%C3%A9", "/app/sp%20ace%2Fslash//dbl/%C3%A9?q=%2F+%C3%A9"),
            (b"http://host:8080/app?x", "http://host:8080/app?x"),
            (b"*", "*"),
            (b"/a b", "/a%20b"),
            (b"/caf\xc3\xa9", "/café"),
            (b"/\xff\xfe?\x01", "/%FF%FE?%01"),
            (b"no/slash", "/no/slash"),
            (b"host:80", "/host:80"),
        ];
        for (target, expected) in rows {
            let uri = from_request_uri(Bytes::copy_from_slice(target)).expect("a target");
            assert_eq!(uri.to_string(), *expected, "{:?}", String::from_utf8_lossy(target));
        }
    }

    #[test]
    fn a_target_that_no_encoding_saves_is_refused() {
        assert_eq!(from_request_uri(Bytes::from("http://[::/x")), None);
        assert_eq!(from_request_uri(Bytes::from(format!("/{}", "x".repeat(70_000)))), None);
    }

    #[test]
    fn decoded_parts_are_encoded_again() {
        let rows: &[(&[u8], &[u8], &[u8], &str)] = &[
            (b"", b"", b"", "/"),
            (b"/app", b"/a b/100%", b"q=%20 x", "/app/a%20b/100%25?q=%20%20x"),
            (b"", b"/only?info", b"", "/only%3Finfo"),
            (b"app", b"\n\xff", b"", "/app%0A%FF"),
        ];
        for (script_name, path_info, query, expected) in rows {
            let uri = from_parts(script_name, path_info, query).expect("a target");
            assert_eq!(uri.to_string(), *expected);
        }
    }
}
