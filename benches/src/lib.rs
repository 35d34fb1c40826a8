//! What the benchmarks share: requests as nginx sends them, in FastCGI records, and what a process uses.

pub mod process;
pub mod requests;

/// Content of one STDIN record, as nginx cuts bodies.
const STDIN_CONTENT_LEN: usize = 32 << 10;

const BEGIN_REQUEST: u8 = 1;
const PARAMS: u8 = 4;
const STDIN: u8 = 5;

/// A request before it is records.
pub struct Request<'a> {
    pub path: &'a str,
    pub query: &'a str,
    pub body_len: usize,
    pub keep_conn: bool,
    /// Meta-variables behind the usual 22.
    pub more_params: &'a [(&'a str, &'a str)],
}

impl Request<'_> {
    /// BEGIN_REQUEST, the streams PARAMS and STDIN, and their ends.
    #[must_use]
    pub fn records(&self, id: u16) -> Vec<u8> {
        let mut out = Vec::new();
        put_record(&mut out, BEGIN_REQUEST, id, &[0, 1, u8::from(self.keep_conn), 0, 0, 0, 0, 0]);
        put_record(&mut out, PARAMS, id, &self.params());
        put_record(&mut out, PARAMS, id, &[]);
        for piece in vec![b'b'; self.body_len].chunks(STDIN_CONTENT_LEN) {
            put_record(&mut out, STDIN, id, piece);
        }
        put_record(&mut out, STDIN, id, &[]);
        out
    }

    /// The content of the PARAMS stream: what `fastcgi_params` of nginx lists, in its order, PATH_INFO and two headers.
    #[must_use]
    pub fn params(&self) -> Vec<u8> {
        let has_body = self.body_len > 0;
        let uri = if self.query.is_empty() { self.path.to_owned() } else { format!("{}?{}", self.path, self.query) };
        let length = if has_body { self.body_len.to_string() } else { String::new() };
        let usual = [
            ("QUERY_STRING", self.query),
            ("REQUEST_METHOD", if has_body { "POST" } else { "GET" }),
            ("CONTENT_TYPE", if has_body { "application/octet-stream" } else { "" }),
            ("CONTENT_LENGTH", &length),
            ("SCRIPT_NAME", self.path),
            ("REQUEST_URI", &uri),
            ("DOCUMENT_URI", self.path),
            ("DOCUMENT_ROOT", "/usr/share/nginx/html"),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
            ("REQUEST_SCHEME", "http"),
            ("GATEWAY_INTERFACE", "CGI/1.1"),
            ("SERVER_SOFTWARE", "nginx/1.22.1"),
            ("REMOTE_ADDR", "192.0.2.17"),
            ("REMOTE_PORT", "51822"),
            ("REMOTE_USER", ""),
            ("SERVER_ADDR", "192.0.2.1"),
            ("SERVER_PORT", "80"),
            ("SERVER_NAME", "app.example"),
            ("REDIRECT_STATUS", "200"),
            ("PATH_INFO", ""),
            ("HTTP_HOST", "app.example"),
            ("HTTP_ACCEPT", "*/*"),
        ];
        let mut out = Vec::new();
        for (name, value) in usual.iter().chain(self.more_params) {
            put_pair(&mut out, name, value);
        }
        out
    }
}

fn put_pair(out: &mut Vec<u8>, name: &str, value: &str) {
    for text in [name, value] {
        match u8::try_from(text.len()) {
            Ok(len @ ..=127) => out.push(len),
            _ => out.extend((text.len() as u32 | 1 << 31).to_be_bytes()),
        }
    }
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(value.as_bytes());
}

/// Padded to a multiple of eight bytes, as nginx does.
fn put_record(out: &mut Vec<u8>, record_type: u8, id: u16, content: &[u8]) {
    let [id_high, id_low] = id.to_be_bytes();
    let [len_high, len_low] = u16::try_from(content.len()).expect("content that fits a record").to_be_bytes();
    let padding_len = content.len().wrapping_neg() % 8;
    out.extend([1, record_type, id_high, id_low, len_high, len_low, padding_len as u8, 0]);
    out.extend_from_slice(content);
    out.extend_from_slice(&[0; 8][..padding_len]);
}
