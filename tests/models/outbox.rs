//! The outbox: records are whole and in order, the end comes last and once, and nobody who must not wait does.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::check;
use crate::connection::{Outbox, Patience, Rest, Sent, Wire};
use crate::protocol::{ending_for_tests as ending, CloseAfter, Ending};

fn patience() -> Patience<'static> {
    Patience::of(Duration::from_secs(60))
}

/// A peer whose kernel takes one byte at first, and all after somebody has waited for it.
#[derive(Default)]
struct Peer {
    sent: Mutex<Vec<u8>>,
    state: Mutex<PeerState>,
}

#[derive(Default)]
struct PeerState {
    reads: bool,
    took_one: bool,
    n_ends: usize,
}

impl Peer {
    fn sent(&self) -> String {
        String::from_utf8(self.sent.lock().expect("no panic").clone()).expect("text")
    }
}

impl Wire for Peer {
    fn write_now(&self, parts: &[&[u8]], _: bool) -> io::Result<usize> {
        let mut state = self.state.lock().expect("no panic");
        assert_eq!(state.n_ends, 0, "behind the end");
        let bytes = parts.concat();
        let most = if state.reads { bytes.len() } else { usize::from(!state.took_one) };
        let n = bytes.len().min(most);
        state.took_one |= n > 0;
        self.sent.lock().expect("no panic").extend(&bytes[..n]);
        Ok(n)
    }

    fn wait(&self, _: Duration) -> io::Result<()> {
        self.state.lock().expect("no panic").reads = true;
        Ok(())
    }

    fn resets(&self) -> bool {
        false
    }

    fn pause(&self, _: Duration) {}

    fn let_others_run(&self) {
        loom::thread::yield_now();
    }

    fn end(&self, _: bool) {
        self.state.lock().expect("no panic").n_ends += 1;
    }
}

/// The outbox of a connection and its peer.
#[derive(Default)]
struct Fixture {
    outbox: Outbox,
    peer: Peer,
}

impl Fixture {
    fn send(&self, record: &str, ending: Option<Ending>) {
        self.send_within(patience(), record, ending);
    }

    fn send_within(&self, patience: Patience<'_>, record: &str, ending: Option<Ending>) {
        match self.outbox.send(&self.peer, patience, &[record.as_bytes()], ending).expect("sent") {
            Sent::Begun(_, rest) => self.carry_on(rest),
            Sent::NotBegun => {}
        }
    }

    /// Posts as a reader does, and carries on as the runtime does.
    fn post(&self, record: &str, ending: Option<Ending>) {
        let (_, rest) = self.outbox.post(&self.peer, record.as_bytes(), ending);
        self.carry_on(rest);
    }

    fn carry_on(&self, rest: Option<Rest>) {
        if let Some(rest) = rest {
            self.outbox.flush(&self.peer, patience(), rest).expect("sent");
        }
    }
}

/// Runs both at once on the connection of one fixture, in every order, and looks at the outcome.
fn both(
    one: impl Fn(&Fixture) + Send + Sync + Copy + 'static,
    other: impl Fn(&Fixture) + Send + Sync + Copy + 'static,
    look: impl Fn(&Fixture) + Send + Sync + 'static,
) {
    check(3, move || {
        let fixture = Arc::new(Fixture::default());
        let thread = loom::thread::spawn({
            let fixture = fixture.clone();
            move || one(&fixture)
        });
        other(&fixture);
        thread.join().expect("no panic");
        look(&fixture);
    });
}

fn last(n: u64) -> Option<Ending> {
    Some(ending(Some(CloseAfter(n)), false))
}

#[test]
fn records_of_two_workers_are_whole_and_the_end_comes_behind_both() {
    let look = |fixture: &Fixture| {
        let sent = fixture.peer.sent();
        assert!(["(one)(two)", "(two)(one)"].contains(&sent.as_str()), "{sent}");
        assert_eq!(fixture.peer.state.lock().expect("no panic").n_ends, 1);
        assert!(fixture.outbox.is_closed());
    };
    both(|fixture| fixture.send("(one)", last(2)), |fixture| fixture.send("(two)", Some(ending(None, false))), look);
}

#[test]
fn a_reader_posts_while_a_worker_writes() {
    let look = |fixture: &Fixture| {
        let sent = fixture.peer.sent();
        assert!(["(worker)(reader)", "(reader)(worker)"].contains(&sent.as_str()), "{sent}");
        assert!(!fixture.outbox.is_closed() && !fixture.outbox.is_congested());
    };
    both(|fixture| fixture.send("(worker)", None), |fixture| fixture.post("(reader)", None), look);
}

#[test]
fn a_worker_that_gives_up_tears_no_record_and_leaves_nobody_waiting() {
    let look = |fixture: &Fixture| {
        let sent = fixture.peer.sent();
        assert!(["(given up)(other)", "(other)(given up)", "(other)"].contains(&sent.as_str()), "{sent}");
        assert!(!fixture.outbox.is_closed());
    };
    let gives_up = |fixture: &Fixture| fixture.send_within(patience().over(), "(given up)", None);
    both(gives_up, |fixture| fixture.send("(other)", None), look);
}

#[test]
fn a_worker_has_its_turn_beside_a_reader_that_posts() {
    let look = |fixture: &Fixture| {
        let sent = fixture.peer.sent();
        assert_eq!(sent.len(), "(worker)(one)(two)".len(), "{sent}");
        assert!(sent.contains("(worker)") && sent.find("(one)") < sent.find("(two)"), "{sent}");
    };
    let reader = |fixture: &Fixture| ["(one)", "(two)"].iter().for_each(|record| fixture.post(record, None));
    both(|fixture| fixture.send("(worker)", None), reader, look);
}

#[test]
fn two_who_must_not_wait_leave_nothing_behind() {
    let look = |fixture: &Fixture| {
        let sent = fixture.peer.sent();
        assert!(["(reader)(clock)", "(clock)(reader)"].contains(&sent.as_str()), "{sent}");
        assert_eq!(fixture.peer.state.lock().expect("no panic").n_ends, 1);
    };
    both(
        |fixture| fixture.post("(reader)", last(2)),
        |fixture| fixture.post("(clock)", Some(ending(None, false))),
        look,
    );
}

#[test]
fn closing_at_any_moment_leaves_nobody_waiting() {
    let send = |fixture: &Fixture| drop(fixture.outbox.send(&fixture.peer, patience(), &[b"(worker)"], None));
    both(send, |fixture| fixture.outbox.close(), |fixture| assert!(fixture.outbox.is_closed()));
}

/// The mistake: what could not be sent without waiting is given to nobody.
#[test]
#[should_panic]
fn a_turn_that_nobody_carries_on_with_is_found() {
    let post = |fixture: &Fixture| std::mem::forget(fixture.outbox.post(&fixture.peer, b"(reader)", None));
    both(post, |fixture| fixture.send("(worker)", None), |_| ());
}

/// The mistake: the connection is closed behind the first response to arrive, though another left the map before it.
#[test]
#[should_panic]
fn an_end_that_comes_too_early_is_found() {
    let send = |fixture: &Fixture, ending| {
        drop(fixture.outbox.send(&fixture.peer, patience(), &[b"(answer)"], ending));
    };
    let look = |fixture: &Fixture| assert_eq!(fixture.peer.sent(), "(answer)(answer)");
    both(move |fixture| send(fixture, last(1)), move |fixture| send(fixture, Some(ending(None, false))), look);
}
