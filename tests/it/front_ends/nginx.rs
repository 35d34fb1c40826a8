//! The matrix for nginx, as the file is and in the three other ways in which it can talk to an application. More of what
//! nginx can be told is in `tests/it/nginx.rs`.

use super::ability::{ANEW, ANSWERS_UPLOADS_LATE, COLLECTS_UPLOADS, HIDES_CUTS, SINGLY};
use super::{Ability, FrontEnd};

pub(super) const KEPT_BUFFERED: FrontEnd = FrontEnd {
    name: "nginx",
    version: "1.22.1",
    program: "nginx",
    package: "nginx-light",
    arguments: &["-c", "@DIRECTORY@/main.conf"],
    main: MAIN,
    file: "nginx.conf",
    substitutions: &[LISTEN, APPLICATION, PARAMETERS],
    cannot: &[ANSWERS_UPLOADS_LATE, COLLECTS_UPLOADS, SINGLY],
    ..FrontEnd::UNIX
};

pub(super) const LISTEN: (&str, &str) = ("127.0.0.1:8080", "127.0.0.1:@PORT@");
pub(super) const APPLICATION: (&str, &str) = ("/run/app.sock", "@APPLICATION@");
pub(super) const PARAMETERS: (&str, &str) = ("include fastcgi_params", "include /etc/nginx/fastcgi_params");
/// What the comments of the file offer.
const NO_POOL: (&str, &str) = ("keepalive 8;", "");
const CLOSING: (&str, &str) = ("fastcgi_keep_conn on", "fastcgi_keep_conn off");
const STREAM_ANSWERS: (&str, &str) = ("#fastcgi_buffering off", "fastcgi_buffering off");
const STREAM_UPLOADS: (&str, &str) = ("#fastcgi_request_buffering off", "fastcgi_request_buffering off");

const COLLECTS_ANSWERS: (Ability, &str) = (Ability::StreamAnswers, "in whole pages of memory");
const CLOSES_THEN: (Ability, &str) = (Ability::ReadOnAfterTheAnswer, "yes; then the client's connection is closed");

/// What of Debian's `nginx.conf` matters. By default a client's connection is closed after 1,000 requests.
const MAIN: &str = "
daemon off;
master_process off;
pid @DIRECTORY@/nginx.pid;
error_log @DIRECTORY@/error.log warn;
events { worker_connections 512; }
http {
    access_log off;
    client_body_temp_path @DIRECTORY@/client_body;
    fastcgi_temp_path @DIRECTORY@/fastcgi;
    proxy_temp_path @DIRECTORY@/proxy;
    scgi_temp_path @DIRECTORY@/scgi;
    uwsgi_temp_path @DIRECTORY@/uwsgi;
    keepalive_requests 100000;
    include @DIRECTORY@/site.conf;
}
";

pub(super) mod kept_buffered {
    crate::front_ends::tests_of! { "needs nginx; tests/run installs it", super::KEPT_BUFFERED }
}

pub(super) mod kept_unbuffered {
    use super::*;

    const KEPT_UNBUFFERED: FrontEnd = FrontEnd {
        name: "nginx (unbuffered)",
        setting: "`fastcgi_buffering off`, `fastcgi_request_buffering off`",
        substitutions: &[LISTEN, APPLICATION, PARAMETERS, STREAM_ANSWERS, STREAM_UPLOADS],
        cannot: &[CLOSES_THEN, HIDES_CUTS, SINGLY],
        ..KEPT_BUFFERED
    };

    crate::front_ends::tests_of! { "needs nginx; tests/run installs it", KEPT_UNBUFFERED }
}

pub(super) mod closing_buffered {
    use super::*;

    const CLOSING_BUFFERED: FrontEnd = FrontEnd {
        name: "nginx (closing)",
        setting: "`fastcgi_keep_conn off`, without `keepalive`",
        substitutions: &[LISTEN, APPLICATION, PARAMETERS, NO_POOL, CLOSING],
        cannot: &[COLLECTS_ANSWERS, HIDES_CUTS, ANSWERS_UPLOADS_LATE, COLLECTS_UPLOADS, ANEW, SINGLY],
        ..KEPT_BUFFERED
    };

    crate::front_ends::tests_of! { "needs nginx; tests/run installs it", CLOSING_BUFFERED }
}

pub(super) mod closing_unbuffered {
    use super::*;

    const CLOSING_UNBUFFERED: FrontEnd = FrontEnd {
        name: "nginx (closing, unbuffered)",
        setting: "both of these",
        substitutions: &[LISTEN, APPLICATION, PARAMETERS, NO_POOL, CLOSING, STREAM_ANSWERS, STREAM_UPLOADS],
        cannot: &[CLOSES_THEN, HIDES_CUTS, ANEW, SINGLY],
        ..KEPT_BUFFERED
    };

    crate::front_ends::tests_of! { "needs nginx; tests/run installs it", CLOSING_UNBUFFERED }
}
