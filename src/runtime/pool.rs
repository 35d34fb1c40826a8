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
    on_look: Box<dyn Fn() + Send + Sync>,
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
    /// `on_look` is called by every thread that was woken, when it looks for its first job.
    pub(crate) fn new(name: &'static str, limits: PoolLimits, on_look: impl Fn() + Send + Sync + 'static) -> Pool<J> {
        let (sender, receiver) = unbounded();
        Pool {
            shared: Arc::new(Shared {
                name,
                limits,
                on_look: Box::new(on_look),
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

    /// Whether a thread is being woken. Then whatever was done before this call is done before `on_look` is called.
    pub(crate) fn is_waking(&self) -> bool {
        self.shared.threads.lock().waking
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
            drop(threads);
            (self.on_look)();
        }
    }

    /// The life of a thread.
    fn work(self: Arc<Self>) {
        let me = Arc::new(Sleeper { thread: thread::current(), call: AtomicU8::new(0) });
        let mut rest = Rest::Woken;
        while rest != Rest::Over {
            let mut job = self.receiver.try_recv().ok();
            if rest == Rest::Woken {
                self.pass_on_waking();
            }
            while let Some(next) = job {
                next.run(Place { places: &self.places, is_taken: true });
                job = self.receiver.try_recv().ok();
            }
            rest = self.rest(&me);
        }
    }

    /// A woken thread has looked for its first job: if there are more, another thread may take them.
    fn pass_on_waking(self: &Arc<Self>) {
        self.threads.lock().waking = false;
        (self.on_look)();
        if !self.receiver.is_empty() {
            self.wake();
        }
    }

    /// Sleeps until woken.
    fn rest(&self, me: &Arc<Sleeper>) -> Rest {
        let mut threads = self.threads.lock();
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
#[derive(PartialEq, Eq)]
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
mod tests;
