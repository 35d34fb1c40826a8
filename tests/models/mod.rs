//! Models of what threads do to each other, checked in every order in which they can do it: `tests/models/run`.
//!
//! They are compiled into the library with `cfg(loom)`, which puts loom's locks and atomics in the place of the real ones
//! (`src/sync.rs`). Each law has models in which it holds, and one with a mistake, which the checker must find.

mod claim;
mod outbox;
mod pipe;
mod pool;

use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts in a model without being a part of it.
#[derive(Default)]
struct Counter(AtomicUsize);

impl Counter {
    fn count(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// Runs `model` in every order, as far as threads are interrupted at most `interruptions` times.
fn check(interruptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(interruptions);
    builder.check(model);
}
