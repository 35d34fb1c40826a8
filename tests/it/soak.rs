//! Everything at once for as long as one likes: uploads, downloads, aborts, resets, slow peers and overload, after
//! which threads, descriptors and memory are back where they began.
//!
//! `cargo test` gives it some seconds; `tests/soak SECONDS` runs it longer, in a release build.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::demo::Demo;
use crate::peer::answer::Answer;
use crate::peer::record;
use crate::random::Random;

/// How long pooled threads without work are kept, and a margin.
const IDLE_TIME: Duration = Duration::from_secs(20);

/// What may remain of the memory that was used, in KiB: the allocator keeps some.
const MEMORY_MARGIN: u64 = 6 << 10;

fn bytes(random: &mut Random, len: usize) -> Vec<u8> {
    let seed = random.below(251);
    (0..len).map(|n| ((n + seed) % 251) as u8).collect()
}

type Play = fn(&Demo, &mut Random);

const PLAYS: [Play; 9] = [greetings, upload, download, stream, abort, reset, slow_peer, overload, failures];

/// The answer, unless it says that others have all places: it must say so in full.
fn served(answer: Answer) -> Option<Answer> {
    if answer.protocol_status != record::OVERLOADED {
        return Some(answer);
    }
    assert_eq!((answer.status, answer.header("Retry-After")), (503, Some("1")));
    None
}

fn greetings(demo: &Demo, random: &mut Random) {
    let mut connection = demo.connect();
    for n in 0..random.below(50) {
        let token = random.below(1 << 30);
        connection.request(1).get(&format!("/headers/{token}?{n}")).send();
        if let Some(answer) = served(connection.answer(1)) {
            assert_eq!(answer.json()["uri"], format!("/headers/{token}?{n}"));
        }
    }
}

fn upload(demo: &Demo, random: &mut Random) {
    let len = 1 << random.below(22);
    let body = bytes(random, len);
    let request = demo.connect().request(1).post("/digest").body(&body).bytes();
    let mut connection = demo.connect();
    let answer = connection.while_sending(&request, |connection| connection.answer(1));
    let sha256: String = Sha256::digest(&body).iter().map(|byte| format!("{byte:02x}")).collect();
    served(answer).into_iter().for_each(|answer| assert_eq!(answer.json()["sha256"], sha256));
}

fn download(demo: &Demo, random: &mut Random) {
    let len = random.below(3 << 20);
    let mut connection = demo.connect();
    connection.request(1).get(&format!("/bytes?n={len}")).closing().send();
    if let Some(Answer { body, .. }) = served(connection.answer(1)) {
        assert!(body.len() == len && body.iter().enumerate().all(|(n, byte)| *byte == (n % 251) as u8));
    }
    connection.assert_closed();
}

fn stream(demo: &Demo, random: &mut Random) {
    let n = 1 + random.below(5);
    let mut connection = demo.connect();
    for id in 1..=4 {
        connection.request(id).get(&format!("/drip?n={n}&ms=3")).send();
    }
    let expected: String = (0..n).map(|tick| format!("tick {tick}\n")).collect();
    let answers = (1..=4).filter_map(|id| served(connection.answer(id)));
    answers.for_each(|answer| assert_eq!(answer.text(), expected));
}

fn abort(demo: &Demo, random: &mut Random) {
    let mut connection = demo.connect();
    connection.request(1).get("/wait-abort").send();
    connection.request(2).get("/hello").send();
    if random.below(2) == 0 {
        connection.assert_usable();
    }
    connection.abort(1);
    connection.ending(1);
    connection.ending(2);
}

fn reset(demo: &Demo, random: &mut Random) {
    let body = bytes(random, 1 << 16);
    let request = demo.connect().request(1).post("/echo").body(&body).bytes();
    let mut connection = demo.connect();
    let cut = random.below(request.len());
    // It may have been answered, or not, when the connection is dropped with whatever it has unread.
    let sent = connection.try_send(&request[..cut]);
    assert!(sent.is_ok(), "{sent:?}");
}

