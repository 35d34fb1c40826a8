//! Threads that are kept: grown on demand, woken last in, first out, and ended when idle for a while.
//!
//! Jobs go through one channel. Who submits a job wakes a thread only when none is being woken already; a woken
//! thread takes its first job and wakes the next one if there is more. So a burst of jobs costs one wake-up on a
//! machine with one free core and as many as can run on a larger one, and the thread that slept last, whose caches are
//! warm, goes first.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crossbeam_channel::{unbounded, Receiver, Sender};
use log::error;
use parking_lot::{Condvar, Mutex};

/// How long a thread without work is kept. Starting one costs more than most requests.
const IDLE_TIME: Duration = Duration::from_secs(10);

/// Something to do on a pooled thread.
pub(crate) trait Job: Send + 'static {
    /// `place` is the job's place among those that the pool admits. Who waits for the job to be over may submit the
    /// next at once, so that it must be free before they are told.
    fn run(self, place: Place<'_>);
}

/// A place in a pool, free again when it is dropped.
pub(crate) struct Place<'a> {
    admitted: &'a AtomicUsize,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.admitted.fetch_sub(1, Ordering::Relaxed);
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
    /// Places that are taken.
    admitted: AtomicUsize,
    threads: Mutex<Threads>,
    ended: Condvar,
}

/// The threads of a pool.
#[derive(Default)]
struct Threads {
    idle: Vec<Arc<Sleeper>>,
    n_threads: usize,
    /// A thread was woken or started and has not looked at the channel yet: it will see every job sent before.
    waking: bool,
    stopping: bool,
}

