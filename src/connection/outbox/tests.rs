//! Tests of the outbox: records leave whole and in order, nobody waits who must not, and the end comes last.

use super::*;
use crate::net::Socket;
use crate::protocol::{ending_for_tests as ending, CloseAfter};
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;

const LONG: Patience<'_> = Patience { time: Duration::from_secs(60), is_over: &|| false };

fn pair() -> (Arc<Socket>, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    (Arc::new(Socket::Unix(ours)), theirs)
}

fn last(n: u64) -> Option<Ending> {
    Some(ending(Some(CloseAfter(n)), false))
}

/// Posts until the peer's kernel takes no more; how many bytes were posted, and what is left to do.
fn fill(outbox: &Outbox, socket: &Socket, piece: &[u8]) -> (usize, Rest) {
    let mut posted = 0;
    loop {
        posted += piece.len();
        if let (_, Some(rest)) = outbox.post(socket, piece, None) {
            return (posted, rest);
        }
    }
}

#[test]
fn closing_shuts_down_behind_the_last_byte() {
    let (socket, mut theirs) = pair();
    let outbox = Outbox::default();
    outbox.send(&*socket, LONG, &[b"one, ", b"two"], None).expect("sent");
    outbox.send(&*socket, LONG, &[b", three"], last(1)).expect("sent");
    let late = outbox.send(&*socket, LONG, &[b"late"], None);
    assert_eq!(late.map(drop).map_err(|error| error.kind()), Err(io::ErrorKind::BrokenPipe));
    let mut received = String::new();
    theirs.read_to_string(&mut received).expect("the end");
    assert_eq!(received, "one, two, three");
}

#[test]
fn closing_waits_for_the_answers_that_are_on_their_way() {
    let (socket, mut theirs) = pair();
    let outbox = Outbox::default();
    outbox.send(&*socket, LONG, &[b"last to leave the map, "], last(2)).expect("sent");
    outbox.send(&*socket, LONG, &[b"first to"], None).expect("sent");
    assert!(outbox.post(&*socket, b" leave it", Some(ending(None, false))).1.is_none());
    let mut received = String::new();
    theirs.read_to_string(&mut received).expect("the end");
    assert_eq!(received, "last to leave the map, first to leave it");
}

#[test]
fn posting_never_waits_and_its_rest_is_flushed_in_order() {
    let (socket, mut theirs) = pair();
    let outbox = Arc::new(Outbox::default());
    let (posted, rest) = fill(&outbox, &socket, &vec![b'x'; 100 << 10]);
    assert!(outbox.post(&*socket, b"behind", None).1.is_none(), "the turn is taken");
    assert!(!outbox.is_congested());
    assert!(outbox.post(&*socket, &vec![b'y'; MAX_QUEUED], None).1.is_none());
    assert!(outbox.is_congested());
    // However full it is, the end is not lost.
    assert!(outbox.close_after(&*socket, CloseAfter(0)).1.is_none());
    let flusher = {
        let (socket, outbox) = (socket.clone(), outbox.clone());
        thread::spawn(move || outbox.flush(&*socket, LONG, rest))
    };
    let mut received = Vec::new();
    theirs.read_to_end(&mut received).expect("all, and the end");
    assert_eq!(received.len(), posted + 6 + MAX_QUEUED);
    assert!(received[posted - 1..].starts_with(b"xbehindyy") && received.ends_with(b"yy"));
    flusher.join().expect("no panic").expect("flushed");
    outbox.wait_for_room();
}

#[test]
fn posting_does_not_write_for_others_without_end() {
    let (socket, _theirs) = pair();
    let outbox = Outbox::default();
    let (_, rest) = fill(&outbox, &socket, &[0; 1000]);
    for _ in 0..100 {
        assert!(outbox.post(&*socket, &[0; 1000], None).1.is_none(), "whoever has the turn sends it");
    }
    drop(rest);
}

#[test]
fn a_peer_that_takes_nothing_is_given_up_and_one_that_takes_little_is_not() {
    let time = Duration::from_millis(400);
    let (socket, mut theirs) = pair();
    let slow = thread::spawn({
        let socket = socket.clone();
        move || match Outbox::default().send(&*socket, Patience::of(time), &[&vec![1; 1 << 20]], None)? {
            Sent::Begun(n_written, _) => Ok::<usize, io::Error>(n_written),
            Sent::NotBegun => Ok(0),
        }
    });
    let (mut taken, mut buffer) = (0, vec![0; 32 << 10]);
    while taken < 1 << 20 {
        taken += theirs.read(&mut buffer).expect("some of it");
        thread::sleep(time / 8);
    }
    assert_eq!(slow.join().expect("no panic").expect("sent, though it took longer"), 1 << 20);
    let (socket, _theirs) = pair();
    let begun = std::time::Instant::now();
    let stuck = Outbox::default().send(&*socket, Patience::of(time), &[&vec![1; 4 << 20]], None);
    assert_eq!(stuck.map(drop).map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut));
    assert!(begun.elapsed() >= time);
}

