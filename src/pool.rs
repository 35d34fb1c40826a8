//! Threads that are kept: grown on demand, woken last in, first out, and let go when they are not needed for a while.
//!
//! Jobs go through one channel. Who submits a job wakes a thread only when none is being woken already; a woken
//! thread takes its first job and wakes the next one if there is more. So a burst of jobs costs one wake-up on a
//! machine with one free core and as many as can run on a larger one, and the thread that slept last, whose caches are
//! warm, goes first.

use std::sync::atomic::{AtomicIsize, AtomicU8, Ordering};
use std::sync::Arc;
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crossbeam_channel::{unbounded, Receiver, Sender};
use log::error;
use parking_lot::{Condvar, Mutex};

/// How often threads without work are let go. Starting one costs more than most requests.
pub(crate) const TRIM_TIME: Duration = Duration::from_secs(10);

/// How many jobs that nobody wants any more may lie about until a thread is free to throw them away.
const MAX_GIVEN_UP: isize = 1024;

/// Something to do on a pooled thread.
pub(crate) trait Job: Send + 'static {
    /// `place` is the job's place among those that the pool admits. Who waits for the job to be over may submit the
    /// next at once, so that it must be free before they are told.
    fn run(self, place: Place<'_>);
}

/// A place in a pool, free again when it is dropped.
pub(crate) struct Place<'a> {
    places: &'a Places,
    is_taken: bool,
}

