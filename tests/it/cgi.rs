//! The demo as a plain CGI program: one request from its environment and standard input, the answer on its standard
//! output.

use std::fs::File;
use std::io::{Seek, Write};
use std::net::TcpListener;
use std::process::Stdio;
use std::thread;

use crate::launchers::process::{demo, Output, Process};
use crate::peer::answer::{Answer, Partial};
use crate::peer::record::{parse_pairs, Record, END_REQUEST, STDOUT};
use crate::peer::{Connection, Request};

/// What a web server puts into the environment of a CGI program.
pub(crate) fn environment(request: &Request<'_>) -> Vec<(String, String)> {
    parse_pairs(&request.params())
}

/// The answer on standard output, judged as one that came in records.
pub(crate) fn answer(output: &Output) -> Answer {
    answer_in(&output.stdout)
}

/// What a web server has of an answer when it has taken it out of its records.
pub(crate) fn answer_in(stdout: &[u8]) -> Answer {
    let record = |kind, content: &[u8]| Record { version: 1, kind, id: 1, reserved: 0, content: content.to_vec() };
    let mut partial = Partial::default();
    let records = [record(STDOUT, stdout), record(STDOUT, b""), record(END_REQUEST, &[0; 8])];
    records.iter().find_map(|record| partial.take(record)).expect("END_REQUEST ends it").into_answer()
}

/// A file to be read as standard input.
pub(crate) fn file(content: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    file.rewind().unwrap();
    file
}

fn request() -> Request<'static> {
    Request::new(None, 1)
}

fn post(target: &str, content_length: &str) -> Request<'static> {
    request().post(target).param("CONTENT_LENGTH", content_length)
}

/// Runs the demo twice, with a file and with a pipe as its standard input. What it did must be the same.
#[track_caller]
fn run(request: &Request<'_>, stdin: &[u8]) -> Output {
    let with_file = start(request, file(stdin).into()).output();
    let with_pipe = thread::scope(|scope| {
        let mut demo = start(request, Stdio::piped());
        let mut pipe = demo.stdin();
        // The demo need not read all of it.
        scope.spawn(move || drop(pipe.write_all(stdin)));
        demo.output()
    });
    assert!(with_file.stdout == with_pipe.stdout, "{with_file:?} with a file and {with_pipe:?} with a pipe");
    assert_eq!(with_file.code, with_pipe.code);
    with_file
}

fn start(request: &Request<'_>, stdin: Stdio) -> Process {
    Process::start(demo().envs(environment(request)).stdin(stdin))
}

/// The answer of a demo that ends in good order and says nothing else.
#[track_caller]
fn answered(request: &Request<'_>, stdin: &[u8]) -> Answer {
    let output = run(request, stdin);
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
    answer(&output)
}

#[test]
fn a_request_is_answered_as_over_fastcgi() {
    assert_eq!(answered(&request().get("/hello"), b"").text(), "hello, world\n");
    let head = answered(&request().method("HEAD", "/hello"), b"");
    assert_eq!((head.status, head.body.as_slice(), head.content_length()), (200, b"".as_slice(), Some(13)));
    assert_eq!(answered(&request().get("/status/204"), b"").status, 204);
    assert_eq!(answered(&request().get("/no-such-route"), b"").status, 404);
    assert_eq!(answered(&request().get("/redirect?to=/hello"), b"").header("Location"), Some("/hello"));
    let bytes = answered(&request().get("/bytes?n=300000"), b"").body;
    assert!(bytes.len() == 300_000 && bytes.iter().enumerate().all(|(i, byte)| usize::from(*byte) == i % 251));
}

#[test]
fn an_environment_without_a_request_is_refused() {
    let output = run(&request().get("/hello").without("REQUEST_METHOD"), b"");
    assert_eq!((output.code, answer(&output).status), (Some(0), 400));
    assert!(output.stderr.contains("no REQUEST_METHOD"), "{output:?}");
}

