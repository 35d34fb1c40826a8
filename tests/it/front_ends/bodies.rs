//! Cases: bodies of any size pass in both directions, as they are made.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::OnceLock;
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use serde_json::{json, Value};
use sha2::{Digest, Sha256};

use super::{Ability, FrontEnd, Site};
use crate::demo::PATIENCE;
use crate::http::Request;

/// Fits into a buffer of 16 KiB.
pub(super) const SHORT: usize = 15_000;

/// 8 MiB of bytes that repeat at no power of two. The demo makes the same.
pub(super) fn large() -> &'static [u8] {
    static LARGE: OnceLock<Vec<u8>> = OnceLock::new();
    LARGE.get_or_init(|| (0..=250).cycle().take(8 << 20).collect())
}

pub(super) fn digest(body: &[u8]) -> Value {
    json!({ "length": body.len(), "sha256": format!("{:x}", Sha256::digest(body)) })
}

/// Computed only once, which takes its time in a build that is not optimized.
pub(super) fn large_digest() -> &'static Value {
    static DIGEST: OnceLock<Value> = OnceLock::new();
    DIGEST.get_or_init(|| digest(large()))
}

fn post() -> Request {
    Request::new("POST", "/digest")
}

pub(super) fn an_upload_arrives_byte_for_byte(front_end: &'static FrontEnd) {
    let site = Site::start(front_end);
    let mut client = site.client();
    assert_eq!(client.exchange(&post().body(large())).json(), *large_digest());
    assert_eq!(client.exchange(&post().body("")).json(), digest(b""));
}

pub(super) fn a_chunked_upload_arrives_byte_for_byte(front_end: &'static FrontEnd) {
    let short = &large()[..SHORT];
    let site = Site::start(front_end);
    let mut client = site.client();
    assert_eq!(client.exchange(&post().chunked(short)).json(), digest(short));
    assert_eq!(client.exchange(&post().chunked("")).json(), digest(b""));
    if front_end.can(Ability::TakeLongChunkedBodies) {
        assert_eq!(client.exchange(&post().chunked(large())).json(), *large_digest());
    } else {
        assert_eq!(client.exchange(&post().chunked(&large()[..SHORT * 2])).status, 400);
    }
}

pub(super) fn a_download_arrives_byte_for_byte(front_end: &'static FrontEnd) {
    let site = Site::start(front_end);
    let mut client = site.client();
    assert!(client.get("/bytes?n=8388608").body == large(), "not the same bytes");
    assert_eq!(client.get("/hello").text(), "hello, world\n");
}

pub(super) fn lines_arrive_as_they_are_made(front_end: &'static FrontEnd) {
    let pause = Duration::from_millis(600);
    let site = Site::start(front_end);
    let mut client = site.client();
    let start = Instant::now();
    client.send(&Request::new("GET", "/drip?n=3&ms=600"));
    let mut lines = BufReader::new(client.receive()).lines();
    for i in 0..3 {
        let line = lines.next().expect("one more line").expect("a line");
        assert_eq!(line, format!("tick {i}"));
        if i < 2 {
            let in_time = start.elapsed() < pause * 2;
            assert_eq!(in_time, front_end.can(Ability::StreamAnswers), "line {i} came before the last one was made");
        }
    }
    assert!(start.elapsed() >= pause * 2, "the last line came before its time");
    assert!(lines.next().is_none(), "more lines than were made");
}

/// Where the web server does not read on, it may close the client's connection at once, or let the client wait.
pub(super) fn an_answer_to_an_unread_body_arrives(front_end: &'static FrontEnd) {
    let reads_on = front_end.can(Ability::ReadOnAfterTheAnswer);
    let patience = if reads_on { PATIENCE } else { Duration::from_millis(300) };
    let (begin, rest) = large().split_at(100_000);
    let site = Site::start(front_end);
    for (route, text) in [("/hello", "hello, world\n"), ("/ignore?ms=50", "ignored\n")] {
        let mut client = site.client();
        let (mut sender, connection) = (client.sender(), client.sender());
        client.send(&Request::new("POST", route).announce(large().len()));
        client.send_piece(begin);
        if front_end.can(Ability::AnswerEarly) {
            client.await_answer();
        }
        let is_taken = thread::scope(|scope| {
            let upload = scope.spawn(move || sender.write_all(rest));
            let response = client.receive().into_response().expect("a whole body");
            assert_eq!((response.status, response.text()), (200, text), "{route}");
            is_taken(upload, &connection, patience)
        });
        let next = client.try_get("/hello").map(|response| response.body);
        let in_use = is_taken && next.as_ref().is_ok_and(|body| body == b"hello, world\n");
        assert_eq!(in_use, reads_on, "{route}: the body was taken: {is_taken}, the next answer: {next:?}");
        (0..3).for_each(|_| site.still_works());
    }
}

/// Whether the whole body goes out in time. Otherwise the connection is of no use, and closed.
fn is_taken(upload: ScopedJoinHandle<'_, io::Result<()>>, connection: &TcpStream, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    while !upload.is_finished() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(2));
    }
    if !upload.is_finished() {
        // It fails when the other side has just closed it.
        let _ = connection.shutdown(Shutdown::Both);
    }
    upload.join().expect("sending does not panic").is_ok()
}

/// The client asks for one answer only: with a kept connection Apache shows the cut when that has been idle for long
/// enough, and nginx, where it does not see the cut, lets the client wait for the rest of what was declared.
pub(super) fn an_answer_that_is_cut_short_does_not_look_whole(front_end: &'static FrontEnd) {
    let may_look_whole = !front_end.can(Ability::ShowCutAnswers);
    let site = Site::start(front_end);
    for (target, sent, may_look_whole) in
        [("/panic-late", "before the panic\n", may_look_whole), ("/lie?declared=10&sent=4", "xxxx", false)]
    {
        let mut client = site.client();
        client.send(&Request::new("GET", target).header("Connection", "close"));
        let mut answer = client.receive();
        let mut body = Vec::new();
        let end = answer.read_to_end(&mut body);
        // Over TCP a cut answer ends with a reset, and that may take with it what the web server has not passed on yet.
        if answer.status == 200 {
            assert!(sent.as_bytes().starts_with(&body), "{target}");
            let is_cut = matches!(&end, Err(error) if error.kind() == ErrorKind::UnexpectedEof);
            assert!(is_cut || may_look_whole && end.is_ok(), "{target}: {end:?}");
        } else {
            assert!(matches!(answer.status, 502 | 503), "{target} got {}", answer.status);
        }
        site.still_works();
    }
}
