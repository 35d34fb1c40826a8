//! Verifies what becomes of a cancelled request whose web server does not read at the moment: it lets its worker go, takes
//! no other request of its connection along, and does not pass for a whole.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{mpsc, Arc, Mutex};
use std::thread;
use std::time::Duration;

use fcgi::http::{Request, Response};
use fcgi::{Body, SendBody, Server};
use rustix::net::{connect, socket, sockopt, AddressFamily, SocketType};

use super::{ending_or_close, in_time, Site};
use crate::demo::{wait_until, PATIENCE};
use crate::peer::Request as Sent;

/// More than any kernel keeps for a connection.
const LARGE: usize = 64 << 20;

/// What a handler writes at once.
const PIECE: usize = 256 << 10;

fn streaming(len: usize) -> SendBody {
    SendBody::writer(move |out| (0..len / PIECE).try_for_each(|_| out.write_all(&[b'x'; PIECE])))
}

fn large_server() -> Server {
    // A peer that takes nothing is looked at every half second.
    Server::new().responder(|_: Request<Body>| Response::new(streaming(LARGE))).write_timeout(Duration::from_secs(4))
}

#[test]
fn a_request_that_is_aborted_in_the_middle_of_a_write_takes_no_other_along() {
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let server = large_server().responder(move |request: Request<Body>| match request.uri().path() {
        "/large" => Response::new(streaming(LARGE)),
        _ => {
            released.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            Response::new("the other".into())
        }
    });
    let site = Site::unix(server);
    let mut connection = site.connect();
    connection.request(1).get("/large").send();
    connection.request(2).get("/").send();
    site.wait_for("both handlers", |now| now.busy_workers == 2);
    wait_until("the kernel to be full", || connection.unread() > 100_000);
    connection.abort(1);
    site.wait_for("the worker of the first to be free", |now| now.busy_workers == 1);
    release.send(()).unwrap();
    let ending = ending_or_close(&mut connection, 1).expect("END_REQUEST for what was aborted");
    assert_ne!(ending.app_status, 0, "it is not whole");
    assert_eq!(connection.answer(2).text(), "the other");
    connection.assert_usable();
    site.stop();
}

#[test]
fn an_answer_whose_time_is_over_while_its_peer_pauses_ends_in_a_reset() {
    // By then the kernel has taken all that it takes.
    let site = Site::tcp(large_server().request_timeout(Duration::from_millis(1500)));
    let mut peer = TcpStream::connect(&site.address).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer.write_all(&Sent::detached(1).get("/").bytes()).unwrap();
    site.wait_for("the end of its time", |now| now.cancelled.deadline == 1 && now.busy_workers == 0);
    let error = io::copy(&mut peer, &mut io::sink()).expect_err("not the end of a whole answer");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    site.stop();
}

#[test]
fn an_answer_that_nobody_reads_in_time_ends_in_a_reset() {
    let site = Site::tcp(large_server().write_timeout(Duration::from_millis(300)));
    let mut peer = TcpStream::connect(&site.address).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer.write_all(&Sent::detached(1).get("/").bytes()).unwrap();
    site.wait_for("the handler", |now| now.busy_workers == 1);
    site.wait_for("its end", |now| now.busy_workers == 0);
    let error = io::copy(&mut peer, &mut io::sink()).expect_err("not the end of a whole answer");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    site.stop();
}

#[test]
fn a_peer_that_takes_a_little_all_the_time_keeps_no_worker_of_a_cancelled_request() {
    let handler = |_: Request<Body>| Response::new(streaming(LARGE));
    let site = Site::tcp(Server::new().responder(handler).request_timeout(Duration::from_millis(500)));
    let small = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    sockopt::set_socket_recv_buffer_size(&small, 2048).unwrap();
    connect(&small, &site.address.parse::<SocketAddr>().unwrap()).unwrap();
    let mut peer = TcpStream::from(small);
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer.write_all(&Sent::detached(1).get("/").bytes()).unwrap();
    let (stop, stopped) = mpsc::channel::<()>();
    let trickle = thread::spawn(move || {
        while stopped.recv_timeout(Duration::from_millis(200)).is_err() {
            // It may have ended.
            let _: io::Result<usize> = peer.read(&mut [0; 600]);
        }
    });
    site.wait_for("the end of its time", |now| now.cancelled.deadline == 1);
    site.wait_for("the worker to be free", |now| now.busy_workers == 0);
    let _: Result<(), mpsc::SendError<()>> = stop.send(());
    trickle.join().unwrap();
    site.stop();
}

