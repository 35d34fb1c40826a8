//! The matrix for HAProxy, as the file is and with the multiplexing that it offers.

use super::ability::{SINGLY, UNAWARE};
use super::{Ability, FrontEnd, Launch};

/// One request at a time on a connection, which is then used again.
const KEEPING: FrontEnd = FrontEnd {
    name: "HAProxy",
    version: "2.6.12",
    program: "haproxy",
    package: "haproxy",
    // In the foreground, and without a master process.
    arguments: &["-db", "-f", "@DIRECTORY@/main.conf", "-f", "@DIRECTORY@/site.conf"],
    main: MAIN,
    file: "haproxy.cfg",
    substitutions: &[LISTEN, APPLICATION],
    launch: Launch::Tcp,
    cannot: &[LONG_CHUNKED, STOPS_READING, UNAWARE, SINGLY],
    ..FrontEnd::UNIX
};

const LONG_CHUNKED: (Ability, &str) = (Ability::TakeLongChunkedBodies, "400 unless it fits into a buffer of 16 KiB");
const STOPS_READING: (Ability, &str) = (Ability::ReadOnAfterTheAnswer, "yes; the rest of the body is never read");

const LISTEN: (&str, &str) = ("127.0.0.1:8080", "127.0.0.1:@PORT@");
const APPLICATION: (&str, &str) = ("127.0.0.1:9000", "@APPLICATION@");

/// The port of the application is the same on all machines.
pub(super) const CLUSTER: FrontEnd = FrontEnd {
    file: "haproxy-cluster.cfg",
    substitutions: &[
        LISTEN,
        ("10.0.0.1:9000", "127.0.0.2:@APPLICATION@"),
        ("10.0.0.2:9000", "127.0.0.3:@APPLICATION@"),
    ],
    ..KEEPING
};

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

pub(super) mod keeping {
    crate::front_ends::tests_of! { "needs haproxy; tests/run installs it", super::KEEPING }
}

pub(super) mod multiplexing {
    use super::{Ability, FrontEnd, APPLICATION, KEEPING, LISTEN, LONG_CHUNKED, STOPS_READING, UNAWARE};

    /// Many requests at once on one connection, after the application has said that it takes them.
    const MULTIPLEXING: FrontEnd = FrontEnd {
        name: "HAProxy (multiplexing)",
        setting: "`http-reuse always`, `option get-values`, `option mpxs-conns`",
        substitutions: &[
            LISTEN,
            APPLICATION,
            ("#option get-values", "option get-values"),
            ("#option mpxs-conns", "option mpxs-conns"),
            ("#http-reuse always", "http-reuse always"),
        ],
        cannot: &[
            LONG_CHUNKED,
            STOPS_READING,
            UNAWARE,
            (Ability::ServeManyAtOnce, "500 for those whose parameters do not fit beside others in its buffer"),
        ],
        ..KEEPING
    };

    crate::front_ends::tests_of! { "needs haproxy; tests/run installs it", MULTIPLEXING }
}
