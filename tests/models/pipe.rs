//! The pipe: what is pushed is read, in order, and whoever waits is woken by content, by the end, and by an abort.

use std::io;
use std::sync::Arc;

use super::check;
use crate::error::BodyError;
use crate::request::{End, Pipe, PipeLimits, Pushed};

fn pipe(buffer: usize) -> Arc<Pipe> {
    Arc::new(Pipe::new(PipeLimits { buffer, max_len: 100 }))
}

/// Pushes as a reader does, which looks after the handler before it waits itself.
fn feed(pipe: &Pipe, content: &[u8]) {
    if pipe.push(content) == Pushed::Unseen {
        pipe.wake_handler();
    }
}

fn read_all(pipe: &Pipe) -> (Vec<u8>, io::Result<()>) {
    let mut all = Vec::new();
    loop {
        match pipe.next(Vec::new()) {
            Ok(Some(chunk)) => all.extend(chunk),
            Ok(None) => return (all, Ok(())),
            Err(error) => return (all, Err(error)),
        }
    }
}

#[test]
fn all_that_is_pushed_is_read_whether_it_fills_the_buffer_or_not() {
    for buffer in [2, 8] {
        check(3, move || {
            let pipe = pipe(buffer);
            let handler = loom::thread::spawn({
                let pipe = pipe.clone();
                move || read_all(&pipe)
            });
            feed(&pipe, b"a");
            feed(&pipe, b"b");
            pipe.end(End::Complete);
            let (all, outcome) = handler.join().expect("no panic");
            assert!(all == b"ab" && outcome.is_ok());
        });
    }
}

#[test]
fn an_abort_wakes_a_handler_and_no_end_passes_for_a_whole_body() {
    check(3, || {
        let pipe = pipe(8);
        let handler = loom::thread::spawn({
            let pipe = pipe.clone();
            move || read_all(&pipe)
        });
        let clock = loom::thread::spawn({
            let pipe = pipe.clone();
            move || pipe.abort(BodyError::TimedOut)
        });
        feed(&pipe, b"a");
        clock.join().expect("no panic");
        pipe.end(End::Complete);
        let (all, outcome) = handler.join().expect("no panic");
        assert!(b"a".starts_with(&all) && outcome.is_err());
    });
}

#[test]
fn a_handler_that_goes_away_is_in_nobodys_way() {
    check(3, || {
        let pipe = pipe(2);
        let handler = loom::thread::spawn({
            let pipe = pipe.clone();
            move || pipe.close()
        });
        feed(&pipe, b"a");
        pipe.end(End::Complete);
        handler.join().expect("no panic");
        feed(&pipe, b"late");
    });
}

/// The mistake: the reader waits before the handler knows of the content.
#[test]
#[should_panic]
fn a_handler_that_is_not_woken_is_found() {
    check(2, || {
        let pipe = pipe(8);
        let handler = loom::thread::spawn({
            let pipe = pipe.clone();
            move || pipe.next(Vec::new()).expect("content")
        });
        let _ = pipe.push(b"a");
        assert_eq!(handler.join().expect("no panic"), Some(b"a".to_vec()));
    });
}
