//! cgi-fcgi is a web server's CGI program on one side and a web server on the other: its environment and standard
//! input become a request, and its exit status is the application status.

use super::process::{run, tool, Output};
use crate::cgi::{answer, environment, file};
use crate::demo::{over_both, Demo};
use crate::peer::Request;

fn request() -> Request<'static> {
    Request::new(None, 1)
}

fn ask(demo: &Demo, request: &Request<'_>, stdin: &[u8]) -> Output {
    let address = demo.address().trim_start_matches("unix:");
    let mut command = tool("cgi-fcgi");
    command.args(["-bind", "-connect", address]).envs(environment(request)).stdin(file(stdin));
    run(&mut command)
}

#[test]
#[ignore = "needs cgi-fcgi; tests/run installs it"]
fn the_exit_status_is_the_application_status() {
    over_both(&[], |demo| {
        for code in [0, 1, 7, 255] {
            let output = ask(demo, &request().get(&format!("/exit?code={code}")), b"");
            assert_eq!(output.code, Some(code), "{output:?}");
            assert_eq!(answer(&output).text(), format!("application status {code}\n"));
        }
    });
}

#[test]
#[ignore = "needs cgi-fcgi; tests/run installs it"]
fn requests_and_bodies_arrive_whole() {
    let body = b"0123456789".repeat(20_000);
    over_both(&[], |demo| {
        let output = ask(demo, &request().get("/hello"), b"");
        assert_eq!((output.code, answer(&output).text()), (Some(0), "hello, world\n"));
        let post = request().post("/echo").param("CONTENT_LENGTH", &body.len().to_string());
        let output = ask(demo, &post, &body);
        assert_eq!(output.code, Some(0));
        assert!(answer(&output).body == body, "the body came back changed");
        let output = ask(demo, &request().get("/no-such-route"), b"");
        assert_eq!((output.code, answer(&output).status), (Some(0), 404));
    });
}

#[test]
#[ignore = "needs cgi-fcgi; tests/run installs it"]
fn what_is_beside_the_answer_arrives_beside_it() {
    over_both(&[], |demo| {
        let output = ask(demo, &request().get("/stderr?text=beside"), b"");
        assert_eq!((output.code, output.stderr.as_str()), (Some(0), "beside"));
        assert_eq!(answer(&output).text(), "said on FCGI_STDERR\n");
    });
}

#[test]
#[ignore = "needs cgi-fcgi; tests/run installs it"]
fn an_answer_that_was_cut_off_is_a_failure() {
    over_both(&[], |demo| {
        let output = ask(demo, &request().get("/panic-late"), b"");
        assert_ne!(output.code, Some(0), "{output:?}");
        assert_eq!(answer(&output).body, b"before the panic\n");
        demo.assert_serves();
    });
}
