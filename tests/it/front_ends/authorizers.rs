//! Cases: a web server asks the demo before it serves what the demo answers below `/private/`, or a file below `/files/`.

use std::fs;
use std::thread;

use super::application::{open_directory, Application};
use super::bodies::{digest, large, large_digest};
use super::server::WebServer;
use super::{FrontEnd, Site};
use crate::demo::wait_until;
use crate::http::{Client, Request, Response};
use crate::peer::Connection;

const SECRET: &str = "nobody may read this without asking\n";

fn start(front_end: &'static FrontEnd) -> Site {
    with_options(front_end, &[])
}

fn with_options(front_end: &'static FrontEnd, options: &[&str]) -> Site {
    let site = Site::with_options(front_end, options);
    put_secret(&site.web_server);
    site
}

/// The directory of a web server is where its files are in these tests.
fn put_secret(web_server: &WebServer) {
    let files = web_server.directory().join("files");
    fs::create_dir(&files).expect("the directory is the test's own");
    fs::write(files.join("secret.txt"), SECRET).expect("the file can be written");
    open_directory(web_server.directory());
}

#[track_caller]
fn assert_denied(response: &Response, status: u16) {
    assert_eq!(response.status, status, "{:?}", response.text());
    assert!(!response.text().contains(SECRET) && !response.text().contains("hello, world"), "{:?}", response.text());
}

pub(super) fn what_is_allowed_is_served_with_the_variable(front_end: &'static FrontEnd) {
    let site = start(front_end);
    let mut client = site.client();
    for user in ["eve", "adam"] {
        let response = client.get(&format!("/private/env?token=letmein&user={user}"));
        assert_eq!((response.status, &response.json()["USER"]), (200, &user.into()));
        assert_eq!(response.header("Variable-USER"), None, "the variable is not for the client");
        assert_eq!(client.get("/files/secret.txt?token=letmein").text(), SECRET);
        let response = client.exchange(&Request::new("GET", "/private/hello").header("X-Token", "letmein"));
        assert_eq!(response.text(), "hello, world\n");
    }
}

pub(super) fn what_is_denied_gets_the_answer_of_the_authorizer(front_end: &'static FrontEnd) {
    let site = start(front_end);
    let mut client = site.client();
    for target in ["/private/hello", "/private/hello?token=wrong", "/files/secret.txt", "/files/nothing"] {
        let response = client.get(target);
        assert_denied(&response, 403);
        assert_eq!((response.header("X-Demo"), response.text()), (Some("no token"), "this needs the token\n"));
        assert_eq!(client.exchange(&Request::new("HEAD", target)).status, 403);
    }
    assert_eq!(client.get("/files/secret.txt?token=letmein").text(), SECRET);
}

pub(super) fn every_spelling_of_a_path_is_guarded(front_end: &'static FrontEnd) {
    let site = start(front_end);
    for path in ["files/secret.txt", "private/hello"] {
        let encoded = format!("%{:02x}{}", path.as_bytes()[0], &path[1..]);
        for spelling in [format!("//{path}"), format!("/./{path}"), format!("/x/../{path}"), format!("/{encoded}")] {
            assert_denied(&site.get(&spelling), 403);
        }
    }
}

pub(super) fn an_authorizer_that_fails_denies(front_end: &'static FrontEnd) {
    let site = start(front_end);
    for token in ["panic", "error", "variable"] {
        for path in ["/private/hello", "/files/secret.txt"] {
            assert_denied(&site.get(&format!("{path}?token={token}")), 500);
        }
    }
    assert_eq!(site.get("/files/secret.txt?token=letmein").text(), SECRET);
}

pub(super) fn an_application_without_an_authorizer_denies(front_end: &'static FrontEnd) {
    let site = with_options(front_end, &["--only-responder"]);
    for target in ["/private/hello?token=letmein", "/files/secret.txt?token=letmein"] {
        assert_denied(&site.get(target), 500);
    }
}

pub(super) fn an_overloaded_authorizer_denies(front_end: &'static FrontEnd) {
    let site = with_options(front_end, &["--workers", "1", "--queue", "0"]);
    let mut busy = Connection::open(&site.application.addresses()[0]);
    busy.request(1).get("/wait-abort").send();
    // The answer to a question that came behind it says that it was begun.
    busy.assert_usable();
    for target in ["/private/hello?token=letmein", "/files/secret.txt?token=letmein"] {
        assert_denied(&site.get(target), 503);
    }
    drop(busy);
    wait_until("the authorizer to be asked again", || site.get("/files/secret.txt?token=letmein").text() == SECRET);
}

pub(super) fn an_application_that_is_gone_denies(front_end: &'static FrontEnd) {
    let application = Application::launch(front_end.launch, &[]);
    let web_server = WebServer::start(front_end, |text| application.fill_in(text));
    put_secret(&web_server);
    let get = || Client::connect(web_server.address()).get("/files/secret.txt?token=letmein");
    assert_eq!(get().text(), SECRET);
    application.stop();
    for _ in 0..3 {
        let response = get();
        assert!(matches!(response.status, 500 | 503), "{}", response.status);
        assert_denied(&response, response.status);
    }
}

pub(super) fn forty_checks_at_once_are_not_mixed(front_end: &'static FrontEnd) {
    let site = &start(front_end);
    thread::scope(|scope| {
        for number in 0..40 {
            scope.spawn(move || check_in_turn(&mut site.client(), number));
        }
    });
}

fn check_in_turn(client: &mut Client, number: usize) {
    for round in 0..5 {
        let user = format!("user {number} in round {round}");
        let query = format!("token=letmein&user={}", user.replace(' ', "+"));
        assert_eq!(client.get(&format!("/private/env?{query}")).json()["USER"], *user);
        assert_denied(&client.get(&format!("/private/hello?token=wrong&user={number}")), 403);
        assert_eq!(client.get("/files/secret.txt?token=letmein").text(), SECRET);
    }
}

pub(super) fn a_body_arrives_at_the_responder(front_end: &'static FrontEnd) {
    let site = start(front_end);
    let mut client = site.client();
    let post = || Request::new("POST", "/private/digest?token=letmein");
    assert_eq!(client.exchange(&post().body(large())).json(), *large_digest());
    assert_eq!(client.exchange(&post().chunked("12345")).json(), digest(b"12345"));
    assert_denied(&client.exchange(&Request::new("POST", "/private/digest").body("12345")), 403);
    assert_eq!(site.client().exchange(&post().body("")).json(), digest(b""));
}

/// A test for each case.
macro_rules! authorizer_tests_of {
    ($needs:literal, $front_end:expr) => {
        $crate::front_ends::cases_of! { ROW: $needs, $front_end,
            authorizers::what_is_allowed_is_served_with_the_variable
            authorizers::what_is_denied_gets_the_answer_of_the_authorizer
            authorizers::every_spelling_of_a_path_is_guarded
            authorizers::an_authorizer_that_fails_denies
            authorizers::an_application_without_an_authorizer_denies
            authorizers::an_overloaded_authorizer_denies
            authorizers::an_application_that_is_gone_denies
            authorizers::forty_checks_at_once_are_not_mixed
            authorizers::a_body_arrives_at_the_responder
        }
    };
}
pub(super) use authorizer_tests_of;
