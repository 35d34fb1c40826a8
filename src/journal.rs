//! The log lines of a server: its threads must not wait for the program's logger, which may hold a lock while it waits for
//! whatever it writes to, and must not be ended by its panics. So one thread of its own writes them.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::OnceLock;
use std::thread::Builder;
use std::time::Duration;

use crossbeam_channel::{bounded, Receiver, RecvTimeoutError, SendError, Sender};
use log::Level;

/// How many lines may wait for the logger. Beyond that lines are lost, and counted.
const MAX_WAITING: usize = 1024;

/// The longest line, in bytes: so those that wait have two megabytes at most. The errors of handlers may be longer.
const MAX_LINE_LEN: usize = 2 << 10;

/// The log of one server.
#[derive(Default)]
pub(crate) struct Journal {
    lines: OnceLock<Option<Sender<Line>>>,
    n_lost: AtomicU64,
}

enum Line {
    Text(Level, String),
    /// All lines before it have been written. The thread ends.
    End(Sender<()>),
}

/// Writes a line, if the program wants lines of this level.
macro_rules! note {
    ($journal:expr, $level:ident, $($text:tt)+) => {
        if log::Level::$level <= log::STATIC_MAX_LEVEL && log::Level::$level <= log::max_level() {
            $journal.write(log::Level::$level, format!($($text)+));
        }
    };
}

pub(crate) use note;

impl Journal {
    /// Begins the thread, if the program has a logger.
    pub(crate) fn begin(&self) {
        if log::max_level() > log::LevelFilter::Off {
            self.lines.get_or_init(start);
        }
    }

    /// Leaves a line to be written; see [`note`]. Waits for nobody.
    pub(crate) fn write(&self, level: Level, text: String) {
        let Some(lines) = self.lines.get_or_init(start) else { return };
        let n_lost = self.n_lost.swap(0, Ordering::Relaxed);
        let text = shortened(text);
        let text = if n_lost > 0 { format!("{text} ({n_lost} lines before this were lost)") } else { text };
        if lines.try_send(Line::Text(level, text)).is_err() {
            self.n_lost.fetch_add(n_lost + 1, Ordering::Relaxed);
        }
    }

    /// Waits until all lines are written, and at most for `time`. Later ones are lost.
    pub(crate) fn end(&self, time: Duration) {
        if let Some(Some(lines)) = self.lines.get() {
            let (done, ended) = bounded(1);
            // If there is no room, or no time, the program's logger hangs.
            if lines.try_send(Line::End(done)).is_ok() {
                let _: Result<(), RecvTimeoutError> = ended.recv_timeout(time);
            }
        }
    }
}

fn shortened(mut text: String) -> String {
    if text.len() > MAX_LINE_LEN {
        let end = (0..=MAX_LINE_LEN).rev().find(|&end| text.is_char_boundary(end)).unwrap_or_default();
        text.truncate(end);
        text.push_str("...");
    }
    text
}

/// Without a thread there are no lines.
fn start() -> Option<Sender<Line>> {
    let (lines, waiting) = bounded(MAX_WAITING);
    Builder::new().name("fcgi-log".to_owned()).spawn(move || write_all(&waiting)).ok()?;
    Some(lines)
}

/// The life of the thread: until the end, or until nobody can write any more.
fn write_all(waiting: &Receiver<Line>) {
    for line in waiting {
        match line {
            Line::Text(level, text) => write(level, &text),
            Line::End(done) => {
                let _: Result<(), SendError<()>> = done.send(());
                return;
            }
        }
    }
}

/// What the program's logger does is its own affair.
fn write(level: Level, text: &str) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| log::log!(target: "fcgi", level, "{text}"))) {
        // It might panic again when it is dropped.
        std::mem::forget(panic);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logger_that_hangs_costs_lines_and_nothing_else() {
        let (lines, waiting) = bounded(2);
        let journal = Journal { lines: OnceLock::from(Some(lines)), ..Journal::default() };
        (0..5).for_each(|n| journal.write(Level::Warn, format!("line {n}")));
        journal.end(Duration::from_secs(60));
        assert_eq!((waiting.len(), journal.n_lost.load(Ordering::Relaxed)), (2, 3));
        drop(waiting.try_recv());
        journal.write(Level::Warn, "line 5".to_owned());
        let texts = waiting.try_iter().filter_map(|line| match line {
            Line::Text(_, text) => Some(text),
            Line::End(_) => None,
        });
        assert_eq!(texts.collect::<Vec<_>>(), ["line 1", "line 5 (3 lines before this were lost)"]);
    }

    #[test]
    fn long_lines_are_shortened_between_characters() {
        let long = "\u{e4}".repeat(MAX_LINE_LEN) + "end";
        let short = shortened("x".to_owned() + &long);
        assert_eq!(short, "x".to_owned() + &"\u{e4}".repeat(MAX_LINE_LEN / 2 - 1) + "...");
    }

    #[test]
    fn the_end_comes_behind_all_lines() {
        let journal = Journal::default();
        journal.end(Duration::ZERO);
        journal.write(Level::Trace, "a line".to_owned());
        journal.end(Duration::from_secs(60));
        let lines = journal.lines.get().and_then(Option::as_ref).expect("a thread was had");
        assert!(lines.try_send(Line::Text(Level::Trace, String::new())).is_err(), "the thread has ended");
    }
}
