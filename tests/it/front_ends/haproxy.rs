//! The matrix for HAProxy, as the file is and with the multiplexing that it offers.

use super::{FrontEnd, Launch};

/// One request at a time on a connection, which is then used again.
const KEEPING: FrontEnd = FrontEnd {
    program: "haproxy",
    package: "haproxy",
    // In the foreground, and without a master process.
    arguments: &["-db", "-f", "@DIRECTORY@/main.conf", "-f", "@DIRECTORY@/site.conf"],
    main: MAIN,
    file: "haproxy.cfg",
    substitutions: &[LISTEN, APPLICATION],
    launch: Launch::Tcp,
    keeps_connections: true,
    // A chunked body has to fit into one of its buffers of 16 KiB.
    longest_chunked: 15_000,
    ..FrontEnd::UNIX
};

const LISTEN: (&str, &str) = ("127.0.0.1:8080", "127.0.0.1:@PORT@");
const APPLICATION: (&str, &str) = ("127.0.0.1:9000", "@APPLICATION@");

/// What of Debian's `haproxy.cfg` matters. Every thread has connections of its own, so with one thread they can be counted.
const MAIN: &str = "
global
    nbthread 1
    log stderr format raw daemon
defaults
    log global
    timeout connect 5s
    timeout client 50s
    timeout server 50s
";

mod keeping {
    crate::front_ends::tests_of! { "needs haproxy; tests/run installs it", super::KEEPING }
}

mod multiplexing {
    use super::{FrontEnd, APPLICATION, KEEPING, LISTEN};
    use crate::front_ends::connections;

    /// Many requests at once on one connection, after the application has said that it takes them.
    const MULTIPLEXING: FrontEnd = FrontEnd {
        substitutions: &[
            LISTEN,
            APPLICATION,
            ("#option get-values", "option get-values"),
            ("#option mpxs-conns", "option mpxs-conns"),
            ("#http-reuse always", "http-reuse always"),
        ],
        // Those whose parameters do not fit beside other requests in its buffer.
        refuses_some: true,
        ..KEEPING
    };

    crate::front_ends::tests_of! { "needs haproxy; tests/run installs it", MULTIPLEXING }

    #[test]
    #[ignore = "needs haproxy; tests/run installs it"]
    fn requests_at_once_share_a_connection() {
        connections::requests_at_once_share_a_connection(&MULTIPLEXING);
    }
}
