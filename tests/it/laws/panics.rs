//! Verifies that what panics twice, once at work and once when it is dropped, costs its own request and not the process.

use std::fmt;
use std::io::{self, Read};

use fcgi::http::{Request, Response};
use fcgi::{Body, SendBody, Server};

use super::Site;

#[derive(Debug)]
struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("as told, when it is dropped");
    }
}

#[derive(Debug)]
struct Twice(#[allow(dead_code)] PanicsWhenDropped);

impl Read for Twice {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        panic!("as told, in reading")
    }
}

impl fmt::Display for Twice {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("as told, in displaying")
    }
}

impl std::error::Error for Twice {}

fn handler(request: Request<Body>) -> Result<Response<SendBody>, Box<dyn std::error::Error + Send + Sync>> {
    let twice = || Twice(PanicsWhenDropped);
    match request.uri().path() {
        "/reader" => Ok(Response::new(SendBody::reader(twice()))),
        "/error" => Err(twice().into()),
        "/writer" => Ok(Response::new(SendBody::writer(move |_| Err(io::Error::new(io::ErrorKind::Other, twice()))))),
        _ => Ok(Response::new("hello".into())),
    }
}

#[test]
fn what_panics_twice_costs_its_own_request() {
    let site = Site::unix(Server::new().responder(handler).workers(1));
    let mut connection = site.connect();
    for path in ["/reader", "/error", "/writer"] {
        connection.request(1).get(path).send();
        assert_eq!(connection.answer(1).status, 500, "{path}");
        connection.request(1).get("/").send();
        assert_eq!(connection.answer(1).status, 200, "behind {path}");
    }
    site.stop();
}
