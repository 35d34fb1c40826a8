//! The meta-variables of a request (RFC 3875 section 4.1), as nginx's `fastcgi_params` has them.

use std::borrow::Cow;
use std::net::SocketAddr;

use http::header::{HeaderMap, HeaderName, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::Request;
use percent_encoding::percent_decode_str;

use super::fastcgi::put_pair;

/// Headers that have meta-variables of their own, or are about this HTTP connection alone.
const NOT_PASSED: [HeaderName; 6] = [
    CONNECTION,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    TRANSFER_ENCODING,
    HeaderName::from_static("keep-alive"),
    // HTTP_PROXY would be taken for the setting of that name: https://httpoxy.org/
    HeaderName::from_static("proxy"),
];

/// The content of the PARAMS stream.
pub(super) fn params(request: &Request<()>, client: SocketAddr, server: SocketAddr) -> Vec<u8> {
    let (uri, headers) = (request.uri(), request.headers());
    let path = percent_decode_str(uri.path()).collect::<Vec<u8>>();
    let root = std::env::current_dir().unwrap_or_default().display().to_string();
    let mut params = Vec::with_capacity(2048);
    let mut put = |name: &str, value: &[u8]| put_pair(&mut params, name.as_bytes(), value);
    // Programs that run scripts, such as PHP, look for them here.
    put("SCRIPT_FILENAME", &[root.as_bytes(), &path].concat());
    put("QUERY_STRING", uri.query().unwrap_or_default().as_bytes());
    put("REQUEST_METHOD", request.method().as_str().as_bytes());
    put("CONTENT_TYPE", value(headers, &CONTENT_TYPE));
    put("CONTENT_LENGTH", value(headers, &CONTENT_LENGTH));
    put("SCRIPT_NAME", &path);
    put("REQUEST_URI", uri.path_and_query().map_or("*", |target| target.as_str()).as_bytes());
    put("DOCUMENT_URI", &path);
    put("DOCUMENT_ROOT", root.as_bytes());
    put("SERVER_PROTOCOL", format!("{:?}", request.version()).as_bytes());
    put("REQUEST_SCHEME", b"http");
    put("GATEWAY_INTERFACE", b"CGI/1.1");
    put("SERVER_SOFTWARE", concat!("fcgi-gateway/", env!("CARGO_PKG_VERSION")).as_bytes());
    put("REMOTE_ADDR", client.ip().to_string().as_bytes());
    put("REMOTE_PORT", client.port().to_string().as_bytes());
    put("SERVER_ADDR", server.ip().to_string().as_bytes());
    put("SERVER_PORT", server.port().to_string().as_bytes());
    put("SERVER_NAME", server_name(headers, server).as_bytes());
    put("REDIRECT_STATUS", b"200");
    for (name, value) in headers.iter().filter(|(name, _)| is_passed(name)) {
        put(&variable(name), value.as_bytes());
    }
    params
}

fn value<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a [u8] {
    headers.get(name).map_or(b"", |value| value.as_bytes())
}

/// The host that the client asked for, without its port.
fn server_name(headers: &HeaderMap, server: SocketAddr) -> Cow<'_, str> {
    let host = headers.get(http::header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    match host.parse::<http::uri::Authority>() {
        Ok(authority) => authority.host().to_owned().into(),
        Err(_) => server.ip().to_string().into(),
    }
}

/// A name with an underscore would become the variable of another header, the one with a hyphen in its place.
fn is_passed(name: &HeaderName) -> bool {
    !NOT_PASSED.contains(name) && name.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn variable(name: &HeaderName) -> String {
    format!("HTTP_{}", name.as_str().replace('-', "_").to_ascii_uppercase())
}
