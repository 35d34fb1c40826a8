//! Verifies that a request whose client has left is cancelled, and that nothing else is.

use std::io::{BufRead, BufReader, Read};

use super::{any, on_sites, unbuffered, Site};
use crate::demo::wait_until;
use crate::http::{Client, Request};

/// Sends a request, waits until it is active, and leaves; the demo must notice.
fn leave(site: &Site, request: &Request, at_the_moment: impl FnOnce(&mut Client)) {
    let cancelled = site.metric("cancelled_requests");
    let mut client = site.client();
    client.send(request);
    wait_until(&format!("{request} to become active"), || site.metric("active_requests") == 2);
    at_the_moment(&mut client);
    assert_eq!(site.metric("cancelled_requests"), cancelled, "cancelled before the client left");
    drop(client);
    wait_until(&format!("{request} to be cancelled"), || site.metric("cancelled_requests") == cancelled + 1);
    wait_until("the handler to return", || site.metric("active_requests") == 1);
    site.still_works();
}

#[test]
#[ignore = "needs nginx; tests/run installs it"]
fn a_client_that_leaves_while_it_waits_cancels_its_request() {
    on_sites(any, |site| leave(site, &Request::new("GET", "/wait-abort"), |_| ()));
}

#[test]
#[ignore = "needs nginx; tests/run installs it"]
fn a_client_that_leaves_in_mid_answer_cancels_its_request() {
    // Left alone, these run for minutes.
    let drip = Request::new("GET", "/drip?n=10000&ms=20");
    let bytes = Request::new("GET", "/bytes?n=100000000000");
    on_sites(any, |site| leave(site, &drip, |_| ()));
    on_sites(unbuffered, |site| {
        leave(site, &drip, |client| {
            let mut line = String::new();
            BufReader::new(client.receive()).read_line(&mut line).expect("a line");
            assert_eq!(line, "tick 0\n");
        });
        leave(site, &bytes, |client| {
            client.receive().read_exact(&mut [0; 100_000]).expect("the beginning of the body");
        });
    });
}

#[test]
#[ignore = "needs nginx; tests/run installs it"]
fn a_client_that_leaves_in_mid_upload_cancels_its_request() {
    for route in ["/digest", "/count", "/echo"] {
        let upload = Request::new("POST", route).announce(1_000_000);
        on_sites(unbuffered, |site| leave(site, &upload, |client| client.send_piece(&[0; 100_000])));
    }
}
