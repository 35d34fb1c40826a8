//! The demo behind real web servers, each with the very file of `examples/deploy/` that its users get.
//!
//! Every module of a web server is a row of the matrix, and every test in it a column. What a web server cannot do is a
//! field of its [`FrontEnd`]; nothing is left out for any other reason.

mod apache;
mod application;
mod authnz;
mod authorizers;
mod bodies;
mod connections;
mod fcgid;
mod haproxy;
mod lighttpd;
mod nginx;
mod processes;
mod routes;
mod server;
mod spawned;

use std::thread;

use crate::demo::assert_no_foreign_panic;
use crate::http::{Client, Response};
use application::{Application, Launch};
use server::WebServer;

/// A web server and its configuration. In the texts `@DIRECTORY@` is the private directory of a test, `@PORT@` where it
/// listens, and `@APPLICATION@` is the path or the address and port of the demo. Where the web server starts the demo
/// itself, `@APPLICATION@` is the directory of the program and of its sockets, and `@OPTIONS@` are those of the program.
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
    launch: Launch,
    /// Connections to the application are used again.
    keeps_connections: bool,
    /// How many processes of the application it has requests for at once.
    n_processes: usize,
    /// A process gets its next request when it has answered the one before, so it never gets too many.
    in_turn: bool,
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
        launch: Launch::Unix,
        keeps_connections: false,
        n_processes: 1,
        in_turn: false,
        refuses_some: false,
        streams: true,
        longest_chunked: usize::MAX,
        odd_target: routes::ODD_TARGET,
        logs_stderr: true,
    };
}

/// A demo and the web server in front of it.
struct Site {
    // The first to end: a web server takes along what it has spawned.
    web_server: WebServer,
    application: Application,
}

impl Site {
    fn start(front_end: &'static FrontEnd) -> Site {
        Site::with_options(front_end, &[])
    }

    /// A site whose demo has options of its own.
    fn with_options(front_end: &'static FrontEnd, options: &[&str]) -> Site {
        let application = Application::launch(front_end.launch, options);
        let web_server = WebServer::start(front_end, |text| application.fill_in(text));
        Site { web_server, application }
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

impl Drop for Site {
    fn drop(&mut self) {
        // A demo of the test's own sees to its own log.
        if !thread::panicking() && matches!(self.application, Application::Spawned(_)) {
            assert_no_foreign_panic(&self.web_server.logs());
        }
    }
}

/// One row of the matrix: a test for each case.
macro_rules! tests_of {
    ($needs:literal, $front_end:expr) => {
        $crate::front_ends::cases_of! { $needs, $front_end,
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
}

/// A test for each of these cases.
macro_rules! cases_of {
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
use {cases_of, tests_of};
