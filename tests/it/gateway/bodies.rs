//! Verifies that bodies stream: up, down, and both at once.

use std::io::{BufRead, BufReader, Read, Write};
use std::thread;

use serde_json::json;
use sha2::{Digest, Sha256};

use super::{over_both, Site};
use crate::http::Request;

const LENGTH: usize = 8 << 20;

fn pattern() -> Vec<u8> {
    (0..LENGTH).map(|i| (i % 251) as u8).collect()
}

#[test]
fn eight_mebibytes_arrive_as_they_were_sent() {
    let body = pattern();
    let expected = json!({ "length": LENGTH, "sha256": format!("{:x}", Sha256::digest(&body)) });
    over_both(|site| {
        let sized = site.exchange(&Request::new("POST", "/digest").body(body.clone()));
        assert_eq!(sized.json(), expected);
        let chunked = site.exchange(&Request::new("PUT", "/digest").chunked(body.clone()));
        assert_eq!(chunked.json(), expected);
    });
}

#[test]
fn a_large_answer_arrives_whole() {
    over_both(|site| {
        let answer = site.get(&format!("/bytes?n={LENGTH}"));
        assert!(answer.body == pattern(), "{} bytes", answer.body.len());
    });
}

#[test]
fn an_echo_goes_both_ways_at_once() {
    let body = pattern();
    over_both(|site| {
        let mut client = site.client();
        client.send(&Request::new("POST", "/echo").announce(LENGTH));
        let mut sender = client.sender();
        let sent = body.clone();
        let sending = thread::spawn(move || sender.write_all(&sent).expect("all of it is taken"));
        let mut received = Vec::new();
        client.receive().read_to_end(&mut received).expect("all of it comes back");
        sending.join().expect("no panic");
        assert!(received == body, "{} bytes", received.len());
    });
}

#[test]
fn the_first_piece_of_an_echo_comes_before_the_second_is_sent() {
    over_both(|site| {
        let mut client = site.client();
        client.send(&Request::new("POST", "/echo").announce(20));
        let mut sender = client.sender();
        sender.write_all(b"0123456789").expect("it is taken");
        let mut answer = client.receive();
        let mut received = [0; 10];
        answer.read_exact(&mut received).expect("it comes back");
        sender.write_all(b"abcdefghij").expect("it is taken");
        answer.read_exact(&mut received).expect("it comes back");
        assert_eq!(&received, b"abcdefghij");
    });
}

#[test]
fn events_arrive_while_the_handler_goes_on() {
    over_both(|site| {
        for (target, first) in [("/events", "data: 1\n"), ("/drip?n=1000&ms=10000", "tick 0\n")] {
            let mut client = site.client();
            client.send(&Request::new("GET", target));
            let mut line = String::new();
            BufReader::new(client.receive()).read_line(&mut line).expect("a line");
            assert_eq!(line, first);
            // The one that asks is active, too.
            assert_eq!(site.demo.counter("active_requests"), 2, "{target}");
            drop(client);
            crate::demo::wait_until("the handler to be told", || site.demo.counter("cancelled_requests") > 0);
        }
    });
}

#[test]
fn an_answer_that_does_not_wait_for_the_body_is_not_held_up() {
    over_both(|site| {
        let mut client = site.client();
        client.send(&Request::new("POST", "/ignore").announce(LENGTH));
        assert_eq!(client.receive().into_response().expect("a whole answer").text(), "ignored\n");
        // What the application did not want is dropped, and the connection lives on.
        client.send_piece(&pattern());
        assert_eq!(client.get("/hello").text(), "hello, world\n");
    });
}

#[test]
fn an_early_answer_to_a_body_that_keeps_coming_arrives() {
    over_both(|site| {
        for _ in 0..5 {
            let answer = site.exchange(&Request::new("POST", "/status/413").body(pattern()));
            assert_eq!(answer.status, 413);
        }
    });
}

#[test]
fn a_client_that_asks_may_send_its_body() {
    let site = Site::unix();
    let mut client = site.client();
    let request = Request::new("POST", "/count").header("Expect", "100-continue").announce(10);
    client.send(&request);
    assert_eq!(client.receive().status, 100);
    client.send_piece(b"0123456789");
    assert_eq!(client.receive().into_response().expect("a whole answer").text(), "10\n");
}
