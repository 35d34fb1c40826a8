//! Verifies that the time for writing measures progress: who takes little at a time is served, who takes nothing is not.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use fcgi::http::{Request, Response};
use fcgi::{Body, SendBody, Server};
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_send_buffer_size};

use super::{in_time, Site};
use crate::demo::PATIENCE;
use crate::peer::record::{Record, END_REQUEST, STDOUT};
use crate::peer::Request as Sent;

/// How many bytes a slow peer takes at a time, and how often.
const PIECE_LEN: usize = 5_000;
const PERIOD: Duration = Duration::from_millis(25);

fn server(len: usize) -> Server {
    Server::new()
        .responder(move |_: Request<Body>| Response::new(vec![b'x'; len]))
        .write_timeout(Duration::from_secs(1))
}

/// Takes an answer slowly, and as much as is due when it was late: that is the behaviour that is tested.
fn take_slowly(mut peer: impl Read + Write) -> (Vec<u8>, Duration) {
    peer.write_all(&Sent::detached(1).get("/").closing().bytes()).unwrap();
    let begun = Instant::now();
    let (mut received, mut piece) = (Vec::new(), [0; PIECE_LEN]);
    loop {
        let n_due = begun.elapsed().as_millis() / PERIOD.as_millis();
        if received.len() as u128 >= n_due * PIECE_LEN as u128 {
            thread::sleep(PERIOD);
            continue;
        }
        match peer.read(&mut piece).unwrap() {
            0 => return (received, begun.elapsed()),
            len => received.extend_from_slice(&piece[..len]),
        }
    }
}

fn assert_is_whole(mut received: Vec<u8>, len: usize) {
    let n_received = received.len();
    let records: Vec<Record> = std::iter::from_fn(|| Record::take_from(&mut received)).collect();
    let stdout: usize = records.iter().filter(|record| record.kind == STDOUT).map(|record| record.content.len()).sum();
    assert!(stdout > len, "cut off behind {n_received} bytes");
    assert_eq!(records.last().map(|record| record.kind), Some(END_REQUEST));
}

#[test]
fn a_peer_that_takes_little_at_a_time_over_a_unix_socket_gets_all() {
    let len = 1_200_000;
    let site = Site::unix(server(len));
    let peer = UnixStream::connect(site.address.strip_prefix("unix:").unwrap()).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let (received, time) = take_slowly(peer);
    assert_is_whole(received, len);
    assert!(time > Duration::from_secs(3), "it was not slow: {time:?}");
}

#[test]
fn a_peer_that_takes_little_at_a_time_over_tcp_gets_all() {
    let len = 800_000;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // What is accepted inherits it: the kernel keeps little of an answer.
    set_socket_send_buffer_size(&listener, 16 << 10).unwrap();
    let site = Site::on(listener, tempfile::tempdir().unwrap(), server(len));
    let peer = TcpStream::connect(&site.address).unwrap();
    set_socket_recv_buffer_size(&peer, 16 << 10).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let (received, time) = take_slowly(peer);
    assert_is_whole(received, len);
    assert!(time > Duration::from_secs(3), "it was not slow: {time:?}");
}

#[test]
fn a_peer_that_takes_nothing_is_cut_off_when_its_time_is_over() {
    let write_timeout = Duration::from_millis(500);
    for site in [Site::unix, Site::tcp] {
        let (sender, failed) = mpsc::channel();
        let sender = Mutex::new(sender);
        let handler = move |_: Request<Body>| {
            let sender = sender.lock().unwrap().clone();
            Response::new(SendBody::writer(move |out| {
                let mut begun = Instant::now();
                loop {
                    let written = out.write_all(&[b'x'; 60_000]).and_then(|()| out.flush());
                    if let Err(error) = written {
                        sender.send(begun.elapsed()).unwrap();
                        return Err(error);
                    }
                    begun = Instant::now();
                }
            }))
        };
        let site = site(Server::new().responder(handler).write_timeout(write_timeout));
        let mut connection = site.connect();
        connection.request(1).get("/").send();
        let time = in_time("the end of the write", &failed);
        assert!(time >= write_timeout && time < 6 * write_timeout, "{time:?}");
        site.wait_for("a free worker", |now| now.busy_workers == 0);
    }
}