fn slow_peer(demo: &Demo, random: &mut Random) {
    let body = bytes(random, 200);
    let request = demo.connect().request(1).post("/count").body(&body).bytes();
    let mut connection = demo.connect();
    connection.send_in_pieces(&request, 1 + random.below(9));
    served(connection.answer(1)).into_iter().for_each(|answer| assert_eq!(answer.text(), "200\n"));
}

fn overload(demo: &Demo, random: &mut Random) {
    let mut connection = demo.connect();
    let ids = 1..=(20 + random.below(40)) as u16;
    let burst: Vec<u8> = ids.clone().flat_map(|id| connection.request(id).get("/sleep?ms=5").bytes()).collect();
    connection.send(&burst);
    for id in ids {
        let status = connection.ending(id).into_answer().status;
        assert!([200, 503].contains(&status), "{status}");
    }
}

fn failures(demo: &Demo, _: &mut Random) {
    let mut connection = demo.connect();
    connection.request(1).get("/panic").send();
    assert!([500, 503].contains(&connection.answer(1).status));
    let mut connection = demo.connect();
    connection.send(&record::versioned(9, 1, 1, b"", 0));
    connection.assert_closed();
}

/// What a process holds.
#[derive(Debug)]
struct Holdings {
    threads: usize,
    descriptors: usize,
    resident_kib: u64,
}

fn holdings(demo: &Demo) -> Holdings {
    let entries = |what| fs::read_dir(format!("/proc/{}/{what}", demo.pid())).unwrap().count();
    let status = fs::read_to_string(format!("/proc/{}/status", demo.pid())).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    Holdings {
        threads: entries("task"),
        descriptors: entries("fd"),
        resident_kib: resident.trim().trim_end_matches(" kB").parse().unwrap(),
    }
}

#[test]
fn after_any_load_the_server_is_as_it_was() {
    let seconds = std::env::var("FCGI_SOAK_SECONDS").map_or(3, |text| text.parse().unwrap());
    let options = ["--workers", "8", "--queue", "16", "--max-connections", "200"];
    let demos = [Demo::unix(&options), Demo::tcp(&options)];
    thread::scope(|scope| {
        demos.iter().for_each(|demo| drop(scope.spawn(|| soak(demo, Duration::from_secs(seconds)))));
    });
}

fn soak(demo: &Demo, time: Duration) {
    let before = holdings(demo);
    let n_plays = play_all(demo, Instant::now() + time);
    let metrics = demo.metrics();
    let deadline = Instant::now() + IDLE_TIME;
    while holdings(demo).threads > before.threads {
        assert!(Instant::now() < deadline, "threads are left: {before:?} {:?}", holdings(demo));
        thread::sleep(Duration::from_millis(100));
    }
    let after = holdings(demo);
    println!("{}: {time:?}, {n_plays} plays, {before:?} -> {after:?}, {metrics}", demo.address());
    assert!(after.descriptors <= before.descriptors, "{before:?} {after:?}");
    assert!(after.resident_kib <= before.resident_kib + MEMORY_MARGIN, "{before:?} {after:?}");
    assert_eq!(demo.counter("active_requests"), 1, "the one that asks");
}

/// Plays on some threads until the end; how much was played.
fn play_all(demo: &Demo, end: Instant) -> u64 {
    let (n_plays, failed) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for number in 0..4 {
            let (n_plays, failed) = (&n_plays, &failed);
            scope.spawn(move || {
                let stop = Failing(failed);
                let mut random = Random::new(number);
                while Instant::now() < end && !failed.load(Ordering::Relaxed) {
                    random.pick(&PLAYS)(demo, &mut random);
                    n_plays.fetch_add(1, Ordering::Relaxed);
                }
                std::mem::forget(stop);
            });
        }
    });
    n_plays.into_inner()
}

/// Stops the other players when one fails.
struct Failing<'a>(&'a AtomicBool);

impl Drop for Failing<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
