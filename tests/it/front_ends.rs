//! The demo behind real web servers, each with the very file of `examples/deploy/` that its users get.
//!
//! Every module of a web server is a row of the matrix, and every test in it a column. What a web server cannot do is a
//! field of its [`FrontEnd`]; nothing is left out for any other reason.

mod apache;
mod bodies;
mod connections;
mod haproxy;
mod lighttpd;
mod nginx;
mod routes;
mod server;

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::demo::Demo;
use crate::http::{Client, Response};
use server::WebServer;

/// A web server and its configuration. In the texts `@DIRECTORY@` is the private directory of a test, `@PORT@` where it
/// listens, and `@APPLICATION@` is the path or the address and port of the demo.
struct FrontEnd {
    program: &'static str,
    /// Debian's name of the package.
    package: &'static str,
    arguments: &'static [&'static str],
    /// It runs in several processes.
    has_children: bool,
    /// What the distribution's own configuration does: it names logs and modules, and takes in `site.conf`.
    main: &'static str,
    /// The name in `examples/deploy/`.
    file: &'static str,
    /// Addresses in that file, each with what stands in its place in the test.
    substitutions: &'static [(&'static str, &'static str)],
    /// The demo listens on TCP, or on a Unix socket.
    tcp: bool,
    /// Connections to the application are used again.
    keeps_connections: bool,
    /// With many requests at once it answers some with a 500 of its own.
    refuses_some: bool,
    /// Pieces of an answer arrive as they are made.
    streams: bool,
    /// The longest chunked body that it takes.
    longest_chunked: usize,
    /// What arrives at the handler of `/headers/a%2Fb%20c//./x/../y?q=%2F+%zz&&=`.
    odd_target: &'static str,
    /// What is written to STDERR is in its log.
    logs_stderr: bool,
}

impl FrontEnd {
    /// One without any limits, in front of a Unix socket.
    const UNIX: FrontEnd = FrontEnd {
        program: "",
        package: "",
        arguments: &[],
        has_children: false,
        main: "",
        file: "",
        substitutions: &[],
        tcp: false,
        keeps_connections: false,
        refuses_some: false,
        streams: true,
        longest_chunked: usize::MAX,
        odd_target: routes::ODD_TARGET,
        logs_stderr: true,
    };
}

/// A demo and the web server in front of it.
struct Site {
    web_server: WebServer,
    demo: Demo,
}

impl Site {
    fn start(front_end: &'static FrontEnd) -> Site {
        Site::with_options(front_end, &[])
    }

    /// A site whose demo has options of its own.
    fn with_options(front_end: &'static FrontEnd, options: &[&str]) -> Site {
        let demo = if front_end.tcp { Demo::tcp(options) } else { Demo::unix(options) };
        let application = demo.address().trim_start_matches("unix:");
        if !front_end.tcp {
            open_to_all(Path::new(application));
        }
        let web_server = WebServer::start(front_end, application);
        Site { web_server, demo }
    }

    fn client(&self) -> Client {
        Client::connect(self.web_server.address())
    }

    /// Asks on a connection of its own.
    fn get(&self, target: &str) -> Response {
        self.client().get(target)
    }

    /// Fails unless the demo still answers, and the web server is the one that was started.
    fn still_works(&self) {
        assert_eq!(self.get("/hello").text(), "hello, world\n");
    }
}

/// A web server that root has started gives its rights up, and then has none to the files of the test.
fn open_to_all(socket: &Path) {
    let directory = socket.parent().expect("the directory of the socket");
    fs::set_permissions(directory, Permissions::from_mode(0o755)).expect("the directory is the test's own");
    fs::set_permissions(socket, Permissions::from_mode(0o777)).expect("the socket is the test's own");
}

/// The sockets that a process has open. The kernel does not use their numbers twice.
fn sockets(pid: u32) -> BTreeSet<String> {
    // A process that has just ended has none.
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return BTreeSet::new() };
    let targets = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    targets.map(|target| target.to_string_lossy().into_owned()).filter(|name| name.starts_with("socket:")).collect()
}

/// One row of the matrix: a test for each case.
macro_rules! tests_of {
    ($needs:literal, $front_end:expr) => {
        $crate::front_ends::tests_of! { $needs, $front_end,
            bodies::an_upload_arrives_byte_for_byte
            bodies::a_chunked_upload_arrives_byte_for_byte
            bodies::a_download_arrives_byte_for_byte
            bodies::lines_arrive_as_they_are_made
            bodies::an_answer_to_an_unread_body_arrives
            connections::a_client_that_leaves_in_mid_answer_cancels_its_request
            connections::forty_requests_at_once_are_not_mixed
            connections::three_hundred_requests_in_turn_are_not_mixed
            connections::a_request_too_many_gets_503
            routes::plain_targets_are_answered
            routes::an_odd_target_arrives
            routes::headers_arrive
            routes::answers_without_a_body_leave_the_connection_in_step
            routes::a_redirect_arrives
            routes::a_panic_becomes_500
            routes::stderr_reaches_the_log
        }
    };
    ($needs:literal, $front_end:expr, $($part:ident::$case:ident)*) => {
        $(
            #[test]
            #[ignore = $needs]
            fn $case() {
                $crate::front_ends::$part::$case(&$front_end);
            }
        )*
    };
}
use tests_of;