#[test]
fn many_threads_never_mix_their_records() {
    let (socket, mut theirs) = pair();
    let outbox = Arc::new(Outbox::default());
    let writers: Vec<_> = (0..8u8)
        .map(|byte| {
            let (socket, outbox) = (socket.clone(), outbox.clone());
            thread::spawn(move || {
                let record = vec![byte; 1000];
                (0..200).for_each(|n| {
                    let ends = (n % 3 == 0).then(|| ending(None, false));
                    outbox.send(&*socket, LONG, &[&record[..500], &record[500..]], ends).expect("sent");
                });
            })
        })
        .collect();
    let mut record = [0; 1000];
    for _ in 0..8 * 200 {
        theirs.read_exact(&mut record).expect("a record");
        assert!(record.iter().all(|&byte| byte == record[0]), "mixed");
    }
    writers.into_iter().for_each(|writer| writer.join().expect("no panic"));
}

#[test]
fn a_closed_outbox_wakes_who_waits_for_room_or_for_a_turn() {
    let (socket, _theirs) = pair();
    let outbox = Arc::new(Outbox::default());
    let (_, rest) = fill(&outbox, &socket, &vec![0; MAX_QUEUED]);
    assert!(outbox.post(&*socket, &vec![0; MAX_QUEUED + 1], None).1.is_none());
    let for_room = thread::spawn({
        let outbox = outbox.clone();
        move || outbox.wait_for_room()
    });
    let for_turn = thread::spawn({
        let (socket, outbox) = (socket.clone(), outbox.clone());
        move || outbox.send(&*socket, LONG, &[b"x"], None).map(drop).map_err(|error| error.kind())
    });
    outbox.close();
    for_room.join().expect("woken");
    assert_eq!(for_turn.join().expect("woken"), Err(io::ErrorKind::BrokenPipe));
    assert!(outbox.post(&*socket, b"x", None).1.is_none());
    drop(rest);
}

#[test]
fn what_need_not_be_sent_any_more_is_not_waited_for_and_no_record_is_torn() {
    let (socket, mut theirs) = pair();
    let outbox = Outbox::default();
    let over = Patience { is_over: &|| true, ..LONG };
    let record = vec![b'x'; 1 << 20];
    let rest = match outbox.send(&*socket, over, &[&record], None).expect("begun") {
        Sent::Begun(n_written, Some(rest)) if n_written < record.len() => rest,
        other => panic!("{other:?}"),
    };
    // The turn is taken now.
    assert!(matches!(outbox.send(&*socket, over, &[b"never begun"], None).expect("no error"), Sent::NotBegun));
    assert!(outbox.post(&*socket, b"behind", last(1)).1.is_none());
    let flusher = thread::spawn(move || outbox.flush(&*socket, LONG, rest));
    let mut received = Vec::new();
    theirs.read_to_end(&mut received).expect("all, and the end");
    assert!(received.starts_with(&record) && received[record.len()..] == *b"behind");
    flusher.join().expect("no panic").expect("flushed");
}

#[test]
fn who_waits_for_the_turn_has_it_before_what_others_add_without_end() {
    let (socket, mut theirs) = pair();
    let outbox = Arc::new(Outbox::default());
    let (posted, rest) = fill(&outbox, &socket, &[b'x'; 1000]);
    let waiting = thread::spawn({
        let (socket, outbox) = (socket.clone(), outbox.clone());
        move || outbox.send(&*socket, LONG, &[b"its turn"], None).map(drop)
    });
    while outbox.outgoing.lock().n_waiting == 0 {
        thread::yield_now();
    }
    assert!(outbox.post(&*socket, b"added", None).1.is_none());
    let flusher = thread::spawn({
        let (socket, outbox) = (socket.clone(), outbox.clone());
        move || outbox.flush(&*socket, LONG, rest).map(drop)
    });
    let mut received = vec![0; posted + 13];
    theirs.read_exact(&mut received).expect("all");
    assert!(received.ends_with(b"addedits turn"));
    waiting.join().expect("no panic").expect("sent");
    flusher.join().expect("no panic").expect("flushed");
}
