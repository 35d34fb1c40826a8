//! Cases: bodies of any size pass in both directions, as they are made.

use std::io::{BufRead, BufReader, Write};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{json, Value};
use sha2::{Digest, Sha256};

use super::{FrontEnd, Site};
use crate::http::Request;

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
    let body = &large()[..large().len().min(front_end.longest_chunked)];
    let expected = if body.len() == large().len() { large_digest().clone() } else { digest(body) };
    let site = Site::start(front_end);
    let mut client = site.client();
    assert_eq!(client.exchange(&post().chunked(body)).json(), expected);
    assert_eq!(client.exchange(&post().chunked("")).json(), digest(b""));
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
        if front_end.streams && i < 2 {
            assert!(start.elapsed() < pause * 2, "line {i} came when the last one could have been made");
        }
    }
    assert!(start.elapsed() >= pause * 2, "the last line came before its time");
    assert!(lines.next().is_none(), "more lines than were made");
}

/// The web server may close the client's connection then, since it has not read the whole body either.
pub(super) fn an_answer_to_an_unread_body_arrives(front_end: &'static FrontEnd) {
    let site = Site::start(front_end);
    for (route, text) in [("/hello", "hello, world\n"), ("/ignore?ms=50", "ignored\n")] {
        let mut client = site.client();
        let mut sender = client.sender();
        client.send(&Request::new("POST", route).announce(large().len()));
        let response = thread::scope(|scope| {
            scope.spawn(|| sender.write_all(large()));
            client.receive().into_response().expect("a whole body")
        });
        assert_eq!((response.status, response.text()), (200, text), "{route}");
        (0..3).for_each(|_| site.still_works());
    }
}
