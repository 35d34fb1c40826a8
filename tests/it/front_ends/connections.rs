//! Cases: requests never mix, and each one ends, whoever leaves and however many there are.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::thread;

use super::{FrontEnd, Site};
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
            scope.spawn(move || sleep_and_echo(site, front_end.refuses_some, number));
        }
    });
}

/// Requests of all kinds are on their way at the same time.
fn sleep_and_echo(site: &Site, refuses_some: bool, number: usize) {
    let mut client = site.client();
    let mut ask = |request: &Request| ask_until_served(site, &mut client, refuses_some, request);
    let token = token(number);
    let target = format!("/headers/{number}?{}", token.replace(' ', "+"));
    for _ in 0..5 {
        assert!(ask(&Request::new("POST", "/echo").body(token.as_str())).body == token.as_bytes(), "request {number}");
        assert_eq!(ask(&Request::new("GET", &target)).json()["uri"], *target);
        let slept = ask(&Request::new("GET", format!("/sleep?ms={number}")));
        assert_eq!(slept.text(), format!("slept {number} ms\n"));
    }
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
    let mut seen = BTreeSet::new();
    for number in 0..300 {
        assert_token_comes_back(&mut client, number);
        seen.extend(site.application.sockets());
    }
    // The others are the listener's and the demo's own.
    assert!(!front_end.keeps_connections || seen.len() < 20, "connections are not used again: {} sockets", seen.len());
    site.still_works();
}

pub(super) fn requests_at_once_share_a_connection(front_end: &'static FrontEnd) {
    let site = Site::start(front_end);
    // By its answer the web server knows what the application takes.
    site.still_works();
    let mut clients: Vec<Client> = (0..40).map(|_| site.client()).collect();
    clients.iter_mut().for_each(|client| client.send(&Request::new("GET", "/drip?n=2&ms=1000")));
    wait_until("all forty to be active", || site.application.active_requests() == 40);
    let connections = site.application.counter("open_connections");
    // One of these is of the test itself.
    assert!(connections < 10, "{connections} connections for forty requests");
    for client in &mut clients {
        assert_eq!(client.receive().into_response().expect("a whole body").text(), "tick 0\ntick 1\n");
    }
}

/// The client leaves when it has, where that is possible, the first line of an answer that takes minutes.
pub(super) fn a_client_that_leaves_in_mid_answer_cancels_its_request(front_end: &'static FrontEnd) {
    let site = Site::start(front_end);
    let mut client = site.client();
    client.send(&Request::new("GET", "/drip?n=10000&ms=20"));
    if front_end.streams {
        let mut line = String::new();
        BufReader::new(client.receive()).read_line(&mut line).expect("a line");
        assert_eq!(line, "tick 0\n");
    }
    wait_until("the request to become active", || site.application.active_requests() == 1);
    assert_eq!(site.application.counter("cancelled_requests"), 0, "cancelled before the client left");
    drop(client);
    wait_until("the request to be cancelled", || site.application.counter("cancelled_requests") == 1);
    wait_until("the handler to return", || site.application.active_requests() == 0);
    site.still_works();
}

/// In every process one request runs, one waits, and the next is one too many.
pub(super) fn a_request_too_many_gets_503(front_end: &'static FrontEnd) {
    let site = &Site::with_options(front_end, &["--workers", "1", "--queue", "1"]);
    let slow = Request::new("GET", "/sleep?ms=300");
    let (n_served, n_refused) = if front_end.in_turn { (6, 0) } else { (2 * front_end.n_processes, 4) };
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
