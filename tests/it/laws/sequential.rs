//! Verifies that a server that takes one request at a time on a connection still sees what happens behind a body.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use fcgi::http::{Request, Response};
use fcgi::{Body, CancelReason, FilterData, RequestExt, Server};

use super::{in_time, Site};
use crate::demo::PATIENCE;
use crate::peer::Request as Sent;

const BODY_LEN: usize = 300_000;

/// A server with less memory for a body than any of these has.
fn server() -> Server {
    Server::new().max_requests(1).body_buffer(4 << 10)
}

fn body() -> Vec<u8> {
    (0..BODY_LEN).map(|n| (n % 251) as u8).collect()
}

/// What a handler that reads nothing learns of its request, and when.
fn waiting_server() -> (Server, Receiver<()>, Receiver<(Option<CancelReason>, Instant)>) {
    let ((start, started), (seen, learned)) = (mpsc::channel(), mpsc::channel());
    let senders = Mutex::new((start, seen));
    let handler = move |request: Request<Body>| {
        let (start, seen) = senders.lock().unwrap().clone();
        start.send(()).unwrap();
        let reason = request.cancellation().wait(PATIENCE);
        // The test may have given up.
        let _: Result<(), mpsc::SendError<_>> = seen.send((reason, Instant::now()));
        Response::new("late")
    };
    (server().responder(handler), started, learned)
}

fn assert_loss_is_seen(
    started: &Receiver<()>,
    learned: &Receiver<(Option<CancelReason>, Instant)>,
    mut peer: impl Write,
    close: impl FnOnce(),
) {
    peer.write_all(&Sent::detached(1).post("/").param("CONTENT_LENGTH", "300000").head()).unwrap();
    in_time("the handler", started);
    // As much of it as there is room for.
    let whole = Sent::detached(1).undeclared(&body()).bytes();
    let head_len = Sent::detached(1).head().len();
    let _: io::Result<()> = peer.write_all(&whole[head_len..]);
    let closed = Instant::now();
    close();
    drop(peer);
    let (reason, when) = in_time("the handler's end", learned);
    assert_eq!(reason, Some(CancelReason::Disconnected));
    // A second is what it may take, and another one what a busy machine may.
    assert!(when < closed + Duration::from_secs(2), "{:?}", when - closed);
}

/// How long a peer tries to send a body that nobody reads.
const SENDING: Option<Duration> = Some(Duration::from_millis(300));

#[test]
fn a_lost_connection_is_seen_behind_a_body_that_nobody_reads() {
    let (server, started, learned) = waiting_server();
    let site = Site::unix(server);
    let peer = UnixStream::connect(site.address.strip_prefix("unix:").unwrap()).unwrap();
    peer.set_write_timeout(SENDING).unwrap();
    assert_loss_is_seen(&started, &learned, &peer, || peer.shutdown(Shutdown::Both).unwrap());
}

#[test]
fn a_lost_tcp_connection_is_seen_behind_a_body_that_nobody_reads() {
    let (server, started, learned) = waiting_server();
    let site = Site::tcp(server);
    let peer = TcpStream::connect(&site.address).unwrap();
    peer.set_write_timeout(SENDING).unwrap();
    assert_loss_is_seen(&started, &learned, &peer, || peer.shutdown(Shutdown::Both).unwrap());
}

#[test]
fn the_data_of_a_filter_is_waited_for_behind_a_body_that_was_not_read() {
    let read_timeout = Duration::from_millis(200);
    let handler = move |request: Request<Body>, mut data: FilterData| -> io::Result<Response<String>> {
        // All the time that the web server may be silent, and more: it was not, this handler was.
        assert_eq!(request.cancellation().wait(5 * read_timeout), None);
        let (mut stdin, mut file) = (Vec::new(), Vec::new());
        request.into_body().read_to_end(&mut stdin)?;
        data.read_to_end(&mut file)?;
        let is_same = stdin == body() && file == body();
        Ok(Response::new(format!("{} {} {is_same}\n", stdin.len(), file.len())))
    };
    for site in [Site::unix, Site::tcp] {
        let site = site(server().filter(handler).read_timeout(read_timeout));
        let mut connection = site.connect();
        let request = Sent::detached(1).post("/").body(&body()).data(&body()).bytes();
        connection.while_sending(&request, |connection| {
            let answer = connection.answer(1);
            assert_eq!(answer.text(), format!("{BODY_LEN} {BODY_LEN} true\n"));
        });
        site.stop();
    }
}

#[test]
fn a_small_body_in_front_of_the_data_of_a_filter_is_waited_for() {
    let read_timeout = Duration::from_millis(200);
    let handler = move |request: Request<Body>, mut data: FilterData| -> io::Result<Response<String>> {
        assert_eq!(request.cancellation().wait(5 * read_timeout), None);
        let (mut stdin, mut file) = (Vec::new(), Vec::new());
        request.into_body().read_to_end(&mut stdin)?;
        data.read_to_end(&mut file)?;
        Ok(Response::new(format!("{} {}\n", stdin.len(), file.len())))
    };
    for site in [Site::unix, Site::tcp] {
        let site = site(server().filter(handler).read_timeout(read_timeout));
        let mut connection = site.connect();
        let request = Sent::detached(1).post("/").body(b"small").data(&body()).bytes();
        connection.while_sending(&request, |connection| {
            assert_eq!(connection.answer(1).text(), format!("5 {BODY_LEN}\n"));
        });
        site.stop();
    }
}

#[test]
fn a_body_that_does_not_fit_reaches_a_slow_handler_whole() {
    let read_timeout = Duration::from_millis(200);
    let handler = move |request: Request<Body>| -> io::Result<Response<String>> {
        let (cancellation, mut input) = (request.cancellation(), request.into_body());
        let (mut read, mut piece) = (Vec::new(), [0; 10_000]);
        loop {
            // Once longer than the web server may be silent.
            let pause = if read.is_empty() { 3 * read_timeout } else { Duration::from_millis(10) };
            assert_eq!(cancellation.wait(pause), None);
            match input.read(&mut piece)? {
                0 => break,
                len => read.extend_from_slice(&piece[..len]),
            }
        }
        Ok(Response::new(format!("{}\n", read == body())))
    };
    for site in [Site::unix, Site::tcp] {
        let site = site(server().responder(handler).read_timeout(read_timeout));
        let mut connection = site.connect();
        for request in [Sent::detached(1).post("/").body(&body()), Sent::detached(1).post("/").undeclared(&body())] {
            connection.while_sending(&request.bytes(), |connection| {
                assert_eq!(connection.answer(1).text(), "true\n");
            });
        }
        site.stop();
    }
}
