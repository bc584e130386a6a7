//! The requests of a session, so that it can be made again.
//!
//! What one thread asks is its generator's, so only where rounds ended is kept. What several threads ask has
//! an order that nothing else tells: it is kept as it is.

use std::sync::atomic::{AtomicU64, Ordering};

use blk_core::sync::Mutex;

use super::worker::{self, Takes};
use crate::generate::Generator;
use crate::scenario::{Repair, Request, Scenario};

/// Requests of several threads that are remembered.
const ORDER_REQUESTS_MAX: usize = 1 << 21;
/// Requests that are made again from a seed: 256 MiB of them.
const SEED_REQUESTS_MAX: u64 = 1 << 23;

/// What ends a round.
const ROUND_END: [Request; 2] = [Request::Check { repair: Repair::None }, Request::Reopen { kill: false }];

/// What was asked. Threads add to it at the same time.
#[derive(Debug, Default)]
pub(super) struct History {
    count: AtomicU64,
    /// Requests made of the scenario that was begun last.
    in_scenario: AtomicU64,
    /// The number of the generator's next scenario at the end of each round.
    rounds: Mutex<Vec<u64>>,
    /// All requests in order, where there are several threads.
    order: Option<Mutex<Vec<Request>>>,
}

impl History {
    /// Of so many threads.
    pub(super) fn new(jobs: usize) -> Self {
        Self { order: (jobs > 1).then(Mutex::default), ..Self::default() }
    }

    /// A thread goes over to another scenario.
    pub(super) fn begin_scenario(&self) {
        self.in_scenario.store(0, Ordering::Relaxed);
    }

    pub(super) fn add(&self, request: Request) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.in_scenario.fetch_add(1, Ordering::Relaxed);
        let Some(order) = &self.order else { return };
        let mut requests = order.lock();
        // One more than are remembered says that some are not.
        if requests.len() <= ORDER_REQUESTS_MAX {
            requests.push(request);
        }
    }

    /// A check and a reopen follow, before the generator's scenario number `next`.
    pub(super) fn end_round(&self, next: u64) {
        if self.order.is_some() {
            for request in ROUND_END {
                self.add(request);
            }
        } else {
            self.rounds.lock().push(next);
        }
    }

    /// How many requests were made.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// All of them; `None` if they were too many. `generator` has made them; `first` is as it was at the
    /// start.
    pub(super) fn requests(
        &self,
        generator: &Generator,
        first: Generator,
        takes: Takes,
    ) -> Option<Vec<Request>> {
        match &self.order {
            Some(order) => {
                let requests = order.lock();
                (requests.len() <= ORDER_REQUESTS_MAX).then(|| requests.clone())
            }
            None if self.count() > SEED_REQUESTS_MAX => None,
            None => Some(self.made_again(generator.index(), first, takes)),
        }
    }

    fn made_again(&self, scenarios: u64, mut generator: Generator, takes: Takes) -> Vec<Request> {
        let rounds = self.rounds.lock();
        let mut rounds = rounds.iter().copied().peekable();
        let mut requests = Vec::with_capacity(self.count() as usize);
        let mut scenario = Scenario::default();
        for index in 0..scenarios {
            while rounds.next_if_eq(&index).is_some() {
                requests.extend(ROUND_END);
            }
            generator.next_into(&mut scenario);
            let is_last = index + 1 == scenarios;
            let made = if is_last { self.in_scenario.load(Ordering::Relaxed) } else { u64::MAX };
            requests
                .extend(worker::made_of(&scenario, takes).take(usize::try_from(made).unwrap_or(usize::MAX)));
        }
        rounds.for_each(|_| requests.extend(ROUND_END));
        requests
    }
}
