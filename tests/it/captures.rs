//! Verifies that what real web servers send is understood however it arrives: whole, in pieces, byte by byte.

mod plan;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::demo::{wait_until, Demo};
use crate::peer::answer::Ending;
use crate::peer::record::{AUTHORIZER, REQUEST_COMPLETE};
use crate::peer::Connection;
use crate::random::Random;
use plan::{Asked, Plan};

const THREADS: usize = 4;

/// Up to this length a capture is also sent byte by byte.
const SHORT: usize = 16 << 10;

/// How a capture is cut into writes.
#[derive(Clone, Copy, Debug)]
enum Split {
    Whole,
    Pieces,
    Bytes,
}

impl Split {
    /// How long the write is that begins behind `sent` bytes of a capture of `len`.
    fn next(self, random: &mut Random, len: usize, sent: usize) -> usize {
        match self {
            Split::Whole => len,
            Split::Pieces => 1 + random.below(len),
            Split::Bytes if len <= SHORT => 1,
            Split::Bytes if sent < 4 << 10 => 1 + random.below(7),
            Split::Bytes => 1 + random.below(4 << 10),
        }
    }
}

/// What became of a request; nothing more is said of one that was aborted, because that may come before the answer
/// or after it.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Answered { status: u16, body: Vec<u8>, app_status: u32, protocol_status: u8 },
    Aborted,
    Forgotten,
}

/// Names the capture when it fails.
struct Naming<'a>(&'a Path, Split);

impl Drop for Naming<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("this was {} sent as {:?}", self.0.display(), self.1);
        }
    }
}

#[test]
fn every_capture_is_answered_alike_however_it_arrives() {
    let captures = captures();
    assert!(captures.len() > 400, "{} captures", captures.len());
    let demo = Demo::unix(&[]);
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(path) = captures.get(next.fetch_add(1, Ordering::Relaxed)) {
                    replay_in_all_splits(&demo, path);
                }
            });
        }
    });
    wait_until("the end of everything but the request that asks", || {
        let metrics = demo.metrics();
        metrics["active_requests"] == 1 && metrics["open_connections"] == 1
    });
    let log = demo.log();
    assert!(!log.contains("broke the protocol"), "no web server did: {log}");
}

fn captures() -> Vec<PathBuf> {
    let entries = |folder: &Path| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures");
    let folders = entries(&root).filter(|path| path.is_dir());
    let mut files: Vec<PathBuf> = folders.flat_map(|folder| entries(&folder).collect::<Vec<_>>()).collect();
    files.sort();
    files
}

fn replay_in_all_splits(demo: &Demo, path: &Path) {
    let capture = fs::read(path).unwrap();
    let plan = plan::read(&capture);
    let mut random = Random::new(capture.len() as u64);
    let mut replay_as = |split| {
        let naming = Naming(path, split);
        let outcomes = replay(&mut demo.connect(), &plan, |len, sent| split.next(&mut random, len, sent));
        drop(naming);
        outcomes
    };
    let whole = replay_as(Split::Whole);
    for split in [Split::Pieces, Split::Pieces, Split::Bytes] {
        assert_eq!(replay_as(split), whole, "{} sent as {split:?}", path.display());
    }
}

/// Sends the capture and the end of the stream; reads to the end.
fn replay(connection: &mut Connection, plan: &Plan, mut split: impl FnMut(usize, usize) -> usize) -> Vec<Outcome> {
    let mut outcomes: Vec<Option<Outcome>> = plan.requests.iter().map(|_| None).collect();
    for turn in &plan.turns {
        if let Some(awaited) = turn.awaits {
            outcomes[awaited] = Some(answered(connection, &plan.requests[awaited]));
        }
        let mut sent = 0;
        while sent < turn.bytes.len() {
            let end = turn.bytes.len().min(sent + split(turn.bytes.len(), sent));
            connection.send(&turn.bytes[sent..end]);
            sent = end;
        }
    }
    connection.half_close();
    let outcome = |(outcome, asked): (Option<Outcome>, _)| outcome.unwrap_or_else(|| last_outcome(connection, asked));
    let outcomes = outcomes.into_iter().zip(&plan.requests).map(outcome).collect();
    for &n_names in &plan.questions {
        assert_eq!(connection.values_result().len(), n_names);
    }
    // Whatever comes behind an END_REQUEST fails here, and the connection must end.
    connection.assert_closed();
    let is_forgotten = |asked: &&Asked| !asked.is_answered();
    let mut forgotten = plan.requests.iter().filter(is_forgotten);
    assert!(forgotten.all(|asked| connection.is_active(asked.id)), "a request without all of its PARAMS has ended");
    outcomes
}

fn last_outcome(connection: &mut Connection, asked: &Asked) -> Outcome {
    match asked.is_answered() {
        true => answered(connection, asked),
        false => Outcome::Forgotten,
    }
}

fn answered(connection: &mut Connection, asked: &Asked) -> Outcome {
    let ending = connection.ending(asked.id);
    match asked.aborted {
        true => aborted(ending),
        false => judged(ending, asked),
    }
}

fn aborted(ending: Ending) -> Outcome {
    assert_eq!(ending.protocol_status, REQUEST_COMPLETE);
    if !ending.stdout.is_empty() {
        ending.into_answer();
    }
    Outcome::Aborted
}

/// The demo has no route for most of what was captured.
fn judged(ending: Ending, asked: &Asked) -> Outcome {
    let answer = ending.into_answer();
    let possible: &[u16] = if asked.role == AUTHORIZER { &[403] } else { &[200, 400, 404] };
    assert!(possible.contains(&answer.status), "{answer:?}");
    let is_whole = answer.content_length().map_or(true, |declared| declared == answer.body.len());
    assert!(is_whole || answer.body.is_empty(), "a part of a body: {answer:?}");
    let (status, app_status, protocol_status) = (answer.status, answer.app_status, answer.protocol_status);
    Outcome::Answered { status, body: answer.body, app_status, protocol_status }
}
