//! A request as a web server sends it, built step by step.

use super::record::{self, AUTHORIZER, DATA, FILTER, PARAMS, RESPONDER, STDIN};
use super::Connection;

/// A request that keeps the connection, with the meta-variables that nginx sends.
pub(crate) struct Request<'a> {
    /// Where `send` writes to.
    connection: Option<&'a mut Connection>,
    id: u16,
    role: u16,
    keep_conn: bool,
    params: Vec<(Vec<u8>, Vec<u8>)>,
    stdin: Vec<u8>,
    data: Vec<u8>,
}

impl Request<'static> {
    /// A request that is wanted for its bytes.
    pub(crate) fn detached(id: u16) -> Request<'static> {
        Request::new(None, id)
    }
}

impl<'a> Request<'a> {
    pub(crate) fn new(connection: Option<&'a mut Connection>, id: u16) -> Request<'a> {
        let params = [
            ("GATEWAY_INTERFACE", "CGI/1.1"),
            ("SERVER_SOFTWARE", "test"),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
            ("SERVER_NAME", "localhost"),
            ("SERVER_PORT", "80"),
            ("REMOTE_ADDR", "127.0.0.1"),
            // nginx sends it always, and empty when there is no body.
            ("CONTENT_LENGTH", ""),
            ("HTTP_HOST", "localhost"),
        ];
        let params = params.map(|(name, value)| (name.into(), value.into())).to_vec();
        Request { connection, id, role: RESPONDER, keep_conn: true, params, stdin: Vec::new(), data: Vec::new() }
    }

    pub(crate) fn get(self, target: &str) -> Self {
        self.method("GET", target)
    }

    pub(crate) fn post(self, target: &str) -> Self {
        self.method("POST", target)
    }

    pub(crate) fn method(self, method: &str, target: &str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let request = self.param("REQUEST_METHOD", method).param("REQUEST_URI", target);
        request.param("SCRIPT_NAME", path).param("QUERY_STRING", query)
    }

    /// Sets a meta-variable in place of what it was.
    pub(crate) fn param(self, name: &str, value: &str) -> Self {
        self.without(name).also(name, value)
    }

    /// Adds a meta-variable, also when there is one of this name.
    pub(crate) fn also(mut self, name: &str, value: &str) -> Self {
        self.params.push((name.into(), value.into()));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.params.retain(|(other, _)| other != name.as_bytes());
        self
    }

    /// The connection ends with this request.
    pub(crate) fn closing(mut self) -> Self {
        self.keep_conn = false;
        self
    }

    pub(crate) fn role(mut self, role: u16) -> Self {
        self.role = role;
        self
    }

    /// The body, with its true CONTENT_LENGTH.
    pub(crate) fn body(self, body: &[u8]) -> Self {
        let declared = body.len().to_string();
        self.param("CONTENT_LENGTH", &declared).undeclared(body)
    }

    /// The body, of which CONTENT_LENGTH says nothing unless `param` does.
    pub(crate) fn undeclared(mut self, body: &[u8]) -> Self {
        self.stdin = body.to_vec();
        self
    }

    /// The DATA stream of a filter, with its true FCGI_DATA_LENGTH.
    pub(crate) fn data(mut self, data: &[u8]) -> Self {
        self.data = data.to_vec();
        let request = self.role(FILTER).param("FCGI_DATA_LAST_MOD", "1700000000");
        request.param("FCGI_DATA_LENGTH", &data.len().to_string())
    }

    /// The content of the PARAMS stream.
    pub(crate) fn params(&self) -> Vec<u8> {
        self.params.iter().flat_map(|(name, value)| record::pair(name, value)).collect()
    }

    /// BEGIN_REQUEST alone.
    pub(crate) fn begin(&self) -> Vec<u8> {
        record::begin(self.id, self.role, self.keep_conn)
    }

    /// BEGIN_REQUEST and the whole of PARAMS.
    pub(crate) fn head(&self) -> Vec<u8> {
        let params = record::stream(PARAMS, self.id, &self.params());
        [self.begin(), params, record::end_of_stream(PARAMS, self.id)].concat()
    }

    /// All records: of an authorizer without STDIN, as mod_authnz_fcgi sends them, of a filter with DATA.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let whole = |kind, content| [record::stream(kind, self.id, content), record::end_of_stream(kind, self.id)];
        let mut bytes = self.head();
        if self.role != AUTHORIZER {
            bytes.extend(whole(STDIN, &self.stdin).concat());
        }
        if self.role == FILTER {
            bytes.extend(whole(DATA, &self.data).concat());
        }
        bytes
    }

    /// Sends all records at once.
    pub(crate) fn send(self) {
        let bytes = self.bytes();
        self.connection().send(&bytes);
    }

    /// Sends BEGIN_REQUEST and PARAMS; the rest is left to the caller.
    pub(crate) fn send_head(self) {
        let bytes = self.head();
        self.connection().send(&bytes);
    }

    fn connection(self) -> &'a mut Connection {
        self.connection.expect("a detached request is not sent")
    }
}
