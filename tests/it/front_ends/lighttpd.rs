//! The matrix for lighttpd, in front of a demo and with demos that it starts.

use super::{FrontEnd, Launch};

/// It opens a connection for each request.
const LIGHTTPD: FrontEnd = FrontEnd {
    program: "lighttpd",
    package: "lighttpd",
    arguments: &["-D", "-f", "@DIRECTORY@/main.conf"],
    main: MAIN,
    file: "lighttpd.conf",
    substitutions: &[("/run/app.sock", "@APPLICATION@")],
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

mod connecting {
    crate::front_ends::tests_of! { "needs lighttpd; tests/run installs it", super::LIGHTTPD }
}

mod spawning {
    crate::front_ends::tests_of! { "needs lighttpd; tests/run installs it", super::SPAWNING }

    crate::front_ends::cases_of! { "needs lighttpd; tests/run installs it", super::SPAWNING,
        processes::they_end_with_the_web_server
        processes::those_that_die_are_replaced
    }
}

mod authorizing {
    crate::front_ends::authorizers::authorizer_tests_of! { "needs lighttpd; tests/run installs it", super::AUTHORIZING }
}