#[test]
fn the_body_is_as_long_as_content_length_says() {
    let stdin = [b'x'; 100_000];
    for content_length in ["0", "1", "5", "8192", "65536", "99999", "100000"] {
        let count = answered(&post("/count", content_length), &stdin);
        assert_eq!(count.text(), format!("{content_length}\n"));
    }
    assert_eq!(answered(&post("/count", ""), &stdin).text(), "0\n");
    assert_eq!(answered(&post("/count", "").without("CONTENT_LENGTH"), &stdin).text(), "0\n");
}

#[test]
fn a_body_that_ends_early_is_told_from_a_whole_one() {
    let digest = answered(&post("/digest", "100000"), &[b'x'; 99_999]);
    assert_eq!((digest.status, digest.body.as_slice()), (400, b"the body is shorter than announced\n".as_slice()));
}

#[test]
fn nothing_behind_the_body_is_waited_for() {
    for (target, body) in [("/count", "4\n"), ("/ignore", "ignored\n")] {
        let mut demo = start(&post(target, "4"), Stdio::piped());
        let mut stdin = demo.stdin();
        stdin.write_all(b"body").unwrap();
        let output = demo.output();
        assert_eq!((output.code, answer(&output).text()), (Some(0), body));
        drop(stdin);
    }
}

#[test]
fn a_body_that_nobody_reads_is_left() {
    assert_eq!(answered(&post("/ignore", "4000000"), &vec![b'x'; 4_000_000]).text(), "ignored\n");
}

#[test]
fn a_mebibyte_comes_back_as_it_was() {
    let body: Vec<u8> = (0..1 << 20).map(|i: u32| (i % 249) as u8).collect();
    let echo = answered(&post("/echo", &body.len().to_string()), &body);
    assert!(echo.status == 200 && echo.body == body, "{} bytes came back changed", echo.body.len());
}

#[test]
fn the_exit_code_is_the_application_status() {
    for code in [0, 1, 7, 255] {
        let output = run(&request().get(&format!("/exit?code={code}")), b"");
        assert_eq!((output.code, output.stderr.as_str()), (Some(code), ""));
        assert_eq!(answer(&output).text(), format!("application status {code}\n"));
    }
}

#[test]
fn a_panic_is_an_answer() {
    let output = run(&request().get("/panic"), b"");
    assert_eq!((output.code, answer(&output).status), (Some(0), 500));
    assert!(output.stderr.contains("the route /panic always panics"), "{output:?}");
}

#[test]
fn a_panic_behind_the_first_bytes_is_a_failure() {
    let output = run(&request().get("/panic-late"), b"");
    assert!(output.code.is_some_and(|code| code != 0), "{output:?}");
    assert_eq!(answer(&output).text(), "before the panic\n");
    assert_eq!(output.stderr.lines().last(), Some("demo: the answer was cut short"));
}

#[test]
fn what_goes_to_stderr_is_on_standard_error() {
    let output = run(&request().get("/stderr?text=a+word"), b"");
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), "a word"));
    assert_eq!(answer(&output).text(), "said on FCGI_STDERR\n");
}

#[test]
fn http_proxy_in_the_environment_is_no_header() {
    let request = request().get("/headers").param("HTTP_PROXY", "http://evil").param("HTTP_X_TOKEN", "seen");
    let headers = &answered(&request, b"").json()["headers"];
    assert_eq!((&headers["x-token"][0], headers.get("proxy")), (&"seen".into(), None));
}

#[test]
fn an_environment_may_take_several_records() {
    let cookie = "c".repeat(100_000);
    let headers = answered(&request().get("/headers").param("HTTP_COOKIE", &cookie), b"").json();
    assert_eq!(headers["headers"]["cookie"][0], cookie.as_str());
}

#[test]
fn a_listening_socket_makes_it_a_server_all_the_same() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut demo = start(&request().get("/hello"), std::os::fd::OwnedFd::from(listener).into());
    assert_eq!(demo.address(), address);
    let mut connection = Connection::open(&address);
    connection.request(1).get("/exit?code=3").closing().send();
    assert_eq!(connection.answer(1).app_status, 3);
    assert_eq!(demo.stop().code, Some(0));
}
