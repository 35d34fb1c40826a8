//! Tests of the pool: no job is lost, no thread too many, whoever is woken when.

use super::*;
use crossbeam_channel::bounded;

const LIMITS: PoolLimits = PoolLimits { threads: 3, waiting: 2, stack_len: 64 << 10 };

impl<F: FnOnce() + Send + 'static> Job for F {
    fn run(self, _: Place<'_>) {
        self();
    }
}

type BoxJob = Box<dyn FnOnce() + Send>;

fn pool(limits: PoolLimits) -> Pool<BoxJob> {
    Pool::new("test", limits, || {})
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

#[test]
fn jobs_beyond_the_threads_and_places_come_back() {
    let (pool, (release, blocked)) = (pool(LIMITS), bounded::<()>(0));
    let submit = |pool: &Pool<BoxJob>| {
        let blocked = blocked.clone();
        pool.submit(|| Box::new(move || assert!(blocked.recv().is_ok())))
    };
    let accepted: Vec<bool> = (0..7).map(|_| submit(&pool)).collect();
    assert_eq!(accepted, [true, true, true, true, true, false, false]);
    (0..5).for_each(|_| release.send(()).expect("a blocked job"));
    pool.stop();
    assert!(pool.wait_until_ended(soon()));
}

#[test]
fn a_place_that_is_given_up_is_free_but_not_without_end() {
    let limits = PoolLimits { threads: 1, waiting: 1, ..LIMITS };
    let (pool, (release, blocked)) = (Pool::<GivenUp>::new("test", limits, || {}), bounded::<()>(0));
    assert!(pool.submit(|| GivenUp(Some(blocked))));
    let n_given_up = (0..2 * MAX_GIVEN_UP).take_while(|_| pool.submit(|| GivenUp(None))).map(|_| pool.give_up_place());
    assert_eq!(n_given_up.count() as isize, MAX_GIVEN_UP);
    release.send(()).expect("a blocked job");
    pool.stop();
    assert!(pool.wait_until_ended(soon()));
    let places = &pool.shared.places;
    assert_eq!((places.taken.load(Ordering::Relaxed), places.given_up.load(Ordering::Relaxed)), (0, 0));
}

/// Waits, or is one that nobody wants.
struct GivenUp(Option<Receiver<()>>);

impl Job for GivenUp {
    fn run(self, place: Place<'_>) {
        match self.0 {
            Some(blocked) => assert!(blocked.recv().is_ok()),
            None => place.was_given_up(),
        }
    }
}

#[test]
fn all_threads_work_at_once_when_jobs_block() {
    let (pool, barrier) = (pool(LIMITS), Arc::new(std::sync::Barrier::new(4)));
    for _ in 0..100 {
        for _ in 0..3 {
            let barrier = barrier.clone();
            let wait = move || assert!([true, false].contains(&barrier.wait().is_leader()));
            assert!(pool.submit(|| Box::new(wait)));
        }
        // Passes only when three jobs wait at the same time.
        barrier.wait();
        while pool.shared.places.taken.load(Ordering::Relaxed) > 0 {
            thread::yield_now();
        }
    }
    assert_eq!(pool.shared.threads.lock().n_threads, 3);
}

#[test]
fn no_job_is_lost_however_submitters_and_threads_interleave() {
    let limits = PoolLimits { threads: 4, waiting: usize::MAX, stack_len: 64 << 10 };
    let (pool, done) = (pool(limits), Arc::new(AtomicIsize::new(0)));
    let submitters: Vec<_> = (0..4)
        .map(|_| {
            let (pool, done) = (pool.clone(), done.clone());
            thread::spawn(move || {
                for n in 0..5000 {
                    let done = done.clone();
                    let count = move || assert!(done.fetch_add(1, Ordering::Relaxed) >= 0);
                    assert!(pool.submit(|| Box::new(count)));
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
fn who_leaves_something_while_a_thread_is_being_woken_finds_it_seen() {
    let (left, seen) = (Arc::new(AtomicIsize::new(0)), Arc::new(AtomicIsize::new(0)));
    let pool: Pool<BoxJob> = {
        let (left, seen) = (left.clone(), seen.clone());
        let look = move || {
            seen.fetch_max(left.load(Ordering::SeqCst), Ordering::SeqCst);
        };
        Pool::new("test", PoolLimits { waiting: usize::MAX, ..LIMITS }, look)
    };
    let mut n_left = 0;
    for n in 1..20_000 {
        assert!(pool.submit(|| Box::new(thread::yield_now)));
        left.store(n, Ordering::SeqCst);
        if pool.is_waking() {
            n_left += 1;
            while seen.load(Ordering::SeqCst) < n {
                thread::yield_now();
            }
        }
    }
    assert!(n_left > 0, "no thread was ever being woken");
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
            assert!(pool.submit(|| Box::new(wait)));
        }
        let is_quiet = |threads: &Threads| threads.idle.len() == threads.n_threads && !threads.waking;
        while pool.shared.places.taken.load(Ordering::Relaxed) > 0 || !is_quiet(&pool.shared.threads.lock()) {
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
    assert!(pool.submit(|| Box::new(move || assert!(sender.send(()).is_ok()))));
    receiver.recv().expect("it ran");
    pool.stop();
    assert!(pool.wait_until_ended(soon()));
}
