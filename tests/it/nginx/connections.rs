//! Verifies that connections to the application are kept where they should be, and that requests never mix.

use std::collections::BTreeSet;
use std::fs;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;

use super::{any, on_sites, Site};
use crate::demo::{wait_until, PATIENCE};
use crate::http::{Client, Request};

/// The sockets that the demo has open. The kernel does not use their numbers twice.
fn sockets(site: &Site) -> BTreeSet<String> {
    let descriptors = fs::read_dir(format!("/proc/{}/fd", site.demo.pid())).expect("the demo's descriptors");
    let targets = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    targets.map(|target| target.to_string_lossy().into_owned()).filter(|name| name.starts_with("socket:")).collect()
}

/// A different text for each number, and of a different length.
fn token(number: usize) -> String {
    format!("token {number} ").repeat(1 + number * 37 % 100)
}

fn assert_token_comes_back(client: &mut Client, number: usize) {
    let token = token(number);
    let response = client.exchange(&Request::new("POST", "/echo").body(token.as_str()));
    assert!(response.body == token.as_bytes(), "request {number} got {:?}", response.text());
}

#[test]
#[ignore = "needs nginx; tests/run installs it"]
fn a_thousand_requests_share_one_kept_connection() {
    on_sites(
        |setup| setup.keep_conn,
        |site| {
            let mut client = site.client();
            let before = sockets(site);
            assert_token_comes_back(&mut client, 0);
            let with_one = sockets(site);
            assert_eq!(with_one.len(), before.len() + 1, "{before:?} {with_one:?}");
            for number in 1..1000 {
                assert_token_comes_back(&mut client, number);
                assert_eq!(sockets(site), with_one, "after request {number}");
            }
        },
    );
}

#[test]
#[ignore = "needs nginx; tests/run installs it"]
fn a_connection_that_is_not_kept_is_closed() {
    on_sites(
        |setup| !setup.keep_conn,
        |site| {
            let mut client = site.client();
            let before = sockets(site);
            for number in 0..100 {
                assert_token_comes_back(&mut client, number);
            }
            wait_until("the demo to have no connection left", || sockets(site) == before);
        },
    );
}

#[test]
#[ignore = "needs nginx; tests/run installs it"]
fn forty_requests_at_once_are_not_mixed() {
    on_sites(any, |site| {
        thread::scope(|scope| {
            let mut gates = Vec::new();
            for number in 0..40 {
                let (gate, opened) = mpsc::channel();
                gates.push(gate);
                scope.spawn(move || echo_in_halves(site, number, &opened));
            }
            if !site.setup.buffering {
                wait_until("all forty to be active", || site.metric("active_requests") == 41);
            }
            // A gate opens when it is dropped, so it also does when this thread fails.
            drop(gates);
        });
    });
}

/// Waits between the halves of its body. Without buffering the request is active all the while.
fn echo_in_halves(site: &Site, number: usize, opened: &Receiver<()>) {
    let token = token(number);
    let (first, second) = token.as_bytes().split_at(token.len() / 2);
    let mut client = site.client();
    client.send(&Request::new("POST", "/echo").announce(token.len()));
    client.send_piece(first);
    assert_eq!(opened.recv_timeout(PATIENCE * 2), Err(RecvTimeoutError::Disconnected));
    client.send_piece(second);
    let response = client.receive().into_response().expect("a whole body");
    assert!(response.body == token.as_bytes(), "request {number} got {:?}", response.text());
    (1..10).for_each(|round| assert_token_comes_back(&mut client, number + 40 * round));
}