impl Place<'_> {
    /// [`Pool::give_up_place`] was called for this job.
    pub(crate) fn was_given_up(mut self) {
        self.is_taken = false;
        self.places.given_up.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.is_taken {
            self.places.taken.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// How many jobs a pool has. Signed, because who gives a place up may be faster than who takes it.
#[derive(Default)]
struct Places {
    taken: AtomicIsize,
    /// Jobs that nobody wants any more and that no thread has seen yet.
    given_up: AtomicIsize,
}

impl Places {
    fn take(&self, most: usize) -> bool {
        let most = isize::try_from(most).unwrap_or(isize::MAX);
        let is_free =
            self.taken.fetch_add(1, Ordering::Relaxed) < most && self.given_up.load(Ordering::Relaxed) < MAX_GIVEN_UP;
        if !is_free {
            self.taken.fetch_sub(1, Ordering::Relaxed);
        }
        is_free
    }
}

/// How large a pool may become.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PoolLimits {
    pub(crate) threads: usize,
    /// Jobs that may wait for a thread.
    pub(crate) waiting: usize,
    pub(crate) stack_len: usize,
}

/// A handle to the threads; clones are of the same pool.
pub(crate) struct Pool<J> {
    shared: Arc<Shared<J>>,
}

struct Shared<J> {
    name: &'static str,
    limits: PoolLimits,
    sender: Sender<J>,
    receiver: Receiver<J>,
    places: Places,
    threads: Mutex<Threads>,
    ended: Condvar,
}

/// The threads of a pool.
#[derive(Default)]
struct Threads {
    /// Who slept last is at the end.
    idle: Vec<Arc<Sleeper>>,
    /// The fewest that were idle at once since the last trim: so many were not needed.
    n_spare: usize,
    n_threads: usize,
    /// A thread was woken or started and has not looked at the channel yet: it will see every job sent before.
    waking: bool,
    stopping: bool,
}

/// A thread that waits to be woken. It waits without a time-out: a timer would have to be set and cancelled for every
/// job on a quiet machine, which costs more than the job's way through the channel.
struct Sleeper {
    thread: Thread,
    call: AtomicU8,
}

/// Why a sleeping thread is woken; 0 is not at all.
const TO_WORK: u8 = 1;
const TO_END: u8 = 2;

impl<J> Clone for Pool<J> {
    fn clone(&self) -> Pool<J> {
        Pool { shared: self.shared.clone() }
    }
}

impl<J: Job> Pool<J> {
    pub(crate) fn new(name: &'static str, limits: PoolLimits) -> Pool<J> {
        let (sender, receiver) = unbounded();
        Pool {
            shared: Arc::new(Shared {
                name,
                limits,
                sender,
                receiver,
                places: Places::default(),
                threads: Mutex::default(),
                ended: Condvar::new(),
            }),
        }
    }

    /// Hands a job to a thread, now or soon; `false` when all threads are busy and no place to wait is left. The job
    /// is not made before it has its place.
    #[must_use]
    pub(crate) fn submit(&self, job: impl FnOnce() -> J) -> bool {
        let is_added = self.add(job);
        if is_added {
            self.wake();
        }
        is_added
    }

    /// Like [`submit`](Self::submit), but no thread is woken for it before [`wake`](Self::wake). A thread that is woken
    /// may run at once in the place of the one that woke it: who has several jobs adds them all first.
    #[must_use]
    pub(crate) fn add(&self, job: impl FnOnce() -> J) -> bool {
        let shared = &self.shared;
        let has_place = shared.places.take(shared.limits.threads.saturating_add(shared.limits.waiting));
        // The channel is unbounded and lives as long as the pool: sending does not fail.
        has_place && shared.sender.send(job()).is_ok()
    }

    /// Sees to it that jobs which were added get their threads.
    pub(crate) fn wake(&self) {
        if !self.shared.receiver.is_empty() {
            self.shared.wake();
        }
    }

    /// A job that was submitted need not be done: its place is free at once. The thread that meets it must call
    /// [`Place::was_given_up`].
    pub(crate) fn give_up_place(&self) {
        self.shared.places.given_up.fetch_add(1, Ordering::Relaxed);
        self.shared.places.taken.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many threads there are, at work or idle.
    pub(crate) fn n_threads(&self) -> usize {
        self.shared.threads.lock().n_threads
    }

    /// Lets the threads go that were idle all the time since the last call.
    pub(crate) fn trim(&self) {
        let mut threads = self.shared.threads.lock();
        let n_spare = threads.n_spare.min(threads.idle.len());
        let spare: Vec<_> = threads.idle.drain(..n_spare).collect();
        threads.n_spare = threads.idle.len();
        threads.n_threads -= n_spare;
        drop(threads);
        self.shared.ended.notify_all();
        spare.iter().for_each(|sleeper| sleeper.wake(TO_END));
    }

    /// Lets the threads end once there is no job left.
    pub(crate) fn stop(&self) {
        let mut threads = self.shared.threads.lock();
        threads.stopping = true;
        let idle = std::mem::take(&mut threads.idle);
        drop(threads);
        idle.iter().for_each(|sleeper| sleeper.wake(TO_WORK));
    }

    /// Waits until all threads have ended; whether they did before `deadline`.
    pub(crate) fn wait_until_ended(&self, deadline: Instant) -> bool {
        let mut threads = self.shared.threads.lock();
        while threads.n_threads > 0 {
            if self.shared.ended.wait_until(&mut threads, deadline).timed_out() {
                return threads.n_threads == 0;
            }
        }
        true
    }
}

impl<J: Job> Shared<J> {
    /// Sees to it that some thread looks at the channel.
    fn wake(self: &Arc<Self>) {
        let mut threads = self.threads.lock();
        if threads.waking {
            return;
        }
        if let Some(sleeper) = threads.idle.pop() {
            threads.waking = true;
            threads.n_spare = threads.n_spare.min(threads.idle.len());
            drop(threads);
            sleeper.wake(TO_WORK);
        } else if threads.n_threads < self.limits.threads {
            threads.waking = true;
            threads.n_threads += 1;
            drop(threads);
            self.start_thread();
        }
        // Else all are busy, and each looks at the channel before it sleeps.
    }

    /// If there is no thread to be had, the job waits until there is.
    fn start_thread(self: &Arc<Self>) {
        let shared = self.clone();
        let builder = thread::Builder::new().name(self.name.to_owned()).stack_size(self.limits.stack_len);
        if let Err(error) = builder.spawn(move || shared.work()) {
            error!("cannot start a thread of {}: {error}", self.name);
            let mut threads = self.threads.lock();
            threads.waking = false;
            threads.n_threads -= 1;
        }
    }

    /// The life of a thread.
    fn work(self: Arc<Self>) {
        let me = Arc::new(Sleeper { thread: thread::current(), call: AtomicU8::new(0) });
        let mut was_woken = true;
        loop {
            while let Ok(job) = self.receiver.try_recv() {
                if std::mem::take(&mut was_woken) {
                    self.pass_on_waking();
                }
                job.run(Place { places: &self.places, is_taken: true });
            }
            match self.rest(&me, was_woken) {
                Rest::Over => return,
                Rest::MoreWork => was_woken = false,
                Rest::Woken => was_woken = true,
            }
        }
    }

    /// A woken thread has its first job: if there are more, another thread may take them.
    fn pass_on_waking(self: &Arc<Self>) {
        self.threads.lock().waking = false;
        if !self.receiver.is_empty() {
            self.wake();
        }
    }

    /// Sleeps until woken.
    fn rest(&self, me: &Arc<Sleeper>, was_woken: bool) -> Rest {
        let mut threads = self.threads.lock();
        threads.waking &= !was_woken;
        // Who sends a job afterwards finds this thread among the idle.
        if !self.receiver.is_empty() {
            return Rest::MoreWork;
        }
        if threads.stopping {
            threads.n_threads -= 1;
            drop(threads);
            self.ended.notify_all();
            return Rest::Over;
        }
        threads.idle.push(me.clone());
        drop(threads);
        match me.sleep() {
            TO_END => Rest::Over,
            _ => Rest::Woken,
        }
    }
}

/// How a thread's rest came to an end.
enum Rest {
    MoreWork,
    Woken,
    Over,
}

impl Sleeper {
    fn wake(&self, call: u8) {
        self.call.store(call, Ordering::Release);
        self.thread.unpark();
    }

    /// Why it was woken.
    fn sleep(&self) -> u8 {
        loop {
            match self.call.swap(0, Ordering::Acquire) {
                0 => thread::park(),
                call => return call,
            }
        }
    }
}

#[cfg(test)]
mod tests {
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
        Pool::new("test", limits)
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
        let (pool, (release, blocked)) = (Pool::<GivenUp>::new("test", limits), bounded::<()>(0));
        assert!(pool.submit(|| GivenUp(Some(blocked))));
        let n_given_up =
            (0..2 * MAX_GIVEN_UP).take_while(|_| pool.submit(|| GivenUp(None))).map(|_| pool.give_up_place());
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
}
