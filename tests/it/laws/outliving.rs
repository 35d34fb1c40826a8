//! Verifies that an input that outlives its handler ends in an error: it is never taken for whole, and nobody hangs.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Barrier, Mutex};

use fcgi::http::{Request, Response};
use fcgi::{Body, BodyError, FilterData, Server};

use super::{begin, in_time, Site};
use crate::peer::record::{self, DATA, FILTER, STDIN};
use crate::peer::Connection;

type Input = Box<dyn BufRead + Send>;

/// What a handler does with an input before it lets go of it.
type Prepare = fn(&mut dyn BufRead);

fn nothing(_: &mut dyn BufRead) {}

fn fill_buf(input: &mut dyn BufRead) {
    assert!(!input.fill_buf().unwrap().is_empty());
}

fn read_one(input: &mut dyn BufRead) {
    input.read_exact(&mut [0]).unwrap();
}

/// How much of an input has come when the handler lets go of it.
const STATES: [(&str, &[u8], bool); 4] = [
    ("all of it", b"0123456789", true),
    ("all but the end", b"0123456789", false),
    ("a part of it", b"0123", false),
    ("nothing", b"", false),
];

fn let_go(input: impl BufRead + Send + 'static, prepare: Prepare, sender: &Mutex<Sender<Input>>) -> Response<()> {
    let mut input: Input = Box::new(input);
    prepare(&mut *input);
    sender.lock().unwrap().send(input).unwrap();
    Response::new(())
}

/// Servers whose handlers let go of the body, or of the data of a filter.
fn servers(prepare: Prepare) -> [(u8, Server, Receiver<Input>); 2] {
    let ((body, bodies), (data, datas)) = (mpsc::channel(), mpsc::channel());
    let (body, data) = (Mutex::new(body), Mutex::new(data));
    let responder = Server::new().responder(move |request: Request<Body>| let_go(request.into_body(), prepare, &body));
    let filter = Server::new().filter(move |_: Request<Body>, input: FilterData| let_go(input, prepare, &data));
    [(STDIN, responder, bodies), (DATA, filter, datas)]
}

/// Sends a request whose input comes as far as it says; it may announce its length.
fn send(connection: &mut Connection, stream: u8, content: &[u8], is_ended: bool, length: &str) {
    match stream {
        STDIN => connection.request(1).post("/").param("CONTENT_LENGTH", length).send_head(),
        _ if length.is_empty() => connection.request(1).get("/").role(FILTER).send_head(),
        _ => connection.request(1).get("/").role(FILTER).param("FCGI_DATA_LENGTH", length).send_head(),
    }
    if stream == DATA {
        connection.end_stdin(1);
    }
    if !content.is_empty() {
        connection.send(&record::stream(stream, 1, content));
    }
    if is_ended {
        connection.send(&record::end_of_stream(stream, 1));
    }
}

fn assert_failed(what: &str, read: io::Result<usize>) {
    let error = read.map_or_else(|error| error, |len| panic!("{what}: read {len} bytes"));
    assert!(BodyError::of(&error).is_some(), "{what}: {error}");
}

fn assert_inputs_end_in_an_error(prepare: Prepare, is_possible: impl Fn(&[u8]) -> bool) {
    for (stream, server, inputs) in servers(prepare) {
        let site = Site::unix(server);
        let mut connection = site.connect();
        for (state, content, is_ended) in STATES.into_iter().filter(|(_, content, _)| is_possible(content)) {
            for length in ["", "10"] {
                let what = format!("stream {stream}, {state}, announced {length:?}");
                eprintln!("{what}");
                send(&mut connection, stream, content, is_ended, length);
                assert_eq!(connection.answer(1).status, 200);
                let mut input = in_time("the input", &inputs);
                let read = begin(move || [0, 1].map(|_| input.read(&mut [0; 100])));
                in_time(&what, &read).into_iter().for_each(|read| assert_failed(&what, read));
            }
        }
    }
}

#[test]
fn an_input_that_was_not_read_ends_in_an_error() {
    assert_inputs_end_in_an_error(nothing, |_| true);
}

#[test]
fn an_input_of_which_a_chunk_was_taken_ends_in_an_error() {
    assert_inputs_end_in_an_error(fill_buf, |content| !content.is_empty());
}

#[test]
fn an_input_that_was_read_in_part_ends_in_an_error() {
    assert_inputs_end_in_an_error(read_one, |content| !content.is_empty());
}

#[test]
fn who_waits_for_an_input_is_woken_when_the_handler_has_returned() {
    let (sender, reads) = mpsc::channel();
    let sender = Mutex::new(sender);
    let handler = move |request: Request<Body>| {
        let mut input = request.into_body();
        let is_reading = Arc::new(Barrier::new(2));
        let reading = is_reading.clone();
        let read = begin(move || {
            reading.wait();
            input.read(&mut [0; 100])
        });
        is_reading.wait();
        sender.lock().unwrap().send(read).unwrap();
        Response::new(())
    };
    let site = Site::unix(Server::new().responder(handler));
    let mut connection = site.connect();
    for _ in 0..20 {
        connection.request(1).post("/").param("CONTENT_LENGTH", "10").send_head();
        assert_eq!(connection.answer(1).status, 200);
        let read = in_time("the handler", &reads);
        assert_failed("a read that waits", in_time("a read that waits", &read));
    }
}
