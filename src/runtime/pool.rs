//! Threads that are kept: grown on demand, woken last in, first out, and let go when they are not needed for a while.
//!
//! Jobs go through one channel. Who submits a job wakes a thread only when none is being woken already; a woken
//! thread takes its first job and wakes the next one if there is more. So a burst of jobs costs one wake-up on a
//! machine with one free core and as many as can run on a larger one, and the thread that slept last, whose caches are
//! warm, goes first. (Rows `kept`: a plain channel wakes the one that slept longest, and one for every job.)

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::journal::{note, Journal};
use crate::sync::{start_thread, unbounded, Parker};
use crate::sync::{AtomicIsize, AtomicU8, Condvar, Mutex, Ordering, Receiver, Sender};

/// How often threads without work are let go. Starting one costs more than most requests.
pub(crate) const TRIM_TIME: Duration = Duration::from_secs(10);

/// Something to do on a pooled thread.
pub(crate) trait Job: Send + 'static {
    /// Whether it is still to be done. Once it is not, it never is again.
    fn is_wanted(&self) -> bool {
        true
    }

    /// Does it; `false` when it was not to be done any more.
    fn run(self) -> bool;
}

impl Job for Box<dyn FnOnce() + Send> {
    fn run(self) -> bool {
        self();
        true
    }
}

/// How large a pool may become.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PoolLimits {
    pub(crate) threads: usize,
    /// Bytes of each thread's stack.
    pub(crate) stack_len: usize,
}

/// A handle to the threads; clones are of the same pool.
pub(crate) struct Pool<J> {
    state: Arc<PoolState<J>>,
}

struct PoolState<J> {
    name: &'static str,
    limits: PoolLimits,
    journal: Arc<Journal>,
    sender: Sender<J>,
    receiver: Receiver<J>,
    /// How many jobs in the channel nobody wants.
    n_unwanted: AtomicIsize,
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
    parker: Parker,
    call: AtomicU8,
}

/// Why a sleeping thread is woken; 0 is not at all.
const TO_WORK: u8 = 1;
const TO_END: u8 = 2;

impl<J> Clone for Pool<J> {
    fn clone(&self) -> Pool<J> {
        Pool { state: self.state.clone() }
    }
}

impl<J: Job> Pool<J> {
    pub(crate) fn new(name: &'static str, limits: PoolLimits, journal: Arc<Journal>) -> Pool<J> {
        let (sender, receiver) = unbounded();
        let (n_unwanted, threads, ended) = (AtomicIsize::new(0), Mutex::default(), Condvar::new());
        Pool { state: Arc::new(PoolState { name, limits, journal, sender, receiver, n_unwanted, threads, ended }) }
    }

    /// Hands a job to a thread, now or as soon as there is one.
    pub(crate) fn submit(&self, job: J) {
        self.add(job);
        self.wake();
    }

    /// Like [`submit`](Self::submit), but no thread is woken for it before [`wake`](Self::wake). A thread that is woken
    /// may run at once in the place of the one that woke it: who has several jobs adds them all first.
    pub(crate) fn add(&self, job: J) {
        // The channel is unbounded and lives as long as the pool: sending does not fail.
        drop(self.state.sender.send(job));
    }

    /// Sees to it that jobs which were added get their threads.
    pub(crate) fn wake(&self) {
        if !self.state.receiver.is_empty() {
            self.state.wake();
        }
    }

    /// A job in the channel has become unwanted. When most are, they are taken out: what is wanted keeps its order.
    pub(crate) fn note_unwanted(&self) {
        let n_unwanted = 1 + self.state.n_unwanted.fetch_add(1, Ordering::Relaxed);
        let n_jobs = self.state.receiver.len();
        if n_unwanted > n_jobs as isize / 2 {
            self.sweep();
        }
    }

    /// Takes out what is unwanted, with all that it holds.
    pub(crate) fn sweep(&self) {
        if self.state.n_unwanted.load(Ordering::Relaxed) > 0 {
            self.state.sweep(self.state.receiver.len());
            self.wake();
        }
    }

    /// How many threads there are, at work or idle.
    pub(crate) fn n_threads(&self) -> usize {
        self.state.threads.lock().n_threads
    }

    /// Lets the threads go that were idle all the time since the last call, and tries again to start one where jobs wait
    /// for want of one.
    pub(crate) fn trim(&self) {
        let spare = self.state.threads.lock().take_spare();
        self.state.ended.notify_all();
        spare.iter().for_each(|sleeper| sleeper.wake(TO_END));
        self.wake();
    }

