//! How many requests may have a worker or wait for one.

use crate::request::{Claim, RequestState};
use crate::sync::{AtomicIsize, Ordering};

/// The permits of one server.
#[derive(Debug)]
pub(crate) struct Permits {
    most: isize,
    taken: AtomicIsize,
    /// How many requests wait without a permit.
    without: AtomicIsize,
}

/// One of them, given back when it is dropped. While a request waits for a worker its permit goes with the right to claim
/// it: whoever claims it has the permit, too.
#[must_use = "it is given back when it is dropped"]
#[derive(Debug)]
pub(crate) struct Permit<'a> {
    permits: &'a Permits,
}

impl Permits {
    pub(crate) fn new(most: usize) -> Permits {
        Permits {
            most: isize::try_from(most).unwrap_or(isize::MAX),
            taken: AtomicIsize::new(0),
            without: AtomicIsize::new(0),
        }
    }

    /// A permit, if one is left.
    pub(crate) fn acquire(&self) -> Option<Permit<'_>> {
        let permit = Permit { permits: self };
        // If there were too many, it is given back.
        (self.taken.fetch_add(1, Ordering::Relaxed) < self.most).then_some(permit)
    }

    /// The permit of a request that was claimed.
    pub(crate) fn of(&self, claim: Claim) -> Permit<'_> {
        if !claim.has_permit() {
            self.without.fetch_sub(1, Ordering::Relaxed);
            self.taken.fetch_add(1, Ordering::Relaxed);
        }
        Permit { permits: self }
    }

    /// Takes back the permit of a request that waits for a worker; whether it may go on waiting without. As many may as
    /// there are permits.
    pub(crate) fn take_back(&self, request: &RequestState) -> bool {
        if request.give_permit_back() {
            drop(Permit { permits: self });
            return self.without.fetch_add(1, Ordering::Relaxed) < self.most;
        }
        true
    }
}

impl Permit<'_> {
    /// Leaves the permit to whoever claims the request.
    pub(crate) fn leave_to_claimant(self, request: &RequestState) {
        std::mem::forget(self);
        request.set_waiting();
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.permits.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Role;
    use crate::request::PipeLimits;
    use std::time::Instant;

    #[test]
    fn a_permit_goes_with_the_claim_and_comes_back_once() {
        let permits = Permits::new(1);
        let request = RequestState::new(Role::Responder, PipeLimits { buffer: 0, max_len: 0 }, 0, Instant::now());
        permits.acquire().expect("the only one").leave_to_claimant(&request);
        assert!(permits.acquire().is_none());
        let claim = request.claim().expect("it waits");
        assert!(permits.acquire().is_none(), "a worker has it");
        drop(permits.of(claim));
        assert!(permits.acquire().is_some());
    }

    #[test]
    fn a_request_may_wait_without_a_permit_and_has_one_while_it_runs() {
        let permits = Permits::new(1);
        let request = RequestState::new(Role::Responder, PipeLimits { buffer: 0, max_len: 0 }, 0, Instant::now());
        permits.acquire().expect("the only one").leave_to_claimant(&request);
        assert!(permits.take_back(&request) && permits.take_back(&request));
        drop(permits.acquire().expect("there is one again"));
        let permit = permits.of(request.claim().expect("it waits"));
        assert!(permits.acquire().is_none());
        drop(permit);
        assert!(permits.acquire().is_some());
    }
}
