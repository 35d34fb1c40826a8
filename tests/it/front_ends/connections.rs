//! Cases: requests never mix, and each one is answered, however many there are.

use std::thread;

use super::bodies::{digest, large};
use super::{Ability, FrontEnd, Site};
use crate::demo::wait_until;
use crate::http::{Client, Request, Response};

/// A different text for each number, and of a different length.
fn token(number: usize) -> String {
    format!("token {number} ").repeat(1 + number * 37 % 100)
}

fn assert_token_comes_back(client: &mut Client, number: usize) {
    let token = token(number);
    let response = client.exchange(&Request::new("POST", "/echo").body(token.as_str()));
    assert!(response.body == token.as_bytes(), "request {number} got {:?}", response.text());
}

pub(super) fn forty_requests_at_once_are_not_mixed(front_end: &'static FrontEnd) {
    let site = &Site::start(front_end);
    thread::scope(|scope| {
        for number in 0..40 {
            scope.spawn(move || ask_for_all_kinds(site, !front_end.can(Ability::ServeManyAtOnce), number));
        }
    });
}

/// Requests of all kinds are on their way at the same time. None gets what another one should get.
fn ask_for_all_kinds(site: &Site, refuses_some: bool, number: usize) {
    let mut client = site.client();
    let mut ask = |request: &Request| ask_until_served(site, &mut client, refuses_some, request);
    let token = token(number);
    let target = format!("/headers/{number}?{}", token.replace(' ', "+"));
    for _ in 0..4 {
        assert!(ask(&Request::new("POST", "/echo").body(token.as_str())).body == token.as_bytes(), "request {number}");
        assert_eq!(ask(&Request::new("GET", &target)).json()["uri"], *target);
        let slept = ask(&Request::new("GET", format!("/sleep?ms={number}")));
        assert_eq!(slept.text(), format!("slept {number} ms\n"));
    }
    let length = 100_000 + number;
    let download = ask(&Request::new("GET", format!("/bytes?n={length}"))).body;
    assert!(download == large()[..length], "download {number} has {} bytes", download.len());
    let upload = &large()[number..100_000];
    assert_eq!(ask(&Request::new("POST", "/digest").body(upload)).json(), digest(upload), "upload {number}");
}

/// None of these requests has a 500 from the demo.
fn ask_until_served(site: &Site, client: &mut Client, refuses_some: bool, request: &Request) -> Response {
    for _ in 0..50 {
        let response = client.exchange(request);
        if response.status == 200 {
            return response;
        }
        assert!(refuses_some && response.status == 500, "{request} got {}", response.status);
        *client = site.client();
    }
    panic!("{request} is always refused");
}

pub(super) fn three_hundred_requests_in_turn_are_not_mixed(front_end: &'static FrontEnd) {
    let site = Site::start(front_end);
    let mut client = site.client();
    let before = site.application.counter("accepted_connections");
    (0..300).for_each(|number| assert_token_comes_back(&mut client, number));
    let accepted = site.application.counter("accepted_connections") - before;
    let keeps = front_end.can(Ability::KeepConnections);
    assert!(if keeps { accepted < 20 } else { accepted >= 300 }, "{accepted} connections for 300 requests");
    site.still_works();
}

/// Otherwise each has a connection of its own, but for one that was kept.
pub(super) fn requests_at_once_share_a_connection(front_end: &'static FrontEnd) {
    let site = Site::start(front_end);
    // By its answer the web server knows what the application takes.
    site.still_works();
    let multiplexes = front_end.can(Ability::Multiplex);
    let n_clients: u64 = if multiplexes { 40 } else { 8 };
    let before = site.application.counter("accepted_connections");
    let mut clients: Vec<Client> = (0..n_clients).map(|_| site.client()).collect();
    clients.iter_mut().for_each(|client| client.send(&Request::new("GET", "/drip?n=2&ms=1000")));
    if multiplexes {
        wait_until("all to be active", || site.application.active_requests() == n_clients);
        let open = site.application.counter("open_connections");
        assert!(open < 10, "{open} connections for {n_clients} requests");
    }
    for client in &mut clients {
        assert_eq!(client.receive().into_response().expect("a whole body").text(), "tick 0\ntick 1\n");
    }
    let accepted = site.application.counter("accepted_connections") - before;
    assert!(multiplexes || accepted + 1 >= n_clients, "{accepted} connections for {n_clients} requests");
}

/// In every process one request runs, one waits, and the next is one too many.
pub(super) fn a_request_too_many_gets_503(front_end: &'static FrontEnd) {
    let site = &Site::with_options(front_end, &["--workers", "1", "--queue", "1"]);
    let slow = Request::new("GET", "/sleep?ms=300");
    let (n_served, n_refused) =
        if !front_end.can(Ability::SendTooMany) { (6, 0) } else { (2 * front_end.n_processes, 4) };
    let mut clients: Vec<Client> = (0..n_served + n_refused).map(|_| site.client()).collect();
    clients.iter_mut().for_each(|client| client.send(&slow));
    let answers = clients.iter_mut().map(|client| client.receive().into_response().expect("a whole body"));
    let (served, refused): (Vec<_>, Vec<_>) = answers.partition(|answer| answer.status == 200);
    assert_eq!((served.len(), refused.len()), (n_served, n_refused), "served and refused");
    for answer in refused {
        assert_eq!((answer.status, answer.header("Retry-After").is_some()), (503, true));
    }
    site.still_works();
}
