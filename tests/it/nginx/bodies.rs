//! Verifies that bodies of any size pass in both directions, as they are made, and that a cut one is seen to be cut.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use serde_json::json;
use sha2::{Digest, Sha256};

use super::{any, on_sites, unbuffered, Setup};
use crate::http::Request;

const MIB: usize = 1 << 20;

/// Bytes that repeat at no power of two.
fn pattern(length: usize) -> Vec<u8> {
    (0..=250).cycle().take(length).collect()
}

#[test]
#[ignore = "needs nginx; tests/run installs it"]
fn an_upload_arrives_byte_for_byte() {
    let body = pattern(8 * MIB);
    let digest = json!({ "length": body.len(), "sha256": format!("{:x}", Sha256::digest(&body)) });
    let post = || Request::new("POST", "/digest");
    let uploads = [post().body(body.as_slice()), post().chunked(body.as_slice())];
    on_sites(any, |site| {
        let mut client = site.client();
        for upload in &uploads {
            assert_eq!(client.exchange(upload).json(), digest);
        }
    });
}

#[test]
#[ignore = "needs nginx; tests/run installs it"]
fn a_download_arrives_byte_for_byte() {
    let expected = pattern(8 * MIB);
    on_sites(any, |site| {
        let mut client = site.client();
        let response = client.get("/bytes?n=8388608");
        assert_eq!(response.header("Content-Length"), Some("8388608"));
        assert!(response.body == expected, "not the same bytes");
        assert_eq!(client.get("/hello").text(), "hello, world\n");
    });
}

#[test]
#[ignore = "needs nginx; tests/run installs it"]
fn a_body_comes_back() {
    // Not more than fits the socket's buffer: once nginx has the head of an answer, it sends no more of a body that it
    // could not send at once.
    let body = pattern(60_000);
    let echo = Request::new("POST", "/echo").body(body.as_slice());
    on_sites(any, |site| assert!(site.client().exchange(&echo).body == body, "not the same bytes"));
}

#[test]
#[ignore = "needs nginx; tests/run installs it"]
fn lines_arrive_as_they_are_made() {
    let pause = Duration::from_millis(600);
    on_sites(unbuffered, |site| {
        let mut client = site.client();
        let start = Instant::now();
        client.send(&Request::new("GET", "/drip?n=3&ms=600"));
        let mut lines = BufReader::new(client.receive()).lines();
        let mut next = || lines.next().map(|line| line.expect("a line"));
        for i in 0..2 {
            assert_eq!(next(), Some(format!("tick {i}")));
            assert!(start.elapsed() < pause * 2, "line {i} came when the last one could have been made");
            assert_eq!(site.metric("active_requests"), 2, "line {i} came when the handler had ended");
        }
        assert_eq!(next().as_deref(), Some("tick 2"));
        assert!(start.elapsed() >= pause * 2, "the last line came before its time");
        assert_eq!(next(), None);
    });
}

#[test]
#[ignore = "needs nginx; tests/run installs it"]
fn pieces_come_back_before_the_next_is_sent() {
    let pieces = ["one", "two and more", "3"];
    on_sites(unbuffered, |site| {
        let mut client = site.client();
        let mut sender = client.sender();
        client.send(&Request::new("POST", "/echo").announce(pieces.concat().len()));
        sender.write_all(pieces[0].as_bytes()).expect("nginx takes the first piece");
        let mut answer = client.receive();
        assert_eq!(answer.status, 200);
        for (i, piece) in pieces.iter().enumerate() {
            let mut received = vec![0; piece.len()];
            answer.read_exact(&mut received).expect("the piece comes back");
            assert_eq!(received, piece.as_bytes());
            let next = pieces.get(i + 1).unwrap_or(&"");
            sender.write_all(next.as_bytes()).expect("nginx takes the next piece");
        }
        assert_eq!(answer.read(&mut [0]).expect("the end of the body"), 0);
    });
}

#[test]
#[ignore = "needs nginx; tests/run installs it"]
fn an_answer_to_an_unread_body_arrives() {
    let body = pattern(4 * MIB);
    on_sites(any, |site| {
        for (route, text) in [("/hello", "hello, world\n"), ("/ignore?ms=50", "ignored\n")] {
            let mut client = site.client();
            let response = client.exchange(&Request::new("POST", route).body(body.as_slice()));
            assert_eq!((response.status, response.text()), (200, text));
            if site.setup.buffering {
                assert_eq!(client.get("/hello").text(), "hello, world\n");
            }
            // Without buffering nginx closes this connection: it has not read the whole body either.
            site.still_works();
        }
    });
}

/// Where nginx tells a connection that ended too early from an answer that is complete: over TCP it is a reset. Over a
/// Unix socket it looks at the framing, and only when it keeps connections and buffers.
fn shows_cuts(setup: &Setup) -> bool {
    setup.tcp || (setup.keep_conn && setup.buffering)
}

/// Each with what arrives of its body.
const CUT_ANSWERS: [(&str, &str); 2] = [("/panic-late", "before the panic\n"), ("/lie?declared=10&sent=4", "xxxx")];

#[test]
#[ignore = "needs nginx; tests/run installs it"]
fn a_cut_answer_is_seen_to_be_cut() {
    on_sites(shows_cuts, |site| {
        for (target, expected) in CUT_ANSWERS {
            let mut client = site.client();
            client.send(&Request::new("GET", target));
            let mut answer = client.receive();
            // A reset may take with it what nginx has not passed on, the head included.
            if !(site.setup.tcp && answer.status == 502) {
                assert_eq!(answer.status, 200, "{target}");
                let mut body = Vec::new();
                let error = answer.read_to_end(&mut body).expect_err("a cut body");
                assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{target}");
                assert!(expected.as_bytes().starts_with(&body) && (site.setup.tcp || !body.is_empty()), "{target}");
            }
            site.still_works();
        }
    });
}

/// In the other setups nginx takes the cut answer for a complete one, or goes on to wait for the rest.
#[test]
#[ignore = "needs nginx; tests/run installs it"]
fn a_cut_answer_spoils_no_other() {
    on_sites(
        |setup| !shows_cuts(setup),
        |site| {
            for (target, expected) in CUT_ANSWERS {
                let mut client = site.client();
                client.send(&Request::new("GET", target));
                let mut body = vec![0; expected.len()];
                client.receive().read_exact(&mut body).expect("what the handler wrote");
                assert_eq!(body, expected.as_bytes(), "{target}");
                site.still_works();
            }
        },
    );
}
