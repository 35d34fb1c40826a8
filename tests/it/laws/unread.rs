//! Verifies that peers that read nothing hold up nobody but themselves.

use std::collections::HashMap;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SendError, Sender};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use fcgi::http::Request;
use fcgi::{Body, SendBody, Server};
use rustix::io::ioctl_fionread;
use rustix::process::{getrlimit, Resource};

use super::Site;
use crate::demo::{wait_until, PATIENCE};
use crate::peer::record::{self, RESPONDER};
use crate::peer::{Connection, Request as Sent};

/// An answer that is just short of what the kernel keeps for a peer that does not read.
const UNREAD_LEN: usize = 158 << 10;

/// An answer that waits behind others, where somebody is writing, and that the kernel has no room for.
const DUE_LEN: usize = 60 << 10;

/// How many requests of each peer are refused at the same moment.
const N_REFUSED: u16 = 40;

/// How many peers are watched at a time.
const PORTION: usize = 32;

/// Descriptors for all but the connections of a test, and for other tests at the same time.
const SPARE_DESCRIPTORS: u64 = 400;

/// `/unread` has an answer that fits the kernel, `/due/N` one that is due when N is released.
fn server(released: HashMap<usize, Receiver<()>>) -> Server {
    let released: HashMap<usize, Mutex<Receiver<()>>> = released.into_iter().map(|(n, r)| (n, Mutex::new(r))).collect();
    let n_peers = released.len();
    let handler = move |request: Request<Body>| -> SendBody {
        match request.uri().path() {
            "/unread" => vec![b'u'; UNREAD_LEN].into(),
            "/hello" => "hello".into(),
            path => {
                let n: usize = path.trim_start_matches("/due/").parse().unwrap();
                // Who is never released has a peer that was cut off before.
                let _: Result<(), RecvTimeoutError> = released[&n].lock().unwrap().recv_timeout(PATIENCE);
                vec![b'd'; DUE_LEN].into()
            }
        }
    };
    Server::new()
        .responder(move |request| fcgi::http::Response::new(handler(request)))
        .read_timeout(Duration::from_millis(20))
        .write_timeout(Duration::from_millis(300))
        .workers(n_peers + 8)
        .queue(n_peers + 8)
        .max_connections(n_peers + 64)
}

/// A peer that reads nothing, as far as it is watched.
struct Peer {
    socket: UnixStream,
    /// Lets the handler of its second request answer.
    release: Option<Sender<()>>,
    /// How much there was to read before anything was refused.
    level: u64,
}

impl Peer {
    fn new(address: &str, release: Sender<()>) -> Peer {
        let socket = UnixStream::connect(address.strip_prefix("unix:").unwrap()).unwrap();
        let mut peer = Peer { socket, release: Some(release), level: 0 };
        peer.socket.write_all(&Sent::detached(1).get("/unread").bytes()).unwrap();
        peer
    }

    fn unread(&self) -> u64 {
        ioctl_fionread(&self.socket).unwrap()
    }

    /// Sends a request with an answer that is due later, and some that are never complete.
    fn provoke(&mut self, n: usize) {
        self.level = self.unread();
        let mut bytes = Sent::detached(2).get(&format!("/due/{n}")).bytes();
        (3..3 + N_REFUSED).for_each(|id| bytes.extend(record::begin(id, RESPONDER, true)));
        self.socket.write_all(&bytes).unwrap();
    }

    /// Lets the other answer be due as soon as something is refused.
    fn release_when_refused(&mut self) {
        if self.release.is_some() && self.unread() > self.level {
            // The handler may have given up.
            let _: Option<Result<(), SendError<()>>> = self.release.take().map(|release| release.send(()));
        }
    }
}

fn assert_all_served(site: &Site, kept: &mut Connection, id: u16) {
    for connection in [kept, &mut site.connect()] {
        connection.send(&record::begin(id, RESPONDER, true));
        assert_eq!(connection.answer(id).status, 408);
        wait_until("an answer", || {
            connection.request(id).get("/hello").send();
            // On a busy machine the time for the head may be over before it was read.
            connection.answer(id).status == 200
        });
    }
}

fn assert_peers_that_read_nothing_hold_up_nobody(n_peers: usize) {
    let (releases, released): (Vec<_>, HashMap<_, _>) = (0..n_peers)
        .map(|n| {
            let (release, released) = mpsc::channel();
            (release, (n, released))
        })
        .unzip();
    let site = Site::unix(server(released));
    let mut kept = site.connect();
    assert_all_served(&site, &mut kept, 1);
    let mut peers: Vec<Peer> = releases.into_iter().map(|release| Peer::new(&site.address, release)).collect();
    wait_until("the answers that are not read", || peers.iter().all(|peer| peer.unread() > UNREAD_LEN as u64));
    // In portions, so that none has to wait for long to be looked at.
    for (n, portion) in peers.chunks_mut(PORTION).enumerate() {
        portion.iter_mut().enumerate().for_each(|(k, peer)| peer.provoke(n * PORTION + k));
        let begun = Instant::now();
        while portion.iter().any(|peer| peer.release.is_some()) {
            portion.iter_mut().for_each(Peer::release_when_refused);
            assert!(begun.elapsed() < PATIENCE, "nobody is refused any more, behind {} peers", n * PORTION);
        }
    }
    assert_all_served(&site, &mut kept, 2);
    // Those who wait for a peer are cut off, and the peers are still there.
    site.wait_for("the free workers", |now| now.busy_workers == 0);
    assert_all_served(&site, &mut kept, 3);
    drop(peers);
    assert_all_served(&site, &mut kept, 4);
    site.wait_for("the end of all others", |now| now.open_connections <= 1);
}

#[test]
fn a_hundred_peers_that_read_nothing_stop_no_deadline_of_others() {
    assert_peers_that_read_nothing_hold_up_nobody(96);
}

#[test]
fn a_thousand_peers_that_read_nothing_stop_no_deadline_of_others() {
    // Both ends of each connection are in this process.
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX).saturating_sub(SPARE_DESCRIPTORS) / 2;
    let n_peers = allowed.clamp(96, 1100) as usize;
    eprintln!("{n_peers} peers");
    assert_peers_that_read_nothing_hold_up_nobody(n_peers);
}
