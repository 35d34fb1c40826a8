//! Tests of the pool: no job is lost, no thread too many, whoever is woken when.

use super::*;
use crossbeam_channel::{bounded, Receiver};
use std::thread;

const LIMITS: PoolLimits = PoolLimits { threads: 3, stack_len: 64 << 10 };

type BoxJob = Box<dyn FnOnce() + Send>;

fn pool(limits: PoolLimits) -> Pool<BoxJob> {
    Pool::new("test", limits, Arc::default())
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

/// Blocks, or is one that nobody wants.
struct Unwanted(Option<Receiver<()>>, Arc<AtomicIsize>);

impl Job for Unwanted {
    fn is_wanted(&self) -> bool {
        self.0.is_some()
    }

    fn run(self) -> bool {
        self.0.as_ref().is_some_and(|blocked| blocked.recv().is_ok())
    }
}

impl Drop for Unwanted {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn jobs_that_nobody_wants_any_more_are_not_kept_and_the_others_keep_their_order() {
    let limits = PoolLimits { threads: 1, ..LIMITS };
    let (pool, n_kept) = (Pool::<Unwanted>::new("test", limits, Arc::default()), Arc::new(AtomicIsize::new(0)));
    let job = |blocked: Option<Receiver<()>>| {
        n_kept.fetch_add(1, Ordering::Relaxed);
        Unwanted(blocked, n_kept.clone())
    };
    let jobs: Vec<_> = (0..3).map(|_| bounded::<()>(0)).collect();
    for (_, blocked) in &jobs {
        pool.submit(job(Some(blocked.clone())));
        for _ in 0..10_000 {
            pool.submit(job(None));
            pool.note_unwanted();
            assert!(n_kept.load(Ordering::Relaxed) <= 8);
        }
    }
    // Each blocks until it is released, in this order.
    jobs.iter().for_each(|(release, _)| release.send(()).expect("a blocked job"));
    pool.stop();
    assert!(pool.wait_until_ended(soon()));
    assert_eq!((n_kept.load(Ordering::Relaxed), pool.state.n_unwanted.load(Ordering::Relaxed)), (0, 0));
}

#[test]
fn all_threads_work_at_once_when_jobs_block() {
    let (pool, barrier) = (pool(LIMITS), Arc::new(std::sync::Barrier::new(4)));
    for _ in 0..100 {
        for _ in 0..3 {
            let barrier = barrier.clone();
            let wait = move || assert!([true, false].contains(&barrier.wait().is_leader()));
            pool.submit(Box::new(wait));
        }
        // Passes only when three jobs wait at the same time.
        barrier.wait();
    }
    assert_eq!(pool.state.threads.lock().n_threads, 3);
}

#[test]
fn no_job_is_lost_however_submitters_and_threads_interleave() {
    let limits = PoolLimits { threads: 4, stack_len: 64 << 10 };
    let (pool, done) = (pool(limits), Arc::new(AtomicIsize::new(0)));
    let submitters: Vec<_> = (0..4)
        .map(|_| {
            let (pool, done) = (pool.clone(), done.clone());
            thread::spawn(move || {
                for n in 0..5000 {
                    let done = done.clone();
                    let count = move || assert!(done.fetch_add(1, Ordering::Relaxed) >= 0);
                    pool.submit(Box::new(count));
                    if n % 7 == 0 {
                        thread::yield_now();
                    }
                }
            })
        })
        .collect();
    submitters.into_iter().for_each(|submitter| submitter.join().expect("no panic"));
    pool.stop();
    assert!(pool.wait_until_ended(soon()));
    assert_eq!(done.load(Ordering::Relaxed), 20_000);
}

#[test]
fn threads_that_were_not_needed_between_two_trims_end() {
    let pool = pool(LIMITS);
    let run_at_once = |n_jobs: usize| {
        let barrier = Arc::new(std::sync::Barrier::new(n_jobs));
        for _ in 0..n_jobs {
            let barrier = barrier.clone();
            let wait = move || {
                barrier.wait();
            };
            pool.submit(Box::new(wait));
        }
        let is_quiet = |threads: &Threads| threads.idle.len() == threads.n_threads && !threads.waking;
        while !is_quiet(&pool.state.threads.lock()) {
            thread::yield_now();
        }
    };
    run_at_once(3);
    pool.trim();
    assert_eq!(pool.n_threads(), 3, "all were needed");
    run_at_once(1);
    pool.trim();
    assert_eq!(pool.n_threads(), 1);
    run_at_once(3);
    pool.trim();
    assert_eq!(pool.n_threads(), 3, "they come back");
}

#[test]
fn a_stopped_pool_ends_its_idle_threads() {
    let pool = pool(LIMITS);
    let (sender, receiver) = bounded(1);
    pool.submit(Box::new(move || assert!(sender.send(()).is_ok())));
    receiver.recv().expect("it ran");
    pool.stop();
    assert!(pool.wait_until_ended(soon()));
}
