//! Cases: a client that leaves leaves nothing behind, wherever its request is.

use std::io::{BufRead, BufReader};

use super::{Ability, FrontEnd, Site};
use crate::demo::wait_until;
use crate::http::{Client, Request};

/// A web server that collects the body first shows nothing of the request to the application.
pub(super) fn a_client_that_leaves_in_mid_upload_ends_its_request(front_end: &'static FrontEnd) {
    let streams = front_end.can(Ability::StreamUploads);
    let site = Site::start(front_end);
    let mut client = site.client();
    client.send(&Request::new("POST", "/digest").announce(1_000_000));
    client.send_piece(&[0; 100_000]);
    if streams {
        leave(&site, client);
    } else {
        drop(client);
    }
    site.still_works();
    let completed = site.application.counter("completed_requests");
    assert!(streams || completed == 1, "the request reached the application");
    assert_eq!(site.application.counter("cancelled_requests"), u64::from(streams));
    assert_eq!(site.application.active_requests(), 0);
}

/// Where the web server says nothing, the handler works for nobody, and comes to its end as if its client were there.
pub(super) fn a_client_that_leaves_while_it_waits_cancels_its_request(front_end: &'static FrontEnd) {
    let site = Site::start(front_end);
    let mut client = site.client();
    if front_end.can(Ability::TellOfClientsThatWait) {
        client.send(&Request::new("GET", "/wait-abort"));
        leave(&site, client);
    } else {
        client.send(&Request::new("GET", "/sleep?ms=700"));
        wait_until("the request to become active", || site.application.active_requests() == 1);
        drop(client);
        wait_until("the handler to return", || site.application.active_requests() == 0);
        assert_eq!(site.application.counter("cancelled_requests"), 0, "the web server told the application");
    }
    site.still_works();
}

/// The client leaves when it has, where that is possible, the first line of an answer that takes minutes.
pub(super) fn a_client_that_leaves_in_mid_answer_cancels_its_request(front_end: &'static FrontEnd) {
    let site = Site::start(front_end);
    let mut client = site.client();
    client.send(&Request::new("GET", "/drip?n=10000&ms=20"));
    if front_end.can(Ability::StreamAnswers) {
        let mut line = String::new();
        BufReader::new(client.receive()).read_line(&mut line).expect("a line");
        assert_eq!(line, "tick 0\n");
    }
    leave(&site, client);
    site.still_works();
}

/// The client leaves when its request is active, which is then cancelled, and not before.
fn leave(site: &Site, client: Client) {
    wait_until("the request to become active", || site.application.active_requests() == 1);
    assert_eq!(site.application.counter("cancelled_requests"), 0, "cancelled before the client left");
    drop(client);
    wait_until("the request to be cancelled", || site.application.counter("cancelled_requests") == 1);
    wait_until("the handler to return", || site.application.active_requests() == 0);
}
