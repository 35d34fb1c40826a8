//! What FastCGI knows of a request beyond HTTP, as methods of `http::Request`.

use std::net::IpAddr;
use std::sync::Arc;

use http::Request;

use super::{Cancellation, Stderr};
use crate::cgi::Params;
use crate::request::RequestState;

/// Methods that this crate adds to [`http::Request`].
///
/// They also work on a request that no server made, as in the test of a handler: there are no meta-variables unless
/// [`Params`] are among the request's extensions, nothing is ever cancelled, and STDERR goes nowhere.
pub trait RequestExt: sealed::Sealed {
    /// The meta-variables as the web server sent them (RFC 3875 section 4.1).
    fn params(&self) -> &Params;

    /// A writer to FCGI_STDERR, the web server's error log.
    fn stderr(&self) -> Stderr;

    /// Tells when the request need not go on.
    fn cancellation(&self) -> Cancellation;

    /// REMOTE_ADDR, the address of the web server's client, when it is one.
    fn remote_addr(&self) -> Option<IpAddr>;

    /// Whether the client spoke HTTPS to the web server: HTTPS is `on` or `1`, or REQUEST_SCHEME is `https`. What
    /// the client itself claims in headers does not count.
    fn is_https(&self) -> bool;

    /// SCRIPT_NAME, the part of the path that led to this application, decoded. Not every web server sets it alike.
    fn script_name(&self) -> Option<&str>;

    /// PATH_INFO, the rest of the path, decoded. Apache's mod_proxy_fcgi and others do not set it.
    fn path_info(&self) -> Option<&str>;
}

impl<B> RequestExt for Request<B> {
    fn params(&self) -> &Params {
        static NONE: Params = Params::empty();
        match served(self) {
            Some(request) => request.params(),
            None => self.extensions().get().unwrap_or(&NONE),
        }
    }

    fn stderr(&self) -> Stderr {
        Stderr::new(served(self).cloned())
    }

    fn cancellation(&self) -> Cancellation {
        Cancellation::new(served(self).cloned())
    }

    fn remote_addr(&self) -> Option<IpAddr> {
        self.params().get_str("REMOTE_ADDR")?.parse().ok()
    }

    fn is_https(&self) -> bool {
        let params = self.params();
        let https = params.get("HTTPS").is_some_and(|value| value.eq_ignore_ascii_case(b"on") || value == b"1");
        https || params.get("REQUEST_SCHEME").is_some_and(|value| value.eq_ignore_ascii_case(b"https"))
    }

    fn script_name(&self) -> Option<&str> {
        self.params().get_str("SCRIPT_NAME")
    }

    fn path_info(&self) -> Option<&str> {
        self.params().get_str("PATH_INFO")
    }
}

/// What the server puts among the extensions of a request.
#[derive(Clone)]
pub(crate) struct Served(pub(crate) Arc<RequestState>);

fn served<B>(request: &Request<B>) -> Option<&Arc<RequestState>> {
    request.extensions().get::<Served>().map(|served| &served.0)
}

mod sealed {
    pub trait Sealed {}
    impl<B> Sealed for http::Request<B> {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(pairs: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::new(());
        request.extensions_mut().insert(Params::from_iter(pairs.iter().copied()));
        request
    }

    #[test]
    fn https_is_what_the_web_server_says() {
        let rows: &[(&[(&str, &str)], bool)] = &[
            (&[("HTTPS", "on")], true),
            (&[("HTTPS", "ON")], true),
            (&[("HTTPS", "1")], true),
            (&[("HTTPS", "off")], false),
            (&[("HTTPS", "")], false),
            (&[("REQUEST_SCHEME", "https")], true),
            (&[("REQUEST_SCHEME", "http")], false),
            (&[("HTTP_HTTPS", "on"), ("HTTP_X_FORWARDED_PROTO", "https")], false),
        ];
        for (pairs, expected) in rows {
            assert_eq!(request(pairs).is_https(), *expected, "{pairs:?}");
        }
    }

    #[test]
    fn variables_are_read_where_they_make_sense() {
        let full = request(&[("REMOTE_ADDR", "::1"), ("SCRIPT_NAME", "/a"), ("PATH_INFO", "/b")]);
        assert_eq!(full.remote_addr().map(|addr| addr.is_loopback()), Some(true));
        assert_eq!((full.script_name(), full.path_info()), (Some("/a"), Some("/b")));
        assert_eq!(request(&[("REMOTE_ADDR", "unix:")]).remote_addr(), None);
    }

    #[test]
    fn a_request_that_no_server_made_has_nothing_and_is_never_cancelled() {
        let request = Request::new("body");
        assert!(request.params().is_empty() && !request.cancellation().is_cancelled());
        assert!(std::io::Write::write_all(&mut request.stderr(), b"text").is_ok());
    }
}
