//! The matrix for lighttpd, in front of a demo and with demos that it starts.

use super::ability::{ANEW, ANSWERS_UPLOADS_LATE, COLLECTS_UPLOADS, HIDES_CUTS, SINGLY, UNAWARE};
use super::{FrontEnd, Launch};

const LIGHTTPD: FrontEnd = FrontEnd {
    name: "lighttpd",
    version: "1.4.69",
    program: "lighttpd",
    package: "lighttpd",
    arguments: &["-D", "-f", "@DIRECTORY@/main.conf"],
    main: MAIN,
    file: "lighttpd.conf",
    substitutions: &[("/run/app.sock", "@APPLICATION@")],
    cannot: &[ANSWERS_UPLOADS_LATE, HIDES_CUTS, COLLECTS_UPLOADS, UNAWARE, ANEW, SINGLY],
    ..FrontEnd::UNIX
};

/// What of Debian's `lighttpd.conf` matters. By default a client's connection is closed after a number of requests.
const MAIN: &str = r#"
server.bind = "127.0.0.1"
server.port = @PORT@
server.document-root = "@DIRECTORY@"
server.errorlog = "@DIRECTORY@/error.log"
server.upload-dirs = ( "@DIRECTORY@" )
server.max-keep-alive-requests = 100000
server.http-parseopts = (
    "url-normalize-unreserved" => "enable",
    "url-normalize-required" => "enable",
    "url-ctrls-reject" => "enable",
    "url-path-2f-decode" => "enable",
    "url-path-dotseg-remove" => "enable"
)
include "@DIRECTORY@/site.conf"
"#;

const SPAWNING: FrontEnd = FrontEnd {
    name: "lighttpd (spawning)",
    has_children: true,
    file: "lighttpd-spawn.conf",
    substitutions: &[
        ("/usr/local/bin/app", "@APPLICATION@/app@OPTIONS@"),
        ("/run/lighttpd/app.socket", "@APPLICATION@/socket"),
    ],
    launch: Launch::WebServer,
    n_processes: 2,
    ..LIGHTTPD
};

/// The demo is asked before it answers, and before files are served.
const AUTHORIZING: FrontEnd = FrontEnd { file: "lighttpd-authorizer.conf", ..LIGHTTPD };

pub(super) mod connecting {
    crate::front_ends::tests_of! { "needs lighttpd; tests/run installs it", super::LIGHTTPD }
}

pub(super) mod spawning {
    crate::front_ends::tests_of! { "needs lighttpd; tests/run installs it", super::SPAWNING }

    crate::front_ends::processes::process_tests_of! { "needs lighttpd; tests/run installs it", super::SPAWNING }
}

pub(super) mod authorizing {
    crate::front_ends::authorizers::authorizer_tests_of! { "needs lighttpd; tests/run installs it", super::AUTHORIZING }
}