    /// Lets the threads end once there is no job left.
    pub(crate) fn stop(&self) {
        let idle = {
            let mut threads = self.state.threads.lock();
            threads.stopping = true;
            std::mem::take(&mut threads.idle)
        };
        idle.iter().for_each(|sleeper| sleeper.wake(TO_WORK));
    }

    /// Waits until all threads have ended; whether they did before `deadline`.
    pub(crate) fn wait_until_ended(&self, deadline: Instant) -> bool {
        let mut threads = self.state.threads.lock();
        while threads.n_threads > 0 {
            if self.state.ended.wait_until(&mut threads, deadline).timed_out() {
                return threads.n_threads == 0;
            }
        }
        true
    }
}

impl<J: Job> PoolState<J> {
    /// Sees to it that some thread looks at the channel.
    fn wake(self: &Arc<Self>) {
        let waking = self.threads.lock().start_waking(self.limits.threads);
        match waking {
            Waking::Sleeper(sleeper) => sleeper.wake(TO_WORK),
            Waking::New => self.start_thread(),
            Waking::Nobody => {}
        }
    }

    /// If there is no thread to be had, the job waits until there is.
    fn start_thread(self: &Arc<Self>) {
        let state = self.clone();
        if let Err(error) = start_thread(self.name, self.limits.stack_len, move || state.work()) {
            {
                let mut threads = self.threads.lock();
                threads.waking = false;
                threads.n_threads -= 1;
            }
            self.ended.notify_all();
            note!(self.journal, Error, "cannot start a thread of {}: {error}", self.name);
        }
    }

    /// The life of a thread.
    fn work(self: Arc<Self>) {
        let me = Arc::new(Sleeper { parker: Parker::new(), call: AtomicU8::new(0) });
        let mut rest = Rest::Woken;
        while rest != Rest::Over {
            let mut job = self.receiver.try_recv().ok();
            if rest == Rest::Woken {
                self.pass_on_waking();
            }
            while let Some(next) = job {
                self.run(next);
                job = self.receiver.try_recv().ok();
            }
            rest = self.rest(&me);
        }
    }

    fn run(&self, job: J) {
        if !job.run() {
            // It may have been given up this moment: then it counts, or will.
            self.n_unwanted.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// A woken thread has looked for its first job: if there are more, another thread may take them.
    fn pass_on_waking(self: &Arc<Self>) {
        self.threads.lock().waking = false;
        if !self.receiver.is_empty() {
            self.wake();
        }
    }

    /// Takes the first `n_jobs` out and puts those back that are wanted.
    fn sweep(&self, n_jobs: usize) {
        for job in (0..n_jobs).map_while(|_| self.receiver.try_recv().ok()) {
            match job.is_wanted() {
                true => drop(self.sender.send(job)),
                false => drop(self.n_unwanted.fetch_sub(1, Ordering::Relaxed)),
            }
        }
    }

    /// Sleeps until woken.
    fn rest(&self, me: &Arc<Sleeper>) -> Rest {
        {
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
        }
        match me.sleep() {
            TO_END => Rest::Over,
            _ => Rest::Woken,
        }
    }
}

/// Who is to look at the channel.
enum Waking {
    Sleeper(Arc<Sleeper>),
    New,
    /// One is being woken, or all are busy, and each looks at the channel before it sleeps.
    Nobody,
}

impl Threads {
    fn start_waking(&mut self, most: usize) -> Waking {
        if self.waking {
            return Waking::Nobody;
        }
        if let Some(sleeper) = self.idle.pop() {
            self.waking = true;
            self.n_spare = self.n_spare.min(self.idle.len());
            return Waking::Sleeper(sleeper);
        }
        if self.n_threads == most {
            return Waking::Nobody;
        }
        self.waking = true;
        self.n_threads += 1;
        Waking::New
    }

    fn take_spare(&mut self) -> Vec<Arc<Sleeper>> {
        let n_spare = self.n_spare.min(self.idle.len());
        let spare = self.idle.drain(..n_spare).collect();
        self.n_spare = self.idle.len();
        self.n_threads -= n_spare;
        spare
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
        self.call.swap(call, Ordering::AcqRel);
        self.parker.unpark();
    }

    /// Why it was woken.
    fn sleep(&self) -> u8 {
        loop {
            match self.call.swap(0, Ordering::Acquire) {
                0 => self.parker.park(),
                call => return call,
            }
        }
    }
}

#[cfg(test)]
mod tests;
