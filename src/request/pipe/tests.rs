//! Tests of the pipe: nothing is lost, mixed or kept beyond its limits, whoever is slow.

use super::*;
use std::sync::Arc;
use std::thread;

fn pipe(buffer: usize, max_len: u64) -> Pipe {
    Pipe::new(PipeLimits { buffer, max_len })
}

/// Pushes, and lets the handler see it, as a reader does before it waits.
fn feed(pipe: &Pipe, content: &[u8]) {
    if pipe.push(content) == Pushed::Unseen {
        pipe.wake_handler();
    }
}

fn read_all(pipe: &Pipe) -> (Vec<u8>, io::Result<()>) {
    let (mut all, mut spent) = (Vec::new(), Vec::new());
    loop {
        match pipe.next(spent) {
            Ok(Some(chunk)) => {
                all.extend_from_slice(&chunk);
                spent = chunk;
            }
            Ok(None) => return (all, Ok(())),
            Err(error) => return (all, Err(error)),
        }
    }
}

fn failure(outcome: io::Result<()>) -> Option<BodyError> {
    outcome.err().and_then(|error| BodyError::of(&error))
}

#[test]
fn what_is_pushed_is_read_in_order_whether_it_was_spooled_or_not() {
    for (buffer, piece_len) in [(1 << 20, 1), (1 << 20, 1000), (100, 7), (100, 100), (1, 1), (0, 5000)] {
        let pipe = pipe(buffer, u64::MAX);
        let content: Vec<u8> = (0..20_000u32).map(|n| (n % 251) as u8).collect();
        content.chunks(piece_len).for_each(|piece| feed(&pipe, piece));
        pipe.end(End::Complete);
        let (read, outcome) = read_all(&pipe);
        assert!(read == content && outcome.is_ok(), "buffer {buffer}, pieces of {piece_len}");
    }
}

#[test]
fn memory_stays_within_the_buffer() {
    let pipe = pipe(1000, u64::MAX);
    (0..100).for_each(|_| feed(&pipe, &[1; 300]));
    let state = pipe.state.lock();
    assert_eq!((state.buffered, state.spooled.clone()), (900, 0..97 * 300));
}

#[test]
fn tiny_pushes_share_their_memory() {
    let pipe = pipe(1 << 20, u64::MAX);
    (0..MIN_CHUNK_LEN * 3).for_each(|_| feed(&pipe, b"x"));
    assert_eq!(pipe.state.lock().chunks.len(), 3);
}

#[test]
fn a_reader_and_a_handler_at_work_together_lose_nothing() {
    for buffer in [0, 2000, 1 << 20] {
        let pipe = Arc::new(pipe(buffer, u64::MAX));
        let handler = {
            let pipe = pipe.clone();
            thread::spawn(move || read_all(&pipe))
        };
        let content: Vec<u8> = (0..500_000u32).map(|n| (n % 253) as u8).collect();
        content.chunks(777).for_each(|piece| feed(&pipe, piece));
        pipe.end(End::Complete);
        let (read, outcome) = handler.join().expect("no panic");
        assert!(read == content && outcome.is_ok(), "buffer {buffer}");
    }
}

#[test]
fn a_stream_beyond_its_limit_fails_behind_what_fitted() {
    for buffer in [1 << 20, 1] {
        let pipe = pipe(buffer, 10);
        feed(&pipe, b"12345678");
        feed(&pipe, b"90abc");
        feed(&pipe, b"def");
        pipe.end(End::Complete);
        let (read, outcome) = read_all(&pipe);
        assert_eq!((read.as_slice(), failure(outcome)), (&b"1234567890"[..], Some(BodyError::TooLarge)));
    }
}

#[test]
fn what_goes_beyond_the_announced_length_is_dropped() {
    let pipe = pipe(100, 10);
    pipe.expect(5);
    feed(&pipe, b"1234567890abc");
    feed(&pipe, b"more");
    pipe.end(End::Complete);
    let (read, outcome) = read_all(&pipe);
    assert_eq!((read.as_slice(), outcome.is_ok()), (&b"12345"[..], true));
}

#[test]
fn a_failure_comes_behind_the_content_and_an_abort_before_it() {
    let failed = pipe(100, 100);
    assert_eq!(failed.push(b"abc"), Pushed::Seen);
    failed.end(End::Failed(BodyError::Disconnected));
    let (read, outcome) = read_all(&failed);
    assert_eq!((read.as_slice(), failure(outcome)), (&b"abc"[..], Some(BodyError::Disconnected)));
    let aborted = pipe(100, 100);
    assert_eq!(aborted.push(b"abc"), Pushed::Seen);
    aborted.end(End::Complete);
    aborted.abort(BodyError::Aborted);
    let (read, outcome) = read_all(&aborted);
    assert_eq!((read.as_slice(), failure(outcome)), (&b""[..], Some(BodyError::Aborted)));
}

#[test]
fn only_a_stream_that_was_read_can_be_overdue() {
    let overdue = End::Failed(BodyError::TimedOut);
    let pipe = pipe(100, 100);
    feed(&pipe, b"abc");
    pipe.end_if_read(overdue);
    assert!(pipe.next(Vec::new()).is_ok_and(|chunk| chunk.is_some()));
    pipe.end_if_read(overdue);
    assert_eq!(failure(read_all(&pipe).1), Some(BodyError::TimedOut));
}

#[test]
fn a_waiting_handler_is_woken_by_the_end() {
    let waiting = Arc::new(pipe(10, u64::MAX));
    let handler = {
        let pipe = waiting.clone();
        thread::spawn(move || failure(read_all(&pipe).1))
    };
    waiting.abort(BodyError::Shutdown);
    assert_eq!(handler.join().expect("no panic"), Some(BodyError::Shutdown));
}

#[test]
fn a_handler_that_waits_is_woken_for_most_of_a_buffer_and_not_for_every_record() {
    let pipe = Arc::new(pipe(100, u64::MAX));
    let handler = {
        let pipe = pipe.clone();
        thread::spawn(move || pipe.next(Vec::new()).expect("content").map(|chunk| chunk.len()))
    };
    while !pipe.state.lock().handler_waits {
        thread::yield_now();
    }
    assert_eq!(pipe.push(&[1; 75]), Pushed::Unseen);
    assert_eq!(pipe.push(&[2; 1]), Pushed::Seen);
    assert_eq!(handler.join().expect("no panic"), Some(76));
    assert_eq!(pipe.push(&[3; 30]), Pushed::Seen, "nobody waits");
}