/// A thread that waits to be woken.
struct Sleeper {
    thread: Thread,
    woken: AtomicBool,
}

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
                admitted: AtomicUsize::new(0),
                threads: Mutex::default(),
                ended: Condvar::new(),
            }),
        }
    }

    /// Hands the job to a thread now or soon; gives it back when all threads are busy and no place to wait is left.
    pub(crate) fn submit(&self, job: J) -> Result<(), J> {
        let shared = &self.shared;
        let most = shared.limits.threads.saturating_add(shared.limits.waiting);
        if shared.admitted.fetch_add(1, Ordering::Relaxed) >= most {
            shared.admitted.fetch_sub(1, Ordering::Relaxed);
            return Err(job);
        }
        if let Err(unsent) = shared.sender.send(job) {
            return Err(unsent.into_inner());
        }
        match shared.wake() {
            true => Ok(()),
            false => shared.take_back(),
        }
    }

    /// Lets the threads end once there is no job left.
    pub(crate) fn stop(&self) {
        let mut threads = self.shared.threads.lock();
        threads.stopping = true;
        let idle = std::mem::take(&mut threads.idle);
        drop(threads);
        idle.iter().for_each(|sleeper| sleeper.wake());
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
    /// Sees to it that some thread looks at the channel. `false` when there is none and none can be started.
    fn wake(self: &Arc<Self>) -> bool {
        let mut threads = self.threads.lock();
        if threads.waking {
            return true;
        }
        if let Some(sleeper) = threads.idle.pop() {
            threads.waking = true;
            drop(threads);
            sleeper.wake();
            return true;
        }
        if threads.n_threads >= self.limits.threads {
            // All are busy; each looks at the channel before it sleeps.
            return true;
        }
        threads.waking = true;
        threads.n_threads += 1;
        drop(threads);
        self.start_thread()
    }

    fn start_thread(self: &Arc<Self>) -> bool {
        let shared = self.clone();
        let builder = thread::Builder::new().name(self.name.to_owned()).stack_size(self.limits.stack_len);
        match builder.spawn(move || shared.work()) {
            Ok(_) => true,
            Err(error) => {
                error!("cannot start a thread of {}: {error}", self.name);
                let mut threads = self.threads.lock();
                threads.waking = false;
                threads.n_threads -= 1;
                threads.n_threads > 0
            }
        }
    }

    /// Gives back a job, because no thread will ever take it.
    fn take_back(&self) -> Result<(), J> {
        match self.receiver.try_recv() {
            Ok(job) => {
                self.admitted.fetch_sub(1, Ordering::Relaxed);
                Err(job)
            }
            Err(_) => Ok(()),
        }
    }

    /// The life of a thread.
    fn work(self: Arc<Self>) {
        let me = Arc::new(Sleeper { thread: thread::current(), woken: AtomicBool::new(false) });
        let mut was_woken = true;
        loop {
            while let Ok(job) = self.receiver.try_recv() {
                if std::mem::take(&mut was_woken) {
                    self.pass_on_waking();
                }
                job.run(Place { admitted: &self.admitted });
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

    /// Sleeps until woken, or ends after a while.
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
        match me.sleep(IDLE_TIME) {
            true => Rest::Woken,
            false => self.retire(me),
        }
    }

    /// Nobody wanted this thread for a while. If somebody wakes it just now, it stays.
    fn retire(&self, me: &Arc<Sleeper>) -> Rest {
        let mut threads = self.threads.lock();
        let before = threads.idle.len();
        threads.idle.retain(|sleeper| !Arc::ptr_eq(sleeper, me));
        if threads.idle.len() == before {
            drop(threads);
            me.sleep(Duration::MAX);
            return Rest::Woken;
        }
        threads.n_threads -= 1;
        drop(threads);
        self.ended.notify_all();
        Rest::Over
    }
}

/// How a thread's rest came to an end.
enum Rest {
    MoreWork,
    Woken,
    Over,
}

impl Sleeper {
    fn wake(&self) {
        self.woken.store(true, Ordering::Release);
        self.thread.unpark();
    }

    /// Whether it was woken before `time` had passed.
    fn sleep(&self, time: Duration) -> bool {
        let deadline = Instant::now().checked_add(time);
        loop {
            if self.woken.swap(false, Ordering::Acquire) {
                return true;
            }
            match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => return false,
                Some(left) => thread::park_timeout(left),
                None => thread::park(),
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
            pool.submit(Box::new(move || assert!(blocked.recv().is_ok()))).is_ok()
        };
        let accepted: Vec<bool> = (0..7).map(|_| submit(&pool)).collect();
        assert_eq!(accepted, [true, true, true, true, true, false, false]);
        (0..5).for_each(|_| release.send(()).expect("a blocked job"));
        pool.stop();
        assert!(pool.wait_until_ended(soon()));
    }

    #[test]
    fn all_threads_work_at_once_when_jobs_block() {
        let (pool, barrier) = (pool(LIMITS), Arc::new(std::sync::Barrier::new(4)));
        for _ in 0..100 {
            for _ in 0..3 {
                let barrier = barrier.clone();
                let submitted = pool.submit(Box::new(move || {
                    barrier.wait();
                }));
                assert!(submitted.is_ok());
            }
            // Passes only when three jobs wait at the same time.
            barrier.wait();
            while pool.shared.admitted.load(Ordering::Relaxed) > 0 {
                thread::yield_now();
            }
        }
        assert_eq!(pool.shared.threads.lock().n_threads, 3);
    }

    #[test]
    fn no_job_is_lost_however_submitters_and_threads_interleave() {
        let limits = PoolLimits { threads: 4, waiting: usize::MAX, stack_len: 64 << 10 };
        let (pool, done) = (pool(limits), Arc::new(AtomicUsize::new(0)));
        let submitters: Vec<_> = (0..4)
            .map(|_| {
                let (pool, done) = (pool.clone(), done.clone());
                thread::spawn(move || {
                    for n in 0..5000 {
                        let done = done.clone();
                        let submitted = pool.submit(Box::new(move || {
                            done.fetch_add(1, Ordering::Relaxed);
                        }));
                        assert!(submitted.is_ok());
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
    fn a_stopped_pool_ends_its_idle_threads() {
        let pool = pool(LIMITS);
        let (sender, receiver) = bounded(1);
        assert!(pool.submit(Box::new(move || assert!(sender.send(()).is_ok()))).is_ok());
        receiver.recv().expect("it ran");
        pool.stop();
        assert!(pool.wait_until_ended(soon()));
    }
}
