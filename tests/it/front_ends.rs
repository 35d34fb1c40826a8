//! The demo behind real web servers, each with the very file of `examples/deploy/` that its users get.
//!
//! Every module of a web server is a row of the matrix, and every test in it a column. What a web server cannot do is a
//! field of its [`FrontEnd`]; nothing is left out for any other reason. `tests/FRONT_ENDS.md` shows all of it, turned
//! round.

mod ability;
mod apache;
mod application;
mod authnz;
mod authorizers;
mod bodies;
mod caddy;
mod connections;
mod fcgid;
mod h2o;
mod haproxy;
mod leaving;
mod lighttpd;
mod nginx;
mod processes;
mod restarts;
mod routes;
mod server;
mod spawned;
mod table;

use std::thread;

use crate::demo::assert_no_foreign_panic;
use crate::http::{Client, Response};
use ability::Ability;
use application::{Application, Launch};
use server::WebServer;

/// A web server and its configuration. In the texts `@DIRECTORY@` is the private directory of a test, `@PORT@` where it
/// listens, and `@APPLICATION@` is the path or the address and port of the demo. Where the web server starts the demo
/// itself, `@APPLICATION@` is the directory of the program and of its sockets, and `@OPTIONS@` are those of the program.
struct FrontEnd {
    name: &'static str,
    /// The version that the table of results is about.
    version: &'static str,
    /// What is changed in the file besides addresses, for the table.
    setting: &'static str,
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
    /// How many processes of the application it has requests for at once.
    n_processes: usize,
    /// What it cannot do, each with what it does instead.
    cannot: &'static [(Ability, &'static str)],
}

impl FrontEnd {
    /// One without any limits, in front of a Unix socket.
    const UNIX: FrontEnd = FrontEnd {
        name: "",
        version: "",
        setting: "as it is",
        program: "",
        package: "",
        arguments: &[],
        has_children: false,
        main: "",
        file: "",
        substitutions: &[],
        launch: Launch::Unix,
        n_processes: 1,
        cannot: &[],
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

/// A web server, and the names of the cases that it is tested with.
struct Row {
    front_end: &'static FrontEnd,
    cases: &'static [&'static str],
}

/// One row of the matrix: a test for each case.
macro_rules! tests_of {
    ($needs:literal, $front_end:expr) => {
        $crate::front_ends::cases_of! { ROW: $needs, $front_end,
            bodies::an_upload_arrives_byte_for_byte
            bodies::a_chunked_upload_arrives_byte_for_byte
            bodies::a_download_arrives_byte_for_byte
            bodies::lines_arrive_as_they_are_made
            bodies::an_answer_to_an_unread_body_arrives
            bodies::an_answer_that_is_cut_short_does_not_look_whole
            leaving::a_client_that_leaves_in_mid_upload_ends_its_request
            leaving::a_client_that_leaves_while_it_waits_cancels_its_request
            leaving::a_client_that_leaves_in_mid_answer_cancels_its_request
            connections::forty_requests_at_once_are_not_mixed
            connections::three_hundred_requests_in_turn_are_not_mixed
            connections::requests_at_once_share_a_connection
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

/// A test for each of these cases, and their names for the table of results: the compiler warns when they are not in it.
macro_rules! cases_of {
    ($row:ident: $needs:literal, $front_end:expr, $($part:ident::$case:ident)*) => {
        pub(in crate::front_ends) const $row: $crate::front_ends::Row =
            $crate::front_ends::Row { front_end: &$front_end, cases: &[$(stringify!($case)),*] };

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
