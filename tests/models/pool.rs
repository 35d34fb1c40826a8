//! The pool: no job is lost, no wake-up is lost, and all threads end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{check, Counter};
use crate::runtime::{Job, Pool, PoolLimits};

/// A job that counts.
struct Count(Arc<Counter>);

impl Job for Count {
    fn run(self) -> bool {
        self.0.count();
        true
    }
}

fn pool(threads: usize) -> (Pool<Count>, Arc<Counter>) {
    (Pool::new("model", PoolLimits { threads, stack_len: 0 }, Arc::default()), Arc::default())
}

fn end(pool: &Pool<Count>) {
    pool.stop();
    assert!(pool.wait_until_ended(Instant::now() + Duration::from_secs(1)));
}

#[test]
fn every_job_runs_and_every_thread_ends() {
    check(3, || {
        let (pool, done) = pool(2);
        pool.submit(Count(done.clone()));
        pool.submit(Count(done.clone()));
        end(&pool);
        assert_eq!(done.get(), 2);
    });
}

#[test]
fn jobs_of_two_submitters_run_though_there_is_one_thread() {
    check(2, || {
        let (pool, done) = pool(1);
        let other = loom::thread::spawn({
            let (pool, done) = (pool.clone(), done.clone());
            move || pool.submit(Count(done))
        });
        pool.submit(Count(done.clone()));
        other.join().expect("no panic");
        end(&pool);
        assert_eq!(done.get(), 2);
    });
}

#[test]
fn a_thread_that_is_let_go_takes_no_job_along() {
    check(2, || {
        let (pool, done) = pool(1);
        pool.submit(Count(done.clone()));
        pool.trim();
        pool.trim();
        pool.submit(Count(done.clone()));
        end(&pool);
        assert_eq!(done.get(), 2);
    });
}

/// The mistake: nobody is woken for the job.
#[test]
#[should_panic]
fn a_job_that_nobody_is_woken_for_is_found() {
    check(2, || {
        let (pool, done) = pool(1);
        pool.add(Count(done.clone()));
        end(&pool);
        assert_eq!(done.get(), 1);
    });
}
