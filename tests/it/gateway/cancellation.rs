//! Verifies that a handler is told when its client leaves, whatever it does at the time.

use std::io::{BufRead, BufReader, Read};

use serde_json::json;

use super::{over_both, Site};
use crate::demo::wait_until;
use crate::http::{Client, Request};

/// Sends a request, waits until it is active, and leaves.
fn leave(site: &Site, request: &Request, at_the_moment: impl FnOnce(&mut Client)) {
    let cancelled = site.demo.counter("cancelled_requests");
    let mut client = site.client();
    client.send(request);
    wait_until(&format!("{request} to become active"), || site.demo.counter("active_requests") == 2);
    at_the_moment(&mut client);
    assert_eq!(site.demo.counter("cancelled_requests"), cancelled, "cancelled before the client left");
    drop(client);
    wait_until(&format!("{request} to be cancelled"), || site.demo.counter("cancelled_requests") == cancelled + 1);
    wait_until("the handler to return", || site.demo.counter("active_requests") == 1);
    site.assert_serves();
}

#[test]
fn while_it_waits_in_silence() {
    over_both(|site| {
        leave(site, &Request::new("GET", "/wait-abort"), |_| ());
        leave(site, &Request::new("POST", "/wait-abort").body("read by nobody"), |_| ());
        let seen = site.get("/cancellations").json();
        assert_eq!((&seen["count"], &seen["reason"]), (&json!(2), &json!("disconnected")));
    });
}

#[test]
fn in_mid_answer() {
    // Left alone, these run for minutes.
    let drip = Request::new("GET", "/drip?n=10000&ms=20");
    let bytes = Request::new("GET", "/bytes?n=100000000000");
    over_both(|site| {
        leave(site, &drip, |client| {
            let mut line = String::new();
            BufReader::new(client.receive()).read_line(&mut line).expect("a line");
            assert_eq!(line, "tick 0\n");
        });
        leave(site, &bytes, |client| {
            client.receive().read_exact(&mut [0; 100_000]).expect("the beginning of the body");
        });
        // This one does not read at all.
        leave(site, &bytes, |_| ());
    });
}

#[test]
fn in_mid_upload() {
    over_both(|site| {
        for route in ["/digest", "/echo"] {
            let upload = Request::new("POST", route).announce(1_000_000);
            leave(site, &upload, |client| client.send_piece(&[0; 100_000]));
        }
    });
}
