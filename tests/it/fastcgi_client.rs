//! The crate `fastcgi-client` as the web server: an independent judge of what the demo sends, and one that ends an empty
//! body twice and sends records of 65,535 bytes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use fastcgi_client::conn::{KeepAlive, ShortConn};
use fastcgi_client::{Client, Params, Request, Response};
use futures_util::io::{AllowStdIo, Cursor};
use futures_util::FutureExt;

use crate::cgi::{answer_in, environment};
use crate::demo::{over_both, Demo, PATIENCE};
use crate::peer::answer::Answer;
use crate::peer::Request as Variables;

trait Stream: Read + Write {}

impl<S: Read + Write> Stream for S {}

/// A blocking stream: reading from it and writing to it never leaves a future pending.
type Blocking = AllowStdIo<Box<dyn Stream>>;

fn connect(demo: &Demo) -> Blocking {
    let stream: Box<dyn Stream> = match demo.address().strip_prefix("unix:") {
        Some(path) => {
            let stream = UnixStream::connect(path).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            Box::new(stream)
        }
        None => {
            let stream = TcpStream::connect(demo.address()).unwrap();
            // It writes headers and contents of records one by one.
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            Box::new(stream)
        }
    };
    AllowStdIo::new(stream)
}

fn get(target: &str) -> Request<'static, Cursor<Vec<u8>>> {
    request(Variables::detached(1).get(target), b"")
}

fn post(target: &str, body: &[u8]) -> Request<'static, Cursor<Vec<u8>>> {
    request(Variables::detached(1).post(target).param("CONTENT_LENGTH", &body.len().to_string()), body)
}

fn request(variables: Variables<'_>, body: &[u8]) -> Request<'static, Cursor<Vec<u8>>> {
    let params =
        environment(&variables).into_iter().fold(Params::default(), |params, (name, value)| params.custom(name, value));
    Request::new(params, Cursor::new(body.to_vec()))
}

/// One request on a connection of its own.
fn ask_once(demo: &Demo, request: Request<'_, Cursor<Vec<u8>>>) -> Response {
    let client: Client<Blocking, ShortConn> = Client::new(connect(demo));
    client.execute_once(request).now_or_never().expect("nothing is pending").expect("an answer")
}

/// One request on a connection that is kept.
fn ask(client: &mut Client<Blocking, KeepAlive>, request: Request<'_, Cursor<Vec<u8>>>) -> Response {
    client.execute(request).now_or_never().expect("nothing is pending").expect("an answer")
}

fn answer(response: &Response) -> Answer {
    answer_in(response.stdout.as_deref().unwrap_or_default())
}

#[test]
fn requests_on_connections_of_their_own_are_answered() {
    over_both(&[], |demo| {
        assert_eq!(answer(&ask_once(demo, get("/hello"))).text(), "hello, world\n");
        assert_eq!(answer(&ask_once(demo, get("/no-such-route"))).status, 404);
        assert_eq!(answer(&ask_once(demo, post("/echo", b"a body"))).text(), "a body");
        assert_eq!(answer(&ask_once(demo, post("/count", b""))).text(), "0\n");
    });
}

#[test]
fn a_kept_connection_stays_in_step() {
    over_both(&[], |demo| {
        let mut client = Client::new_keep_alive(connect(demo));
        for number in 0..100 {
            let token = format!("token {number} ").repeat(number);
            assert_eq!(answer(&ask(&mut client, post("/echo", token.as_bytes()))).text(), token);
            // The second end of the empty body comes when the request may be over.
            let target = format!("/headers?{number}");
            assert_eq!(answer(&ask(&mut client, get(&target))).json()["uri"], target);
            assert_eq!(answer(&ask(&mut client, post("/ignore", b"not read"))).text(), "ignored\n");
        }
    });
}

#[test]
fn the_largest_records_arrive_whole() {
    over_both(&[], |demo| {
        let mut client = Client::new_keep_alive(connect(demo));
        for len in [65_534, 65_535, 65_536, 131_070, 4 << 20] {
            let body: Vec<u8> = (0..=250).cycle().take(len).collect();
            // It sends all of the body before it reads any of the answer.
            assert!(answer(&ask(&mut client, post("/echo", &body))).body == body, "{len} bytes came back changed");
            assert!(answer(&ask(&mut client, get(&format!("/bytes?n={len}")))).body == body, "not the {len} bytes");
        }
    });
}

#[test]
fn stderr_is_told_from_the_answer() {
    over_both(&[], |demo| {
        let mut client = Client::new_keep_alive(connect(demo));
        for text in ["careful", "again"] {
            let response = ask(&mut client, get(&format!("/stderr?text={text}")));
            assert_eq!(response.stderr.as_deref(), Some(text.as_bytes()));
            assert_eq!(answer(&response).text(), "said on FCGI_STDERR\n");
        }
        assert_eq!(ask(&mut client, get("/hello")).stderr, None);
    });
}