#[test]
fn an_answer_goes_on_beside_a_peer_that_asks_without_end() {
    let site = Site::unix(Server::new().responder(|_: Request<Body>| Response::new(streaming(4 << 20))).workers(1));
    let mut asking = UnixStream::connect(site.address.strip_prefix("unix:").unwrap()).unwrap();
    asking.set_read_timeout(Some(PATIENCE)).unwrap();
    asking.write_all(&Sent::detached(1).get("/").bytes()).unwrap();
    let mut reading = asking.try_clone().unwrap();
    // Not so fast that there is ever nothing left to send.
    let reads = thread::spawn(move || {
        let mut buffer = [0; 4096];
        while reading.read(&mut buffer).unwrap() > 0 {
            thread::sleep(Duration::from_millis(1));
        }
    });
    let is_asked = Arc::new(AtomicBool::new(false));
    let asks = thread::spawn({
        let is_asked = is_asked.clone();
        let questions = [1, 77, 0, 0, 0, 0, 0, 0].repeat(512);
        move || {
            while !is_asked.load(Ordering::Relaxed) {
                asking.write_all(&questions).unwrap();
            }
            asking.shutdown(std::net::Shutdown::Write).unwrap();
        }
    });
    site.wait_for("the whole answer", |now| now.completed_requests == 1);
    is_asked.store(true, Ordering::Relaxed);
    asks.join().unwrap();
    reads.join().unwrap();
    site.stop();
}

#[test]
fn an_answer_whose_time_is_over_before_its_turn_is_a_504() {
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let server = large_server().request_timeout(Duration::from_millis(300)).responder(move |_: Request<Body>| {
        released.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        Response::new(streaming(1 << 20))
    });
    let site = Site::unix(server);
    let mut peer = UnixStream::connect(site.address.strip_prefix("unix:").unwrap()).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer.write_all(&Sent::detached(1).get("/").bytes()).unwrap();
    site.wait_for("the handler", |now| now.busy_workers == 1);
    // More answers than the kernel takes, and not so many that the server stops reading: a thread has the turn and waits.
    let questions = [1, 77, 0, 0, 0, 0, 0, 0].repeat(15_500);
    peer.write_all(&questions).unwrap();
    site.wait_for("the questions to be read", |now| now.bytes_in > questions.len() as u64);
    release.send(()).unwrap();
    site.wait_for("the end of its time", |now| now.cancelled.deadline == 1 && now.busy_workers == 0);
    peer.shutdown(std::net::Shutdown::Write).unwrap();
    let mut received = Vec::new();
    peer.read_to_end(&mut received).unwrap();
    assert!(received.windows(19).any(|text| text == b"Status: 504 Gateway"), "{} bytes", received.len());
    site.stop();
}

#[test]
fn an_answer_whose_handler_outlives_the_shutdown_ends_in_a_reset() {
    let (release, released) = mpsc::channel::<()>();
    let released = Arc::new(Mutex::new(released));
    let server = Server::new().shutdown_grace(Duration::from_millis(50)).responder(move |_: Request<Body>| {
        let released = released.clone();
        Response::new(SendBody::writer(move |out| {
            out.write_all(b"a part")?;
            out.flush()?;
            // It looks at no cancellation.
            released.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            Ok(())
        }))
    });
    let mut site = Site::tcp(server);
    let mut peer = TcpStream::connect(&site.address).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer.write_all(&Sent::detached(1).get("/").bytes()).unwrap();
    peer.read_exact(&mut [0; 16]).unwrap();
    let stopped = site.begin_stop();
    in_time("the end of the server", &stopped);
    release.send(()).unwrap();
    let error = io::copy(&mut peer, &mut io::sink()).expect_err("not the end of a whole answer");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}
